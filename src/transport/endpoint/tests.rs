//! Whose connections come about, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::refusal::Refusals;
use super::super::until_closed;
use super::*;
use crate::host::{clock, task};
use quicc_certs::{Authority, Credentials};
use quicc_protocol::version::ALPN;

const SCHEDULER: &str = "quicc://farm/scheduler/s1";
const CLIENT: &str = "quicc://farm/client/alice";
/// Long enough for a handshake, short enough to wait for.
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(3600);

fn hello() -> Hello {
    Hello::ours(3, "a test")
}

struct Farm {
    authority: Authority,
    server: Endpoint,
    address: SocketAddr,
}

impl Farm {
    fn new() -> Self {
        let authority = Authority::create(&"farm".parse().unwrap(), clock::unix_seconds()).unwrap();
        let server = server(&authority);
        let address = server.local_address().unwrap();
        Self {
            authority,
            server,
            address,
        }
    }

    fn client_config(&self, credentials: &Credentials) -> rustls::ClientConfig {
        quicc_certs::client_config(self.authority.certificate(), credentials, &[ALPN]).unwrap()
    }

    fn client(&self, lifetime: Duration) -> Endpoint {
        let credentials = issue(&self.authority, CLIENT, lifetime);
        let (any, secret) = ((Ipv4Addr::LOCALHOST, 0), ResetSecret::of(&credentials));
        Endpoint::bind(any.into(), None, self.client_config(&credentials), secret).unwrap()
    }

    /// What each end says of a new connection of `client`.
    async fn meet(&self, client: &Endpoint) -> [Result<Peer, TransportError>; 2] {
        let expected: Identity = SCHEDULER.parse().unwrap();
        let hello = hello();
        let connecting = client.connect(self.address, &expected, &hello, Pace::Prompt);
        let accepting = async { self.server.accept().await.unwrap().finish(&hello).await };
        let (connected, accepted) = tokio::join!(connecting, accepting);
        [connected, accepted]
    }
}

fn server(authority: &Authority) -> Endpoint {
    let own = issue(authority, SCHEDULER, LONG);
    let ca = authority.certificate();
    let (any, secret) = ((Ipv4Addr::LOCALHOST, 0), ResetSecret::of(&own));
    let server = quicc_certs::server_config(ca, &own, &[ALPN]).unwrap();
    let client = quicc_certs::client_config(ca, &own, &[ALPN]).unwrap();
    Endpoint::bind(any.into(), Some(server), client, secret).unwrap()
}

fn issue(authority: &Authority, who: &str, lifetime: Duration) -> Credentials {
    let identity = who.parse().unwrap();
    authority
        .issue(&identity, lifetime, clock::unix_seconds())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_peers_certificate_and_none_is_resumed_after() {
    let farm = Farm::new();
    let client = farm.client(SHORT);
    let [connected, accepted] = farm.meet(&client).await.map(Result::unwrap);
    certificate::expiry(&accepted.connection).await;
    let closed = connected.connection.closed().await.to_string();
    assert!(closed.contains("the certificate has expired"), "{closed}");
    let [_, accepted] = farm.meet(&client).await;
    // Another error would say that the session was not resumed but verified anew.
    assert!(
        matches!(accepted, Err(TransportError::Expired { .. })),
        "{accepted:?}"
    );
}

/// The session with one peer is no way to another, or to another role, at the same address.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_with_the_peer_it_was_made_with_alone() {
    let farm = Farm::new();
    let client = farm.client(LONG);
    let hello = hello();
    // Each connection brings tickets for more than one.
    let [connected, accepted] = farm.meet(&client).await.map(Result::unwrap);
    connected.connection.close(0_u32.into(), b"");
    accepted.connection.closed().await;
    for (expected, is_known) in [
        ("quicc://farm/scheduler/s2", false),
        ("quicc://farm/builder/s1", false),
        (SCHEDULER, true),
    ] {
        let expected: Identity = expected.parse().unwrap();
        let opening = client.open(farm.address, &expected, &hello, Pace::Prompt, When::AtOnce);
        let accepting = async { farm.server.accept().await.unwrap().finish_early(&hello).await };
        let (opened, accepted) = tokio::join!(opening, accepting);
        match opened {
            Ok(opened) => assert!(is_known && opened.is_early(), "{expected}"),
            Err(error) => {
                assert!(!is_known, "{expected}: {error:?}");
                assert!(accepted.is_err(), "{expected}: heard");
            }
        }
    }
}

/// A client that knows the scheduler, and another process of it that does not know the client.
async fn restarted(farm: &Farm) -> (Endpoint, SocketAddr, task::Task<()>) {
    let client = farm.client(LONG);
    let [connected, _accepted] = farm.meet(&client).await.map(Result::unwrap);
    connected.connection.close(0_u32.into(), b"");
    let restarted = server(&farm.authority);
    let address = restarted.local_address().unwrap();
    let accepting = task::spawn("accepting", async move {
        let mut peers = Vec::new();
        while let Some(arriving) = restarted.accept().await {
            peers.push(arriving.finish(&hello()).await);
        }
    });
    (client, address, accepting)
}

#[tokio::test]
async fn work_on_a_connection_ends_with_it_where_its_stream_took_a_refused_ones_number() {
    let farm = Farm::new();
    let (client, address, _accepting) = restarted(&farm).await;
    let (expected, hello) = (SCHEDULER.parse().unwrap(), hello());
    let opening = client.open(address, &expected, &hello, Pace::Prompt, When::AtOnce);
    let opened = opening.await.unwrap();
    let connection = opened.connection.clone();
    let refused = connection.open_bi().await.unwrap();
    let met = opened.meet().await;
    assert!(matches!(met, Err(TransportError::TooEarly { .. })), "{met:?}");
    // The first has the number of the control stream.
    let _first = connection.open_bi().await.unwrap();
    let (_send, mut receive) = connection.open_bi().await.unwrap();
    assert_eq!(receive.id(), refused.1.id());
    let waits = until_closed(&connection, receive.read_chunk(1, true));
    let ends = async {
        drop(refused);
        connection.close(0_u32.into(), b"");
    };
    let both = async { tokio::join!(biased; waits, ends).0 };
    let ended = tokio::time::timeout(Duration::from_secs(60), both).await;
    assert!(!matches!(ended.expect("it waits for ever"), Some(Ok(_))));
}

#[tokio::test]
async fn a_hello_that_is_refused_before_it_is_written_was_too_early() {
    let farm = Farm::new();
    let (client, address, _accepting) = restarted(&farm).await;
    let (expected, hello): (Identity, _) = (SCHEDULER.parse().unwrap(), hello());
    let mut config = client.client().clone();
    let congestion = Congestion::towards(expected.to_string(), &client.paths);
    config.transport_config(tuning::transport(Pace::Prompt, congestion));
    let connecting = client.main.connect_with(config, address, &expected.server_name());
    let (connection, accepted) = connecting.unwrap().into_0rtt().unwrap();
    let streams = connection.open_bi().await.unwrap();
    // Answered: another stream knows.
    let (_, mut early) = connection.open_bi().await.unwrap();
    assert!(early.read_chunk(1, true).await.is_err());
    let acquaintances = Arc::clone(&client.acquaintances);
    let opened = Opened::new(
        connection,
        streams,
        Some(accepted),
        (&expected, address),
        &hello,
        (acquaintances, Refusals::default()),
    );
    let opened = opened.await;
    assert!(
        matches!(opened, Err(TransportError::TooEarly { .. })),
        "{opened:?}"
    );
    assert!(!client.acquaintances.is_valid(&expected));
}

#[tokio::test]
async fn what_came_before_a_connection_ended_is_read_to_its_end() {
    const LARGE: usize = 400 << 10;
    let farm = Farm::new();
    let client = farm.client(LONG);
    let [connected, accepted] = farm.meet(&client).await.map(Result::unwrap);
    let bytes: Vec<u8> = (0..LARGE as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (body, wire) = super::super::frame::pack(&bytes);
    let mut send = accepted.connection.open_uni().await.unwrap();
    send.write_all(&wire).await.unwrap();
    send.finish().unwrap();
    let mut receive = connected.connection.accept_uni().await.unwrap();
    // All of it is at the client.
    assert_eq!(send.stopped().await, Ok(None));
    accepted.connection.close(0_u32.into(), b"ending");
    connected.connection.closed().await;
    let mut read = Vec::new();
    let reading = super::super::frame::receive_body(&mut receive, &body, &mut read);
    let ended = until_closed(&connected.connection, reading).await;
    assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
    assert!(read == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_credentials_are_shown_on_the_next_connection_to_a_scheduler() {
    let farm = Farm::new();
    let asked = AtomicUsize::new(0);
    let renewed = farm.client_config(&issue(&farm.authority, CLIENT, LONG));
    let client = farm.client(LONG).with_renewal(move || {
        let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        (!is_first).then(|| Renewed {
            server: None,
            client: renewed.clone(),
        })
    });
    let mut keys = Vec::new();
    for _ in 0..2 {
        let [_, accepted] = farm.meet(&client).await.map(Result::unwrap);
        keys.push(accepted.certificate_spki);
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_so_many_handshakes_addresses_are_proven_first() {
    let farm = Farm::new();
    let client = Arc::new(farm.client(LONG));
    let _connecting: Vec<_> = (0..=UNPROVEN_HANDSHAKES)
        .map(|_| {
            let (client, address) = (Arc::clone(&client), farm.address);
            task::spawn("connecting", async move {
                client
                    .connect(address, &SCHEDULER.parse().unwrap(), &hello(), Pace::Prompt)
                    .await
            })
        })
        .collect();
    let mut arriving = Vec::new();
    for _ in 0..=UNPROVEN_HANDSHAKES {
        arriving.push(farm.server.accept().await.unwrap());
    }
    let proven = arriving
        .iter()
        .map(|arriving| arriving.incoming.remote_address_validated());
    let expected = (0..arriving.len()).map(|number| number == UNPROVEN_HANDSHAKES);
    assert!(proven.eq(expected));
    arriving.clear();
    let [_, accepted] = farm.meet(&client).await;
    accepted.unwrap();
}
