//! Every message, its number and its limit. Released types are immutable: a changed struct is a new type with a
//! new number, and enums only grow at their end.

pub mod blob;
pub mod lease;
pub mod offer;
pub mod refusal;
pub mod run;
pub mod table;
pub mod wrapper;

#[cfg(test)]
mod golden;

use bincode::{Decode, Encode};

use crate::codec::{self, DecodeError};
use crate::envelope::Header;

/// `(number, bytes)` pairs a message ends with: what later versions add without a new type. Unknown numbers are
/// skipped.
pub type Extensions = Vec<(u16, Vec<u8>)>;

/// A type that travels in an envelope of its own.
pub trait Message: Encode + Decode<()> {
    /// The envelope's type number.
    const KIND: u16;
    /// The message's name, for errors.
    const NAME: &'static str;
    /// Most bytes of an encoded payload.
    const LIMIT: usize;
    /// The envelope's flags.
    const FLAGS: u16 = 0;

    /// The first rule of the protocol, beyond its encoding, that the value breaks.
    fn broken_rule(&self) -> Option<&'static str> {
        None
    }

    /// The message in its envelope.
    fn to_frame(&self) -> Vec<u8> {
        let payload = codec::encode(self);
        let mut frame = Vec::with_capacity(payload.len() + crate::envelope::HEADER_MAX);
        Header {
            length: payload.len() as u32,
            kind: Self::KIND,
            flags: Self::FLAGS,
        }
        .push(&mut frame);
        frame.extend(payload);
        frame
    }

    /// Reads a payload whose envelope had this type's number, and checks the value's rules.
    fn from_payload(payload: &[u8]) -> Result<Self, DecodeError> {
        let message: Self = codec::decode(Self::NAME, payload, Self::LIMIT)?;
        match message.broken_rule() {
            Some(rule) => Err(DecodeError::Invalid {
                what: Self::NAME,
                rule,
            }),
            None => Ok(message),
        }
    }
}

macro_rules! message {
    ($type:ty, $kind:literal, $limit:ident $(, $rule:path)?) => {
        impl $crate::message::Message for $type {
            const KIND: u16 = $kind;
            const NAME: &'static str = stringify!($type);
            const LIMIT: usize = $crate::limits::$limit;
            $(fn broken_rule(&self) -> Option<&'static str> {
                $rule(self)
            })?
        }
    };
}
pub(crate) use message;

/// Whether bytes are an absolute path without NUL, within [`crate::limits::PATH`].
pub fn is_absolute_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && path.len() <= crate::limits::PATH && !path.contains(&0)
}

/// Whether bytes can be one component of a path: not empty, not `.` or `..`, no `/`, no NUL.
pub fn is_entry_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= crate::limits::ENTRY_NAME
        && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
