//! Blobs on their way to one builder: gathered into batches, read, compressed and sent, a few batches at once. Never
//! decides which blobs the builder lacks.

use std::path::PathBuf;
use std::sync::Arc;

use quicc_protocol::message::Message;
use quicc_protocol::message::blob::BlobBatch;
use quicc_protocol::{BlobDigest, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::link::{RunError, Traffic};
use super::sources::Source;
use crate::inputs::tree::Tree;
use crate::transport::FrameError;
use crate::transport::effort::Effort;
use crate::transport::solid::Packer;
use crate::transport::tuning::{BLOB_PRIORITY, BULK_FROM, BULK_PRIORITY, SEND_WINDOW, STREAM_WINDOW};

/// Uncompressed bytes gathered into one blob stream, unless a single blob is larger.
const BATCH_BYTES: u64 = 4 << 20;
const _: () = assert!(BATCH_BYTES <= limits::BATCH);
/// Blob streams being read, compressed and sent at once: their memory is this many batches.
const UPLOADS: usize = 4;
// Room is left for what jobs write: whoever finds the connection's send window full waits, whatever its priority.
const _: () = assert!(UPLOADS as u64 * (STREAM_WINDOW as u64) < SEND_WINDOW);
/// A blob and a file that holds it.
#[derive(Debug)]
pub(super) struct File {
    pub(super) digest: BlobDigest,
    path: PathBuf,
    size: u64,
}

/// A batch to send. It is sent to its end even if the action that asked is cancelled: others may wait for it.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) batch: Vec<File>,
    pub(super) traffic: Arc<Traffic>,
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
            let result = send_batch(&connection, &effort, tree, upload.batch, others, &upload.traffic).await;
            let _ = upload.done.send(result);
        });
    }
}

/// Sends one batch while `others` are being sent or wait.
async fn send_batch(
    connection: &quinn::Connection,
    effort: &Arc<Effort>,
    tree: Arc<Tree>,
    files: Vec<File>,
    others: usize,
    traffic: &Traffic,
) -> Result<(), RunError> {
    let size: u64 = files.iter().map(|file| file.size).sum();
    // The others are much alike, and share the path.
    let level = effort.level(connection, size.saturating_mul(1 + others as u64));
    let effort = Arc::clone(effort);
    let packing = tokio::task::spawn_blocking(move || {
        let contents = read(&tree, &files)?;
        let packed = effort.spend(level, size, || pack(&contents, size, level));
        packed.map_err(|_| RunError::Lost)
    });
    let (batch, wire) = packing.await.map_err(|_| RunError::Lost)??;
    let mut send = connection.open_uni().await.map_err(|_| RunError::Lost)?;
    let is_bulk = batch.wire_size >= BULK_FROM;
    let _ = send.set_priority(if is_bulk { BULK_PRIORITY } else { BLOB_PRIORITY });
    let batch = batch.to_frame();
    let broken = |source: quinn::WriteError| FrameError::Broken {
        source: source.into(),
    };
    for bytes in [batch, wire] {
        traffic.add_up(bytes.len() as u64);
        send.write_all(&bytes).await.map_err(broken)?;
    }
    let _ = send.finish();
    Ok(())
}

fn read(tree: &Tree, files: &[File]) -> Result<Vec<(BlobDigest, Vec<u8>)>, RunError> {
    use std::os::unix::ffi::OsStrExt;
    let contents = files.iter().map(|File { digest, path, size }| {
        tree.read_verified(path.as_os_str().as_bytes(), digest.as_bytes())
            .filter(|bytes| bytes.len() as u64 == *size)
            .map(|bytes| (*digest, bytes))
            .ok_or_else(|| RunError::Raced { path: path.clone() })
    });
    contents.collect()
}

fn pack(contents: &[(BlobDigest, Vec<u8>)], size: u64, level: i32) -> std::io::Result<(BlobBatch, Vec<u8>)> {
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
