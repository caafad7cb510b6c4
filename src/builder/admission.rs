//! Leases as clients show them, slots as actions take them: the pure [`Slots`] behind a lock, with waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::LeasePresented;

use super::authority::Authority;
use super::condition::{Condition, Patience};
use super::slots::{ClientKey, LeaseTerms, Place, Slot, Slots};

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

/// How long an action waits for a slot at most, its files at hand: then its agent chooses anew, for there may be a free
/// one elsewhere by now.
const QUEUED: Patience = Patience::plain(Duration::from_secs(5));

/// A slot or, before it, a place in the queue for one; given back when dropped.
#[derive(Debug)]
pub(super) struct HeldSlot {
    admission: Arc<Admission>,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
enum Held {
    Place(Place),
    Slot(Slot),
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

    /// Takes a slot, or a place in the queue if none is free; see [`Slots::admit`] and [`Slots::queue`].
    pub(super) async fn admit(
        self: &Arc<Self>,
        client: ClientKey,
        lease: LeaseId,
    ) -> Result<HeldSlot, RefusalCode> {
        let look = || self.slots().knows(client, lease).then_some(());
        // Without it the refusal below says so.
        let _ = self.condition.wait(Patience::plain(LEASE_WAIT), || 0, look).await;
        let time = self.authority.time().ok_or(RefusalCode::NotAllowed)?;
        let mut slots = self.slots();
        let held = match slots.admit(client, lease, time) {
            Err(RefusalCode::Busy) => slots.queue(client, lease, time).map(Held::Place),
            admitted => admitted.map(Held::Slot),
        };
        Ok(HeldSlot {
            admission: Arc::clone(self),
            held: Mutex::new(Some(held?)),
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

impl HeldSlot {
    /// Waits until it is a slot; see [`Slots::advance`].
    pub(super) async fn advance(&self) -> Result<(), RefusalCode> {
        let look = || self.try_advance().transpose();
        let waited = self.admission.condition.wait(QUEUED, || 0, look).await;
        waited.unwrap_or(Err(RefusalCode::Busy))
    }

    fn try_advance(&self) -> Result<Option<()>, RefusalCode> {
        let mut held = self.held();
        let Some(Held::Place(place)) = &*held else {
            return Ok(Some(()));
        };
        let time = self.admission.authority.time().ok_or(RefusalCode::NotAllowed)?;
        let mut slots = self.admission.slots();
        let Some(slot) = slots.advance(place, time)? else {
            return Ok(None);
        };
        if let Some(Held::Place(place)) = held.replace(Held::Slot(slot)) {
            slots.leave(place);
        }
        Ok(Some(()))
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        let held = self.held().take();
        let mut slots = self.admission.slots();
        match held {
            Some(Held::Slot(slot)) => slots.release(slot),
            Some(Held::Place(place)) => slots.leave(place),
            None => {}
        }
        drop(slots);
        self.admission.condition.notify();
    }
}
