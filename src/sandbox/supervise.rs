//! `quicc sandbox-supervise`: process 1 of the job's namespace.
//!
//! Enters the job's tree, gives up every privilege, runs the steps of the job as its children and reports. Never outlives the
//! builder, and nothing outlives it: the kernel ends a pid namespace with its process 1.

use std::io;
use std::process::ExitCode;

use super::channel::Channel;
use super::job::Job;
use super::message::Message;
use super::privileges;
use super::root;
use super::stage::{AtStage, Failure, Stage};
use super::watch::{self, Watched};
use crate::host::terminal;

/// The whole life of `quicc sandbox-supervise`. What failed goes to standard output; the exit code repeats it.
pub fn supervise_main() -> ExitCode {
    let Ok(mut channel) = Channel::standard() else {
        return ExitCode::FAILURE;
    };
    match supervise(&mut channel) {
        Ok(Watched::Ended(report)) => answer(&mut channel, Message::Ended(report)),
        Ok(Watched::Abandoned) => ExitCode::FAILURE,
        Ok(Watched::Stopped(failure)) | Err(failure) => answer(&mut channel, Message::Failed(failure)),
    }
}

/// Fails only when the builder is gone, and then nobody is left to tell.
fn answer(channel: &mut Channel, message: Message) -> ExitCode {
    if channel.send(&message).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn supervise(channel: &mut Channel) -> Result<Watched, Failure> {
    let plan = channel.receive_plan().at(Stage::ReceivePlan, "")?;
    let terminals = terminal::open_all(plan.terminals).at(Stage::OpenTerminal, "")?;
    let root::Kept { procfs, null } = root::enter()?;
    privileges::drop_all(&procfs)?;
    privileges::limit_resources(&plan.limits)?;
    let watch = watch::Watch::begin(&procfs, &plan.limits).at(Stage::Watch, "")?;
    let job = Job::start(&plan, &null, terminals)?;
    watch
        .follow(job, channel.lifeline())
        .or_else(|error: io::Error| Err(error).at(Stage::Watch, ""))
}
