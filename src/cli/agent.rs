//! `quicc agent`: start, stop, look at, or be the agent.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use quicc_protocol::identifiers::ViewId;
use quicc_protocol::message::wrapper::{AgentQuestion, AgentStatus, Question, VERSION};
use tokio::signal::unix::{SignalKind, signal};

use super::report::Failure;
use super::{embedded, say};

use crate::agent::farm::{Farm, FarmAccess};
use crate::agent::service::{self, Service};
use crate::agent::status::Status;
use crate::agent::unit::Units;
use crate::config::env;
use crate::config::paths::Paths;
use crate::host::files::PathContext;
use crate::host::{process, task};
use crate::inputs::tree::Tree;
use crate::transport::Endpoint;
use crate::wrapper::channel;

/// An agent with an embedded farm ends when nobody asked for so long.
const IDLE: Duration = Duration::from_secs(300);
/// How long an agent may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// What an agent says on its standard output once it listens.
const READY: &str = "ready";

/// Where an agent logs.
pub(crate) fn log_file(paths: &Paths) -> PathBuf {
    paths.state.join("agent.log")
}

/// Asks a running agent.
pub(crate) fn query(paths: &Paths) -> Result<Status, Failure> {
    ask(paths, Question::Status)
}

fn ask(paths: &Paths, question: Question) -> Result<Status, Failure> {
    let mut stream = UnixStream::connect(&paths.socket)
        .map_err(|_| Failure::new("no agent is running").with_hint("quicc agent start"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    channel::send(
        &mut stream,
        &AgentQuestion {
            version: VERSION,
            question,
        },
    )?;
    let answer: Option<AgentStatus> = channel::receive(&mut stream)?.open()?;
    let answer = answer.ok_or_else(|| Failure::new("the agent answers in another version"))?;
    Ok(serde_json::from_str(&answer.json)?)
}

/// `quicc agent status`.
pub(crate) fn status() -> Result<u8, Failure> {
    let status = query(&Paths::from_environment()?)?;
    say(&serde_json::to_string_pretty(&status)?);
    Ok(0)
}

/// `quicc agent stop`.
pub(crate) fn stop() -> Result<u8, Failure> {
    let status = ask(&Paths::from_environment()?, Question::Stop)?;
    say(&format!(
        "agent {} ends once its running units are done",
        status.pid
    ));
    Ok(0)
}

/// `quicc agent start`: starts an agent that outlives us and holds nothing of ours.
pub(crate) fn start() -> Result<u8, Failure> {
    let paths = Paths::from_environment()?;
    if let Ok(status) = query(&paths) {
        say(&format!("agent {} is running", status.pid));
        return Ok(0);
    }
    let executable = std::fs::read_link("/proc/self/exe")?;
    let mut command = process::command(&executable, Path::new("/"));
    command.args(["agent", "serve", "--detach"]).envs(env::all());
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
        say(&format!("agent {} is running", child.id()));
        return Ok(0);
    }
    let _ = child.kill();
    let _ = child.wait();
    let log = log_file(&paths);
    Err(Failure::new("the agent did not start").with_hint(format!("see {}", log.display())))
}

/// `quicc agent serve`.
pub(crate) fn serve(detach: bool) -> Result<u8, Failure> {
    if detach {
        leave_caller()?;
    }
    let paths = Paths::from_environment()?;
    for directory in [Some(paths.state.as_path()), paths.socket.parent()]
        .into_iter()
        .flatten()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .context("create", directory)?;
    }
    let lock_path = paths.state.join("agent.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path);
    let lock = lock.context("open", &lock_path)?;
    // A draining predecessor keeps its lock until its last unit is done and has given up the socket before that.
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
    if lock.is_err() && UnixStream::connect(&paths.socket).is_ok() {
        return Err(Failure::new("an agent is running already"));
    }
    start_log(&paths, detach)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve_until_told(&paths, detach));
    // A blocking read of a file that never answers must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Makes this process a session of its own without any descriptor of the caller but the pipe on which it says
/// that it is ready: a build tool waits for the end of every pipe it gave to its children.
fn leave_caller() -> Result<(), Failure> {
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

fn start_log(paths: &Paths, to_file: bool) -> Result<(), Failure> {
    let filter = env::read(env::QUICC_LOG).and_then(|value| value.into_string().ok());
    let filter = tracing_subscriber::EnvFilter::new(filter.unwrap_or_else(|| "info".to_owned()));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    if to_file {
        let path = log_file(paths);
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        let file = Arc::new(file.context("open", &path)?);
        logger.with_writer(file).init();
    } else {
        logger.with_writer(std::io::stderr).init();
    }
    Ok(())
}

async fn serve_until_told(paths: &Paths, detach: bool) -> Result<u8, Failure> {
    let view = ViewId(random_bytes()?);
    let tree = Arc::new(Tree::new());
    let trials = paths.state.join("trials");
    std::fs::create_dir_all(&trials).context("create", &trials)?;
    let embedded = embedded::start(paths.cache.join("embedded")).await;
    let (farm, problem) = match embedded {
        Ok(farm) => (Some(farm), None),
        Err(problem) => {
            tracing::error!(problem, "no embedded farm");
            (None, Some(problem))
        }
    };
    let mut kept = Vec::new();
    let units = farm.map(|farm| {
        let embedded::EmbeddedFarm {
            access,
            endpoint,
            roles,
        } = farm;
        kept.push(roles);
        assemble(access, endpoint, view, &tree, &trials)
    });
    let driving = units
        .as_ref()
        .map(|units| task::spawn("farm", Arc::clone(&units.farm).drive()));
    let service = Service::new(units, "embedded".to_owned(), problem);
    let listener = service::bind(&paths.socket).context("bind", &paths.socket)?;
    say_ready(detach)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    service
        .serve(listener, paths.socket.clone(), Some(IDLE), told)
        .await;
    drop(driving);
    drop(kept);
    Ok(0)
}

fn assemble(
    access: FarmAccess,
    endpoint: Endpoint,
    view: ViewId,
    tree: &Arc<Tree>,
    trials: &Path,
) -> Arc<Units> {
    let farm = Farm::new(access, endpoint, view, Arc::clone(tree));
    Units::new(farm, Arc::clone(tree), trials.to_owned())
}

/// Says that the socket listens; a detached agent then lets go of the pipe.
fn say_ready(detach: bool) -> Result<(), Failure> {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{READY}").and_then(|()| output.flush());
    if detach {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null)?;
    }
    Ok(())
}

fn random_bytes() -> Result<[u8; 16], Failure> {
    use std::io::Read;
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
