//! Which numbers of processes can be looked up.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::crc::crc32;

/// A number for the space of process numbers that this process is in: that of its machine since it started, and of its
/// container. Two processes with the same one know each other's numbers; 0 where it cannot be told.
///
/// The upper half is the inode of the pid namespace (namespaces(7)), the lower the CRC-32 of the kernel's boot id
/// (proc(5)): inodes are the same on all machines.
pub fn own() -> u64 {
    let namespace = fs::metadata("/proc/self/ns/pid").map(|found| found.ino());
    let boot = fs::read("/proc/sys/kernel/random/boot_id");
    match (namespace, boot) {
        (Ok(namespace), Ok(boot)) => namespace << 32 | u64::from(crc32(&boot)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_known_and_stays_the_same() {
        assert_ne!(super::own(), 0);
        assert_eq!(super::own(), super::own());
    }
}
