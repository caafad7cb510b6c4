//! The envelope around every message: `length | type | flags | payload`.
//!
//! `length` is the payload's, as LEB128 of at most five bytes; `type` and `flags` are little-endian `u16`.
//! The type stands outside bincode, so that a peer can recognise and skip what it does not know.

/// Set in `flags` when a peer that does not know the type may skip the message.
pub const IGNORABLE: u16 = 1;

/// Bytes of the longest envelope header.
pub const HEADER_MAX: usize = 5 + 2 + 2;

/// An envelope's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow.
    pub length: u32,
    /// Which message: see [`crate::message`].
    pub kind: u16,
    /// [`IGNORABLE`], or bits of the future, which readers ignore.
    pub flags: u16,
}

impl Header {
    /// Appends the header's bytes.
    pub fn push(self, bytes: &mut Vec<u8>) {
        push_varint(bytes, self.length);
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
    }

    /// Reads a header off the front: `Ok(None)` when more bytes are needed.
    pub fn take(bytes: &[u8]) -> Result<Option<(Self, usize)>, MalformedHeader> {
        let Some((length, rest)) = take_varint(bytes) else {
            return if bytes.len() >= 5 {
                Err(MalformedHeader)
            } else {
                Ok(None)
            };
        };
        let [kind_low, kind_high, flags_low, flags_high, ..] = *rest else {
            return Ok(None);
        };
        let header = Self {
            length,
            kind: u16::from_le_bytes([kind_low, kind_high]),
            flags: u16::from_le_bytes([flags_low, flags_high]),
        };
        Ok(Some((header, bytes.len() - rest.len() + 4)))
    }
}

/// A length that does not fit 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope's length does not fit 32 bits")]
pub struct MalformedHeader;

/// Appends `value` as LEB128.
pub(crate) fn push_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Reads a LEB128 number of at most five bytes; `None` when it is cut short or does not fit.
pub(crate) fn take_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value: u64 = 0;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_reads_back_from_any_longer_buffer(length: u32, kind: u16, flags: u16, tail: Vec<u8>) {
            let header = Header { length, kind, flags };
            let mut bytes = Vec::new();
            header.push(&mut bytes);
            let written = bytes.len();
            prop_assert!(written <= HEADER_MAX);
            for cut in 0..written {
                prop_assert_eq!(Header::take(&bytes[..cut]), Ok(None));
            }
            bytes.extend(tail);
            prop_assert_eq!(Header::take(&bytes), Ok(Some((header, written))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Header::take(&bytes);
        }
    }

    #[test]
    fn an_endless_length_is_malformed() {
        assert_eq!(Header::take(&[0xff; 9]), Err(MalformedHeader));
    }
}
