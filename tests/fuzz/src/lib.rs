//! What no input may break, each as a function of bytes that panics when it is broken. The targets hand these
//! functions to libFuzzer; the tests here try the seeds and random input, on any toolchain.
//!
//! Never decides how inputs are found, and judges only through the public interface of the crates.

pub mod bodies;
pub mod hello;
pub mod messages;
pub mod mirror;
pub mod scanner;
pub mod table;
pub mod verdict;

mod script;
#[cfg(test)]
mod tests;
