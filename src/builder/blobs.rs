//! A blob stream: bytes that go to the store as they come, and from there to whoever waits. Bytes nobody of this client
//! waits for go nowhere: a store that many share takes only what a table names, of clients that hold a lease.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quicc_protocol::close;
use quicc_protocol::message::blob::{BlobBatch, Body};
use quinn::RecvStream;
use tokio::io::AsyncReadExt;

use super::condition::Patience;
use super::connection::{Client, LEASE_PATIENCE, StreamEnd, blocking};
use crate::store::{CasError, Writer};
use crate::transport::FrameError;
use crate::transport::frame;

use self::impatient::Impatient;

mod impatient;

/// How long the next byte of a body may take to come. Whoever waits for the blob may then ask for it anew.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How long a batch waits for the client's tables to name its blobs: it may overtake the records that do, which count
/// as progress.
const NAMED_WITHIN: Patience = Patience {
    patience: Duration::from_secs(2),
    total: Duration::from_secs(60),
};
/// Bytes read at once of a body that is not kept.
const SKIP_CHUNK: usize = 64 << 10;

/// Receives the bodies of a batch.
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
    claims.take_over(batch.bodies.iter().map(|body| &body.digest));
    named(client, &batch).await;
    for (number, body) in batch.bodies.iter().enumerate() {
        let kept = take(client, &mut stream, body).await;
        match kept {
            Ok(Taken::Skipped) => {}
            Ok(Taken::Stored) => {
                client.wanted.arrived(&body.digest);
                client.builder.condition.notify();
                put_in_place(client, body).await?;
            }
            Err(Loss::Stream(error)) if impatient::is_stall(&error) => {
                tracing::warn!(client = %client.owner.identity, "a blob stream stalled");
                return Err(StreamEnd::Stop(close::CANCELLED));
            }
            Err(Loss::Stream(error)) => return Err(error.into()),
            Err(Loss::Blob(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a blob cannot be kept");
                client.wanted.failed(&body.digest);
                client.builder.condition.notify();
            }
            Err(Loss::Batch(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "blobs cannot be kept");
                for body in &batch.bodies[number..] {
                    client.wanted.failed(&body.digest);
                }
                client.builder.condition.notify();
                return Err(StreamEnd::Stop(close::CANCELLED));
            }
        }
    }
    Ok(())
}

/// Waits, within bounds, until each blob of a batch is named by a table of the client's or is stored already.
async fn named(client: &Arc<Client>, batch: &BlobBatch) {
    let Client { builder, owner, .. } = &**client;
    let mut known = 0;
    let look = || {
        while let Some(Body { digest, .. }) = batch.bodies.get(known) {
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

/// What became of a body.
enum Taken {
    /// The store has the blob.
    Stored,
    /// Nobody of this client waits for it, or does any more.
    Skipped,
}

async fn take(
    client: &Arc<Client>,
    stream: &mut Impatient<'_, RecvStream>,
    body: &Body,
) -> Result<Taken, Loss> {
    let Client { builder, owner, .. } = &**client;
    if builder.views.await_blob(owner, &body.digest) {
        keep(client, stream, body).await.map(|()| Taken::Stored)
    } else {
        let skipped = skip(stream, body, &client.received).await;
        skipped.map(|()| Taken::Skipped).map_err(Loss::Stream)
    }
}

/// Passes over a body without decoding it.
async fn skip(
    stream: &mut Impatient<'_, RecvStream>,
    body: &Body,
    count: &AtomicU64,
) -> Result<(), FrameError> {
    let mut rest = stream.take(body.wire_size);
    let mut chunk = vec![0; SKIP_CHUNK.min(body.wire_size as usize)];
    while rest.limit() > 0 {
        match rest.read(&mut chunk).await {
            Ok(0) => return Err(FrameError::CutShort),
            Ok(length) => count.fetch_add(length as u64, Ordering::Relaxed),
            Err(source) => return Err(FrameError::Broken { source }),
        };
    }
    Ok(())
}

/// Why a blob is not in the store.
enum Loss {
    /// The stream broke, or its sender the protocol.
    Stream(FrameError),
    /// The store has no room for this one; its bytes were read.
    Blob(CasError),
    /// The store could not be written in the middle of the stream.
    Batch(io::Error),
}

async fn keep(client: &Arc<Client>, stream: &mut Impatient<'_, RecvStream>, body: &Body) -> Result<(), Loss> {
    let cas = &client.builder.cas;
    let writer = if cas.has(&body.digest) {
        Ok(None)
    } else {
        cas.insert_writer(body.digest, body.size).map(Some)
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
    match frame::receive_body(stream, body, &mut counted).await {
        Ok(()) => {}
        Err(FrameError::Sink { source }) => return Err(Loss::Batch(source)),
        Err(error) => return Err(Loss::Stream(error)),
    }
    let writer = counted.writer;
    if let Some(error) = counted.refused {
        return Err(Loss::Blob(error));
    }
    match blocking(move || writer.map_or(Ok(()), Writer::commit)).await {
        Ok(committed) => committed.map_err(Loss::Blob),
        Err(_) => Err(Loss::Batch(io::Error::other("the builder is ending"))),
    }
}

/// Fills the client's files that wait for a blob. Actions that wait for it were told already and may be first.
async fn put_in_place(client: &Arc<Client>, body: &Body) -> Result<(), StreamEnd> {
    let (client, digest) = (Arc::clone(client), body.digest);
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
