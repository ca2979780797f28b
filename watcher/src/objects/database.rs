//! The object database: loose objects, packs and alternates, as they are on disk now.
//!
//! Built on gitoxide's files (pack, pack index, loose object) rather than on its store: that one numbers packs anew as
//! they come and go while its cache of delta bases is keyed by those numbers, has a fixed number of slots, and looks
//! into the largest pack first, where a push puts what is new into the smallest.

use std::path::PathBuf;

use gix::odb::loose;

use super::packs::{Damaged, Packs, Reach, Stamp, Want};

/// Listings of the pack directories in one question, at most: each missing object asks for one.
const LISTINGS_MAX: u32 = 3;

/// Why an object was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It is in none of the object directories.
    Missing,
    /// It is there, but damaged, or might be in a pack that is.
    Unreadable,
}

/// One repository's objects.
pub(super) struct Database {
    objects: PathBuf,
    kind: gix::hash::Kind,
    /// Own directory first, then the alternates.
    loose: Vec<loose::Store>,
    packs: Packs,
    /// What the pack directories looked like before they were last listed; empty while they never were.
    listed: Vec<Option<Stamp>>,
    listings_left: u32,
}

impl Database {
    pub(super) fn new(objects: PathBuf, kind: gix::hash::Kind) -> Self {
        let loose = vec![loose::Store::at(&objects, kind)];
        Self {
            objects,
            kind,
            loose,
            packs: Packs::default(),
            listed: Vec::new(),
            listings_left: LISTINGS_MAX,
        }
    }

    pub(super) fn kind(&self) -> gix::hash::Kind {
        self.kind
    }

    /// Starts a question: lets go of packs that are gone. False where the whole database is gone.
    pub(super) fn begin(&mut self) -> bool {
        if !self.objects.is_dir() {
            return false;
        }
        self.packs.clear_deltas();
        self.listings_left = LISTINGS_MAX;
        if !self.listed.is_empty() && self.listed != stamps(&self.loose) {
            self.list();
        }
        true
    }

    pub(super) fn release(&mut self) {
        *self = Self::new(std::mem::take(&mut self.objects), self.kind);
    }

    /// The object directories: the own one, then the alternates.
    pub(super) fn directories(&mut self) -> Vec<PathBuf> {
        if self.listed.is_empty() {
            self.list();
        }
        self.loose.iter().map(|store| store.path().to_owned()).collect()
    }

    /// Reads an object into `out`.
    pub(super) fn object(&mut self, id: &gix::hash::oid, out: &mut Vec<u8>) -> Result<gix::objs::Kind, Miss> {
        self.fetch(id, &mut Want::Object(out)).map(|(kind, _)| kind)
    }

    /// The kind of an object and its size in bytes.
    pub(super) fn header(&mut self, id: &gix::hash::oid) -> Result<(gix::objs::Kind, u64), Miss> {
        self.fetch(id, &mut Want::Header)
    }

    /// Looks into what is at hand first: mapped packs, loose objects, the other packs that are known. Then lists the
    /// packs anew and looks once more everywhere, because git moves objects from loose to packed and between packs.
    fn fetch(&mut self, id: &gix::hash::oid, want: &mut Want<'_>) -> Result<(gix::objs::Kind, u64), Miss> {
        let mut miss = Miss::Missing;
        for round in 0..2 {
            if round == 1 {
                if self.listings_left == 0 {
                    break;
                }
                self.listings_left -= 1;
                self.list();
            }
            for place in [Some(Reach::Mapped), None, Some(Reach::Unmapped)] {
                let looked = match place {
                    Some(reach) => self.packs.fetch(id, want, reach),
                    None => self.fetch_loose(id, want),
                };
                match looked {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    Err(Damaged) => miss = Miss::Unreadable,
                }
            }
        }
        Err(miss)
    }

    fn fetch_loose(
        &self,
        id: &gix::hash::oid,
        want: &mut Want<'_>,
    ) -> Result<Option<(gix::objs::Kind, u64)>, Damaged> {
        let mut damaged = false;
        for store in &self.loose {
            let read = match want {
                Want::Object(out) => {
                    store.try_find(id, out).map(|found| found.map(|data| (data.kind, data.data.len() as u64)))
                }
                Want::Header => store.try_header(id).map(|found| found.map(|(size, kind)| (kind, size))),
            };
            match read {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(_) => damaged = true,
            }
        }
        if damaged { Err(Damaged) } else { Ok(None) }
    }

    /// Finds out which object directories and packs there are.
    fn list(&mut self) {
        // Alternates that cannot be followed (a cycle) are as if they were not there: objects are then missing.
        let alternates =
            gix::odb::alternate::resolve(self.objects.clone(), &self.objects).unwrap_or_default();
        let directories: Vec<_> = std::iter::once(self.objects.clone()).chain(alternates).collect();
        if directories.iter().map(PathBuf::as_path).ne(self.loose.iter().map(loose::Store::path)) {
            self.loose = directories.iter().map(|path| loose::Store::at(path, self.kind)).collect();
        }
        // Before the listing, so that a pack that comes meanwhile changes the stamp.
        self.listed = stamps(&self.loose);
        self.packs.list(&directories);
    }

    /// Packs that are mapped.
    #[cfg(test)]
    pub(super) fn mapped_packs(&self) -> usize {
        self.packs.mapped()
    }
}

fn stamps(stores: &[loose::Store]) -> Vec<Option<Stamp>> {
    stores.iter().map(|store| Stamp::at(&store.path().join("pack"))).collect()
}
