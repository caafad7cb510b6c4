//! Bytes behind the message that describes them, never inside bincode: blobs by digest on streams of their own, all of a
//! batch as one; and the bodies of other messages, one after the other.

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
        let zstd_grows = self.encoding == Encoding::Zstd && grows(self.size, self.wire_size);
        (plain_differs || zstd_grows).then_some("a body's lengths contradict each other")
    }
}

/// Whether a zstd frame is longer than any of `size` bytes: it never grows its input by more than its own bound, and
/// n + n/256 + 64 kB is above that.
fn grows(size: u64, wire_size: u64) -> bool {
    wire_size > size + size / 256 + (64 << 10)
}

/// One blob of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Blob {
    /// Digest of its bytes.
    pub digest: BlobDigest,
    /// Their number.
    pub size: u64,
}

/// Blobs sent to a builder. What follows is one zstd frame of all their bytes, one blob after the other: what many
/// headers have in common travels once. Its window is at most [`limits::ZSTD_WINDOW_LOG`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BlobBatch {
    /// What the frame holds, in order; at least one.
    pub blobs: Vec<Blob>,
    /// Bytes of the frame.
    pub wire_size: u64,
    /// Later additions.
    pub extensions: Extensions,
}
message!(BlobBatch, 30, RUN_PAYLOAD, batch_rule);

impl BlobBatch {
    /// Bytes of all blobs, once decoded.
    pub fn size(&self) -> u64 {
        let sizes = self.blobs.iter().map(|blob| blob.size);
        sizes.fold(0, u64::saturating_add)
    }
}

fn batch_rule(batch: &BlobBatch) -> Option<&'static str> {
    match batch.blobs.len() {
        0 => return Some("a batch holds no blob"),
        1 if batch.size() > limits::BLOB => return Some("a batch exceeds the size of a blob"),
        1 => {}
        2..=limits::BLOBS_PER_BATCH if batch.size() > limits::BATCH => {
            return Some("a batch of several blobs is too large");
        }
        2..=limits::BLOBS_PER_BATCH => {}
        _ => return Some("a batch holds too many blobs"),
    }
    grows(batch.size(), batch.wire_size).then_some("a batch's lengths contradict each other")
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
