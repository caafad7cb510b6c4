//! quicc compiles C and C++ on other machines over QUIC, byte for byte as the local compiler would.

pub mod builder;
pub mod compile;
pub mod config;
pub mod host;
pub mod inputs;
pub mod sandbox;
pub mod scheduler;
pub mod store;
pub mod toolchain;
pub mod transport;
pub mod wrapper;
