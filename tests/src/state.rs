//! What refs point at: told by Git, and told by events.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use refwatch_proto::v1::{GitEvent, GitEventType, Ref, RefChange};

use crate::git;
use crate::world::Repo;

/// What a ref points at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// An object, in hex.
    Oid(String),
    /// Another ref.
    Symbolic(Vec<u8>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Oid(oid) => f.write_str(oid.get(..10).unwrap_or(oid)),
            Value::Symbolic(name) => write!(f, "ref:{}", String::from_utf8_lossy(name)),
        }
    }
}

impl Value {
    fn of(oid: &str, symbolic: &str, symbolic_bytes: &[u8]) -> Option<Self> {
        if !symbolic.is_empty() {
            Some(Value::Symbolic(exact(symbolic, symbolic_bytes)))
        } else if oid.bytes().all(|digit| digit == b'0') {
            None
        } else {
            Some(Value::Oid(oid.to_owned()))
        }
    }

    /// Where an event starts.
    pub fn before(event: &GitEvent) -> Option<Self> {
        Self::of(&event.old_oid, &event.old_symbolic_target, &event.old_symbolic_target_bytes)
    }

    /// Where an event leads.
    pub fn after(event: &GitEvent) -> Option<Self> {
        Self::of(&event.new_oid, &event.new_symbolic_target, &event.new_symbolic_target_bytes)
    }
}

/// The exact bytes of a name.
fn exact(text: &str, bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() { text.as_bytes().to_vec() } else { bytes.to_vec() }
}

/// The exact name of an event's ref.
pub(crate) fn name_of(event: &GitEvent) -> Vec<u8> {
    exact(&event.ref_name, &event.ref_name_bytes)
}

/// Refs of one repository: HEAD and what is under `refs/`, not those of linked worktrees.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Refs(pub BTreeMap<Vec<u8>, Value>);

impl std::fmt::Debug for Refs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| (String::from_utf8_lossy(name), value)))
            .finish()
    }
}

impl Refs {
    /// As `git for-each-ref` and `git symbolic-ref` tell them.
    ///
    /// # Panics
    /// When Git fails.
    pub fn of_git(repo: &Repo) -> Self {
        let format = "--format=%(refname)%00%(objectname)%00%(symref)%00";
        let output = git::command(&repo.git_dir).args(["for-each-ref", format]).output().expect("git runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "for-each-ref: {said}");
        let mut refs = BTreeMap::new();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            // For a symbolic ref that is the end of the chain, and not its value.
            let value = if fields[2].is_empty() {
                Value::Oid(String::from_utf8_lossy(fields[1]).into_owned())
            } else {
                symbolic(repo, fields[0]).expect("symbolic")
            };
            refs.insert(fields[0].to_vec(), value);
        }
        let head = symbolic(repo, b"HEAD").unwrap_or_else(|| Value::Oid(repo.git(&["rev-parse", "HEAD"])));
        refs.insert(b"HEAD".to_vec(), head);
        Self(refs)
    }
}

fn symbolic(repo: &Repo, name: &[u8]) -> Option<Value> {
    let mut command = git::command(&repo.git_dir);
    let output = command
        .args(["symbolic-ref", "-q", "--no-recurse"])
        .arg(OsStr::from_bytes(name))
        .output()
        .expect("git runs");
    output.status.success().then(|| Value::Symbolic(output.stdout.trim_ascii_end().to_vec()))
}

/// All refs as events and snapshots tell them, by repository id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(pub BTreeMap<String, Refs>);

impl State {
    /// Takes a ref of a snapshot.
    pub fn put(&mut self, taken: &Ref) {
        let refs = self.0.entry(taken.repository_id.clone()).or_default();
        if let Some(value) = Value::of(&taken.oid, &taken.symbolic_target, &taken.symbolic_target_bytes) {
            refs.0.insert(exact(&taken.name, &taken.name_bytes), value);
        }
    }

    /// Moves on by one event.
    ///
    /// # Errors
    /// Where the event does not start at what is held: the guarantee Unbroken does not hold then.
    pub fn apply(&mut self, event: &GitEvent) -> Result<(), String> {
        let id = &event.repository.as_ref().ok_or("an event without a repository")?.id;
        if event.r#type() == GitEventType::RepositoryDeleted {
            self.0.remove(id);
            return Ok(());
        }
        if event.change() == RefChange::Unspecified {
            return Ok(());
        }
        let name = name_of(event);
        let refs = self.0.entry(id.clone()).or_default();
        let held = refs.0.get(&name).cloned();
        let (before, after) = (Value::before(event), Value::after(event));
        if held != before {
            let name = String::from_utf8_lossy(&name);
            let sequence = event.sequence;
            return Err(format!("event {sequence} takes {name} from {before:?}, but it is at {held:?}"));
        }
        let change = match (&before, &after) {
            (None, Some(_)) => RefChange::Created,
            (Some(_), None) => RefChange::Deleted,
            (Some(_), Some(_)) if before != after => RefChange::Updated,
            (Some(_), Some(_)) | (None, None) => RefChange::Unspecified,
        };
        if change != event.change() {
            return Err(format!("event {} says {:?}, but shows {change:?}", event.sequence, event.change()));
        }
        match after {
            Some(after) => drop(refs.0.insert(name, after)),
            None => drop(refs.0.remove(&name)),
        }
        Ok(())
    }

    /// The refs of one repository without those of linked worktrees, as [`Refs::of_git`] has them.
    pub fn shared(&self, id: &str) -> Refs {
        let refs = self.0.get(id).map(|refs| refs.0.clone()).unwrap_or_default();
        Refs(refs.into_iter().filter(|(name, _)| !name.starts_with(b"worktrees/")).collect())
    }
}
