//! Peers that break the protocol lose their connection or stream; the builder lives on.

use quicc_protocol::message::Message;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::Exit;
use quicc_protocol::message::table::{TableRecord, TableRecords};
use quicc_protocol::{BlobDigest, close};
use quinn::ConnectionError;

use crate::client::pack;
use crate::world::{World, within};

pub(crate) fn is_closed_with(error: &ConnectionError, code: u32) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(closed) if closed.error_code.into_inner() == u64::from(code))
}

/// What a client writes where.
enum Breach {
    Message(Vec<u8>),
    Control(Vec<u8>),
    Table(Vec<TableRecord>),
    /// Bytes that are not those of the digest its table names.
    Lie,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_closes_the_connection_and_nobody_elses() {
    let world = World::new().await;
    let honest = world.ready_client("alice").await;
    let request = honest.request("exit 0", &[]);
    honest.run(&request).await.outcome();
    let lying = || {
        let (batch, wire) = pack([(BlobDigest::of(b"announced"), &b"these are not the bytes"[..])]);
        [batch.to_frame(), wire].concat()
    };
    let breaches = [
        ("garbage", Breach::Message(vec![0xff; 64])),
        (
            "a message for another stream",
            Breach::Message(request.to_frame()),
        ),
        (
            "records without a table",
            Breach::Message(TableRecords { records: vec![] }.to_frame()),
        ),
        ("other bytes than announced", Breach::Lie),
        ("words on the control stream", Breach::Control(request.to_frame())),
        ("garbage on the control stream", Breach::Control(vec![0xff; 64])),
        (
            "an entry in no directory",
            Breach::Table(vec![TableRecord::Remove { id: 5 }]),
        ),
    ];
    for (what, breach) in breaches {
        let mut client = world.client("mallory").await;
        client.view = quicc_protocol::identifiers::ViewId([8; 16]);
        world.lease(&client, 1, 1).await;
        match breach {
            Breach::Message(bytes) => {
                let mut stream = client.peer.connection.open_uni().await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.finish().unwrap();
            }
            Breach::Control(bytes) => client.peer.control.send.write_all(&bytes).await.unwrap(),
            Breach::Lie => {
                client.view = quicc_protocol::identifiers::ViewId([9; 16]);
                client.open_table(1).await;
                client.tell_file("/a", b"announced", false).await;
                client
                    .peer
                    .connection
                    .open_uni()
                    .await
                    .unwrap()
                    .write_all(&lying())
                    .await
                    .unwrap();
            }
            Breach::Table(records) => {
                client.open_table(1).await;
                client.tell(records).await;
            }
        }
        let closed = within(client.peer.connection.closed()).await;
        let expected = if what == "garbage on the control stream" {
            close::DONE
        } else {
            close::PROTOCOL
        };
        assert!(is_closed_with(&closed, expected), "{what}: {closed}");
        assert_eq!(
            honest.run(&request).await.outcome().0.exit,
            Exit::Code(0),
            "after {what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_on_a_run_stream_costs_the_stream() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    let refusal = Refusal::new(RefusalCode::Busy, "");
    for (bytes, code) in [
        (vec![0xff; 64], close::PROTOCOL),
        (refusal.to_frame(), close::UNSUPPORTED),
        (client.request("", &[]).to_frame()[..20].to_vec(), close::PROTOCOL),
    ] {
        let (mut send, mut receive) = client.peer.connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        let reset = within(receive.received_reset()).await.unwrap();
        assert_eq!(reset.map(u64::from), Some(u64::from(code)));
    }
    client.run(&client.request("exit 0", &[])).await.outcome();
}
