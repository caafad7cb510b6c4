//! A developer's machine with files, an agent's farm on it, and behind a long link a scheduler and a builder.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quicc_certs::{Authority, Credentials, Identity, TicketClaims, TicketSigner};
use quicc_protocol::identifiers::ViewId;
use quicc_protocol::message::lease::{LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::LeaseEnd;
use quicc_protocol::message::run::{Before, DeclaredOutput, Exit, StandardStreams, Step};
use quicc_protocol::version::{ALPN, Hello};
use quicc_protocol::{BlobDigest, limits};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::net::{Link, Net, Site};
use crate::agent::farm::{Farm, FarmAccess, Slot};
use crate::agent::link::{Action, Traffic};
use crate::agent::remote::{self, Caveats, Prepared, Tier, ToldAction};
use crate::agent::staleness;
use crate::agent::table::TableError;
use crate::builder::service::simulation::{Script, ScriptedBuilder};
use crate::host::clock;
use crate::host::task::{self, Task};
use crate::inputs::closure::{Closure, Object};
use crate::inputs::kept::Kept;
use crate::inputs::tree::Tree;
use crate::inputs::validate::prove;
use crate::transport::path::Paths;
use crate::transport::{Endpoint, Peer, ResetSecret, frame};

pub(super) const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How long a compile takes.
pub(super) const COMPILE: Duration = Duration::from_millis(200);
/// Bytes of an object file.
pub(super) const OBJECT: usize = 64 << 10;

const CLIENT: &str = "quicc://farm/client/alice";
const BUILDER: &str = "quicc://farm/builder/b1";
const SCHEDULER: &str = "quicc://farm/scheduler/s1";
const SCRIPT: Script = Script {
    compile: COMPILE,
    output: OBJECT,
};
/// Of the builder, all of which are granted.
const SLOTS: u32 = 64;
/// Virtual time does not move the clock that certificates and tickets are judged by.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// All of it.
pub(super) struct World {
    pub(super) net: Net,
    pub(super) farm: Arc<Farm>,
    pub(super) builder: ScriptedBuilder,
    /// Of all units together.
    pub(super) traffic: Arc<Traffic>,
    tree: Arc<Tree>,
    files: PathBuf,
    _driving: Task<()>,
    _scheduling: Task<()>,
    _scratch: tempfile::TempDir,
}

/// A compile, made ready.
pub(super) struct Unit {
    prepared: Arc<Prepared>,
    /// What has to come back.
    object: Vec<u8>,
}

impl Unit {
    /// The same compile, its files looked at last at `time`.
    pub(super) fn looked_at(mut self, time: std::time::Instant) -> Self {
        Arc::get_mut(&mut self.prepared)
            .expect("nobody has it yet")
            .looked = time;
        self
    }

    /// The same compile, its output in `directory`.
    pub(super) fn writing_to(mut self, directory: &Path) -> Self {
        let prepared = Arc::get_mut(&mut self.prepared).expect("nobody has it yet");
        for (place, _) in &mut prepared.action.outputs {
            *place = directory.as_os_str().as_bytes().to_vec();
        }
        self
    }
}

fn endpoint(net: &Net, (site, host): (Site, u8), authority: &Authority, own: &Credentials) -> Endpoint {
    let ca = authority.certificate();
    let serves = own.identity().role.accepts_connections();
    let inward = serves.then(|| quicc_certs::server_config(ca, own, &[ALPN]).unwrap());
    let outward = quicc_certs::client_config(ca, own, &[ALPN]).unwrap();
    let socket = net.socket(site.address(host, 4433));
    Endpoint::over(socket, inward, outward, ResetSecret::of(own)).unwrap()
}

impl World {
    /// An agent that has its leases and its connections over a link of `megabits` per second, and has used them for
    /// nothing yet.
    pub(super) async fn new(megabits: f64) -> Arc<Self> {
        Self::over(megabits, Tree::new()).await
    }

    /// The same, of an agent that knows its files by `tree`.
    pub(super) async fn over(megabits: f64, tree: Tree) -> Arc<Self> {
        let net = Net::new(Link::new(megabits, ROUND_TRIP), 1);
        let now = clock::unix_seconds();
        let authority = Authority::create(&"farm".parse().unwrap(), now).unwrap();
        let [client, builder, scheduler] = [CLIENT, BUILDER, SCHEDULER].map(|who| {
            let identity: Identity = who.parse().unwrap();
            authority.issue(&identity, LIFETIME, now).unwrap()
        });
        let signer = TicketSigner::generate().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let files = scratch.path().canonicalize().unwrap().join("project");
        std::fs::create_dir(&files).unwrap();
        let scripted = ScriptedBuilder::start(
            (builder.identity(), SLOTS),
            &scratch.path().join("builder"),
            endpoint(&net, (Site::Farm, 1), &authority, &builder),
            (&signer.public_key(), now),
            SCRIPT,
        );
        let scheduling = task::spawn(
            "scheduler",
            schedule(
                endpoint(&net, (Site::Farm, 9), &authority, &scheduler),
                Granting {
                    signer,
                    client: quicc_certs::spki_hash(client.certificate()).unwrap(),
                    now,
                    last: 0,
                },
            ),
        );
        let access = FarmAccess {
            scheduler: Site::Farm.address(9, 4433).to_string(),
            cluster: "farm".parse().unwrap(),
            scheduler_name: "s1".parse().unwrap(),
            machine: "x86_64".to_owned(),
        };
        let near = endpoint(&net, (Site::Client, 1), &authority, &client).with_paths(Paths::default());
        let tree = Arc::new(tree);
        let farm = Farm::new(access, near, ViewId([7; 16]), Arc::clone(&tree));
        let driving = task::spawn("farm", Arc::clone(&farm).drive());
        let world = Arc::new(Self {
            net,
            farm,
            builder: scripted,
            traffic: Arc::default(),
            tree,
            files,
            _driving: driving,
            _scheduling: scheduling,
            _scratch: scratch,
        });
        tokio::time::sleep(10 * ROUND_TRIP).await;
        world
    }

    /// Writes a file of `size` bytes that no compression makes smaller; other `contents` are other bytes.
    pub(super) fn write(&self, name: &str, contents: &str, size: usize) {
        let mut bytes = vec![0; size];
        let mut hasher = blake3::Hasher::new();
        hasher.update(contents.as_bytes()).finalize_xof().fill(&mut bytes);
        std::fs::write(self.files.join(name), bytes).unwrap();
    }

    /// Has every name in the directory of the files count.
    pub(super) fn list(&self) {
        self.tree.listing(self.files.as_os_str().as_bytes()).unwrap();
    }

    /// Replaces the file `to` by the file `from`.
    pub(super) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.files.join(from), self.files.join(to)).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// A compile to `object` that reads these files as they are now.
    pub(super) fn unit(&self, object: &str, files: &[&str]) -> Unit {
        self.unit_passing(object, files, &self.files)
    }

    /// The same, if it passes through `passed` as well.
    pub(super) fn unit_passing(&self, object: &str, files: &[&str], passed: &Path) -> Unit {
        let mark = self.tree.refresh();
        let mut closure = Closure::default();
        let passed = self.files.ancestors().chain(passed.ancestors());
        for directory in passed.filter(|path| *path != Path::new("/")) {
            let stat = self.tree.stat(directory.as_os_str().as_bytes()).unwrap().unwrap();
            closure.put(directory.as_os_str().as_bytes(), Object::Directory { stat });
        }
        for name in files {
            let path: Arc<[u8]> = self.files.join(name).as_os_str().as_bytes().into();
            let stat = self.tree.stat(&path).unwrap().unwrap();
            let content = self.tree.content(&path, &stat).unwrap();
            let object = Object::File {
                stat: content.stat,
                digest: content.digest,
                executable: false,
                settled: true,
                scanned: true,
            };
            closure.put(&path, object);
        }
        let directory = self.files.as_os_str().as_bytes().to_vec();
        let declared = DeclaredOutput {
            directory: 0,
            name: object.into(),
            before: Before::Absent,
        };
        let action = Action {
            steps: vec![Step {
                program: b"/usr/bin/cc".to_vec(),
                argv: vec![b"cc".to_vec(), object.into()],
            }],
            cwd: directory.clone(),
            env: Vec::new(),
            umask: 0o022,
            streams: StandardStreams::default(),
            outputs: vec![(directory, declared)],
        };
        let kept = Arc::new(Kept::new(&self.tree, closure));
        let prepared = Prepared {
            action,
            proof: mark.and_then(|mark| prove(&self.tree, &kept, mark)),
            kept,
            looked: std::time::Instant::now(),
            outputs: Vec::new(),
            tier: Tier::Scan,
            caveats: Caveats {
                may_quote_unseen: false,
                is_resolved: false,
                translated: false,
            },
            toolchain: BlobDigest::of(b"cc"),
        };
        Unit {
            prepared: Arc::new(prepared),
            object: SCRIPT.output_of(object.as_bytes()),
        }
    }

    /// Whether the builder has all of a unit from before.
    pub(super) async fn is_told(&self, unit: &Unit) -> bool {
        let slot = self.farm.acquire().await.unwrap();
        remote::told_before(&unit.prepared, &slot.link).is_some()
    }

    /// Whether nothing that the builder was told is to be looked at.
    pub(super) async fn is_swept(&self) -> bool {
        staleness::is_swept(&self.farm.acquire().await.unwrap().link, &self.tree)
    }

    /// Looks at what the builder was told and no watch proves.
    pub(super) async fn sweep(&self) {
        staleness::sweep_unwatched(&self.farm.acquire().await.unwrap().link, &self.tree);
    }

    /// Whether the builder was told of a unit's files without another look at them.
    pub(super) async fn is_told_at_once(&self, unit: &Unit) -> bool {
        let slot = self.farm.acquire().await.unwrap();
        remote::tell_at_once(&self.tree, &unit.prepared, &slot.link, &|_, _| false).is_some()
    }

    /// Has the builder told of a unit's files.
    pub(super) async fn tell(&self, unit: &Unit) -> Result<ToldAction, TableError> {
        self.tell_through(unit, &self.farm.acquire().await.unwrap()).await
    }

    async fn tell_through(&self, unit: &Unit, slot: &Slot) -> Result<ToldAction, TableError> {
        let (tree, link) = (Arc::clone(&self.tree), Arc::clone(&slot.link));
        let prepared = Arc::clone(&unit.prepared);
        let telling = move || Ok(remote::tell(&tree, &prepared, &link, &|_, _| false)?.0);
        tokio::task::spawn_blocking(telling).await.unwrap()
    }

    /// Runs units at once; see [`Self::run`].
    pub(super) async fn run_all(self: &Arc<Self>, units: Vec<Unit>) -> Vec<f64> {
        let mut running = JoinSet::new();
        for unit in units {
            let world = Arc::clone(self);
            running.spawn(async move { world.run(&unit).await });
        }
        running.join_all().await
    }

    /// Runs a unit as the agent does from the moment it is prepared, and gives what it took beside the compile, in
    /// round trips.
    pub(super) async fn run(&self, unit: &Unit) -> f64 {
        let since = Instant::now();
        let slot = self.farm.acquire().await.unwrap();
        let told = match remote::told_before(&unit.prepared, &slot.link) {
            Some(told) => told,
            None => self.tell_through(unit, &slot).await.unwrap(),
        };
        let attempt = remote::attempt(&unit.prepared, &slot, told, &self.traffic);
        let returned = attempt.await.unwrap();
        assert_eq!(returned.outcome.exit, Exit::Code(0));
        assert!(returned.bodies[2] == unit.object);
        (since.elapsed() - COMPILE).as_secs_f64() / ROUND_TRIP.as_secs_f64()
    }
}

/// What grants are made of.
struct Granting {
    signer: TicketSigner,
    /// Hash of the client's key.
    client: [u8; 32],
    now: u64,
    /// The lease granted last.
    last: u64,
}

impl Granting {
    fn next(&mut self) -> LeaseGrant {
        self.last += 1;
        let claims = TicketClaims {
            iss: "farm".parse().unwrap(),
            aud: "b1".parse().unwrap(),
            sub: "alice".parse().unwrap(),
            lease: self.last,
            slots: SLOTS,
            nbf: self.now,
            exp: self.now + LIFETIME.as_secs(),
            cnf: self.client,
        };
        LeaseGrant {
            lease: self.last,
            builder: "b1".to_owned(),
            endpoint: Site::Farm.address(1, 4433).to_string(),
            slots: SLOTS,
            valid_for: LIFETIME.as_secs() as u32,
            ticket: self.signer.sign(&claims).unwrap(),
            extensions: Vec::new(),
        }
    }
}

/// Grants the one agent a lease of all slots while it wants any, and another when it gives that back.
async fn schedule(endpoint: Endpoint, mut granting: Granting) {
    let arriving = endpoint.accept().await.unwrap();
    let mut peer: Peer = arriving.finish(&Hello::ours(1, "a test")).await.unwrap();
    let (mut is_wanted, mut is_held) = (false, false);
    while let Ok(Some(frame)) = frame::receive(&mut peer.control.receive, limits::CONTROL_PAYLOAD).await {
        if frame.is::<LeaseDemand>() {
            let demand: LeaseDemand = frame.open().unwrap();
            is_wanted = demand.slots + demand.ahead > 0;
            is_held &= is_wanted;
        } else if frame.is::<LeaseEnd>() {
            is_held = false;
        }
        if is_wanted && !is_held {
            is_held = true;
            frame::send(&mut peer.control.send, &granting.next())
                .await
                .unwrap();
        }
    }
}
