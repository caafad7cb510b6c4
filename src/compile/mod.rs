//! What a command line means: an [`Invocation`] goes in, a [`Verdict`] comes out.
//!
//! Pure: nothing here opens a file, reads the clock or the environment of this process. The two questions a
//! verdict may have about the world are asked through [`Surroundings`]. Never decides where a compile runs
//! once it may be distributed, and never finds its headers.
//!
//! ```text
//! argv ── response_file ── command_line ── judge ── Verdict
//!          @file            │    │          │
//!                       dialect  forwarded  outputs, environment
//!                       (tables) (-Wp, …)   (names)  (variables)
//! ```
//!
//! A flag that no table lists and no rule of thumb covers keeps the compile local: a wrong guess about a
//! flag would be a wrong object, a local compile is only slower.

mod command_line;
mod dialect;
mod driver_steps;
mod environment;
mod forwarded;
mod invocation;
mod judge;
mod language;
mod limits;
mod outputs;
mod path;
mod reason;
mod response_file;
mod verdict;

pub use dialect::Dialect;
pub use driver_steps::{DriverSteps, DriverStepsError, read_driver_steps};
pub use environment::remote_environment;
pub use invocation::{Invocation, Surroundings};
pub use judge::judge;
pub use language::Language;
pub use limits::restriction;
pub use reason::{Cause, Reason};
pub use response_file::{MAX_EXPANDED_BYTES, MAX_RESPONSE_FILES};
pub use verdict::{Output, Plan, Role, TimeMacro, Verdict};
