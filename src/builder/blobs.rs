//! A blob stream: bytes that go to the store as they come, and from there to whoever waits.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quicc_protocol::close;
use quicc_protocol::message::blob::{BlobBatch, Body};
use quinn::RecvStream;

use super::connection::{Client, StreamEnd, blocking};
use crate::store::{CasError, Writer};
use crate::transport::FrameError;
use crate::transport::frame;

/// Receives the bodies of a batch.
pub(super) async fn receive(
    client: &Arc<Client>,
    stream: &mut RecvStream,
    batch: BlobBatch,
) -> Result<(), StreamEnd> {
    let claims = client.wanted.claims();
    claims.take_over(batch.bodies.iter().map(|body| &body.digest));
    for (number, body) in batch.bodies.iter().enumerate() {
        let kept = keep(client, stream, body).await;
        match kept {
            Ok(()) => client.wanted.arrived(&body.digest),
            Err(Loss::Stream(error)) => return Err(error.into()),
            Err(Loss::Blob(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a blob cannot be kept");
                client.wanted.failed(&body.digest);
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
        client.builder.condition.notify();
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

async fn keep(client: &Arc<Client>, stream: &mut RecvStream, body: &Body) -> Result<(), Loss> {
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
        count: &client.received,
    };
    match frame::receive_body(stream, body, &mut counted).await {
        Ok(()) => {}
        Err(FrameError::Sink { source }) => return Err(Loss::Batch(source)),
        Err(error) => return Err(Loss::Stream(error)),
    }
    let writer = counted.writer;
    if let Some(error) = refused {
        return Err(Loss::Blob(error));
    }
    let (client, digest) = (Arc::clone(client), body.digest);
    let committed = blocking(move || {
        writer.map_or(Ok(()), Writer::commit)?;
        client.builder.views.arrived(&digest);
        Ok(())
    });
    match committed.await {
        Ok(committed) => committed.map_err(Loss::Blob),
        Err(_) => Err(Loss::Batch(io::Error::other("the builder is ending"))),
    }
}

/// Passes bytes on to the store, or to nowhere, and counts them: whoever waits sees progress.
struct Counted<'a> {
    writer: Option<Writer>,
    count: &'a AtomicU64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
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
