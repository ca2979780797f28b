//! The closed sets that labels are drawn from.

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Name of the label.
    const NAME: &'static str;
    /// Every value, in the order of the discriminants.
    const ALL: &'static [Self];

    /// Value as it is written in the exposition.
    fn as_str(self) -> &'static str;

    /// Place of this value in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum whose variants are the values of one label.
macro_rules! label {
    ($(#[$doc:meta])+ $name:ident as $label:literal { $($(#[$vdoc:meta])+ $variant:ident = $value:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])+ $variant,)+ }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How a repository is followed.
    RepositoryState as "state" {
        /// By filesystem notifications.
        Watched = "watched",
        /// By looking again and again: no notifications there, or no watch left.
        Polled = "polled",
        /// Not at all: permissions or the disk are in the way.
        Unreadable = "unreadable",
        /// Not at all: what is there is no sound repository.
        Broken = "broken",
    }
}

label! {
    /// How much of a repository a pass looked at, and why.
    PassKind as "kind" {
        /// One loose ref that a wake named.
        Ref = "ref",
        /// `packed-refs` and what it shadows.
        Packed = "packed",
        /// Every ref.
        Full = "full",
        /// A polled repository.
        Poll = "poll",
        /// Part of a sweep.
        Sweep = "sweep",
        /// The first look after the start.
        Startup = "startup",
    }
}

label! {
    /// How an update relates its two values.
    Ancestry as "result" {
        /// The old value is an ancestor of the new one.
        FastForward = "fast_forward",
        /// The two share history, but the old value is no ancestor.
        Forced = "forced",
        /// The two share no history.
        Unrelated = "unrelated",
        /// Not to be found out: missing objects, no commits, or too long a walk.
        Unknown = "unknown",
    }
}

label! {
    /// Where a subscriber's read of the log was answered.
    LogSource as "source" {
        /// The shared tail of recent events.
        Memory = "memory",
        /// The database.
        Disk = "disk",
    }
}

label! {
    /// Why a subscription ended.
    SubscriptionEnd as "reason" {
        /// The client closed it, its deadline passed, or its connection broke.
        Client = "client",
        /// The server is draining.
        Draining = "draining",
        /// It stayed stalled past the limit.
        SlowConsumer = "slow_consumer",
        /// Retention overtook its cursor.
        CursorExpired = "cursor_expired",
        /// Its cursor, filter or start was refused.
        Refused = "refused",
        /// There were too many already.
        TooMany = "too_many",
        /// Its credentials did not hold, or no longer do.
        Unauthenticated = "unauthenticated",
        /// The log could not be read.
        Failed = "failed",
    }
}

label! {
    /// What became of a reported update.
    ReportOutcome as "outcome" {
        /// It is in the log.
        Stored = "stored",
        /// It, or another of its call, was malformed.
        Malformed = "malformed",
        /// Its repository is not known.
        UnknownRepository = "unknown_repository",
        /// Its caller reports too fast.
        Limited = "limited",
        /// The log could not take it, or the server was draining.
        Failed = "failed",
    }
}

label! {
    /// Why a connection was turned away.
    ConnectionRefusal as "reason" {
        /// There were too many already.
        Total = "total",
        /// There were too many of its peer already.
        Peer = "peer",
        /// TLS was not agreed on: no certificate, an unknown one, or no TLS.
        Tls = "tls",
        /// Its user may not connect to the Unix socket.
        User = "user",
    }
}

label! {
    /// Why a call's credentials were not enough.
    AuthFailure as "reason" {
        /// There were none.
        Missing = "missing",
        /// Its token is not known.
        Unknown = "unknown",
        /// Its token is known, and not for this; or nobody may do this without one.
        Scope = "scope",
        /// Its signature does not hold.
        Signature = "signature",
        /// It was signed too long ago, or the clocks are apart.
        Late = "late",
        /// Its signature was taken before.
        Replayed = "replayed",
        /// Too many failed before it: its credentials were not looked at.
        Limited = "limited",
    }
}

label! {
    /// A gRPC status code, numbered as in gRPC's `statuscodes.md`.
    GrpcCode as "code" {
        /// 0.
        Ok = "OK",
        /// 1.
        Cancelled = "CANCELLED",
        /// 2.
        Unknown = "UNKNOWN",
        /// 3.
        InvalidArgument = "INVALID_ARGUMENT",
        /// 4.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// 5.
        NotFound = "NOT_FOUND",
        /// 6.
        AlreadyExists = "ALREADY_EXISTS",
        /// 7.
        PermissionDenied = "PERMISSION_DENIED",
        /// 8.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// 9.
        FailedPrecondition = "FAILED_PRECONDITION",
        /// 10.
        Aborted = "ABORTED",
        /// 11.
        OutOfRange = "OUT_OF_RANGE",
        /// 12.
        Unimplemented = "UNIMPLEMENTED",
        /// 13.
        Internal = "INTERNAL",
        /// 14.
        Unavailable = "UNAVAILABLE",
        /// 15.
        DataLoss = "DATA_LOSS",
        /// 16.
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl From<i32> for GrpcCode {
    /// Reads a numeric code; a number that gRPC does not define is [`GrpcCode::Unknown`], as gRPC asks.
    fn from(code: i32) -> Self {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code)).copied().unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_as_grpc_numbers_them() {
        assert_eq!(GrpcCode::from(0), GrpcCode::Ok);
        assert_eq!(GrpcCode::from(11), GrpcCode::OutOfRange);
        assert_eq!(GrpcCode::from(16), GrpcCode::Unauthenticated);
        assert_eq!(GrpcCode::from(17), GrpcCode::Unknown);
        assert_eq!(GrpcCode::from(-1), GrpcCode::Unknown);
    }
}
