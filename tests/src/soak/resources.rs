//! What the daemon uses: bounded, whatever it goes through.

use std::fs;

use super::Report;

/// Most memory that is resident, in KiB.
const MEMORY_KIB_MAX: u64 = 512 * 1_024;

/// Most files that are open at once.
const FILES_MAX: usize = 512;

/// Most threads.
const THREADS_MAX: usize = 64;

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    memory_kib: u64,
    files: usize,
    threads: usize,
}

impl Peak {
    /// Looks at a process.
    ///
    /// # Panics
    /// When it uses more than it may.
    pub(super) fn look(&mut self, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux tells it");
            line.trim_end_matches("kB").trim().parse::<u64>().expect("a number")
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        self.memory_kib = self.memory_kib.max(number("VmRSS:"));
        self.threads = self.threads.max(usize::try_from(number("Threads:")).expect("few"));
        self.files = self.files.max(files);
        assert!(self.memory_kib <= MEMORY_KIB_MAX, "Bounded: {} KiB are resident", self.memory_kib);
        assert!(self.files <= FILES_MAX, "Bounded: {} files are open", self.files);
        assert!(self.threads <= THREADS_MAX, "Bounded: {} threads", self.threads);
    }

    pub(super) fn fill(self, report: &mut Report) {
        (report.memory_kib, report.files, report.threads) = (self.memory_kib, self.files, self.threads);
    }
}
