//! Rootless Linux isolation of one compile: a root built from nothing, no network, no capabilities, limits.
//!
//! Owns how a [`Plan`] becomes a running program and a [`Report`], and the only use of namespaces and mounts.
//! Never decides what a compile may see or what its outputs mean, and never touches the content of the mirror.
//!
//! Three processes, because a process with threads can neither enter a user namespace nor fork without
//! `unsafe`: the builder ([`run`]) starts itself as `sandbox-init`, which makes the namespaces and the mounts
//! and starts itself again as `sandbox-supervise`, process 1 of the new pid namespace, whose children are
//! the programs of the job, one after the other. Standard input of both is their lifeline: it closes with the builder, and process 1 takes the whole
//! namespace with it.

mod channel;
mod codec;
mod devices;
mod diagnosis;
mod error;
mod identity;
mod init;
mod job;
mod judge;
mod message;
mod mounts;
mod plan;
mod plan_codec;
mod privileges;
mod probe;
mod procfs;
mod reap;
mod root;
mod run;
mod stage;
mod streams;
mod supervise;
mod usage;
mod watch;

pub use diagnosis::Obstacle;
pub use error::SandboxError;
pub use identity::{BUILD_UID, job_uid};
pub use init::init_main;
pub use plan::{Bind, End, Limit, Limits, MAX_OUTPUT_BYTES, Plan, Report, Step, Terminal};
pub use probe::{Support, probe};
pub use run::{run, run_until};
pub use stage::Stage;
pub use supervise::supervise_main;

/// First argument with which [`run`] starts this executable to reach [`init_main`].
pub const INIT_COMMAND: &str = "sandbox-init";

/// First argument with which [`init_main`] starts this executable to reach [`supervise_main`].
pub const SUPERVISE_COMMAND: &str = "sandbox-supervise";
