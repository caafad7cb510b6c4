//! Flags, environment and files, read once at the border and turned into values.

pub mod env;
pub mod paths;
