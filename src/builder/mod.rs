//! The builder: keeps copies of its clients' files and runs their compilers on them.
//!
//! Never decides what to compile and never trusts a client beyond its own view.
//!
//! [`tree`] and [`slots`] decide, pure; [`mirror`], [`layout`] and [`collect`] keep files; [`service`] listens, with
//! one `connection` per client and a file each for its leases, tables, blobs and actions.

mod action;
mod admission;
mod authority;
mod blobs;
pub mod collect;
mod condition;
pub mod config;
mod connection;
mod inputs;
mod job;
pub mod layout;
mod machine;
pub mod mirror;
mod outcome;
mod place;
mod refusals;
mod registration;
pub mod service;
pub mod slots;
mod tables;
pub mod tree;
pub mod views;
mod visitors;
mod wanted;

pub use config::BuilderConfig;
pub use service::{Builder, BuilderError, prepare};
