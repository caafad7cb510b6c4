//! One door each to this machine: processes, terminals, tasks, files, time.
//!
//! Never decides anything about compiles or peers.

#[cfg(feature = "farm")]
pub mod clock;
pub mod files;
pub mod limits;
pub mod process;
#[cfg(feature = "farm")]
pub mod task;
pub mod terminal;
pub mod text;
#[cfg(feature = "farm")]
pub mod timer;
