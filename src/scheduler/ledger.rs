//! The books of the farm and every decision about leases: `handle` what happened, `poll` what to do, wake at
//! `deadline`. Pure: time comes in, messages go out as values.
//!
//! Never ends a running action: a lease that ends or shrinks stops a builder from *starting* more. Leases are kept
//! one per agent and builder; a changed slot count is granted again under the same id.

use std::collections::VecDeque;
use std::time::Duration;

use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::lease::{BuilderStatus, LeaseDemand};
use quicc_protocol::message::offer::BuilderOffer;

use super::books::{Agent, Books, Builder};
use super::moment::Moment;

/// How long a lease lasts unless it is renewed.
pub const LEASE_TERM: Duration = Duration::from_secs(60);
/// How long after a grant it is renewed: half the term, so that one lost renewal ends nothing.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(30);
/// Heartbeats a builder may miss before it is lost.
pub const MISSED_HEARTBEATS: u32 = 3;
/// How long a builder is not granted again to an agent that gave its lease back.
pub const RETURN_PAUSE: Duration = Duration::from_secs(10);

/// One connection of a builder; a number is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuilderId(pub u64);

/// One connection of an agent; a number is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A builder connected; `name` is its certificate's. An older connection of that name is dropped: a restarted
    /// builder knows nothing of its past.
    BuilderArrived {
        /// Its connection.
        builder: BuilderId,
        /// Its name in the cluster.
        name: String,
    },
    /// A builder stated what it has.
    Offered {
        /// Its connection.
        builder: BuilderId,
        /// The statement.
        offer: BuilderOffer,
    },
    /// A builder's connection ended.
    BuilderGone {
        /// The connection.
        builder: BuilderId,
    },
    /// An agent connected; `client` is its certificate's name.
    AgentArrived {
        /// Its connection.
        agent: AgentId,
        /// Whose share it uses.
        client: String,
    },
    /// An agent said what it wants; replaces what it said before.
    Demanded {
        /// Its connection.
        agent: AgentId,
        /// What it wants.
        demand: LeaseDemand,
    },
    /// An agent has no use for a lease.
    LeaseReturned {
        /// Its connection.
        agent: AgentId,
        /// Which lease.
        lease: LeaseId,
    },
    /// An agent's connection ended.
    AgentGone {
        /// The connection.
        agent: AgentId,
    },
    /// The deadline passed, and everything received before was handled.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell an agent of a lease: a new one, one with another count, or a renewed one.
    Grant(Grant),
    /// Tell both sides, as far as they are connected, that a lease ended.
    EndLease {
        /// Which lease.
        lease: LeaseId,
        /// Who had it.
        agent: AgentId,
        /// On which builder.
        builder: BuilderId,
        /// Why, for the log.
        reason: EndReason,
    },
    /// Close the connection of a builder that is no longer counted.
    DropBuilder {
        /// The connection.
        builder: BuilderId,
        /// Its name.
        name: String,
        /// Why.
        reason: DropReason,
    },
}

/// A lease as its agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose lease.
    pub agent: AgentId,
    /// The builder's connection.
    pub builder: BuilderId,
    /// The builder's name in the cluster.
    pub name: String,
    /// Where agents reach it.
    pub endpoint: String,
    /// Which lease.
    pub lease: LeaseId,
    /// Slots; never 0.
    pub slots: u32,
    /// From now.
    pub valid_for: Duration,
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The agent gave it back.
    Returned,
    /// The agent wants nothing, or nothing that this builder's machine can run.
    Idle,
    /// The agent's connection ended.
    AgentGone,
    /// The builder's connection ended, or its heartbeats stayed out.
    BuilderLost,
    /// Another agent waits, the demand fell, the builder offers less, or the agent was moved elsewhere.
    Reassigned,
    /// It was not renewed in time.
    Expired,
}

/// Why a builder's connection is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// [`MISSED_HEARTBEATS`] passed without an offer.
    Silent,
    /// The same builder connected again.
    Replaced,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    pub(super) books: Books,
    pub(super) outputs: VecDeque<Output>,
    pub(super) now: Moment,
    pub(super) next_lease: LeaseId,
    is_settled: bool,
    silence: Duration,
}

impl Ledger {
    /// An empty ledger. `heartbeat` is the time between a builder's offers; leases are numbered upwards from
    /// `first_lease`, which a restarted scheduler chooses above all ids of its former runs.
    pub fn new(heartbeat: Duration, first_lease: LeaseId) -> Self {
        Self {
            books: Books::default(),
            outputs: VecDeque::new(),
            now: Moment(0),
            next_lease: first_lease,
            is_settled: true,
            silence: heartbeat.saturating_mul(MISSED_HEARTBEATS),
        }
    }

    /// Takes note of what happened. `now` never goes backwards; inputs about unknown connections do nothing.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.now = self.now.max(now);
        self.is_settled = false;
        self.expire();
        match input {
            Input::BuilderArrived { builder, name } => self.register(builder, name),
            Input::Offered { builder, offer } => self.note_offer(builder, offer),
            Input::BuilderGone { builder } => {
                self.books.builders.remove(&builder);
            }
            Input::AgentArrived { agent, client } => {
                self.books.agents.insert(agent, Agent::new(client));
            }
            Input::Demanded { agent, demand } => {
                if let Some(agent) = self.books.agents.get_mut(&agent) {
                    agent.want(demand);
                }
            }
            Input::LeaseReturned { agent, lease } => self.take_return(agent, lease),
            Input::AgentGone { agent } => {
                self.books.agents.remove(&agent);
            }
            Input::Tick => self.drop_silent(),
        }
    }

    /// The next thing to do; `None` when there is nothing more. Handling several inputs before polling costs one
    /// settlement.
    pub fn poll(&mut self) -> Option<Output> {
        if !self.is_settled {
            self.is_settled = true;
            self.settle();
        }
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest; `None` while nothing can happen by itself. Read after `poll` gave
    /// `None`.
    pub fn deadline(&self) -> Option<Moment> {
        let books = &self.books;
        let silences = books
            .builders
            .values()
            .map(|builder| builder.heard + self.silence);
        let renewals = books.leases.values().map(|lease| lease.renewal);
        let bars = books
            .agents
            .values()
            .flat_map(|agent| agent.barred.values().copied());
        let turns = books
            .agents
            .values()
            .map(|agent| &agent.turn)
            .chain(books.turns.values());
        silences
            .chain(renewals)
            .chain(bars)
            .chain(turns.filter_map(|turn| turn.ends()))
            .min()
    }

    /// Every builder that made an offer and is not lost, by name.
    pub fn builders(&self) -> Vec<BuilderStatus> {
        self.books.status()
    }

    /// Agents connected.
    pub fn agents(&self) -> usize {
        self.books.agents.len()
    }

    /// Ends leases past their expiry and pauses after a return.
    fn expire(&mut self) {
        let now = self.now;
        let leases = self.books.leases.iter();
        let expired: Vec<_> = leases
            .filter_map(|(&key, lease)| (lease.expiry <= now).then_some(key))
            .collect();
        for (agent, builder) in expired {
            self.end_lease(agent, builder, EndReason::Expired);
        }
        for agent in self.books.agents.values_mut() {
            agent.barred.retain(|_, until| now < *until);
        }
    }

    /// Drops builders whose heartbeats stayed out. Only at a tick: after a stall of the scheduler itself, offers
    /// that wait to be handled speak for their builders first.
    fn drop_silent(&mut self) {
        let builders = self.books.builders.iter();
        let silent: Vec<_> = builders
            .filter_map(|(&id, builder)| (builder.heard + self.silence <= self.now).then_some(id))
            .collect();
        for builder in silent {
            self.drop_builder(builder, DropReason::Silent);
        }
    }

    fn register(&mut self, builder: BuilderId, name: String) {
        if let Some(older) = self.books.builder_named(&name) {
            self.drop_builder(older, DropReason::Replaced);
        }
        let arrived = Builder {
            name,
            offer: None,
            heard: self.now,
        };
        self.books.builders.insert(builder, arrived);
    }

    fn note_offer(&mut self, builder: BuilderId, offer: BuilderOffer) {
        let Some(known) = self.books.builders.get_mut(&builder) else {
            return;
        };
        known.heard = self.now;
        let former = known.offer.replace(offer);
        let moved =
            former.map(|former| former.endpoint) != known.offer.as_ref().map(|offer| offer.endpoint.clone());
        if moved {
            let on_it = self.books.leases.iter_mut().filter(|((_, on), _)| *on == builder);
            on_it.for_each(|(_, lease)| lease.is_outdated = true);
        }
    }

    fn take_return(&mut self, agent: AgentId, lease: LeaseId) {
        let Some(builder) = self.books.holder(agent, lease) else {
            return;
        };
        self.end_lease(agent, builder, EndReason::Returned);
        let until = self.now + RETURN_PAUSE;
        if let (Some(agent), Some(builder)) = (
            self.books.agents.get_mut(&agent),
            self.books.builders.get(&builder),
        ) {
            agent.barred.insert(builder.name.clone(), until);
        }
    }

    fn drop_builder(&mut self, builder: BuilderId, reason: DropReason) {
        if let Some(Builder { name, .. }) = self.books.builders.remove(&builder) {
            self.outputs.push_back(Output::DropBuilder {
                builder,
                name,
                reason,
            });
        }
    }

    pub(super) fn end_lease(&mut self, agent: AgentId, builder: BuilderId, reason: EndReason) {
        if let Some(lease) = self.books.leases.remove(&(agent, builder)) {
            self.outputs.push_back(Output::EndLease {
                lease: lease.id,
                agent,
                builder,
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests;
