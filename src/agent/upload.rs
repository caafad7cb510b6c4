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
use crate::transport::solid::Packer;
use crate::transport::tuning::{BLOB_PRIORITY, BULK_FROM, BULK_PRIORITY, SEND_WINDOW, STREAM_WINDOW};

/// Uncompressed bytes gathered into one blob stream, unless a single blob is larger.
const BATCH_BYTES: u64 = 4 << 20;
/// Blob streams being read, compressed and sent at once: their memory is this many batches.
const UPLOADS: usize = 4;
/// zstd's.
const LEVEL: i32 = 1;
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
    let mut running = JoinSet::new();
    while let Some(upload) = queue.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        while running.try_join_next().is_some() {}
        let (connection, tree) = (connection.clone(), Arc::clone(&tree));
        running.spawn(async move {
            let _permit = permit;
            let result = send_batch(&connection, tree, upload.batch, &upload.traffic).await;
            let _ = upload.done.send(result);
        });
    }
}

async fn send_batch(
    connection: &quinn::Connection,
    tree: Arc<Tree>,
    files: Vec<File>,
    traffic: &Traffic,
) -> Result<(), RunError> {
    let packing = tokio::task::spawn_blocking(move || pack(&tree, &files, LEVEL));
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

fn pack(tree: &Tree, files: &[File], level: i32) -> Result<(BlobBatch, Vec<u8>), RunError> {
    use std::os::unix::ffi::OsStrExt;
    let size = files.iter().map(|file| file.size).sum();
    let mut packer = Packer::new(size, level).map_err(|_| RunError::Lost)?;
    for File { digest, path, size } in files {
        let bytes = tree
            .read_verified(path.as_os_str().as_bytes(), digest.as_bytes())
            .filter(|bytes| bytes.len() as u64 == *size)
            .ok_or_else(|| RunError::Raced { path: path.clone() })?;
        packer.add(*digest, &bytes).map_err(|_| RunError::Lost)?;
    }
    packer.finish().map_err(|_| RunError::Lost)
}
