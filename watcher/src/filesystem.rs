//! Filesystems that tell nothing of what other machines do to them.

use std::path::Path;

/// Magic numbers (statfs(2)) of filesystems whose changes may be made elsewhere: no notification comes of those.
const REMOTE: [u64; 11] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00c3_6400, // Ceph
    0x5346_414f, // OpenAFS
    0x6b41_4653, // AFS
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
];

/// True when notifications of a path cannot be relied on. A path that cannot be asked counts as local.
pub fn is_remote(path: &Path) -> bool {
    // The type of `f_type` differs between platforms; the numbers fit 32 bits on all.
    rustix::fs::statfs(path).is_ok_and(|stat| {
        let kind = u64::try_from(stat.f_type & 0xffff_ffff).unwrap_or(0);
        REMOTE.contains(&kind)
    })
}
