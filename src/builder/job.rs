//! The part of an action that touches this machine: directories, sandbox, outputs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use quicc_protocol::identifiers::EntryId;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::RunRequest;

use super::collect::{self, CollectError};
use super::connection::{Client, blocking};
use super::layout::{self, Layout, LayoutError};
use super::mirror::{Mirror, Needs};
use super::outcome::{self, Packed};
use super::refusals;
use super::tree::SCRATCH_NAME;
use super::views::Use;
use crate::sandbox::{self, Plan, Report, SandboxError};
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
}

impl Job {
    /// Lays the action's directories on its view.
    pub(super) async fn lay(
        client: &Arc<Client>,
        view: Use,
        request: RunRequest,
        mut ids: Vec<EntryId>,
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
                layout::lay(
                    still,
                    directory.path(),
                    &request.cwd,
                    &request.outputs,
                    builder.job_owner,
                )
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
            })
        });
        laying.await.map_err(|_| refusals::ending())?
    }

    /// Runs the compiler to its end.
    pub(super) async fn run(&self, client: &Arc<Client>) -> Result<Report, Refusal> {
        let executable = &client.builder.config.executable;
        sandbox::run(executable, &self.plan)
            .await
            .map_err(|error| match &error {
                SandboxError::Exec { .. } => {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "a compiler does not run here"
                    );
                    Refusal::new(RefusalCode::Unsupported, "the compiler cannot be executed here")
                }
                // What was to be bound had gone.
                _ if self.mirror_changed() => refusals::stale(),
                _ => refusals::internal("no sandbox for an action", &error),
            })
    }

    /// Reads and compresses what the run left.
    pub(super) async fn finish(self, client: &Arc<Client>, report: Report) -> Result<Packed, Refusal> {
        let file_limit = client.builder.config.limits.file_bytes;
        let finishing = blocking(move || {
            let collected = collect::collect(&self.layout, file_limit).map_err(|error| match &error {
                CollectError::TooLarge => refusals::limit_exceeded(),
                CollectError::File(_) => refusals::internal("outputs cannot be read", &error),
            })?;
            outcome::pack(&report, collected, self.mirror_changed()).map_err(|limit| {
                tracing::info!(?limit, "an action ran into a limit");
                refusals::limit_exceeded()
            })
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
        LayoutError::Root => Refusal::new(RefusalCode::Unsupported, error.to_string()),
        LayoutError::File(_) => refusals::internal("no directories for an action", error),
    }
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
        program: path(&request.program),
        argv: request.argv,
        cwd: path(&request.cwd),
        env,
        umask: request.umask,
        limits: limits.clone(),
    }
}
