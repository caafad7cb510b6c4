//! `quicc agent`: start, stop, look at, or be the agent.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use quicc_certs::Role;
use quicc_protocol::identifiers::ViewId;
use quicc_protocol::message::Message;
use quicc_protocol::message::wrapper::{AgentQuestion, AgentStatus, Question, VERSION};

use super::report::Failure;
use super::{daemon, embedded, peer, say};
use crate::agent::farm::{Farm, FarmAccess};
use crate::agent::paths::Kept;
use crate::agent::service::{Service, SocketClaim};
use crate::agent::status::Status;
use crate::agent::unit::Units;
use crate::config::client::{self, ClientFile};
use crate::config::file::ConfigText;
use crate::config::paths::Paths;
use crate::host::files::PathContext;
use crate::host::task::{self, Task};
use crate::host::{text, timer};
use crate::inputs::tree::Tree;
use crate::transport::Endpoint;
use crate::wrapper::channel;
use crate::wrapper::socket::{self, ConnectError};

/// An agent with an embedded farm ends when nobody asked for so long.
const IDLE: Duration = Duration::from_secs(300);
/// How long a starting agent waits for one that has the lock and does not listen yet, and its pauses.
const CLAIM: Duration = Duration::from_secs(4);
const CLAIM_PAUSE: Duration = Duration::from_millis(20);
/// How long an agent may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// What an agent calls the farm it hosts itself.
const EMBEDDED: &str = "embedded";

/// Where an agent logs.
pub(crate) fn log_file(paths: &Paths) -> PathBuf {
    paths.state.join("agent.log")
}

/// Asks a running agent.
pub(crate) fn query(paths: &Paths) -> Result<Status, Failure> {
    ask(paths, Question::Status)
}

fn ask(paths: &Paths, question: Question) -> Result<Status, Failure> {
    let asked = AgentQuestion {
        version: VERSION,
        question,
    };
    Ok(serde_json::from_str(&document(paths, &asked)?)?)
}

/// The document with which a running agent answers `question`.
pub(super) fn document<M: Message>(paths: &Paths, question: &M) -> Result<String, Failure> {
    let mut stream = socket::connect(paths).map_err(|error| match error {
        ConnectError::Absent => Failure::new("no agent is running").with_hint("quicc agent start"),
        other => Failure::new(other.to_string()).with_hint(paths.socket.display().to_string()),
    })?;
    stream.set_read_timeout(Some(ANSWER))?;
    channel::send(&mut stream, question)?;
    let answer: Option<AgentStatus> = channel::receive(&mut stream)?.open()?;
    let answer = answer.ok_or_else(|| Failure::new("the agent answers in another version"))?;
    Ok(answer.json)
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
    let arguments = ["agent", "serve", "--detach"].map(OsStr::new);
    if let Some(pid) = daemon::spawn(&arguments)? {
        say(&format!("agent {pid} is running"));
        return Ok(0);
    }
    // Somebody else may have been quicker.
    if let Ok(status) = query(&paths) {
        say(&format!("agent {} is running", status.pid));
        return Ok(0);
    }
    let log = log_file(&paths);
    Err(Failure::new("the agent did not start").with_hint(format!("see {}", log.display())))
}

/// `quicc agent serve`.
pub(crate) fn serve(detach: bool) -> Result<u8, Failure> {
    if detach {
        daemon::leave_caller()?;
    }
    let paths = Paths::from_environment()?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.state)
        .context("create", &paths.state)?;
    // Held until the process ends, by any number of draining agents: who waits for their end waits for it.
    let running = Flock::lock(open_lock(&paths, "agent.running")?, FlockArg::LockSharedNonblock);
    // The kernel gives it back at the very end.
    std::mem::forget(running);
    let lock = claim(&paths)?;
    let log = log_file(&paths);
    daemon::start_log(detach.then_some(&log).map(PathBuf::as_path))?;
    let file = ConfigText::read_optional(&paths.config_file).and_then(|text| ClientFile::parse(&text));
    let file = file.map_err(|error| text::chain(&error));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(&file, Ok(ClientFile { farm: Some(_), .. })) {
        // What takes an agent long runs on blocking threads; to pass its messages from thread to thread, and what it
        // does at once for a unit, would cost more than they do. An embedded farm has a builder's work as well.
        builder.worker_threads(1);
    }
    let timers = timer::install(&mut builder).map_or_else(without_timers, Some);
    let runtime = builder.enable_all().build()?;
    // Not on this thread: each wrapper would wake it, for nothing but to have a worker woken in turn.
    let serving = async {
        let timers = timers.and_then(|timers| timers.start().map_or_else(without_timers, Some));
        let _timers = timers.map(|timers| task::spawn("timers", timers.run()));
        task::spawn("agent", serve_until_told(paths, file, lock, detach)).await
    };
    let result = runtime.block_on(serving);
    let result = result.unwrap_or_else(|broken| {
        tracing::error!(%broken, "the agent broke");
        Err(Failure::new("the agent broke").with_hint(format!("see {}", log.display())))
    });
    // A blocking read of a file that never answers must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// An agent does without timers of its own.
fn without_timers<T>(error: std::io::Error) -> Option<T> {
    tracing::warn!(%error, "the kernel gives no timer: an idle agent wakes more often");
    None
}

fn open_lock(paths: &Paths, name: &str) -> Result<File, Failure> {
    let path = paths.state.join(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    Ok(file.context("open", &path)?)
}

/// The right to be the agent. A retiring agent gives it up together with its socket, so whoever cannot have it waits
/// for an agent to listen or to be gone.
fn claim(paths: &Paths) -> Result<Flock<File>, Failure> {
    let mut file = open_lock(paths, "agent.lock")?;
    let until = Instant::now() + CLAIM;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, _)) => file,
        };
        if socket::connect(paths).is_ok() || Instant::now() >= until {
            return Err(Failure::new("an agent is running already"));
        }
        std::thread::sleep(CLAIM_PAUSE);
    }
}

async fn serve_until_told(
    paths: Paths,
    file: Result<ClientFile, String>,
    lock: Flock<File>,
    detach: bool,
) -> Result<u8, Failure> {
    let view = ViewId(random_bytes()?);
    let tree = Arc::new(Tree::watching());
    let trials = paths.state.join("trials");
    std::fs::create_dir_all(&trials).context("create", &trials)?;
    let (farm, farm_name, problem) = reach_farm(&paths, file).await;
    let idle = (farm_name == EMBEDDED).then_some(IDLE);
    let mut kept = None;
    // The path to an embedded farm is no path.
    let known = idle.is_none().then(|| Kept::open(paths.state.join("paths.json")));
    let units = farm.map(|reached| {
        kept = reached.embedded;
        let paths = known.as_ref().map(Kept::paths).unwrap_or_default();
        let endpoint = reached.endpoint.with_paths(paths);
        let farm = Farm::new(reached.access, endpoint, view, Arc::clone(&tree));
        Units::new(farm, Arc::clone(&tree), trials.clone())
    });
    let driving = units
        .as_ref()
        .map(|units| task::spawn("farm", Arc::clone(&units.farm).drive()));
    let distant = units.as_ref().filter(|_| idle.is_none());
    let distant = distant.map(|units| Arc::clone(&units.farm));
    let service = Service::new(units, farm_name, problem);
    let (listener, socket) = SocketClaim::bind(&paths, lock).context("bind", &paths.socket)?;
    daemon::say_ready(detach)?;
    service.serve(listener, socket, idle, daemon::told_to_end()).await;
    if let Some(farm) = distant {
        farm.leave().await;
    }
    drop(driving);
    drop(kept);
    if let Some(known) = known {
        known.close();
    }
    Ok(0)
}

/// A farm to use, and the roles to keep if it is our own.
struct Reached {
    access: FarmAccess,
    endpoint: Endpoint,
    embedded: Option<[Task<()>; 2]>,
}

/// The configured farm, or an embedded one. A farm that cannot be used is a problem to tell, never a reason not to
/// serve: wrappers then compile here.
async fn reach_farm(
    paths: &Paths,
    file: Result<ClientFile, String>,
) -> (Option<Reached>, String, Option<String>) {
    let (name, result) = match file {
        Err(problem) => ("configured".to_owned(), Err(problem)),
        Ok(ClientFile { farm: Some(farm), .. }) => (farm.scheduler.to_string(), configured(&farm)),
        Ok(ClientFile {
            farm: None,
            cache_dir,
            ..
        }) => {
            let cache = cache_dir.unwrap_or_else(|| paths.cache.join("embedded"));
            let started = embedded::start(cache).await.map(|farm| {
                let embedded::EmbeddedFarm {
                    access,
                    endpoint,
                    roles,
                } = farm;
                Reached {
                    access,
                    endpoint,
                    embedded: Some(roles),
                }
            });
            (EMBEDDED.to_owned(), started)
        }
    };
    match result {
        Ok(reached) => (Some(reached), name, None),
        Err(problem) => {
            tracing::error!(problem, "no farm");
            (None, name, Some(problem))
        }
    }
}

fn configured(farm: &client::FarmAccess) -> Result<Reached, String> {
    let credentials = peer::load(
        &farm.certificates,
        Role::Client,
        farm.cluster.as_ref(),
        farm.name.as_ref(),
    )
    .map_err(|failure| failure.to_string())?;
    let endpoint = peer::endpoint(&credentials, None).map_err(|failure| failure.to_string())?;
    let access = FarmAccess {
        scheduler: farm.scheduler.to_string(),
        cluster: credentials.own.identity().cluster.clone(),
        scheduler_name: farm.scheduler_name.clone(),
        machine: std::env::consts::ARCH.to_owned(),
    };
    Ok(Reached {
        access,
        endpoint,
        embedded: None,
    })
}

fn random_bytes() -> Result<[u8; 16], Failure> {
    use std::io::Read;
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
