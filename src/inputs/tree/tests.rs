//! The memory against a real file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

fn bytes(path: &Path) -> Arc<[u8]> {
    path.as_os_str().as_bytes().into()
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path)
}

fn digest(tree: &Tree, path: &Path) -> ContentDigest {
    let path = bytes(path);
    let now = tree.stat(&path).unwrap().unwrap();
    tree.content(&path, &now).unwrap().digest
}

#[test]
fn a_digest_is_of_the_bytes_and_follows_them() {
    let (_guard, root) = directory();
    let file = root.join("a.h");
    let tree = Tree::new();
    for text in ["one", "two", "three"] {
        fs::write(&file, text).unwrap();
        assert_eq!(digest(&tree, &file), *blake3::hash(text.as_bytes()).as_bytes());
    }
}

#[test]
fn equal_size_and_mtime_do_not_fool_it() {
    let (_guard, root) = directory();
    let (file, other) = (root.join("a.h"), root.join("b.h"));
    let tree = Tree::new();
    fs::write(&file, "one").unwrap();
    let mtime = fs::metadata(&file).unwrap().modified().unwrap();
    let first = digest(&tree, &file);
    fs::write(&other, "two").unwrap();
    fs::File::options()
        .write(true)
        .open(&other)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    fs::rename(&other, &file).unwrap();
    assert_ne!(digest(&tree, &file), first);
    // In place, as `touch -r` after an edit.
    fs::write(&file, "one").unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    assert_eq!(digest(&tree, &file), first);
}

#[test]
fn references_are_known_by_content() {
    let (_guard, root) = directory();
    let tree = Tree::new();
    let scanned = |name: &str| {
        let path = root.join(name);
        fs::write(&path, "#include <x.h>\n").unwrap();
        let path = bytes(&path);
        let now = tree.stat(&path).unwrap().unwrap();
        tree.scanned(&path, &now).unwrap().references
    };
    let (first, second) = (scanned("a.h"), scanned("b.h"));
    assert_eq!(first.includes.len(), 1);
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn verified_bytes_are_the_digests_bytes_or_none() {
    let (_guard, root) = directory();
    let file = root.join("a.h");
    fs::write(&file, "one").unwrap();
    let tree = Tree::new();
    let digest = digest(&tree, &file);
    let verified = |digest| tree.read_verified(&bytes(&file), digest);
    assert_eq!(verified(&digest).unwrap().as_slice(), b"one");
    fs::write(&file, "two").unwrap();
    assert_eq!(verified(&digest), None);
    // One that was scanned outlives its file for a while.
    let now = tree.stat(&bytes(&file)).unwrap().unwrap();
    let scanned = tree.scanned(&bytes(&file), &now).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(verified(&digest), None);
    assert_eq!(verified(&scanned.digest).unwrap().as_slice(), b"two");
}

#[test]
fn listings_follow_the_directory() {
    let (_guard, root) = directory();
    fs::write(root.join("a.h"), "").unwrap();
    fs::create_dir(root.join("d")).unwrap();
    symlink("a.h", root.join("l")).unwrap();
    let tree = Tree::new();
    let listing = tree.listing(&bytes(&root)).unwrap().listing;
    let expected = [
        ("a.h", EntryKind::File),
        ("d", EntryKind::Directory),
        ("l", EntryKind::Symlink),
    ];
    let expected = expected.map(|(name, kind)| (name.as_bytes().into(), kind));
    assert_eq!(listing.names, expected.into_iter().collect());
    assert!(!listing.has_precompiled);
    fs::write(root.join("a.h.gch"), "").unwrap();
    assert!(tree.listing(&bytes(&root)).unwrap().listing.has_precompiled);
}

#[test]
fn the_target_of_a_link_follows_it() {
    let (_guard, root) = directory();
    let (link, tree) = (root.join("l"), Tree::new());
    let target = || {
        let now = tree.stat(&bytes(&link)).unwrap().unwrap();
        tree.link_target(&bytes(&link), &now).unwrap()
    };
    for name in ["one", "two"] {
        let _ = fs::remove_file(&link);
        symlink(name, &link).unwrap();
        let started = std::time::Instant::now();
        while known(&tree.links, &*bytes(&link)).is_none_or(|(_, target)| target != name.as_bytes()) {
            assert_eq!(target(), name.as_bytes());
            assert!(started.elapsed().as_secs() < 60, "it never settles");
        }
        assert_eq!(target(), name.as_bytes(), "remembered");
    }
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let (_guard, root) = directory();
    let fifo = root.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    symlink("/dev/null", root.join("link")).unwrap();
    let tree = Tree::new();
    let check = |path: &Path| {
        let path = bytes(path);
        let now = tree.stat(&path).unwrap().unwrap();
        tree.content(&path, &now).unwrap_err()
    };
    assert!(matches!(check(&fifo), TreeError::NotRegular { .. }));
    assert!(matches!(
        check(Path::new("/dev/null")),
        TreeError::NotRegular { .. }
    ));
    assert!(matches!(
        check(Path::new("/proc/self/status")),
        TreeError::NotRegular { .. }
    ));
    assert!(matches!(check(&root.join("link")), TreeError::File(_)));
}

#[test]
fn a_name_that_is_not_there_is_no_error() {
    let (_guard, root) = directory();
    fs::write(root.join("a.h"), "").unwrap();
    let tree = Tree::new();
    for name in ["b.h", "a.h/b.h", &"x".repeat(300)] {
        assert_eq!(tree.stat(&bytes(&root.join(name))).unwrap(), None, "{name}");
    }
}

#[test]
fn a_file_too_large_to_scan_is_refused_before_it_is_read() {
    let (_guard, root) = directory();
    let path = root.join("large.h");
    fs::File::create(&path).unwrap().set_len(1 << 42).unwrap();
    let tree = Tree::new();
    let now = tree.stat(&bytes(&path)).unwrap().unwrap();
    let error = tree.scanned(&bytes(&path), &now).unwrap_err();
    assert!(matches!(error, TreeError::FileTooLarge { .. }), "{error}");
}

#[test]
fn a_file_of_any_size_is_read_to_its_end() {
    let (_guard, root) = directory();
    let path = root.join("a.h");
    for size in [0, 1, 8191, 8192, 8193, 300_000] {
        let text = "int a;\n".repeat(size / 7 + 1)[..size].to_owned();
        fs::write(&path, &text).unwrap();
        let tree = Tree::new();
        let now = tree.stat(&bytes(&path)).unwrap().unwrap();
        let scanned = tree.scanned(&bytes(&path), &now).unwrap();
        assert_eq!(
            scanned.digest,
            *blake3::hash(text.as_bytes()).as_bytes(),
            "{size}"
        );
    }
}

#[test]
fn a_directory_with_too_many_names_is_refused() {
    let (_guard, root) = directory();
    let target = root.join("0");
    fs::write(&target, "").unwrap();
    for number in 1..=LISTING_NAMES {
        // Links are cheaper than files; ext4 allows 65,000 to one inode.
        fs::hard_link(&target, root.join(number.to_string())).unwrap();
    }
    let error = Tree::new().listing(&bytes(&root)).unwrap_err();
    assert!(matches!(error, TreeError::DirectoryTooLarge { .. }));
}

#[test]
fn a_link_tells_nothing_of_its_file_system_but_by_where_it_is() {
    let (_guard, root) = directory();
    let tree = Tree::new();
    for (name, target) in [("nowhere", "/nonexistent/a"), ("elsewhere", "/proc/self/stat")] {
        symlink(target, root.join(name)).unwrap();
        tree.stat(&bytes(&root.join(name))).unwrap().unwrap();
    }
    let file = root.join("a.h");
    fs::write(&file, "").unwrap();
    let now = tree.stat(&bytes(&file)).unwrap().unwrap();
    let found = tree.file_system(&bytes(&file), &now, 0);
    assert_eq!(Some(found), FileSystem::of(&root));
}
