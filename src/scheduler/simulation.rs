//! Random farms, driven through the ledger, against the promises that hold after every step.
//!
//! The model believes outputs only, as agents and builders would.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::lease::LeaseDemand;
use quicc_protocol::message::offer::BuilderOffer;

use super::ledger::{AgentId, BuilderId, Grant, Input, Ledger, Output, RETURN_PAUSE};
use super::moment::Moment;

const HEARTBEAT: Duration = Duration::from_secs(2);
const MACHINES: [&str; 2] = ["x86_64", "aarch64"];
const CLIENTS: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];
const BUILDERS: u8 = 4;
/// Agents and clients are as many, so that fairness between clients shows.
const AGENTS: u8 = CLIENTS.len() as u8;

#[derive(Debug, Clone)]
enum Step {
    /// A builder states slots and machine; connects first when it is not connected.
    Offer(u8, u32, usize),
    LoseBuilder(u8),
    /// An agent states a demand, and what it would hold ahead; connects first when it is not connected.
    Demand(u8, (u32, u32), usize, Option<u8>),
    LoseAgent(u8),
    ReturnLease(u8),
    /// Time passes; builders keep their heartbeat, or do not.
    Pass {
        seconds: u64,
        heartbeats: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..BUILDERS, 0_u32..12, 0..MACHINES.len()).prop_map(|(builder, slots, machine)| Step::Offer(builder, slots, machine)),
        1 => (0..BUILDERS).prop_map(Step::LoseBuilder),
        8 => (0..AGENTS, (0_u32..20, 0_u32..6), 0..MACHINES.len(), proptest::option::of(0..BUILDERS))
            .prop_map(|(agent, slots, machine, avoid)| Step::Demand(agent, slots, machine, avoid)),
        1 => (0..AGENTS).prop_map(Step::LoseAgent),
        1 => (0..AGENTS).prop_map(Step::ReturnLease),
        3 => (1_u64..40, proptest::bool::weighted(0.9)).prop_map(|(seconds, heartbeats)| Step::Pass { seconds, heartbeats }),
    ]
}

#[derive(Debug)]
struct ModelLease {
    agent: AgentId,
    builder: BuilderId,
    slots: u32,
    expiry: Moment,
}

#[derive(Debug, Clone)]
struct ModelAgent {
    id: AgentId,
    demand: u32,
    ahead: u32,
    machine: usize,
    /// Until when it may lack slots, since it gave a lease back.
    paused_until: Moment,
}

#[derive(Debug, Clone)]
struct ModelBuilder {
    id: BuilderId,
    slots: u32,
    machine: usize,
    heard: Moment,
}

struct World {
    ledger: Ledger,
    now: Moment,
    connections: u64,
    agents: BTreeMap<u8, ModelAgent>,
    builders: BTreeMap<u8, ModelBuilder>,
    leases: BTreeMap<LeaseId, ModelLease>,
}

impl World {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(HEARTBEAT, 1),
            now: Moment(0),
            connections: 0,
            agents: BTreeMap::new(),
            builders: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    fn connection(&mut self) -> u64 {
        self.connections += 1;
        self.connections
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Offer(number, slots, machine) => self.offer(number, slots, machine),
            Step::LoseBuilder(number) => {
                if let Some(ModelBuilder { id: builder, .. }) = self.builders.remove(&number) {
                    self.handle(Input::BuilderGone { builder });
                }
            }
            Step::Demand(number, slots, machine, avoid) => self.demand(number, slots, machine, avoid),
            Step::LoseAgent(number) => {
                if let Some(ModelAgent { id: agent, .. }) = self.agents.remove(&number) {
                    self.handle(Input::AgentGone { agent });
                }
            }
            Step::ReturnLease(number) => self.return_lease(number),
            Step::Pass { seconds, heartbeats } => self.pass(seconds, heartbeats),
        }
        self.follow();
    }

    fn offer(&mut self, number: u8, slots: u32, machine: usize) {
        let id = self.builders.get(&number).map(|builder| builder.id);
        let builder = id.unwrap_or_else(|| {
            let builder = BuilderId(self.connection());
            let name = format!("b{number}");
            self.handle(Input::BuilderArrived { builder, name });
            builder
        });
        let heard = self.now;
        let model = ModelBuilder {
            id: builder,
            slots,
            machine,
            heard,
        };
        self.builders.insert(number, model);
        let offer = BuilderOffer {
            endpoint: format!("b{number}:1"),
            slots,
            busy: 0,
            machine: MACHINES[machine].to_owned(),
            load_permille: slots * u32::from(number) * 500,
            memory_available: 8 << 30,
            software: String::new(),
            extensions: Vec::new(),
        };
        self.handle(Input::Offered { builder, offer });
    }

    fn demand(&mut self, number: u8, (slots, ahead): (u32, u32), machine: usize, avoid: Option<u8>) {
        let known = self.agents.get(&number).cloned();
        let model = known.unwrap_or_else(|| {
            let id = AgentId(self.connection());
            let client = CLIENTS[usize::from(number)].to_owned();
            self.handle(Input::AgentArrived { agent: id, client });
            ModelAgent {
                id,
                demand: 0,
                ahead: 0,
                machine,
                paused_until: Moment(0),
            }
        });
        let agent = model.id;
        self.agents.insert(
            number,
            ModelAgent {
                demand: slots,
                ahead,
                machine,
                ..model
            },
        );
        let demand = LeaseDemand {
            slots,
            ahead,
            machine: MACHINES[machine].to_owned(),
            avoid: avoid.map(|number| format!("b{number}")).into_iter().collect(),
            extensions: Vec::new(),
        };
        self.handle(Input::Demanded { agent, demand });
    }

    fn return_lease(&mut self, number: u8) {
        let Some(model) = self.agents.get_mut(&number) else {
            return;
        };
        let agent = model.id;
        let held = self.leases.iter().find(|(_, lease)| lease.agent == agent);
        if let Some((&lease, _)) = held {
            model.paused_until = self.now + RETURN_PAUSE;
            self.handle(Input::LeaseReturned { agent, lease });
        }
    }

    /// Follows deadlines and heartbeats in the order in which they fall due.
    fn pass(&mut self, seconds: u64, heartbeats: bool) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.follow();
            let beat = self.now + HEARTBEAT;
            let due = self.ledger.deadline().map_or(beat, |deadline| deadline.min(beat));
            assert!(due > self.now, "a deadline in the past would spin");
            if due > end {
                break;
            }
            self.now = due;
            if heartbeats && due == beat {
                for (number, builder) in self.builders.clone() {
                    self.offer(number, builder.slots, builder.machine);
                }
            }
            self.handle(Input::Tick);
        }
        self.now = end;
        self.handle(Input::Tick);
    }

    fn handle(&mut self, input: Input) {
        self.ledger.handle(self.now, input);
    }

    /// Believes the outputs, then checks every promise.
    fn follow(&mut self) {
        while let Some(output) = self.ledger.poll() {
            match output {
                Output::Grant(grant) => self.believe(grant),
                Output::EndLease { lease, .. } => {
                    assert!(self.leases.remove(&lease).is_some(), "a lease ends once");
                }
                Output::DropBuilder { builder, .. } => {
                    let lost = self.builders.values().find(|model| model.id == builder).unwrap();
                    assert!(self.now.since(lost.heard) >= 3 * HEARTBEAT);
                    self.builders.retain(|_, model| model.id != builder);
                }
            }
        }
        self.leases_end_in_time();
        self.idle_agents_hold_nothing();
        self.nobody_starves_beside_free_slots();
        self.need_comes_before_foresight();
        self.shares_are_max_min();
    }

    fn believe(&mut self, grant: Grant) {
        assert!(grant.slots > 0);
        let lease = ModelLease {
            agent: grant.agent,
            builder: grant.builder,
            slots: grant.slots,
            expiry: self.now + grant.valid_for,
        };
        self.leases.insert(grant.lease, lease);
        let pair = |lease: &&ModelLease| (lease.agent, lease.builder) == (grant.agent, grant.builder);
        assert_eq!(
            self.leases.values().filter(pair).count(),
            1,
            "one lease for agent and builder"
        );
    }

    fn leased(&self, builder: BuilderId) -> u32 {
        let on_it = self.leases.values().filter(|lease| lease.builder == builder);
        on_it.map(|lease| lease.slots).sum()
    }

    fn held(&self, agent: AgentId) -> u32 {
        let own = self.leases.values().filter(|lease| lease.agent == agent);
        own.map(|lease| lease.slots).sum()
    }

    fn leases_end_in_time(&self) {
        for (id, lease) in &self.leases {
            assert!(lease.expiry > self.now, "lease {id} outlived its expiry");
            let builder = self.builders.values().find(|builder| builder.id == lease.builder);
            let builder = builder.expect("a lease on a lost builder");
            assert!(
                self.leased(builder.id) <= builder.slots,
                "{} is oversold",
                builder.id.0
            );
            let agent = self.agents.values().find(|agent| agent.id == lease.agent);
            assert_eq!(agent.expect("a lease of a lost agent").machine, builder.machine);
        }
    }

    fn idle_agents_hold_nothing(&self) {
        let idle = self
            .agents
            .values()
            .filter(|agent| agent.demand + agent.ahead == 0);
        idle.for_each(|agent| assert_eq!(self.held(agent.id), 0));
    }

    fn waiting(&self) -> impl Iterator<Item = &ModelAgent> {
        self.agents
            .values()
            .filter(|agent| self.held(agent.id) < agent.demand && agent.paused_until <= self.now)
    }

    fn nobody_starves_beside_free_slots(&self) {
        let lacks = |agent: &&ModelAgent| {
            self.held(agent.id) < agent.demand + agent.ahead && agent.paused_until <= self.now
        };
        for agent in self.agents.values().filter(lacks) {
            for builder in self.builders.values() {
                if builder.machine == agent.machine {
                    assert_eq!(
                        self.leased(builder.id),
                        builder.slots,
                        "{agent:?} waits beside {builder:?}"
                    );
                }
            }
        }
    }

    fn need_comes_before_foresight(&self) {
        for agent in self.waiting() {
            for other in self
                .agents
                .values()
                .filter(|other| other.machine == agent.machine)
            {
                let held = self.held(other.id);
                assert!(held <= other.demand, "{agent:?} waits, {other:?} holds {held}");
            }
        }
    }

    fn shares_are_max_min(&self) {
        for agent in self.waiting() {
            let held = self.held(agent.id);
            for other in self
                .agents
                .values()
                .filter(|other| other.machine == agent.machine)
            {
                let others = self.held(other.id);
                assert!(others <= held + 1, "{agent:?} holds {held}, {other:?} {others}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_holds_after_every_step(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.take(step));
    }

    #[test]
    fn several_inputs_settle_as_well_as_one(steps in vec(step(), 1..60)) {
        // Demands that arrive before the next poll: only the last state counts.
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Demand(agent, slots, machine, avoid) => world.demand(agent, slots, machine, avoid),
                other => world.take(other),
            }
        }
        world.follow();
    }

    #[test]
    fn two_to_five_greedy_clients_share_equally(clients in 2_u8..=5, slots in vec(1_u32..30, 1..4)) {
        let mut world = World::new();
        for (number, &slots) in (0..).zip(&slots) {
            world.take(Step::Offer(number, slots, 0));
        }
        for client in 0..clients {
            world.take(Step::Demand(client, (1000, 0), 0, None));
        }
        let total: u32 = slots.iter().sum();
        let shares: Vec<_> = world.agents.values().map(|agent| world.held(agent.id)).collect();
        prop_assert_eq!(shares.iter().sum::<u32>(), total);
        prop_assert!(shares.iter().all(|share| share.abs_diff(total / u32::from(clients)) <= 1));
    }
}
