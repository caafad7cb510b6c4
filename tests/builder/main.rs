//! A builder on loopback QUIC, with a scheduler and clients that say exactly what each test wants, and a small
//! shell as the compiler.

mod actions;
mod client;
mod protocol;
mod resumption;
mod trust;
mod world;
