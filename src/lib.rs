//! quicc compiles C and C++ on other machines over QUIC, byte for byte as the local compiler would.

pub mod compile;
pub mod host;
pub mod inputs;
pub mod sandbox;
pub mod toolchain;
