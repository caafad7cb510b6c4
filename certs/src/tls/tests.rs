//! Two rustls endpoints in memory, on a fixed clock: who gets through, and who does not.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ClientConnection;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ServerConnection;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, Error, HandshakeKind, NamedGroup};

use super::*;
use crate::authority::Authority;
use crate::identity::peer_identity;

const NOW: u64 = 1_900_000_000;
const ALPN: &[&[u8]] = &[b"quicc/1"];
const DAY: Duration = Duration::from_secs(86_400);

/// More flights than any handshake has.
const FLIGHTS_MAX: usize = 16;

#[derive(Debug)]
struct FixedClock;

impl TimeProvider for FixedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

#[derive(Debug, PartialEq)]
enum Refusal {
    ByClient(Error),
    ByServer(Error),
}

fn authority() -> Authority {
    Authority::create(&"farm".parse().unwrap(), NOW).unwrap()
}

fn issue(authority: &Authority, path: &str) -> Credentials {
    authority
        .issue(&format!("quicc://farm/{path}").parse().unwrap(), DAY, NOW)
        .unwrap()
}

fn issue_expired(authority: &Authority, path: &str) -> Credentials {
    let identity = format!("quicc://farm/{path}").parse().unwrap();
    authority.issue(&identity, DAY, NOW - 2 * DAY.as_secs()).unwrap()
}

fn server(trusted: &Authority, credentials: &Credentials) -> Arc<ServerConfig> {
    let mut config = server_config(trusted.certificate(), credentials, ALPN).unwrap();
    config.time_provider = Arc::new(FixedClock);
    Arc::new(config)
}

fn client(trusted: &Authority, credentials: &Credentials) -> Arc<ClientConfig> {
    let mut config = client_config(trusted.certificate(), credentials, ALPN).unwrap();
    config.time_provider = Arc::new(FixedClock);
    Arc::new(config)
}

type Ends = (ClientConnection, ServerConnection);

fn start(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, dialled: &str) -> Ends {
    let identity: crate::Identity = format!("quicc://farm/{dialled}").parse().unwrap();
    let name = ServerName::try_from(identity.server_name()).unwrap();
    (
        ClientConnection::new(client.clone(), name).unwrap(),
        ServerConnection::new(server.clone()).unwrap(),
    )
}

/// Carries flights both ways until nobody has more to say, or somebody refuses.
fn drive((client, server): &mut Ends) -> Result<(), Refusal> {
    for _ in 0..FLIGHTS_MAX {
        if !client.wants_write() && !server.wants_write() {
            return Ok(());
        }
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut unread = &flight[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets().map_err(Refusal::ByServer)?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut unread = &flight[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets().map_err(Refusal::ByClient)?;
        }
    }
    panic!("the handshake does not end");
}

fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, dialled: &str) -> Result<Ends, Refusal> {
    let mut ends = start(client, server, dialled);
    drive(&mut ends).map(|()| ends)
}

fn invalid(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

#[test]
fn peers_of_a_cluster_learn_who_the_other_is() {
    let authority = authority();
    for (dialling, accepting) in [
        ("client/alice", "builder/b_1.x"),
        ("client/alice", "scheduler/s"),
        ("builder/b", "scheduler/s"),
    ] {
        let client = client(&authority, &issue(&authority, dialling));
        let server = server(&authority, &issue(&authority, accepting));
        let (client, server) = shake(&client, &server, accepting).unwrap();
        let seen_by_client = peer_identity(client.peer_certificates().unwrap()).unwrap();
        let seen_by_server = peer_identity(server.peer_certificates().unwrap()).unwrap();
        assert_eq!(seen_by_client.to_string(), format!("quicc://farm/{accepting}"));
        assert_eq!(seen_by_server.to_string(), format!("quicc://farm/{dialling}"));
    }
}

#[test]
fn peers_agree_on_the_preferred_algorithms() {
    let authority = authority();
    let client = client(&authority, &issue(&authority, "client/alice"));
    let server = server(&authority, &issue(&authority, "builder/b"));
    let (client, _) = shake(&client, &server, "builder/b").unwrap();
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(
        client.negotiated_cipher_suite(),
        Some(cipher_suite::TLS13_AES_128_GCM_SHA256)
    );
    assert_eq!(
        client.negotiated_key_exchange_group().unwrap().name(),
        NamedGroup::X25519MLKEM768
    );
    assert_eq!(client.alpn_protocol(), Some(&b"quicc/1"[..]));
}

#[test]
fn a_peer_of_another_cluster_is_refused_by_either_end() {
    let (ours, theirs) = (authority(), authority());
    let foreign_client = client(&ours, &issue(&theirs, "client/alice"));
    let our_server = server(&ours, &issue(&ours, "builder/b"));
    let refusal = shake(&foreign_client, &our_server, "builder/b").unwrap_err();
    assert_eq!(
        refusal,
        Refusal::ByServer(invalid(CertificateError::BadSignature))
    );

    let our_client = client(&ours, &issue(&ours, "client/alice"));
    let foreign_server = server(&ours, &issue(&theirs, "builder/b"));
    let refusal = shake(&our_client, &foreign_server, "builder/b").unwrap_err();
    assert_eq!(
        refusal,
        Refusal::ByClient(invalid(CertificateError::BadSignature))
    );
}

#[test]
fn an_expired_certificate_is_refused_by_either_end() {
    let authority = authority();
    let is_expiry = |error: &Error| {
        matches!(
            error,
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        )
    };
    let expired_client = client(&authority, &issue_expired(&authority, "client/alice"));
    let good_server = server(&authority, &issue(&authority, "builder/b"));
    let refusal = shake(&expired_client, &good_server, "builder/b").unwrap_err();
    assert!(
        matches!(&refusal, Refusal::ByServer(error) if is_expiry(error)),
        "{refusal:?}"
    );

    let good_client = client(&authority, &issue(&authority, "client/alice"));
    let expired_server = server(&authority, &issue_expired(&authority, "builder/b"));
    let refusal = shake(&good_client, &expired_server, "builder/b").unwrap_err();
    assert!(
        matches!(&refusal, Refusal::ByClient(error) if is_expiry(error)),
        "{refusal:?}"
    );
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let authority = authority();
    let mut nobody = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots(authority.certificate()).unwrap())
        .with_no_client_auth();
    nobody.alpn_protocols = protocols(ALPN);
    nobody.time_provider = Arc::new(FixedClock);
    let server = server(&authority, &issue(&authority, "builder/b"));
    let refusal = shake(&Arc::new(nobody), &server, "builder/b").unwrap_err();
    assert_eq!(refusal, Refusal::ByServer(Error::NoCertificatesPresented));
}

#[test]
fn a_clients_certificate_does_not_serve() {
    let authority = authority();
    let client = client(&authority, &issue(&authority, "client/alice"));
    let posing = server(&authority, &issue(&authority, "client/mallory"));
    let refusal = shake(&client, &posing, "client/mallory").unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::ByClient(Error::InvalidCertificate(
                CertificateError::InvalidPurposeContext { .. }
            ))
        ),
        "{refusal:?}"
    );
}

#[test]
fn an_answer_by_another_builder_than_the_one_dialled_is_refused() {
    let authority = authority();
    let client = client(&authority, &issue(&authority, "client/alice"));
    let other = server(&authority, &issue(&authority, "builder/other"));
    for dialled in ["builder/b", "scheduler/other"] {
        let refusal = shake(&client, &other, dialled).unwrap_err();
        assert!(
            matches!(
                &refusal,
                Refusal::ByClient(Error::InvalidCertificate(
                    CertificateError::NotValidForNameContext { .. }
                ))
            ),
            "{refusal:?}"
        );
    }
}

#[test]
fn no_common_protocol_is_no_connection() {
    let authority = authority();
    let mut old = client_config(
        authority.certificate(),
        &issue(&authority, "client/alice"),
        &[b"quicc/0"],
    )
    .unwrap();
    old.time_provider = Arc::new(FixedClock);
    let server = server(&authority, &issue(&authority, "builder/b"));
    let refusal = shake(&Arc::new(old), &server, "builder/b").unwrap_err();
    assert_eq!(refusal, Refusal::ByServer(Error::NoApplicationProtocol));
}

#[test]
fn a_second_connection_carries_early_data_from_a_known_peer() {
    let authority = authority();
    let client = client(&authority, &issue(&authority, "client/alice"));
    let server = server(&authority, &issue(&authority, "builder/b"));
    let (first, _) = shake(&client, &server, "builder/b").unwrap();
    assert_ne!(first.handshake_kind(), Some(HandshakeKind::Resumed));

    let mut ends = start(&client, &server, "builder/b");
    ends.0.early_data().unwrap().write_all(b"early").unwrap();
    let mut flight = Vec::new();
    ends.0.write_tls(&mut flight).unwrap();
    ends.1.read_tls(&mut &flight[..]).unwrap();
    ends.1.process_new_packets().unwrap();
    let mut early = Vec::new();
    let _ = ends.1.early_data().unwrap().read_to_end(&mut early);
    assert_eq!(early, b"early");
    assert_eq!(
        peer_identity(ends.1.peer_certificates().unwrap())
            .unwrap()
            .to_string(),
        "quicc://farm/client/alice",
        "known before the handshake is complete"
    );
    drive(&mut ends).unwrap();
    assert!(ends.0.is_early_data_accepted());
    assert_eq!(ends.0.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn another_identity_does_not_resume_the_session() {
    let authority = authority();
    let server = server(&authority, &issue(&authority, "builder/b"));
    let alice = client(&authority, &issue(&authority, "client/alice"));
    shake(&alice, &server, "builder/b").unwrap();
    let bob = client(&authority, &issue(&authority, "client/bob"));
    let mut ends = start(&bob, &server, "builder/b");
    assert!(ends.0.early_data().is_none());
    drive(&mut ends).unwrap();
    assert_ne!(ends.0.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn garbage_for_an_authority_is_an_error() {
    let credentials = issue(&authority(), "client/alice");
    let garbage = CertificateDer::from(b"garbage".to_vec());
    assert!(matches!(
        server_config(&garbage, &credentials, ALPN),
        Err(TlsError::Configuration { .. })
    ));
    assert!(matches!(
        client_config(&garbage, &credentials, ALPN),
        Err(TlsError::Configuration { .. })
    ));
    let error = invalid(CertificateError::BadEncoding);
    assert_eq!(roots(&garbage).unwrap_err(), error);
}
