//! Bounds that the contract writes down. A server may be stricter where `ServerLimits` can say so, never laxer.

/// Longest cursor, in bytes.
pub const CURSOR_BYTES_MAX: usize = 128;
/// Largest event, in encoded bytes.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// Longest ref name, symbolic target or repository path, in bytes.
pub const NAME_BYTES_MAX: usize = 4_096;
/// Push options of one push.
pub const PUSH_OPTIONS_MAX: usize = 64;
/// Push options of one push together, in bytes.
pub const PUSH_OPTIONS_BYTES_MAX: usize = 32_768;
/// Longest name of an actor, in bytes.
pub const ACTOR_NAME_BYTES_MAX: usize = 256;
/// Longest source or address of an actor, in bytes.
pub const ACTOR_SOURCE_BYTES_MAX: usize = 64;
/// Longest reason of a rejection, in bytes.
pub const REJECTION_REASON_BYTES_MAX: usize = 64;
/// Longest message of a rejection, in bytes.
pub const REJECTION_MESSAGE_BYTES_MAX: usize = 4_096;
/// Longest reason why a ref or repository cannot be read, in bytes.
pub const BROKEN_REASON_BYTES_MAX: usize = 256;

/// Size of an `EventBatch` or `SnapshotRefs` where the request names none, in encoded bytes.
pub const BATCH_BYTES_DEFAULT: u32 = 262_144;
/// Smallest `max_batch_bytes`, in bytes.
pub const BATCH_BYTES_MIN: u32 = 1_024;
/// Largest `max_batch_bytes`, in bytes; pages end before it as well. gRPC clients refuse more than 4 MiB by default.
pub const BATCH_BYTES_MAX: u32 = 3_145_728;

/// Interval of Progress where the request names none, in milliseconds.
pub const PROGRESS_INTERVAL_MS_DEFAULT: u32 = 10_000;
/// Shortest `progress_interval_ms`, in milliseconds.
pub const PROGRESS_INTERVAL_MS_MIN: u32 = 100;
/// Longest `progress_interval_ms`, in milliseconds.
pub const PROGRESS_INTERVAL_MS_MAX: u32 = 600_000;

/// `page_size` of ListEvents and ListRepositories where the request names none.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// Largest `page_size` of ListEvents and ListRepositories.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// `page_size` of ListRefs where the request names none.
pub const REF_PAGE_SIZE_DEFAULT: u32 = 1_000;
/// Largest `page_size` of ListRefs.
pub const REF_PAGE_SIZE_MAX: u32 = 10_000;
/// Longest page token of ListEvents and ListRepositories, in bytes.
pub const PAGE_TOKEN_BYTES_MAX: usize = 256;
/// Longest page token of ListRefs, which may hold a ref name, in bytes.
pub const REF_PAGE_TOKEN_BYTES_MAX: usize = 8_192;

/// Globs in one list.
pub const GLOBS_MAX: u32 = 64;
/// Longest glob, in bytes.
pub const GLOB_BYTES_MAX: u32 = 1_024;
/// Characters of [`GLOB_WILDCARDS`] in all globs of one request together. Literal bytes cost next to nothing; one of these takes
/// up to 5 microseconds of the server's time to compile, in whatever glob it stands: 20 milliseconds for all.
pub const GLOB_WILDCARDS_MAX: u32 = 4_096;
/// Characters that make a glob costly. Each counts, also where `\` or `[]` takes its meaning away.
pub const GLOB_WILDCARDS: [char; 5] = ['*', '?', '[', '{', ','];
/// Repository ids in one request.
pub const REPOSITORY_IDS_MAX: u32 = 1_000;
/// Longest repository id or transaction id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Types, or namespaces, in one filter.
pub const FILTER_ENUMS_MAX: u32 = 64;
/// Reports in one `ReportRejections`.
pub const REPORTS_MAX: u32 = 1_000;
/// Largest request of `IngestService`, in encoded bytes.
pub const REPORT_BYTES_MAX: usize = 4 << 20;

/// Wait of a `sync` where the request names none, in milliseconds.
pub const SYNC_TIMEOUT_MS_DEFAULT: u32 = 10_000;
/// Longest `timeout_ms` of a `sync`, in milliseconds.
pub const SYNC_TIMEOUT_MS_MAX: u32 = 600_000;
