//! Grants as agents receive them: with a ticket that a builder can check without asking.
//!
//! Owns the signing key, which lives as long as the scheduler and is never stored. Reads no clock.

use std::time::Duration;

use quicc_certs::{Name, TicketClaims, TicketError, TicketSigner};
use quicc_protocol::message::lease::LeaseGrant;
use quicc_protocol::message::offer::SchedulerWelcome;

use super::ledger::Grant;

/// How much longer than its lease a ticket holds: a renewal that comes late over a bad link interrupts nothing.
const TICKET_GRACE: Duration = Duration::from_secs(60);

/// The agent a ticket is bound to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'a> {
    /// Name of its certificate.
    pub(super) name: &'a Name,
    /// SHA-256 of its certificate's public key.
    pub(super) spki: &'a [u8; 32],
}

/// Signs grants of one cluster.
#[derive(Debug)]
pub(super) struct TicketOffice {
    cluster: Name,
    signer: TicketSigner,
}

impl TicketOffice {
    pub(super) fn open(cluster: Name) -> Result<Self, TicketError> {
        let signer = TicketSigner::generate()?;
        Ok(Self { cluster, signer })
    }

    /// The grant as a message, with a ticket; `now` is the scheduler's time in seconds since 1970.
    pub(super) fn issue(
        &self,
        grant: Grant,
        builder: &Name,
        holder: Holder<'_>,
        now: u64,
    ) -> Result<LeaseGrant, TicketError> {
        let claims = TicketClaims {
            iss: self.cluster.clone(),
            aud: builder.clone(),
            sub: holder.name.clone(),
            lease: grant.lease,
            slots: grant.slots,
            nbf: now,
            exp: now + (grant.valid_for + TICKET_GRACE).as_secs(),
            cnf: *holder.spki,
        };
        Ok(LeaseGrant {
            lease: grant.lease,
            builder: grant.name,
            endpoint: grant.endpoint,
            slots: grant.slots,
            valid_for: u32::try_from(grant.valid_for.as_secs()).unwrap_or(u32::MAX),
            ticket: self.signer.sign(&claims)?,
            extensions: Vec::new(),
        })
    }

    /// What a builder is told at each offer.
    pub(super) fn welcome(&self, heartbeat: Duration, now: u64) -> SchedulerWelcome {
        SchedulerWelcome {
            ticket_key: self.signer.public_key(),
            scheduler_time: now,
            heartbeat: u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX),
            extensions: Vec::new(),
        }
    }
}
