//! The builder at work: what all its connections share, from its start to its end.

use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quicc_protocol::version::Hello;
use tokio::time::timeout;

use self::jobs::JobDirectories;
use super::BuilderConfig;
use super::admission::Admission;
use super::authority::Authority;
use super::condition::{Condition, Patience};
use super::connection::{self, Tasks};
use super::outcome::Unread;
use super::registration;
use super::views::Views;
use super::visitors::Visitors;
use crate::host::files::{FileError, PathContext};
use crate::host::task;
use crate::sandbox::{self, Plan, Report, SandboxError};
use crate::store::discard::{Discarder, OwnedDirectory};
use crate::store::{Cas, CasError};
use crate::transport::Endpoint;

mod jobs;
#[cfg(test)]
pub(crate) mod simulation;

/// Clients connected at once, unfinished handshakes included.
pub const CONNECTIONS: usize = 1024;
/// Connections at once with one certificate name: a machine that dials in a loop leaves room for others.
pub const CONNECTIONS_PER_NAME: usize = 64;
/// How long running actions may go on when the builder is told to end.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long connections may take to end once they are closed.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Outcomes in memory that one client has not read, beyond those of running actions: so many per slot.
const OUTCOMES_PER_SLOT: usize = 2;
/// Outcomes in memory that nobody has read, of all clients together, for each of those: beyond it even a client that
/// reads waits for others to.
const CLIENTS_UNREAD: usize = 8;
/// What [`Hello::role`] says of a builder.
const HELLO_ROLE: u8 = 2;

/// Why a builder cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// The store cannot be opened.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// A directory cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another builder has the place where actions write.
    #[error("another builder uses {}; give each its own `build_dir`", directory.display())]
    BuildDirectoryInUse {
        /// The place.
        directory: PathBuf,
    },
    /// Where actions are to write is something this builder did not make.
    #[error("{} is no directory of this user's; move it away or choose another `build_dir`", directory.display())]
    BuildDirectoryForeign {
        /// What it should be.
        directory: PathBuf,
    },
    /// This machine makes no sandboxes.
    #[error("the builder cannot shut actions in")]
    Sandbox {
        /// What is in the way, and its remedy.
        #[from]
        source: SandboxError,
    },
    /// No thread could be started.
    #[error("the builder cannot start a thread")]
    Thread {
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The endpoint was closed by somebody else.
    #[error("the builder's endpoint is closed")]
    EndpointClosed,
}

/// A builder that is ready to serve.
#[derive(Debug)]
pub struct Builder {
    config: BuilderConfig,
    cas: Cas,
    job_directories: JobDirectories,
    discarder: Arc<Discarder>,
}

/// What the connections of a builder share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: BuilderConfig,
    pub(super) endpoint: Endpoint,
    pub(super) cas: Cas,
    pub(super) views: Arc<Views>,
    pub(super) admission: Arc<Admission>,
    pub(super) condition: Arc<Condition>,
    /// Clients connected, by name.
    pub(super) visitors: Visitors,
    /// Bounds the outcomes in memory.
    pub(super) outcomes: Unread,
    /// The user jobs run as, where that is not this process's.
    pub(super) job_owner: Option<(u32, u32)>,
    job_directories: JobDirectories,
    draining: AtomicBool,
    /// Stands for the compilers and their sandboxes.
    #[cfg(test)]
    script: Option<simulation::Script>,
}

/// Opens the store, removes what an earlier run left, and tries the sandbox.
pub async fn prepare(config: BuilderConfig) -> Result<Builder, BuilderError> {
    fs::create_dir_all(&config.cache_dir).context("create", &config.cache_dir)?;
    // The lock comes first: what follows removes what is another builder's otherwise.
    let cas = Cas::open(&config.cache_dir, config.cas_limit)?;
    let mirrors = mirrors(&config);
    fs::create_dir_all(&mirrors).context("create", &mirrors)?;
    jobs::remove_remains(&mirrors)?;
    let discarder =
        Discarder::start_holding(cas.clone()).map_err(|source| BuilderError::Thread { source })?;
    let job_directories = JobDirectories::open(&config.build_dir, Arc::clone(&discarder))?;
    let support = sandbox::probe(&config.executable).await?;
    tracing::info!(
        job_uid = ?support.job_uid,
        overhead_ms = support.overhead.as_millis() as u64,
        "actions run in namespaces of their own"
    );
    Ok(Builder {
        config,
        cas,
        job_directories,
        discarder,
    })
}

fn mirrors(config: &BuilderConfig) -> PathBuf {
    config.cache_dir.join("mirrors")
}

impl Builder {
    /// Serves clients that connect to `endpoint`, registered with the scheduler, until `shutdown`; then running
    /// actions have [`DRAIN_WITHIN`] to end.
    pub async fn serve(
        self,
        endpoint: Endpoint,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), BuilderError> {
        let shared = Arc::new(self.share(endpoint));
        let mut registration = Tasks::default();
        registration.keep(task::spawn(
            "registration",
            registration::register(Arc::clone(&shared)),
        ));
        let mut connections = Tasks::default();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                arriving = shared.endpoint.accept() => {
                    let arriving = arriving.ok_or(BuilderError::EndpointClosed)?;
                    if connections.count() >= CONNECTIONS {
                        tracing::warn!(address = %arriving.remote_address(), "refused: too many connections");
                        continue;
                    }
                    let shared = Arc::clone(&shared);
                    connections.keep(task::spawn("client", async move {
                        let address = arriving.remote_address();
                        match arriving.finish_early(&shared.hello()).await {
                            Ok(peer) => connection::serve(shared, peer).await,
                            Err(error) => tracing::debug!(%address, %error, "a connection did not come about"),
                        }
                    }));
                }
            }
        }
        shared.drain().await;
        registration.end().await;
        shared.endpoint.close().await;
        // Without their connections all end at once; only the disk may hold one up.
        if timeout(END_WITHIN, connections.finished()).await.is_err() {
            tracing::warn!("some connections did not end");
        }
        // Their actions are ended and give their slots back when nothing of them is left.
        if !shared.is_idle_within(END_WITHIN).await {
            tracing::warn!("some actions did not end");
        }
        Ok(())
    }

    fn share(self, endpoint: Endpoint) -> Shared {
        let Self {
            config,
            cas,
            job_directories,
            discarder,
        } = self;
        let condition = Arc::new(Condition::new());
        let authority = Authority::new(config.identity.clone());
        let views = Views::new(mirrors(&config), discarder, cas.clone(), config.mirror_limit);
        Shared {
            admission: Admission::new(config.slots, authority, Arc::clone(&condition)),
            outcomes: Unread::new(
                OUTCOMES_PER_SLOT * config.slots as usize,
                CLIENTS_UNREAD * OUTCOMES_PER_SLOT * config.slots as usize,
            ),
            visitors: Visitors::new(CONNECTIONS_PER_NAME),
            job_owner: sandbox::job_uid(),
            job_directories,
            draining: AtomicBool::new(false),
            #[cfg(test)]
            script: None,
            config,
            endpoint,
            cas,
            views,
            condition,
        }
    }
}

impl Shared {
    /// What this side says first on a connection.
    pub(super) fn hello(&self) -> Hello {
        Hello::ours(HELLO_ROLE, crate::SOFTWARE)
    }

    /// A directory for one action.
    pub(super) fn job_directory(&self) -> Result<OwnedDirectory, FileError> {
        self.job_directories.create()
    }

    /// Runs a plan shut in; see [`sandbox::run_until`].
    pub(super) async fn run(
        &self,
        plan: &Plan,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Report, SandboxError> {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return Ok(script.run(plan).await);
        }
        sandbox::run_until(&self.config.executable, plan, cancelled).await
    }

    /// Slots to tell the scheduler of: none once the builder is ending.
    pub(super) fn offered_slots(&self) -> u32 {
        if self.draining.load(Ordering::Relaxed) {
            0
        } else {
            self.config.slots
        }
    }

    async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.admission.drain();
        if !self.is_idle_within(DRAIN_WITHIN).await {
            tracing::warn!(running = self.admission.running(), "actions are cut off");
        }
    }

    async fn is_idle_within(&self, patience: Duration) -> bool {
        let idle = || (self.admission.running() == 0).then_some(());
        let waited = self.condition.wait(Patience::plain(patience), || 0, idle);
        waited.await.is_some()
    }
}
