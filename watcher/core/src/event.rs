//! Events: what happened to one ref, or to a repository as a whole, before the log gives it a sequence.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::{ObjectId, RefName, Target};

macro_rules! coded {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)* }

        impl $name {
            /// Every value, in order of code.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The stable number that the log stores. Never reused.
            pub const fn code(self) -> u8 { self as u8 }

            /// The value of a stored number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)* _ => None }
            }

            /// The name in upper snake case, as in the wire contract without its prefix.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

coded! {
    /// What an event is called (DESIGN.md section 5). The numbers equal those of `GitEventType` on the wire.
    EventType {
        /// A branch appeared.
        BranchCreated = 1, "BRANCH_CREATED";
        /// A branch moved, not known to have been forced.
        BranchUpdated = 2, "BRANCH_UPDATED";
        /// A branch moved to a commit that does not contain the old one.
        BranchForcePushed = 3, "BRANCH_FORCE_PUSHED";
        /// A branch is gone.
        BranchDeleted = 4, "BRANCH_DELETED";
        /// Inferred: a delete and a create with the same object in one transaction.
        BranchRenamed = 5, "BRANCH_RENAMED";
        /// A tag appeared.
        TagCreated = 6, "TAG_CREATED";
        /// A tag points elsewhere.
        TagMoved = 7, "TAG_MOVED";
        /// A tag is gone.
        TagDeleted = 8, "TAG_DELETED";
        /// Derived: a created tag that matches the release patterns.
        ReleaseCreated = 9, "RELEASE_CREATED";
        /// HEAD of a bare repository points elsewhere.
        DefaultBranchChanged = 10, "DEFAULT_BRANCH_CHANGED";
        /// A ref under refs/notes/ changed.
        NotesUpdated = 11, "NOTES_UPDATED";
        /// A ref under refs/replace/ changed.
        ReplaceRefUpdated = 12, "REPLACE_REF_UPDATED";
        /// A ref under refs/pull/, refs/merge-requests/ or refs/changes/ changed.
        ChangeRequestRefUpdated = 13, "CHANGE_REQUEST_REF_UPDATED";
        /// Any other ref changed.
        CustomRefUpdated = 14, "CUSTOM_REF_UPDATED";
        /// A symbolic ref other than a bare repository's HEAD changed.
        SymbolicRefUpdated = 15, "SYMBOLIC_REF_UPDATED";
        /// A ref file that cannot be read; the last good value stands.
        RefBroken = 16, "REF_BROKEN";
        /// A broken ref can be read again.
        RefRepaired = 17, "REF_REPAIRED";
        /// Summary that closes a push.
        PushReceived = 18, "PUSH_RECEIVED";
        /// Summary that closes a bulk transaction.
        MirrorSynced = 19, "MIRROR_SYNCED";
        /// A refused update.
        PushRejected = 20, "PUSH_REJECTED";
        /// A refused update of a protected ref.
        ProtectedBranchRejected = 21, "PROTECTED_BRANCH_REJECTED";
        /// A repository appeared.
        RepositoryDiscovered = 22, "REPOSITORY_DISCOVERED";
        /// A repository is gone.
        RepositoryDeleted = 23, "REPOSITORY_DELETED";
        /// A repository has a new path.
        RepositoryMoved = 24, "REPOSITORY_MOVED";
    }
}

coded! {
    /// What happened to a ref's value.
    RefChange {
        /// It did not exist before.
        Created = 1, "CREATED";
        /// It has another value.
        Updated = 2, "UPDATED";
        /// It exists no more.
        Deleted = 3, "DELETED";
    }
}

coded! {
    /// How the new commit relates to the old one.
    Forward {
        /// Not a commit-to-commit update, an object is missing, or the budget ran out.
        Unknown = 0, "UNKNOWN";
        /// The new commit contains the old one.
        FastForward = 1, "FAST_FORWARD";
        /// It does not: the old commit is no ancestor of the new one.
        Forced = 2, "FORCED";
        /// Neither that, nor do they share any history at all.
        Unrelated = 3, "UNRELATED";
    }
}

coded! {
    /// What made refwatch look.
    Origin {
        /// A hook recorded it.
        Hook = 1, "HOOK";
        /// A filesystem notification.
        Notify = 2, "NOTIFY";
        /// A periodic look found it (also in polling mode).
        Sweep = 3, "SWEEP";
        /// The look at start found it.
        Startup = 4, "STARTUP";
        /// A Git host reported it.
        Report = 5, "REPORT";
    }
}

coded! {
    /// Where an update was refused. The numbers equal those of `RejectionStage` on the wire.
    Stage {
        /// The pre-receive hook refused the whole push.
        PreReceive = 1, "PRE_RECEIVE";
        /// The update hook refused this ref.
        Update = 2, "UPDATE";
        /// The reference-transaction hook refused the transaction.
        ReferenceTransaction = 3, "REFERENCE_TRANSACTION";
        /// Git's own receive-pack refused it.
        ReceivePack = 4, "RECEIVE_PACK";
        /// The ref no longer held the old value that the update named.
        StaleOldValue = 5, "STALE_OLD_VALUE";
        /// Another writer had locked the ref.
        Lock = 6, "LOCK";
        /// The proc-receive hook refused it.
        ProcReceive = 7, "PROC_RECEIVE";
        /// The Git host refused it before Git was asked.
        HostPolicy = 8, "HOST_POLICY";
    }
}

impl RefChange {
    /// What leads from one value to another; `None` where they are equal.
    pub fn between(old: Option<&Target>, new: Option<&Target>) -> Option<Self> {
        match (old, new) {
            (None, None) => None,
            (None, Some(_)) => Some(RefChange::Created),
            (Some(_), None) => Some(RefChange::Deleted),
            (Some(old), Some(new)) => (old != new).then_some(RefChange::Updated),
        }
    }
}

/// Counts of a bulk transaction or push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Refs created.
    pub created: u32,
    /// Refs updated.
    pub updated: u32,
    /// Refs deleted.
    pub deleted: u32,
    /// Updates refused.
    pub rejected: u32,
}

/// One event of a transaction.
///
/// An event with a `change` moves the state: applied in order, such events give the refs on disk. The others
/// (`change` is `None`) are derived, and leave every ref as it was; [`EventType::RefBroken`] and
/// [`EventType::RefRepaired`] only mark one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is called.
    pub kind: EventType,
    /// The ref; `None` for events of a repository as a whole.
    pub name: Option<RefName>,
    /// What happened to the ref's value, if anything.
    pub change: Option<RefChange>,
    /// Value before.
    pub old: Option<Target>,
    /// Value after.
    pub new: Option<Target>,
    /// The commit (or other object) that an annotated tag in `old` finally names.
    pub old_peeled: Option<ObjectId>,
    /// The commit (or other object) that an annotated tag in `new` finally names.
    pub new_peeled: Option<ObjectId>,
    /// How `new` relates to `old`.
    pub forward: Forward,
    /// What made refwatch look.
    pub origin: Origin,
    /// Values in between may be missing.
    pub coalesced: bool,
    /// Position within the transaction, from 0.
    pub index: u32,
    /// Events in the transaction.
    pub size: u32,
    /// What only some events carry.
    pub extra: Option<Box<Extra>>,
}

/// What only some events carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Who did it, as a hook or a report told.
    pub actor: Option<String>,
    /// Where the actor is known from. For reports; empty as a rule, which stands for the report itself.
    pub actor_source: Option<String>,
    /// Where the push came from, as a report told: an address without a port.
    pub actor_address: Option<String>,
    /// Options of the push, in order.
    pub push_options: Vec<String>,
    /// Counts, for summaries.
    pub summary: Option<Summary>,
    /// For `REF_BROKEN`: what is wrong. For summaries: the cause. For rejections: a token for programs.
    pub reason: Option<String>,
    /// For `REPOSITORY_MOVED`: the path before. For `BRANCH_RENAMED`: the name before.
    pub previous: Option<Box<[u8]>>,
    /// For rejections: the code of its [`Stage`].
    pub stage: Option<u8>,
    /// For rejections: a message for people.
    pub message: Option<String>,
}

impl Event {
    /// An event of a repository as a whole: discovered, deleted or moved.
    pub fn of_repository(kind: EventType, origin: Origin) -> Self {
        Self {
            kind,
            name: None,
            change: None,
            old: None,
            new: None,
            old_peeled: None,
            new_peeled: None,
            forward: Forward::Unknown,
            origin,
            coalesced: false,
            index: 0,
            size: 1,
            extra: None,
        }
    }
}

/// Numbers the events of one transaction: `index` from 0, `size` the whole.
pub fn number(events: &mut [Event]) {
    let size = u32::try_from(events.len()).unwrap_or(u32::MAX);
    for (index, event) in (0..).zip(events.iter_mut()) {
        event.index = index;
        event.size = size;
    }
}
