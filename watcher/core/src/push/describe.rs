//! Makes events of a push that is over.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(doc)]
use super::OPTIONS_COPIED_BYTES_MAX;
use super::{Closed, Rejected, copied};
use crate::event::{self, Extra, Summary};
use crate::journal::Update;
use crate::refuse::{Refusal, refused};
use crate::{Event, EventType, Origin, RefChange};

/// [`Extra::reason`] of a `PUSH_RECEIVED`.
pub const REASON_PUSH: &str = "push";

/// What a repository's configuration says about naming refusals.
#[derive(Clone, Copy)]
pub struct PushRules<'a> {
    /// True for the full name of a protected ref.
    pub is_protected: &'a dyn Fn(&[u8]) -> bool,
}

/// Names the events of one push and numbers them as one transaction: a refusal each for what was rejected, in order,
/// then one `PUSH_RECEIVED` if post-receive said that anything was accepted. None of them has a `change`: they move no ref.
///
/// The `PUSH_RECEIVED` carries all options of the push, a refusal the first [`OPTIONS_COPIED_BYTES_MAX`] bytes of them.
pub fn describe(closed: &Closed, rules: &PushRules<'_>) -> Vec<Event> {
    let extra = |push_options| Extra { actor: closed.actor.clone(), push_options, ..Extra::default() };
    let of_refusals = extra(copied(&closed.push_options));
    let mut events: Vec<Event> =
        closed.rejected.iter().map(|rejected| refusal(rejected, rules, of_refusals.clone())).collect();
    events.extend(received(closed, extra(closed.push_options.clone())));
    event::number(&mut events);
    events
}

fn refusal(rejected: &Rejected, rules: &PushRules<'_>, extra: Extra) -> Event {
    let Update { name, old, new } = &rejected.update;
    let extra = Extra {
        stage: Some(rejected.stage.code()),
        reason: Some(rejected.reason.to_owned()),
        message: Some(rejected.message.clone()),
        ..extra
    };
    let refusal = Refusal { name: name.clone(), old: old.target(), new: new.target(), extra };
    refused(rules.is_protected, Origin::Hook, refusal)
}

fn received(closed: &Closed, extra: Extra) -> Option<Event> {
    if closed.accepted.is_empty() {
        return None;
    }
    let rejected = u32::try_from(closed.rejected.len()).unwrap_or(u32::MAX);
    let mut summary = Summary { rejected, ..Summary::default() };
    for Update { old, new, .. } in &closed.accepted {
        // All zeroes is absence here: receive-pack states the old values of all that exists.
        match RefChange::between(old.target().as_ref(), new.target().as_ref()) {
            Some(RefChange::Created) => summary.created += 1,
            Some(RefChange::Updated) => summary.updated += 1,
            Some(RefChange::Deleted) => summary.deleted += 1,
            None => {}
        }
    }
    let extra = Extra { summary: Some(summary), reason: Some(REASON_PUSH.to_owned()), ..extra };
    Some(Event {
        extra: Some(Box::new(extra)),
        ..Event::of_repository(EventType::PushReceived, Origin::Hook)
    })
}
