//! Turns steps and facts about their objects into events.
//!
//! Every step becomes one event (a step that changes nothing, which `reconcile` never makes, none). Derived events follow what they derive from: `RELEASE_CREATED` its `TAG_CREATED`,
//! `BRANCH_RENAMED` the later half of its pair, `MIRROR_SYNCED` all others.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::classify::{Bareness, Namespace, classify};
use crate::event::{self, Extra, Summary};
use crate::reconcile::{Draft, Mark, Step};
use crate::{Event, EventType, Forward, ObjectId, Origin, RefChange, RefName, Target};

/// Refs that have to change at once for a mirror to count as synced: one ref alone is an update like any other.
pub const MIRROR_REFS_MIN: u32 = 2;

/// [`Extra::reason`] of a `MIRROR_SYNCED` in a repository that is a mirror.
pub const REASON_MIRROR: &str = "mirror";

/// [`Extra::reason`] of a `MIRROR_SYNCED` for the number of refs alone.
pub const REASON_BULK: &str = "bulk";

/// What the object database says about one step; the default knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How the new commit relates to the old one.
    pub forward: Forward,
    /// What an annotated tag in `old` finally names.
    pub old_peeled: Option<ObjectId>,
    /// What an annotated tag in `new` finally names.
    pub new_peeled: Option<ObjectId>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { forward: Forward::Unknown, old_peeled: None, new_peeled: None }
    }
}

/// What a repository's configuration says about naming events.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Whether HEAD names the default branch.
    pub bareness: Bareness,
    /// True for the name of a release tag, given without `refs/tags/`.
    pub is_release: &'a dyn Fn(&[u8]) -> bool,
    /// Changes from which a draft is closed by a `MIRROR_SYNCED`; 0 and 1 close every one.
    pub bulk_refs_min: u32,
    /// True when the repository is configured as a mirror of a remote: then [`MIRROR_REFS_MIN`] changes are enough.
    pub mirror: bool,
}

/// Names the events of one draft and numbers them. `facts` has one entry a step, in the same order; where it is
/// shorter, nothing is known.
pub fn describe(rules: &Rules<'_>, draft: &Draft, facts: &[Facts]) -> Vec<Event> {
    let extra = (draft.actor.is_some() || !draft.push_options.is_empty()).then(|| Extra {
        actor: draft.actor.clone(),
        push_options: draft.push_options.clone(),
        ..Extra::default()
    });
    let mut renames = renames(&draft.steps);
    let mut events = Vec::with_capacity(draft.steps.len() + 2);
    for (at, step) in draft.steps.iter().enumerate() {
        let facts = facts.get(at).copied().unwrap_or_default();
        let Some(event) = of_step(rules, step, facts, extra.as_ref()) else { continue };
        let release = release(rules, &event);
        events.push(event);
        events.extend(release);
        events.extend(renames.remove(&at).map(|previous| renamed(draft, at, &previous, extra.as_ref())));
    }
    events.extend(synced(rules, draft, extra));
    event::number(&mut events);
    events
}

fn of_step(rules: &Rules<'_>, step: &Step, facts: Facts, extra: Option<&Extra>) -> Option<Event> {
    let (old, new) = (step.old.as_ref(), step.new.as_ref());
    let (kind, change, forward) = match step.mark {
        Mark::Broken => (EventType::RefBroken, None, Forward::Unknown),
        Mark::Repaired => (EventType::RefRepaired, None, Forward::Unknown),
        Mark::Change => {
            let change = RefChange::between(old, new)?;
            let forward = if change == RefChange::Updated { facts.forward } else { Forward::Unknown };
            (classify(rules.bareness, &step.name, old, new, change, forward), Some(change), forward)
        }
    };
    Some(Event {
        kind,
        name: Some(step.name.clone()),
        change,
        old: step.old.clone(),
        new: step.new.clone(),
        old_peeled: facts.old_peeled,
        new_peeled: facts.new_peeled,
        forward,
        origin: step.origin,
        coalesced: step.coalesced,
        index: 0,
        size: 0,
        extra: extra.cloned().map(Box::new),
    })
}

fn release(rules: &Rules<'_>, tag: &Event) -> Option<Event> {
    let name = tag.name.as_ref()?.as_bytes().strip_prefix(b"refs/tags/")?;
    (tag.kind == EventType::TagCreated && (rules.is_release)(name)).then(|| Event {
        kind: EventType::ReleaseCreated,
        change: None,
        old: None,
        old_peeled: None,
        ..tag.clone()
    })
}

/// Where a branch was deleted and exactly one other was created with the same object: the index of the later of the
/// two steps, and the steps (deletion, creation).
fn renames(steps: &[Step]) -> BTreeMap<usize, (usize, usize)> {
    let mut halves: BTreeMap<ObjectId, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if step.mark != Mark::Change || Namespace::of(&step.name) != Namespace::Branch {
            continue;
        }
        match (&step.old, &step.new) {
            (Some(Target::Direct(oid)), None) => halves.entry(*oid).or_default().0.push(at),
            (None, Some(Target::Direct(oid))) => halves.entry(*oid).or_default().1.push(at),
            _ => {}
        }
    }
    let pairs = halves.into_values().filter_map(|(deleted, created)| match (&*deleted, &*created) {
        ([deleted], [created]) if steps[*deleted].name != steps[*created].name => {
            Some(((*deleted).max(*created), (*deleted, *created)))
        }
        _ => None,
    });
    pairs.collect()
}

/// The link between a deletion and a creation: both sides are the object that moved to another name.
fn renamed(draft: &Draft, at: usize, pair: &(usize, usize), extra: Option<&Extra>) -> Event {
    let (deleted, created) = (&draft.steps[pair.0], &draft.steps[pair.1]);
    let previous: &RefName = &deleted.name;
    let extra = Extra { previous: Some(previous.as_bytes().into()), ..extra.cloned().unwrap_or_default() };
    Event {
        name: Some(created.name.clone()),
        old: deleted.old.clone(),
        new: created.new.clone(),
        coalesced: deleted.coalesced || created.coalesced,
        extra: Some(Box::new(extra)),
        ..Event::of_repository(EventType::BranchRenamed, draft.steps[at].origin)
    }
}

/// The summary that closes a draft with many changes, or that of a mirror.
fn synced(rules: &Rules<'_>, draft: &Draft, extra: Option<Extra>) -> Option<Event> {
    let mut summary = Summary::default();
    for step in draft.steps.iter().filter(|step| step.mark == Mark::Change) {
        match RefChange::between(step.old.as_ref(), step.new.as_ref()) {
            Some(RefChange::Created) => summary.created += 1,
            Some(RefChange::Updated) => summary.updated += 1,
            Some(RefChange::Deleted) => summary.deleted += 1,
            None => {}
        }
    }
    let changes = summary.created + summary.updated + summary.deleted;
    let reason = if rules.mirror && changes >= MIRROR_REFS_MIN {
        REASON_MIRROR
    } else if changes > 0 && changes >= rules.bulk_refs_min {
        REASON_BULK
    } else {
        return None;
    };
    let origin: Origin = draft.steps.first()?.origin;
    let extra =
        Extra { summary: Some(summary), reason: Some(reason.to_owned()), ..extra.unwrap_or_default() };
    Some(Event {
        coalesced: draft.steps.iter().any(|step| step.coalesced),
        extra: Some(Box::new(extra)),
        ..Event::of_repository(EventType::MirrorSynced, origin)
    })
}
