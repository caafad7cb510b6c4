#![doc = include_str!("../PROTOCOL.md")]

pub mod codec;
pub mod digest;
pub mod envelope;
pub mod identifiers;
pub mod limits;
pub mod message;
pub mod version;

pub use digest::BlobDigest;

/// Application error codes of QUIC connections and streams.
pub mod close {
    /// Nothing is wrong.
    pub const DONE: u32 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL: u32 = 1;
    /// The peer's certificate does not allow this.
    pub const NOT_ALLOWED: u32 = 2;
    /// A message type is not known here.
    pub const UNSUPPORTED: u32 = 3;
    /// The request is no longer wanted.
    pub const CANCELLED: u32 = 4;
    /// This side is ending.
    pub const ENDING: u32 = 5;
    /// No common version.
    pub const VERSION: u32 = 6;
    /// Nothing was heard from the peer for too long.
    pub const SILENT: u32 = 7;
}
