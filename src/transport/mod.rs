//! QUIC between peers: endpoints, connections, frames on streams, and whether a peer is still there.
//!
//! The only module that configures quinn. Knows envelopes and bodies, never what messages mean.

pub mod certificate;
mod congestion;
pub mod effort;
pub mod endpoint;
pub mod frame;
mod level;
pub mod liveness;
mod opened;
pub mod path;
pub mod refusal;
mod reset;
pub mod resolve;
mod runtime;
mod socket;
pub mod solid;
pub mod tuning;

pub use endpoint::{Arriving, Control, Endpoint, Peer, When};
pub use frame::{Frame, FrameError};
pub use opened::{Opened, Unmet, until_closed};
pub use reset::ResetSecret;
pub use tuning::Pace;

use std::net::SocketAddr;

use quicc_certs::Identity;

/// Why a connection could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The local UDP socket could not be had.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The TLS configuration does not fit QUIC.
    #[error("the TLS configuration cannot be used for QUIC")]
    Configuration {
        /// What rustls or quinn objects to.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A host name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// `host:port` as configured.
        host: String,
        /// What the resolver answered.
        source: std::io::Error,
    },
    /// No connection came about.
    #[error("cannot connect to {peer}")]
    Connect {
        /// Whom, and where.
        peer: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing finished within the bound.
    #[error("no answer from {peer} within {} ms", waited.as_millis())]
    Silent {
        /// Whom.
        peer: String,
        /// The bound.
        waited: std::time::Duration,
    },
    /// The peer shows another identity than the one expected.
    #[error("expected {expected}, the certificate says {found}")]
    WrongPeer {
        /// Whom we meant.
        expected: Identity,
        /// Who answered.
        found: Identity,
    },
    /// The peer's certificate carries no usable identity.
    #[error("the peer's certificate names no quicc identity")]
    Identity {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer's certificate was valid once: a session resumed by it is not verified again.
    #[error("the certificate of {peer} has expired")]
    Expired {
        /// Whose.
        peer: Identity,
    },
    /// The peer does not know the session that what was sent early belongs to: it was restarted.
    #[error("{peer} was restarted: what was sent before its answer is void")]
    TooEarly {
        /// Whom, and where.
        peer: String,
    },
    /// The peer speaks no common version or no quicc at all.
    #[error(transparent)]
    Hello(#[from] quicc_protocol::version::HelloError),
    /// The connection broke while something was sent or awaited.
    #[error(transparent)]
    Frame(#[from] FrameError),
}
