//! What the ledger has written down: builders, agents, leases, and what it remembers of clients. Pure.
//!
//! Decides nothing; every rule about who may have what is in `balance` and `settle`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::lease::{BuilderStatus, LeaseDemand};
use quicc_protocol::message::offer::BuilderOffer;

use super::ledger::{AgentId, BuilderId};
use super::moment::Moment;
use super::placement::Burden;
use super::share::Turn;

/// Slots of one builder that are believed: more cores than any machine has, and sums stay far below 2³².
pub(super) const SLOTS_PER_BUILDER: u32 = 4096;
/// Builders remembered for a client: more would not be warm.
pub(super) const REMEMBERED_BUILDERS: usize = 8;
/// Clients remembered after their last agent left, so that the next build meets a warm mirror or toolchain.
pub(super) const REMEMBERED_CLIENTS: usize = 1024;

/// Slots an agent may hold ahead of need: enough for a build's growth, and no idle agent holds a farm.
pub(super) const AHEAD: u32 = 64;

/// A builder's connection.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) name: String,
    /// The latest offer; `None` before the first.
    pub(super) offer: Option<BuilderOffer>,
    /// When it connected or made its latest offer.
    pub(super) heard: Moment,
}

impl Builder {
    pub(super) fn slots(&self) -> u32 {
        self.offer
            .as_ref()
            .map_or(0, |offer| offer.slots.min(SLOTS_PER_BUILDER))
    }

    pub(super) fn burden(&self) -> Burden {
        let (load, memory) = self
            .offer
            .as_ref()
            .map_or((0, 0), |offer| (offer.load_permille, offer.memory_available));
        Burden::new(self.slots(), load, memory)
    }

    fn status(&self, leased: u32) -> Option<BuilderStatus> {
        let offer = self.offer.as_ref()?;
        Some(BuilderStatus {
            name: self.name.clone(),
            endpoint: offer.endpoint.clone(),
            slots: offer.slots,
            leased,
            busy: offer.busy,
            machine: offer.machine.clone(),
            software: offer.software.clone(),
        })
    }
}

/// An agent's connection and its latest demand.
#[derive(Debug)]
pub(super) struct Agent {
    /// Name in its certificate; several agents may share one, and then share its slots.
    pub(super) client: String,
    pub(super) demand: u32,
    pub(super) ahead: u32,
    pub(super) machine: String,
    pub(super) avoid: BTreeSet<String>,
    /// Builders it gave back, until when they are not granted to it.
    pub(super) barred: BTreeMap<String, Moment>,
    pub(super) turn: Turn,
}

impl Agent {
    pub(super) fn new(client: String) -> Self {
        Self {
            client,
            demand: 0,
            ahead: 0,
            machine: String::new(),
            avoid: BTreeSet::new(),
            barred: BTreeMap::new(),
            turn: Turn::default(),
        }
    }

    pub(super) fn want(&mut self, demand: LeaseDemand) {
        self.demand = demand.slots;
        self.ahead = demand.ahead.min(AHEAD);
        self.machine = demand.machine;
        self.avoid = demand.avoid.into_iter().collect();
    }
}

/// A lease; its key in the books is who has it on which builder.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) slots: u32,
    pub(super) renewal: Moment,
    pub(super) expiry: Moment,
    /// Whether the agent has to hear of it again before its renewal: the builder moved.
    pub(super) is_outdated: bool,
}

/// Everything written down.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) builders: BTreeMap<BuilderId, Builder>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    pub(super) leases: BTreeMap<(AgentId, BuilderId), Lease>,
    /// Odd slots between clients, by ELF machine and client.
    pub(super) turns: BTreeMap<(String, String), Turn>,
    /// Builders each client used, the latest first.
    recent: BTreeMap<String, Vec<String>>,
    /// Keys of `recent`, the client that used a builder longest ago first.
    recent_order: VecDeque<String>,
}

impl Books {
    pub(super) fn builder_named(&self, name: &str) -> Option<BuilderId> {
        self.builders
            .iter()
            .find_map(|(&id, builder)| (builder.name == name).then_some(id))
    }

    /// The builder a lease of `agent` lies on.
    pub(super) fn holder(&self, agent: AgentId, lease: LeaseId) -> Option<BuilderId> {
        let all = (agent, BuilderId(0))..=(agent, BuilderId(u64::MAX));
        self.leases
            .range(all)
            .find_map(|(&(_, builder), held)| (held.id == lease).then_some(builder))
    }

    /// ELF machines that builders offer.
    pub(super) fn machines(&self) -> BTreeSet<String> {
        self.builders
            .values()
            .filter_map(|builder| builder.offer.as_ref())
            .map(|offer| offer.machine.clone())
            .collect()
    }

    pub(super) fn recent(&self, client: &str) -> &[String] {
        self.recent.get(client).map_or(&[], Vec::as_slice)
    }

    /// Notes that `client` uses `builder` now.
    pub(super) fn remember(&mut self, client: &str, builder: &str) {
        let builders = self.recent.entry(client.to_owned()).or_default();
        if builders.first().is_some_and(|latest| latest == builder) {
            return;
        }
        builders.retain(|name| name != builder);
        builders.insert(0, builder.to_owned());
        builders.truncate(REMEMBERED_BUILDERS);
        self.recent_order.retain(|name| name != client);
        self.recent_order.push_back(client.to_owned());
        if self.recent_order.len() > REMEMBERED_CLIENTS
            && let Some(forgotten) = self.recent_order.pop_front()
        {
            self.recent.remove(&forgotten);
        }
    }

    /// Every builder that made an offer, by name.
    pub(super) fn status(&self) -> Vec<BuilderStatus> {
        let leased = |id: BuilderId| {
            let on_it = self.leases.iter().filter(|((_, builder), _)| *builder == id);
            on_it.map(|(_, lease)| lease.slots).sum()
        };
        let mut builders: Vec<_> = self
            .builders
            .iter()
            .filter_map(|(&id, builder)| builder.status(leased(id)))
            .collect();
        builders.sort_by(|left, right| left.name.cmp(&right.name));
        builders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_remembered_by_its_latest_builders() {
        let mut books = Books::default();
        for number in 0..=REMEMBERED_BUILDERS {
            books.remember("ann", &format!("b{number}"));
        }
        books.remember("ann", "b5");
        assert_eq!(books.recent("ann")[..2], ["b5", "b8"]);
        assert_eq!(books.recent("ann").len(), REMEMBERED_BUILDERS);
        assert!(books.recent("bob").is_empty());
    }

    #[test]
    fn the_client_that_built_longest_ago_is_forgotten() {
        let mut books = Books::default();
        for number in 0..REMEMBERED_CLIENTS {
            books.remember(&format!("c{number}"), "b1");
        }
        books.remember("c0", "b2");
        books.remember("another", "b1");
        assert_eq!(books.recent("c0"), ["b2", "b1"]);
        assert!(books.recent("c1").is_empty());
        assert_eq!(books.recent.len(), REMEMBERED_CLIENTS);
    }
}
