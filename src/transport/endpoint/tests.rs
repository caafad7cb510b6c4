//! Whose connections come about, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};

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
        let own = issue(&authority, SCHEDULER, LONG);
        let ca = authority.certificate();
        let server = Endpoint::bind(
            (Ipv4Addr::LOCALHOST, 0).into(),
            Some(quicc_certs::server_config(ca, &own, &[ALPN]).unwrap()),
            quicc_certs::client_config(ca, &own, &[ALPN]).unwrap(),
            ResetSecret::of(&own),
        )
        .unwrap();
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
