//! Every environment variable quicc reads or sets. The only place that reads the environment.

use std::ffi::OsString;

/// Directory under which all state lives; without it the XDG directories are used.
pub const QUICC_HOME: &str = "QUICC_HOME";
/// What is logged: a `tracing` filter such as `info` or `quicc=debug`.
pub const QUICC_LOG: &str = "QUICC_LOG";
/// The client's configuration file; without it `config` in the configuration directory.
pub const QUICC_CONFIG: &str = "QUICC_CONFIG";
/// Set by `quicc run` for the build: the file in which wrappers count.
pub const QUICC_LEDGER: &str = "QUICC_LEDGER";
/// Set for a compiler run here that holds a local slot: wrappers it calls need none.
pub const QUICC_LOCAL: &str = "QUICC_LOCAL";
/// Set for a compiler run here or asked about itself: the compilers around the call, joined as in `PATH`. A script
/// or program that stands in for a compiler and calls our link again means the next compiler, never itself.
pub const QUICC_CALLERS: &str = "QUICC_CALLERS";
/// Set to anything but the empty string: every wrapper runs the compiler and asks nobody.
pub const QUICC_DISABLE: &str = "QUICC_DISABLE";
/// Set to `0`: datagrams are handed to the kernel one by one, where segmentation offload is broken.
pub const QUICC_QUIC_GSO: &str = "QUICC_QUIC_GSO";

/// Reads one variable; an empty value counts as unset.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The whole environment, in its order.
pub fn all() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}
