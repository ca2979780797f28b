//! What a refused update is told as: the same for whoever learned of it, a report or a hook.

use alloc::boxed::Box;

use crate::event::Extra;
use crate::{Event, EventType, Origin, RefName, Target};

/// One update that was asked for and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The ref.
    pub name: RefName,
    /// The value that the update named as the old one; `None` for a creation.
    pub old: Option<Target>,
    /// The value that it proposed; `None` for a deletion. The object may exist nowhere.
    pub new: Option<Target>,
    /// Who asked, with which options, and why it was refused: `stage`, `reason` and `message`.
    pub extra: Extra,
}

/// Names a refused update. The event changes no ref. `is_protected` is true for the full name of a ref that the
/// configuration protects.
///
/// The transaction is the caller's to number: the refusals of one push are one ([`crate::event::number`]).
pub fn refused(is_protected: &dyn Fn(&[u8]) -> bool, origin: Origin, refusal: Refusal) -> Event {
    let kind = if is_protected(refusal.name.as_bytes()) {
        EventType::ProtectedBranchRejected
    } else {
        EventType::PushRejected
    };
    Event {
        name: Some(refusal.name),
        old: refusal.old,
        new: refusal.new,
        extra: Some(Box::new(refusal.extra)),
        ..Event::of_repository(kind, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectId;

    #[test]
    fn a_refusal_changes_nothing_and_is_named_by_its_ref() {
        let is_protected = |name: &[u8]| name == b"refs/heads/main";
        for (name, kind) in [
            (b"refs/heads/main".as_slice(), EventType::ProtectedBranchRejected),
            (b"refs/heads/mainly", EventType::PushRejected),
        ] {
            let refusal = Refusal {
                name: RefName::new(name).expect("a name"),
                old: None,
                new: Some(Target::Direct(ObjectId::Sha1([7; 20]))),
                extra: Extra { stage: Some(2), ..Extra::default() },
            };
            let event = refused(&is_protected, Origin::Report, refusal.clone());
            assert_eq!((event.kind, event.change, event.origin), (kind, None, Origin::Report));
            assert_eq!((event.old, event.new), (None, Some(Target::Direct(ObjectId::Sha1([7; 20])))));
            assert_eq!(event.extra.as_deref(), Some(&refusal.extra));
        }
    }
}
