//! Giving up: what the supervisor does to itself so that its child, the job, can do nothing more.
//!
//! Never reversible. The supervisor shares the job's user id and still is out of its reach: process 1 cannot
//! be signalled from inside its namespace (pid_namespaces(7)), nor be traced or have its descriptors opened by
//! a process with fewer capabilities (ptrace(2), access mode checking).

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::setsid;

use super::plan::Limits;
use super::procfs::Procfs;
use super::stage::{AtStage, Failure, Stage};

/// User and group id the job sees itself run as. Poison needs one that is not 0.
const INNER_ID: u32 = 1000;

/// Open files per process, for the job; a compiler has a few dozen.
const OPEN_FILES: u64 = 4096;

/// How much sooner than the builder the kernel's out-of-memory killer takes a job, of 1000.
const OOM_SCORE: &str = "500";

/// Enters a second user namespace, in which the mounts, the network and the processes are somebody else's.
/// It is the last one: with a user namespace of its own a job would have capabilities again.
pub(super) fn drop_all(procfs: &Procfs) -> Result<(), Failure> {
    // Refused where the builder itself was started with a higher score, which does as well.
    let _ = procfs.write("self/oom_score_adj", OOM_SCORE);
    write(procfs, "sys/user/max_user_namespaces", "1")?;
    unshare(CloneFlags::CLONE_NEWUSER).at(Stage::DropPrivileges, "")?;
    write(procfs, "self/setgroups", "deny")?;
    write(procfs, "self/uid_map", &format!("{INNER_ID} 0 1\n"))?;
    write(procfs, "self/gid_map", &format!("{INNER_ID} 0 1\n"))?;
    prctl::set_no_new_privs().at(Stage::DropPrivileges, "")?;
    prctl::set_pdeathsig(Signal::SIGKILL).at(Stage::DropPrivileges, "")?;
    setsid().map(drop).at(Stage::DropPrivileges, "")
}

fn write(procfs: &Procfs, file: &str, content: &str) -> Result<(), Failure> {
    procfs
        .write(file, content)
        .at(Stage::DropPrivileges, format!("/proc/{file}"))
}

/// The kernel's share of `limits`. It has none in processes and processor time, because it counts the first by
/// user over all jobs and the second by process; and none in the stack, whose hard limit gcc uses to raise
/// its own to 64 MB.
pub(super) fn limit_resources(limits: &Limits) -> Result<(), Failure> {
    let wanted = [
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
    ];
    wanted
        .into_iter()
        .try_for_each(|(resource, most)| lower(resource, most))
        .at(Stage::SetLimits, "")
}

fn lower(resource: Resource, most: u64) -> nix::Result<()> {
    let (_, ceiling) = getrlimit(resource)?;
    let most = most.min(ceiling);
    setrlimit(resource, most, most)
}
