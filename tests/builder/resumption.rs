//! A client that lost its connection and goes on with its table on another.

use quicc::transport::frame;
use quicc_protocol::close;
use quicc_protocol::identifiers::ViewId;
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::RunRequest;
use quicc_protocol::message::table::{TableOpen, TableRecords};

use crate::client::Client;
use crate::world::{SLOTS, World, within};

/// What `cat a b` says, and how many blobs the builder asked for.
async fn cat(client: &Client) -> (String, usize) {
    let (answer, asked) = client.run_counting(&client.request("cat a b", &[])).await;
    let (outcome, bodies) = answer.outcome();
    let said = bodies.iter().map(|body| String::from_utf8_lossy(body));
    assert_eq!(outcome.exit, quicc_protocol::message::run::Exit::Code(0));
    (said.collect(), asked.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_on_from_wherever_it_is_told_again() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    let first = client.tell_file("/client/a", b"1", false).await;
    let position = client.position;
    let kind = client.file(b"2", false);
    let (_, second) = client.entry("/client/b", kind);
    client.tell(second.clone()).await;
    assert_eq!(cat(&client).await.0, "12");
    let again = world.connect_again(&client).await;
    let former = std::mem::replace(&mut client.peer, again);
    let mut former_table = client.table.take().unwrap();
    world.lease(&client, 1, SLOTS).await;
    // The second file may not have come before the connection was lost.
    client.resume_table(position).await;
    client.position = position;
    client.tell(second).await;
    assert_eq!(cat(&client).await, ("12".to_owned(), 0), "nothing is asked for");
    client.entries.remove(&first);
    let kind = client.file(b"3", false);
    let (_, third) = client.entry("/client/a", kind);
    client.tell(third.clone()).await;
    // What was on its way on the former connection changes nothing, whichever comes first.
    frame::send(&mut former_table, &TableRecords { records: third })
        .await
        .unwrap();
    assert_eq!(cat(&client).await, ("32".to_owned(), 1));
    former.connection.close(0_u32.into(), b"");
    assert_eq!(cat(&client).await, ("32".to_owned(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_builder_does_not_hold_is_refused_at_once_and_told_anew() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.tell_file("/client/a", b"1", false).await;
    client.tell_file("/client/b", b"2", false).await;
    cat(&client).await;
    let request = client.request("cat a b", &[]);
    for (view, epoch, position) in [
        (client.view, 1, client.position + 1),
        (client.view, 2, 0),
        (ViewId([9; 16]), 1, 0),
    ] {
        let open = TableOpen::new(view, epoch, Some(position));
        let stopped = within(client.say(&open).await.stopped()).await.unwrap();
        assert_eq!(stopped.map(u64::from), Some(u64::from(close::CANCELLED)));
        let request = RunRequest {
            view,
            epoch,
            position,
            ..request.clone()
        };
        let answer = client.run(&request).await;
        assert_eq!(answer.refusal(), RefusalCode::UnknownTable, "{epoch} {position}");
    }
    assert_eq!(cat(&client).await.0, "12", "the live table is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_opened_again_is_not_emptied() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.tell_file("/client/a", b"1", false).await;
    client.tell_file("/client/b", b"2", false).await;
    cat(&client).await;
    for epoch in [0, 1] {
        let open = TableOpen::new(client.view, epoch, None);
        let stopped = within(client.say(&open).await.stopped()).await.unwrap();
        assert_eq!(stopped.map(u64::from), Some(u64::from(close::CANCELLED)));
    }
    assert_eq!(cat(&client).await, ("12".to_owned(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_goes_on_with_a_table() {
    let world = World::new().await;
    let mut alice = world.ready_client("alice").await;
    alice.tell_file("/client/a", b"1", false).await;
    alice.tell_file("/client/b", b"2", false).await;
    cat(&alice).await;
    // Another client, and another key under the same name.
    for name in ["mallory", "alice"] {
        let mallory = world.client(name).await;
        world.lease(&mallory, 1, SLOTS).await;
        let open = TableOpen::new(alice.view, alice.epoch, Some(alice.position));
        let stopped = within(mallory.say(&open).await.stopped()).await.unwrap();
        assert_eq!(stopped.map(u64::from), Some(u64::from(close::NOT_ALLOWED)));
        let answer = mallory.run(&alice.request("cat a b", &[])).await;
        assert_eq!(answer.refusal(), RefusalCode::NotAllowed);
    }
    assert_eq!(cat(&alice).await, ("12".to_owned(), 0));
}
