//! UDP endpoints and connections whose peer is known: certificate checked, hello exchanged.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quicc_certs::{Identity, Role};
use quicc_protocol::close;
use quicc_protocol::version::{Hello, PREFIX};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AsyncUdpSocket, EndpointConfig, RecvStream, SendStream, VarInt};

use super::certificate::{self, Shown};
use super::congestion::Congestion;
use super::opened::{Acquaintances, Opened};
use super::path::Paths;
use super::refusal::Refusals;
use super::reset::ResetSecret;
use super::runtime::QuicRuntime;
use super::tuning::{self, Pace};
use super::{FrameError, TransportError, socket};
use crate::host::timer;

/// Unfinished handshakes kept; more are dropped until some finish.
const HANDSHAKES: usize = 1024;
/// Unfinished handshakes above which whoever arrives has to prove its address first, which takes it a round trip
/// (RFC 9000 §8.1.2): forged addresses then cost no handshake.
const UNPROVEN_HANDSHAKES: usize = 64;
/// Bytes buffered for one connection that is not accepted yet, and for all of them. What is sent early on a fast link is
/// there before a busy peer accepts: 8 ms of 1 Gbit/s.
const HANDSHAKE_BUFFER: u64 = 1 << 20;
const HANDSHAKE_BUFFERS: u64 = 16 << 20;
/// Time given to farewells when an endpoint closes.
const FAREWELL: Duration = Duration::from_millis(300);

/// The control stream of a connection.
#[derive(Debug)]
pub struct Control {
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer.
    pub receive: RecvStream,
}

/// A connection to a peer whose certificate was checked and whose hello was understood.
#[derive(Debug)]
pub struct Peer {
    /// Who, by certificate.
    pub identity: Identity,
    /// SHA-256 of the certificate's public key.
    pub certificate_spki: [u8; 32],
    /// What it said of itself.
    pub hello: Hello,
    /// The connection.
    pub connection: quinn::Connection,
    /// Its first stream, behind the hellos.
    pub control: Control,
}

/// When a connection may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once the peer has proven in this connection who it is.
    Verified,
    /// At once if it has done so before: for requests that do no harm when they are repeated.
    AtOnce,
}

/// What an endpoint shows from now on.
pub struct Renewed {
    /// To who connects.
    pub server: Option<rustls::ServerConfig>,
    /// To whom it connects to.
    pub client: rustls::ClientConfig,
}

/// Where an endpoint gets what it shows once that was renewed: asked often, answers only then.
struct Renewal(Box<dyn Fn() -> Option<Renewed> + Send + Sync>);

impl std::fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Renewal")
    }
}

/// A UDP socket that connects and, given a server configuration, accepts.
#[derive(Debug)]
pub struct Endpoint {
    main: quinn::Endpoint,
    /// One for all connections until it is renewed: sessions resume only with what they were made with.
    client: Mutex<quinn::ClientConfig>,
    server: Mutex<Option<quinn::ServerConfig>>,
    /// What the paths to peers carried: those connected to by name, those that came by address.
    paths: Paths,
    renewal: Option<Renewal>,
    /// Counts the [`Arriving`] of this endpoint.
    arriving: Arc<()>,
    acquaintances: Arc<Acquaintances>,
    refusals: Refusals,
    /// For targets of the other address family, made when first needed.
    other_family: Mutex<Option<quinn::Endpoint>>,
}

fn configuration(source: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Configuration {
        source: Box::new(source),
    }
}

impl Endpoint {
    /// Binds `address`. Without a server configuration nothing is accepted. Peers of an earlier endpoint with this
    /// `secret` and address learn with the first packet they send that it is no more.
    pub fn bind(
        address: SocketAddr,
        server: Option<rustls::ServerConfig>,
        client: rustls::ClientConfig,
        secret: ResetSecret,
    ) -> Result<Self, TransportError> {
        let server = server.map(server_config).transpose()?;
        let secret = server.is_some().then_some(secret);
        let refusals = Refusals::default();
        // Whoever accepts sends to everybody that sends here.
        let heard = server.is_none().then_some(&refusals);
        let main = bind_quinn(address, server.clone(), secret, heard)?;
        Ok(Self {
            refusals: refusals.clone(),
            ..Self::of(main, server, client_config(client)?)
        })
    }

    /// The same over a socket of the caller's making: a simulated link, say. Reaches no other address family than the
    /// socket's.
    pub fn over(
        socket: Arc<dyn AsyncUdpSocket>,
        server: Option<rustls::ServerConfig>,
        client: rustls::ClientConfig,
        secret: ResetSecret,
    ) -> Result<Self, TransportError> {
        let server = server.map(server_config).transpose()?;
        let address = socket.local_addr();
        let secret = server.is_some().then_some(secret);
        let main = quinn_over(socket, server.clone(), secret).map_err(|source| TransportError::Bind {
            address: address.unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into()),
            source,
        })?;
        Ok(Self::of(main, server, client_config(client)?))
    }

    fn of(main: quinn::Endpoint, server: Option<quinn::ServerConfig>, client: quinn::ClientConfig) -> Self {
        Self {
            main,
            client: Mutex::new(client),
            server: Mutex::new(server),
            paths: Paths::default(),
            renewal: None,
            arriving: Arc::default(),
            acquaintances: Arc::default(),
            refusals: Refusals::default(),
            other_family: Mutex::new(None),
        }
    }

    /// Asks `renewal` for newer credentials before each connection to a scheduler and for each that arrives. It may
    /// look at a few files. Not before others: a ticket is for the key that the scheduler saw.
    pub fn with_renewal(self, renewal: impl Fn() -> Option<Renewed> + Send + Sync + 'static) -> Self {
        let renewal = Some(Renewal(Box::new(renewal)));
        Self { renewal, ..self }
    }

    /// Begins connections with what `paths` knows of the path to the peer, and adds what they find.
    pub fn with_paths(self, paths: Paths) -> Self {
        Self { paths, ..self }
    }

    fn renew(&self) {
        let Some(renewed) = self.renewal.as_ref().and_then(|renewal| renewal.0()) else {
            return;
        };
        let server = renewed.server.map(server_config).transpose();
        match (server, client_config(renewed.client)) {
            (Ok(server), Ok(client)) => {
                if server.is_some() {
                    self.main.set_server_config(server.clone());
                    *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
                }
                *self.client() = client;
                tracing::info!("renewed credentials are in use");
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "renewed credentials are unusable"
                );
            }
        }
    }

    fn client(&self) -> MutexGuard<'_, quinn::ClientConfig> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address bound, with the port the kernel chose.
    pub fn local_address(&self) -> Result<SocketAddr, TransportError> {
        self.main.local_addr().map_err(|source| TransportError::Bind {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            source,
        })
    }

    /// Connects to the peer `expected` at `address`, within [`tuning::HANDSHAKE_TIMEOUT`]. Its end has to be noticed
    /// at `pace`.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: &Identity,
        hello: &Hello,
        pace: Pace,
    ) -> Result<Peer, TransportError> {
        let meet = async {
            let opened = self.begin(address, expected, hello, pace, When::Verified).await?;
            opened.meet().await
        };
        within_handshake(&format!("{expected} at {address}"), meet).await
    }

    /// Opens a connection without waiting for the peer's hello, within [`tuning::HANDSHAKE_TIMEOUT`]: after the
    /// handshake or, [`When::AtOnce`], before it, if the peer's certificate is valid still and its TLS session is known
    /// here (RFC 9001 §4.6).
    pub async fn open(
        &self,
        address: SocketAddr,
        expected: &Identity,
        hello: &Hello,
        pace: Pace,
        when: When,
    ) -> Result<Opened, TransportError> {
        let begin = async {
            match self.begin(address, expected, hello, pace, when).await {
                Err(TransportError::TooEarly { .. }) => {
                    self.begin(address, expected, hello, pace, When::Verified).await
                }
                opened => opened,
            }
        };
        within_handshake(&format!("{expected} at {address}"), begin).await
    }

    /// `peer` is ending: the next connection to it begins with a handshake.
    pub fn forget(&self, peer: &Identity) {
        self.acquaintances.forget(peer);
    }

    async fn begin(
        &self,
        address: SocketAddr,
        expected: &Identity,
        hello: &Hello,
        pace: Pace,
        when: When,
    ) -> Result<Opened, TransportError> {
        if expected.role == Role::Scheduler {
            self.renew();
        }
        let endpoint = self.for_target(address)?;
        let mut client = self.client().clone();
        let congestion = Congestion::towards(expected.to_string(), &self.paths);
        client.transport_config(tuning::transport(pace, congestion));
        let failed = |source| connect_error(expected, address, source);
        let connecting = endpoint
            .connect_with(client, address, &expected.server_name())
            .map_err(|source| connect_error(expected, address, source))?;
        let may_be_early = when == When::AtOnce && self.acquaintances.is_valid(expected);
        let tried = if may_be_early {
            connecting.into_0rtt()
        } else {
            Err(connecting)
        };
        let (connection, early) = match tried {
            Ok((connection, accepted)) => (connection, Some(accepted)),
            Err(connecting) => (connecting.await.map_err(failed)?, None),
        };
        let streams = connection.open_bi().await.map_err(failed)?;
        let acquaintances = Arc::clone(&self.acquaintances);
        Opened::new(
            connection,
            streams,
            early,
            (expected, address),
            hello,
            (acquaintances, self.refusals.clone()),
        )
        .await
    }

    fn for_target(&self, target: SocketAddr) -> Result<quinn::Endpoint, TransportError> {
        let own = self.local_address()?;
        if own.is_ipv4() == target.is_ipv4() {
            return Ok(self.main.clone());
        }
        let mut other = self.other_family.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*other {
            return Ok(endpoint.clone());
        }
        let any: SocketAddr = if target.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let accepts = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        let heard = (!accepts).then_some(&self.refusals);
        Ok(other.insert(bind_quinn(any, None, None, heard)?).clone())
    }

    /// The next connection that asks; `None` when the endpoint is closed.
    pub async fn accept(&self) -> Option<Arriving> {
        loop {
            let incoming = self.main.accept().await?;
            let unfinished = Arc::strong_count(&self.arriving) - 1;
            if unfinished >= UNPROVEN_HANDSHAKES && !incoming.remote_address_validated() {
                // Fails only for an address that is proven.
                let _ = incoming.retry();
                continue;
            }
            self.renew();
            return Some(Arriving {
                server: self.server_for(incoming.remote_address()),
                incoming,
                counted: Arc::clone(&self.arriving),
            });
        }
    }

    /// The server's settings for a connection from `address`.
    fn server_for(&self, address: SocketAddr) -> Option<Arc<quinn::ServerConfig>> {
        let mut server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let congestion = Congestion::towards(address.ip().to_canonical().to_string(), &self.paths);
        server.transport_config(tuning::arriving_transport(congestion));
        Some(Arc::new(server))
    }

    /// Closes every connection and waits a moment for the farewells to leave.
    pub async fn close(&self) {
        let other = self
            .other_family
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for endpoint in [Some(self.main.clone()), other].into_iter().flatten() {
            endpoint.close(VarInt::from_u32(close::ENDING), b"ending");
            let _ = timer::timeout(FAREWELL, endpoint.wait_idle()).await;
        }
    }
}

/// A connection that asks to be accepted.
#[derive(Debug)]
pub struct Arriving {
    incoming: quinn::Incoming,
    /// Endpoints without one have nothing arrive.
    server: Option<Arc<quinn::ServerConfig>>,
    /// While its handshake is unfinished.
    counted: Arc<()>,
}

impl Arriving {
    /// Where it comes from.
    pub fn remote_address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Finishes the handshake and the hellos, within [`tuning::HANDSHAKE_TIMEOUT`]. To be awaited in a task of its
    /// own: a slow peer must not hold up the next.
    pub async fn finish(self, hello: &Hello) -> Result<Peer, TransportError> {
        self.admit(hello, When::Verified).await
    }

    /// The same for a server whose every request may be made twice: who resumes a session is heard before the handshake
    /// is over. rustls takes early data of a session once, so that nobody but the peer can make it speak twice to one
    /// process (RFC 8446 §8.1).
    pub async fn finish_early(self, hello: &Hello) -> Result<Peer, TransportError> {
        self.admit(hello, When::AtOnce).await
    }

    async fn admit(self, hello: &Hello, when: When) -> Result<Peer, TransportError> {
        let Self {
            incoming,
            server,
            counted: _counted,
        } = self;
        let address = incoming.remote_address();
        let handshake = async {
            let failed = |source: quinn::ConnectionError| TransportError::Connect {
                peer: address.to_string(),
                source: Box::new(source),
            };
            let accepted = match server {
                Some(server) => incoming.accept_with(server),
                None => incoming.accept(),
            };
            let connection = match (when, accepted.map_err(failed)?) {
                (When::Verified, connecting) => connecting.await.map_err(failed)?,
                (When::AtOnce, connecting) => begun(connecting).await.map_err(failed)?,
            };
            let Shown {
                identity,
                spki: certificate_spki,
                ..
            } = certificate::shown(&connection)?;
            let (mut send, mut receive) = connection.accept_bi().await.map_err(failed)?;
            greet(&mut send, hello).await?;
            let peer_hello = hear(&connection, &mut receive, hello).await?;
            let control = Control { send, receive };
            Ok(Peer {
                identity,
                certificate_spki,
                hello: peer_hello,
                connection,
                control,
            })
        };
        within_handshake(&address.to_string(), handshake).await
    }
}

/// A connection that arrives, as soon as its peer is known: at once where a session is resumed, whose first handshake
/// showed the certificate.
async fn begun(connecting: quinn::Connecting) -> Result<quinn::Connection, quinn::ConnectionError> {
    let (connection, finished) = match connecting.into_0rtt() {
        Ok(begun) => begun,
        Err(connecting) => return connecting.await,
    };
    if connection.peer_identity().is_none() {
        finished.await;
        if let Some(reason) = connection.close_reason() {
            return Err(reason);
        }
    }
    Ok(connection)
}

pub(super) async fn within_handshake<T>(
    peer: &str,
    handshake: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let waited = tuning::HANDSHAKE_TIMEOUT;
    let silent = || TransportError::Silent {
        peer: peer.to_owned(),
        waited,
    };
    timer::timeout(waited, handshake).await.ok_or_else(silent)?
}

pub(super) fn connect_error(
    peer: &Identity,
    address: SocketAddr,
    source: impl std::error::Error + Send + Sync + 'static,
) -> TransportError {
    TransportError::Connect {
        peer: format!("{peer} at {address}"),
        source: Box::new(source),
    }
}

pub(super) async fn greet(send: &mut SendStream, ours: &Hello) -> Result<(), TransportError> {
    let broken = |error: quinn::WriteError| FrameError::Broken { source: error.into() };
    Ok(send.write_all(&ours.encode()).await.map_err(broken)?)
}

/// Hears the peer's hello and agrees on a version; without one the connection is closed.
pub(super) async fn hear(
    connection: &quinn::Connection,
    receive: &mut RecvStream,
    ours: &Hello,
) -> Result<Hello, TransportError> {
    let broken = |source: std::io::Error| FrameError::Broken { source };
    let heard = async {
        let mut prefix = [0; PREFIX];
        receive
            .read_exact(&mut prefix)
            .await
            .map_err(|error| broken(std::io::Error::other(error)))?;
        let mut body = vec![0; Hello::body_length(prefix)?];
        receive
            .read_exact(&mut body)
            .await
            .map_err(|error| broken(std::io::Error::other(error)))?;
        let theirs = Hello::decode_body(&body)?;
        ours.agree(&theirs)?;
        Ok(theirs)
    };
    let result: Result<Hello, TransportError> = heard.await;
    if let Err(TransportError::Hello(error)) = &result {
        connection.close(VarInt::from_u32(close::VERSION), error.to_string().as_bytes());
    }
    result
}

fn client_config(client: rustls::ClientConfig) -> Result<quinn::ClientConfig, TransportError> {
    let client = QuicClientConfig::try_from(client).map_err(configuration)?;
    Ok(quinn::ClientConfig::new(Arc::new(client)))
}

fn server_config(server: rustls::ServerConfig) -> Result<quinn::ServerConfig, TransportError> {
    let crypto = QuicServerConfig::try_from(server).map_err(configuration)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server
        .max_incoming(HANDSHAKES)
        .incoming_buffer_size(HANDSHAKE_BUFFER)
        .incoming_buffer_size_total(HANDSHAKE_BUFFERS);
    Ok(server)
}

/// What accepts has a `secret`.
fn bind_quinn(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
    secret: Option<ResetSecret>,
    refusals: Option<&Refusals>,
) -> Result<quinn::Endpoint, TransportError> {
    socket::bind(address, refusals)
        .and_then(|socket| quinn_over(socket, server, secret))
        .map_err(|source| TransportError::Bind { address, source })
}

fn quinn_over(
    socket: Arc<dyn AsyncUdpSocket>,
    server: Option<quinn::ServerConfig>,
    secret: Option<ResetSecret>,
) -> std::io::Result<quinn::Endpoint> {
    let config = match secret {
        Some(secret) => secret.endpoint_config(socket.local_addr()?),
        None => EndpointConfig::default(),
    };
    quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(QuicRuntime))
}

#[cfg(test)]
mod tests;
