//! Who may do what.

use quicc::host::text;
use quicc_protocol::close;
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::Exit;
use quicc_protocol::message::table::TableOpen;

use crate::world::{SLOTS, World, within};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lease_shown_with_its_ticket_pays() {
    let world = World::new().await;
    let mut client = world.client("alice").await;
    client.open_table(1).await;
    client.tell_shell().await;
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
    assert_eq!(client.run(&request).await.outcome().0.exit, Exit::Code(0));
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
async fn more_actions_than_a_lease_has_slots_are_busy() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    world.lease(&client, 2, 1).await;
    let mut request = client.request("sleep 1000", &[]);
    request.lease = 2;
    // The first holds its slot from before it asks for blobs.
    let mut first = client.start(&request).await;
    let wanted = quicc::transport::frame::receive(&mut first.receive, 1 << 20);
    assert!(within(wanted).await.unwrap().is_some());
    assert_eq!(client.run(&request).await.refusal(), RefusalCode::Busy);
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
