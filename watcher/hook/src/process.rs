//! What the machine says of a process.

use std::fs::File;
use std::io::Read;

/// Most bytes of a file in `/proc` that are read; what is wanted of them stands within the first 500.
const PROC_BYTES_MAX: usize = 1024;

/// The number of a field in `/proc/PID/stat` (proc_pid_stat(5)), less one for each of the two before the first that is
/// read.
const STARTTIME: usize = 22 - 3;

/// A process, as `/proc/PID/stat` has it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Field 3, one letter.
    pub state: u8,
    /// Field 22: when it started, in clock ticks since the machine did.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads what is said of a process now; `None` where nothing is, or nothing that reads. That does not mean that there
    /// is none: `hidepid` (proc(5)) hides those of other users.
    pub fn of(pid: u32) -> Option<Self> {
        read_proc(&format!("{pid}/stat"), Self::parse)?
    }

    /// True where it has ended and only waits to be asked for its status.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The second field is a name in parentheses that may hold anything, spaces and parentheses too.
        let named = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = stat.get(named + 2..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let start = fields.nth(STARTTIME - 1)?;
        Some(Self { state, start_ticks: std::str::from_utf8(start).ok()?.parse().ok()? })
    }
}

/// Gives the first 1,024 bytes of a file in `/proc`, by its path there, to be read; `None` where there are none.
pub fn read_proc<T>(path: &str, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut bytes = [0; PROC_BYTES_MAX];
    let length = File::open(format!("/proc/{path}")).ok()?.read(&mut bytes).ok()?;
    Some(read(&bytes[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_read_past_any_name() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["git", "a b", ") S 1 (", ""] {
            for state in ["S", "Z", "X", "R"] {
                let stat = Stat::parse(format!("77 ({name}) {state} {rest}\n").as_bytes()).expect("it reads");
                assert_eq!((stat.state, stat.start_ticks), (state.as_bytes()[0], 4711), "{name}");
                assert_eq!(stat.has_ended(), matches!(state, "Z" | "X"));
            }
        }
        for stat in [
            "",
            "77",
            "77 (git)",
            "77 (git) S 1 2",
            "77 (git) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x",
        ] {
            assert_eq!(Stat::parse(stat.as_bytes()), None, "{stat}");
        }
        assert!(Stat::of(std::process::id()).is_some_and(|stat| stat.start_ticks > 0 && !stat.has_ended()));
        assert_eq!(Stat::of(u32::MAX), None);
    }
}
