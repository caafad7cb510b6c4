//! The builder: keeps copies of its clients' files and runs their compilers on them.
//!
//! Never decides what to compile and never trusts a client beyond its own view.

pub mod mirror;
pub mod tree;

mod place;
