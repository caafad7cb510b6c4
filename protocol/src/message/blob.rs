//! Blobs by digest, on streams of their own. Their bytes follow the message raw, one after the other, never
//! inside bincode.

use bincode::{Decode, Encode};

use super::{Extensions, message};
use crate::BlobDigest;
use crate::limits;

/// How a body's bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// One zstd frame.
    Zstd,
}

/// One body that follows a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// Digest of the bytes once decoded.
    pub digest: BlobDigest,
    /// Length once decoded.
    pub size: u64,
    /// Bytes on the wire.
    pub wire_size: u64,
    /// How they travel.
    pub encoding: Encoding,
}

impl Body {
    /// The first rule the description breaks.
    pub fn broken_rule(&self) -> Option<&'static str> {
        if self.size > limits::BLOB {
            return Some("a body exceeds the size of a blob");
        }
        let plain_differs = self.encoding == Encoding::Plain && self.size != self.wire_size;
        // A zstd frame never grows its input by more than its own bound: n + n/256 + 64 kB is above it.
        let zstd_grows =
            self.encoding == Encoding::Zstd && self.wire_size > self.size + self.size / 256 + (64 << 10);
        (plain_differs || zstd_grows).then_some("a body's lengths contradict each other")
    }
}

/// Blobs sent to a builder; the bodies follow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlobBatch {
    /// What follows, in order.
    pub bodies: Vec<Body>,
    /// Later additions.
    pub extensions: Extensions,
}
message!(BlobBatch, 30, RUN_PAYLOAD, batch_rule);

fn batch_rule(batch: &BlobBatch) -> Option<&'static str> {
    if batch.bodies.len() > limits::BLOBS_PER_BATCH {
        return Some("a batch holds too many blobs");
    }
    batch.bodies.iter().find_map(Body::broken_rule)
}

/// Digests the receiver lacks and wants now, by the sender of an action.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlobsWanted {
    /// Which.
    pub digests: Vec<BlobDigest>,
    /// Later additions.
    pub extensions: Extensions,
}
message!(BlobsWanted, 31, RUN_PAYLOAD);
