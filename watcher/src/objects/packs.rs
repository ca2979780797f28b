//! The packs of one or more object directories, mapped as they are needed.
//!
//! Each pack is found by its own `.idx`, which Git keeps beside a multi-pack-index; that one is not read. It would save
//! opening the indexes of packs that are not yet mapped, and bring one more file that can be stale.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gix::odb::pack::cache::DecodeEntry;
use gix::odb::pack::{data, index};

/// Packs kept mapped at a time in one repository.
const OPEN_PACKS_MAX: usize = 256;
/// Largest object (or chain of deltas) to decode, in bytes: commits and tags are far smaller.
const OBJECT_BYTES_MAX: usize = 64 << 20;
/// Slots of the cache of delta bases, and the largest object kept in one: 1 MiB at most.
const DELTA_SLOTS: usize = 256;
const DELTA_BYTES_MAX: usize = 4 << 10;

/// What tells one state of a file from the next, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        Self { inode: meta.ino(), len: meta.len(), modified: meta.modified().ok() }
    }

    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|meta| Self::of(&meta))
    }
}

/// What is asked of an object.
pub(super) enum Want<'a> {
    /// Its content.
    Object(&'a mut Vec<u8>),
    /// Its kind and size only.
    Header,
}

/// Which packs to look into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those that are mapped.
    Mapped,
    /// The others: their indexes are mapped on the way.
    Unmapped,
}

/// What a look into packs gave.
pub(super) type Looked = Result<Option<(gix::objs::Kind, u64)>, Damaged>;

/// A pack that should have the object cannot be read.
pub(super) struct Damaged;

struct Pack {
    index_path: PathBuf,
    /// Stamp of the index file. Not every implementation names packs after their bytes.
    stamp: Stamp,
    /// Unique for as long as the process runs: a key of the cache of delta bases.
    id: u32,
    index: Option<index::File>,
    data: Option<data::File>,
    /// It could not be opened, and is left alone until the file changes.
    bad: bool,
}

/// The packs of one repository and its alternates.
#[derive(Default)]
pub(super) struct Packs {
    packs: Vec<Pack>,
    last_id: u32,
    inflate: gix::zlib::Inflate,
    deltas: DeltaCache,
}

impl Packs {
    /// Brings the list up to date with `directories` (each one's `pack`): new packs come first, the newest first of
    /// all; packs that are mapped stay so while their file is the same; those that are gone are unmapped.
    pub(super) fn list(&mut self, directories: &[PathBuf]) {
        let mut kept = std::mem::take(&mut self.packs);
        let mut listed = Vec::with_capacity(kept.len() + 1);
        for directory in directories {
            for (index_path, stamp) in indexes(&directory.join("pack")) {
                match kept.iter().position(|pack| pack.index_path == index_path && pack.stamp == stamp) {
                    Some(at) => listed.push(kept.swap_remove(at)),
                    None => {
                        self.last_id = self.last_id.wrapping_add(1);
                        let id = self.last_id;
                        listed.push(Pack { index_path, stamp, id, index: None, data: None, bad: false });
                    }
                }
            }
        }
        listed.sort_by_key(|pack| std::cmp::Reverse(pack.stamp.modified));
        self.packs = listed;
    }

    /// Forgets the bases of deltas; they are of use within one question.
    pub(super) fn clear_deltas(&mut self) {
        self.deltas.clear();
    }

    /// Packs that are mapped.
    #[cfg(test)]
    pub(super) fn mapped(&self) -> usize {
        self.packs.iter().filter(|pack| pack.index.is_some()).count()
    }

    /// Looks for `id` in packs.
    pub(super) fn fetch(&mut self, id: &gix::hash::oid, want: &mut Want<'_>, reach: Reach) -> Looked {
        let mut damaged = false;
        for at in 0..self.packs.len() {
            let is_mapped = self.packs[at].index.is_some();
            if is_mapped != (reach == Reach::Mapped) || self.packs[at].bad {
                continue;
            }
            if !is_mapped {
                self.bound_mapped();
            }
            match self.packs[at].fetch(id, want, &mut self.inflate, &mut self.deltas) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    // Neighbours in history are neighbours in packs.
                    self.packs[..=at].rotate_right(1);
                    return Ok(Some(found));
                }
                Err(Damaged) => damaged = true,
            }
        }
        if damaged { Err(Damaged) } else { Ok(None) }
    }

    /// Unmaps the pack that was of use the longest ago where there are too many.
    fn bound_mapped(&mut self) {
        if self.packs.iter().filter(|pack| pack.index.is_some()).count() < OPEN_PACKS_MAX {
            return;
        }
        if let Some(pack) = self.packs.iter_mut().rev().find(|pack| pack.index.is_some()) {
            pack.index = None;
            pack.data = None;
        }
    }
}

impl Pack {
    fn fetch(
        &mut self,
        id: &gix::hash::oid,
        want: &mut Want<'_>,
        inflate: &mut gix::zlib::Inflate,
        deltas: &mut DeltaCache,
    ) -> Looked {
        if self.index.is_none() {
            self.index = Some(self.open(index::File::at(&self.index_path, id.kind()))?);
        }
        let Some(index) = &self.index else { return Ok(None) };
        let Some(entry) = index.lookup(id) else { return Ok(None) };
        let offset = index.pack_offset_at_index(entry);
        if self.data.is_none() {
            let opened = self.open(data::File::at(self.index_path.with_extension("pack"), id.kind()));
            let mut pack = opened?.with_alloc_limit_bytes(Some(OBJECT_BYTES_MAX));
            pack.id = self.id;
            self.data = Some(pack);
        }
        let (Some(index), Some(pack)) = (&self.index, &self.data) else { return Ok(None) };
        // A pack that was replaced between the two opens would give other objects at the same offsets.
        if index.pack_checksum() != pack.checksum() {
            self.bad = true;
            return Err(Damaged);
        }
        decode(index, pack, offset, want, inflate, deltas).map(Some)
    }

    fn open<T>(&mut self, opened: gix::Result<T>) -> Result<T, Damaged> {
        opened.map_err(|_| {
            self.bad = true;
            Damaged
        })
    }
}

fn decode(
    index: &index::File,
    pack: &data::File,
    offset: u64,
    want: &mut Want<'_>,
    inflate: &mut gix::zlib::Inflate,
    deltas: &mut DeltaCache,
) -> Result<(gix::objs::Kind, u64), Damaged> {
    let entry = pack.entry(offset).map_err(|_| Damaged)?;
    let base = |id: &gix::hash::oid| index.lookup(id).map(|at| pack.entry(index.pack_offset_at_index(at)));
    match want {
        Want::Object(out) => {
            let in_pack = |id: &gix::hash::oid, _: &mut Vec<u8>| {
                Ok(base(id).transpose()?.map(data::decode::entry::ResolvedBase::InPack))
            };
            let outcome = pack.decode_entry(entry, out, inflate, &in_pack, deltas).map_err(|_| Damaged)?;
            Ok((outcome.kind, out.len() as u64))
        }
        Want::Header => {
            let in_pack = |id: &gix::hash::oid| {
                Ok(base(id).transpose()?.map(data::decode::header::ResolvedBase::InPack))
            };
            let outcome = pack.decode_header(entry, inflate, &in_pack).map_err(|_| Damaged)?;
            Ok((outcome.kind, outcome.object_size))
        }
    }
}

/// The pack indexes in `directory` with their stamps. A directory that cannot be read has none.
fn indexes(directory: &Path) -> impl Iterator<Item = (PathBuf, Stamp)> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().filter_map(|entry| {
        let path = entry.path();
        if path.extension()? != "idx" {
            return None;
        }
        let meta = entry.metadata().ok()?;
        Some((path, Stamp::of(&meta)))
    })
}

/// Objects that others are deltas of, by pack and offset: a table in which a newer one takes the older one's place.
#[derive(Default)]
struct DeltaCache {
    slots: Vec<Option<Base>>,
}

struct Base {
    pack: u32,
    offset: u64,
    kind: gix::objs::Kind,
    compressed_size: usize,
    data: Vec<u8>,
}

impl DeltaCache {
    fn clear(&mut self) {
        self.slots.clear();
    }

    fn slot(pack: u32, offset: u64) -> usize {
        let mixed = (offset ^ u64::from(pack) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::from((mixed >> 48) as u16) % DELTA_SLOTS
    }
}

impl DecodeEntry for DeltaCache {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: gix::objs::Kind, compressed_size: usize) {
        if data.len() > DELTA_BYTES_MAX {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(DELTA_SLOTS, || None);
        }
        let slot = &mut self.slots[Self::slot(pack, offset)];
        let mut kept = slot.take().map(|base| base.data).unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(data);
        *slot = Some(Base { pack, offset, kind, compressed_size, data: kept });
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(gix::objs::Kind, usize)> {
        let base = self.slots.get(Self::slot(pack, offset))?.as_ref()?;
        if (base.pack, base.offset) != (pack, offset) {
            return None;
        }
        out.clear();
        out.extend_from_slice(&base.data);
        Some((base.kind, base.compressed_size))
    }
}
