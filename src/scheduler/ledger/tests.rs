//! What comes out of the ledger for what went in, case by case.

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
            ahead: 0,
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
