//! A running builder, the scheduler it registered with, and certificates for whoever comes.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in test functions")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quicc::builder::{BuilderConfig, BuilderError, prepare};
use quicc::host::clock;
use quicc::host::task::{self, Task};
use quicc::sandbox::Limits;
use quicc::transport::{Endpoint, Opened, Pace, Peer, ResetSecret, TransportError, When, frame};
use quicc_certs::{Authority, Credentials, Identity, TicketClaims, TicketSigner};
use quicc_protocol::limits;
use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd, SchedulerWelcome};
use quicc_protocol::version::{ALPN, Hello};
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;

/// Far beyond what anything here takes on a loaded machine.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);
/// Slots of the builder.
pub(crate) const SLOTS: u32 = 2;
/// Bytes of standard output and error an action may write.
pub(crate) const OUTPUT_BYTES: u64 = 1 << 20;

const LIFETIME: Duration = Duration::from_secs(3600);
const BUILDER: &str = "quicc://farm/builder/b1";
const SCHEDULER: &str = "quicc://farm/scheduler/s1";

/// The farm. Dropping it ends the builder abruptly; [`World::end`] does as a signal would.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    authority: Authority,
    signer: Arc<TicketSigner>,
    address: SocketAddr,
    /// Lease ends for the scheduler to say.
    pub(crate) lease_ends: mpsc::UnboundedSender<u64>,
    /// The builder's offers as they arrive.
    pub(crate) offers: mpsc::UnboundedReceiver<BuilderOffer>,
    shutdown: oneshot::Sender<()>,
    builder: Task<Result<(), BuilderError>>,
    _scheduler: Task<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let authority = Authority::create(&"farm".parse().unwrap(), clock::unix_seconds()).unwrap();
        let signer = Arc::new(TicketSigner::generate().unwrap());
        let scheduler = endpoint(&authority, &issue(&authority, SCHEDULER));
        let scheduler_address = scheduler.local_address().unwrap();
        let (lease_ends, ends) = mpsc::unbounded_channel();
        let (offered, offers) = mpsc::unbounded_channel();
        let scheduler = task::spawn(
            "scheduler",
            schedule(scheduler, Arc::clone(&signer), ends, offered),
        );
        let endpoint = endpoint(&authority, &issue(&authority, BUILDER));
        let address = endpoint.local_address().unwrap();
        let directory = tempfile::Builder::new()
            .prefix("quicc-builder-")
            .tempdir()
            .unwrap();
        let config = config(directory.path(), scheduler_address, address);
        let builder = prepare(config).await.unwrap();
        let (shutdown, told) = oneshot::channel();
        let builder = task::spawn("builder", async move {
            builder.serve(endpoint, async { told.await.unwrap_or(()) }).await
        });
        let mut world = Self {
            directory,
            authority,
            signer,
            address,
            lease_ends,
            offers,
            shutdown,
            builder,
            _scheduler: scheduler,
        };
        world.next_offer().await;
        world
    }

    pub(crate) async fn next_offer(&mut self) -> BuilderOffer {
        within(self.offers.recv()).await.unwrap()
    }

    /// Tells the builder to end and waits until it has; gives the directory it used.
    pub(crate) async fn end(self) -> tempfile::TempDir {
        self.shutdown.send(()).unwrap();
        within(self.builder).await.unwrap().unwrap();
        self.directory
    }

    /// Opens the connection of a peer with that name and a new key; gives the key's hash too.
    pub(crate) async fn connect(&self, who: &str) -> Result<(Peer, [u8; 32]), TransportError> {
        let credentials = issue(&self.authority, who);
        Ok((self.connect_as(&credentials).await?, spki(&credentials)))
    }

    async fn connect_as(&self, credentials: &Credentials) -> Result<Peer, TransportError> {
        let endpoint = endpoint(&self.authority, credentials);
        let expected: Identity = BUILDER.parse().unwrap();
        let hello = Hello::ours(3, "a test");
        let connecting = endpoint.connect(self.address, &expected, &hello, Pace::Prompt);
        within(connecting).await
    }

    /// An endpoint with a certificate of that name, whose sessions can be resumed.
    pub(crate) fn endpoint_of(&self, who: &str) -> Endpoint {
        endpoint(&self.authority, &issue(&self.authority, who))
    }

    /// A connection of `endpoint` that may speak before the builder has answered.
    pub(crate) async fn open(&self, endpoint: &Endpoint) -> Opened {
        let expected: Identity = BUILDER.parse().unwrap();
        let hello = Hello::ours(3, "a test");
        let opening = endpoint.open(self.address, &expected, &hello, Pace::Prompt, When::AtOnce);
        within(opening).await.unwrap()
    }

    pub(crate) async fn client(&self, who: &str) -> Client {
        let credentials = issue(&self.authority, &format!("quicc://farm/client/{who}"));
        let peer = self.connect_as(&credentials).await.unwrap();
        Client::new(peer, credentials)
    }

    /// Another connection with a client's certificate.
    pub(crate) async fn connect_again(&self, client: &Client) -> Peer {
        self.connect_as(&client.credentials).await.unwrap()
    }

    /// A client that has shown lease 1 on every slot and told the shell's files.
    pub(crate) async fn ready_client(&self, who: &str) -> Client {
        let mut client = self.client(who).await;
        self.lease(&client, 1, SLOTS).await;
        client.open_table(1).await;
        client.tell_shell().await;
        client
    }

    /// Shows a lease that holds.
    pub(crate) async fn lease(&self, client: &Client, lease: u64, slots: u32) {
        client.show(lease, self.ticket(lease, slots, client.spki)).await;
    }

    /// A ticket for the holder of a key.
    pub(crate) fn ticket(&self, lease: u64, slots: u32, cnf: [u8; 32]) -> String {
        let now = clock::unix_seconds();
        let claims = TicketClaims {
            iss: "farm".parse().unwrap(),
            aud: "b1".parse().unwrap(),
            sub: "alice".parse().unwrap(),
            lease,
            slots,
            nbf: now,
            exp: now + 600,
            cnf,
        };
        self.signer.sign(&claims).unwrap()
    }

    /// Processes that run the mirror's `sleep`.
    pub(crate) fn sleepers(&self) -> usize {
        let identity = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let mirrors = std::fs::read_dir(self.directory.path().join("mirrors")).unwrap();
        let programs: Vec<_> = mirrors
            .filter_map(|mirror| identity(&mirror.unwrap().path().join("root/bin/sleep")))
            .collect();
        let processes = std::fs::read_dir("/proc").unwrap();
        processes
            .filter_map(|process| identity(&process.ok()?.path().join("exe")))
            .filter(|program| programs.contains(program))
            .count()
    }

    /// Actions that have a directory.
    pub(crate) fn action_directories(&self) -> usize {
        action_directories(self.directory.path())
    }
}

/// Actions that have a directory of the builder that uses `directory`, where there is its lock too.
pub(crate) fn action_directories(directory: &Path) -> usize {
    let jobs = std::fs::read_dir(directory.join("build/quicc-jobs")).unwrap();
    jobs.filter(|entry| entry.as_ref().unwrap().file_name() != "lock")
        .count()
}

/// Bounds a wait that no test should need.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(GENEROUS, future).await.unwrap()
}

/// Looks until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < GENEROUS, "{what}");
        tokio::task::yield_now().await;
    }
}

fn issue(authority: &Authority, who: &str) -> Credentials {
    let identity: Identity = who.parse().unwrap();
    authority
        .issue(&identity, LIFETIME, clock::unix_seconds())
        .unwrap()
}

/// The hash of the key behind a certificate.
pub(crate) fn spki(credentials: &Credentials) -> [u8; 32] {
    quicc_certs::spki_hash(credentials.certificate()).unwrap()
}

fn endpoint(authority: &Authority, credentials: &Credentials) -> Endpoint {
    let ca = authority.certificate();
    let serves = credentials.identity().role.accepts_connections();
    let server = serves.then(|| quicc_certs::server_config(ca, credentials, &[ALPN]).unwrap());
    let client = quicc_certs::client_config(ca, credentials, &[ALPN]).unwrap();
    Endpoint::bind(
        (Ipv4Addr::LOCALHOST, 0).into(),
        server,
        client,
        ResetSecret::of(credentials),
    )
    .unwrap()
}

fn config(directory: &Path, scheduler: SocketAddr, own: SocketAddr) -> BuilderConfig {
    BuilderConfig {
        identity: BUILDER.parse().unwrap(),
        scheduler: SCHEDULER.parse().unwrap(),
        scheduler_address: scheduler.to_string(),
        public_endpoint: own.to_string(),
        slots: SLOTS,
        cache_dir: directory.to_owned(),
        build_dir: directory.join("build"),
        cas_limit: 64 << 20,
        mirror_limit: 64 << 20,
        executable: PathBuf::from(env!("CARGO_BIN_EXE_quicc")),
        limits: Limits {
            wall: GENEROUS,
            cpu: GENEROUS,
            memory_bytes: 1 << 30,
            processes: 64,
            file_bytes: 1 << 20,
            output_bytes: OUTPUT_BYTES,
        },
    }
}

/// Welcomes the builder at each of its offers and passes lease ends on.
async fn schedule(
    endpoint: Endpoint,
    signer: Arc<TicketSigner>,
    mut ends: mpsc::UnboundedReceiver<u64>,
    offered: mpsc::UnboundedSender<BuilderOffer>,
) {
    let arriving = endpoint.accept().await.unwrap();
    let mut peer = arriving.finish(&Hello::ours(1, "a test")).await.unwrap();
    loop {
        let hearing = frame::receive(&mut peer.control.receive, limits::CONTROL_PAYLOAD);
        tokio::select! {
            heard = hearing => {
                let Ok(Some(heard)) = heard else { return };
                let welcome = SchedulerWelcome {
                    ticket_key: signer.public_key(),
                    scheduler_time: clock::unix_seconds(),
                    heartbeat: 500,
                    extensions: Vec::new(),
                };
                frame::send(&mut peer.control.send, &welcome).await.unwrap();
                let _ = offered.send(heard.open().unwrap());
            }
            Some(lease) = ends.recv() => {
                let end = LeaseEnd { lease, extensions: Vec::new() };
                frame::send(&mut peer.control.send, &end).await.unwrap();
            }
        }
    }
}
