//! Who may do what.

use quicc::host::text;
use quicc::transport::frame;
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::Exit;
use quicc_protocol::message::table::TableOpen;
use quicc_protocol::{close, limits};
use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::client::pack;
use crate::protocol::is_closed_with;
use crate::world::{SLOTS, World, within};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lease_shown_with_its_ticket_pays() {
    let world = World::new().await;
    let mut client = world.client("alice").await;
    let request = client.request("exit 0", &[]);
    let refused = |answer: crate::client::Answer| answer.refusal();
    assert_eq!(
        refused(client.run(&request).await),
        RefusalCode::NotAllowed,
        "none shown"
    );
    client.show(1, world.ticket(1, SLOTS, [9; 32])).await;
    assert_eq!(
        refused(client.run(&request).await),
        RefusalCode::NotAllowed,
        "another client's"
    );
    client.show(1, world.ticket(2, SLOTS, client.spki)).await;
    assert_eq!(
        refused(client.run(&request).await),
        RefusalCode::NotAllowed,
        "another lease's"
    );
    client.show(1, "garbage".to_owned()).await;
    assert_eq!(
        refused(client.run(&request).await),
        RefusalCode::NotAllowed,
        "no ticket at all"
    );
    world.lease(&client, 1, SLOTS).await;
    client.open_table(1).await;
    client.tell_shell().await;
    let request = client.request("exit 0", &[]);
    assert_eq!(client.run(&request).await.outcome().0.exit, Exit::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_neither_tables_nor_blobs_are_taken() {
    let world = World::new().await;
    let mut mallory = world.client("mallory").await;
    mallory.show(1, world.ticket(1, SLOTS, [9; 32])).await;
    let blob = mallory.content(b"from who may not");
    let batch = mallory.send_blobs(&[blob]).await;
    let not_allowed = Some(u64::from(close::NOT_ALLOWED));
    let open = TableOpen {
        view: mallory.view,
        epoch: 1,
        extensions: Vec::new(),
    };
    for stream in [batch, mallory.say(&open).await] {
        let stopped = within(stream.stopped()).await.unwrap();
        assert_eq!(stopped.map(u64::from), not_allowed);
    }
    let mut alice = world.ready_client("alice").await;
    alice.tell_file("/client/a", b"from who may not", false).await;
    let (answer, asked) = alice.run_counting(&alice.request("exit 0", &[])).await;
    answer.outcome();
    assert!(asked.contains(&blob), "it was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_does_not_go_on_without_a_lease() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.run(&client.request("exit 0", &[])).await.outcome();
    world.lease_ends.send(1).unwrap();
    let request = client.request("exit 0", &[]);
    let ended = async { while !matches!(client.run(&request).await, crate::client::Answer::Refused(_)) {} };
    within(ended).await;
    client.tell_file("/client/a", b"too late", false).await;
    let closed = within(client.peer.connection.closed()).await;
    assert!(is_closed_with(&closed, close::NOT_ALLOWED), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_only_what_the_clients_table_names_is_kept() {
    let world = World::new().await;
    let mut mallory = world.ready_client("mallory").await;
    mallory.run(&mallory.request("exit 0", &[])).await.outcome();
    let unnamed = mallory.content(b"named by no table");
    let named = mallory.content(b"named once it was sent");
    mallory.send_blobs(&[unnamed, named]).await.finish().unwrap();
    mallory
        .tell_file("/client/a", b"named once it was sent", false)
        .await;
    let (answer, asked) = mallory.run_counting(&mallory.request("exit 0", &[])).await;
    answer.outcome();
    assert_eq!(asked, [], "the named one had come");
    let mut alice = world.client("alice").await;
    alice.view = quicc_protocol::identifiers::ViewId([8; 16]);
    world.lease(&alice, 1, SLOTS).await;
    alice.open_table(1).await;
    alice.tell_shell().await;
    alice.tell_file("/client/a", b"named by no table", false).await;
    let (answer, asked) = alice.run_counting(&alice.request("exit 0", &[])).await;
    answer.outcome();
    assert_eq!(asked, [unnamed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_is_cut_the_rest_is_asked_for() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.run(&client.request("exit 0", &[])).await.outcome();
    let mut noise = vec![0; 1 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    client.tell_file("/client/a", b"first", false).await;
    client.tell_file("/client/b", &noise, false).await;
    let digests = [client.content(b"first"), client.content(&noise)];
    let (batch, wire) = pack([(digests[0], &b"first"[..]), (digests[1], &noise)]);
    let mut stream = client.say(&batch).await;
    stream.write_all(&wire[..wire.len() / 2]).await.unwrap();
    stream.reset(VarInt::from_u32(close::CANCELLED)).unwrap();
    let (answer, asked) = client.run_counting(&client.request("exit 0", &[])).await;
    answer.outcome();
    assert!(asked.contains(&digests[1]), "the first may have come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_taken_back_starts_nothing_more() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    let request = client.request("exit 0", &[]);
    client.run(&request).await.outcome();
    world.lease_ends.send(1).unwrap();
    // The end travels on another connection: it may be overtaken.
    let refused = async {
        loop {
            if let crate::client::Answer::Refused(code) = client.run(&request).await {
                return code;
            }
        }
    };
    assert_eq!(within(refused).await, RefusalCode::Busy);
    world.lease(&client, 2, SLOTS).await;
    let renewed = quicc_protocol::message::run::RunRequest { lease: 2, ..request };
    client.run(&renewed).await.outcome();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_actions_as_a_lease_has_slots_wait_for_one_and_more_are_busy() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    world.lease(&client, 2, 1).await;
    let mut long = client.request("sleep 1000", &[]);
    long.lease = 2;
    // Each is admitted before it asks for blobs.
    let mut first = client.start(&long).await;
    assert!(
        within(frame::receive(&mut first.receive, 1 << 20))
            .await
            .unwrap()
            .is_some()
    );
    client.tell_file("/client/more", b"more", false).await;
    let mut short = client.request("exit 3", &[]);
    short.lease = 2;
    let mut second = client.start(&short).await;
    assert!(
        within(frame::receive(&mut second.receive, 1 << 20))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(client.run(&long).await.refusal(), RefusalCode::Busy);
    drop(first);
    let more = client.content(b"more");
    client.send_blobs(&[more]).await.finish().unwrap();
    let (answer, _) = within(client.follow(second)).await;
    assert_eq!(answer.outcome().0.exit, Exit::Code(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_its_owners() {
    let world = World::new().await;
    let alice = world.ready_client("alice").await;
    let request = alice.request("exit 0", &[]);
    alice.run(&request).await.outcome();
    // Another client, and another key under the same name.
    for name in ["mallory", "alice"] {
        let mallory = world.client(name).await;
        world.lease(&mallory, 1, SLOTS).await;
        assert_eq!(mallory.run(&request).await.refusal(), RefusalCode::NotAllowed);
        let open = TableOpen {
            view: alice.view,
            epoch: 9,
            extensions: Vec::new(),
        };
        let stopped = mallory.say(&open).await.stopped().await;
        assert_eq!(
            stopped.unwrap().map(u64::from),
            Some(u64::from(close::NOT_ALLOWED))
        );
    }
    alice.run(&request).await.outcome();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_are_served() {
    let world = World::new().await;
    for who in ["quicc://farm/builder/b2", "quicc://farm/scheduler/s1"] {
        // The refusal may overtake the end of the handshake.
        let reason = match world.connect(who).await {
            Ok((peer, _)) => within(peer.connection.closed()).await.to_string(),
            Err(error) => text::chain(&error),
        };
        assert!(reason.contains("only clients of the cluster"), "{who}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_client_is_not_heard_early_either() {
    let world = World::new().await;
    let alice = world.ready_client("alice").await;
    let request = alice.request("exit 0", &[]);
    for (who, is_heard) in [
        ("quicc://farm/client/bob", true),
        ("quicc://farm/builder/b2", false),
        ("quicc://farm/scheduler/s1", false),
    ] {
        let endpoint = world.endpoint_of(who);
        let first = world.open(&endpoint).await;
        assert!(!first.is_early());
        let connection = first.connection.clone();
        if is_heard {
            let _peer = within(first.meet()).await.unwrap();
            // An answer comes behind the session's tickets.
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            frame::send(&mut send, &request).await.unwrap();
            within(frame::receive(&mut receive, limits::RUN_PAYLOAD))
                .await
                .unwrap();
            connection.close(0_u32.into(), b"");
        }
        within(connection.closed()).await;
        let second = world.open(&endpoint).await;
        assert!(second.is_early(), "{who}");
        let connection = second.connection.clone();
        let ask = async {
            let (mut send, mut receive) = connection.open_bi().await.ok()?;
            frame::send(&mut send, &request).await.ok()?;
            frame::receive(&mut receive, limits::RUN_PAYLOAD).await.ok()?
        };
        if is_heard {
            let (met, answer) = tokio::join!(within(second.meet()), within(ask));
            assert!(met.is_ok() && answer.is_some(), "{who}: {met:?}");
        } else {
            let answer = within(ask).await;
            assert!(answer.is_none(), "{who}: {answer:?}");
            // RFC 9000 §10.2.3: before the handshake is over an application's reason does not travel.
            let closed = within(connection.closed()).await;
            let is_early = matches!(&closed, ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::APPLICATION_ERROR);
            let is_refused = is_early || is_closed_with(&closed, close::NOT_ALLOWED);
            assert!(is_refused, "{who}: {closed}");
        }
    }
}
