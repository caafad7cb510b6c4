//! CPU time, as the kernel accounts it: of the processes that were waited for, and of a daemon that goes on.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::clock_getcpuclockid;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// User and system time of all processes this one started and waited for, and of those they waited for.
pub fn of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

/// User and system time of a process, also of its threads that ended, by its own clock; and of the children it waited
/// for, in ticks.
pub fn of_process(pid: i32) -> Result<Duration, String> {
    let own = clock_getcpuclockid(Pid::from_raw(pid)).and_then(|clock| clock.now());
    let own = own.map_err(|error| format!("no CPU clock of process {pid}: {error}"))?;
    let own = Duration::from_nanos(own.num_nanoseconds().unsigned_abs());
    Ok(own + of_children_of(pid)?)
}

/// `cutime` and `cstime` of proc_pid_stat(5), fields 16 and 17.
fn of_children_of(pid: i32) -> Result<Duration, String> {
    let text = read(pid, "stat")?;
    // The second field is a name in parentheses that may hold anything.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields = fields.split(' ').skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}

/// A field of proc_pid_status(5) that counts kilobytes, in bytes.
pub fn memory(pid: i32, field: &str) -> Result<u64, String> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    let kilobytes = number.and_then(|number| number.parse::<u64>().ok());
    let kilobytes = kilobytes.ok_or_else(|| format!("process {pid} has no {field}"))?;
    Ok(kilobytes << 10)
}

fn read(pid: i32, file: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}
