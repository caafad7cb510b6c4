//! The socket: who may ask, one conversation per wrapper, local tokens, idleness and the end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::Flock;
use quicc_protocol::message::Message;
use quicc_protocol::message::wrapper::{
    AgentDrains, AgentQuestion, AgentStatus, CompileDone, CompileRequest, ExplainQuestion, Published,
    Question, RunLocally, StillWorking, VERSION,
};
use quicc_protocol::{codec, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

use super::history::{self, End, Explanation, Found, History, Notes, Record};
use super::link::Traffic;
use super::status::{BuilderUse, Status};
use super::unit::{Decision, Units};
use crate::compile::Cause;
use crate::config::paths::Paths;
use crate::host::clock;
use crate::host::files::create_private;
use crate::host::task::{self, Task};
use crate::host::timer;
use crate::transport::{Frame, FrameError, frame};

/// How often a waiting wrapper is told that its unit is worked on.
const STILL_WORKING: Duration = Duration::from_secs(2);
/// How long a wrapper may take to say what it wants, or that it has written its outputs.
const WRAPPER_PATIENCE: Duration = Duration::from_secs(60);
/// How long an ending agent lets running units finish.
const DRAIN: Duration = Duration::from_secs(600);
/// How long a local compile waits for a token; then it runs without one. A token is a courtesy to this machine, not
/// a lock: its holder may be waiting, through a pipe nobody here sees, for the one who wants it.
const TOKEN_WAIT: Duration = Duration::from_secs(5);
/// How often a local compiler's process is looked at.
const PROCESS_LOOK: Duration = Duration::from_millis(250);
/// Conversations at once; more wait in the socket's queue.
const CONVERSATIONS: usize = 4096;

/// Reasons not to serve a call that may be another user's.
const OTHER_USERS: [&str; 2] = [OTHER_USER, UNKNOWN_PROCESS];
const OTHER_USER: &str = "other-user";
const UNKNOWN_PROCESS: &str = "unknown-process";

/// The agent behind the socket.
#[derive(Debug)]
pub struct Service {
    units: Option<Arc<Units>>,
    farm_name: String,
    /// Why there is no farm at all.
    problem: Option<String>,
    tokens: Arc<Semaphore>,
    namespace: Namespace,
    counters: Mutex<Counters>,
    history: Mutex<History>,
    /// Seconds since the Unix epoch.
    started: u64,
    active: AtomicUsize,
    became_idle: Notify,
    stop: Notify,
    claim: Mutex<Option<SocketClaim>>,
}

#[derive(Debug, Default)]
struct Counters {
    remote: u64,
    local: BTreeMap<String, u64>,
    fallbacks: u64,
    bytes_up: u64,
    bytes_down: u64,
    remembered: u64,
    scanned: u64,
    dependencies: u64,
    repairs: u64,
    inputs_changed: u64,
}

impl Counters {
    fn add(&mut self, record: &Record) {
        self.bytes_up += record.bytes_up;
        self.bytes_down += record.bytes_down;
        match &record.reason {
            None => self.remote += 1,
            Some(reason) => {
                self.fallbacks += u64::from(record.fallback);
                match self.local.get_mut(reason) {
                    Some(count) => *count += 1,
                    None => drop(self.local.insert(reason.clone(), 1)),
                }
            }
        }
        match record.inputs.map(|inputs| inputs.found) {
            Some(Found::Remembered) => self.remembered += 1,
            Some(Found::Scanned) => self.scanned += 1,
            Some(Found::Dependencies) => self.dependencies += 1,
            None => {}
        }
        self.repairs += u64::from(record.repaired.is_some());
        self.inputs_changed += u64::from(record.inputs_changed);
    }
}

/// The files a process sees: its mount namespace and its root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Namespace {
    mounts: u64,
    root: (u64, u64),
}

impl Namespace {
    fn of(process: &str) -> Option<Self> {
        let mounts = std::fs::metadata(format!("/proc/{process}/ns/mnt")).ok()?.ino();
        let root = std::fs::metadata(format!("/proc/{process}/root")).ok()?;
        Some(Self {
            mounts,
            root: (root.dev(), root.ino()),
        })
    }
}

impl Service {
    /// An agent over `units`, or one without a farm for the reason `problem`.
    pub fn new(units: Option<Arc<Units>>, farm_name: String, problem: Option<String>) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
        Arc::new(Self {
            units,
            farm_name,
            problem,
            tokens: Arc::new(Semaphore::new(processors)),
            namespace: Namespace::of("self").unwrap_or(Namespace {
                mounts: 0,
                root: (0, 0),
            }),
            counters: Mutex::default(),
            history: Mutex::default(),
            started: clock::unix_seconds(),
            active: AtomicUsize::new(0),
            became_idle: Notify::new(),
            stop: Notify::new(),
            claim: Mutex::new(None),
        })
    }

    /// Serves until told to stop, until `shutdown` is ready, or until nobody asked for `idle`. The socket's file is
    /// removed before the last units finish, so that a new agent can take its place.
    pub async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        claim: SocketClaim,
        idle: Option<Duration>,
        shutdown: impl Future<Output = ()>,
    ) {
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim);
        tokio::pin!(shutdown);
        let mut conversations: Vec<Task<()>> = Vec::new();
        loop {
            conversations.retain(|task| !task.is_finished());
            tokio::select! {
                accepted = listener.accept(), if conversations.len() < CONVERSATIONS => match accepted {
                    Ok((stream, _)) => conversations.push(self.spawn_conversation(stream)),
                    // Out of descriptors, say: the pause lets some conversations end.
                    Err(_) => timer::sleep(Duration::from_millis(50)).await,
                },
                () = self.idle_for(idle) => break,
                () = self.stop.notified() => break,
                () = &mut shutdown => break,
                () = timer::sleep(Duration::from_secs(1)), if conversations.len() >= CONVERSATIONS => {}
            }
        }
        self.give_up_socket();
        conversations.extend(connected_already(listener).map(|stream| self.spawn_conversation(stream)));
        let finish = async {
            for conversation in conversations {
                let _ = conversation.await;
            }
        };
        let _ = timer::timeout(DRAIN, finish).await;
    }

    /// Lets another agent take this one's place.
    fn give_up_socket(&self) {
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts nothing more. The name is given up first: a wrapper looks for another agent as soon as it hears of it.
    fn retire(&self) {
        self.give_up_socket();
        self.stop.notify_one();
    }

    fn spawn_conversation(self: &Arc<Self>, stream: UnixStream) -> Task<()> {
        self.active.fetch_add(1, Ordering::Relaxed);
        let service = Arc::clone(self);
        task::spawn("wrapper", async move {
            if let Err(error) = service.converse(stream).await {
                tracing::debug!(error = crate::host::text::chain(&error), "a wrapper went away");
            }
            service.active.fetch_sub(1, Ordering::Relaxed);
            service.became_idle.notify_waiters();
        })
    }

    async fn idle_for(&self, idle: Option<Duration>) {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        loop {
            if self.active.load(Ordering::Relaxed) == 0 {
                return timer::sleep(idle).await;
            }
            let ended = self.became_idle.notified();
            let _ = timer::timeout(idle, ended).await;
        }
    }

    async fn converse(self: &Arc<Self>, stream: UnixStream) -> Result<(), FrameError> {
        let peer = stream.peer_cred().ok();
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let first = timer::timeout(
            WRAPPER_PATIENCE,
            frame::receive(&mut reader, limits::WRAPPER_PAYLOAD),
        );
        let Some(first) = first.await.ok_or(FrameError::CutShort)?? else {
            return Ok(());
        };
        if first.is::<AgentQuestion>() {
            return self.answer(&first.open()?, &mut writer).await;
        }
        if first.is::<CompileRequest>()
            && let Some(version) = claimed_version(&first.payload)
            && version != VERSION
        {
            self.retire();
            return frame::send(&mut writer, &AgentDrains { version: VERSION }).await;
        }
        if first.is::<ExplainQuestion>() {
            // Command lines are for the user who gave them.
            if peer.is_none_or(|peer| peer.uid() != nix::unistd::getuid().as_raw()) {
                return Ok(());
            }
            let asked: ExplainQuestion = first.open()?;
            let json = serde_json::to_string(&self.explain(asked.source).await).unwrap_or_default();
            return frame::send(&mut writer, &AgentStatus { json }).await;
        }
        let request: CompileRequest = first.open()?;
        let pid = peer.as_ref().and_then(tokio::net::unix::UCred::pid);
        let foreign = self.foreign_reason(peer.as_ref().map(|peer| (peer.uid(), peer.pid())));
        self.compile(Arc::new(request), (foreign, pid), reader, writer)
            .await
    }

    /// Why a wrapper's files are not this agent's: another user, mount namespace or root directory.
    fn foreign_reason(&self, peer: Option<(u32, Option<i32>)>) -> Option<&'static str> {
        let Some((uid, Some(pid))) = peer else {
            return Some(UNKNOWN_PROCESS);
        };
        if uid != nix::unistd::getuid().as_raw() {
            return Some(OTHER_USER);
        }
        (Namespace::of(&pid.to_string()) != Some(self.namespace)).then_some("other-mount-namespace")
    }

    /// What became of the last units of a source. It may be asked for by another name than compilers were: then the
    /// sources of the same name are looked at, whether one of them is the same file.
    async fn explain(self: &Arc<Self>, source: Vec<u8>) -> Explanation {
        let path = history::absolute(b"/", &source);
        let mut units = self.history().last_of(&path);
        if units.is_empty() {
            let service = Arc::clone(self);
            let asked = path.clone();
            let found = tokio::task::spawn_blocking(move || service.same_file(&asked)).await;
            let known = found.ok().flatten();
            units = known.map_or_else(Vec::new, |known| self.history().last_of(&known));
        }
        Explanation {
            file: String::from_utf8_lossy(&path).into_owned(),
            units,
            since: self.started,
        }
    }

    /// The name under which the file at `path` is remembered. Blocking.
    fn same_file(&self, path: &[u8]) -> Option<Box<[u8]>> {
        let real = |path: &[u8]| Path::new(OsStr::from_bytes(path)).canonicalize().ok();
        let asked = real(path)?;
        let mut namesakes = self.history().namesakes(path);
        namesakes.extend(self.history().namesakes(asked.as_os_str().as_bytes()));
        namesakes
            .into_iter()
            .find(|known| real(known).is_some_and(|known| known == asked))
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, asked: &AgentQuestion, writer: &mut OwnedWriteHalf) -> Result<(), FrameError> {
        if asked.question == Question::Stop {
            self.retire();
        }
        let json = serde_json::to_string(&self.status()).unwrap_or_default();
        frame::send(writer, &AgentStatus { json }).await
    }

    fn status(&self) -> Status {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let leases = self
            .units
            .as_ref()
            .map(|units| units.farm.leases())
            .unwrap_or_default();
        Status {
            software: crate::SOFTWARE.to_owned(),
            pid: std::process::id(),
            farm: self.farm_name.clone(),
            problem: self
                .problem
                .clone()
                .or_else(|| self.units.as_ref().and_then(|units| units.farm.problem())),
            builders: leases
                .into_iter()
                .map(|(name, slots, used)| BuilderUse { name, slots, used })
                .collect(),
            remote: counters.remote,
            local: counters.local.clone(),
            fallbacks: counters.fallbacks,
            bytes_up: counters.bytes_up,
            bytes_down: counters.bytes_down,
            table_records: self.units.as_ref().map_or(0, |units| units.farm.table_records()),
            started: self.started,
            remembered: counters.remembered,
            scanned: counters.scanned,
            dependencies: counters.dependencies,
            repairs: counters.repairs,
            inputs_changed: counters.inputs_changed,
            toolchains: self.units.as_ref().map_or((0, 0), |units| units.trust.counts()),
        }
    }

    async fn compile(
        self: &Arc<Self>,
        request: Arc<CompileRequest>,
        (foreign, pid): (Option<&'static str>, Option<i32>),
        mut reader: BufReader<OwnedReadHalf>,
        mut writer: OwnedWriteHalf,
    ) -> Result<(), FrameError> {
        let traffic = Arc::new(Traffic::default());
        let notes = Arc::new(Notes::default());
        let decide = async {
            match (foreign, &self.units) {
                (Some(reason), _) => Decision::Local {
                    reason: reason.into(),
                    fallback: false,
                },
                (None, None) => Decision::Local {
                    reason: "no-farm".into(),
                    fallback: true,
                },
                (None, Some(units)) => units.decide(Arc::clone(&request), &traffic, &notes).await,
            }
        };
        // The wrapper's end of the socket closes when it dies; then nobody wants the unit any more.
        let Some(decision) = while_wanted(decide, &mut reader, &mut writer).await? else {
            return Ok(());
        };
        self.count(&request, &decision, &traffic, &notes);
        let needs_token = !request.inside_local_compile && !is_cheap(&request.argv, &decision);
        let local = match decision {
            Decision::Done(done, bodies) => return hand_over(done, bodies, reader, writer).await,
            Decision::NotACompile => ("", false),
            Decision::Local { reason, fallback } => (reason.code, fallback),
        };
        let token = Arc::clone(&self.tokens);
        let wait = async {
            let token = timer::timeout(TOKEN_WAIT, token.acquire_owned());
            if needs_token {
                token.await.and_then(Result::ok)
            } else {
                None
            }
        };
        let Some(_token) = while_wanted(wait, &mut reader, &mut writer).await? else {
            return Ok(());
        };
        let (bytes_up, bytes_down) = traffic.totals();
        let (reason, fallback) = local;
        frame::send(
            &mut writer,
            &RunLocally {
                reason: reason.to_owned(),
                fallback,
                bytes_up,
                bytes_down,
            },
        )
        .await?;
        // The compiler inherits the socket and closes it by ending, unless something it left behind keeps it.
        let mut byte = [0; 1];
        tokio::select! {
            _ = reader.read(&mut byte) => {}
            () = process_ended(pid) => {}
        }
        Ok(())
    }

    /// Counts what became of a call, and remembers it.
    fn count(&self, request: &CompileRequest, decision: &Decision, traffic: &Traffic, notes: &Notes) {
        let end = match decision {
            Decision::NotACompile => return,
            Decision::Done(done, _) => End::Remote(done.exit),
            Decision::Local { reason, fallback } => End::Local {
                reason,
                fallback: *fallback,
            },
        };
        let record = history::record_of(request, notes, end, traffic.totals(), clock::unix_seconds());
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(&record.1);
        // What another user called is not for ours to see.
        let is_other = matches!(end, End::Local { reason, .. } if OTHER_USERS.contains(&reason.code));
        if !is_other {
            self.history().add(record);
        }
    }
}

/// Whether a call is little work here, or waits for its input more than it works: what reads a pipe, preprocesses, or
/// is no compile. Such calls stand at the two ends of pipelines; a token for one could keep the other from its own.
fn is_cheap(argv: &[Vec<u8>], decision: &Decision) -> bool {
    let causes = [Cause::StdinSource, Cause::SpecialFile, Cause::PreprocessOnly].map(Cause::code);
    let judged = match decision {
        Decision::NotACompile => true,
        Decision::Local { reason, .. } => causes.contains(&reason.code),
        Decision::Done(..) => false,
    };
    // Without a verdict (no farm, another's files) the command line must do.
    judged || argv.iter().any(|argument| argument == b"-" || argument == b"-E")
}

/// Wrappers that connected before the socket gave up its name and were not accepted yet: closing the listener would
/// cut them off.
fn connected_already(listener: UnixListener) -> impl Iterator<Item = UnixStream> {
    let listener = listener.into_std().ok();
    std::iter::from_fn(move || {
        // Does not block: the listener comes from a runtime.
        let (stream, _) = listener.as_ref()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    })
}

/// The version at the beginning of a request whose further fields another version may have changed.
fn claimed_version(payload: &[u8]) -> Option<u32> {
    // The lengths a varint of 32 bits may have.
    [1, 3, 5].into_iter().find_map(|length| {
        let number = payload.get(..length)?;
        codec::decode("a version", number, length).ok()
    })
}

/// Runs `work`, telling the wrapper now and then that it lives; `None` when the wrapper is gone.
async fn while_wanted<T>(
    work: impl Future<Output = T>,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> Result<Option<T>, FrameError> {
    tokio::pin!(work);
    let mut byte = [0; 1];
    loop {
        tokio::select! {
            value = &mut work => return Ok(Some(value)),
            _ = reader.read(&mut byte) => return Ok(None),
            () = timer::sleep(STILL_WORKING) => frame::send(writer, &StillWorking {}).await?,
        }
    }
}

async fn hand_over(
    done: CompileDone,
    bodies: Vec<Vec<u8>>,
    mut reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
) -> Result<(), FrameError> {
    // A small object goes with its message: the wrapper is woken once.
    let mut writer = BufWriter::new(writer);
    let broken = |source| FrameError::Broken { source };
    frame::send(&mut writer, &done).await?;
    for body in &bodies {
        writer.write_all(body).await.map_err(broken)?;
    }
    writer.flush().await.map_err(broken)?;
    let published = frame::receive(&mut reader, Published::LIMIT);
    let published = timer::timeout(WRAPPER_PATIENCE, published).await;
    if !published.is_some_and(is_complete) {
        // An unpublished unit becomes a local compile of the wrapper, which holds the socket until its end.
        let _ = reader.read(&mut [0; 1]).await;
    }
    Ok(())
}

/// Whether a wrapper says that it needs nobody any more.
fn is_complete(published: Result<Option<Frame>, FrameError>) -> bool {
    let published = published.ok().flatten().map(|frame| frame.open::<Published>());
    published.is_some_and(|published| published.is_ok_and(|published| published.complete))
}

/// Returns when a process has ended. Its number stays the same when it becomes the compiler.
async fn process_ended(pid: Option<i32>) {
    let Some(pid) = pid else {
        return std::future::pending().await;
    };
    let begun = start_of(pid);
    while begun.is_some() && start_of(pid) == begun {
        timer::sleep(PROCESS_LOOK).await;
    }
}

/// When a living process began, in the kernel's count; proc_pid_stat(5), field 22. `None` for one that has ended,
/// waited for or not.
fn start_of(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything but ends with the last parenthesis.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The right to a socket's name: the agent lock and the file bound. Dropping it gives both up.
#[derive(Debug)]
pub struct SocketClaim {
    path: PathBuf,
    /// The directory made for the socket alone.
    directory: Option<PathBuf>,
    inode: (u64, u64),
    _lock: Flock<File>,
}

impl SocketClaim {
    /// Binds the socket of `paths` for the agent that holds `lock`; a leftover of a killed agent is replaced.
    pub fn bind(paths: &Paths, lock: Flock<File>) -> std::io::Result<(UnixListener, Self)> {
        let path = &paths.socket;
        if let Some(directory) = paths.socket_directory() {
            create_private(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let data = std::fs::symlink_metadata(path)?;
        Ok((
            listener,
            Self {
                path: path.clone(),
                directory: paths.socket_directory().map(Path::to_owned),
                inode: (data.dev(), data.ino()),
                _lock: lock,
            },
        ))
    }
}

impl Drop for SocketClaim {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|data| (data.dev(), data.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
            // The lock is still held: no other agent has its socket there yet.
            if let Some(directory) = &self.directory {
                let _ = std::fs::remove_dir(directory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_of(own).is_some_and(|start| start > 0));
        assert_eq!(start_of(own), start_of(own));
        assert_eq!(start_of(i32::MAX), None);
    }

    #[test]
    fn a_unit_is_counted_by_what_became_of_it() {
        let mut counters = Counters::default();
        let begun_again = Record {
            inputs_changed: 2,
            bytes_up: 7,
            ..Record::default()
        };
        counters.add(&begun_again);
        for fallback in [false, true] {
            let local = Record {
                fallback,
                reason: Some("linking".to_owned()),
                repaired: Some(history::Repair::default()),
                ..Record::default()
            };
            counters.add(&local);
        }
        assert_eq!((counters.remote, counters.fallbacks), (1, 1));
        assert_eq!(counters.local, [("linking".to_owned(), 2)].into());
        assert_eq!(
            (counters.inputs_changed, counters.repairs, counters.bytes_up),
            (2, 2, 7)
        );
    }

    #[test]
    fn ends_of_pipelines_take_no_token() {
        let local = |reason: &'static str| Decision::Local {
            reason: reason.into(),
            fallback: false,
        };
        let check = |line: &str, decision, cheap| {
            let argv: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(is_cheap(&argv, &decision), cheap, "{line} {decision:?}");
        };
        check("gcc -c a.c", local("time-macros"), false);
        check("gcc -c a.c", local("no-farm"), false);
        check("gcc @arguments", local("stdin-source"), true);
        check("gcc @arguments", local("preprocess-only"), true);
        check("gcc -c /dev/fd/63", local("special-file"), true);
        check("gcc -xc -c -", local("no-farm"), true);
        check("gcc -E a.c", local("no-farm"), true);
        check("gcc a.o", Decision::NotACompile, true);
    }

    #[test]
    fn a_version_is_read_whatever_follows_it() {
        for version in [0, 1, 250, 251, 65_535, 65_536, u32::MAX] {
            let mut payload = codec::encode(&version);
            assert_eq!(claimed_version(&payload), Some(version));
            payload.extend([0xff; 9]);
            assert_eq!(claimed_version(&payload), Some(version));
        }
        assert_eq!(claimed_version(&[]), None);
        assert_eq!(claimed_version(&[252, 1]), None);
    }
}
