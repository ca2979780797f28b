//! The refwatch.v1 contract: generated messages, services and descriptors.
