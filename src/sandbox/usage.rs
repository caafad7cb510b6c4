//! What the processes of a sandbox use, as proc(5) tells it.
//!
//! Never judges. A process that ends while it is looked at counts as not there.

use std::io;
use std::ops::AddAssign;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

use super::procfs::Procfs;

/// The supervisor, which is not part of the job.
const SUPERVISOR: u32 = 1;

/// Units of proc(5), read once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    ticks_per_second: u64,
    page_bytes: u64,
}

impl Units {
    /// Those of this machine; the values of Linux on common machines where it does not say.
    pub(super) fn of_this_machine() -> Self {
        let ask = |variable, usual| {
            sysconf(variable)
                .ok()
                .flatten()
                .and_then(|value| u64::try_from(value).ok())
                .unwrap_or(usual)
        };
        Self {
            ticks_per_second: ask(SysconfVar::CLK_TCK, 100).max(1),
            page_bytes: ask(SysconfVar::PAGE_SIZE, 4096),
        }
    }
}

/// What some processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time, that of waited-for children included.
    pub(super) cpu: Duration,
    /// Resident memory.
    pub(super) memory_bytes: u64,
    /// How many processes.
    pub(super) processes: u64,
    /// How many threads in them.
    pub(super) threads: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory_bytes += other.memory_bytes;
        self.processes += other.processes;
        self.threads += other.threads;
    }
}

/// What the job uses now, with the time of its processes that have ended.
pub(super) fn sample(procfs: &Procfs, units: Units) -> io::Result<Usage> {
    let mut total = Usage {
        cpu: ended()?.cpu,
        ..Usage::default()
    };
    for process in procfs
        .processes()?
        .into_iter()
        .filter(|process| *process != SUPERVISOR)
    {
        let stat = procfs.read(&format!("{process}/stat"));
        if let Some(usage) = stat.ok().and_then(|stat| of_process(&stat, units)) {
            total += usage;
        }
    }
    Ok(total)
}

/// What the processes that have ended used; its memory is that of the largest.
pub(super) fn ended() -> io::Result<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Usage {
        cpu: duration(usage.user_time()) + duration(usage.system_time()),
        memory_bytes: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
        ..Usage::default()
    })
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}

/// Reads `/proc/PID/stat`. Fields are counted from behind the process's name, the one field that may
/// contain anything.
fn of_process(stat: &[u8], units: Units) -> Option<Usage> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    // Numbered as in proc(5), where the field behind the name is the third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = [14, 15, 16, 17]
        .into_iter()
        .try_fold(0u64, |sum, number| sum.checked_add(field(number)?))?;
    let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(units.ticks_per_second);
    Some(Usage {
        cpu: Duration::from_nanos(u64::try_from(nanoseconds).ok()?),
        memory_bytes: field(24)?.saturating_mul(units.page_bytes),
        processes: 1,
        threads: field(20)?,
    })
}

/// How often this machine's kernel has killed a process for want of memory since it started (`oom_kill` of
/// `/proc/vmstat`); 0 where it does not say.
pub(super) fn kills_for_memory(procfs: &Procfs) -> u64 {
    procfs.read("vmstat").map_or(0, |vmstat| kill_count(&vmstat))
}

fn kill_count(vmstat: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(vmstat);
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: Units = Units {
        ticks_per_second: 100,
        page_bytes: 4096,
    };

    fn stat(name: &str) -> String {
        format!(
            "7 ({name}) S 1 7 7 0 -1 4194560 214 0 0 0 10 20 3 4 20 0 5 0 1234 2560000 321 18446744073709551615"
        )
    }

    fn check(stat: &str, expected: Option<Usage>) {
        assert_eq!(of_process(stat.as_bytes(), UNITS), expected, "{stat}");
    }

    #[test]
    fn stat_is_read_behind_any_name() {
        let usage = Usage {
            cpu: Duration::from_millis(370),
            memory_bytes: 321 * 4096,
            processes: 1,
            threads: 5,
        };
        for name in ["cc1plus", "", "a b", "a) R 9 9", "((", "new\nline"] {
            check(&stat(name), Some(usage));
        }
        check("", None);
        check("7 (cc1", None);
        check("7 (cc1) S 1 2 3", None);
        check(&stat("cc1").replace(" 321 ", " -321 "), None);
    }

    #[test]
    fn the_kernel_kills_are_counted() {
        assert_eq!(kill_count(b"oom_kill_other 9\noom_kill 3\nnr_free 1\n"), 3);
        assert_eq!(kill_count(b"nr_free 1\n"), 0);
        assert_eq!(kill_count(b"oom_kill x\n"), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = of_process(&bytes, UNITS);
            let _ = kill_count(&bytes);
        }
    }
}
