//! Leases as clients show them, slots as actions take them: the pure [`Slots`] behind a lock, with waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::LeasePresented;

use super::authority::Authority;
use super::condition::{Condition, Patience};
use super::slots::{ClientKey, LeaseTerms, Slot, Slots};

/// How long an action waits for its lease, which travels on a stream of its own, and a lease for the first word
/// of the scheduler.
const LEASE_WAIT: Duration = Duration::from_secs(1);

/// The slots of a builder.
#[derive(Debug)]
pub(super) struct Admission {
    slots: Mutex<Slots>,
    pub(super) authority: Authority,
    condition: Arc<Condition>,
}

/// A slot, given back when dropped.
#[derive(Debug)]
pub(super) struct HeldSlot {
    admission: Arc<Admission>,
    slot: Option<Slot>,
}

impl Admission {
    pub(super) fn new(total: u32, authority: Authority, condition: Arc<Condition>) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::new(Slots::new(total)),
            authority,
            condition,
        })
    }

    /// Takes note of a lease, if its ticket holds; says why not, for the log.
    pub(super) async fn present(&self, client: ClientKey, shown: &LeasePresented) -> Result<(), String> {
        let look = || {
            self.authority
                .check(&shown.ticket, &client)
                .zip(self.authority.time())
        };
        let found = self.condition.wait(Patience::plain(LEASE_WAIT), || 0, look).await;
        let (checked, time) = found.ok_or("the scheduler was not heard yet")?;
        let claims = checked.map_err(|error| error.to_string())?;
        if claims.lease != shown.lease {
            return Err("the ticket is of another lease".to_owned());
        }
        let terms = LeaseTerms {
            slots: claims.slots,
            expires: claims.exp,
        };
        let taken = self.slots().present(client, shown.lease, terms, time);
        self.condition.notify();
        if taken {
            Ok(())
        } else {
            Err("too many leases".to_owned())
        }
    }

    /// Takes a slot; see [`Slots::admit`].
    pub(super) async fn admit(
        self: &Arc<Self>,
        client: ClientKey,
        lease: LeaseId,
    ) -> Result<HeldSlot, RefusalCode> {
        let look = || self.slots().knows(client, lease).then_some(());
        // Without it the refusal below says so.
        let _ = self.condition.wait(Patience::plain(LEASE_WAIT), || 0, look).await;
        let time = self.authority.time().ok_or(RefusalCode::NotAllowed)?;
        let slot = self.slots().admit(client, lease, time)?;
        Ok(HeldSlot {
            admission: Arc::clone(self),
            slot: Some(slot),
        })
    }

    /// Whether a lease lets its client fill this machine's disk; see [`Slots::entitles`].
    pub(super) fn entitles(&self, client: ClientKey, lease: LeaseId) -> bool {
        let time = self.authority.time();
        time.is_some_and(|time| self.slots().entitles(client, lease, time))
    }

    /// The scheduler took a lease back.
    pub(super) fn end(&self, lease: LeaseId) {
        // Before its first word there is no time: kept until other ends need the room.
        let now = self.authority.time().map_or(u64::MAX, |time| time.now);
        self.slots().end(lease, now);
    }

    /// Starts nothing more.
    pub(super) fn drain(&self) {
        self.slots().drain();
    }

    /// Actions running now. Every heartbeat asks, and thereby tells the slots how long the scheduler was there.
    pub(super) fn running(&self) -> u32 {
        let time = self.authority.time();
        let mut slots = self.slots();
        time.into_iter().for_each(|time| slots.observe(time));
        slots.running()
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.admission.slots().release(slot);
            self.admission.condition.notify();
        }
    }
}
