//! The agent's state as one JSON document, for `quicc agent status` and for `quicc run` when nothing went remote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The document. Fields are only added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
