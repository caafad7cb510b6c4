//! PURE. The messages of a table that its builder may not have applied, and where a new connection goes on with it.
//!
//! What a builder has applied is known only by its answers: whatever was on its way when a connection was lost is told
//! again, and the builder skips what it has. So the messages of one table are the same on every connection, byte by byte.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of messages kept. A table with more of them, none of which its builder answered for, is begun anew on the next
/// connection.
pub const BYTES: usize = 16 << 20;

/// Some consecutive records of a table as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// How many records.
    pub records: u64,
    /// Their message in its envelope.
    pub frame: Arc<[u8]>,
}

/// Where a table goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Resumption {
    /// Records that the builder has: it has answered for as many, or for more.
    pub position: u64,
    /// All that follows, in order.
    pub again: Vec<Sent>,
}

/// The end of one table.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    /// Records before those kept.
    position: u64,
    /// Records in all.
    told: u64,
    kept: VecDeque<Sent>,
    /// Of those kept.
    bytes: usize,
    /// Whether the builder has answered for the table at all.
    is_known: bool,
    /// Whether the builder has dropped the table.
    is_void: bool,
    /// Whether some were not kept that should have been.
    is_incomplete: bool,
}

impl Unconfirmed {
    /// Takes the next message of the table.
    pub fn push(&mut self, sent: Sent) {
        self.told += sent.records;
        self.bytes = self.bytes.saturating_add(sent.frame.len());
        self.kept.push_back(sent);
        self.is_incomplete |= self.bytes > BYTES;
        if self.is_incomplete {
            self.kept.clear();
            self.bytes = 0;
        }
    }

    /// The builder has applied `position` records at least.
    pub fn confirm(&mut self, position: u64) {
        self.is_known = true;
        if position >= self.told {
            *self = Self {
                position: self.told,
                told: self.told,
                is_known: true,
                is_void: self.is_void,
                ..Self::default()
            };
        }
        while let Some(first) = self.kept.front()
            && self.position + first.records <= position
        {
            self.position += first.records;
            self.bytes -= first.frame.len();
            self.kept.pop_front();
        }
    }

    /// The builder has dropped the table, whatever it is heard to say of it later.
    pub fn give_up(&mut self) {
        self.is_void = true;
    }

    /// Where a new connection goes on; `None` where it has to begin anew.
    pub fn resumption(&self) -> Option<Resumption> {
        (self.is_known && !self.is_incomplete && !self.is_void).then(|| Resumption {
            position: self.position,
            again: self.kept.iter().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(records: u64, bytes: usize) -> Sent {
        Sent {
            records,
            frame: vec![0; bytes].into(),
        }
    }

    #[test]
    fn a_table_nobody_answered_for_is_begun_anew() {
        let mut unconfirmed = Unconfirmed::default();
        assert_eq!(unconfirmed.resumption(), None);
        unconfirmed.push(sent(3, 10));
        assert_eq!(unconfirmed.resumption(), None);
        unconfirmed.confirm(3);
        let expected = Resumption {
            position: 3,
            again: Vec::new(),
        };
        assert_eq!(unconfirmed.resumption(), Some(expected));
        unconfirmed.give_up();
        unconfirmed.confirm(3);
        assert_eq!(unconfirmed.resumption(), None, "its word comes late");
    }

    #[test]
    fn a_message_that_was_answered_for_in_part_is_told_again() {
        let mut unconfirmed = Unconfirmed::default();
        for records in [2, 3, 4] {
            unconfirmed.push(sent(records, 1));
        }
        unconfirmed.confirm(4);
        let expected = Resumption {
            position: 2,
            again: vec![sent(3, 1), sent(4, 1)],
        };
        assert_eq!(unconfirmed.resumption(), Some(expected));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.confirm(0);
        unconfirmed.push(sent(1, BYTES));
        assert!(unconfirmed.resumption().is_some());
        unconfirmed.push(sent(1, 1));
        assert_eq!((unconfirmed.resumption(), unconfirmed.bytes), (None, 0));
        unconfirmed.push(sent(1, 1));
        unconfirmed.confirm(2);
        assert_eq!(unconfirmed.resumption(), None, "there is a gap");
        assert!(unconfirmed.kept.is_empty());
        unconfirmed.confirm(3);
        let expected = Resumption {
            position: 3,
            again: Vec::new(),
        };
        assert_eq!(unconfirmed.resumption(), Some(expected));
    }

    /// A builder that has applied a part of what it was told.
    #[derive(Default)]
    struct Builder(Vec<u8>);

    impl Builder {
        /// As a mirror applies what comes behind `first` records.
        fn apply(&mut self, first: u64, records: &[u8]) {
            let known = (self.0.len() as u64).checked_sub(first).unwrap();
            self.0.extend(records.get(known as usize..).unwrap_or_default());
        }
    }

    proptest! {
        /// One byte stands for one record.
        #[test]
        fn whatever_is_lost_on_the_way_a_builder_ends_with_the_table(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..4), 0_usize..4, any::<bool>()), 1..40)
        ) {
            let (mut unconfirmed, mut builder, mut table) = (Unconfirmed::default(), Builder::default(), Vec::<u8>::new());
            // The connection's messages that did not arrive yet, and the records before the next.
            let (mut way, mut arrived) = (VecDeque::new(), 0_u64);
            unconfirmed.confirm(0);
            for (records, arriving, is_lost) in steps {
                table.extend(&records);
                let sent = Sent { records: records.len() as u64, frame: records.into() };
                unconfirmed.push(sent.clone());
                way.push_back(sent);
                for _ in 0..arriving {
                    let Some(sent) = way.pop_front() else { break };
                    builder.apply(arrived, &sent.frame);
                    arrived += sent.records;
                }
                if arriving > 2 {
                    unconfirmed.confirm(builder.0.len() as u64);
                }
                if is_lost {
                    let Resumption { position, again } = unconfirmed.resumption().unwrap();
                    prop_assert!(position <= builder.0.len() as u64, "the builder has what is left out");
                    (way, arrived) = (again.into(), position);
                }
            }
            for sent in way {
                builder.apply(arrived, &sent.frame);
                arrived += sent.records;
            }
            prop_assert_eq!(builder.0, table);
        }
    }
}
