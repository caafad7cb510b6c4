//! `quicc`: a wrapper when called like a compiler, a stage of the sandbox when started by a builder, otherwise a
//! command with subcommands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use quicc::wrapper::{self, Call};
use quicc::{cli, sandbox};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called_as = arguments.next().unwrap_or_default();
    let mut rest: Vec<_> = arguments.collect();
    let own_name = Path::new(&called_as)
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"quicc"));
    if own_name {
        skip_repeated(&mut rest);
    }
    if !own_name && !is_reexecuted(&called_as) {
        return wrapper::run(&Call {
            name: called_as,
            arguments: rest,
        })
        .into();
    }
    match rest.split_first() {
        Some((first, _)) if first == sandbox::INIT_COMMAND => sandbox::init_main(),
        Some((first, _)) if first == sandbox::SUPERVISE_COMMAND => sandbox::supervise_main(),
        Some((first, arguments)) if own_name && !is_command(first) => wrapper::run(&Call {
            name: first.clone(),
            arguments: arguments.to_vec(),
        })
        .into(),
        _ => cli::run(rest).into(),
    }
}

/// Drops further mentions of quicc: a launcher set by `quicc run` may meet a compiler spelled `quicc gcc`.
fn skip_repeated(arguments: &mut Vec<OsString>) {
    let is_quicc = |word: &OsString| Path::new(word).file_name() == Some(OsStr::new("quicc"));
    let repeated = arguments.iter().take_while(|word| is_quicc(word)).count();
    arguments.drain(..repeated);
}

/// Whether we were started as `/proc/self/exe`, the way a program starts itself again.
fn is_reexecuted(called_as: &OsStr) -> bool {
    called_as == "/proc/self/exe"
}

/// Whether the first argument is ours rather than a compiler's name.
fn is_command(argument: &OsStr) -> bool {
    argument.as_bytes().starts_with(b"-")
        || argument
            .to_str()
            .is_some_and(|word| cli::COMMANDS.contains(&word))
}
