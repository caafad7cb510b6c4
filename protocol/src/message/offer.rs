//! Builder and scheduler: what a builder offers, and how it can check grants.

use bincode::{Decode, Encode};

use super::{Extensions, message};
use crate::identifiers::LeaseId;

/// A builder's statement of itself; repeated at every heartbeat. The scheduler believes the latest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BuilderOffer {
    /// Where clients reach this builder over UDP: `host:port`, host name or address.
    pub endpoint: String,
    /// Actions it runs at once.
    pub slots: u32,
    /// Actions running now.
    pub busy: u32,
    /// ELF machine name of what it can run: `x86_64`.
    pub machine: String,
    /// One-minute load average, in thousandths.
    pub load_permille: u32,
    /// Memory available for new actions, bytes.
    pub memory_available: u64,
    /// Software name and version, for people.
    pub software: String,
    /// Later additions.
    pub extensions: Extensions,
}
message!(BuilderOffer, 1, CONTROL_PAYLOAD);

/// The scheduler's answer to every offer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SchedulerWelcome {
    /// Public key with which tickets are checked.
    pub ticket_key: Vec<u8>,
    /// The scheduler's clock, seconds since 1970: tickets are judged in it.
    pub scheduler_time: u64,
    /// Milliseconds until the next offer is expected.
    pub heartbeat: u32,
    /// Later additions.
    pub extensions: Extensions,
}
message!(SchedulerWelcome, 2, CONTROL_PAYLOAD);

/// The scheduler takes a lease back, or an agent returns one: the builder starts no more of its actions and
/// kills none.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseEnd {
    /// Which lease.
    pub lease: LeaseId,
    /// Later additions.
    pub extensions: Extensions,
}
message!(LeaseEnd, 3, CONTROL_PAYLOAD);
