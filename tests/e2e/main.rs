//! Real processes, real compilers, real QUIC: what a user sees.

#![allow(missing_docs, clippy::disallowed_methods, reason = "a test of processes")]

#[path = "../support/mod.rs"]
mod support;

mod units;
