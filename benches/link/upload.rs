//! Uploads across the link by the product's endpoints, with its settings and its congestion control, and nothing else of
//! it: no compile, no agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quicc::host::clock;
use quicc::host::task::{self, Task};
use quicc::transport::path::Paths;
use quicc::transport::{Arriving, Endpoint, Pace, Peer, ResetSecret, tuning};
use quicc_certs::{Authority, Credentials, Identity, client_config, server_config};
use quicc_protocol::version::{ALPN, Hello};
use tokio::runtime::Runtime;

use crate::wire::Wire;

const CLIENT: &str = "quicc://farm/client/alice";
const BUILDER: &str = "quicc://farm/builder/b1";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a write.
const CHUNK: usize = 64 << 10;

/// Bytes without end that go over the link.
pub trait Flow {
    /// Bytes of it that the far end has read.
    fn arrived(&self) -> u64;
}

/// Megabits a second that arrive of each flow in the next `time`.
pub fn goodput<const COUNT: usize>(flows: [&dyn Flow; COUNT], time: Duration) -> [f64; COUNT] {
    let before = flows.map(Flow::arrived);
    let began = Instant::now();
    std::thread::sleep(time);
    let arrived = flows.map(Flow::arrived);
    let lasted = began.elapsed().as_secs_f64();
    std::array::from_fn(|turn| (arrived[turn] - before[turn]) as f64 * 8.0 / lasted / 1e6)
}

/// A client and a builder, one at each end of the link. The client remembers what the path carried.
pub struct Ends {
    runtime: Runtime,
    client: Endpoint,
    builder: SocketAddr,
    arrived: Arc<AtomicU64>,
    _serving: Task<()>,
}

fn hello() -> Hello {
    Hello::ours(3, "a bench")
}

fn told(what: &str) -> impl Fn(&dyn std::error::Error) -> String + '_ {
    move |error| format!("{what}: {}", quicc::host::text::chain(error))
}

impl Ends {
    pub fn new(wire: &Wire) -> Result<Self, String> {
        let now = clock::unix_seconds();
        let farm = "farm".parse().map_err(|error| told("a farm's name")(&error))?;
        let authority = Authority::create(&farm, now).map_err(|error| told("an authority")(&error))?;
        let issue = |who: &str| -> Result<Credentials, String> {
            let identity: Identity = who.parse().map_err(|error| told(who)(&error))?;
            let issued = authority.issue(&identity, LIFETIME, now);
            issued.map_err(|error| told("a certificate")(&error))
        };
        let (client, builder) = (issue(CLIENT)?, issue(BUILDER)?);
        let ca = authority.certificate();
        let outward =
            |own: &Credentials| client_config(ca, own, &[ALPN]).map_err(|error| told("TLS")(&error));
        let inward = server_config(ca, &builder, &[ALPN]).map_err(|error| told("TLS")(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| told("a runtime")(&error))?;
        let bind = |address, inward, own: &Credentials| {
            let _entered = runtime.enter();
            let endpoint = Endpoint::bind(address, inward, outward(own)?, ResetSecret::of(own));
            endpoint.map_err(|error| told("an endpoint")(&error))
        };
        // A socket belongs to the network it was made in, whichever thread uses it.
        let far = wire
            .farm
            .within(|| bind((wire.farm.address, 0).into(), Some(inward), &builder))?;
        let near = wire
            .client
            .within(|| bind((wire.client.address, 0).into(), None, &client))?;
        let arrived = Arc::<AtomicU64>::default();
        let address = far.local_address().map_err(|error| told("its address")(&error))?;
        let serving = {
            let _entered = runtime.enter();
            task::spawn("builder", serve(far, Arc::clone(&arrived)))
        };
        Ok(Self {
            client: near.with_paths(Paths::default()),
            builder: address,
            arrived,
            _serving: serving,
            runtime,
        })
    }

    /// Connects and uploads until what is returned is dropped.
    pub fn upload(&self) -> Result<Upload, String> {
        let expected = BUILDER.parse().map_err(|error| told(BUILDER)(&error))?;
        let connecting = async {
            self.client
                .connect(self.builder, &expected, &hello(), Pace::Prompt)
                .await
        };
        let peer = self.runtime.block_on(connecting);
        let peer = peer.map_err(|error| told("the builder")(&error))?;
        let _entered = self.runtime.enter();
        let sending = task::spawn("upload", send(peer.connection.clone()));
        Ok(Upload {
            peer,
            arrived: Arc::clone(&self.arrived),
            _sending: sending,
        })
    }
}

/// One of the product's connections, as full as it lets itself be.
pub struct Upload {
    peer: Peer,
    arrived: Arc<AtomicU64>,
    _sending: Task<()>,
}

impl Upload {
    /// Packets this end sent, and those it found lost.
    pub fn packets(&self) -> (u64, u64) {
        let path = self.peer.connection.stats().path;
        (path.sent_packets, path.lost_packets)
    }
}

impl Flow for Upload {
    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.peer.connection.close(0_u32.into(), b"");
    }
}

async fn send(connection: quinn::Connection) {
    let Ok(mut stream) = connection.open_uni().await else {
        return;
    };
    let _ = stream.set_priority(tuning::BULK_PRIORITY);
    let chunk = vec![7; CHUNK];
    while stream.write_all(&chunk).await.is_ok() {}
}

async fn serve(endpoint: Endpoint, arrived: Arc<AtomicU64>) {
    while let Some(arriving) = endpoint.accept().await {
        task::spawn("connection", take(arriving, Arc::clone(&arrived))).detach();
    }
}

/// Reads what comes on the connection's first stream.
async fn take(arriving: Arriving, arrived: Arc<AtomicU64>) {
    let Ok(peer) = arriving.finish(&hello()).await else {
        return;
    };
    // As a builder does for a client that shows a lease.
    peer.connection
        .set_receive_window(tuning::CONNECTION_WINDOW.into());
    let Ok(mut stream) = peer.connection.accept_uni().await else {
        return;
    };
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        arrived.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
    }
}
