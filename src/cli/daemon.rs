//! Processes that outlive their caller: started detached, holding none of its descriptors, saying once that they
//! are ready.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use super::report::Failure;
use crate::config::env;
use crate::host::files::PathContext;
use crate::host::process;

/// What a role says on its standard output once it can be used.
const READY: &str = "ready";

/// Runs this executable with `arguments`, detached, and waits until it is ready. Gives its process id; `None` when
/// it ended instead.
pub(crate) fn spawn(arguments: &[&OsStr]) -> Result<Option<u32>, Failure> {
    let executable = std::fs::read_link("/proc/self/exe")?;
    let mut command = process::command(&executable, Path::new("/"));
    command.args(arguments).envs(env::all());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().context("start", &executable)?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(Some(child.id()));
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(None)
}

/// Makes this process a session of its own without any descriptor of the caller but the pipe on which it says that
/// it is ready: a build tool waits for the end of every pipe it gave to its children.
pub(crate) fn leave_caller() -> Result<(), Failure> {
    nix::unistd::setsid()?;
    std::env::set_current_dir("/")?;
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The descriptor of the listing itself is among them and closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// Says that the role can be used; a detached one then lets go of the caller's pipe.
pub(crate) fn say_ready(detached: bool) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{READY}").and_then(|()| output.flush());
    if detached {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null)?;
    }
    Ok(())
}

/// Logs to `file`, or to standard error without one, as `QUICC_LOG` says.
pub(crate) fn start_log(file: Option<&Path>) -> Result<(), Failure> {
    let filter = env::read(env::QUICC_LOG).and_then(|value| value.into_string().ok());
    let filter = tracing_subscriber::EnvFilter::new(filter.unwrap_or_else(|| "info".to_owned()));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match file {
        Some(path) => {
            let file = File::options()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(path);
            logger.with_writer(Arc::new(file.context("open", path)?)).init();
        }
        None => logger.with_writer(std::io::stderr).init(),
    }
    Ok(())
}

/// Returns when this process is asked to end.
pub(crate) async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
