//! Content on this machine's disk: blobs by digest, bounded and verified.
//!
//! Never knows views, peers or compiles.

pub mod cas;
pub mod discard;
pub mod evict;

mod lock;

pub use cas::{Cas, CasError, Pin, Writer};
