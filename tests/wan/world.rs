//! A client and a builder's endpoint at the two ends of a link, made as the product makes them, and what runs between
//! them: jobs and bulk, in the product's frames and priorities.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quicc::host::clock;
use quicc::host::task::{self, Task};
use quicc::transport::path::Paths;
use quicc::transport::solid::{Packer, Unpacker};
use quicc::transport::{Endpoint, Opened, Pace, Peer, ResetSecret, TransportError, When, frame, tuning};
use quicc_certs::{Authority, Credentials, Identity};
use quicc_protocol::BlobDigest;
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::BlobBatch;
use quicc_protocol::version::{ALPN, Hello};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, EndpointConfig, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::net::{Net, SimulatedSocket, Site};

const CLIENT: &str = "quicc://farm/client/alice";
const BUILDER: &str = "quicc://farm/builder/b1";
/// Virtual time does not move the clock that certificates are judged by.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Bytes of one write of bulk.
const CHUNK: usize = 64 << 10;

/// A client and a builder. They know each other's certificates, and serve jobs.
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) client: Endpoint,
    pub(crate) socket: Arc<SimulatedSocket>,
    paths: Paths,
    builder: Arc<Endpoint>,
    own: Credentials,
    address: SocketAddr,
    authority: Authority,
}

/// A connection and the task that serves its other end.
pub(crate) struct Served {
    pub(crate) near: Connection,
    pub(crate) far: Connection,
    _peers: [Peer; 2],
    _serving: Task<()>,
}

fn issue(authority: &Authority, who: &str) -> Credentials {
    let identity = who.parse().unwrap();
    authority
        .issue(&identity, LIFETIME, clock::unix_seconds())
        .unwrap()
}

fn client_at(
    socket: Arc<SimulatedSocket>,
    authority: &Authority,
    own: &Credentials,
    paths: &Paths,
) -> Endpoint {
    let outward = quicc_certs::client_config(authority.certificate(), own, &[ALPN]).unwrap();
    let endpoint = Endpoint::over(socket, None, outward, ResetSecret::of(own)).unwrap();
    endpoint.with_paths(paths.clone())
}

fn builder_at(net: &Net, address: SocketAddr, authority: &Authority, own: &Credentials) -> Endpoint {
    let ca = authority.certificate();
    let inward = quicc_certs::server_config(ca, own, &[ALPN]).unwrap();
    let outward = quicc_certs::client_config(ca, own, &[ALPN]).unwrap();
    Endpoint::over(net.socket(address), Some(inward), outward, ResetSecret::of(own)).unwrap()
}

fn hello() -> Hello {
    Hello::ours(3, "a test")
}

impl World {
    pub(crate) fn new(net: Net) -> Self {
        let authority = Authority::create(&"farm".parse().unwrap(), clock::unix_seconds()).unwrap();
        let (client, builder) = (issue(&authority, CLIENT), issue(&authority, BUILDER));
        let address = Site::Farm.address(1, 4433);
        let socket = net.socket(Site::Client.address(1, 5000));
        let near: Arc<SimulatedSocket> = Arc::clone(&socket);
        let paths = Paths::default();
        Self {
            client: client_at(near, &authority, &client, &paths),
            paths,
            builder: Arc::new(builder_at(&net, address, &authority, &builder)),
            own: builder,
            socket,
            net,
            address,
            authority,
        }
    }

    /// The builder's process ends without a word, and another takes its place.
    pub(crate) fn restart_builder(&mut self) {
        self.builder = Arc::new(builder_at(&self.net, self.address, &self.authority, &self.own));
    }

    /// The client goes on from another address.
    pub(crate) fn move_client(&self) {
        self.socket.move_to(Site::Client.address(3, 5000));
    }

    /// The client ends and starts again, and knows of paths what it wrote down.
    pub(crate) fn restart_client(&mut self, writes_down: bool) {
        let text = if writes_down {
            self.paths.to_text()
        } else {
            String::new()
        };
        let own = issue(&self.authority, CLIENT);
        self.socket = self.net.socket(Site::Client.address(1, 5999));
        self.paths = Paths::from_text(&text);
        let near: Arc<SimulatedSocket> = Arc::clone(&self.socket);
        self.client = client_at(near, &self.authority, &own, &self.paths);
    }

    /// Two more machines at the ends of the link, with quinn's own Cubic, and an upload between them.
    pub(crate) async fn rival(&self) -> Bulk {
        let ca = self.authority.certificate();
        let (client, builder) = (issue(&self.authority, CLIENT), issue(&self.authority, BUILDER));
        let inward = quicc_certs::server_config(ca, &builder, &[ALPN]).unwrap();
        let outward = quicc_certs::client_config(ca, &client, &[ALPN]).unwrap();
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(64 << 20))
            .send_window(64 << 20)
            .congestion_controller_factory(Arc::new(CubicConfig::default()));
        let transport = Arc::new(transport);
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(inward).unwrap()));
        server.transport_config(Arc::clone(&transport));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(outward).unwrap()));
        config.transport_config(transport);
        let address = Site::Farm.address(2, 4433);
        let endpoint = |address, server| {
            let socket = self.net.socket(address);
            let runtime = Arc::new(TokioRuntime);
            quinn::Endpoint::new_with_abstract_socket(EndpointConfig::default(), server, socket, runtime)
                .unwrap()
        };
        let far = endpoint(address, Some(server));
        let near = endpoint(Site::Client.address(2, 5000), None);
        let name = BUILDER.parse::<Identity>().unwrap().server_name();
        let connecting = near.connect_with(config, address, &name).unwrap();
        let accepting = async { far.accept().await.unwrap().await.unwrap() };
        let (from, to) = tokio::join!(connecting, accepting);
        Bulk::new(&from.unwrap(), &to)
    }

    /// A new connection whose far end answers jobs and swallows bulk.
    pub(crate) async fn connect(&self) -> Served {
        let (expected, hello) = (BUILDER.parse().unwrap(), hello());
        let connecting = self.client.connect(self.address, &expected, &hello, Pace::Prompt);
        let accepting = async { self.builder.accept().await.unwrap().finish(&hello).await };
        let (near, far) = tokio::join!(connecting, accepting);
        let (near, far) = (near.unwrap(), far.unwrap());
        // As a builder does for a client that shows a lease.
        far.connection
            .set_receive_window(tuning::CONNECTION_WINDOW.into());
        tokio::time::sleep(near.connection.rtt()).await;
        Served {
            near: near.connection.clone(),
            far: far.connection.clone(),
            _serving: task::spawn("serving", serve(far.connection.clone())),
            _peers: [near, far],
        }
    }
}

/// A connection of which the near end may not have been answered yet.
pub(crate) struct Begun {
    pub(crate) opened: Opened,
    far: Task<Option<(Peer, Task<()>)>>,
}

impl World {
    /// A new connection for whatever may be repeated, as agents open them to builders.
    pub(crate) async fn open(&self) -> Begun {
        let (expected, ours) = (BUILDER.parse().unwrap(), hello());
        let opening = self
            .client
            .open(self.address, &expected, &ours, Pace::Prompt, When::AtOnce);
        let builder = Arc::clone(&self.builder);
        let far = task::spawn("accepting", async move {
            let arriving = builder.accept().await?;
            let peer = arriving.finish_early(&hello()).await.ok()?;
            let serving = task::spawn("serving", serve(peer.connection.clone()));
            Some((peer, serving))
        });
        let opened = opening.await.unwrap();
        Begun { opened, far }
    }
}

impl Begun {
    /// What becomes of the meeting: the near end, and the task of the far one.
    pub(crate) async fn meet(self) -> Result<(Peer, impl Sized), TransportError> {
        Ok((self.opened.meet().await?, self.far))
    }
}

impl Served {
    /// How long a job takes that sends `up` bytes and is answered with `down` at once.
    pub(crate) async fn job(&self, up: usize, down: usize) -> Duration {
        job(&self.near, up, down).await
    }

    /// Begins to upload without end; the bytes that arrived are counted.
    pub(crate) fn upload(&self) -> Bulk {
        Bulk::new(&self.near, &self.far)
    }

    /// The same the other way.
    pub(crate) fn download(&self) -> Bulk {
        Bulk::new(&self.far, &self.near)
    }
}

/// A job on a connection.
pub(crate) async fn job(connection: &Connection, up: usize, down: usize) -> Duration {
    let begun = Instant::now();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let priority = tuning::run_priority(send.id(), up as u64);
    send.set_priority(priority).unwrap();
    send.write_u32(down as u32).await.unwrap();
    send_body(&mut send, up).await;
    assert_eq!(receive_body(&mut receive).await, down);
    begun.elapsed()
}

/// Bytes that no compression makes smaller, as the product sends them.
async fn send_body(send: &mut SendStream, size: usize) {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let mut packer = Packer::new(size as u64, 1).unwrap();
    packer.add(BlobDigest::of(&bytes), &bytes).unwrap();
    let (batch, wire) = packer.finish().unwrap();
    send.write_all(&[batch.to_frame(), wire].concat()).await.unwrap();
    send.finish().unwrap();
}

async fn receive_body(receive: &mut RecvStream) -> usize {
    let batch: BlobBatch = frame::expect(receive).await.unwrap();
    let mut bytes = Vec::new();
    let mut unpacker = Unpacker::new(receive, &batch).unwrap();
    unpacker.next(&batch.blobs[0], &mut bytes).await.unwrap();
    unpacker.finish(&batch.blobs[0]).await.unwrap();
    bytes.len()
}

/// Answers jobs until the connection ends.
async fn serve(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        task::spawn("job", async move {
            use tokio::io::AsyncReadExt as _;
            let Ok(down) = receive.read_u32().await else {
                return;
            };
            receive_body(&mut receive).await;
            let priority = tuning::run_priority(send.id(), down.into());
            send.set_priority(priority).unwrap();
            send_body(&mut send, down as usize).await;
        })
        .detach();
    }
}

/// A stream of bytes without end.
pub(crate) struct Bulk {
    arrived: Arc<std::sync::atomic::AtomicU64>,
    _tasks: [Task<()>; 2],
}

impl Bulk {
    fn new(from: &Connection, to: &Connection) -> Self {
        let arrived = Arc::<std::sync::atomic::AtomicU64>::default();
        let (from, to, count) = (from.clone(), to.clone(), Arc::clone(&arrived));
        let sending = task::spawn("bulk", async move {
            let Ok(mut send) = from.open_uni().await else {
                return;
            };
            let _ = send.set_priority(tuning::BULK_PRIORITY);
            let chunk = vec![7; CHUNK];
            while send.write_all(&chunk).await.is_ok() {}
        });
        let taking = task::spawn("sink", async move {
            let Ok(mut receive) = to.accept_uni().await else {
                return;
            };
            while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                count.fetch_add(chunk.bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
            }
        });
        Self {
            arrived,
            _tasks: [sending, taking],
        }
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Megabits per second that arrive in the next `time`.
    pub(crate) async fn goodput(&self, time: Duration) -> f64 {
        let before = self.arrived();
        tokio::time::sleep(time).await;
        (self.arrived() - before) as f64 * 8.0 / time.as_secs_f64() / 1e6
    }
}
