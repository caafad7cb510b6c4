//! By which name we were called, and so what is wanted: a compiler, or quicc itself.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use super::Call;
use crate::host::process;

/// The program beside which the wrapper is installed.
const QUICC: &str = "quicc";
/// Exit code of a shell for a program that cannot be run.
const CANNOT_RUN: u8 = 126;

/// First arguments of quicc that are commands; anything else is a compiler to wrap.
const COMMANDS: [&str; 11] = [
    "run",
    "stats",
    "explain",
    "agent",
    "scheduler",
    "builder",
    "server",
    "certgen",
    "help",
    "sandbox-init",
    "sandbox-supervise",
];

/// Asks a `quicc-wrapper` which it is.
pub const WHICH: &str = "--which-wrapper";

/// What agent and wrapper must have in common, as `quicc-wrapper` answers [`WHICH`].
pub fn which() -> String {
    format!(
        "{} wrapper {}",
        crate::SOFTWARE,
        quicc_protocol::message::wrapper::VERSION
    )
}

/// What a call wants.
#[derive(Debug)]
pub enum Called {
    /// A compiler: its name is ours, or the first word after it.
    Compiler(Call),
    /// Quicc, with these arguments.
    Ourselves(Vec<OsString>),
}

/// Judges a call by its name. Further mentions of quicc are dropped: a launcher set by `quicc run` may meet a compiler
/// spelled `quicc gcc`.
pub fn called(name: OsString, mut arguments: Vec<OsString>) -> Called {
    if !is_quicc(&name) {
        return Called::Compiler(Call { name, arguments });
    }
    let repeated = arguments.iter().take_while(|word| is_program(word)).count();
    arguments.drain(..repeated);
    if arguments.first().is_none_or(|first| is_command(first)) {
        return Called::Ourselves(arguments);
    }
    let name = arguments.remove(0);
    Called::Compiler(Call { name, arguments })
}

/// Whether the first argument is ours rather than a compiler's name.
fn is_command(argument: &OsStr) -> bool {
    argument.as_bytes().starts_with(b"-") || argument.to_str().is_some_and(|word| COMMANDS.contains(&word))
}

fn is_quicc(name: &OsStr) -> bool {
    Path::new(name)
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(QUICC.as_bytes()))
}

fn is_program(word: &OsStr) -> bool {
    let name = Path::new(word).file_name();
    name == Some(OsStr::new(QUICC)) || name == Some(OsStr::new("quicc-wrapper"))
}

/// Becomes quicc with `arguments`. Returns an exit code where that is not possible. `own` leads to our executable.
pub fn become_quicc(own: &Path, arguments: &[OsString]) -> u8 {
    if arguments == [WHICH] {
        let _ = writeln!(std::io::stdout(), "{}", which());
        return 0;
    }
    let Some(program) = quicc_beside(own) else {
        let _ = writeln!(
            std::io::stderr(),
            "quicc: no program of this name beside quicc-wrapper"
        );
        return CANNOT_RUN;
    };
    let mut command = process::command_here(&program);
    command.args(arguments).envs(crate::config::env::all());
    let error = command.exec();
    let _ = writeln!(
        std::io::stderr(),
        "quicc: cannot run {}: {error}",
        program.display()
    );
    CANNOT_RUN
}

/// The executable of quicc, for ours at `own`: ours or the one beside it.
pub(super) fn quicc_beside(own: &Path) -> Option<PathBuf> {
    let own = std::fs::read_link(own).ok()?;
    if own.file_name() != Some(OsStr::new("quicc-wrapper")) {
        return Some(own);
    }
    let beside = own.with_file_name(QUICC);
    beside.is_file().then_some(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_wanted() {
        let check = |words: &str, compiler: Option<&str>, rest: &str| {
            let mut words = words.split(' ').map(OsString::from);
            let (name, found) = match called(words.next().unwrap(), words.collect()) {
                Called::Compiler(Call { name, arguments }) => (Some(name), arguments),
                Called::Ourselves(arguments) => (None, arguments),
            };
            assert_eq!(name.as_deref(), compiler.map(OsStr::new));
            let rest: Vec<_> = rest.split_whitespace().map(OsString::from).collect();
            assert_eq!(found, rest);
        };
        check("gcc -c a.c", Some("gcc"), "-c a.c");
        check("/links/clang++-14 -v", Some("/links/clang++-14"), "-v");
        check("quicc run -- make", None, "run -- make");
        check("quicc stats --json", None, "stats --json");
        check("quicc explain a.c", None, "explain a.c");
        check("quicc --version", None, "--version");
        check("quicc", None, "");
        check("/bin/quicc-wrapper gcc -c a.c", Some("gcc"), "-c a.c");
        check(
            "quicc-wrapper /x/quicc quicc ./mycc quicc",
            Some("./mycc"),
            "quicc",
        );
    }
}
