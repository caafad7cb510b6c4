//! Blobs on their way to one builder: gathered into batches, read, compressed and sent, a few batches at once. Never
//! decides which blobs the builder lacks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{HashMap, HashSet};
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::BlobBatch;
use quicc_protocol::{BlobDigest, limits};
use quinn::SendStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::link::{RunError, Traffic};
use super::sources::{Source, Sources};
use crate::host::task;
use crate::inputs::tree::Tree;
use crate::transport::effort::Effort;
use crate::transport::solid::Packer;
use crate::transport::tuning::{BLOB_PRIORITY, BULK_FROM, BULK_PRIORITY, SEND_WINDOW, STREAM_WINDOW};
use crate::transport::{FrameError, until_closed};

/// Uncompressed bytes gathered into one blob stream, unless a single blob is larger.
const BATCH_BYTES: u64 = 4 << 20;
const _: () = assert!(BATCH_BYTES <= limits::BATCH);
/// Blob streams being read, compressed and sent at once: their memory is this many batches.
const UPLOADS: usize = 4;
// Room is left for what jobs write: whoever finds the connection's send window full waits, whatever its priority.
const _: () = assert!(UPLOADS as u64 * (STREAM_WINDOW as u64) < SEND_WINDOW);
/// Bytes that are compressed on a thread that others wait for: a tenth of a millisecond. With more another does it.
const PACKED_AT_ONCE: u64 = 64 << 10;
/// The same of zstd's level.
const LEVEL_AT_ONCE: i32 = 1;

/// A blob and a file that holds it.
#[derive(Debug)]
pub(super) struct File {
    pub(super) digest: BlobDigest,
    path: PathBuf,
    size: u64,
}

/// The blobs that are on their way to a builder which did not ask for them: until it has all bytes of their streams.
#[derive(Debug, Default)]
pub(super) struct Unasked(Mutex<HashMap<BlobDigest, usize>>);

/// Some of them. Dropped, they are on their way no longer.
#[derive(Debug)]
pub(super) struct OnTheirWay {
    unasked: Arc<Unasked>,
    digests: Vec<BlobDigest>,
}

impl Unasked {
    fn counts(&self) -> MutexGuard<'_, HashMap<BlobDigest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are on their way.
    pub(super) fn begin(self: &Arc<Self>, digests: Vec<BlobDigest>) -> Arc<OnTheirWay> {
        let mut counts = self.counts();
        for digest in &digests {
            *counts.entry(*digest).or_default() += 1;
        }
        Arc::new(OnTheirWay {
            unasked: Arc::clone(self),
            digests,
        })
    }

    /// Those of an action's blobs that are, each once.
    pub(super) fn of(&self, sources: &Sources) -> Vec<BlobDigest> {
        let counts = self.counts();
        if counts.is_empty() {
            return Vec::new();
        }
        let digests = sources.iter().map(|source| source.digest);
        let found: HashSet<_> = digests.filter(|digest| counts.contains_key(digest)).collect();
        found.into_iter().collect()
    }
}

impl Drop for OnTheirWay {
    fn drop(&mut self) {
        let mut counts = self.unasked.counts();
        for digest in &self.digests {
            if let Some(count) = counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(digest);
                }
            }
        }
    }
}

/// A batch to send. It is sent to its end even if the action that asked is cancelled: others may wait for it.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) batch: Vec<File>,
    pub(super) traffic: Arc<Traffic>,
    /// What it belongs to, if the builder did not ask.
    pub(super) unasked: Option<Arc<OnTheirWay>>,
    pub(super) done: oneshot::Sender<Result<(), RunError>>,
}

/// Blobs as batches, some megabytes each, unless one alone is larger. Neighbours on disk go together: they have most in
/// common.
pub(super) fn batches(mut sources: Vec<Source<'_>>) -> Vec<Vec<File>> {
    sources.sort_unstable_by_key(|source| source.path);
    let mut batches: Vec<Vec<File>> = Vec::new();
    let mut room = 0;
    for Source { digest, path, size } in sources {
        let is_full = |batch: &Vec<File>| batch.len() >= limits::BLOBS_PER_BATCH;
        if size > room || batches.last().is_none_or(is_full) {
            batches.push(Vec::new());
            room = BATCH_BYTES;
        }
        room = room.saturating_sub(size);
        let path = path.to_owned();
        if let Some(batch) = batches.last_mut() {
            batch.push(File { digest, path, size });
        }
    }
    batches
}

/// Sends what is queued, until nobody can queue any more.
pub(super) async fn send_uploads(
    connection: quinn::Connection,
    tree: Arc<Tree>,
    mut queue: mpsc::UnboundedReceiver<Upload>,
) {
    let permits = Arc::new(Semaphore::new(UPLOADS));
    let effort = Arc::<Effort>::default();
    let mut running = JoinSet::new();
    while let Some(upload) = queue.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        while running.try_join_next().is_some() {}
        let others = running.len() + queue.len();
        let (connection, tree, effort) = (connection.clone(), Arc::clone(&tree), Arc::clone(&effort));
        running.spawn(async move {
            let _permit = permit;
            let sent = send_batch(&connection, &effort, tree, upload.batch, others, &upload.traffic).await;
            if let (Ok(stream), Some(on_their_way)) = (&sent, upload.unasked) {
                let acknowledged = stream.stopped();
                let waiting = async move {
                    let _ = acknowledged.await;
                    drop(on_their_way);
                };
                task::spawn("acknowledged", waiting).detach();
            }
            let _ = upload.done.send(sent.map(drop));
        });
    }
}

/// Sends one batch while `others` are being sent or wait; gives its stream, which is finished.
async fn send_batch(
    connection: &quinn::Connection,
    effort: &Arc<Effort>,
    tree: Arc<Tree>,
    files: Vec<File>,
    others: usize,
    traffic: &Traffic,
) -> Result<SendStream, RunError> {
    let size: u64 = files.iter().map(|file| file.size).sum();
    // The others are much alike, and share the path.
    let level = effort.level(connection, size.saturating_mul(1 + others as u64));
    let effort = Arc::clone(effort);
    let packed = move |contents: Vec<Content>| {
        let packed = effort.spend(level, size, || pack(&contents, size, level));
        packed.map_err(|_| RunError::Lost)
    };
    let is_little = size <= PACKED_AT_ONCE && level <= LEVEL_AT_ONCE;
    let (batch, wire) = match is_little.then(|| recent(&tree, &files)).flatten() {
        Some(contents) => packed(contents)?,
        None => {
            let packing = tokio::task::spawn_blocking(move || packed(read(&tree, &files)?));
            packing.await.map_err(|_| RunError::Lost)??
        }
    };
    let mut send = connection.open_uni().await.map_err(|_| RunError::Lost)?;
    let is_bulk = batch.wire_size >= BULK_FROM;
    let _ = send.set_priority(if is_bulk { BULK_PRIORITY } else { BLOB_PRIORITY });
    let batch = batch.to_frame();
    let broken = |source: quinn::WriteError| FrameError::Broken {
        source: source.into(),
    };
    for bytes in [batch, wire] {
        traffic.add_up(bytes.len() as u64);
        let written = until_closed(connection, send.write_all(&bytes)).await;
        written.ok_or(RunError::Lost)?.map_err(broken)?;
    }
    let _ = send.finish();
    Ok(send)
}

/// A blob and its bytes.
type Content = (BlobDigest, Arc<Vec<u8>>);

/// The bytes of all `files`, if they were read a moment ago.
fn recent(tree: &Tree, files: &[File]) -> Option<Vec<Content>> {
    let contents = files.iter().map(|File { digest, size, .. }| {
        let bytes = tree.recent(digest.as_bytes())?;
        (bytes.len() as u64 == *size).then_some((*digest, bytes))
    });
    contents.collect()
}

fn read(tree: &Tree, files: &[File]) -> Result<Vec<Content>, RunError> {
    use std::os::unix::ffi::OsStrExt;
    let contents = files.iter().map(|File { digest, path, size }| {
        tree.read_verified(path.as_os_str().as_bytes(), digest.as_bytes())
            .filter(|bytes| bytes.len() as u64 == *size)
            .map(|bytes| (*digest, bytes))
            .ok_or_else(|| RunError::Raced { path: path.clone() })
    });
    contents.collect()
}

fn pack(contents: &[Content], size: u64, level: i32) -> std::io::Result<(BlobBatch, Vec<u8>)> {
    let mut packer = Packer::new(size, level)?;
    for (digest, bytes) in contents {
        packer.add(*digest, bytes)?;
    }
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_sent_for_two_is_on_its_way_until_neither_is() {
        let unasked = Arc::<Unasked>::default();
        let [a, b] = [b"a", b"b"].map(|name| BlobDigest::of(name));
        let first = unasked.begin(vec![a]);
        let second = unasked.begin(vec![a, b]);
        drop(first);
        assert_eq!(unasked.counts().len(), 2);
        drop(second);
        assert!(unasked.counts().is_empty());
    }

    #[test]
    fn a_batch_has_neighbours_and_a_bounded_size() {
        let digest = BlobDigest::of(b"");
        let check = |files: &[(&str, u64)], expected: &[&[&str]]| {
            let sources = files.iter().map(|(path, size)| Source {
                digest,
                path: Path::new(path),
                size: *size,
            });
            let batches = batches(sources.collect());
            let paths: Vec<Vec<_>> = batches
                .iter()
                .map(|batch| batch.iter().map(|file| file.path.to_str().unwrap()).collect())
                .collect();
            assert_eq!(paths, expected);
        };
        check(&[], &[]);
        check(
            &[("/b", 1), ("/a/d", 2), ("/c", 3), ("/a/c", 0)],
            &[&["/a/c", "/a/d", "/b", "/c"]],
        );
        let (half, large) = (BATCH_BYTES / 2, 3 * BATCH_BYTES);
        check(
            &[("/a", half), ("/b", half), ("/c", 1)],
            &[&["/a", "/b"], &["/c"]],
        );
        check(
            &[("/a", 1), ("/b", large), ("/c", 1)],
            &[&["/a"], &["/b"], &["/c"]],
        );
        let many = vec![("/a", 0); limits::BLOBS_PER_BATCH + 1];
        check(&many, &[&["/a"; limits::BLOBS_PER_BATCH], &["/a"]]);
    }
}
