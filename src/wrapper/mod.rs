//! The short-lived process a build runs in place of a compiler: asks the agent, writes outputs, or becomes the
//! compiler.
//!
//! The hot path: no runtime, no TLS, no command-line parser. It never decides whether a compile may travel.

pub mod channel;
pub mod compiler;
pub mod ledger;
pub mod publish;
pub mod socket;
pub mod start;

mod call;
mod mark;
mod name;

pub use call::{Call, run};
pub use name::{Called, WHICH, become_quicc, called, which};
