//! The commit-graph files (gitformat-commit-graph), checked before they are believed.
//!
//! Git believes a commit-graph as it stands. Here an answer goes into a log that others act upon, so each file's checksum
//! is compared once after it changed, layers of a chain must name the layers below them, and the walk compares what
//! it sees (`ancestry`). A file that fails is as if it were not there, and is not read again until it changes.
//!
//! A stale graph is no problem: it lacks new commits, and may tell of commits that were collected since, truthfully.

use std::path::{Path, PathBuf};

use gix::commitgraph::{File, Graph, Position};

use super::ancestry::Indexed;
use super::packs::Stamp;

/// Largest commit-graph file that is used, in bytes: it has to be read once as a whole, at some 2 ms a MiB.
const GRAPH_BYTES_MAX: u64 = 512 << 20;
/// Most layers of a chain.
const LAYERS_MAX: usize = 64;

/// The commit-graph of a repository or of one of its alternates.
pub(super) struct CommitGraph {
    kind: gix::hash::Kind,
    graph: Option<Graph>,
    /// What the files that decide which graph there is looked like; `None` while nobody looked.
    seen: Option<Vec<Option<Stamp>>>,
    /// Files with a good checksum.
    checked: Vec<(PathBuf, Stamp)>,
}

impl CommitGraph {
    pub(super) fn new(kind: gix::hash::Kind) -> Self {
        Self { kind, graph: None, seen: None, checked: Vec::new() }
    }

    /// Whether a graph is at hand that costs nothing to open.
    pub(super) fn is_checked(&self) -> bool {
        self.graph.is_some()
    }

    /// Makes the graph of the first of `directories` that has one ready; false where there is none.
    pub(super) fn open(&mut self, directories: &[PathBuf]) -> bool {
        let seen = directories.iter().flat_map(|path| [single(path), chain(path)]);
        let seen: Vec<_> = seen.map(|path| Stamp::at(&path)).collect();
        if self.seen.as_ref() != Some(&seen) {
            self.graph = None;
            self.graph = self.load(directories);
            self.seen = Some(seen);
        }
        self.graph.is_some()
    }

    /// Puts the graph away until its files change: what it says was found to be wrong.
    pub(super) fn reject(&mut self) {
        self.graph = None;
    }

    pub(super) fn release(&mut self) {
        *self = Self::new(self.kind);
    }

    pub(super) fn look_up(&self, id: &gix::hash::oid) -> Option<Indexed> {
        let graph = self.graph.as_ref()?;
        let position = graph.lookup(id)?;
        Some(indexed(graph, position))
    }

    /// Reads the parents of the commit at `position`; false where the file is wrong.
    pub(super) fn parents(&self, position: u32, parents: &mut Vec<(gix::ObjectId, Indexed)>) -> bool {
        parents.clear();
        let Some(graph) = &self.graph else { return false };
        for parent in graph.commit_at(Position(position)).iter_parents() {
            let Ok(parent) = parent else { return false };
            parents.push((graph.id_at(parent).to_owned(), indexed(graph, parent)));
        }
        true
    }

    fn load(&mut self, directories: &[PathBuf]) -> Option<Graph> {
        let before = std::mem::take(&mut self.checked);
        for directory in directories {
            let mut layers = Vec::new();
            let alone = self.layer(&single(directory), &before).filter(|file| file.base_graph_count() == 0);
            if let Some(file) = alone {
                layers.push(file);
            } else {
                self.chain_layers(directory, directories, &before, &mut layers);
            }
            if let Some(graph) = (!layers.is_empty()).then(|| Graph::new(layers).ok()).flatten() {
                return Some(graph);
            }
        }
        None
    }

    /// Opens the layers of a chain from the lowest up, as far as they are good: those are a graph of their own.
    /// A layer may lie in an alternate.
    fn chain_layers(
        &mut self,
        directory: &Path,
        directories: &[PathBuf],
        before: &[(PathBuf, Stamp)],
        layers: &mut Vec<File>,
    ) {
        let text = std::fs::read_to_string(chain(directory)).unwrap_or_default();
        for hash in text.lines().take(LAYERS_MAX) {
            let Ok(named) = gix::ObjectId::from_hex(hash.as_bytes()) else { return };
            let name = format!("info/commit-graphs/graph-{hash}.graph");
            let Some(file) = directories.iter().find_map(|path| self.layer(&path.join(&name), before)) else {
                return;
            };
            let below = layers.iter().map(File::checksum);
            if file.checksum() != named || file.iter_base_graph_ids().ne(below) {
                return;
            }
            layers.push(file);
        }
    }

    /// Opens one file with a good checksum.
    fn layer(&mut self, path: &Path, before: &[(PathBuf, Stamp)]) -> Option<File> {
        let meta = std::fs::metadata(path).ok()?;
        if !meta.is_file() || meta.len() > GRAPH_BYTES_MAX {
            return None;
        }
        let key = (path.to_owned(), Stamp::of(&meta));
        let file = File::at(path).ok().filter(|file| file.object_hash() == self.kind)?;
        if !before.contains(&key) {
            file.verify_checksum().ok()?;
        }
        self.checked.push(key);
        Some(file)
    }
}

fn single(directory: &Path) -> PathBuf {
    directory.join("info/commit-graph")
}

fn chain(directory: &Path) -> PathBuf {
    directory.join("info/commit-graphs/commit-graph-chain")
}

fn indexed(graph: &Graph, position: Position) -> Indexed {
    let commit = graph.commit_at(position);
    let time = i64::try_from(commit.committer_timestamp()).unwrap_or(i64::MAX);
    Indexed { position: position.0, generation: commit.generation(), time }
}
