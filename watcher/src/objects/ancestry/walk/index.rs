//! Bringing the index into a walk that is under way.

use super::{Commits, Index, Indexed, Parents, Stop, Walk, can_contain};

impl<C: Commits> Walk<'_, C> {
    /// Opens the index once enough commits have been read for it to pay, and looks up what was seen so far.
    pub(super) fn maybe_open_index(&mut self) -> Result<(), Stop> {
        if self.index != Index::Later || self.reads < self.commits.reads_before_index() {
            return Ok(());
        }
        self.index = if self.commits.open_index() { Index::Open } else { Index::Never };
        if self.index == Index::Open {
            self.adopt_index()?;
        }
        Ok(())
    }

    fn adopt_index(&mut self) -> Result<(), Stop> {
        let mut indexed = Vec::new();
        for node in &mut self.nodes {
            let Some(entry) = self.commits.look_up(&node.id) else { continue };
            if !has_level(entry) {
                return Err(Stop::WrongIndex);
            }
            match node.parents {
                Parents::Read(from, to) => {
                    // Whoever wrote the index must have seen the same history.
                    let read = &self.read_parents[from as usize..to as usize];
                    if !self.commits.indexed_parents(entry.position, &mut indexed)
                        || !indexed.iter().map(|(id, _)| id).eq(read)
                    {
                        return Err(Stop::WrongIndex);
                    }
                }
                // Collected since the index was written, which still tells its parents.
                Parents::Hole => (node.parents, node.time) = (Parents::Indexed(entry.position), entry.time),
                Parents::Indexed(_) => {}
            }
            node.generation = entry.generation;
            if node.id == self.old {
                self.old_generation = entry.generation;
            }
        }
        self.rebuild_pending();
        Ok(())
    }

    fn rebuild_pending(&mut self) {
        self.pending_new.clear();
        self.pending_old.clear();
        self.candidates = 0;
        for (at, node) in (0..).zip(&self.nodes) {
            if node.is_pending_new() && can_contain(node, self.old, self.old_generation) {
                self.candidates += 1;
            }
            if node.is_hole() {
                continue;
            }
            let entry = (node.generation, node.time, std::cmp::Reverse(at));
            if node.is_pending_new() {
                self.pending_new.push(entry);
            } else if node.is_pending_old() {
                self.pending_old.push(entry);
            }
        }
    }
}

/// Whether the index has a usable topological level: old versions of git wrote 0, and the highest is a cap.
pub(super) fn has_level(entry: Indexed) -> bool {
    (1..gix::commitgraph::GENERATION_NUMBER_MAX).contains(&entry.generation)
}
