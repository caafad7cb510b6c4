//! CPU time of a whole network's processes, whoever started them: a client's launchers are waited for by this process,
//! what else works for it is not, and may not even be known.
//!
//! Sums of proc_pid_stat(5), own time and that of children waited for. A control group would count the same, but would
//! have a name outside of the run, and need the launchers to be put into it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::account;
use crate::side::Side;

/// CPU time of all processes that live there but this one, and of the children they waited for. With that of this one's
/// own children it is all that was ever spent there, but for that of processes nobody waited for.
pub fn of_living(side: &Side) -> Result<Duration, String> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    // Whoever ends in this moment is waited for by one of the others.
    let times = processes()?
        .into_iter()
        .filter(|pid| *pid != own && is_in(side, *pid));
    Ok(times.filter_map(|pid| account::of_process(pid).ok()).sum())
}

/// Waits for all that ended and nobody else can wait for, whatever they were, so that [`require_none_left`] is about
/// what comes after.
pub fn clear_away() -> Result<(), String> {
    for pid in left_to_this()? {
        waitpid(Pid::from_raw(pid), None).map_err(|error| format!("process {pid}: {error}"))?;
    }
    Ok(())
}

/// An error where something ended at the client's end whose parent had not waited for it: its time is in no sum.
///
/// What has ended is in no network, but still in a process group, and each daemon of the farm leads one.
pub fn require_none_left(farm: &Side) -> Result<(), String> {
    for pid in left_to_this()? {
        let [_, _, group] = fields(pid);
        if group.parse().is_ok_and(|leader| is_in(farm, leader)) {
            continue;
        }
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return Err(format!(
            "nobody waited for a process {}: its CPU time is in no sum",
            name.trim_end()
        ));
    }
    Ok(())
}

/// Those that ended and wait for this process, which is the first in its namespace: its own children, and all whose
/// parents ended before.
fn left_to_this() -> Result<Vec<i32>, String> {
    let own = std::process::id().to_string();
    let is_left = |pid: &i32| {
        let [state, parent, _] = fields(*pid);
        state == "Z" && parent == own
    };
    Ok(processes()?.into_iter().filter(is_left).collect())
}

/// State, parent and process group; empty where there is no such process any more.
fn fields(pid: i32) -> [String; 3] {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses that may hold anything.
    let mut fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    std::array::from_fn(|_| fields.next().unwrap_or_default().to_owned())
}

/// Whether a process lives there.
fn is_in(side: &Side, pid: i32) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let network = std::fs::metadata(format!("/proc/{pid}/ns/net")).map(identity);
    let there = side.namespace.metadata().map(identity);
    network.is_ok_and(|network| there.is_ok_and(|there| network == there))
}

fn processes() -> Result<Vec<i32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}
