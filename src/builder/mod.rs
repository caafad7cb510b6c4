//! The builder: keeps copies of its clients' files and runs their compilers on them.
//!
//! Never decides what to compile and never trusts a client beyond its own view.

pub mod collect;
pub mod layout;
pub mod mirror;
pub mod slots;
pub mod tree;
pub mod views;

mod condition;
mod place;
