//! The scheduler's word as last heard: the key of its tickets, its clock, whether it is there. Tickets are
//! checked here without asking it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_certs::{Identity, TicketClaims, TicketError, TicketVerifier};
use tokio::time::Instant;

use super::slots::{ClientKey, LeaseTime};

/// How long leases outlast their end while no scheduler is there to renew them.
const LEASE_EXTENSION: Duration = Duration::from_secs(3600);

/// What is known from the scheduler.
#[derive(Debug)]
pub(super) struct Authority {
    /// This builder: whom tickets must be for.
    builder: Identity,
    word: Mutex<Option<Word>>,
}

#[derive(Debug)]
struct Word {
    verifier: TicketVerifier,
    /// Seconds of its clock ...
    time: u64,
    /// ... at this moment of ours. Ours is monotonic: setting the machine's clock ends no lease.
    at: Instant,
    present: bool,
}

impl Authority {
    pub(super) fn new(builder: Identity) -> Self {
        Self {
            builder,
            word: Mutex::new(None),
        }
    }

    /// The scheduler answered: its key, its clock, and when it was asked and heard. Its clock was read halfway
    /// between, give or take half the round trip.
    pub(super) fn heard(
        &self,
        key: &[u8],
        time: u64,
        asked: Instant,
        heard: Instant,
    ) -> Result<(), TicketError> {
        let verifier = TicketVerifier::new(key)?;
        *self.word() = Some(Word {
            verifier,
            time,
            at: asked + heard.saturating_duration_since(asked) / 2,
            present: true,
        });
        Ok(())
    }

    /// The connection to the scheduler ended.
    pub(super) fn lost(&self) {
        if let Some(word) = &mut *self.word() {
            word.present = false;
        }
    }

    /// The scheduler's time now; `None` before it was ever heard.
    pub(super) fn time(&self) -> Option<LeaseTime> {
        self.word().as_ref().map(Word::lease_time)
    }

    /// Checks a ticket shown by the client of that key; `None` before the scheduler was ever heard.
    pub(super) fn check(
        &self,
        ticket: &str,
        client: &ClientKey,
    ) -> Option<Result<TicketClaims, TicketError>> {
        let word = self.word();
        let word = word.as_ref()?;
        let (name, cluster) = (&self.builder.name, &self.builder.cluster);
        let now = word.lease_time().now;
        Some(word.verifier.verify(ticket, name, cluster, now, client))
    }

    fn word(&self) -> MutexGuard<'_, Option<Word>> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Word {
    fn lease_time(&self) -> LeaseTime {
        LeaseTime {
            now: self.time.saturating_add(self.at.elapsed().as_secs()),
            extension: if self.present {
                0
            } else {
                LEASE_EXTENSION.as_secs()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_certs::TicketSigner;

    const CLIENT: ClientKey = [7; 32];

    fn authority() -> Authority {
        Authority::new("quicc://farm/builder/b1".parse().unwrap())
    }

    fn hear(authority: &Authority, signer: &TicketSigner, time: u64) {
        let now = Instant::now();
        authority.heard(&signer.public_key(), time, now, now).unwrap();
    }

    #[test]
    fn tickets_are_judged_by_key_name_and_the_schedulers_clock() {
        let signer = TicketSigner::generate().unwrap();
        let ticket = |builder: &str, exp| {
            let claims = TicketClaims {
                iss: "farm".parse().unwrap(),
                aud: builder.parse().unwrap(),
                sub: "alice".parse().unwrap(),
                lease: 1,
                slots: 2,
                nbf: 0,
                exp,
                cnf: CLIENT,
            };
            signer.sign(&claims).unwrap()
        };
        let authority = authority();
        assert!(authority.check(&ticket("b1", 2000), &CLIENT).is_none());
        assert_eq!(authority.time(), None);
        hear(&authority, &signer, 1000);
        assert!(authority.check(&ticket("b1", 2000), &CLIENT).unwrap().is_ok());
        for (wrong, client) in [
            (ticket("b2", 2000), CLIENT),
            (ticket("b1", 500), CLIENT),
            (ticket("b1", 2000), [8; 32]),
        ] {
            assert!(authority.check(&wrong, &client).unwrap().is_err());
        }
        let restarted = TicketSigner::generate().unwrap();
        hear(&authority, &restarted, 1000);
        assert!(authority.check(&ticket("b1", 2000), &CLIENT).unwrap().is_err());
        assert!(
            authority
                .heard(b"no key", 0, Instant::now(), Instant::now())
                .is_err()
        );
    }

    #[test]
    fn leases_are_extended_only_while_the_scheduler_is_away() {
        let signer = TicketSigner::generate().unwrap();
        let authority = authority();
        authority.lost();
        hear(&authority, &signer, 1000);
        let time = |extension| {
            let time = authority.time().unwrap();
            assert!((1000..1100).contains(&time.now));
            assert_eq!(time.extension, extension);
        };
        time(0);
        authority.lost();
        time(LEASE_EXTENSION.as_secs());
        hear(&authority, &signer, 1000);
        time(0);
    }

    #[test]
    fn the_clock_is_read_halfway_between_question_and_answer() {
        let signer = TicketSigner::generate().unwrap();
        let authority = authority();
        let heard = Instant::now();
        let asked = heard.checked_sub(Duration::from_secs(10)).unwrap();
        authority.heard(&signer.public_key(), 1000, asked, heard).unwrap();
        assert!((1005..1100).contains(&authority.time().unwrap().now));
    }
}
