//! The witness: a small file beside the database that remembers how far the log had come.
//!
//! Written after each commit and before anyone is told, without a sync: it survives a crash of the process, and
//! after a crash of the machine it may be behind, which is harmless, since the database is not (`synchronous=FULL`).
//! If the database is found behind its witness, it went back, and sequences that were given out would be given out
//! again: it needs a new epoch.
//!
//! 64 bytes: magic, server, epoch, last sequence (8 each, big-endian), boot id (16), flags (1), zeroes, checksum (8).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const MAGIC: [u8; 8] = *b"refwitn1";
const LEN: usize = 64;
const CLEAN: u8 = 1;
const UNSYNCED: u8 = 2;

/// What a witness file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Testimony {
    pub(crate) server: u64,
    pub(crate) epoch: u64,
    pub(crate) last: u64,
    /// The machine's run in which it was written; zeroes where the system does not tell.
    pub(crate) boot: [u8; 16],
    /// The store was closed.
    pub(crate) clean: bool,
    /// Commits were not synced one by one.
    pub(crate) unsynced: bool,
}

impl Testimony {
    fn encode(&self) -> [u8; LEN] {
        let mut raw = [0; LEN];
        raw[..8].copy_from_slice(&MAGIC);
        raw[8..16].copy_from_slice(&self.server.to_be_bytes());
        raw[16..24].copy_from_slice(&self.epoch.to_be_bytes());
        raw[24..32].copy_from_slice(&self.last.to_be_bytes());
        raw[32..48].copy_from_slice(&self.boot);
        raw[48] = if self.clean { CLEAN } else { 0 } | if self.unsynced { UNSYNCED } else { 0 };
        let sum = fnv1a(&raw[..56]);
        raw[56..].copy_from_slice(&sum.to_be_bytes());
        raw
    }

    fn decode(raw: &[u8; LEN]) -> Option<Self> {
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        if raw[..8] != MAGIC || number(56) != fnv1a(&raw[..56]) {
            return None;
        }
        let mut boot = [0; 16];
        boot.copy_from_slice(&raw[32..48]);
        Some(Self {
            server: number(8),
            epoch: number(16),
            last: number(24),
            boot,
            clean: raw[48] & CLEAN != 0,
            unsynced: raw[48] & UNSYNCED != 0,
        })
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Reads a witness file; `None` where there is none that can be read.
pub(crate) fn read(path: &Path) -> io::Result<Option<Testimony>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut raw = [0; LEN];
    match file.read_exact(&mut raw) {
        Ok(()) => Ok(Testimony::decode(&raw)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open witness file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: File,
    testimony: Testimony,
    failing: bool,
}

impl Witness {
    /// Writes a witness file and syncs it, its name included.
    pub(crate) fn create(path: &Path, testimony: Testimony) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut witness = Self { file, testimony, failing: false };
        witness.put()?;
        witness.file.sync_all()?;
        if let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(witness)
    }

    /// Remembers the last sequence made durable. A failure is told once and does not stop the log: only the
    /// detection of a restored database suffers.
    pub(crate) fn advance(&mut self, last: u64) {
        if self.testimony.last == last {
            return;
        }
        self.testimony.last = last;
        let failed = self.put();
        if let Err(error) = &failed
            && !self.failing
        {
            tracing::warn!(%error, "the witness file cannot be written: a database restored later may go unnoticed");
        }
        self.failing = failed.is_err();
    }

    /// Remembers that the store was closed.
    pub(crate) fn mark_clean(&mut self) {
        self.testimony.clean = true;
        if let Err(error) = self.put().and_then(|()| self.file.sync_all()) {
            tracing::warn!(%error, "the witness file cannot be written: the next start checks more than it needs to");
        }
    }

    #[cfg(unix)]
    fn put(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(&self.testimony.encode(), 0)
    }

    #[cfg(not(unix))]
    fn put(&mut self) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.testimony.encode())
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Identity of the machine's current run; zeroes where the system does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return id };
    let mut digits = text.chars().filter_map(|digit| digit.to_digit(16));
    for byte in &mut id {
        let (Some(high), Some(low)) = (digits.next(), digits.next()) else { return [0; 16] };
        *byte = u8::try_from(high << 4 | low).unwrap_or(0);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_no_changed_byte_is_taken() {
        let testimony =
            Testimony { server: 1, epoch: u64::MAX, last: 77, boot: [3; 16], clean: true, unsynced: false };
        let raw = testimony.encode();
        assert_eq!(Testimony::decode(&raw), Some(testimony));
        for at in 0..LEN {
            let mut changed = raw;
            changed[at] ^= 1;
            assert_eq!(Testimony::decode(&changed), None, "byte {at}");
        }
    }

    #[test]
    fn the_boot_id_is_the_same_while_the_machine_runs() {
        assert_eq!(boot_id(), boot_id());
    }
}
