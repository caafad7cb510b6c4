//! Agent and scheduler: slots wanted and granted ahead of demand.

use bincode::{Decode, Encode};

use super::{Extensions, message};
use crate::identifiers::LeaseId;

/// What an agent wants; the latest replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseDemand {
    /// Slots it could use now, those it holds included.
    pub slots: u32,
    /// Slots it would hold beyond those, ahead of need: granted from what nobody could use now, and taken back first.
    /// 0 of both when it is idle.
    pub ahead: u32,
    /// ELF machine its toolchains run on.
    pub machine: String,
    /// Builders it could not reach or use lately, by name: granted only when nothing else is free.
    pub avoid: Vec<String>,
    /// Later additions.
    pub extensions: Extensions,
}
message!(LeaseDemand, 10, CONTROL_PAYLOAD);

/// Slots on a builder until an expiry. Granting a lease the agent holds already renews it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseGrant {
    /// Which lease.
    pub lease: LeaseId,
    /// The builder's name in the cluster: what its certificate must say.
    pub builder: String,
    /// Where to reach it: `host:port`.
    pub endpoint: String,
    /// Slots granted; never 0.
    pub slots: u32,
    /// Seconds from receipt until the lease ends.
    pub valid_for: u32,
    /// Signed proof for the builder.
    pub ticket: String,
    /// Later additions.
    pub extensions: Extensions,
}
message!(LeaseGrant, 11, CONTROL_PAYLOAD);

/// Asks for the state of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FarmStatusRequest {
    /// Later additions.
    pub extensions: Extensions,
}
message!(FarmStatusRequest, 12, CONTROL_PAYLOAD);

/// One builder as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BuilderStatus {
    /// Name in the cluster.
    pub name: String,
    /// Where clients reach it.
    pub endpoint: String,
    /// Actions it runs at once.
    pub slots: u32,
    /// Slots leased to agents.
    pub leased: u32,
    /// Actions running at its last heartbeat.
    pub busy: u32,
    /// ELF machine.
    pub machine: String,
    /// Software name and version.
    pub software: String,
}

/// The state of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FarmStatus {
    /// Every builder that registered and is not lost.
    pub builders: Vec<BuilderStatus>,
    /// Agents connected.
    pub agents: u32,
    /// Later additions.
    pub extensions: Extensions,
}
message!(FarmStatus, 13, CONTROL_PAYLOAD);
