//! The hook under real git, read back as the watcher reads it.

mod concurrent;
mod dispatching;
mod harmless;
mod pushing;
mod recording;
mod rotation;
mod support;
