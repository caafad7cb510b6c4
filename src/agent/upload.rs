//! Blobs on their way to one builder: gathered into batches, read, compressed and sent, a few batches at once. Never
//! decides which blobs the builder lacks.

use std::path::PathBuf;
use std::sync::Arc;

use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{BlobBatch, Body};
use quicc_protocol::{BlobDigest, limits};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::link::{RunError, Traffic};
use super::sources::Source;
use crate::inputs::tree::Tree;
use crate::transport::FrameError;
use crate::transport::frame;
use crate::transport::tuning::{BLOB_PRIORITY, BULK_FROM, BULK_PRIORITY, SEND_WINDOW, STREAM_WINDOW};

/// Uncompressed bytes gathered into one blob stream, unless a single blob is larger.
const BATCH_BYTES: u64 = 4 << 20;
/// Blob streams being read, compressed and sent at once: their memory is this many batches.
const UPLOADS: usize = 4;
// Room is left for what jobs write: whoever finds the connection's send window full waits, whatever its priority.
const _: () = assert!(UPLOADS as u64 * (STREAM_WINDOW as u64) < SEND_WINDOW);
/// A batch to send. It is sent to its end even if the action that asked is cancelled: others may wait for it.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) batch: Vec<(BlobDigest, PathBuf)>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) done: oneshot::Sender<Result<(), RunError>>,
}

/// Blobs as batches, in order, some megabytes each.
pub(super) fn batches<'a>(sources: impl IntoIterator<Item = Source<'a>>) -> Vec<Vec<(BlobDigest, PathBuf)>> {
    let mut batches: Vec<Vec<(BlobDigest, PathBuf)>> = Vec::new();
    let mut room = 0;
    for Source { digest, path, size } in sources {
        if size > room
            || batches
                .last()
                .is_none_or(|batch| batch.len() >= limits::BLOBS_PER_BATCH)
        {
            batches.push(Vec::new());
            room = BATCH_BYTES;
        }
        room = room.saturating_sub(size);
        if let Some(batch) = batches.last_mut() {
            batch.push((digest, path.to_owned()));
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
    batch: Vec<(BlobDigest, PathBuf)>,
    traffic: &Traffic,
) -> Result<(), RunError> {
    let read = tokio::task::spawn_blocking(move || read_batch(&tree, &batch));
    let packed = read.await.map_err(|_| RunError::Lost)??;
    let mut send = connection.open_uni().await.map_err(|_| RunError::Lost)?;
    let (bodies, wires): (Vec<Body>, Vec<Vec<u8>>) = packed.into_iter().unzip();
    let bytes: u64 = bodies.iter().map(|body| body.wire_size).sum();
    let is_bulk = bytes >= BULK_FROM;
    let _ = send.set_priority(if is_bulk { BULK_PRIORITY } else { BLOB_PRIORITY });
    let batch = BlobBatch {
        bodies,
        extensions: Vec::new(),
    }
    .to_frame();
    let broken = |source: quinn::WriteError| FrameError::Broken {
        source: source.into(),
    };
    traffic.add_up(batch.len() as u64);
    send.write_all(&batch).await.map_err(broken)?;
    for wire in wires {
        traffic.add_up(wire.len() as u64);
        send.write_all(&wire).await.map_err(broken)?;
    }
    let _ = send.finish();
    Ok(())
}

fn read_batch(tree: &Tree, batch: &[(BlobDigest, PathBuf)]) -> Result<Vec<(Body, Vec<u8>)>, RunError> {
    use std::os::unix::ffi::OsStrExt;
    batch
        .iter()
        .map(|(digest, path)| {
            let bytes = tree
                .read_verified(path.as_os_str().as_bytes(), digest.as_bytes())
                .ok_or_else(|| RunError::Raced { path: path.clone() })?;
            let (body, wire) = frame::pack(&bytes);
            Ok((body, wire.into_owned()))
        })
        .collect()
}
