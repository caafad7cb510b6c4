#![doc = include_str!("ARCHITECTURE.md")]

#[cfg(feature = "farm")]
pub mod agent;
#[cfg(feature = "farm")]
pub mod builder;
#[cfg(feature = "farm")]
pub mod cli;
pub mod compile;
pub mod config;
pub mod host;
#[cfg(feature = "farm")]
pub mod inputs;
#[cfg(feature = "farm")]
pub mod sandbox;
#[cfg(feature = "farm")]
pub mod scheduler;
#[cfg(feature = "farm")]
pub mod store;
// Two attributes: clippy knows tests by the second alone.
#[cfg(feature = "farm")]
#[cfg(test)]
mod tests;
#[cfg(feature = "farm")]
pub mod toolchain;
#[cfg(feature = "farm")]
pub mod transport;
pub mod wrapper;

/// Name and version said to peers.
pub const SOFTWARE: &str = concat!("quicc ", env!("CARGO_PKG_VERSION"));
