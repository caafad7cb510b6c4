//! The builder's end of a sandbox: start it, map its user, send the plan, wait for the report.
//!
//! Never does anything to the host's mounts or namespaces in the builder's own process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{getegid, geteuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::INIT_COMMAND;
use super::channel::{LENGTH_BYTES, framed, length};
use super::error::SandboxError;
use super::identity::job_uid;
use super::judge;
use super::message::{MESSAGE_SLACK_BYTES, Message};
use super::plan::{Plan, Report};
use super::plan_codec::{self, MAX_PLAN_BYTES};
use super::stage::Failure;
use crate::host::process;

/// What a run may take beside the job's own time, on a machine that is short of everything.
const OVERHEAD_BOUND: Duration = Duration::from_secs(60);

/// Most bytes kept of what a sandbox without a report wrote to standard error.
const LAST_WORDS_BYTES: u64 = 4096;

/// Runs `plan` to its end. `quicc` is this executable, whose `main` hands [`INIT_COMMAND`] and
/// [`SUPERVISE_COMMAND`](super::SUPERVISE_COMMAND) to [`init_main`](super::init_main) and
/// [`supervise_main`](super::supervise_main); every user may read and execute it.
///
/// Output and scratch directories belong to [`job_uid`] where that is some. When this returns, no process of
/// the run is left. Dropping the future ends them all at once, and so does the death of this process,
/// however it dies.
///
/// # Errors
/// [`SandboxError::Exec`] when a program cannot be executed; everything else says that the sandbox itself
/// failed. A compiler that fails is a [`Report`].
pub async fn run(quicc: &Path, plan: &Plan) -> Result<Report, SandboxError> {
    run_until(quicc, plan, std::future::pending()).await
}

/// The same until `cancelled`: then its processes are ended, and [`SandboxError::Cancelled`] says that none is left.
/// For who has to know when that is.
pub async fn run_until(
    quicc: &Path,
    plan: &Plan,
    cancelled: impl Future<Output = ()>,
) -> Result<Report, SandboxError> {
    let bound = plan.limits.wall.saturating_add(OVERHEAD_BOUND);
    timeout(bound, converse(quicc, plan, cancelled))
        .await
        .unwrap_or(Err(SandboxError::Stuck { bound }))
}

/// The sandbox and the ends of its pipes. Closing `lifeline` is what ends it, in the order in which
/// everything gets reaped by its own parent; a kill from here would leave process 1 an orphan.
struct Sandbox {
    child: Child,
    lifeline: ChildStdin,
    output: ChildStdout,
    last_words: ChildStderr,
}

async fn converse(
    quicc: &Path,
    plan: &Plan,
    cancelled: impl Future<Output = ()>,
) -> Result<Report, SandboxError> {
    let message = encode(plan)?;
    let mut sandbox = Sandbox::start(quicc)?;
    let bound = judge::output_bytes(&plan.limits) + MESSAGE_SLACK_BYTES;
    let answer = tokio::select! {
        answer = sandbox.ask(&message, bound) => answer,
        () = cancelled => Err(SandboxError::Cancelled),
    };
    sandbox.end().await?;
    match answer? {
        Message::Ended(report) => Ok(report),
        Message::Failed(failure) => Err(describe(failure)),
        Message::Unshared => Err(SandboxError::Vanished { said: String::new() }),
    }
}

/// The plan twice: `sandbox-init` takes the first copy, `sandbox-supervise` the second.
fn encode(plan: &Plan) -> Result<Vec<u8>, SandboxError> {
    let message = plan_codec::encode(plan);
    let bytes = message.len() as u64;
    if bytes > MAX_PLAN_BYTES {
        return Err(SandboxError::PlanTooLong {
            bytes,
            bound: MAX_PLAN_BYTES,
        });
    }
    framed(&message)
        .map(|framed| framed.repeat(2))
        .map_err(|source| SandboxError::Garbled { source })
}

fn describe(failure: Failure) -> SandboxError {
    match failure {
        Failure::Setup { stage, errno, path } => SandboxError::Setup {
            stage,
            path,
            source: io::Error::from_raw_os_error(errno),
        },
        Failure::Exec { errno, program } => SandboxError::Exec {
            program,
            source: io::Error::from_raw_os_error(errno),
        },
    }
}

impl Sandbox {
    /// In a process group of its own, so that an interrupt from the builder's terminal lets a builder that
    /// drains finish its jobs.
    fn start(quicc: &Path) -> Result<Self, SandboxError> {
        let start = |source| SandboxError::Start {
            quicc: quicc.to_owned(),
            source,
        };
        let mut child = process::async_command(quicc, Path::new("/"))
            .arg(INIT_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(start)?;
        let (Some(lifeline), Some(output), Some(last_words)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(start(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            child,
            lifeline,
            output,
            last_words,
        })
    }

    async fn ask(&mut self, message: &[u8], bound: u64) -> Result<Message, SandboxError> {
        let answer = self.hear(bound).await?;
        if answer != Message::Unshared {
            return Ok(answer);
        }
        self.map_user()?;
        // A sandbox that no longer reads has said why, and that is heard next.
        let _ = self.lifeline.write_all(message).await;
        self.hear(bound).await
    }

    async fn hear(&mut self, bound: u64) -> Result<Message, SandboxError> {
        let mut prefix = [0; LENGTH_BYTES];
        match self.output.read_exact(&mut prefix).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.vanished().await),
            Err(source) => return Err(SandboxError::Channel { source }),
            Ok(_) => {}
        }
        let length = length(prefix, bound).map_err(|source| SandboxError::Garbled { source })?;
        let mut message = vec![0; length];
        self.output
            .read_exact(&mut message)
            .await
            .map_err(|source| SandboxError::Channel { source })?;
        Message::decode(&message).map_err(|source| SandboxError::Garbled { source })
    }

    async fn vanished(&mut self) -> SandboxError {
        let mut words = Vec::new();
        // What cannot be read is as good as not said.
        let _ = (&mut self.last_words)
            .take(LAST_WORDS_BYTES)
            .read_to_end(&mut words)
            .await;
        SandboxError::Vanished {
            said: String::from_utf8_lossy(&words).trim().to_owned(),
        }
    }

    /// Maps the job's host user to 0 of the first namespace (user_namespaces(7)). Three writes to a file
    /// system in memory: they do not wait.
    fn map_user(&self) -> Result<(), SandboxError> {
        let Some(process) = self.child.id() else {
            return Ok(());
        };
        let directory = PathBuf::from(format!("/proc/{process}"));
        let write = |name: &str, content: &str| {
            let file = directory.join(name);
            fs::write(&file, content).map_err(|source| SandboxError::MapUser { file, source })
        };
        let (user, group) = job_uid().unwrap_or_else(|| (geteuid().as_raw(), getegid().as_raw()));
        if !geteuid().is_root() {
            // The kernel asks it of whoever may not drop groups.
            write("setgroups", "deny")?;
        }
        write("uid_map", &format!("0 {user} 1\n"))?;
        write("gid_map", &format!("0 {group} 1\n"))
    }

    /// Waits until nothing of it is left.
    async fn end(mut self) -> Result<(), SandboxError> {
        // With the second one it is not stuck in saying what nobody reads.
        drop((self.lifeline, self.output));
        self.child
            .wait()
            .await
            .map(drop)
            .map_err(|source| SandboxError::Channel { source })
    }
}
