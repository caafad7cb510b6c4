//! The one door to bincode: bounded, and exact about length.
//!
//! bincode 2.0.1 is unmaintained (RUSTSEC-2025-0141) and by itself neither limits memory nor notices trailing
//! bytes; both are done here. Wire types hold no recursion, no zero-sized elements, no maps, no floats.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::limits;

/// Why bytes are not the message they claim to be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload exceeds the limit of its message type.
    #[error("{what} of {length} bytes exceeds its limit of {limit}")]
    TooLong {
        /// Name of the message type.
        what: &'static str,
        /// Payload bytes received.
        length: usize,
        /// Payload bytes allowed.
        limit: usize,
    },
    /// The bytes are no encoding of the type.
    #[error("{what} does not decode")]
    Malformed {
        /// Name of the message type.
        what: &'static str,
        /// What bincode found.
        source: bincode::error::DecodeError,
    },
    /// The type's encoding ends before the payload does.
    #[error("{what} has {surplus} bytes too many")]
    Trailing {
        /// Name of the message type.
        what: &'static str,
        /// Bytes left over.
        surplus: usize,
    },
    /// A value is outside what the protocol allows.
    #[error("{what}: {rule}")]
    Invalid {
        /// Name of the message type.
        what: &'static str,
        /// The rule that was broken.
        rule: &'static str,
    },
}

/// Two decoding bounds, since bincode takes its limit as a constant: one for control, one for the rest.
const CONTROL_CLAIM: usize = limits::CONTROL_PAYLOAD * limits::DECODED_PER_PAYLOAD_BYTE;
const WIDE_CLAIM: usize = limits::WRAPPER_PAYLOAD * limits::DECODED_PER_PAYLOAD_BYTE;

type Bounded<const LIMIT: usize> = Configuration<LittleEndian, Varint, Limit<LIMIT>>;

const fn bounded<const LIMIT: usize>() -> Bounded<LIMIT> {
    config::standard().with_limit::<LIMIT>()
}

/// Encodes a value: little endian, varint integers.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    // Encoding to memory fails only for types this crate does not have (RefCell, SystemTime, non-UTF-8 paths).
    bincode::encode_to_vec(value, config::standard()).unwrap_or_default()
}

/// Decodes a payload of at most `limit` bytes that holds exactly one `T`, claiming at most
/// [`limits::DECODED_PER_PAYLOAD_BYTE`] times the larger of the two payload classes.
pub fn decode<T: Decode<()>>(what: &'static str, payload: &[u8], limit: usize) -> Result<T, DecodeError> {
    if payload.len() > limit {
        return Err(DecodeError::TooLong {
            what,
            length: payload.len(),
            limit,
        });
    }
    let decoded = if payload.len() <= limits::CONTROL_PAYLOAD {
        bincode::decode_from_slice(payload, bounded::<CONTROL_CLAIM>())
    } else {
        bincode::decode_from_slice(payload, bounded::<WIDE_CLAIM>())
    };
    let (value, consumed) = decoded.map_err(|source| DecodeError::Malformed { what, source })?;
    match payload.len() - consumed {
        0 => Ok(value),
        surplus => Err(DecodeError::Trailing { what, surplus }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bound_is_an_error_not_an_allocation() {
        // 0xfd marks an eight-byte varint: a vector of 2^40 bytes in nine bytes.
        let mut bomb = vec![0xfd];
        bomb.extend((1_u64 << 40).to_le_bytes());
        assert!(matches!(
            decode::<Vec<u8>>("bomb", &bomb, 64),
            Err(DecodeError::Malformed { .. })
        ));
    }

    #[test]
    fn trailing_bytes_and_long_payloads_are_refused() {
        let mut bytes = encode(&7_u32);
        bytes.push(0);
        assert!(matches!(
            decode::<u32>("number", &bytes, 64),
            Err(DecodeError::Trailing { surplus: 1, .. })
        ));
        assert!(matches!(
            decode::<u32>("number", &bytes, 1),
            Err(DecodeError::TooLong { .. })
        ));
    }
}
