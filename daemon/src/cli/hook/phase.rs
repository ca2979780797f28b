//! The hooks that refwatch records by.

use clap::ValueEnum;

/// A hook of Git (githooks(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Before a push changes anything: what it asks for, and its options
    PreReceive,
    /// Before each ref of a push: a process a ref
    Update,
    /// After a push: what was taken
    PostReceive,
    /// Around each transaction of refs, whatever command makes it
    ReferenceTransaction,
}

impl Phase {
    /// All of them, in the order in which a push meets them.
    pub(super) const ALL: [Self; 4] =
        [Self::PreReceive, Self::Update, Self::PostReceive, Self::ReferenceTransaction];

    /// What is installed where nobody says: two processes a push, whatever its size, and exact for pushes.
    pub(super) const DEFAULT: [Self; 2] = [Self::PreReceive, Self::PostReceive];

    /// The name of its file.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PreReceive => "pre-receive",
            Self::Update => "update",
            Self::PostReceive => "post-receive",
            Self::ReferenceTransaction => "reference-transaction",
        }
    }
}
