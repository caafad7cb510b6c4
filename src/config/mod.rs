//! Flags, environment and files, read once at the border and turned into values.
//!
//! Key names are sccache's wherever it has the key, so that its users can keep their files. Nothing below the
//! roles sees a configuration; pure code receives values.

pub mod address;
mod authentication;
pub mod builder;
pub mod certificates;
pub mod client;
pub mod env;
pub mod error;
pub mod file;
pub mod paths;
pub mod quantity;
pub mod scheduler;

pub use address::{HostPort, SchedulerAddress};
pub use builder::BuilderFile;
pub use certificates::CertificateFiles;
pub use client::ClientFile;
pub use error::ConfigError;
pub use scheduler::SchedulerFile;
