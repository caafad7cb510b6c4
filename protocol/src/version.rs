//! The frozen hello and what two peers make of each other's.
//!
//! Layout, little endian, for ever: `magic u32 | length u16 | minor_min u16 | minor_max u16 | count u16 |
//! capabilities [u16] | role u8 | software length u8 | software`. `length` counts the bytes behind it; a reader
//! skips what it does not know at the end.

use crate::limits;

/// ALPN of working connections; its number is the major version.
pub const ALPN: &[u8] = b"quicc/1";
/// `qucc`, little endian.
pub const MAGIC: u32 = 0x6363_7571;
/// The oldest minor version this software speaks.
pub const MINOR_MIN: u16 = 0;
/// The newest minor version this software speaks.
pub const MINOR_MAX: u16 = 0;
/// Bytes before the part that `length` counts.
pub const PREFIX: usize = 6;

/// What a peer says first on the first stream of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Oldest minor version spoken.
    pub minor_min: u16,
    /// Newest minor version spoken.
    pub minor_max: u16,
    /// Optional abilities, by number; none are defined yet.
    pub capabilities: Vec<u16>,
    /// 1 scheduler, 2 builder, 3 client; the certificate decides, this is for messages to people.
    pub role: u8,
    /// Software name and version, for people.
    pub software: String,
}

/// Why a hello was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The peer does not speak this protocol.
    #[error("the peer's first bytes are no quicc hello")]
    Magic,
    /// The length field or a count does not fit.
    #[error("the peer's hello is malformed")]
    Malformed,
    /// No common minor version.
    #[error(
        "the peer speaks protocol 1.{min} to 1.{max} ({software}), this side 1.{MINOR_MIN} to 1.{MINOR_MAX}"
    )]
    NoCommonVersion {
        /// Oldest the peer speaks.
        min: u16,
        /// Newest the peer speaks.
        max: u16,
        /// The peer's software.
        software: String,
    },
}

impl Hello {
    /// This software's hello for a role (see [`Hello::role`]).
    pub fn ours(role: u8, software: &str) -> Self {
        Self {
            minor_min: MINOR_MIN,
            minor_max: MINOR_MAX,
            capabilities: Vec::new(),
            role,
            software: software.to_owned(),
        }
    }

    /// The hello's bytes. At most 255 bytes of `software` and 256 capabilities travel.
    pub fn encode(&self) -> Vec<u8> {
        let capabilities = &self.capabilities[..self.capabilities.len().min(256)];
        let mut software = self.software.as_str();
        while software.len() > 255 {
            software = software
                .char_indices()
                .next_back()
                .map_or("", |(cut, _)| &software[..cut]);
        }
        let mut body = Vec::new();
        for number in [self.minor_min, self.minor_max, capabilities.len() as u16] {
            body.extend(number.to_le_bytes());
        }
        capabilities
            .iter()
            .for_each(|capability| body.extend(capability.to_le_bytes()));
        body.push(self.role);
        body.push(software.len() as u8);
        body.extend(software.as_bytes());
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.extend((body.len() as u16).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads the prefix: how many bytes follow it.
    pub fn body_length(prefix: [u8; PREFIX]) -> Result<usize, HelloError> {
        let [a, b, c, d, low, high] = prefix;
        if u32::from_le_bytes([a, b, c, d]) != MAGIC {
            return Err(HelloError::Magic);
        }
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length > limits::HELLO {
            Err(HelloError::Malformed)
        } else {
            Ok(length)
        }
    }

    /// Reads the bytes behind the prefix.
    pub fn decode_body(body: &[u8]) -> Result<Self, HelloError> {
        let mut rest = body;
        let minor_min = take_u16(&mut rest)?;
        let minor_max = take_u16(&mut rest)?;
        let count = take_u16(&mut rest)?;
        let capabilities = (0..count)
            .map(|_| take_u16(&mut rest))
            .collect::<Result<_, _>>()?;
        let [role, length, tail @ ..] = rest else {
            return Err(HelloError::Malformed);
        };
        let software = tail.get(..usize::from(*length)).ok_or(HelloError::Malformed)?;
        let software = String::from_utf8_lossy(software).into_owned();
        Ok(Self {
            minor_min,
            minor_max,
            capabilities,
            role: *role,
            software,
        })
    }

    /// The minor version both sides speak: the lower of the two maxima.
    pub fn agree(&self, peer: &Self) -> Result<u16, HelloError> {
        let minor = self.minor_max.min(peer.minor_max);
        if minor < self.minor_min.max(peer.minor_min) {
            return Err(HelloError::NoCommonVersion {
                min: peer.minor_min,
                max: peer.minor_max,
                software: peer.software.clone(),
            });
        }
        Ok(minor)
    }
}

fn take_u16(rest: &mut &[u8]) -> Result<u16, HelloError> {
    let [low, high, tail @ ..] = *rest else {
        return Err(HelloError::Malformed);
    };
    *rest = tail;
    Ok(u16::from_le_bytes([*low, *high]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello(min: u16, max: u16) -> Hello {
        Hello {
            minor_min: min,
            minor_max: max,
            ..Hello::ours(3, "quicc 0.1.0")
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let mut hello = hello(0, 2);
        hello.capabilities = vec![7, 0x1234];
        assert_eq!(
            hello.encode(),
            b"qucc\x17\x00\x00\x00\x02\x00\x02\x00\x07\x00\x34\x12\x03\x0bquicc 0.1.0",
            "the hello never changes"
        );
    }

    #[test]
    fn versions_meet_or_are_named() {
        assert_eq!(hello(0, 3).agree(&hello(2, 9)), Ok(3));
        assert!(matches!(
            hello(0, 3).agree(&hello(4, 9)),
            Err(HelloError::NoCommonVersion { min: 4, .. })
        ));
        assert!(matches!(
            hello(4, 9).agree(&hello(0, 3)),
            Err(HelloError::NoCommonVersion { max: 3, .. })
        ));
    }

    proptest! {
        #[test]
        fn hellos_read_back(min: u16, max: u16, role: u8, capabilities in proptest::collection::vec(any::<u16>(), 0..9), software in ".{0,40}") {
            let hello = Hello { minor_min: min, minor_max: max, capabilities, role, software };
            let mut bytes = hello.encode();
            let body = bytes.split_off(PREFIX);
            prop_assert_eq!(Hello::body_length(bytes.try_into().unwrap()), Ok(body.len()));
            prop_assert_eq!(Hello::decode_body(&body), Ok(hello));
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = Hello::decode_body(&body);
        }
    }
}
