//! The agent's state as one JSON document, for `quicc agent status`, `quicc stats`, and for `quicc run` when nothing went remote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The document. Fields are only added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Software name and version.
    pub software: String,
    /// Process id.
    pub pid: u32,
    /// `embedded`, or the scheduler's address.
    pub farm: String,
    /// Why the farm cannot be used at present, with the fix where one is known.
    pub problem: Option<String>,
    /// Builders leased now.
    pub builders: Vec<BuilderUse>,
    /// Units compiled on builders since the agent started.
    pub remote: u64,
    /// Units compiled here, by reason.
    pub local: BTreeMap<String, u64>,
    /// Units compiled here because the farm failed.
    pub fallbacks: u64,
    /// Bytes sent for units.
    pub bytes_up: u64,
    /// Bytes received for units.
    pub bytes_down: u64,
    /// Records of files and names told to builders.
    pub table_records: u64,
    /// When the agent started, in seconds since the Unix epoch.
    pub started: u64,
    /// Units whose inputs were remembered of an earlier compile; like the next two, by the last preparation.
    pub remembered: u64,
    /// Units whose inputs our scanner found.
    pub scanned: u64,
    /// Units whose inputs the compiler's own list of dependencies helped to find.
    pub dependencies: u64,
    /// Units that failed on a builder for want of a file and were prepared again with that list.
    pub repairs: u64,
    /// Times a unit was begun again because its inputs changed.
    pub inputs_changed: u64,
    /// Toolchains trusted on builders, and not trusted.
    pub toolchains: (usize, usize),
}

/// One builder's lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderUse {
    /// Name in the cluster.
    pub name: String,
    /// Slots leased.
    pub slots: u32,
    /// Slots in use.
    pub used: u32,
}
