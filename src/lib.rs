#![doc = include_str!("ARCHITECTURE.md")]

pub mod agent;
pub mod builder;
pub mod cli;
pub mod compile;
pub mod config;
pub mod host;
pub mod inputs;
pub mod sandbox;
pub mod scheduler;
pub mod store;
#[cfg(test)]
mod tests;
pub mod toolchain;
pub mod transport;
pub mod wrapper;

/// Name and version said to peers.
pub const SOFTWARE: &str = concat!("quicc ", env!("CARGO_PKG_VERSION"));
