//! The service over loopback QUIC, as builders and agents meet it.

use super::*;
use quicc_certs::{
    Credentials, EphemeralFarm, Identity, TicketVerifier, client_config, ephemeral_farm, server_config,
};
use quicc_protocol::message::Message;
use quicc_protocol::message::lease::{FarmStatus, FarmStatusRequest, LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::SchedulerWelcome;
use quicc_protocol::version::ALPN;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::oneshot;

use crate::transport::{Pace, Peer, ResetSecret, TransportError, frame};

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// Generous: a bound on a hang, not a measurement.
const PATIENCE: Duration = Duration::from_secs(20);

fn cluster() -> Name {
    "test".parse().unwrap()
}

/// A scheduler on loopback and the certificates of its farm.
struct Farm {
    certificates: EphemeralFarm,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: Task<Result<(), SchedulerError>>,
}

impl Farm {
    fn start() -> Self {
        Self::with_heartbeat(Duration::from_secs(2))
    }

    fn with_heartbeat(heartbeat: Duration) -> Self {
        let hour = Duration::from_secs(3600);
        let certificates = ephemeral_farm(&cluster(), hour, clock::unix_seconds()).unwrap();
        let (ca, scheduler) = (&certificates.ca, &certificates.scheduler);
        let endpoint = Endpoint::bind(
            ANY_PORT.into(),
            Some(server_config(ca, scheduler, &[ALPN]).unwrap()),
            client_config(ca, scheduler, &[ALPN]).unwrap(),
            ResetSecret::of(scheduler),
        );
        let endpoint = endpoint.unwrap();
        let address = endpoint.local_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = SchedulerConfig {
            cluster: cluster(),
            heartbeat,
        };
        let serving = task::spawn(
            "scheduler",
            serve(config, endpoint, async {
                let _ = stopped.await;
            }),
        );
        Self {
            certificates,
            address,
            stop,
            serving,
        }
    }

    async fn connect(&self, credentials: &Credentials) -> Caller {
        self.try_connect(credentials).await.unwrap()
    }

    async fn try_connect(&self, credentials: &Credentials) -> Result<Caller, TransportError> {
        let client = client_config(&self.certificates.ca, credentials, &[ALPN]).unwrap();
        let endpoint = Endpoint::bind(ANY_PORT.into(), None, client, ResetSecret::of(credentials)).unwrap();
        let scheduler = Identity {
            cluster: cluster(),
            role: Role::Scheduler,
            name: cluster(),
        };
        let hello = Hello::ours(3, "test");
        let peer = endpoint
            .connect(self.address, &scheduler, &hello, Pace::Prompt)
            .await?;
        Ok(Caller {
            peer,
            _endpoint: endpoint,
        })
    }

    async fn agent(&self, slots: u32) -> Caller {
        let mut agent = self.connect(&self.certificates.client).await;
        agent.demand(slots).await;
        agent
    }

    /// A builder that was welcomed.
    async fn builder(&self, slots: u32) -> (Caller, SchedulerWelcome) {
        let mut builder = self.connect(&self.certificates.builder).await;
        builder.say(&offer(slots)).await;
        let welcome = builder.hear().await;
        (builder, welcome)
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

struct Caller {
    peer: Peer,
    _endpoint: Endpoint,
}

impl Caller {
    async fn say<M: Message>(&mut self, message: &M) {
        frame::send(&mut self.peer.control.send, message).await.unwrap();
    }

    async fn hear<M: Message>(&mut self) -> M {
        let heard = frame::expect(&mut self.peer.control.receive);
        tokio::time::timeout(PATIENCE, heard)
            .await
            .expect(M::NAME)
            .unwrap()
    }

    async fn demand(&mut self, slots: u32) {
        let demand = LeaseDemand {
            slots,
            ahead: 0,
            machine: "x86_64".to_owned(),
            avoid: Vec::new(),
            extensions: Vec::new(),
        };
        self.say(&demand).await;
    }

    /// The farm's state, after everything this caller said before was handled.
    async fn status(&mut self) -> FarmStatus {
        let extensions = Vec::new();
        self.say(&FarmStatusRequest { extensions }).await;
        self.hear().await
    }

    async fn expect_closed(self, code: u32) {
        let closed = tokio::time::timeout(PATIENCE, self.peer.connection.closed()).await;
        match closed.expect("the connection stays open") {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, code.into(), "{close}");
            }
            other => panic!("{other}"),
        }
    }
}

fn offer(slots: u32) -> BuilderOffer {
    BuilderOffer {
        endpoint: "builder.example:10501".to_owned(),
        slots,
        busy: 0,
        machine: "x86_64".to_owned(),
        load_permille: 0,
        memory_available: 8 << 30,
        software: "quicc test".to_owned(),
        extensions: Vec::new(),
    }
}

#[tokio::test]
async fn a_grant_comes_with_a_ticket_that_the_builder_can_check() {
    let farm = Farm::start();
    let (_builder, welcome) = farm.builder(4).await;
    assert_eq!(welcome.heartbeat, 2000);
    let mut agent = farm.agent(2).await;
    let grant: LeaseGrant = agent.hear().await;
    assert_eq!(
        (grant.slots, grant.endpoint.as_str()),
        (2, "builder.example:10501")
    );
    assert_eq!((grant.builder.as_str(), grant.valid_for), ("test", 60));
    let spki = quicc_certs::spki_hash(farm.certificates.client.certificate()).unwrap();
    let verifier = TicketVerifier::new(&welcome.ticket_key).unwrap();
    let now = welcome.scheduler_time;
    let claims = verifier
        .verify(&grant.ticket, &cluster(), &cluster(), now, &spki)
        .unwrap();
    assert_eq!((claims.lease, claims.slots), (grant.lease, 2));
    assert!(
        (now + 120..now + 130).contains(&claims.exp),
        "{claims:?} at {now}"
    );

    let status = agent.status().await;
    assert_eq!(status.agents, 1);
    assert_eq!((status.builders[0].slots, status.builders[0].leased), (4, 2));
    farm.end().await;
}

#[tokio::test]
async fn a_lease_ends_on_both_sides_when_the_demand_does() {
    let farm = Farm::start();
    let (mut builder, _) = farm.builder(4).await;
    let mut agent = farm.agent(2).await;
    let LeaseGrant { lease, .. } = agent.hear().await;
    agent.demand(0).await;
    assert_eq!(agent.hear::<LeaseEnd>().await.lease, lease);
    assert_eq!(builder.hear::<LeaseEnd>().await.lease, lease);
    farm.end().await;
}

#[tokio::test]
async fn the_end_of_a_builder_ends_its_leases() {
    let farm = Farm::start();
    let (builder, _) = farm.builder(4).await;
    let mut agent = farm.agent(2).await;
    let LeaseGrant { lease, .. } = agent.hear().await;
    builder.peer.connection.close(close::ENDING.into(), b"");
    assert_eq!(agent.hear::<LeaseEnd>().await.lease, lease);
    let (_builder, _) = farm.builder(4).await;
    assert_ne!(agent.hear::<LeaseGrant>().await.lease, lease);
    farm.end().await;
}

#[tokio::test]
async fn a_builder_that_stays_silent_is_lost() {
    let farm = Farm::with_heartbeat(Duration::from_millis(300));
    let mut agent = farm.agent(2).await;
    agent.status().await;
    let (builder, _) = farm.builder(4).await;
    let LeaseGrant { lease, .. } = agent.hear().await;
    assert_eq!(agent.hear::<LeaseEnd>().await.lease, lease);
    builder.expect_closed(close::SILENT).await;
    farm.end().await;
}

#[tokio::test]
async fn a_client_cannot_pose_as_a_builder_nor_a_scheduler_as_a_client() {
    let farm = Farm::start();
    let mut client = farm.connect(&farm.certificates.client).await;
    client.say(&offer(4)).await;
    client.expect_closed(close::NOT_ALLOWED).await;
    // Depending on whose word is faster, the connection is refused or closed.
    if let Ok(scheduler) = farm.try_connect(&farm.certificates.scheduler).await {
        scheduler.expect_closed(close::NOT_ALLOWED).await;
    }
    let mut client = farm.connect(&farm.certificates.client).await;
    assert_eq!(client.status().await.builders, []);
    farm.end().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_no_other() {
    let farm = Farm::start();
    let mut agent = farm.agent(2).await;
    for garbage in [
        &[0xff; 64][..],
        b"\x03\x0a\x00\x00\x00abc",
        b"\x00\xe7\x03\x00\x00",
    ] {
        let mut vandal = farm.connect(&farm.certificates.client).await;
        vandal.peer.control.send.write_all(garbage).await.unwrap();
        vandal.expect_closed(close::PROTOCOL).await;
    }
    let other_stream = farm.connect(&farm.certificates.client).await;
    let mut stream = other_stream.peer.connection.open_uni().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    other_stream.expect_closed(close::PROTOCOL).await;
    let (_builder, _) = farm.builder(4).await;
    assert_eq!(agent.hear::<LeaseGrant>().await.slots, 2);
    farm.end().await;
}

#[tokio::test]
async fn a_peer_whose_queue_is_full_is_dismissed_and_its_leases_end() {
    let (events, _queue) = tokio::sync::mpsc::channel(1);
    let config = SchedulerConfig {
        cluster: cluster(),
        heartbeat: Duration::from_secs(2),
    };
    let mut service = Service::new(config, events).unwrap();
    let mut arrive = |connection, role, room| {
        let _task = task::spawn("connection", std::future::pending());
        let (outbox, told) = mpsc::channel(room);
        let (dismissal, dismissed) = oneshot::channel();
        let entry = Connection {
            _task,
            visitor: None,
            has_offered: false,
        };
        service.connections.insert(connection, entry);
        let visitor = Visitor {
            role,
            name: cluster(),
            spki: [0; 32],
            outbox,
            dismissal,
        };
        service.note(connection, Event::Arrived(visitor));
        (told, dismissed)
    };
    let (mut told, _kept) = arrive(1, Role::Builder, 9);
    let (_unread, dismissed) = arrive(2, Role::Client, 1);
    service.note(1, Event::Offered(offer(4)));
    let demand = |slots| LeaseDemand {
        slots,
        ahead: 0,
        machine: "x86_64".to_owned(),
        avoid: Vec::new(),
        extensions: Vec::new(),
    };
    service.note(2, Event::Demanded(demand(2)));
    service.deliver();
    service.note(2, Event::Demanded(demand(4)));
    service.deliver();
    assert_eq!(dismissed.await.unwrap().code, close::SILENT);
    assert!(matches!(told.try_recv(), Ok(Outgoing::Welcome(_))));
    assert!(matches!(told.try_recv(), Ok(Outgoing::End(_))));
    assert_eq!(service.ledger.builders()[0].leased, 0);
}

#[tokio::test]
async fn shutting_down_says_so() {
    let farm = Farm::start();
    let agent = farm.agent(0).await;
    farm.end().await;
    agent.expect_closed(close::ENDING).await;
}
