//! `quicc`: a wrapper when called like a compiler, a stage of the sandbox when started by a builder, otherwise a
//! command with subcommands.

use std::ffi::OsStr;
use std::process::ExitCode;

use quicc::wrapper::{self, Called};
use quicc::{cli, sandbox};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called_as = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let called = if is_reexecuted(&called_as) {
        Called::Ourselves(arguments)
    } else {
        wrapper::called(called_as, arguments)
    };
    let arguments = match called {
        Called::Compiler(call) => return wrapper::run(&call).into(),
        Called::Ourselves(arguments) => arguments,
    };
    match arguments.first() {
        Some(first) if first == sandbox::INIT_COMMAND => sandbox::init_main(),
        Some(first) if first == sandbox::SUPERVISE_COMMAND => sandbox::supervise_main(),
        _ => cli::run(arguments).into(),
    }
}

/// Whether we were started as `/proc/self/exe`, the way a program starts itself again.
fn is_reexecuted(called_as: &OsStr) -> bool {
    called_as == "/proc/self/exe"
}
