//! What a builder has to be told, and where that comes from.

use std::path::PathBuf;
use std::time::Duration;

use quicc_certs::Identity;

use crate::config::BuilderFile;
use crate::config::builder::{ActionLimits, MIRROR_CACHE_SIZE, SandboxChoice};
use crate::config::quantity::TOOLCHAIN_CACHE_SIZE;
use crate::sandbox::Limits;

/// Standard output and error of one action: what an outcome may carry.
const OUTPUT_BYTES: u64 = quicc_protocol::limits::OUTCOME_TEXT;

/// This executable even after another was installed in its place: sandboxes run it.
const OURSELVES: &str = "/proc/self/exe";

/// What a builder has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderConfig {
    /// Who it is; its certificate says the same.
    pub identity: Identity,
    /// The scheduler's name: whoever else answers is refused.
    pub scheduler: Identity,
    /// Where the scheduler is: `host:port`.
    pub scheduler_address: String,
    /// Where clients reach this builder: `host:port`.
    pub public_endpoint: String,
    /// Actions at once.
    pub slots: u32,
    /// Where blobs and mirrors are kept. Private to this builder.
    pub cache_dir: PathBuf,
    /// Where actions write: in a directory `quicc-jobs` of this one, which may be shared with other programs.
    pub build_dir: PathBuf,
    /// Bytes of blobs kept.
    pub cas_limit: u64,
    /// Bytes of mirrors kept, all views together.
    pub mirror_limit: u64,
    /// The quicc executable that makes sandboxes.
    pub executable: PathBuf,
    /// What one action may use.
    pub limits: Limits,
}

impl BuilderConfig {
    /// The configuration of a file, for a builder with that certificate.
    pub fn from_file(file: &BuilderFile, identity: Identity, scheduler: Identity) -> Self {
        if matches!(file.sandbox, SandboxChoice::Bubblewrap { .. }) {
            tracing::info!("actions are shut in by quicc's own namespaces, not by bubblewrap");
        }
        let build_dir = file.build_dir.clone();
        Self {
            identity,
            scheduler,
            scheduler_address: file.scheduler.to_string(),
            public_endpoint: file.public_addr.to_string(),
            slots: file.slots.unwrap_or_else(processors),
            build_dir: build_dir.unwrap_or_else(|| file.cache_dir.clone()),
            cache_dir: file.cache_dir.clone(),
            cas_limit: file.toolchain_cache_size,
            mirror_limit: file.mirror_cache_size,
            executable: PathBuf::from(OURSELVES),
            limits: sandbox_limits(&file.limits),
        }
    }

    /// A builder inside an agent, for actions of this machine alone.
    pub fn embedded(
        identity: Identity,
        scheduler: Identity,
        scheduler_address: String,
        public_endpoint: String,
        cache_dir: PathBuf,
    ) -> Self {
        Self {
            identity,
            scheduler,
            scheduler_address,
            public_endpoint,
            slots: processors(),
            build_dir: cache_dir.clone(),
            cache_dir,
            cas_limit: TOOLCHAIN_CACHE_SIZE,
            mirror_limit: MIRROR_CACHE_SIZE,
            executable: PathBuf::from(OURSELVES),
            limits: sandbox_limits(&ActionLimits::default()),
        }
    }

    /// The same with its files below `cache_dir`.
    pub fn in_cache(self, cache_dir: PathBuf) -> Self {
        Self {
            build_dir: cache_dir.join("jobs"),
            cache_dir,
            ..self
        }
    }
}

fn sandbox_limits(limits: &ActionLimits) -> Limits {
    Limits {
        wall: limits.wall.max(Duration::from_secs(1)),
        cpu: limits.cpu,
        memory_bytes: limits.memory,
        processes: limits.processes,
        file_bytes: limits.output,
        output_bytes: OUTPUT_BYTES,
    }
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}
