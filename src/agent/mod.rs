//! The role on a developer's machine: serves wrappers, knows their files, keeps leases and builders warm.
//!
//! Holds no descriptor of a build tool and prints nothing; what happened is in its answers and its status.

pub mod compilers;
pub mod demand;
pub mod doubt;
pub mod failure;
pub mod farm;
pub mod history;
mod leases;
pub mod link;
pub mod loader_path;
mod meeting;
pub mod native;
pub mod outputs;
pub mod paths;
mod quotes;
pub mod reason;
pub mod recall;
mod refusal;
pub mod remote;
pub mod service;
pub mod sources;
mod specs_path;
pub mod staleness;
pub mod status;
pub mod sweeps;
pub mod table;
pub mod telling;
pub mod trial;
pub mod trust;
pub mod unconfirmed;
pub mod unit;
mod upload;
