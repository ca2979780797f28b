//! Drives the refwatch binaries over their public faces.
