//! `quicc sandbox-init`: makes the namespaces and the mounts, starts process 1 and outlives it.
//!
//! Runs single-threaded with the builder's user id until the mounts are made, because the mirror may lie
//! below directories that only this user may enter. Never runs anything of the client's.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, close, fchdir, geteuid, setgroups, setresgid, setresuid};

use super::SUPERVISE_COMMAND;
use super::channel::Channel;
use super::message::Message;
use super::mounts;
use super::stage::{AtStage, Failure, Stage};
use crate::host::process;

/// This executable, wherever it lies and whatever has been put in its place since.
const OURSELVES: &str = "/proc/self/exe";

/// The whole life of `quicc sandbox-init`. What failed goes to standard output; the exit code repeats it.
pub fn init_main() -> ExitCode {
    let closed = close_inherited();
    let Ok(mut channel) = Channel::standard() else {
        return ExitCode::FAILURE;
    };
    match closed.and_then(|()| enclose(&mut channel)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Fails only when the builder is gone, and then nobody is left to tell.
            let _ = channel.send(&Message::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// The builder may have been started with descriptors it knows nothing of (a make jobserver, a lock, a
/// log); through them a job would reach the host. Runs before this process opens anything of its own.
fn close_inherited() -> Result<(), Failure> {
    let directory = Path::new("/proc/self/fd");
    let open: Vec<RawFd> = fs::read_dir(directory)
        .at(Stage::CloseDescriptors, directory)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        match close(descriptor) {
            // The listing itself was open while it was read.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno).at(Stage::CloseDescriptors, directory),
        }
    }
    Ok(())
}

fn enclose(channel: &mut Channel) -> Result<(), Failure> {
    unshare(namespaces()).at(Stage::Unshare, "")?;
    channel.send(&Message::Unshared).at(Stage::Unshare, "")?;
    let plan = channel.receive_plan().at(Stage::ReceivePlan, "")?;
    let root = mounts::assemble(&plan)?;
    become_job_user()?;
    fchdir(&root).at(Stage::BindRoot, &plan.root)?;
    supervise()
}

fn namespaces() -> CloneFlags {
    CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
}

/// The builder mapped the job's user to 0 of this namespace. An unprivileged builder is that user already,
/// and may not drop its supplementary groups (user_namespaces(7)); root is not mapped at all.
fn become_job_user() -> Result<(), Failure> {
    if geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .at(Stage::ChangeUser, "")
}

/// Returns when process 1 is gone, which it is only after every process of its namespace. What process 1 has
/// to say, its end without a report included, reaches the builder by itself.
fn supervise() -> Result<(), Failure> {
    process::command(Path::new(OURSELVES), Path::new("."))
        .arg(SUPERVISE_COMMAND)
        .status()
        .map(drop)
        .at(Stage::StartSupervisor, OURSELVES)
}
