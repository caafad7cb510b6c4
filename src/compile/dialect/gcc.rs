//! Flags that only gcc takes, from the gcc manual ("Invoking GCC") up to version 15.

use super::flag::Meaning::{Local, Passes, Writes};
use super::flag::Shape::{Exact, Joined, JoinedOrSeparate, Separate};
use super::flag::{Flag, flag};
use crate::compile::{Cause, Role};

/// Sorted by spelling.
pub(super) const FLAGS: &[Flag] = &[
    flag("--dump", Separate, Local(Cause::ExtraOutput)),
    flag("-aux-info", Separate, Local(Cause::ExtraOutput)),
    flag("-aux-info=", Joined, Local(Cause::ExtraOutput)),
    flag("-dumpbase", Separate, Local(Cause::OddOutput)),
    flag("-dumpbase-ext", Separate, Local(Cause::OddOutput)),
    flag("-dumpdir", Separate, Local(Cause::OddOutput)),
    flag("-fauto-profile", Joined, Local(Cause::Profile)),
    flag("-fcallgraph-info", Exact, Writes(Role::CallGraph)),
    flag("-fcallgraph-info=", Joined, Writes(Role::CallGraph)),
    flag("-fcompare-debug", Joined, Local(Cause::ExtraOutput)),
    flag("-fdeps-", Joined, Local(Cause::Modules)),
    flag("-fltrans", Joined, Local(Cause::LinkTimeOptimization)),
    flag("-foffload", Joined, Local(Cause::Offload)),
    flag("-fpost-ipa-mem-report", Exact, Local(Cause::CompilerReport)),
    flag("-fpre-ipa-mem-report", Exact, Local(Cause::CompilerReport)),
    flag("-frepo", Exact, Local(Cause::ExtraOutput)),
    flag("-fresolution=", Joined, Local(Cause::LinkTimeOptimization)),
    flag("-fself-test=", Joined, Local(Cause::UnsupportedAction)),
    flag("-fstats", Exact, Local(Cause::CompilerReport)),
    flag("-fvtv-", Joined, Local(Cause::ExtraOutput)),
    flag("-fwpa", Joined, Local(Cause::LinkTimeOptimization)),
    flag("-imultiarch", JoinedOrSeparate, Local(Cause::UnsupportedSearch)),
    flag("-imultilib", JoinedOrSeparate, Local(Cause::UnsupportedSearch)),
    flag("-no-integrated-cpp", Exact, Local(Cause::PreprocessorMode)),
    flag("-nolibc", Exact, Passes),
    flag("-pass-exit-codes", Exact, Passes),
    flag("-time", Exact, Local(Cause::CompilerReport)),
    flag("-time=", Joined, Local(Cause::CompilerReport)),
];
