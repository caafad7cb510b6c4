//! The command line besides wrapping: the only code that prints or chooses an exit code.

pub mod agent;
mod certgen;
mod daemon;
mod embedded;
mod explain;
pub mod links;
pub mod run;

mod peer;
mod report;
mod serve;
mod stats;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Exit codes besides a wrapped command's own.
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;

/// Compiles C and C++ on other machines, byte for byte as the local compiler would.
#[derive(Debug, Parser)]
#[command(
    name = "quicc",
    version,
    after_help = "Any other first argument is a compiler: quicc gcc -c a.c -o a.o"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a build with its compilers wrapped
    Run {
        /// Write the counts as JSON to this file
        #[arg(long, value_name = "FILE")]
        summary: Option<PathBuf>,
        /// The build's command and its arguments
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        command: Vec<OsString>,
    },
    /// Tell what the agent did since it started
    Stats {
        /// As one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Tell what became of the last compiles of a source, and why
    Explain {
        /// As one JSON document
        #[arg(long)]
        json: bool,
        /// The source
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Start, stop or look at the agent of this user
    Agent {
        #[command(subcommand)]
        action: AgentAction,
    },
    /// Be the scheduler of a farm, in the foreground
    Scheduler {
        #[command(flatten)]
        options: serve::Options,
    },
    /// Be a builder of a farm, in the foreground
    #[command(alias = "server")]
    Builder {
        #[command(flatten)]
        options: serve::Options,
    },
    /// Make the certificates of a farm
    Certgen {
        #[command(subcommand)]
        action: certgen::Action,
    },
}

#[derive(Debug, Subcommand)]
enum AgentAction {
    /// Start it in the background unless it runs
    Start,
    /// End it once running units are done
    Stop,
    /// Print its state as JSON
    Status,
    /// Be the agent, in the foreground
    Serve {
        /// Detach from the terminal and the caller's descriptors
        #[arg(long, hide = true)]
        detach: bool,
    },
}

/// Runs a command line without the program's name and returns the exit code.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let full = std::iter::once(OsString::from("quicc")).chain(arguments);
    let arguments = match Arguments::try_parse_from(full) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    let result = match arguments.command {
        Command::Run { summary, command } => run::run(&command, summary.as_deref()),
        Command::Stats { json } => stats::stats(json),
        Command::Explain { json, file } => explain::explain(&file, json),
        Command::Scheduler { options } => serve::scheduler(&options),
        Command::Builder { options } => serve::builder(&options),
        Command::Certgen { action } => certgen::run(action),
        Command::Agent { action } => match action {
            AgentAction::Start => agent::start(),
            AgentAction::Stop => agent::stop(),
            AgentAction::Status => agent::status(),
            AgentAction::Serve { detach } => agent::serve(detach),
        },
    };
    result.unwrap_or_else(|failure| failure.print())
}

/// Writes a line of data; a closed standard output ends the matter silently.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line for people.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
