//! A TCP proxy that breaks connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Stands between a client and a daemon, at an address that stays, and cuts connections when told to.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    /// Bytes that still pass to the client until all is cut; `None` for no end.
    left: Mutex<Option<usize>>,
    open: Mutex<Vec<Open>>,
    /// Nothing passes, and nothing is closed.
    frozen: (Mutex<bool>, Condvar),
}

/// One connection, both ways.
#[derive(Debug)]
struct Open {
    streams: [TcpStream; 2],
    is_cut: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens, and passes everything on to a daemon.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            left: Mutex::default(),
            open: Mutex::default(),
            frozen: Default::default(),
        });
        let serving = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(shared) = serving.upgrade() else { return };
                shared.pass(client);
            }
        });
        Self { address, shared }
    }

    /// Leads to another daemon from now on.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Cuts everything after so many bytes more have passed from the daemon to clients, on connections that are not cut
    /// yet.
    pub fn cut_after(&self, bytes: usize) {
        *lock(&self.shared.left) = Some(bytes);
    }

    /// Cuts everything that is open now.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Passes nothing on any more, either way, and closes nothing: so looks a peer that vanished without a word.
    pub fn freeze(&self) {
        *lock(&self.shared.frozen.0) = true;
    }

    /// Tells whether the bytes of [`Proxy::cut_after`] have passed.
    pub fn has_cut(&self) -> bool {
        lock(&self.shared.left).is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *lock(&self.shared.frozen.0) = false;
        self.shared.frozen.1.notify_all();
        self.cut();
    }
}

impl Shared {
    fn pass(self: &Arc<Self>, client: TcpStream) {
        let upstream = *lock(&self.upstream);
        let Ok(server) = TcpStream::connect(upstream) else { return };
        let both = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some([from_client, to_server]), Some([to_client, from_server])) = (both(), both()) else {
            return;
        };
        let is_cut = Arc::new(AtomicBool::new(false));
        lock(&self.open).push(Open { streams: [client, server], is_cut: Arc::clone(&is_cut) });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            copy(from_client, to_server, |_| {
                shared.thawed();
                None
            })
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            if copy(from_server, to_client, |bytes| shared.spend(bytes, &is_cut))
                && !is_cut.load(Ordering::SeqCst)
            {
                shared.cut();
            }
        });
    }

    /// How many of these bytes still pass, when not all.
    fn spend(&self, bytes: usize, is_cut: &AtomicBool) -> Option<usize> {
        self.thawed();
        let mut left = lock(&self.left);
        if is_cut.load(Ordering::SeqCst) {
            // What is left is for others.
            return Some(0);
        }
        let before = (*left)?;
        if bytes < before {
            *left = Some(before - bytes);
            return None;
        }
        *left = None;
        drop(left);
        Some(before)
    }

    /// Waits while nothing may pass.
    fn thawed(&self) {
        let frozen = lock(&self.frozen.0);
        drop(self.frozen.1.wait_while(frozen, |frozen| *frozen).unwrap_or_else(PoisonError::into_inner));
    }

    fn cut(&self) {
        for Open { streams, is_cut } in lock(&self.open).drain(..) {
            is_cut.store(true, Ordering::SeqCst);
            for stream in streams {
                // It may be closed already.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }
}

/// Copies until one side ends; true when it ended because nothing may pass any more.
fn copy(mut from: TcpStream, mut to: TcpStream, spend: impl Fn(usize) -> Option<usize>) -> bool {
    let mut buffer = [0; 4096];
    let mut cut = false;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passes = spend(read);
        cut = passes.is_some();
        if to.write_all(&buffer[..passes.unwrap_or(read)]).is_err() || cut {
            break;
        }
    }
    for stream in [from, to] {
        drop(stream.shutdown(Shutdown::Both));
    }
    cut
}
