//! A client and a builder on loopback, with the project's own certificates: the product's endpoints, and beside them
//! TLS 1.3 over TCP made of the same TLS configurations. Both answer the same requests ([`crate::lines`]).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quicc::host::clock;
use quicc::host::task::{self, Task};
use quicc::transport::{Arriving, Endpoint, ResetSecret, tuning};
use quicc_certs::{Authority, Credentials, Identity};
use quicc_protocol::version::{ALPN, Hello};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use crate::lines::answer;

const CLIENT: &str = "quicc://farm/client/alice";
const BUILDER: &str = "quicc://farm/builder/b1";
const LIFETIME: Duration = Duration::from_secs(3600);
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

pub fn hello() -> Hello {
    Hello::ours(3, "a bench")
}

/// A builder that listens on UDP and TCP, and what a client needs to reach it.
pub struct Ends {
    authority: Authority,
    client: Credentials,
    pub builder: Identity,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    _serving: [Task<()>; 2],
}

impl Ends {
    pub async fn new() -> Self {
        let authority = Authority::create(&"farm".parse().unwrap(), clock::unix_seconds()).unwrap();
        let issue = |who: &str| {
            let identity = who.parse().unwrap();
            authority
                .issue(&identity, LIFETIME, clock::unix_seconds())
                .unwrap()
        };
        let (client, builder) = (issue(CLIENT), issue(BUILDER));
        let ca = authority.certificate();
        let inward = quicc_certs::server_config(ca, &builder, &[ALPN]).unwrap();
        let outward = quicc_certs::client_config(ca, &builder, &[ALPN]).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(inward.clone()));
        let secret = ResetSecret::of(&builder);
        let endpoint = Endpoint::bind(LOOPBACK.into(), Some(inward), outward, secret).unwrap();
        let udp = endpoint.local_address().unwrap();
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let tcp = listener.local_addr().unwrap();
        Self {
            builder: builder.identity().clone(),
            authority,
            client,
            udp,
            tcp,
            _serving: [
                task::spawn("quic", serve_quic(endpoint)),
                task::spawn("tls", serve_tls(listener, acceptor)),
            ],
        }
    }

    fn outward(&self) -> rustls::ClientConfig {
        quicc_certs::client_config(self.authority.certificate(), &self.client, &[ALPN]).unwrap()
    }

    /// A client's endpoint that has met nobody.
    pub fn endpoint(&self) -> Endpoint {
        let secret = ResetSecret::of(&self.client);
        Endpoint::bind(LOOPBACK.into(), None, self.outward(), secret).unwrap()
    }

    /// The same for TLS.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::new(self.outward()))
    }

    /// A new connection of TLS over TCP.
    pub async fn connect_tls(&self, connector: &TlsConnector) -> client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = self.builder.server_name().try_into().unwrap();
        connector.connect(name, stream).await.unwrap()
    }
}

async fn serve_quic(endpoint: Endpoint) {
    while let Some(arriving) = endpoint.accept().await {
        task::spawn("connection", serve_connection(arriving)).detach();
    }
}

async fn serve_connection(arriving: Arriving) {
    let Ok(peer) = arriving.finish_early(&hello()).await else {
        return;
    };
    // As a builder does for a client that shows a lease.
    peer.connection
        .set_receive_window(tuning::CONNECTION_WINDOW.into());
    while let Ok((mut send, mut receive)) = peer.connection.accept_bi().await {
        task::spawn("request", async move {
            let _ = answer(&mut receive, &mut send).await;
        })
        .detach();
    }
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        task::spawn("connection", async move {
            stream.set_nodelay(true).unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let (mut receive, mut send) = tokio::io::split(stream);
            while answer(&mut receive, &mut send).await.is_ok() {}
        })
        .detach();
    }
}
