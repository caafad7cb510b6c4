//! From who holds what to who should hold what: one pass over the builders and agents of one ELF machine. Pure.
//!
//! Works on counts only; that a changed count becomes a grant or the end of a lease is `settle`'s work. Takes a
//! slot from an agent only when another waits for it, so that a demand that falls and rises costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{AgentId, BuilderId};
use super::placement::{self, Burden, Candidate};

/// Slots held, by agent and builder; no entry is 0 after a pass.
pub(super) type Holdings = BTreeMap<(AgentId, BuilderId), u32>;

/// A builder of the pool.
#[derive(Debug, Clone)]
pub(super) struct PoolBuilder<'a> {
    pub(super) name: &'a str,
    pub(super) slots: u32,
    pub(super) burden: Burden,
}

/// An agent of the pool.
#[derive(Debug, Clone)]
pub(super) struct PoolAgent<'a> {
    /// Slots it can use.
    pub(super) demand: u32,
    /// Slots it may have while others wait; never more than `demand`.
    pub(super) fair: u32,
    /// Whether slots beyond its demand are taken back although nobody waits.
    pub(super) is_trimmed: bool,
    /// Builders it asked to get last.
    pub(super) avoid: &'a BTreeSet<String>,
    /// Builders it just gave back: not candidates at all.
    pub(super) barred: BTreeSet<&'a str>,
    /// Builders its client used, the latest first.
    pub(super) recent: &'a [String],
}

/// The holdings after `holdings` in which no builder is oversold, no idle agent holds anything, and nobody waits
/// while a slot is free or another holds more than its fair number. Holdings of builders or agents outside the pool
/// are dropped.
pub(super) fn balance(
    builders: &BTreeMap<BuilderId, PoolBuilder<'_>>,
    agents: &BTreeMap<AgentId, PoolAgent<'_>>,
    mut holdings: Holdings,
) -> Holdings {
    holdings.retain(|(agent, builder), slots| {
        let is_wanted = agents.get(agent).is_some_and(|agent| agent.demand > 0);
        is_wanted && builders.contains_key(builder) && *slots > 0
    });
    let mut leased = BTreeMap::new();
    for ((_, builder), slots) in &holdings {
        *leased.entry(*builder).or_insert(0) += slots;
    }
    let mut pass = Pass {
        builders,
        agents,
        holdings,
        leased,
    };
    pass.fit_offers();
    pass.trim();
    pass.take_back();
    pass.leave_avoided();
    pass.fill();
    pass.holdings
}

struct Pass<'a> {
    builders: &'a BTreeMap<BuilderId, PoolBuilder<'a>>,
    agents: &'a BTreeMap<AgentId, PoolAgent<'a>>,
    holdings: Holdings,
    /// Sums of `holdings` by builder.
    leased: BTreeMap<BuilderId, u32>,
}

impl Pass<'_> {
    /// A builder that offers less than it did gives up the largest holdings first.
    fn fit_offers(&mut self) {
        let oversold: Vec<_> = self
            .builders
            .iter()
            .map(|(&id, builder)| (id, self.leased(id).saturating_sub(builder.slots)))
            .collect();
        for (builder, surplus) in oversold {
            for _ in 0..surplus {
                let largest = self
                    .holdings
                    .iter()
                    .filter(|((_, on), _)| *on == builder)
                    .max_by_key(|(_, slots)| **slots);
                let Some((&(agent, _), _)) = largest else { break };
                self.take(agent, builder);
            }
        }
    }

    fn trim(&mut self) {
        let trimmed = self.agents.iter().filter(|(_, agent)| agent.is_trimmed);
        let surpluses: Vec<_> = trimmed
            .map(|(&id, agent)| (id, self.held(id).saturating_sub(agent.demand)))
            .collect();
        for (agent, surplus) in surpluses {
            for _ in 0..surplus {
                self.leave_one(agent);
            }
        }
    }

    /// Takes as many slots from agents above their fair number as others lack and free slots do not cover. Those
    /// above their demand lose first, then those furthest above their fair number.
    fn take_back(&mut self) {
        let mut held: BTreeMap<AgentId, u32> = self.agents.keys().map(|&id| (id, self.held(id))).collect();
        let lacking: u64 = self
            .agents
            .iter()
            .map(|(id, agent)| u64::from(agent.fair.saturating_sub(held[id])))
            .sum();
        let free: u64 = self.builders.keys().map(|&id| u64::from(self.free(id))).sum();
        for _ in 0..lacking.saturating_sub(free) {
            let richest = self
                .agents
                .iter()
                .map(|(&id, agent)| (held[&id], id, agent))
                .filter(|(held, _, agent)| *held > agent.fair)
                .max_by_key(|(held, _, agent)| (held.saturating_sub(agent.demand), held - agent.fair));
            let Some((_, id, _)) = richest else { break };
            self.leave_one(id);
            held.entry(id).and_modify(|slots| *slots -= 1);
        }
    }

    /// Moves agents off builders they cannot use while others have free slots.
    fn leave_avoided(&mut self) {
        let avoided: Vec<_> = self
            .holdings
            .iter()
            .filter(|((agent, builder), _)| self.is_avoided(*agent, *builder))
            .map(|(&(agent, builder), &slots)| (agent, builder, slots))
            .collect();
        for (agent, from, slots) in avoided {
            for _ in 0..slots {
                let better = self.candidates(agent).filter(|candidate| !candidate.avoided);
                let Some(to) = placement::choose(slots, better) else {
                    break;
                };
                self.take(agent, from);
                self.give(agent, to, 1);
            }
        }
    }

    /// Gives free slots to agents below their fair number, whoever holds least first.
    fn fill(&mut self) {
        let mut lacking: Vec<_> = self
            .agents
            .iter()
            .map(|(&id, agent)| (self.held(id), id, agent.fair))
            .filter(|(held, _, fair)| held < fair)
            .collect();
        lacking.sort_unstable();
        for (held, agent, fair) in lacking {
            let mut wanted = fair - held;
            while let Some(builder) = placement::choose(wanted, self.candidates(agent)) {
                let slots = wanted.min(self.free(builder));
                self.give(agent, builder, slots);
                wanted -= slots;
                if wanted == 0 {
                    break;
                }
            }
        }
    }

    fn candidates(&self, id: AgentId) -> impl Iterator<Item = Candidate> {
        let agent = self.agents.get(&id);
        self.builders
            .iter()
            .filter(move |(_, builder)| agent.is_some_and(|agent| !agent.barred.contains(builder.name)))
            .map(move |(&builder_id, builder)| Candidate {
                builder: builder_id,
                free: self.free(builder_id),
                held: self.holdings.get(&(id, builder_id)).copied().unwrap_or(0),
                avoided: self.is_avoided(id, builder_id),
                recency: agent.and_then(|agent| agent.recent.iter().position(|name| name == builder.name)),
                burden: builder.burden,
            })
    }

    fn is_avoided(&self, agent: AgentId, builder: BuilderId) -> bool {
        let Some(builder) = self.builders.get(&builder) else {
            return false;
        };
        self.agents
            .get(&agent)
            .is_some_and(|agent| agent.avoid.contains(builder.name))
    }

    fn held(&self, agent: AgentId) -> u32 {
        let all = (agent, BuilderId(0))..=(agent, BuilderId(u64::MAX));
        self.holdings.range(all).map(|(_, &slots)| slots).sum()
    }

    fn leased(&self, builder: BuilderId) -> u32 {
        self.leased.get(&builder).copied().unwrap_or(0)
    }

    fn free(&self, builder: BuilderId) -> u32 {
        let offered = self.builders.get(&builder).map_or(0, |builder| builder.slots);
        offered.saturating_sub(self.leased(builder))
    }

    fn leave_one(&mut self, agent: AgentId) {
        if let Some(builder) = placement::choose_to_leave(self.candidates(agent)) {
            self.take(agent, builder);
        }
    }

    fn take(&mut self, agent: AgentId, builder: BuilderId) {
        let Some(slots) = self.holdings.get_mut(&(agent, builder)) else {
            return;
        };
        *slots -= 1;
        if *slots == 0 {
            self.holdings.remove(&(agent, builder));
        }
        self.leased.entry(builder).and_modify(|leased| *leased -= 1);
    }

    fn give(&mut self, agent: AgentId, builder: BuilderId, slots: u32) {
        *self.holdings.entry((agent, builder)).or_insert(0) += slots;
        *self.leased.entry(builder).or_insert(0) += slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYTHING: Burden = Burden {
        load_per_slot_permille: 0,
        memory_available: 8 << 30,
    };

    /// One agent of a table: demand, fair number, what it holds by builder, builders it avoids.
    struct Row(u32, u32, &'static [(u64, u32)], &'static [&'static str]);

    /// Builders are numbered from 1 and named `b1`, `b2` …; agents are numbered in order from 0.
    fn check(offers: &[u32], rows: &[Row], expected: &[&[(u64, u32)]]) {
        let names: Vec<_> = (1..=offers.len()).map(|number| format!("b{number}")).collect();
        let avoids: Vec<BTreeSet<String>> = rows
            .iter()
            .map(|row| row.3.iter().map(|&name| name.to_owned()).collect())
            .collect();
        let builders = (1..)
            .zip(offers.iter().zip(&names))
            .map(|(number, (&slots, name))| {
                (
                    BuilderId(number),
                    PoolBuilder {
                        name,
                        slots,
                        burden: ANYTHING,
                    },
                )
            })
            .collect();
        let agent = |(row, avoid)| {
            let &Row(demand, fair, _, _) = row;
            PoolAgent {
                demand,
                fair,
                is_trimmed: false,
                avoid,
                barred: BTreeSet::new(),
                recent: &[],
            }
        };
        let agents = (0..)
            .map(AgentId)
            .zip(rows.iter().zip(&avoids).map(agent))
            .collect();
        let holdings = (0..)
            .zip(rows)
            .flat_map(|(id, row)| {
                row.2
                    .iter()
                    .map(move |&(on, slots)| ((AgentId(id), BuilderId(on)), slots))
            })
            .collect();
        let after: Vec<_> = balance(&builders, &agents, holdings).into_iter().collect();
        let expected: Vec<_> = (0..)
            .zip(expected)
            .flat_map(|(id, held)| {
                held.iter()
                    .map(move |&(on, slots)| ((AgentId(id), BuilderId(on)), slots))
            })
            .collect();
        assert_eq!(after, expected);
    }

    #[test]
    fn an_agent_fits_on_one_builder_or_spreads() {
        check(&[4, 8], &[Row(6, 6, &[], &[])], &[&[(2, 6)]]);
        check(&[4, 8], &[Row(12, 12, &[], &[])], &[&[(1, 4), (2, 8)]]);
        check(&[4, 8], &[Row(6, 6, &[(1, 1)], &[])], &[&[(1, 4), (2, 2)]]);
    }

    #[test]
    fn idle_agents_keep_nothing_and_others_keep_what_nobody_wants() {
        check(&[8], &[Row(0, 0, &[(1, 8)], &[])], &[&[]]);
        check(&[8], &[Row(1, 1, &[(1, 8)], &[])], &[&[(1, 8)]]);
    }

    #[test]
    fn slots_are_taken_back_only_as_far_as_others_lack_them() {
        check(
            &[8],
            &[Row(8, 4, &[(1, 8)], &[]), Row(9, 4, &[], &[])],
            &[&[(1, 4)], &[(1, 4)]],
        );
        check(
            &[8, 2],
            &[Row(8, 8, &[(1, 8)], &[]), Row(2, 2, &[], &[])],
            &[&[(1, 8)], &[(2, 2)]],
        );
        check(
            &[8],
            &[Row(2, 2, &[(1, 8)], &[]), Row(3, 3, &[], &[])],
            &[&[(1, 5)], &[(1, 3)]],
        );
        // Idle slots go before slots in use.
        check(
            &[9],
            &[
                Row(1, 1, &[(1, 4)], &[]),
                Row(9, 4, &[(1, 5)], &[]),
                Row(4, 4, &[], &[]),
            ],
            &[&[(1, 1)], &[(1, 4)], &[(1, 4)]],
        );
    }

    #[test]
    fn a_smaller_offer_shrinks_the_largest_holding() {
        let rows = [Row(4, 2, &[(1, 4)], &[]), Row(2, 1, &[(1, 2)], &[])];
        check(&[3], &rows, &[&[(1, 2)], &[(1, 1)]]);
        check(&[0], &rows, &[&[], &[]]);
    }

    #[test]
    fn avoided_builders_are_left_when_there_is_room_and_used_when_there_is_not() {
        check(&[4, 4], &[Row(3, 3, &[(1, 3)], &["b1"])], &[&[(2, 3)]]);
        check(&[4, 2], &[Row(3, 3, &[(1, 3)], &["b1"])], &[&[(1, 1), (2, 2)]]);
        check(&[4], &[Row(3, 3, &[], &["b1"])], &[&[(1, 3)]]);
    }

    #[test]
    fn holdings_of_strangers_are_dropped() {
        check(&[4], &[Row(3, 3, &[(9, 3)], &[])], &[&[(1, 3)]]);
    }
}
