//! The part of an action that touches this machine: directories, sandbox, outputs. Work that cannot be cut short
//! takes the action's slot with it: a cancelled action gives its slot back when its work has really ended.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use quicc_protocol::identifiers::EntryId;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{RunRequest, SCRATCH_NAME};

use super::admission::HeldSlot;
use super::collect::{self, CollectError};
use super::connection::{Client, blocking};
use super::layout::{self, Layout, LayoutError};
use super::mirror::{Mirror, Needs};
use super::outcome::{self, Packed};
use super::refusals;
use super::views::Use;
use crate::host::task::{self, Unwanted};
use crate::host::terminal;
use crate::sandbox::{self, Plan, Report, SandboxError, Stage};
use crate::store::discard::OwnedDirectory;

/// An action with its directories.
pub(super) struct Job {
    view: Use,
    ids: Vec<EntryId>,
    /// The mirror's stamp when the directories were laid.
    stamp: u64,
    layout: Layout,
    plan: Plan,
    /// Holds the directories, and removes them.
    _directory: OwnedDirectory,
    slot: Arc<HeldSlot>,
}

impl Job {
    /// Lays the action's directories on its view. It keeps `slot` until [`Self::finish`].
    pub(super) async fn lay(
        client: &Arc<Client>,
        view: Use,
        request: RunRequest,
        mut ids: Vec<EntryId>,
        slot: Arc<HeldSlot>,
    ) -> Result<Self, Refusal> {
        ids.extend(request.outputs.iter().map(|output| output.directory));
        let builder = Arc::clone(&client.builder);
        let laying = blocking(move || {
            let directory = builder
                .job_directory()
                .map_err(|error| refusals::internal("no directory for an action", &error))?;
            let (layout, stamp) = view.mirror.while_still(|still| {
                if still.needs(&ids) != Needs::Nothing {
                    return Err(refusals::stale());
                }
                layout::lay(still, directory.path(), &request.outputs, builder.job_owner)
                    .map(|layout| (layout, still.tree.stamp()))
                    .map_err(|error| not_laid(&error))
            })?;
            let plan = plan(&view.mirror, &layout, request, &builder.config.limits);
            Ok(Self {
                view,
                ids,
                stamp,
                layout,
                plan,
                _directory: directory,
                slot,
            })
        });
        laying.await.map_err(|_| refusals::ending())?
    }

    /// Runs its steps to their end. Dropping the future ends it; slot and directories go once no process of it is
    /// left.
    pub(super) async fn run(self, client: &Arc<Client>) -> Result<(Self, Report), Refusal> {
        let builder = Arc::clone(&client.builder);
        let running = task::to_its_end("sandbox", async move |unwanted: Unwanted| {
            let run = || builder.run(&self.plan, unwanted.clone().told());
            let ran = run_patiently(run).await;
            ran.map_err(|error| not_run(&error, self.mirror_changed()))
                .map(|report| (self, report))
        });
        running.await.ok_or_else(refusals::ending)?
    }

    /// Reads and compresses what the run left; gives the slot back for whoever holds the result in memory.
    pub(super) async fn finish(
        self,
        client: &Arc<Client>,
        report: Report,
    ) -> Result<(Packed, Arc<HeldSlot>), Refusal> {
        let file_limit = client.builder.config.limits.file_bytes;
        let client = Arc::clone(client);
        let finishing = blocking(move || {
            let collected = collect::collect(&self.layout, file_limit).map_err(|error| match &error {
                CollectError::TooLarge => refusals::limit_exceeded(),
                CollectError::File(_) => refusals::internal("outputs cannot be read", &error),
            })?;
            let bytes = outcome::size(&report, &collected);
            let level = client.effort.level(&client.connection, bytes);
            let changed = self.mirror_changed();
            let pack = || outcome::pack(level, &report, collected, changed);
            let packed = client.effort.spend(level, bytes, pack).map_err(|limit| {
                tracing::info!(?limit, "an action ran into a limit");
                refusals::limit_exceeded()
            })?;
            Ok((packed, self.slot))
        });
        finishing.await.map_err(|_| refusals::ending())?
    }

    fn mirror_changed(&self) -> bool {
        self.view.mirror.changed_since(self.stamp, &self.ids)
    }
}

fn not_laid(error: &LayoutError) -> Refusal {
    match error {
        LayoutError::Superseded => refusals::stale(),
        LayoutError::Root | LayoutError::TooManyDirectories => {
            Refusal::new(RefusalCode::Unsupported, error.to_string())
        }
        LayoutError::File(_) => refusals::internal("no directories for an action", error),
    }
}

/// Runs once more what could not be started because its program was open for writing: a process that was being
/// started elsewhere held the descriptor a moment longer than its writer (ETXTBSY, execve(2)).
async fn run_patiently<F: Future<Output = Result<Report, SandboxError>>>(
    run: impl Fn() -> F,
) -> Result<Report, SandboxError> {
    match run().await {
        Err(SandboxError::Exec { source, .. }) if is(&source, &[Errno::ETXTBSY]) => run().await,
        ran => ran,
    }
}

/// Says whose fault it is that nothing ran: of entries that changed meanwhile, of the action, or of this machine.
fn not_run(error: &SandboxError, mirror_changed: bool) -> Refusal {
    if mirror_changed {
        return refusals::stale();
    }
    let text = match error {
        SandboxError::Exec { source, .. } if !is(source, &PASSING) => "the compiler cannot be executed here",
        SandboxError::Setup {
            stage: Stage::EnterDirectory,
            source,
            ..
        } if !is(source, &PASSING) => "the working directory cannot be entered here",
        SandboxError::Setup {
            stage: Stage::OpenTerminal,
            ..
        } => "no terminal can be opened here",
        SandboxError::Setup {
            stage: Stage::PrepareArguments,
            ..
        }
        | SandboxError::PlanTooLong { .. } => "arguments or environment cannot be passed on here",
        _ => return refusals::internal("no sandbox for an action", error),
    };
    tracing::info!(error = error as &dyn std::error::Error, "{text}");
    Refusal::new(RefusalCode::Unsupported, text)
}

/// What the kernel answers when it is the machine that lacks something, not the action.
const PASSING: [Errno; 6] = [
    Errno::ETXTBSY,
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::EIO,
];

fn is(error: &io::Error, any_of: &[Errno]) -> bool {
    any_of
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn plan(mirror: &Mirror, layout: &Layout, request: RunRequest, limits: &sandbox::Limits) -> Plan {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut env = request.env;
    env.retain(|(name, _)| name != b"TMPDIR");
    env.push((b"TMPDIR".to_vec(), [b"/", SCRATCH_NAME].concat()));
    Plan {
        root: mirror.root().to_owned(),
        output_directories: layout.output_directories.clone(),
        protected: layout.protected.clone(),
        scratch: layout.scratch.clone(),
        steps: request
            .steps
            .into_iter()
            .map(|step| sandbox::Step {
                program: path(&step.program),
                argv: step.argv,
            })
            .collect(),
        cwd: path(&request.cwd),
        env,
        umask: request.umask,
        terminals: terminal::sizes(request.streams),
        limits: limits.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn exec(errno: Errno) -> SandboxError {
        SandboxError::Exec {
            program: "/usr/bin/cc".into(),
            source: errno.into(),
        }
    }

    fn setup(stage: Stage, errno: Errno) -> SandboxError {
        SandboxError::Setup {
            stage,
            path: "/work".into(),
            source: errno.into(),
        }
    }

    #[test]
    fn a_refusal_names_who_is_at_fault() {
        let check = |error: SandboxError, expected| {
            assert_eq!(not_run(&error, false).code, expected, "{error}");
            assert_eq!(not_run(&error, true).code, RefusalCode::Stale, "{error}");
        };
        for errno in [Errno::ENOENT, Errno::EACCES, Errno::ENOEXEC, Errno::E2BIG] {
            check(exec(errno), RefusalCode::Unsupported);
        }
        for errno in [Errno::ETXTBSY, Errno::ENOMEM] {
            check(exec(errno), RefusalCode::Internal);
        }
        check(
            setup(Stage::EnterDirectory, Errno::EACCES),
            RefusalCode::Unsupported,
        );
        check(setup(Stage::EnterDirectory, Errno::EIO), RefusalCode::Internal);
        check(
            setup(Stage::PrepareArguments, Errno::EINVAL),
            RefusalCode::Unsupported,
        );
        check(
            setup(Stage::OpenTerminal, Errno::ENOENT),
            RefusalCode::Unsupported,
        );
        check(
            SandboxError::PlanTooLong { bytes: 2, bound: 1 },
            RefusalCode::Unsupported,
        );
        check(setup(Stage::Unshare, Errno::ENOSPC), RefusalCode::Internal);
        check(
            SandboxError::Vanished { said: String::new() },
            RefusalCode::Internal,
        );
    }

    #[test]
    fn no_directories_are_the_actions_fault_only_where_it_asked_for_too_much() {
        let disk_full = crate::host::files::FileError {
            action: "create",
            path: "/build/1".into(),
            source: Errno::ENOSPC.into(),
        };
        let table = [
            (LayoutError::Root, RefusalCode::Unsupported),
            (LayoutError::TooManyDirectories, RefusalCode::Unsupported),
            (LayoutError::Superseded, RefusalCode::Stale),
            (disk_full.into(), RefusalCode::Internal),
        ];
        for (error, expected) in table {
            assert_eq!(not_laid(&error).code, expected, "{error}");
        }
    }

    #[tokio::test]
    async fn a_program_open_for_writing_is_tried_once_more() {
        let check = async |errnos: &[Errno], expected: usize| {
            let runs = Cell::new(0);
            let ran = run_patiently(|| {
                let errno = errnos[runs.replace(runs.get() + 1)];
                async move { Err(exec(errno)) }
            });
            let error = ran.await.unwrap_err();
            let last = errnos[expected - 1];
            let says_last = matches!(error, SandboxError::Exec { source, .. } if is(&source, &[last]));
            assert!(says_last && runs.get() == expected, "{errnos:?}");
        };
        check(&[Errno::ETXTBSY, Errno::ENOENT], 2).await;
        check(&[Errno::ETXTBSY, Errno::ETXTBSY], 2).await;
        check(&[Errno::ENOENT], 1).await;
    }
}
