//! From the books to grants: divides the slots of each ELF machine, balances, and writes the difference down as
//! leases. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::balance::{Holdings, PoolAgent, PoolBuilder, balance};
use super::books::Lease;
use super::ledger::{AgentId, BuilderId, EndReason, Grant, LEASE_RENEWAL, LEASE_TERM, Ledger, Output};
use super::share::{Claim, Turn, divide};

/// Slots by agent.
type Numbers = BTreeMap<AgentId, u32>;

/// How the slots of one ELF machine divide.
struct Division {
    /// Slots each agent may have while others wait.
    fair: Numbers,
    /// Those among them that it only holds ahead of need.
    ahead: Numbers,
    /// Whose turn it is among clients, and among the agents of each.
    client_turns: BTreeMap<(String, String), Turn>,
    agent_turns: BTreeMap<AgentId, Turn>,
}

impl Ledger {
    /// Brings leases into line with offers and demand.
    pub(super) fn settle(&mut self) {
        let machines = self.books.machines();
        self.books
            .turns
            .retain(|(machine, _), _| machines.contains(machine));
        let mut after = Holdings::new();
        for machine in &machines {
            after.extend(self.settle_machine(machine));
        }
        self.end_missing(&after);
        self.grant_changed(&after);
    }

    /// An agent may be unable to use what is its due: it gave back a lease on the only builder with free slots. What
    /// it cannot use is divided among the others, until nothing useful is left over.
    fn settle_machine(&mut self, machine: &str) -> Holdings {
        let mut usable = Numbers::new();
        loop {
            let division = self.divide_machine(machine, &usable);
            let after = self.balance_machine(machine, &division);
            let mut held: Numbers = division.fair.keys().map(|&agent| (agent, 0)).collect();
            for ((agent, _), slots) in &after {
                *held.entry(*agent).or_insert(0) += slots;
            }
            held.retain(|agent, slots| *slots < division.fair[agent]);
            if held.is_empty() {
                self.note_turns(machine, division);
                return after;
            }
            usable.append(&mut held);
        }
    }

    /// Divides a machine's slots between clients, then each client's between its agents; no agent counts for more
    /// than its number in `usable`.
    fn divide_machine(&self, machine: &str, usable: &Numbers) -> Division {
        let now = self.now;
        let mut clients: BTreeMap<&str, Vec<(AgentId, Claim)>> = BTreeMap::new();
        for (&id, agent) in self
            .books
            .agents
            .iter()
            .filter(|(_, agent)| agent.machine == machine)
        {
            let claim = Claim {
                demand: agent.demand.min(usable.get(&id).copied().unwrap_or(u32::MAX)),
                turn: agent.turn,
            };
            clients.entry(&agent.client).or_default().push((id, claim));
        }
        let key = |client: &str| (machine.to_owned(), client.to_owned());
        let claims: Vec<_> = clients
            .iter()
            .map(|(client, agents)| Claim {
                demand: agents
                    .iter()
                    .fold(0, |sum, (_, claim)| sum.saturating_add(claim.demand)),
                turn: self.books.turns.get(&key(client)).copied().unwrap_or_default(),
            })
            .collect();
        let shares = divide(now, self.capacity(machine), &claims);
        let mut division = Division {
            fair: Numbers::new(),
            ahead: Numbers::new(),
            client_turns: BTreeMap::new(),
            agent_turns: BTreeMap::new(),
        };
        for ((client, agents), (claim, share)) in clients.into_iter().zip(claims.iter().zip(shares)) {
            let turn = claim.turn.after(now, share.has_odd_slot);
            division.client_turns.insert(key(client), turn);
            let own: Vec<_> = agents.iter().map(|(_, claim)| *claim).collect();
            let own = divide(now, u64::from(share.slots), &own);
            for ((id, claim), own) in agents.into_iter().zip(own) {
                division.fair.insert(id, own.slots);
                division
                    .agent_turns
                    .insert(id, claim.turn.after(now, own.has_odd_slot));
            }
        }
        self.divide_rest(machine, usable, &mut division);
        division
    }

    /// Divides what nobody could use now between the agents that would hold some ahead of need, whosesoever they are.
    fn divide_rest(&self, machine: &str, usable: &Numbers, division: &mut Division) {
        let given: u64 = division.fair.values().map(|&slots| u64::from(slots)).sum();
        let rest = self.capacity(machine).saturating_sub(given);
        let claims: Vec<_> = division
            .fair
            .iter()
            .map(|(id, &fair)| {
                let usable = usable
                    .get(id)
                    .map_or(u32::MAX, |usable| usable.saturating_sub(fair));
                let ahead = self.books.agents.get(id).map_or(0, |agent| agent.ahead);
                Claim {
                    demand: ahead.min(usable),
                    turn: Turn::default(),
                }
            })
            .collect();
        let shares = divide(self.now, rest, &claims);
        for ((&id, fair), share) in division.fair.iter_mut().zip(shares) {
            *fair = fair.saturating_add(share.slots);
            division.ahead.insert(id, share.slots);
        }
    }

    fn note_turns(&mut self, machine: &str, division: Division) {
        self.books.turns.retain(|(of, _), _| of != machine);
        self.books.turns.extend(division.client_turns);
        for (id, turn) in division.agent_turns {
            if let Some(agent) = self.books.agents.get_mut(&id) {
                agent.turn = turn;
            }
        }
    }

    fn capacity(&self, machine: &str) -> u64 {
        let builders = self.books.builders.values();
        builders
            .filter(|builder| {
                builder
                    .offer
                    .as_ref()
                    .is_some_and(|offer| offer.machine == machine)
            })
            .map(|builder| u64::from(builder.slots()))
            .sum()
    }

    fn balance_machine(&self, machine: &str, division: &Division) -> Holdings {
        let books = &self.books;
        let builders: BTreeMap<_, _> = books
            .builders
            .iter()
            .filter(|(_, builder)| {
                builder
                    .offer
                    .as_ref()
                    .is_some_and(|offer| offer.machine == machine)
            })
            .map(|(&id, builder)| {
                let pooled = PoolBuilder {
                    name: &builder.name,
                    slots: builder.slots(),
                    burden: builder.burden(),
                };
                (id, pooled)
            })
            .collect();
        let renewed: BTreeSet<_> = books
            .leases
            .iter()
            .filter_map(|(&(agent, _), lease)| (lease.renewal <= self.now).then_some(agent))
            .collect();
        let agents: BTreeMap<_, _> = division
            .fair
            .iter()
            .filter_map(|(&id, &fair)| {
                let agent = books.agents.get(&id)?;
                let ahead = division.ahead.get(&id).copied().unwrap_or(0);
                let pooled = PoolAgent {
                    demand: agent.demand.saturating_add(ahead),
                    fair,
                    is_trimmed: renewed.contains(&id),
                    avoid: &agent.avoid,
                    barred: agent.barred.keys().map(String::as_str).collect(),
                    recent: books.recent(&agent.client),
                };
                Some((id, pooled))
            })
            .collect();
        let holdings = books
            .leases
            .iter()
            .filter(|((agent, builder), _)| agents.contains_key(agent) && builders.contains_key(builder))
            .map(|(&key, lease)| (key, lease.slots))
            .collect();
        balance(&builders, &agents, holdings)
    }

    fn end_missing(&mut self, after: &Holdings) {
        let missing: Vec<_> = self
            .books
            .leases
            .keys()
            .filter(|key| !after.contains_key(key))
            .copied()
            .collect();
        for (agent, builder) in missing {
            self.end_lease(agent, builder, self.end_reason(agent, builder));
        }
    }

    fn end_reason(&self, agent: AgentId, builder: BuilderId) -> EndReason {
        let Some(agent) = self.books.agents.get(&agent) else {
            return EndReason::AgentGone;
        };
        let Some(builder) = self.books.builders.get(&builder) else {
            return EndReason::BuilderLost;
        };
        let is_matching = builder
            .offer
            .as_ref()
            .is_some_and(|offer| offer.machine == agent.machine);
        if (agent.demand == 0 && agent.ahead == 0) || !is_matching {
            EndReason::Idle
        } else {
            EndReason::Reassigned
        }
    }

    /// Grants what is new, changed, moved or due; smaller leases first, so that no message ever tells of more slots
    /// than a builder has.
    fn grant_changed(&mut self, after: &Holdings) {
        let mut grants: Vec<_> = after
            .iter()
            .filter_map(|(&key, &slots)| {
                let before = self.books.leases.get(&key);
                let is_told = before.is_some_and(|lease| {
                    lease.slots == slots && !lease.is_outdated && lease.renewal > self.now
                });
                let grows = before.is_none_or(|lease| slots > lease.slots);
                (!is_told).then_some((grows, key, slots))
            })
            .collect();
        grants.sort_unstable();
        for (_, (agent, builder), slots) in grants {
            self.grant(agent, builder, slots);
        }
    }

    fn grant(&mut self, agent: AgentId, builder: BuilderId, slots: u32) {
        let books = &mut self.books;
        let (Some(client), Some((name, endpoint))) = (
            books.agents.get(&agent).map(|agent| agent.client.clone()),
            books.builders.get(&builder).and_then(|builder| {
                let offer = builder.offer.as_ref()?;
                Some((builder.name.clone(), offer.endpoint.clone()))
            }),
        ) else {
            return;
        };
        books.remember(&client, &name);
        let id = books
            .leases
            .get(&(agent, builder))
            .map_or(self.next_lease, |lease| lease.id);
        if id == self.next_lease {
            self.next_lease += 1;
        }
        let lease = Lease {
            id,
            slots,
            renewal: self.now + LEASE_RENEWAL,
            expiry: self.now + LEASE_TERM,
            is_outdated: false,
        };
        books.leases.insert((agent, builder), lease);
        self.outputs.push_back(Output::Grant(Grant {
            agent,
            builder,
            name,
            endpoint,
            lease: id,
            slots,
            valid_for: LEASE_TERM,
        }));
    }
}
