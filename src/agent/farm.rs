//! Leases and links: the slots this agent may use now, and how it gets more.
//!
//! A compile never waits for the scheduler while a lease has a free slot, and never for long when there is none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_certs::{Identity, Name, Role};
use quicc_protocol::identifiers::{LeaseId, ViewId};
use quicc_protocol::limits;
use quicc_protocol::message::lease::{LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::LeaseEnd;
use quicc_protocol::version::Hello;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::demand::{self, Told};
use super::leases::{Lease, Leases, Taken};
use super::link::{End, Link, Process};
use crate::host::task::{self, Task};
use crate::host::timer;
use crate::inputs::tree::Tree;
use crate::transport::liveness::Watched;
use crate::transport::resolve::resolve;
use crate::transport::{Endpoint, Opened, Pace, TransportError, When, frame};

/// A unit waits this long for a farm that has not answered yet, once; then units run here until it does.
const FIRST_ANSWER: Duration = Duration::from_millis(300);
/// Units wait this long for a first lease while the scheduler is there but grants nothing; then they run here.
const FIRST_LEASE: Duration = Duration::from_millis(1500);
/// The same after a builder fell silent: with the silence it stays below the 3 s promised for a silent network.
const LEASE_AFTER_SILENCE: Duration = Duration::from_millis(400);
/// How long after that wait units run here at once, before one waits again.
const STARVED: Duration = Duration::from_secs(30);
/// A unit waits this long for a slot while leases are held but busy; longer means something is wrong.
const BUSY: Duration = Duration::from_secs(600);
/// Pauses between attempts to reach the scheduler: doubled from the first to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(500);
const RECONNECT_LAST: Duration = Duration::from_secs(30);
/// A connection to the scheduler that lasted so long is made again at once when it ends.
const LASTED: Duration = Duration::from_secs(5);
/// A builder that failed is asked for again after this long.
const AVOIDED: Duration = Duration::from_secs(15);
/// A builder that refuses the slots of a lease for so long, while it takes up none, does not hold it any more.
const REFUSED: Duration = Duration::from_secs(1);

/// Builders whose process is remembered with what it was told, also without a connection; beyond it all are forgotten,
/// tried and told anew.
const PROCESSES: usize = 64;

/// What an agent needs to know to use a farm.
#[derive(Debug, Clone)]
pub struct FarmAccess {
    /// The scheduler's `host:port`.
    pub scheduler: String,
    /// The cluster, and the names certificates must carry.
    pub cluster: Name,
    /// The scheduler's name in the cluster.
    pub scheduler_name: Name,
    /// ELF machine of this client's toolchains.
    pub machine: String,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// The scheduler cannot be reached.
    #[error("the farm cannot be reached")]
    Unreachable,
    /// The scheduler has granted nothing.
    #[error("the farm has no free slot")]
    NoneFree,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheduler {
    Connecting(Instant),
    Up(Instant),
    Down,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler,
    problem: Option<String>,
    leases: Leases,
    links: HashMap<String, Arc<Link>>,
    /// The process that each builder was when it was met there last.
    processes: HashMap<(String, SocketAddr), Arc<Process>>,
    avoided: HashMap<String, Instant>,
    waiting: u32,
    /// Since when units wait without any lease.
    starved: Option<Instant>,
    epoch: u64,
    /// Leave was taken.
    has_left: bool,
}

impl State {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::Connecting(Instant::now()),
            problem: None,
            leases: Leases::default(),
            links: HashMap::new(),
            processes: HashMap::new(),
            avoided: HashMap::new(),
            waiting: 0,
            starved: None,
            epoch: 0,
            has_left: false,
        }
    }
}

/// The farm as this agent sees it.
#[derive(Debug)]
pub struct Farm {
    access: FarmAccess,
    endpoint: Endpoint,
    view: ViewId,
    tree: Arc<Tree>,
    state: Mutex<State>,
    changed: Notify,
    demand: watch::Sender<u32>,
    /// Table records sent to builders.
    records: Arc<AtomicU64>,
    /// Leases that lost their connection: the scheduler may grant their slots anew.
    returned: mpsc::UnboundedSender<LeaseId>,
    returns: tokio::sync::Mutex<mpsc::UnboundedReceiver<LeaseId>>,
}

/// A slot on a builder, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    farm: Arc<Farm>,
    /// The lease it belongs to.
    pub lease: LeaseId,
    /// The builder.
    pub link: Arc<Link>,
    /// Whether it is no slot yet: it will be when one is free.
    is_queued: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.farm.lock();
        state.leases.give_back(self.lease);
        self.farm.update_demand(&state);
        drop(state);
        self.farm.changed.notify_waiters();
    }
}

/// Counts a unit that waits for a slot.
struct Waiting<'a>(&'a Farm);

impl<'a> Waiting<'a> {
    fn new(farm: &'a Farm) -> Self {
        let mut state = farm.lock();
        state.waiting += 1;
        farm.update_demand(&state);
        Self(farm)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.waiting = state.waiting.saturating_sub(1);
        self.0.update_demand(&state);
    }
}

impl Farm {
    /// A farm to be driven by [`Farm::drive`].
    pub fn new(access: FarmAccess, endpoint: Endpoint, view: ViewId, tree: Arc<Tree>) -> Arc<Self> {
        let state = State::new();
        let (demand, _) = watch::channel(0);
        let (returned, returns) = mpsc::unbounded_channel();
        let returns = tokio::sync::Mutex::new(returns);
        let (state, changed) = (Mutex::new(state), Notify::new());
        Arc::new(Self {
            access,
            endpoint,
            view,
            tree,
            state,
            changed,
            demand,
            records: Arc::default(),
            returned,
            returns,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up leases whose slots cannot be used any more, and says so to the scheduler.
    fn drop_leases(&self, state: &mut State, gone: impl Fn(&Lease) -> bool) {
        for lease in state.leases.forget(gone) {
            tracing::debug!(lease, "a lease is given back");
            let _ = self.returned.send(lease);
        }
    }

    fn update_demand(&self, state: &State) {
        let wanted = state.leases.used().saturating_add(state.waiting);
        self.demand
            .send_if_modified(|demand| std::mem::replace(demand, wanted) != wanted);
    }

    /// Why the scheduler could not be reached at the last attempt.
    pub fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// Table records sent to builders so far.
    pub fn table_records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Builders connected, by name, with slots and used slots.
    pub fn leases(&self) -> Vec<(String, u32, u32)> {
        let state = self.lock();
        state
            .leases
            .iter()
            .map(|lease| (lease.link.name.clone(), lease.slots, lease.used))
            .collect()
    }

    /// Starts nothing more on a builder for a while; what runs there goes on.
    pub fn spare(&self, link: &Link) {
        let mut state = self.lock();
        state.avoided.insert(link.name.clone(), Instant::now() + AVOIDED);
        for (id, lease) in state.leases.iter_mut() {
            if lease.link.name == link.name && lease.slots > 0 {
                lease.slots = 0;
                let _ = self.returned.send(id);
            }
        }
    }

    /// The slot's builder refused it for want of a free one. For a moment that happens to good leases too; one that
    /// is refused on and on is given up.
    pub fn refused(&self, slot: &Slot) {
        if slot.is_queued {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        let Some(lease) = state.leases.get_mut(slot.lease) else {
            return;
        };
        let since = *lease.refused.get_or_insert(now);
        if now.duration_since(since) >= REFUSED && lease.slots > 0 {
            lease.slots = 0;
            let _ = self.returned.send(slot.lease);
        }
    }

    /// The slot's builder took it up.
    pub fn accepted(&self, slot: &Slot) {
        if let Some(lease) = self.lock().leases.get_mut(slot.lease) {
            lease.refused = None;
        }
    }

    /// Keeps away from a builder for a while, and from its leases for good.
    pub fn avoid(&self, link: &Link) {
        let mut state = self.lock();
        state.avoided.insert(link.name.clone(), Instant::now() + AVOIDED);
        self.drop_leases(&mut state, |lease| lease.link.name == link.name);
        state.links.remove(&link.name);
        drop(state);
        link.close();
        self.changed.notify_waiters();
    }

    /// A free slot, as soon as there is one and within the bounds of this file.
    pub async fn acquire(self: &Arc<Self>) -> Result<Slot, NoSlot> {
        let since = Instant::now();
        let _waiting = Waiting::new(self);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let until = match self.try_acquire(since) {
                Attempt::Got(slot) => return Ok(slot),
                Attempt::Never(no) => return Err(no),
                Attempt::WaitUntil(until) => until,
            };
            let _ = timer::timeout(until.saturating_duration_since(Instant::now()), changed).await;
        }
    }

    fn try_acquire(self: &Arc<Self>, since: Instant) -> Attempt {
        let mut state = self.lock();
        let scheduler = state.scheduler;
        let away = !matches!(scheduler, Scheduler::Up(_));
        // Who lost a slot may come back for another before [`Self::wake_when_closed`] is: the scheduler grants none
        // while it takes the lost lease for held.
        self.drop_leases(&mut state, |lease| !lease.may_return());
        if let Some(Taken {
            lease,
            link,
            is_queued,
        }) = state.leases.take(Instant::now(), away)
        {
            return Attempt::Got(Slot {
                farm: Arc::clone(self),
                lease,
                link,
                is_queued,
            });
        }
        if state.leases.used() > 0 {
            return Attempt::until(since + BUSY, NoSlot::NoneFree);
        }
        match scheduler {
            Scheduler::Down => Attempt::Never(NoSlot::Unreachable),
            Scheduler::Connecting(start) => Attempt::until(start + FIRST_ANSWER, NoSlot::Unreachable),
            Scheduler::Up(_) => {
                let now = Instant::now();
                let recent = state.starved.filter(|start| now.duration_since(*start) < STARVED);
                let start = *state.starved.insert(recent.unwrap_or(now));
                Attempt::until(start + FIRST_LEASE, NoSlot::NoneFree)
            }
        }
    }

    /// Takes leave of everybody, so that nobody keeps for this agent what another could use. Nothing can be done with
    /// the farm afterwards.
    pub async fn leave(&self) {
        self.lock().has_left = true;
        self.endpoint.close().await;
    }

    /// Talks to the scheduler until leave is taken.
    pub async fn drive(self: Arc<Self>) {
        let mut pause = RECONNECT_FIRST;
        loop {
            let problem = |error: TransportError| crate::host::text::chain(&error);
            match self.connect().await {
                Ok(opened) => {
                    let since = Instant::now();
                    self.set_scheduler(Scheduler::Up(since), None);
                    let ended = self.converse(opened).await.err().map(problem);
                    if self.lock().has_left {
                        return;
                    }
                    if since.elapsed() >= LASTED {
                        // The machine slept, say, or the scheduler was restarted.
                        self.set_scheduler(Scheduler::Connecting(Instant::now()), ended);
                        pause = RECONNECT_FIRST;
                        continue;
                    }
                    self.set_scheduler(Scheduler::Down, ended);
                }
                Err(error) => self.set_scheduler(Scheduler::Down, Some(problem(error))),
            }
            timer::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_LAST);
        }
    }

    fn set_scheduler(&self, scheduler: Scheduler, problem: Option<String>) {
        let mut state = self.lock();
        if let Some(problem) = &problem {
            tracing::warn!(problem, "the scheduler is away");
        }
        state.scheduler = scheduler;
        state.problem = problem;
        drop(state);
        self.changed.notify_waiters();
    }

    async fn connect(&self) -> Result<Opened, TransportError> {
        let address = resolve(&self.access.scheduler).await?;
        let expected = self.identity(Role::Scheduler, self.access.scheduler_name.clone());
        self.endpoint
            .open(address, &expected, &hello(), Pace::Leisurely, When::Verified)
            .await
    }

    fn identity(&self, role: Role, name: Name) -> Identity {
        Identity {
            cluster: self.access.cluster.clone(),
            role,
            name,
        }
    }

    async fn converse(self: &Arc<Self>, opened: Opened) -> Result<(), TransportError> {
        let watched = Watched::new(
            opened.connection.clone(),
            Pace::Leisurely,
            opened.refusals.clone(),
        );
        let (mut send, unmet) = opened.part();
        let mut demand = self.demand.subscribe();
        let mut returns = self.returns.lock().await;
        let telling = async {
            let mut told = Told::Nothing;
            loop {
                let next = demand::next(told, *demand.borrow_and_update());
                let after = next.map_or(Duration::MAX, |next| next.after);
                let later = async {
                    if !after.is_zero() {
                        timer::sleep(after).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = later, if next.is_some() => {}
                    changed = demand.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return Ok(()),
                    },
                    Some(lease) = returns.recv() => {
                        let end = LeaseEnd { lease, extensions: Vec::new() };
                        frame::send(&mut send, &end).await?;
                        watched.expect_answer();
                        continue;
                    }
                }
                told = next.map_or(told, |next| next.told);
                frame::send(&mut send, &self.demand_message(told)).await?;
                watched.expect_answer();
                if told == Told::Rests {
                    self.rest();
                }
            }
        };
        // Grants are handled one after the other, outside the reading of frames, which must not be cancelled.
        let hearing = async {
            let mut dialling: Vec<Task<()>> = Vec::new();
            let (_, mut receive) = unmet.meet().await?;
            while let Some(frame) = frame::receive(&mut receive, limits::CONTROL_PAYLOAD).await? {
                if frame.is::<LeaseGrant>() {
                    let (farm, grant) = (Arc::clone(self), frame.open::<LeaseGrant>()?);
                    let number = farm.lock().leases.number_grant(grant.lease);
                    dialling.retain(|task| !task.is_finished());
                    dialling.push(task::spawn(
                        "grant",
                        async move { farm.take(grant, number).await },
                    ));
                } else if frame.is::<LeaseEnd>() {
                    self.lock().leases.end(frame.open::<LeaseEnd>()?.lease);
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = telling => ended,
            ended = hearing => ended,
        }
    }

    /// Gives up what is held ahead of need, and the connections to builders that nothing runs on.
    fn rest(&self) {
        let mut state = self.lock();
        let State { leases, links, .. } = &mut *state;
        leases.forget(|lease| lease.used == 0);
        links.retain(|_, link| {
            let is_used = leases.iter().any(|lease| Arc::ptr_eq(&lease.link, link));
            if !is_used {
                link.close();
            }
            is_used
        });
    }

    fn demand_message(&self, told: Told) -> LeaseDemand {
        let (slots, ahead) = demand::slots(told);
        let mut state = self.lock();
        state.avoided.retain(|_, until| *until > Instant::now());
        let avoid = state.avoided.keys().cloned().collect();
        LeaseDemand {
            slots,
            ahead,
            machine: self.access.machine.clone(),
            avoid,
            extensions: Vec::new(),
        }
    }

    /// Makes a grant usable: a link to its builder, the lease presented there.
    async fn take(self: Arc<Self>, grant: LeaseGrant, number: u64) {
        let expires = Instant::now() + Duration::from_secs(u64::from(grant.valid_for));
        self.hold(grant, number, expires).await;
    }

    /// Holds what was granted until `expires`, unless a later grant of the lease came.
    async fn hold(self: &Arc<Self>, grant: LeaseGrant, number: u64, expires: Instant) {
        let mut known = self.lock().links.get(&grant.builder).cloned();
        loop {
            let link = match self.link(&grant).await {
                Ok(link) => link,
                Err(error) => return self.note_unreachable(&grant.builder, &error),
            };
            if !self.lock().leases.is_latest(grant.lease, number) {
                return;
            }
            if let Ok(presentation) = link.present(&grant).await {
                let mut state = self.lock();
                if !state.leases.is_latest(grant.lease, number) {
                    return;
                }
                // Whoever gives up the leases of a link that ends takes the lock once it has.
                if link.is_alive() {
                    tracing::debug!(
                        lease = grant.lease,
                        builder = grant.builder,
                        slots = grant.slots,
                        "a lease is held"
                    );
                    state.starved = None;
                    state.leases.hold((link, presentation), grant, expires);
                    drop(state);
                    self.changed.notify_waiters();
                    return;
                }
            }
            // The next link waits for the builder's answer: it cannot be.
            let was_too_early = link.was_too_early().await;
            // What was known of a builder that was restarted says nothing of the one that has slots to grant.
            let was_known = known.take().is_some_and(|known| Arc::ptr_eq(&known, &link));
            if !was_too_early && !was_known {
                return self.avoid(&link);
            }
        }
    }

    fn note_unreachable(&self, builder: &str, error: &TransportError) {
        let error = crate::host::text::chain(error);
        tracing::warn!(builder, error, "builder unreachable");
        let mut state = self.lock();
        state.avoided.insert(builder.to_owned(), Instant::now() + AVOIDED);
        state.problem = Some(error);
        drop(state);
        self.changed.notify_waiters();
    }

    async fn link(self: &Arc<Self>, grant: &LeaseGrant) -> Result<Arc<Link>, TransportError> {
        if let Some(link) = self
            .lock()
            .links
            .get(&grant.builder)
            .filter(|link| link.is_alive())
        {
            return Ok(Arc::clone(link));
        }
        let name: Name = grant.builder.parse().map_err(|_| TransportError::Resolve {
            host: grant.builder.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "no builder can have this name"),
        })?;
        let address = resolve(&grant.endpoint).await?;
        let expected = self.identity(Role::Builder, name);
        let opened = self
            .endpoint
            .open(address, &expected, &hello(), Pace::OnDemand, When::AtOnce)
            .await?;
        let mut state = self.lock();
        // Another grant for the same builder may have been quicker.
        if let Some(link) = state.links.get(&grant.builder).filter(|link| link.is_alive()) {
            return Ok(Arc::clone(link));
        }
        // An epoch leaves room for a table to be begun anew within it.
        state.epoch += 1 << 16;
        let place = (grant.builder.clone(), address);
        let former = state.processes.get(&place).cloned();
        let (table, tree) = ((self.view, state.epoch), Arc::clone(&self.tree));
        let link = Arc::new(Link::new(opened, table, tree, former, &self.records));
        if state.processes.len() >= PROCESSES {
            state.processes.clear();
        }
        let process = Arc::clone(&link.process);
        state.processes.insert(place, process);
        state.links.insert(grant.builder.clone(), Arc::clone(&link));
        drop(state);
        self.wake_when_closed(&link, expected);
        Ok(link)
    }

    /// A unit that waits for a slot of a lost builder must look again. A builder that was restarted is met anew, before
    /// its leases are given up.
    fn wake_when_closed(self: &Arc<Self>, link: &Arc<Link>, builder: Identity) {
        let (farm, link) = (Arc::downgrade(self), Arc::clone(link));
        let watch = async move {
            let end = link.closed().await;
            let Some(farm) = farm.upgrade() else { return };
            if end == End::Ending {
                farm.endpoint.forget(&builder);
            }
            // What was granted since it was restarted is in force; nobody had told that the link was void.
            if link.was_too_early().await || end == End::Restarted {
                farm.meet_anew(&link).await;
            }
            let mut state = farm.lock();
            if link.was_never_met() {
                state.avoided.insert(link.name.clone(), Instant::now() + AVOIDED);
            }
            if end == End::Silent {
                // Who waits has waited through the silence already.
                state.starved = Instant::now().checked_sub(FIRST_LEASE - LEASE_AFTER_SILENCE);
            }
            farm.drop_leases(&mut state, |lease| Arc::ptr_eq(&lease.link, &link));
            state.links.retain(|_, link| link.is_alive());
            farm.update_demand(&state);
            drop(state);
            farm.changed.notify_waiters();
        };
        task::spawn("link-watch", watch).detach();
    }

    /// Shows the leases that a builder cannot have met on a link that is void on a new one.
    async fn meet_anew(self: &Arc<Self>, link: &Arc<Link>) {
        let leases: Vec<_> = {
            let mut state = self.lock();
            let unmet = |lease: &&Lease| Arc::ptr_eq(&lease.link, link) && lease.is_unmet();
            let leases = state.leases.iter().filter(unmet);
            let leases: Vec<_> = leases.map(|lease| (lease.grant.clone(), lease.expires)).collect();
            let mut number = |grant: &LeaseGrant| state.leases.number_grant(grant.lease);
            let numbered = leases
                .into_iter()
                .map(|(grant, expires)| (number(&grant), grant, expires));
            numbered.collect()
        };
        let held: Vec<_> = leases
            .into_iter()
            .map(|(number, grant, expires)| {
                let farm = Arc::clone(self);
                task::spawn("grant", async move { farm.hold(grant, number, expires).await })
            })
            .collect();
        for held in held {
            // A task that panicked said so, and its lease is given up.
            let _ = held.await;
        }
    }
}

fn hello() -> Hello {
    Hello::ours(3, crate::SOFTWARE)
}

enum Attempt {
    Got(Slot),
    WaitUntil(Instant),
    Never(NoSlot),
}

impl Attempt {
    fn until(until: Instant, otherwise: NoSlot) -> Self {
        if until <= Instant::now() {
            Self::Never(otherwise)
        } else {
            Self::WaitUntil(until)
        }
    }
}
