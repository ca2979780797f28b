//! What the machine says: its clocks and its limits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use refwatch_hook::process::read_proc;

/// The wall clock, in microseconds since 1970; 0 before.
pub(crate) fn wall_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// The monotonic clock that all processes of the machine share, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    since_beginning(Instant::now())
}

/// Tells how far an instant is from the machine's start. The standard library hides that number and promises only that
/// nothing earlier than what its clock can express can be subtracted to. That earliest instant is `i64::MIN`
/// seconds, so the longest duration that can be taken away says where the instant is. Where that is otherwise, the
/// number is another one, and still the same clock for all.
fn since_beginning(instant: Instant) -> u64 {
    let fits = |seconds, nanoseconds| instant.checked_sub(Duration::new(seconds, nanoseconds)).is_some();
    let seconds = (0..u64::BITS).rev().fold(0, |sum: u64, bit| {
        let more = sum | 1 << bit;
        if fits(more, 0) { more } else { sum }
    });
    let nanoseconds = (0..30).rev().fold(0, |sum: u32, bit| {
        let more = sum | 1 << bit;
        if more < 1_000_000_000 && fits(seconds, more) { more } else { sum }
    });
    seconds.wrapping_sub(1 << 63).wrapping_mul(1_000_000_000).wrapping_add(u64::from(nanoseconds))
}

/// A number that no other record has, in practice: a process writes one record, and no two have one pid at one time.
/// The monotonic clock begins anew when the machine starts; the wall clock tells starts apart.
pub(crate) const fn unique(pid: u32, monotonic_ns: u64, wall_us: u64) -> u64 {
    mixed(mixed(mixed(pid as u64) ^ monotonic_ns) ^ wall_us)
}

/// Spreads every bit over all (splitmix64's last step, which loses nothing).
const fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// True for a process that is `git pack-refs` (since 2.52 also `git refs optimize`), which `git gc` and `git maintenance`
/// run as well; false where that cannot be told. Read from `/proc/PID/cmdline` (proc_pid_cmdline(5)).
pub(crate) fn packs_refs(pid: u32) -> bool {
    read_proc(&format!("{pid}/cmdline"), is_pack_refs).unwrap_or(false)
}

/// Looks for the command among arguments that end with a zero byte each. An alias stands there under its own name.
fn is_pack_refs(arguments: &[u8]) -> bool {
    let mut arguments = arguments.split(|byte| *byte == 0);
    let program = arguments.next().and_then(|path| path.rsplit(|byte| *byte == b'/').next());
    if program != Some(b"git") {
        return program == Some(b"git-pack-refs");
    }
    while let Some(argument) = arguments.next() {
        match argument {
            // Options of git(1) whose value is an argument of its own.
            b"-c" | b"-C" | b"--git-dir" | b"--work-tree" | b"--namespace" | b"--config-env" => {
                arguments.next();
            }
            option if option.starts_with(b"-") => {}
            b"refs" => return arguments.next() == Some(b"optimize"),
            command => return command == b"pack-refs",
        }
    }
    false
}

/// The longest that a file may become for this process, in bytes (proc_pid_limits(5)); `None` where it may be any.
pub(crate) fn file_bytes_max() -> Option<u64> {
    read_proc("self/limits", |limits| limit_in(std::str::from_utf8(limits).ok()?))?
}

fn limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_counts_nanoseconds_since_the_machine_started() {
        let before = Instant::now();
        let first = since_beginning(before);
        for step in [1, 999_999_999, 1_000_000_000, 123_456_789_012] {
            assert_eq!(since_beginning(before + Duration::from_nanos(step)) - first, step);
        }
        let uptime = std::fs::read_to_string("/proc/uptime").expect("readable");
        let seconds: f64 = uptime.split(' ').next().expect("two numbers").parse().expect("a number");
        // The uptime also counts while the machine sleeps.
        assert!(monotonic_ns() / 1_000_000_000 <= Duration::from_secs_f64(seconds).as_secs() + 1);
        assert!(monotonic_ns() > 0);
    }

    #[test]
    fn packing_is_told_by_the_command() {
        let packs = |line: &str| is_pack_refs(format!("{line} ").replace(' ', "\0").as_bytes());
        for line in [
            "git pack-refs",
            "git pack-refs --all --prune",
            "/usr/lib/git-core/git pack-refs --all",
            "git -c gc.auto=0 -C repo.git --git-dir . --no-pager pack-refs",
            "/usr/lib/git-core/git-pack-refs --all",
            "git --no-pager refs optimize --all",
        ] {
            assert!(packs(line), "{line}");
        }
        for line in [
            "git push origin pack-refs",
            "git refs migrate --ref-format=reftable",
            "git -C pack-refs update-ref refs/heads/a b",
            "git --namespace pack-refs update-ref refs/heads/a b",
            "git-receive-pack pack-refs",
            "sh pack-refs",
            "git",
            "git -C",
            "",
        ] {
            assert!(!packs(line), "{line}");
        }
        assert!(!packs_refs(std::process::id()) && !packs_refs(u32::MAX));
    }

    #[test]
    fn the_limit_of_files_is_read_where_there_is_one() {
        let head = "Limit                     Soft Limit           Hard Limit           Units     \n";
        let line =
            |soft| format!("{head}Max file size             {soft:<20} unlimited            bytes     \n");
        assert_eq!(limit_in(&line("4096")), Some(4096));
        assert_eq!(limit_in(&line("unlimited")), None);
        assert_eq!(limit_in(head), None);
    }

    #[test]
    fn ids_of_neighbours_differ() {
        let ids = [unique(1, 1, 1), unique(2, 1, 1), unique(1, 2, 1), unique(1, 1, 2), unique(2, 2, 2)];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id));
        }
    }
}
