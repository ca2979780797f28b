//! The hook under real git, read back as the watcher reads it.

mod concurrent;
mod harmless;
mod recording;
mod rotation;
mod support;
