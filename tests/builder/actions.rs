//! What an action gets, leaves and costs.

use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::{After, Before, Exit, SCRATCH_NAME};
use quicc_protocol::message::table::{EntryKind, PoisonKind, TableRecord};
use quicc_protocol::{BlobDigest, close};
use quinn::VarInt;

use crate::client::shell;
use crate::world::{OUTPUT_BYTES, SLOTS, World, action_directories, eventually, within};

const WRITTEN: After = After::Written { executable: false };

#[tokio::test(flavor = "multi_thread")]
async fn an_action_runs_on_the_clients_files_and_asks_for_each_once() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.tell_file("/client/a.txt", b"from the client", false).await;
    let script = "cat a.txt >new.o; echo again >old.o; echo said; echo warned >&2; exit 3";
    let outputs = [
        ("new.o", Before::Absent),
        ("old.o", Before::ReadOnly),
        ("kept.d", Before::Writable),
        ("none.su", Before::Absent),
    ];
    // Read-only as the old output is, the shell cannot truncate it: like gcc, it unlinks first.
    let script = script.replace("echo again", "rm -f old.o; echo again");
    let request = client.request(&script, &outputs);
    let (answer, asked) = client.run_counting(&request).await;
    let (outcome, bodies) = answer.outcome();
    assert_eq!(
        outcome.exit,
        Exit::Code(3),
        "{}",
        String::from_utf8_lossy(&bodies[1])
    );
    assert_eq!(
        outcome.outputs,
        [WRITTEN, WRITTEN, After::Unchanged, After::Absent]
    );
    let texts: Vec<_> = bodies
        .iter()
        .map(|bytes| std::str::from_utf8(bytes).unwrap())
        .collect();
    assert_eq!(texts, ["said\n", "warned\n", "from the client", "again\n"]);
    assert!(outcome.unexpected.is_empty() && !outcome.mirror_changed);
    assert!(outcome.usage.wall > 0);
    let mut distinct = asked.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), asked.len(), "asked for once each");
    let (again, asked) = client.run_counting(&request).await;
    assert_eq!(again.outcome().0.outputs, outcome.outputs);
    assert_eq!(asked, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_of_an_action_share_its_scratch_directory() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    let scratch = String::from_utf8_lossy(SCRATCH_NAME);
    let first = format!("test $TMPDIR = /{scratch} && echo kept >/{scratch}/t");
    let mut request = client.request(&first, &[("a.o", Before::Absent)]);
    request.steps.push(shell(&format!("cat /{scratch}/t >a.o")));
    let answer = client.run(&request).await;
    let (outcome, bodies) = answer.outcome();
    assert_eq!(
        outcome.exit,
        Exit::Code(0),
        "{}",
        String::from_utf8_lossy(&bodies[1])
    );
    assert_eq!(
        (&outcome.outputs[..], &bodies[2][..]),
        (&[WRITTEN][..], &b"kept\n"[..])
    );
    assert!(outcome.unexpected.is_empty(), "{outcome:?}");
    request.steps[0] = shell("exit 4");
    let answer = client.run(&request).await;
    let (outcome, _) = answer.outcome();
    assert_eq!(
        (outcome.exit, &outcome.outputs[..]),
        (Exit::Code(4), &[After::Absent][..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_lack_the_same_blobs_ask_once_together() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    let request = client.request("exit 0", &[]);
    let (first, second) = tokio::join!(client.run_counting(&request), client.run_counting(&request));
    let mut asked = [first.1, second.1].concat();
    asked.sort_unstable();
    let all = asked.len();
    asked.dedup();
    assert_eq!((asked.len() == all, all > 0), (true, true));
    for answer in [first.0, second.0] {
        assert_eq!(answer.outcome().0.exit, Exit::Code(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asker_that_is_cancelled_leaves_its_blobs_to_others() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    let request = client.request("exit 0", &[]);
    // Never answered: the first asks and is gone, the second has to ask itself.
    let mut first = client.start(&request).await;
    let wanted = quicc::transport::frame::receive(&mut first.receive, 1 << 20);
    assert!(within(wanted).await.unwrap().is_some());
    let second = client.start(&request).await;
    first.send.reset(VarInt::from_u32(close::CANCELLED)).unwrap();
    let (answer, asked) = client.follow(second).await;
    assert_eq!(answer.outcome().0.exit, Exit::Code(0));
    assert!(!asked.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_fails_loudly_and_surprises_are_named() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    let parent = client.directory("/client");
    let names = vec![
        (b"unsent.h".to_vec(), PoisonKind::Link),
        (b"sub".to_vec(), PoisonKind::Directory),
    ];
    client.tell(vec![TableRecord::Poison { parent, names }]).await;
    let script =
        "cat unsent.h; cat sub/x; echo x >surprise; echo $TMPDIR; echo t >$TMPDIR/t && cat $TMPDIR/t";
    let request = client.request(script, &[("a.o", Before::Absent)]);
    let (outcome, bodies) = client.run(&request).await.outcome();
    let stderr = String::from_utf8_lossy(&bodies[1]);
    assert!(
        stderr.contains("unsent.h: Too many levels of symbolic links"),
        "{stderr}"
    );
    assert!(stderr.contains("sub/x: Permission denied"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&bodies[0]), "/.quicc-scratch\nt\n");
    assert_eq!(outcome.unexpected, [b"/client/surprise"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_without_outputs_is_read_only() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.tell_file("/client/a.h", b"shipped", false).await;
    let script = "cat a.h; echo x >surprise";
    let (outcome, bodies) = client.run(&client.request(script, &[])).await.outcome();
    let texts = bodies.iter().map(|bytes| String::from_utf8_lossy(bytes));
    let texts: Vec<_> = texts.collect();
    assert_ne!(outcome.exit, Exit::Code(0));
    assert_eq!(texts[0], "shipped");
    assert!(texts[1].contains("Read-only file system"), "{}", texts[1]);
    assert!(outcome.unexpected.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shipped_beside_outputs_is_read_only_and_the_rest_of_the_tree_too() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    let header = client.tell_file("/client/config.h", b"shipped", false).await;
    client.tell_file("/client/sub/deep.h", b"deep", false).await;
    let script = "cat config.h sub/deep.h; (echo x >config.h); (echo x >sub/deep.h); (echo x >sub/new); \
                  (echo x >/bin/new); echo o >a.o";
    let request = client.request(script, &[("a.o", Before::Absent)]);
    let (outcome, bodies) = client.run(&request).await.outcome();
    assert_eq!(String::from_utf8_lossy(&bodies[0]), "shippeddeep");
    let stderr = String::from_utf8_lossy(&bodies[1]);
    assert_eq!(stderr.matches("cannot create").count(), 4, "{stderr}");
    assert_eq!((outcome.outputs, outcome.unexpected), (vec![WRITTEN], vec![]));
    client.tell(vec![TableRecord::Remove { id: header }]).await;
    client.entries.remove(&header);
    let (_, bodies) = client
        .run(&client.request("cat config.h sub/deep.h", &[]))
        .await
        .outcome();
    assert_eq!(String::from_utf8_lossy(&bodies[0]), "deep");
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_entries_and_unknown_tables_are_said_at_once() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.tell_file("/client/a", b"1", false).await;
    let old = client.request("cat a", &[]);
    client.tell_file("/client/a", b"2", false).await;
    // Its position is reached only after the entry was superseded.
    let stale = quicc_protocol::message::run::RunRequest {
        position: client.position,
        ..old.clone()
    };
    assert_eq!(client.run(&stale).await.refusal(), RefusalCode::Stale);
    let other_epoch = quicc_protocol::message::run::RunRequest {
        epoch: 9,
        ..old.clone()
    };
    assert_eq!(
        client.run(&other_epoch).await.refusal(),
        RefusalCode::UnknownTable
    );
    let malformed = quicc_protocol::message::run::RunRequest {
        entries: vec![0xff],
        ..old
    };
    assert_eq!(client.run(&malformed).await.refusal(), RefusalCode::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_no_longer_has_a_stream_is_dead() {
    let world = World::new().await;
    let client = world.ready_client("alice").await;
    client.run(&client.request("exit 0", &[])).await.outcome();
    let request = client.request("sleep 1000", &[]);
    for end in ["reset", "stop", "connection"] {
        let mut running = client.start(&request).await;
        eventually("the action runs", || world.sleepers() == 1).await;
        match end {
            "reset" => running.send.reset(VarInt::from_u32(close::CANCELLED)).unwrap(),
            "stop" => running.receive.stop(VarInt::from_u32(close::CANCELLED)).unwrap(),
            _ => client.peer.connection.close(VarInt::from_u32(close::DONE), b""),
        }
        eventually(end, || world.sleepers() == 0 && world.action_directories() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_missing_compilers_and_missing_directories_are_refusals() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    let endless = client.request(
        "while :; do echo 0123456789012345678901234567890123456789; done",
        &[],
    );
    assert_eq!(client.run(&endless).await.refusal(), RefusalCode::LimitExceeded);
    let large = format!(
        "cat /bin/sh /bin/sh /bin/sh /bin/sh /bin/sh /bin/sh /bin/sh /bin/sh /bin/sh >a.o; : {OUTPUT_BYTES}"
    );
    let large = client.request(&large, &[("a.o", Before::Absent)]);
    assert_eq!(client.run(&large).await.refusal(), RefusalCode::LimitExceeded);
    client
        .tell_file("/bin/foreign", b"\x7fELF no program", true)
        .await;
    let mut foreign = client.request("", &[]);
    foreign.steps[0].program = b"/bin/foreign".to_vec();
    assert_eq!(client.run(&foreign).await.refusal(), RefusalCode::Unsupported);
    let mut nowhere = client.request("exit 0", &[]);
    nowhere.cwd = b"/client/absent".to_vec();
    assert_eq!(client.run(&nowhere).await.refusal(), RefusalCode::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_blobs_of_others_delay_nobody() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    let before = client.request("exit 0", &[]);
    // Told, never sent, not named by the action: poison, no more.
    let (_, records) = client.entry(
        "/client/large",
        EntryKind::File {
            content: BlobDigest::of(b"never sent"),
            size: 1 << 30,
            executable: false,
            modified: quicc_protocol::message::table::FileTime {
                seconds: 0,
                nanoseconds: 0,
            },
            same_inode_as: None,
        },
    );
    client.tell(records).await;
    let request = quicc_protocol::message::run::RunRequest {
        position: client.position,
        ..before
    };
    assert_eq!(client.run(&request).await.outcome().0.exit, Exit::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_said_to_be_on_its_way_and_does_not_come_is_asked_for() {
    let world = World::new().await;
    let mut client = world.ready_client("alice").await;
    client.run(&client.request("exit 0", &[])).await.outcome();
    client.tell_file("/client/a.txt", b"dawdles", false).await;
    client.tell_file("/client/b.txt", b"unmentioned", false).await;
    let [dawdles, unmentioned] = [&b"dawdles"[..], b"unmentioned"].map(BlobDigest::of);
    let mut request = client.request("cat a.txt b.txt", &[]);
    request.tell_on_their_way(&[dawdles]);
    let (answer, asked) = client.run_counting(&request).await;
    assert_eq!(answer.outcome().1[0], b"dawdlesunmentioned");
    assert_eq!(asked, [unmentioned, dawdles]);
    let mut malformed = client.request("exit 0", &[]);
    malformed.extensions = vec![(1, vec![0; 31])];
    assert_eq!(client.run(&malformed).await.refusal(), RefusalCode::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_builder_ends_when_told_and_leaves_its_directory_clean() {
    let mut world = World::new().await;
    let client = world.ready_client("alice").await;
    client.run(&client.request("exit 0", &[])).await.outcome();
    assert_eq!(world.next_offer().await.slots, SLOTS);
    drop(client);
    let directory = world.end().await;
    for emptied in ["mirrors", "cas/tmp"] {
        let left = std::fs::read_dir(directory.path().join(emptied)).unwrap().count();
        assert_eq!(left, 0, "{emptied}");
    }
    assert_eq!(action_directories(directory.path()), 0);
    let cas = quicc::store::Cas::open(directory.path(), 1 << 30).unwrap();
    assert!(cas.total() > 0, "blobs outlive the builder");
}
