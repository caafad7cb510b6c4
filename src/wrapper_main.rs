//! `quicc-wrapper`: what a build runs in place of a compiler, without the rest of quicc: a process that starts in a
//! fraction of the time, since it brings no TLS, no runtime and no command line of its own.

use std::path::Path;
use std::process::ExitCode;

use quicc::wrapper::{self, Called};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called_as = arguments.next().unwrap_or_default();
    match wrapper::called(called_as, arguments.collect()) {
        Called::Compiler(call) => wrapper::run(&call).into(),
        Called::Ourselves(arguments) => wrapper::become_quicc(Path::new("/proc/self/exe"), &arguments).into(),
    }
}
