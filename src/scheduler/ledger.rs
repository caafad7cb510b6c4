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
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(2);

    /// A ledger and the seconds that passed in it.
    struct Farm {
        ledger: Ledger,
        second: u64,
    }

    impl Farm {
        /// Builders numbered from 1 with these slots, all of one machine.
        fn new(slots: &[u32]) -> Self {
            let ledger = Ledger::new(HEARTBEAT, 100);
            let mut farm = Self { ledger, second: 0 };
            for (number, &slots) in (1..).zip(slots) {
                farm.arrive(number);
                farm.offer(number, slots, "x86_64");
            }
            assert!(farm.outputs().is_empty());
            farm
        }

        fn handle(&mut self, input: Input) {
            self.ledger.handle(Moment(self.second * 1000), input);
        }

        fn arrive(&mut self, number: u64) {
            let name = format!("b{}", number % 100);
            let builder = BuilderId(number);
            self.handle(Input::BuilderArrived { builder, name });
        }

        fn offer(&mut self, number: u64, slots: u32, machine: &str) {
            let offer = BuilderOffer {
                endpoint: format!("b{number}:10501"),
                slots,
                busy: 0,
                machine: machine.to_owned(),
                load_permille: 0,
                memory_available: 8 << 30,
                software: String::new(),
                extensions: Vec::new(),
            };
            let builder = BuilderId(number);
            self.handle(Input::Offered { builder, offer });
        }

        fn join(&mut self, number: u64, client: &str) {
            let client = client.to_owned();
            let agent = AgentId(number);
            self.handle(Input::AgentArrived { agent, client });
        }

        fn demand(&mut self, number: u64, slots: u32, avoid: &[&str]) {
            let demand = LeaseDemand {
                slots,
                machine: "x86_64".to_owned(),
                avoid: avoid.iter().map(|&name| name.to_owned()).collect(),
                extensions: Vec::new(),
            };
            let agent = AgentId(number);
            self.handle(Input::Demanded { agent, demand });
        }

        /// Lets `seconds` pass while all builders keep their heartbeat.
        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.second += 1;
                let offers: Vec<_> = self.ledger.builders();
                for offered in offers {
                    let number = offered.endpoint[1..].trim_end_matches(":10501").parse().unwrap();
                    self.offer(number, offered.slots, &offered.machine);
                }
            }
        }

        /// What came out, one short line each: `grant agent builder lease slots`, `end lease reason`.
        fn outputs(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.ledger.poll())
                .map(|output| match output {
                    Output::Grant(grant) => {
                        assert_eq!(grant.valid_for, LEASE_TERM);
                        assert_eq!(grant.name, format!("b{}", grant.builder.0 % 100));
                        let Grant {
                            agent,
                            endpoint,
                            lease,
                            slots,
                            ..
                        } = grant;
                        format!("grant {} {endpoint} {lease} x{slots}", agent.0)
                    }
                    Output::EndLease { lease, reason, .. } => format!("end {lease} {reason:?}"),
                    Output::DropBuilder { builder, reason, .. } => format!("drop {} {reason:?}", builder.0),
                })
                .collect()
        }

        fn expect(&mut self, outputs: &[&str]) {
            assert_eq!(self.outputs(), outputs, "at {} s", self.second);
        }
    }

    #[test]
    fn demand_is_granted_at_once_and_grows_under_one_id() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.expect(&[]);
        farm.demand(1, 2, &[]);
        farm.expect(&["grant 1 b1:10501 100 x2"]);
        farm.demand(1, 9, &[]);
        farm.expect(&["grant 1 b1:10501 100 x4"]);
        farm.demand(1, 3, &[]);
        farm.expect(&[]);
        farm.demand(1, 0, &[]);
        farm.expect(&["end 100 Idle"]);
    }

    #[test]
    fn demand_waits_for_a_builder() {
        let mut farm = Farm::new(&[]);
        farm.join(1, "ann");
        farm.demand(1, 2, &[]);
        farm.expect(&[]);
        farm.arrive(1);
        farm.expect(&[]);
        farm.offer(1, 4, "aarch64");
        farm.expect(&[]);
        farm.offer(1, 4, "x86_64");
        farm.expect(&["grant 1 b1:10501 100 x2"]);
    }

    #[test]
    fn a_lease_is_renewed_while_demanded_and_trimmed_then() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.demand(1, 4, &[]);
        farm.expect(&["grant 1 b1:10501 100 x4"]);
        farm.pass(LEASE_RENEWAL.as_secs() - 1);
        farm.expect(&[]);
        farm.pass(1);
        farm.expect(&["grant 1 b1:10501 100 x4"]);
        farm.demand(1, 1, &[]);
        farm.expect(&[]);
        farm.pass(LEASE_RENEWAL.as_secs());
        farm.expect(&["grant 1 b1:10501 100 x1"]);
    }

    #[test]
    fn a_lease_ends_with_its_expiry_when_the_renewal_came_too_late() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.demand(1, 4, &[]);
        farm.expect(&["grant 1 b1:10501 100 x4"]);
        farm.second += LEASE_TERM.as_secs();
        farm.offer(1, 4, "x86_64");
        farm.expect(&["end 100 Expired", "grant 1 b1:10501 101 x4"]);
    }

    #[test]
    fn a_second_client_gets_its_share_and_gives_it_back() {
        let mut farm = Farm::new(&[8]);
        farm.join(1, "ann");
        farm.join(2, "bob");
        farm.demand(1, 20, &[]);
        farm.expect(&["grant 1 b1:10501 100 x8"]);
        farm.demand(2, 20, &[]);
        farm.expect(&["grant 1 b1:10501 100 x4", "grant 2 b1:10501 101 x4"]);
        farm.demand(2, 0, &[]);
        farm.expect(&["end 101 Idle", "grant 1 b1:10501 100 x8"]);
    }

    #[test]
    fn agents_of_one_client_share_its_share() {
        let mut farm = Farm::new(&[8]);
        for (number, client) in [(1, "ann"), (2, "ann"), (3, "bob")] {
            farm.join(number, client);
            farm.demand(number, 20, &[]);
        }
        farm.expect(&[
            "grant 1 b1:10501 100 x2",
            "grant 2 b1:10501 101 x2",
            "grant 3 b1:10501 102 x4",
        ]);
    }

    #[test]
    fn more_clients_than_slots_take_turns() {
        let mut farm = Farm::new(&[1]);
        farm.join(1, "ann");
        farm.join(2, "bob");
        farm.demand(1, 1, &[]);
        farm.demand(2, 1, &[]);
        farm.expect(&["grant 1 b1:10501 100 x1"]);
        farm.pass(30);
        farm.expect(&["end 100 Reassigned", "grant 2 b1:10501 101 x1"]);
        farm.pass(30);
        farm.expect(&["end 101 Reassigned", "grant 1 b1:10501 102 x1"]);
    }

    #[test]
    fn a_lost_builder_ends_its_leases_and_others_take_over() {
        let mut farm = Farm::new(&[4, 4]);
        farm.join(1, "ann");
        farm.demand(1, 3, &[]);
        farm.expect(&["grant 1 b1:10501 100 x3"]);
        farm.handle(Input::BuilderGone {
            builder: BuilderId(1),
        });
        farm.expect(&["end 100 BuilderLost", "grant 1 b2:10501 101 x3"]);
        farm.second += HEARTBEAT.as_secs() * u64::from(MISSED_HEARTBEATS);
        farm.handle(Input::Tick);
        farm.expect(&["drop 2 Silent", "end 101 BuilderLost"]);
        assert_eq!(farm.ledger.deadline(), None);
    }

    #[test]
    fn a_builder_that_connects_again_replaces_itself() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.demand(1, 3, &[]);
        farm.expect(&["grant 1 b1:10501 100 x3"]);
        farm.arrive(101);
        farm.expect(&["drop 1 Replaced", "end 100 BuilderLost"]);
        farm.handle(Input::BuilderGone {
            builder: BuilderId(1),
        });
        farm.offer(101, 4, "x86_64");
        farm.expect(&["grant 1 b101:10501 101 x3"]);
    }

    #[test]
    fn a_returned_builder_is_not_granted_again_at_once() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.demand(1, 3, &[]);
        farm.expect(&["grant 1 b1:10501 100 x3"]);
        let agent = AgentId(1);
        farm.handle(Input::LeaseReturned { agent, lease: 7 });
        farm.expect(&[]);
        farm.handle(Input::LeaseReturned { agent, lease: 100 });
        farm.expect(&["end 100 Returned"]);
        farm.pass(RETURN_PAUSE.as_secs());
        farm.expect(&["grant 1 b1:10501 101 x3"]);
    }

    #[test]
    fn an_avoided_builder_is_left_for_another() {
        let mut farm = Farm::new(&[8, 4]);
        farm.join(1, "ann");
        farm.demand(1, 5, &[]);
        farm.expect(&["grant 1 b1:10501 100 x5"]);
        farm.demand(1, 5, &["b1"]);
        farm.expect(&["grant 1 b1:10501 100 x1", "grant 1 b2:10501 101 x4"]);
        farm.demand(1, 4, &["b1"]);
        farm.pass(LEASE_RENEWAL.as_secs());
        farm.expect(&["end 100 Reassigned", "grant 1 b2:10501 101 x4"]);
    }

    #[test]
    fn a_client_comes_back_to_the_builder_it_used() {
        let mut farm = Farm::new(&[4, 4]);
        farm.join(1, "ann");
        farm.demand(1, 4, &["b1"]);
        farm.expect(&["grant 1 b2:10501 100 x4"]);
        farm.handle(Input::AgentGone { agent: AgentId(1) });
        farm.expect(&["end 100 AgentGone"]);
        farm.join(2, "ann");
        farm.demand(2, 4, &[]);
        farm.expect(&["grant 2 b2:10501 101 x4"]);
    }

    #[test]
    fn a_moved_builder_is_told_to_its_agents() {
        let mut farm = Farm::new(&[4]);
        farm.join(1, "ann");
        farm.demand(1, 4, &[]);
        farm.expect(&["grant 1 b1:10501 100 x4"]);
        let mut offer = farm.ledger.books.builders[&BuilderId(1)].offer.clone().unwrap();
        offer.endpoint = "elsewhere:1".to_owned();
        let builder = BuilderId(1);
        farm.handle(Input::Offered { builder, offer });
        farm.expect(&["grant 1 elsewhere:1 100 x4"]);
    }

    #[test]
    fn the_status_counts_what_is_leased() {
        let mut farm = Farm::new(&[4, 2]);
        farm.arrive(3);
        farm.join(1, "ann");
        farm.demand(1, 3, &[]);
        farm.outputs();
        let leased: Vec<_> = farm
            .ledger
            .builders()
            .into_iter()
            .map(|builder| (builder.name, builder.slots, builder.leased))
            .collect();
        assert_eq!(leased, [("b1".to_owned(), 4, 3), ("b2".to_owned(), 2, 0)]);
        assert_eq!(farm.ledger.agents(), 1);
    }
}
