//! Whose a view is, and which views give way.

use super::*;
use quicc_protocol::identifiers::{EntryId, ROOT};
use quicc_protocol::message::table::{EntryKind, FileTime, TableRecord};
use std::io::Write as _;
use std::path::Path;

struct World {
    scratch: tempfile::TempDir,
    cas: Cas,
    views: Arc<Views>,
}

fn owner(name: &str, key: u8) -> Owner {
    Owner {
        identity: format!("quicc://farm/client/{name}").parse().unwrap(),
        key: [key; 32],
    }
}

fn view(number: u8) -> ViewId {
    ViewId([number; 16])
}

impl World {
    fn new(limit: u64) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let cas = Cas::open(scratch.path(), 1 << 20).unwrap();
        let directory = scratch.path().join("mirrors");
        std::fs::create_dir(&directory).unwrap();
        let views = Views::new(directory, Discarder::start().unwrap(), cas.clone(), limit);
        Self { scratch, cas, views }
    }

    fn open(&self, number: u8, epoch: u64, resume: Option<u64>) -> Result<Feed, ViewError> {
        self.views.open(&owner("alice", 1), view(number), epoch, resume)
    }

    fn hold(&self, number: u8, epoch: u64) -> Result<Use, ViewError> {
        self.views.hold(&owner("alice", 1), view(number), epoch)
    }

    fn fill(&self, feed: &Feed, id: EntryId, bytes: &[u8]) {
        let content = BlobDigest::of(bytes);
        if !self.cas.has(&content) {
            let mut writer = self.cas.insert_writer(content, bytes.len() as u64).unwrap();
            writer.write_all(bytes).unwrap();
            writer.commit().unwrap();
        }
        let modified = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        let kind = EntryKind::File {
            content,
            size: bytes.len() as u64,
            executable: false,
            modified,
            same_inode_as: None,
        };
        let name = id.to_string().into_bytes();
        let record = TableRecord::Define {
            id,
            parent: ROOT,
            name,
            kind,
        };
        feed.mirror().apply(u64::from(id) - 1, &[record]).unwrap();
        feed.account();
    }
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_view_is_its_owners() {
    let world = World::new(1 << 20);
    let _feed = world.open(1, 5, None).unwrap();
    for stranger in [owner("bob", 2), owner("alice", 2), owner("bob", 1)] {
        let opened = world.views.open(&stranger, view(1), 6, None);
        assert!(
            matches!(opened, Err(ViewError::NotAllowed { .. })),
            "{stranger:?}"
        );
        let resumed = world.views.open(&stranger, view(1), 5, Some(0));
        assert!(
            matches!(resumed, Err(ViewError::NotAllowed { .. })),
            "{stranger:?}"
        );
        let held = world.views.hold(&stranger, view(1), 5);
        assert!(matches!(held, Err(ViewError::NotAllowed { .. })), "{stranger:?}");
    }
    world.hold(1, 5).unwrap();
    for (number, epoch) in [(1, 4), (1, 6), (2, 5)] {
        let held = world.hold(number, epoch);
        assert!(matches!(held, Err(ViewError::Unknown { .. })), "{number} {epoch}");
    }
}

#[test]
fn a_table_told_anew_is_empty_and_one_resumed_is_not() {
    let world = World::new(1 << 20);
    let first = world.open(1, 5, None).unwrap();
    world.fill(&first, 1, b"x");
    let held = world.hold(1, 5).unwrap();
    let resumed = world.open(1, 5, Some(1)).unwrap();
    assert!(Arc::ptr_eq(resumed.mirror(), &held.mirror));
    drop(first);
    assert!(world.views.is_fed(view(1)), "the former stream's end is no news");
    world.fill(&resumed, 2, b"y");
    for (epoch, position) in [(5, 3), (6, 0)] {
        let resumed = world.open(1, epoch, Some(position));
        assert!(
            matches!(resumed, Err(ViewError::Unknown { .. })),
            "{epoch} {position}"
        );
    }
    drop(resumed);
    assert!(!world.views.is_fed(view(1)));
    let anew = world.open(1, 6, None).unwrap();
    assert!(!Arc::ptr_eq(anew.mirror(), &held.mirror));
    assert_eq!(*anew.mirror().position().borrow(), 0);
    assert_eq!(
        std::fs::read(held.mirror.root().join("2")).unwrap(),
        b"y",
        "who runs keeps its files"
    );
}

#[test]
fn a_flight_that_comes_twice_takes_nothing_from_the_live_stream() {
    let world = World::new(1 << 20);
    let live = world.open(1, 5, None).unwrap();
    world.fill(&live, 1, b"x");
    let again = world.open(1, 5, Some(0)).unwrap();
    world.fill(&again, 1, b"x");
    for epoch in [4, 5] {
        let opened = world.open(1, epoch, None);
        assert!(matches!(opened, Err(ViewError::Overtaken { .. })), "{epoch}");
    }
    assert!(live.is_current() && Arc::ptr_eq(live.mirror(), again.mirror()));
    world.fill(&live, 2, b"y");
    drop(again);
    world.fill(&live, 3, b"z");
    assert_eq!(*live.mirror().position().borrow(), 3);
    assert!(live.is_current() && world.views.is_fed(view(1)));
}

#[test]
fn idle_views_give_way_and_used_ones_stay() {
    let world = World::new(2 * 4096);
    let feeds: Vec<_> = (1..=3)
        .map(|number| world.open(number, 1, None).unwrap())
        .collect();
    world.fill(&feeds[0], 1, b"x");
    world.fill(&feeds[1], 1, b"x");
    let held = world.hold(1, 1).unwrap();
    world.fill(&feeds[2], 1, b"x");
    assert!(feeds[0].is_current() && !feeds[1].is_current() && feeds[2].is_current());
    drop(held);
    let World { scratch, cas, views } = world;
    drop((feeds, views, cas));
    assert_eq!(
        count(&scratch.path().join("mirrors")),
        0,
        "mirrors go with their views"
    );
}

#[tokio::test]
async fn a_stream_that_lost_its_view_is_told() {
    let world = World::new(4096);
    let check = async |lost: &Feed| {
        let told = tokio::time::timeout(std::time::Duration::from_secs(5), lost.superseded());
        assert!(told.await.is_ok());
    };
    let first = world.open(1, 1, None).unwrap();
    let resumed = world.open(1, 1, Some(0)).unwrap();
    let anew = world.open(1, 2, None).unwrap();
    check(&first).await;
    check(&resumed).await;
    world.fill(&anew, 1, b"x");
    let other = world.open(2, 1, None).unwrap();
    world.fill(&other, 1, b"x");
    check(&anew).await;
    assert!(other.is_current() && other.superseded.has_changed().is_ok());
}

#[test]
fn views_are_bounded() {
    let world = World::new(1 << 20);
    let owner_of = |number: u8| owner(&format!("client{}", number % 2), number % 2);
    let open = |number| world.views.open(&owner_of(number), view(number), 1, None);
    let feeds: Vec<_> = (0..VIEWS as u8).map(|number| open(number).unwrap()).collect();
    let held: Vec<_> = (0..VIEWS as u8)
        .map(|number| world.views.hold(&owner_of(number), view(number), 1).unwrap())
        .collect();
    assert!(matches!(world.open(200, 1, None), Err(ViewError::Full)));
    drop(held);
    world.open(200, 1, None).unwrap();
    assert_eq!(feeds.iter().filter(|feed| !feed.is_current()).count(), 1);
    assert!(!feeds[0].is_current());
}

#[test]
fn a_client_with_many_views_drives_out_its_own() {
    let world = World::new(1 << 20);
    let others = world.views.open(&owner("bob", 2), view(200), 1, None).unwrap();
    let feeds: Vec<_> = (0..=VIEWS as u8)
        .map(|number| {
            world
                .views
                .open(&owner("alice", number), view(number), 1, None)
                .unwrap()
        })
        .collect();
    assert!(others.is_current());
    let current = feeds.iter().map(Feed::is_current);
    let expected = (0..feeds.len()).map(|number| number > VIEWS - VIEWS_PER_NAME);
    assert!(current.eq(expected), "whatever their keys, the oldest are gone");
}

#[test]
fn a_client_with_most_of_the_bytes_makes_room_itself() {
    let world = World::new(3 * 4096);
    let others = world.views.open(&owner("bob", 2), view(200), 1, None).unwrap();
    world.fill(&others, 1, b"x");
    let feeds: Vec<_> = (1..=3)
        .map(|number| world.open(number, 1, None).unwrap())
        .collect();
    feeds.iter().for_each(|feed| world.fill(feed, 1, b"x"));
    assert!(others.is_current() && !feeds[0].is_current());
}

#[test]
fn a_blob_reaches_every_view_of_its_owner_that_waits() {
    let world = World::new(1 << 20);
    let feeds: Vec<_> = (1..=2)
        .map(|number| world.open(number, 1, None).unwrap())
        .collect();
    let digest = BlobDigest::of(b"late");
    let record = |content| TableRecord::Define {
        id: 1,
        parent: ROOT,
        name: b"f".to_vec(),
        kind: EntryKind::File {
            content,
            size: 4,
            executable: false,
            modified: FileTime {
                seconds: 0,
                nanoseconds: 0,
            },
            same_inode_as: None,
        },
    };
    let bob = owner("bob", 2);
    let foreign = world.views.open(&bob, view(3), 1, None).unwrap();
    for feed in feeds.iter().chain([&foreign]) {
        feed.mirror().apply(0, &[record(digest)]).unwrap();
    }
    let mut writer = world.cas.insert_writer(digest, 4).unwrap();
    writer.write_all(b"late").unwrap();
    writer.commit().unwrap();
    let content = |feed: &Feed| std::fs::read(feed.mirror().root().join("f")).unwrap_or_default();
    foreign
        .mirror()
        .while_still(|_| world.views.arrived(&owner("alice", 1), &digest));
    for feed in &feeds {
        assert_eq!(content(feed), b"late");
    }
    assert_eq!(content(&foreign), b"", "its own actions see to it");
    world.views.arrived(&bob, &digest);
    assert_eq!(content(&foreign), b"late");
}
