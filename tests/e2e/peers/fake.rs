//! A scheduler and a builder inside the test that keep the protocol exactly as long as a test wants them to, and a
//! real agent's core that uses them.

use std::ffi::{OsStr, OsString};
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use quicc::agent::farm::{Farm, FarmAccess};
use quicc::agent::link::Traffic;
use quicc::agent::unit::{Decision, Units};
use quicc::host::clock;
use quicc::inputs::tree::Tree;
use quicc::transport::{Endpoint, Peer, ResetSecret, frame};
use quicc_certs::{Credentials, EphemeralFarm, ephemeral_farm};
use quicc_protocol::identifiers::{LeaseId, ViewId};
use quicc_protocol::message::Message;
use quicc_protocol::message::lease::{LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::LeaseEnd;
use quicc_protocol::message::run::{After, Exit, Outcome, RunRequest, SCRATCH_NAME, StandardStreams, Usage};
use quicc_protocol::message::wrapper::{CompileRequest, ResourceLimits, VERSION};
use quicc_protocol::version::{ALPN, Hello};
use quicc_protocol::{close, limits};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, RecvStream, Runtime, SendStream, TokioRuntime, UdpPoller, VarInt};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::task::JoinSet;

/// What a fake builder does instead of answering an action.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Says this and ends the stream.
    Say(Vec<u8>),
    /// Says this for ever.
    Repeat(Vec<u8>),
    /// Resets the stream.
    Reset,
    /// Closes the connection.
    Disconnect,
    /// No packet of it arrives any more.
    FallSilent,
    /// Keeps the connection alive and never answers.
    Hang,
    /// Says this once as many units were answered.
    SayAfter(usize, Vec<u8>),
    /// Compiles once as many units were answered.
    CompileAfter(usize),
    /// Compiles, only then counts as reached, and says what came of it once [`Scene::release`] is called.
    CompileAndHold,
    /// Does honestly what it is told, as a machine with the first processor of its architecture.
    CompileOnOldProcessor,
}

/// Which action of a connection is not answered as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The agent's own trial of the toolchain.
    Trial,
    /// The unit.
    Unit,
}

/// What a fake scheduler says to a demand: frames, given the address of the fake builder.
pub(super) type Grants = fn(builder: SocketAddr) -> Vec<u8>;

/// The scheduler's and the builder's part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) grants: Grants,
    pub(super) stage: Stage,
    pub(super) reply: Reply,
}

/// The builder's name in every fake farm.
pub(super) const BUILDER: &str = "fake";

/// A usable grant.
pub(super) fn grant(builder: SocketAddr) -> LeaseGrant {
    LeaseGrant {
        lease: 7,
        builder: BUILDER.to_owned(),
        endpoint: builder.to_string(),
        slots: 2,
        valid_for: 60,
        ticket: "ticket".to_owned(),
        extensions: Vec::new(),
    }
}

/// An outcome and its bodies as they travel; `change` may make it lie.
pub(super) fn outcome(object: &[u8], change: impl FnOnce(&mut Outcome)) -> Vec<u8> {
    outcome_saying(b"", object, change)
}

/// The same with words on standard error.
pub(super) fn outcome_saying(stderr: &[u8], object: &[u8], change: impl FnOnce(&mut Outcome)) -> Vec<u8> {
    let packed = [&b""[..], stderr, object].map(frame::pack);
    let mut outcome = Outcome {
        exit: Exit::Code(0),
        outputs: vec![After::Written { executable: false }],
        bodies: packed.iter().map(|(body, _)| *body).collect(),
        unexpected: Vec::new(),
        mirror_changed: false,
        usage: Usage::default(),
        extensions: Vec::new(),
    };
    change(&mut outcome);
    let mut bytes = outcome.to_frame();
    packed.iter().for_each(|(_, wire)| bytes.extend(wire.iter()));
    bytes
}

pub(super) fn certificates() -> EphemeralFarm {
    let day = Duration::from_secs(86_400);
    ephemeral_farm(&BUILDER.parse().unwrap(), day, clock::unix_seconds()).unwrap()
}

pub(super) fn endpoint(farm: &EphemeralFarm, own: &Credentials) -> Endpoint {
    let server = quicc_certs::server_config(&farm.ca, own, &[ALPN]).unwrap();
    let client = quicc_certs::client_config(&farm.ca, own, &[ALPN]).unwrap();
    Endpoint::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        Some(server),
        client,
        ResetSecret::of(own),
    )
    .unwrap()
}

/// An endpoint of another process that has taken the place of the one at `address`, as its peers see it, and where it
/// is.
pub(super) fn successor(
    farm: &EphemeralFarm,
    own: &Credentials,
    address: SocketAddr,
) -> (Endpoint, SocketAddr) {
    let server = quicc_certs::server_config(&farm.ca, own, &[ALPN]).unwrap();
    let client = quicc_certs::client_config(&farm.ca, own, &[ALPN]).unwrap();
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    let socket = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let socket = Arc::new(Seen { socket, address });
    (
        Endpoint::over(socket, Some(server), client, ResetSecret::of(own)).unwrap(),
        at,
    )
}

/// A socket behind a relay, with the address that those before the relay know.
#[derive(Debug)]
struct Seen {
    socket: Arc<dyn AsyncUdpSocket>,
    address: SocketAddr,
}

impl AsyncUdpSocket for Seen {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> std::io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<std::io::Result<usize>> {
        self.socket.poll_recv(context, buffers, metas)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// An agent's core, its fake farm, and one source to compile. Everything ends when it is dropped.
pub(super) struct Scene {
    pub(super) units: Arc<Units>,
    request: Arc<CompileRequest>,
    scratch: tempfile::TempDir,
    /// Demands for slots that the scheduler answered.
    pub(super) asked: mpsc::UnboundedReceiver<()>,
    /// Leases that the agent gave back.
    pub(super) returned: mpsc::UnboundedReceiver<LeaseId>,
    /// Streams of actions that the client gave up.
    pub(super) given_up: mpsc::UnboundedReceiver<()>,
    /// Actions that came to the stage of the misdeed.
    pub(super) reached: mpsc::UnboundedReceiver<()>,
    actions: Arc<Actions>,
    /// What the scheduler says unasked, to everybody.
    said: broadcast::Sender<Vec<u8>>,
    tasks: JoinSet<()>,
}

pub(super) const SOURCE: &str = "int f(void) { return 7; }\n";

impl Scene {
    /// With the right certificates.
    pub(super) async fn new(part: Part) -> Self {
        Self::over(part, Tree::new()).await
    }

    /// With the right certificates, and the client's files known by `tree`.
    pub(super) async fn over(part: Part, tree: Tree) -> Self {
        let farm = certificates();
        let (scheduler, builder) = (endpoint(&farm, &farm.scheduler), endpoint(&farm, &farm.builder));
        Self::assemble(part, tree, &farm, scheduler, builder).await
    }

    /// With these endpoints in the place of scheduler and builder.
    pub(super) async fn of(part: Part, farm: &EphemeralFarm, scheduler: Endpoint, builder: Endpoint) -> Self {
        Self::assemble(part, Tree::new(), farm, scheduler, builder).await
    }

    async fn assemble(
        part: Part,
        tree: Tree,
        farm: &EphemeralFarm,
        scheduler: Endpoint,
        builder: Endpoint,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let relay = Relay::start(builder.local_address().unwrap(), &mut tasks).await;
        let client = endpoint(farm, &farm.client);
        let identity = farm.scheduler.identity();
        let access = FarmAccess {
            scheduler: scheduler.local_address().unwrap().to_string(),
            cluster: identity.cluster.clone(),
            scheduler_name: identity.name.clone(),
            machine: std::env::consts::ARCH.to_owned(),
        };
        let tree = Arc::new(tree);
        let agent = Farm::new(access, client, ViewId([1; 16]), Arc::clone(&tree));
        tasks.spawn(Arc::clone(&agent).drive());
        let (told_asked, asked) = mpsc::unbounded_channel();
        let (told_returned, returned) = mpsc::unbounded_channel();
        let said = broadcast::channel(16).0;
        tasks.spawn(schedule(
            scheduler,
            part.grants,
            relay.address,
            (told_asked, told_returned),
            said.clone(),
        ));
        let (told_given_up, given_up) = mpsc::unbounded_channel();
        let (told_reached, reached) = mpsc::unbounded_channel();
        let actions = Arc::new(Actions {
            part,
            relay,
            given_up: told_given_up,
            reached: told_reached,
            answered: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        tasks.spawn(build(builder, Arc::clone(&actions)));
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(directory.join("trials")).unwrap();
        std::fs::write(directory.join("a.c"), SOURCE).unwrap();
        Self {
            units: Units::new(agent, tree, directory.join("trials")),
            request: Arc::new(request(&directory)),
            scratch,
            asked,
            returned,
            given_up,
            reached,
            actions,
            said,
            tasks,
        }
    }

    /// Another process takes the builder's place without a word; then the scheduler says what `frames` makes of the
    /// builder's address.
    pub(super) fn restart_builder(
        &mut self,
        (endpoint, at): (Endpoint, SocketAddr),
        frames: impl FnOnce(SocketAddr) -> Vec<u8>,
    ) {
        let relay = &self.actions.relay;
        *relay.builder.lock().unwrap() = at;
        self.said.send(frames(relay.address)).unwrap();
        self.tasks.spawn(build(endpoint, Arc::clone(&self.actions)));
    }

    /// Waits until the farm grants a slot: on a loaded machine a unit is not kept waiting for so long.
    pub(super) async fn granted(&self) {
        while self.units.farm.acquire().await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// What becomes of the unit.
    pub(super) async fn decide(&self) -> Decision {
        let traffic = Arc::new(Traffic::default());
        self.units
            .decide(Arc::clone(&self.request), &traffic, &Arc::default())
            .await
    }

    /// The unit.
    pub(super) fn request(&self) -> Arc<CompileRequest> {
        Arc::clone(&self.request)
    }

    /// From here on the unit is `source`, compiled by `compiler` with `flags`.
    pub(super) fn compile(&mut self, compiler: &str, flags: &[&str], source: &str) {
        std::fs::write(self.scratch.path().join("a.c"), source).unwrap();
        let request = Arc::make_mut(&mut self.request);
        request.compiler = format!("/usr/bin/{compiler}").into_bytes();
        let argv = [&[compiler, "-c", "a.c", "-o", "a.o"], flags].concat();
        request.argv = argv.iter().map(|word| word.as_bytes().to_vec()).collect();
    }

    /// The object as the compiler here makes it.
    pub(super) fn local_object(&self) -> Vec<u8> {
        let (status, _, object) = run(&self.request.compiler, &self.request.argv, self.scratch.path());
        assert!(status.unwrap().success());
        object.unwrap()
    }

    /// Where the source is.
    pub(super) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Lets one answer go that is held.
    pub(super) fn release(&self) {
        self.actions.released.add_permits(1);
    }
}

fn request(directory: &Path) -> CompileRequest {
    CompileRequest {
        version: VERSION,
        compiler: b"/usr/bin/gcc".to_vec(),
        argv: ["gcc", "-c", "a.c", "-o", "a.o"]
            .map(|word| word.as_bytes().to_vec())
            .to_vec(),
        cwd: directory.as_os_str().as_bytes().to_vec(),
        env: vec![(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())],
        umask: 0o022,
        streams: StandardStreams::default(),
        mount_namespace: 0,
        inside_local_compile: false,
        resource_limits: ResourceLimits::default(),
    }
}

/// Runs a compile here: how it ended, what it said and what it wrote behind `-o`. `None` instead of a status once
/// `directory` is gone.
fn run(program: &[u8], argv: &[Vec<u8>], directory: &Path) -> (Option<ExitStatus>, Vec<u8>, Option<Vec<u8>>) {
    // Not where the client may be writing the same.
    let scratch = tempfile::tempdir().unwrap();
    let object = scratch.path().join("object.o");
    let mut argv = argv.to_vec();
    let behind = argv.iter().position(|word| word == b"-o").unwrap();
    argv[behind + 1] = object.as_os_str().as_bytes().to_vec();
    let arguments = argv[1..].iter().map(|word| OsStr::from_bytes(word));
    let output = Command::new(OsStr::from_bytes(program))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(directory)
        .output();
    match output {
        Ok(output) => (Some(output.status), output.stderr, std::fs::read(&object).ok()),
        Err(_) => (None, Vec::new(), None),
    }
}

/// Runs the steps of an action where `native` stands for a processor without any extension, and gives the object.
fn run_on_old_processor(request: &RunRequest) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let in_root = format!("/{}", String::from_utf8_lossy(SCRATCH_NAME));
    for step in &request.steps {
        let words = step.argv.iter().map(|word| {
            let word = std::str::from_utf8(word).unwrap();
            word.replace(&in_root, scratch.path().to_str().unwrap())
                .replace("=native", "=x86-64")
        });
        let words: Vec<_> = words.collect();
        let variables = request
            .env
            .iter()
            .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value)));
        let status = Command::new(OsStr::from_bytes(&step.program))
            .arg0(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(variables)
            .current_dir(OsStr::from_bytes(&request.cwd))
            .status();
        assert!(status.unwrap().success(), "{words:?}");
    }
    let path = Path::new(OsStr::from_bytes(&request.cwd)).join("a.o");
    let object = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    object
}

async fn schedule(
    endpoint: Endpoint,
    grants: Grants,
    builder: SocketAddr,
    (asked, returned): (mpsc::UnboundedSender<()>, mpsc::UnboundedSender<LeaseId>),
    said: broadcast::Sender<Vec<u8>>,
) {
    let mut peers = JoinSet::new();
    while let Some(arriving) = endpoint.accept().await {
        let (asked, returned, mut said) = (asked.clone(), returned.clone(), said.subscribe());
        peers.spawn(async move {
            let Ok(mut peer) = arriving.finish(&Hello::ours(1, "fake scheduler")).await else {
                return;
            };
            let (demanded, mut demands) = mpsc::unbounded_channel();
            let hear = async {
                while let Ok(Some(frame)) =
                    frame::receive(&mut peer.control.receive, limits::CONTROL_PAYLOAD).await
                {
                    if frame.is::<LeaseEnd>() {
                        let _ = returned.send(frame.open::<LeaseEnd>().unwrap().lease);
                    } else if frame.is::<LeaseDemand>() && frame.open::<LeaseDemand>().unwrap().slots > 0 {
                        demanded.send(()).unwrap();
                    }
                }
            };
            let speak = async {
                loop {
                    let (frames, is_answer) = tokio::select! {
                        Some(()) = demands.recv() => (grants(builder), true),
                        Ok(frames) = said.recv() => (frames, false),
                        else => return,
                    };
                    if peer.control.send.write_all(&frames).await.is_err() {
                        return;
                    }
                    if is_answer {
                        let _ = asked.send(());
                    }
                }
            };
            tokio::select! {
                () = hear => {}
                () = speak => {}
            }
        });
    }
}

#[derive(Debug)]
struct Actions {
    part: Part,
    relay: Relay,
    given_up: mpsc::UnboundedSender<()>,
    reached: mpsc::UnboundedSender<()>,
    /// A permit for each answer that arrived.
    answered: Semaphore,
    /// A permit for each answer held that may go.
    released: Semaphore,
}

async fn build(endpoint: Endpoint, actions: Arc<Actions>) {
    let mut peers = JoinSet::new();
    while let Some(arriving) = endpoint.accept().await {
        let actions = Arc::clone(&actions);
        peers.spawn(async move {
            if let Ok(peer) = arriving.finish(&Hello::ours(2, "fake builder")).await {
                serve(peer, actions).await;
            }
        });
    }
}

async fn serve(peer: Peer, actions: Arc<Actions>) {
    let connection = peer.connection.clone();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            Ok(mut told) = connection.accept_uni() => {
                // Tables, leases and blobs are read and forgotten.
                streams.spawn(async move { while let Ok(Some(_)) = told.read_chunk(1 << 20, true).await {} });
            }
            Ok((send, receive)) = connection.accept_bi() => {
                let (actions, connection) = (Arc::clone(&actions), connection.clone());
                streams.spawn(async move { let _ = actions.act(send, receive, connection).await; });
            }
            else => return,
        }
    }
}

impl Actions {
    async fn await_answered(&self, units: usize) {
        self.answered
            .acquire_many(units.try_into().unwrap())
            .await
            .unwrap()
            .forget();
    }

    async fn act(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        connection: quinn::Connection,
    ) -> Result<(), quinn::WriteError> {
        let Ok(Some(frame)) = frame::receive(&mut receive, limits::RUN_PAYLOAD).await else {
            return Ok(());
        };
        let request: RunRequest = frame.open().unwrap();
        let is_trial = request.steps[0]
            .argv
            .iter()
            .any(|word| word.ends_with(b"/trial.c"));
        let stage = if is_trial { Stage::Trial } else { Stage::Unit };
        if stage != self.part.stage {
            send.write_all(&compile(request).await).await?;
            let _ = send.finish();
            let _ = send.stopped().await;
            self.answered.add_permits(1);
            return Ok(());
        }
        if !matches!(self.part.reply, Reply::CompileAndHold) {
            let _ = self.reached.send(());
        }
        match &self.part.reply {
            Reply::CompileAndHold => {
                let answer = compile(request).await;
                let _ = self.reached.send(());
                self.released.acquire().await.unwrap().forget();
                send.write_all(&answer).await?;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
            Reply::Say(bytes) => {
                send.write_all(bytes).await?;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
            Reply::SayAfter(units, bytes) => {
                self.await_answered(*units).await;
                send.write_all(bytes).await?;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
            Reply::CompileAfter(units) => {
                self.await_answered(*units).await;
                send.write_all(&compile(request).await).await?;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
            Reply::Repeat(bytes) => loop {
                send.write_all(bytes).await?;
            },
            Reply::Reset => drop(send.reset(VarInt::from_u32(close::CANCELLED))),
            Reply::Disconnect => connection.close(VarInt::from_u32(close::ENDING), b"so long"),
            Reply::FallSilent => {
                self.relay.cut.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
            Reply::CompileOnOldProcessor => {
                let object = tokio::task::spawn_blocking(move || run_on_old_processor(&request));
                send.write_all(&outcome(&object.await.unwrap(), |_| ())).await?;
                let _ = send.finish();
                let _ = send.stopped().await;
            }
            Reply::Hang => {
                let _ = receive.received_reset().await;
                let _ = self.given_up.send(());
            }
        }
        Ok(())
    }
}

/// The honest answer to an action.
async fn compile(request: RunRequest) -> Vec<u8> {
    let compiled = tokio::task::spawn_blocking(move || {
        let directory = PathBuf::from(OsString::from_vec(request.cwd));
        run(&request.steps[0].program, &request.steps[0].argv, &directory)
    });
    match compiled.await.unwrap() {
        (Some(status), stderr, Some(object)) => outcome_saying(&stderr, &object, |outcome| {
            outcome.exit = Exit::Code(status.code().unwrap().try_into().unwrap());
        }),
        (Some(status), stderr, None) => outcome_saying(&stderr, b"", |outcome| {
            outcome.exit = Exit::Code(status.code().unwrap().try_into().unwrap());
            outcome.outputs = vec![After::Absent];
            outcome.bodies.truncate(2);
        }),
        // Nobody waits for it any more.
        (None, ..) => Vec::new(),
    }
}

/// Carries packets between one client and the builder until it is cut.
#[derive(Debug)]
struct Relay {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    builder: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    async fn start(builder: SocketAddr, tasks: &mut JoinSet<()>) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (front, back) = (bind().await.unwrap(), bind().await.unwrap());
        let relay = Self {
            address: front.local_addr().unwrap(),
            cut: Arc::default(),
            builder: Arc::new(Mutex::new(builder)),
        };
        let (cut, builder) = (Arc::clone(&relay.cut), Arc::clone(&relay.builder));
        tasks.spawn(async move {
            let (mut client, mut up, mut down) = (None, vec![0; 1 << 16], vec![0; 1 << 16]);
            loop {
                let sent = tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut up) => {
                        client = Some(from);
                        (!cut.load(Ordering::Relaxed)).then_some((&back, &up[..length], *builder.lock().unwrap()))
                    }
                    Ok((length, from)) = back.recv_from(&mut down) => client
                        .filter(|_| !cut.load(Ordering::Relaxed) && from == *builder.lock().unwrap())
                        .map(|client| (&front, &down[..length], client)),
                    else => return,
                };
                if let Some((socket, packet, to)) = sent {
                    let _ = socket.send_to(packet, to).await;
                }
            }
        });
        relay
    }
}
