//! What the store promises, on real files.

use super::*;
use std::os::unix::fs::MetadataExt;

fn open(directory: &tempfile::TempDir, limit: u64) -> Cas {
    Cas::open(directory.path(), limit).unwrap()
}

fn insert(cas: &Cas, bytes: &[u8]) -> Result<BlobDigest, CasError> {
    let digest = BlobDigest::of(bytes);
    let mut writer = cas.insert_writer(digest, bytes.len() as u64)?;
    writer.write_all(bytes).context("write", Path::new("blob"))?;
    writer.commit()?;
    Ok(digest)
}

fn read(cas: &Cas, digest: &BlobDigest) -> Vec<u8> {
    let mut bytes = Vec::new();
    cas.open_blob(digest).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// [`files`] once everything that was to be removed is.
fn files_at_rest(cas: Cas, directory: &tempfile::TempDir) -> Vec<PathBuf> {
    drop(cas);
    files(directory)
}

/// Every file below the store but the lock, relative to it.
fn files(directory: &tempfile::TempDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.path().join("cas")];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_blob_is_kept_across_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let digest = insert(&open(&scratch, 100), b"hello").unwrap();
    let cas = open(&scratch, 100);
    assert!(cas.has(&digest));
    assert_eq!(read(&cas, &digest), b"hello");
    assert_eq!(cas.total(), 5);
    let hex = digest.to_string();
    assert!(
        scratch
            .path()
            .join("cas")
            .join(&hex[..2])
            .join(&hex[2..])
            .is_file()
    );
}

#[test]
fn a_cache_directory_has_one_owner() {
    let scratch = tempfile::tempdir().unwrap();
    let first = open(&scratch, 100);
    let error = Cas::open(scratch.path(), 100).unwrap_err();
    assert!(matches!(&error, CasError::InUse { directory } if directory == scratch.path()));
    assert!(error.to_string().contains(scratch.path().to_str().unwrap()));
    drop(first);
    open(&scratch, 100);
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 100);
    let digest = insert(&cas, b"whole").unwrap();
    let mut writer = cas.insert_writer(BlobDigest::of(b"cut short"), 9).unwrap();
    writer.write_all(b"cut").unwrap();
    // A killed process runs no destructor; the lock goes with it.
    std::mem::forget(writer);
    drop(cas);
    fs::write(scratch.path().join("cas/zz"), "").unwrap();
    fs::write(
        scratch
            .path()
            .join("cas")
            .join(&digest.to_string()[..2])
            .join("junk"),
        "",
    )
    .unwrap();
    assert_eq!(files(&scratch).len(), 4);
    // The forgotten writer holds the lock of this process too: open a copy of the directory.
    let copy = tempfile::tempdir().unwrap();
    fs::rename(scratch.path().join("cas"), copy.path().join("cas")).unwrap();
    let cas = open(&copy, 100);
    assert_eq!(files(&copy).len(), 1);
    assert!(cas.has(&digest) && cas.total() == 5);
}

#[test]
fn wrong_bytes_never_enter() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 100);
    let digest = BlobDigest::of(b"right");
    for (bytes, fits) in [(&b"wrong"[..], true), (b"righ", true), (b"right!", false)] {
        let mut writer = cas.insert_writer(digest, 5).unwrap();
        assert_eq!(writer.write_all(bytes).is_ok(), fits, "{bytes:?}");
        assert!(
            matches!(writer.commit(), Err(CasError::WrongContent { .. })),
            "{bytes:?}"
        );
    }
    assert!(!cas.has(&digest) && cas.total() == 0);
    assert!(files_at_rest(cas, &scratch).is_empty());
}

#[test]
fn damaged_blobs_are_dropped_and_never_served() {
    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        |path| fs::write(path, "hellO").unwrap(),
        |path| fs::write(path, "hell").unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let scratch = tempfile::tempdir().unwrap();
        let cas = open(&scratch, 100);
        let digest = insert(&cas, b"hello").unwrap();
        damage(&cas.0.shelf.path(&digest));
        let target = scratch.path().join("copy");
        assert!(matches!(
            cas.copy_to(&digest, &target),
            Err(CasError::Damaged { .. })
        ));
        assert!(!target.exists() && !cas.has(&digest) && files(&scratch).is_empty());
        assert!(matches!(cas.open_blob(&digest), Err(CasError::Missing { .. })));
        insert(&cas, b"hello").unwrap();
        cas.copy_to(&digest, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
    }
}

#[test]
fn a_copy_shares_no_inode() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 100);
    let digest = insert(&cas, b"hello").unwrap();
    let copy = cas.copy_to(&digest, &scratch.path().join("copy")).unwrap();
    let blob = cas.open_blob(&digest).unwrap();
    assert_ne!(copy.metadata().unwrap().ino(), blob.metadata().unwrap().ino());
    assert_eq!(blob.metadata().unwrap().nlink(), 1);
}

#[test]
fn blobs_used_long_ago_give_way_and_pinned_ones_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 12);
    let digests: Vec<_> = [b"aaaa", b"bbbb", b"cccc"]
        .iter()
        .map(|bytes| insert(&cas, *bytes).unwrap())
        .collect();
    let pin = cas.pin(&digests[..1]).unwrap();
    read(&cas, &digests[1]);
    insert(&cas, b"dddd").unwrap();
    let held: Vec<_> = digests.iter().map(|digest| cas.has(digest)).collect();
    assert_eq!(held, [true, true, false]);
    assert!(matches!(
        insert(&cas, b"twelve bytes"),
        Err(CasError::NoRoom { .. })
    ));
    assert!(cas.has(&digests[1]), "a refusal evicts nothing");
    drop(pin);
    insert(&cas, b"twelve bytes").unwrap();
    assert_eq!(cas.pin(&digests).unwrap_err(), digests);
    assert_eq!(files_at_rest(cas, &scratch).len(), 1);
    assert_eq!(
        open(&scratch, 11).total(),
        0,
        "a lower limit is kept from the start"
    );
}

#[test]
fn equal_blobs_arriving_together_are_one() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 1 << 20);
    let bytes = vec![7; 100_000];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| insert(&cas, &bytes).unwrap());
        }
    });
    assert_eq!(cas.total(), 100_000);
    assert_eq!(read(&cas, &BlobDigest::of(&bytes)), bytes);
    assert_eq!(files_at_rest(cas, &scratch).len(), 1);
}

#[test]
fn an_abandoned_writer_returns_its_room() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 10);
    let mut writer = cas.insert_writer(BlobDigest::of(b"never"), 10).unwrap();
    writer.write_all(b"nev").unwrap();
    assert!(matches!(insert(&cas, b"x"), Err(CasError::NoRoom { .. })));
    drop(writer);
    insert(&cas, b"x").unwrap();
    assert_eq!(files_at_rest(cas, &scratch).len(), 1);
}

#[test]
fn an_announcement_evicts_nothing_and_bytes_evict_in_steps() {
    const STEP: usize = 1 << 20;
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 4 * STEP as u64);
    let kept: Vec<_> = (0..4)
        .map(|byte| insert(&cas, &vec![byte; STEP]).unwrap())
        .collect();
    let mut large = cas
        .insert_writer(BlobDigest::of(b"large"), 4 * STEP as u64)
        .unwrap();
    let left = || kept.iter().filter(|digest| cas.has(digest)).count();
    assert_eq!(left(), 4);
    for (length, expected) in [(1, 3), (STEP - 1, 3), (1, 2), (2 * STEP, 0)] {
        large.write_all(&vec![0; length]).unwrap();
        assert_eq!(left(), expected, "{length}");
    }
    drop(large);
    assert!(files_at_rest(cas, &scratch).is_empty());
}

#[test]
fn a_blob_that_comes_back_outlives_the_removal_of_its_predecessor() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 10);
    let digest = insert(&cas, b"back").unwrap();
    // Evicted, its file not removed yet.
    let mut state = cas.0.shelf.state();
    state.ledger.remove(&digest);
    state.evicted.insert(digest);
    drop(state);
    insert(&cas, b"back").unwrap();
    cas.0.shelf.remove_evicted(&digest);
    assert_eq!(read(&cas, &digest), b"back");
}

/// `/dev/full` answers every write with ENOSPC: the same errors a full disk gives, without one.
#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let cas = open(&scratch, 100);
    let mut writer = cas.insert_writer(BlobDigest::of(b"hello"), 5).unwrap();
    writer.file = Some(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let error = writer.write_all(b"hello").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(writer.commit(), Err(CasError::WrongContent { .. })));
    assert_eq!(cas.total(), 0);
    assert!(files_at_rest(cas, &scratch).is_empty());
}
