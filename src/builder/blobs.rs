//! A blob stream: bytes that go to the store as they come, and from there to whoever waits. Bytes nobody of this client
//! waits for go nowhere: a store that many share takes only what a table names, of clients that hold a lease.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quicc_protocol::close;
use quicc_protocol::message::blob::{Blob, BlobBatch};
use quinn::RecvStream;
use tokio::io::AsyncReadExt;

use super::condition::Patience;
use super::connection::{Client, LEASE_PATIENCE, StreamEnd, blocking};
use crate::store::{CasError, Writer};
use crate::transport::FrameError;
use crate::transport::solid::Unpacker;

use self::impatient::Impatient;

mod impatient;

/// How long the next byte of a batch may take to come. Whoever waits for the blob may then ask for it anew.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How long a batch waits for the client's tables to name its blobs: it may overtake the records that do, which count
/// as progress.
const NAMED_WITHIN: Patience = Patience {
    patience: Duration::from_secs(2),
    total: Duration::from_secs(60),
};
/// Bytes read at once of a batch that is not kept.
const SKIP_CHUNK: usize = 64 << 10;

/// Receives the blobs of a batch.
pub(super) async fn receive(
    client: &Arc<Client>,
    stream: &mut RecvStream,
    batch: BlobBatch,
) -> Result<(), StreamEnd> {
    if !client.is_entitled_within(LEASE_PATIENCE).await {
        return Err(StreamEnd::Stop(close::NOT_ALLOWED));
    }
    let mut stream = Impatient::new(stream, STALLED_AFTER);
    let claims = client.wanted.claims();
    claims.take_over(batch.blobs.iter().map(|blob| &blob.digest));
    named(client, &batch).await;
    let received = if batch.blobs.iter().any(|blob| is_awaited(client, blob)) {
        take_all(client, &mut stream, &batch).await
    } else {
        let skipped = skip(&mut stream, batch.wire_size, &client.received).await;
        skipped.map_err(Loss::Stream)
    };
    match received {
        Ok(()) => Ok(()),
        Err(Loss::Stream(error)) if impatient::is_stall(&error) => {
            tracing::warn!(client = %client.owner.identity, "a blob stream stalled");
            Err(StreamEnd::Stop(close::CANCELLED))
        }
        Err(Loss::Stream(error)) => Err(error.into()),
        Err(Loss::Batch(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "blobs cannot be kept");
            Err(StreamEnd::Stop(close::CANCELLED))
        }
        Err(Loss::End(end)) => Err(end),
    }
}

/// Waits, within bounds, until each blob of a batch is named by a table of the client's or is stored already.
async fn named(client: &Arc<Client>, batch: &BlobBatch) {
    let Client { builder, owner, .. } = &**client;
    let mut known = 0;
    let look = || {
        while let Some(Blob { digest, .. }) = batch.blobs.get(known) {
            if !builder.cas.has(digest) && !builder.views.await_blob(owner, digest) {
                return None;
            }
            known += 1;
        }
        Some(())
    };
    let progress = || builder.views.told(owner);
    // Those that stay unknown are skipped.
    let _ = builder.condition.wait(NAMED_WITHIN, progress, look).await;
}

fn is_awaited(client: &Client, blob: &Blob) -> bool {
    client.builder.views.await_blob(&client.owner, &blob.digest)
}

/// Takes the blobs one after the other; passes over those nobody of this client waits for, or does any more.
async fn take_all(
    client: &Arc<Client>,
    stream: &mut Impatient<'_, RecvStream>,
    batch: &BlobBatch,
) -> Result<(), Loss> {
    let mut bytes = Unpacker::new(stream, batch).map_err(Loss::Stream)?;
    for (number, blob) in batch.blobs.iter().enumerate() {
        if !is_awaited(client, blob) {
            let count = |length: usize| {
                client.received.fetch_add(length as u64, Ordering::Relaxed);
            };
            bytes.skip(blob, count).await.map_err(Loss::Stream)?;
            continue;
        }
        match keep(client, &mut bytes, blob).await {
            Ok(None) => {
                client.wanted.arrived(&blob.digest);
                client.builder.condition.notify();
                put_in_place(client, blob).await.map_err(Loss::End)?;
            }
            Ok(Some(refused)) => {
                tracing::error!(
                    error = &refused as &dyn std::error::Error,
                    "a blob cannot be kept"
                );
                client.wanted.failed(&blob.digest);
                client.builder.condition.notify();
            }
            Err(loss) => {
                if let Loss::Batch(_) = loss {
                    for blob in &batch.blobs[number..] {
                        client.wanted.failed(&blob.digest);
                    }
                    client.builder.condition.notify();
                }
                return Err(loss);
            }
        }
    }
    match batch.blobs.last() {
        Some(last) => bytes.finish(last).await.map_err(Loss::Stream),
        None => Ok(()),
    }
}

/// Passes over a batch without decoding it.
async fn skip(
    stream: &mut Impatient<'_, RecvStream>,
    wire_size: u64,
    count: &AtomicU64,
) -> Result<(), FrameError> {
    let mut rest = stream.take(wire_size);
    let mut chunk = vec![0; SKIP_CHUNK.min(wire_size as usize)];
    while rest.limit() > 0 {
        match rest.read(&mut chunk).await {
            Ok(0) => return Err(FrameError::CutShort),
            Ok(length) => count.fetch_add(length as u64, Ordering::Relaxed),
            Err(source) => return Err(FrameError::Broken { source }),
        };
    }
    Ok(())
}

/// Why the rest of a batch does not come into the store.
enum Loss {
    /// The stream broke, or its sender the protocol.
    Stream(FrameError),
    /// The store could not be written in the middle of the stream.
    Batch(io::Error),
    /// Nothing more is to be done with the stream.
    End(StreamEnd),
}

/// Puts a blob into the store. Where the store has no room for it, its bytes are read all the same, and the error tells.
async fn keep(
    client: &Arc<Client>,
    bytes: &mut Unpacker<'_, Impatient<'_, RecvStream>>,
    blob: &Blob,
) -> Result<Option<CasError>, Loss> {
    let cas = &client.builder.cas;
    let writer = if cas.has(&blob.digest) {
        Ok(None)
    } else {
        cas.insert_writer(blob.digest, blob.size).map(Some)
    };
    let (writer, refused) = match writer {
        Ok(writer) => (writer, None),
        Err(error) => (None, Some(error)),
    };
    let mut counted = Counted {
        writer,
        refused,
        count: &client.received,
    };
    match bytes.next(blob, &mut counted).await {
        Ok(()) => {}
        Err(FrameError::Sink { source }) => return Err(Loss::Batch(source)),
        Err(error) => return Err(Loss::Stream(error)),
    }
    let writer = counted.writer;
    if counted.refused.is_some() {
        return Ok(counted.refused);
    }
    match blocking(move || writer.map_or(Ok(()), Writer::commit)).await {
        Ok(committed) => Ok(committed.err()),
        Err(_) => Err(Loss::Batch(io::Error::other("the builder is ending"))),
    }
}

/// Fills the client's files that wait for a blob. Actions that wait for it were told already and may be first.
async fn put_in_place(client: &Arc<Client>, blob: &Blob) -> Result<(), StreamEnd> {
    let (client, digest) = (Arc::clone(client), blob.digest);
    let filled = blocking(move || client.builder.views.arrived(&client.owner, &digest));
    Ok(filled.await?)
}

/// Passes bytes on to the store, or to nowhere, and counts them: whoever waits sees progress.
struct Counted<'a> {
    writer: Option<Writer>,
    /// Why the store does not take the blob.
    refused: Option<CasError>,
    count: &'a AtomicU64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.reserve(bytes.len() as u64)
        {
            self.refused = Some(error);
            self.writer = None;
        }
        let length = match &mut self.writer {
            Some(writer) => writer.write(bytes)?,
            None => bytes.len(),
        };
        self.count.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cas;
    use quicc_protocol::BlobDigest;

    #[test]
    fn a_blob_that_finds_no_room_on_the_way_is_read_to_its_end() {
        let scratch = tempfile::tempdir().unwrap();
        let cas = Cas::open(scratch.path(), 4).unwrap();
        let begin = |name: &[u8]| cas.insert_writer(BlobDigest::of(name), 4).unwrap();
        let (mut first, count) = (begin(b"1234"), AtomicU64::new(0));
        let mut counted = Counted {
            writer: Some(begin(b"abcd")),
            refused: None,
            count: &count,
        };
        first.write_all(b"1").unwrap();
        counted.write_all(b"ab").unwrap();
        counted.write_all(b"cd").unwrap();
        assert!(matches!(counted.refused, Some(CasError::NoRoom { .. })));
        assert!(counted.writer.is_none() && count.into_inner() == 4);
    }
}
