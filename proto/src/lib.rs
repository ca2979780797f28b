//! The refwatch.v1 contract: generated messages, services and descriptors.
//!
//! What the messages mean is written in `refwatch/v1/*.proto`, and shows here as the documentation of [`v1`].
//!
//! A server implements the traits in [`server`], not any in [`v1`]: there the responses that carry many events are
//! [`EncodedFrame`], so that an event is encoded once however many subscribers it has.
//!
//! A subscriber begins with `client` (feature `client`): it connects, watches, resumes and verifies. Without the feature
//! this crate opens no connection, and depends on no transport.

#[cfg(feature = "client")]
pub mod client;
pub mod cloudevents;
mod frame;
pub mod json;
pub mod limits;
mod names;

pub use frame::EncodedFrame;

/// Messages and clients.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, rustdoc::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/messages/refwatch.v1.rs"));
}

/// Server traits, with [`EncodedFrame`] for the responses of WatchEvents and ListEvents.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, rustdoc::all)]
pub mod server {
    include!(concat!(env!("OUT_DIR"), "/servers/refwatch.v1.rs"));
}

/// The encoded `FileDescriptorSet` of the contract, comments included: for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The `domain` of every `google.rpc.ErrorInfo` that refwatch sends. The reasons are [`v1::ErrorReason`].
pub const ERROR_DOMAIN: &str = "refwatch";
