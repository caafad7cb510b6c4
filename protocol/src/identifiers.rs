//! Numbers that name things between peers.

use std::fmt;

use bincode::{Decode, Encode};

/// One client's files as one agent sees them: drawn at random when the agent starts, never reused, so that two
/// agents with one certificate never share a mirror.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ViewId(pub [u8; 16]);

impl fmt::Display for ViewId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A row of one view's table with one builder. Ids are given out upwards from 1 and never reused within an
/// epoch; 0 is the root directory.
pub type EntryId = u32;

/// The root directory of every view.
pub const ROOT: EntryId = 0;

/// Slots on a builder granted to an agent; unique within one run of the scheduler.
pub type LeaseId = u64;

/// Why a set of entry ids could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The bytes end inside a number, or a number does not fit 32 bits.
    #[error("entry ids are cut short or out of range")]
    Malformed,
    /// More ids than a table may have.
    #[error("more entry ids than a table has rows")]
    TooMany,
}

/// Writes strictly ascending ids as LEB128 gaps: about one byte an id when an action names a run of the table.
pub fn encode_ascending(ids: &[EntryId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ids.len() + 4);
    let mut previous = 0;
    for &id in ids {
        crate::envelope::push_varint(&mut bytes, id.wrapping_sub(previous));
        previous = id;
    }
    bytes
}

/// Reads what [`encode_ascending`] wrote. The result is sorted; at most `limit` ids are accepted.
pub fn decode_ascending(mut bytes: &[u8], limit: usize) -> Result<Vec<EntryId>, DeltaError> {
    let mut ids = Vec::new();
    let mut previous: EntryId = 0;
    while !bytes.is_empty() {
        let (gap, rest) = crate::envelope::take_varint(bytes).ok_or(DeltaError::Malformed)?;
        previous = previous.checked_add(gap).ok_or(DeltaError::Malformed)?;
        if ids.len() == limit {
            return Err(DeltaError::TooMany);
        }
        ids.push(previous);
        bytes = rest;
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascending_ids_read_back(ids in proptest::collection::btree_set(any::<u32>(), 0..200)) {
            let ids: Vec<_> = ids.into_iter().collect();
            prop_assert_eq!(decode_ascending(&encode_ascending(&ids), 200), Ok(ids));
        }

        #[test]
        fn arbitrary_bytes_never_exceed_the_limit(bytes: Vec<u8>) {
            if let Ok(ids) = decode_ascending(&bytes, 7) {
                prop_assert!(ids.len() <= 7 && ids.is_sorted());
            }
        }
    }

    #[test]
    fn a_run_of_ids_costs_a_byte_each() {
        let ids: Vec<_> = (5000..5600).collect();
        assert_eq!(encode_ascending(&ids).len(), 601);
    }
}
