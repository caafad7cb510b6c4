//! What a job finds in its directories, and what is made of what it leaves there.

use super::*;
use crate::builder::collect::{Collected, collect};
use crate::builder::mirror::Mirror;
use crate::store::Cas;
use crate::store::discard::Discarder;
use nix::sys::stat::Mode;
use quicc_protocol::BlobDigest;
use quicc_protocol::message::run::After;
use quicc_protocol::message::table::{EntryKind, TableRecord};

const TIME: FileTime = FileTime {
    seconds: 1_000_000_000,
    nanoseconds: 5,
};

/// A view with `/src/build` (id 2), whose directory `sub` (3) holds `deep` (4).
struct World {
    scratch: tempfile::TempDir,
    mirror: Mirror,
}

fn define(id: EntryId, parent: EntryId, name: &str, kind: EntryKind) -> TableRecord {
    TableRecord::Define {
        id,
        parent,
        name: name.into(),
        kind,
    }
}

fn directory() -> EntryKind {
    EntryKind::Directory { modified: TIME }
}

fn file(bytes: &[u8]) -> EntryKind {
    EntryKind::File {
        content: BlobDigest::of(bytes),
        size: bytes.len() as u64,
        executable: false,
        modified: TIME,
        same_inode_as: None,
    }
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let cas = Cas::open(scratch.path(), 1 << 20).unwrap();
        let mut writer = cas.insert_writer(BlobDigest::of(b"header"), 6).unwrap();
        writer.write_all(b"header").unwrap();
        writer.commit().unwrap();
        let discarder = Discarder::start().unwrap();
        let mirror = discarder.create(scratch.path().join("mirror")).unwrap();
        let mirror = Mirror::create(mirror, cas, 1 << 20).unwrap();
        let link = EntryKind::Symlink {
            target: b"sub/x".to_vec(),
        };
        let poison = |name: &str, kind| (name.as_bytes().to_vec(), kind);
        let records = [
            define(1, ROOT, "src", directory()),
            define(2, 1, "build", directory()),
            define(3, 2, "sub", directory()),
            define(4, 3, "deep", directory()),
            define(5, 2, "config.h", file(b"header")),
            define(6, 2, "missing.h", file(b"not sent")),
            define(7, 2, "link.h", link),
            define(8, 3, "x", file(b"header")),
            TableRecord::Poison {
                parent: 2,
                names: vec![
                    poison("old.o", PoisonKind::Link),
                    poison("other", PoisonKind::Directory),
                ],
            },
        ];
        mirror.apply(0, &records).unwrap();
        fs::create_dir(scratch.path().join("job")).unwrap();
        Self { scratch, mirror }
    }

    fn lay(&self, outputs: &[DeclaredOutput]) -> Result<Layout, LayoutError> {
        let job = self.scratch.path().join("job");
        self.mirror.while_still(|still| lay(still, &job, outputs, None))
    }

    fn out(&self, path: &str) -> PathBuf {
        self.scratch.path().join("job/out0").join(path)
    }
}

fn output(directory: EntryId, name: &str, before: Before) -> DeclaredOutput {
    DeclaredOutput {
        directory,
        name: name.into(),
        before,
    }
}

fn targets(binds: &[Bind]) -> Vec<&str> {
    let mut targets: Vec<&str> = binds.iter().map(|bind| bind.target.to_str().unwrap()).collect();
    targets.sort_unstable();
    targets
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn everything_of_the_mirror_appears_again() {
    let world = World::new();
    let layout = world.lay(&[output(2, "new.o", Before::Absent)]).unwrap();
    assert_eq!(targets(&layout.output_directories), ["/src/build"]);
    assert_eq!(
        targets(&layout.protected),
        ["/src/build/config.h", "/src/build/sub"]
    );
    for bind in &layout.protected {
        let inside = bind.target.strip_prefix("/").unwrap();
        assert_eq!(bind.source, world.mirror.root().join(inside));
        let stand_in = world.out("").join(inside.strip_prefix("src/build").unwrap());
        assert_eq!(bind.source.is_dir(), stand_in.is_dir());
    }
    assert_eq!(fs::read_link(world.out("link.h")).unwrap(), Path::new("sub/x"));
    for name in ["old.o", "missing.h"] {
        assert_eq!(fs::read_link(world.out(name)).unwrap(), Path::new(name));
    }
    assert_eq!((mode(&world.out("other")), mode(&world.out(""))), (0o444, 0o755));
    assert!(!world.out("new.o").exists());
    assert_eq!(fs::metadata(world.out("")).unwrap().mtime(), TIME.seconds);
    assert_eq!(layout.scratch.target, Path::new("/.quicc-scratch"));
    assert!(layout.scratch.source.is_dir());
}

#[test]
fn a_declared_output_is_what_it_was_and_never_poison() {
    let world = World::new();
    let outputs = [
        output(2, "old.o", Before::Writable),
        output(2, "config.h", Before::ReadOnly),
        output(2, "missing.h", Before::Absent),
    ];
    let layout = world.lay(&outputs).unwrap();
    for (name, expected) in [("old.o", 0o644), ("config.h", 0o444)] {
        let path = world.out(name);
        assert!(path.is_file() && mode(&path) == expected, "{name}");
        assert_eq!(fs::metadata(&path).unwrap().mtime(), OLD.seconds);
        assert_eq!(fs::read(&path).unwrap().len(), SENTINEL_BYTES);
    }
    assert!(fs::symlink_metadata(world.out("missing.h")).is_err());
    assert_eq!(targets(&layout.protected), ["/src/build/sub"]);
    assert_ne!(
        fs::read(world.out("old.o")).unwrap(),
        fs::read(world.out("config.h")).unwrap()
    );
}

#[test]
fn directories_within_each_other_are_one_tree() {
    let world = World::new();
    let outputs = [
        output(4, "a.o", Before::Absent),
        output(2, "a.d", Before::Writable),
    ];
    let layout = world.lay(&outputs).unwrap();
    assert_eq!(targets(&layout.output_directories), ["/src/build"]);
    assert_eq!(
        targets(&layout.protected),
        ["/src/build/config.h", "/src/build/sub/x"]
    );
    assert!(world.out("sub/deep").is_dir() && world.out("a.d").is_file());
    let deep = &layout.directories[layout.outputs[0].directory];
    assert_eq!(deep.held.made_at(), world.out("sub/deep"));
    fs::write(world.out("sub/deep/a.o"), "object").unwrap();
    fs::write(world.out("sub/surprise"), "").unwrap();
    let expected = Collected {
        outputs: vec![After::Written { executable: false }, After::Unchanged],
        bytes: vec![b"object".to_vec()],
        unexpected: vec![b"/src/build/sub/surprise".to_vec()],
    };
    assert_eq!(collect(&layout, 100).unwrap(), expected);
}

#[test]
fn directories_apart_are_trees_of_their_own_and_no_others_are_made() {
    let world = World::new();
    world
        .mirror
        .apply(9, &[define(9, 1, "other", directory())])
        .unwrap();
    let outputs = [output(4, "a.o", Before::Absent), output(9, "a.d", Before::Absent)];
    let layout = world.lay(&outputs).unwrap();
    assert_eq!(
        targets(&layout.output_directories),
        ["/src/build/sub/deep", "/src/other"]
    );
    assert_eq!(layout.directories.len(), 2);
    let world = World::new();
    let layout = world.lay(&[]).unwrap();
    assert_eq!(targets(&layout.output_directories), Vec::<&str>::new());
    assert_eq!(collect(&layout, 100).unwrap(), Collected::default());
}

#[test]
fn what_cannot_be_laid_is_said() {
    let world = World::new();
    let refused = |directory, expected: fn(&LayoutError) -> bool| {
        let error = world.lay(&[output(directory, "a", Before::Absent)]).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    refused(ROOT, |error| matches!(error, LayoutError::Root));
    refused(5, |error| matches!(error, LayoutError::Superseded));
    refused(99, |error| matches!(error, LayoutError::Superseded));
}

/// Lets a job do `act` in its directory, then checks the state of its output `old.o` and the surprises.
fn check(before: Before, act: impl Fn(&Path), expected: After, surprises: &[&str]) {
    let world = World::new();
    let layout = world.lay(&[output(2, "old.o", before)]).unwrap();
    act(&world.out(""));
    let collected = collect(&layout, 100).unwrap();
    assert_eq!(collected.outputs, [expected], "{before:?} {surprises:?}");
    let named: Vec<_> = collected
        .unexpected
        .iter()
        .map(|path| std::str::from_utf8(path).unwrap())
        .collect();
    assert_eq!(named, surprises, "{before:?} {expected:?}");
    let has_bytes = matches!(expected, After::Written { .. });
    assert_eq!(collected.bytes.len(), usize::from(has_bytes));
}

const WRITTEN: After = After::Written { executable: false };

#[test]
fn outputs_are_told_by_what_became_of_them() {
    let write = |bytes: &'static [u8]| move |out: &Path| fs::write(out.join("old.o"), bytes).unwrap();
    check(Before::Writable, |_| {}, After::Unchanged, &[]);
    check(Before::ReadOnly, |_| {}, After::Unchanged, &[]);
    check(Before::Absent, |_| {}, After::Absent, &[]);
    check(Before::Absent, write(b"x"), WRITTEN, &[]);
    check(Before::Writable, write(b"x"), WRITTEN, &[]);
    check(Before::Writable, write(b""), WRITTEN, &[]);
    check(Before::Writable, write(&[0; SENTINEL_BYTES]), WRITTEN, &[]);
    let unlink = |out: &Path| fs::remove_file(out.join("old.o")).unwrap();
    check(Before::Writable, unlink, After::Absent, &[]);
    let unlink_and_write = |out: &Path| {
        unlink(out);
        write(b"x")(out);
    };
    check(Before::ReadOnly, unlink_and_write, WRITTEN, &[]);
    let rename_over = |out: &Path| {
        fs::write(out.join("old.tmp"), "x").unwrap();
        fs::set_permissions(out.join("old.tmp"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(out.join("old.tmp"), out.join("old.o")).unwrap();
    };
    check(
        Before::ReadOnly,
        rename_over,
        After::Written { executable: true },
        &[],
    );
}

#[test]
fn whatever_else_changed_is_a_surprise() {
    let link = |out: &Path| symlink("/etc/passwd", out.join("old.o")).unwrap();
    check(Before::Absent, link, After::Absent, &["/src/build/old.o"]);
    let fifo = |out: &Path| nix::unistd::mkfifo(&out.join("old.o"), Mode::S_IRWXU).unwrap();
    check(Before::Absent, fifo, After::Absent, &["/src/build/old.o"]);
    let another = |out: &Path| fs::write(out.join("old.gcno"), "x").unwrap();
    check(
        Before::Writable,
        another,
        After::Unchanged,
        &["/src/build/old.gcno"],
    );
    let removed = |out: &Path| fs::remove_file(out.join("config.h")).unwrap();
    check(
        Before::Writable,
        removed,
        After::Unchanged,
        &["/src/build/config.h"],
    );
    let poison_replaced = |out: &Path| {
        fs::write(out.join("tmp"), "x").unwrap();
        fs::rename(out.join("tmp"), out.join("missing.h")).unwrap();
    };
    check(
        Before::Absent,
        poison_replaced,
        After::Absent,
        &["/src/build/missing.h"],
    );
}

#[test]
fn outputs_at_the_limit_are_too_large_and_surprises_are_counted_once() {
    let world = World::new();
    let layout = world.lay(&[output(2, "new.o", Before::Absent)]).unwrap();
    fs::write(world.out("new.o"), "12345").unwrap();
    assert!(matches!(
        collect(&layout, 5),
        Err(crate::builder::collect::CollectError::TooLarge)
    ));
    for number in 0..40 {
        fs::write(world.out(&format!("surprise{number}")), "").unwrap();
    }
    let collected = collect(&layout, 6).unwrap();
    assert_eq!(collected.bytes, [b"12345"]);
    assert_eq!(
        collected.unexpected.len(),
        crate::builder::collect::UNEXPECTED_NAMED
    );
}

/// A job that writes `a.o` into `deep`, below its directory `build`; `act` gets `build` and a directory of this
/// machine that is none of its business, with a file `a.o` in it.
fn check_moved(act: impl Fn(&Path, &Path), surprises: &[&str]) {
    let world = World::new();
    let outputs = [output(2, "a.d", Before::Absent), output(4, "a.o", Before::Absent)];
    let layout = world.lay(&outputs).unwrap();
    let foreign = world.scratch.path().join("foreign");
    fs::create_dir_all(foreign.join("deep")).unwrap();
    for name in ["a.o", "deep/a.o"] {
        fs::write(foreign.join(name), "secret").unwrap();
    }
    fs::write(world.out("a.d"), "dependencies").unwrap();
    act(&world.out(""), &foreign);
    let expected = Collected {
        outputs: vec![WRITTEN, After::Absent],
        bytes: vec![b"dependencies".to_vec()],
        unexpected: surprises.iter().map(|path| path.as_bytes().to_vec()).collect(),
    };
    assert_eq!(collect(&layout, 100).unwrap(), expected);
}

#[test]
fn a_directory_that_was_moved_leads_nowhere() {
    let parent_swapped = |build: &Path, foreign: &Path| {
        fs::write(build.join("sub/deep/a.o"), "object").unwrap();
        fs::rename(build.join("sub"), build.join("moved")).unwrap();
        symlink(foreign, build.join("sub")).unwrap();
    };
    check_moved(
        parent_swapped,
        &["/src/build/moved", "/src/build/sub", "/src/build/sub/deep"],
    );
    let swapped = |build: &Path, foreign: &Path| {
        fs::rename(build.join("sub/deep"), build.join("sub/moved")).unwrap();
        symlink(foreign, build.join("sub/deep")).unwrap();
    };
    check_moved(swapped, &["/src/build/sub/deep", "/src/build/sub/moved"]);
    let replaced = |build: &Path, _: &Path| {
        fs::rename(build.join("sub/deep"), build.join("sub/moved")).unwrap();
        fs::create_dir(build.join("sub/deep")).unwrap();
        fs::write(build.join("sub/deep/a.o"), "object").unwrap();
    };
    check_moved(replaced, &["/src/build/sub/deep", "/src/build/sub/moved"]);
    let removed = |build: &Path, _: &Path| fs::remove_dir(build.join("sub/deep")).unwrap();
    check_moved(removed, &["/src/build/sub/deep"]);
}

#[test]
fn what_a_job_closed_is_opened_or_a_surprise() {
    let closed_directory = |out: &Path| {
        fs::write(out.join("old.o"), "x").unwrap();
        fs::set_permissions(out, fs::Permissions::from_mode(0o000)).unwrap();
    };
    check(Before::Absent, closed_directory, WRITTEN, &[]);
    let linked = |out: &Path| symlink("config.h", out.join("old.o")).unwrap();
    check(Before::Absent, linked, After::Absent, &["/src/build/old.o"]);
    let socket = |out: &Path| drop(std::os::unix::net::UnixListener::bind(out.join("old.o")).unwrap());
    check(Before::Absent, socket, After::Absent, &["/src/build/old.o"]);
    let directory = |out: &Path| fs::create_dir(out.join("old.o")).unwrap();
    check(Before::Absent, directory, After::Absent, &["/src/build/old.o"]);
}
