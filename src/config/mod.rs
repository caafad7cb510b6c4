//! Flags, environment and files, read once at the border and turned into values.
//!
//! Key names are sccache's wherever it has the key, so that its users can keep their files. Nothing below the
//! roles sees a configuration; pure code receives values.

#[cfg(feature = "farm")]
pub mod address;
#[cfg(feature = "farm")]
mod authentication;
#[cfg(feature = "farm")]
pub mod builder;
#[cfg(feature = "farm")]
pub mod certificates;
#[cfg(feature = "farm")]
pub mod client;
pub mod env;
#[cfg(feature = "farm")]
pub mod error;
#[cfg(feature = "farm")]
pub mod file;
pub mod paths;
#[cfg(feature = "farm")]
pub mod quantity;
#[cfg(feature = "farm")]
pub mod scheduler;

#[cfg(feature = "farm")]
pub use self::{
    address::{HostPort, SchedulerAddress},
    builder::BuilderFile,
    certificates::CertificateFiles,
    client::ClientFile,
    error::ConfigError,
    scheduler::SchedulerFile,
};
