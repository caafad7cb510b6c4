//! File systems that do not answer, for which nobody else waits, and those that do not tell of changes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Bytes that a request of the kernel may have.
const REQUEST: usize = 1 << 16;
/// Where its number is.
const UNIQUE: std::ops::Range<usize> = 8..16;
/// How long anybody may wait who asks of other files.
const LIVENESS: Duration = Duration::from_secs(10);

#[test]
fn a_file_system_that_does_not_answer_holds_only_who_asks_of_its_files() {
    let guard = tempfile::tempdir().unwrap();
    let root = guard.path().canonicalize().unwrap();
    let silent = root.join("silent");
    std::fs::create_dir(&silent).unwrap();
    std::fs::write(root.join("a.h"), "text").unwrap();
    let tree = Tree::watching();
    let stat = |path: &Path| tree.stat(path.as_os_str().as_bytes());
    assert!(stat(&root.join("a.h")).unwrap().is_some());
    let mark = tree.refresh().unwrap();
    let (tree, root, silent, stat) = (&tree, &root, &silent, &stat);
    let answered = std::thread::scope(|scope| {
        let others = scope.spawn(move || {
            let device = mount_silent(silent);
            let (tell, told) = mpsc::channel();
            scope.spawn(|| {
                let _ = stat(&silent.join("x.h"));
            });
            // What it asks is there, and stays unanswered.
            let asked = (&device).read(&mut [0; REQUEST]);
            scope.spawn(move || {
                let changes = tree.changes_since_at_once(mark);
                let others = (tree.refresh(), stat(&root.join("a.h")), stat(&root.join("b.h")));
                let _ = tell.send((changes.is_some(), others.1.is_ok(), others.2.is_ok()));
            });
            let answered = told.recv_timeout(LIVENESS);
            // Ends all that waits for it.
            umount2(silent, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).unwrap();
            asked.unwrap();
            answered
        });
        others.join().unwrap()
    });
    assert_eq!(answered, Ok((true, true, true)));
}

#[test]
fn a_file_of_another_file_system_is_not_believed_by_its_directorys_watches() {
    let guard = tempfile::tempdir().unwrap();
    let path = guard.path().canonicalize().unwrap().join("a.h");
    std::fs::write(&path, "text").unwrap();
    let proven = |tree: &Tree| {
        let path = path.as_os_str().as_bytes();
        tree.refresh();
        assert!(tree.stat(path).unwrap().is_some());
        tree.proven(path).is_some()
    };
    assert!(proven(&Tree::watching()));
    std::thread::scope(|scope| {
        let bound = scope.spawn(|| {
            leave_mounts();
            // Nothing tells when the kernel makes other text of it.
            mount(
                Some("/proc/version"),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .unwrap();
            let proven = proven(&Tree::watching());
            umount2(&path, MntFlags::MNT_DETACH).unwrap();
            proven
        });
        assert!(!bound.join().unwrap());
    });
}

/// Has what this thread and those it starts mount seen by no other. The tests run as root.
fn leave_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("the tests run as root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
}

/// Mounts a file system at `at`, seen by this thread and those it starts, of which every question can be read and none is
/// answered.
fn mount_silent(at: &Path) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    leave_mounts();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    mount(Some("none"), at, Some("fuse"), MsFlags::empty(), Some(&*options)).unwrap();
    // Only the first, FUSE_INIT: the kernel asks nothing before (linux/fuse.h).
    let mut request = [0; REQUEST];
    assert!((&device).read(&mut request).unwrap() >= UNIQUE.end);
    let mut reply: Vec<u8> = [16 + 64, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    reply.extend(&request[UNIQUE]);
    reply.extend([7, 31, 0, 0, 0, 4096, 1].into_iter().flat_map(u32::to_ne_bytes));
    reply.resize(16 + 64, 0);
    (&device).write_all(&reply).unwrap();
    device
}
