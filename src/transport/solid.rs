//! Bytes that travel compressed: many blobs as one zstd frame, so that what they have in common travels once, and the
//! bodies of other messages. What arrives is decoded, counted and verified as it comes, in bounded memory.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use quicc_protocol::message::blob::{Blob, BlobBatch, Encoding};
use quicc_protocol::{BlobDigest, limits};
use tokio::io::{AsyncRead, AsyncReadExt};
use zstd::stream::raw::{DParameter, Decoder, Operation};
use zstd::stream::write::Encoder;

use super::frame::{FrameError, broken};

/// Bytes decoded, hashed and stored at once.
pub(super) const CHUNK: usize = 128 << 10;
/// Compressed bytes taken at once: what the decoder does for one call is in proportion to them and to its output.
const WIRE_CHUNK: usize = 4 << 10;
/// Decoders kept for the next payload: one takes longer to make than most take to decode.
const SPARE_DECODERS: usize = 4;
/// Bytes of a decoded payload above which its decoder is not kept: it holds as large a window, if the peer asked for no
/// larger one than it needs, and never more than [`limits::ZSTD_WINDOW_LOG`] allows.
const SPARE_UP_TO: u64 = 256 << 10;
/// Logarithm of the window blobs are compressed with: 4 MiB, a usual batch.
const WINDOW_LOG: u32 = 22;
const _: () = assert!(WINDOW_LOG <= limits::ZSTD_WINDOW_LOG);

/// Compresses the blobs of a batch one after the other.
pub struct Packer {
    encoder: Encoder<'static, Vec<u8>>,
    blobs: Vec<Blob>,
}

impl Packer {
    /// For blobs of `size` bytes together, at a zstd `level`.
    pub fn new(size: u64, level: i32) -> io::Result<Self> {
        let mut encoder = Encoder::new(Vec::new(), level)?;
        encoder.set_pledged_src_size(Some(size))?;
        encoder.window_log(WINDOW_LOG)?;
        Ok(Self {
            encoder,
            blobs: Vec::new(),
        })
    }

    /// Appends a blob, whose digest is known.
    pub fn add(&mut self, digest: BlobDigest, bytes: &[u8]) -> io::Result<()> {
        self.blobs.push(Blob {
            digest,
            size: bytes.len() as u64,
        });
        self.encoder.write_all(bytes)
    }

    /// The batch and its frame. Fails where the blobs are not as large together as was said.
    pub fn finish(self) -> io::Result<(BlobBatch, Vec<u8>)> {
        let wire = self.encoder.finish()?;
        let batch = BlobBatch {
            blobs: self.blobs,
            wire_size: wire.len() as u64,
            extensions: Vec::new(),
        };
        Ok((batch, wire))
    }
}

/// Reads what was packed, a blob at a time and in order.
///
/// One poll decodes, hashes and writes little more than 128 KiB, however few bytes of the wire they came from; a sink
/// must not take long over as many.
pub struct Unpacker<'a, R> {
    reader: &'a mut R,
    /// Bytes of the wire that were not read yet.
    left: u64,
    /// None for bytes that travel as they are.
    decoder: Option<Decoder<'static>>,
    is_small: bool,
    input: Vec<u8>,
    /// What of the input is to be decoded still.
    waiting: std::ops::Range<usize>,
    output: Vec<u8>,
    /// The decoder has no output that waits for room.
    is_drained: bool,
    /// The frame is whole and all of it was given out.
    has_ended: bool,
    since_yield: usize,
}

impl<'a, R: AsyncRead + Unpin> Unpacker<'a, R> {
    /// For the frame of `batch`, which comes next from `reader`.
    pub fn new(reader: &'a mut R, batch: &BlobBatch) -> Result<Self, FrameError> {
        Self::of(reader, Encoding::Zstd, batch.size(), batch.wire_size)
    }

    pub(super) fn of(
        reader: &'a mut R,
        encoding: Encoding,
        size: u64,
        wire_size: u64,
    ) -> Result<Self, FrameError> {
        let (decoder, input) = match encoding {
            Encoding::Plain => (None, Vec::new()),
            Encoding::Zstd => {
                let decoder = decoder().map_err(|source| FrameError::Sink { source })?;
                (Some(decoder), vec![0; bounded(WIRE_CHUNK, wire_size)])
            }
        };
        Ok(Self {
            reader,
            left: wire_size,
            decoder,
            is_small: size <= SPARE_UP_TO,
            input,
            waiting: 0..0,
            // One byte at least: it shows a frame that decodes to more than is due.
            output: vec![0; bounded(CHUNK, size).max(1)],
            is_drained: true,
            has_ended: false,
            since_yield: 0,
        })
    }

    /// Puts the next blob into `sink` and verifies its length and digest. The sink may have received bytes when an
    /// error is returned.
    pub async fn next(&mut self, blob: &Blob, sink: &mut (dyn Write + Send)) -> Result<(), FrameError> {
        let mut hasher = blake3::Hasher::new();
        let take = |bytes: &[u8]| {
            hasher.update(bytes);
            sink.write_all(bytes)
        };
        self.pass(blob, take).await?;
        let digest = BlobDigest::from_bytes(*hasher.finalize().as_bytes());
        if digest == blob.digest {
            Ok(())
        } else {
            Err(corrupt(blob))
        }
    }

    /// Passes over the next blob, whatever its digest; `count` is told of the bytes.
    pub async fn skip(&mut self, blob: &Blob, count: impl Fn(usize)) -> Result<(), FrameError> {
        let take = |bytes: &[u8]| {
            count(bytes.len());
            Ok(())
        };
        self.pass(blob, take).await
    }

    /// Reads on to the end of the frame, where `last` must have been the last blob.
    pub async fn finish(mut self, last: &Blob) -> Result<(), FrameError> {
        let more = self.some(1, last).await?;
        if more > 0 || self.left > 0 || !self.waiting.is_empty() {
            return Err(corrupt(last));
        }
        if let Some(decoder) = self.decoder.take().filter(|_| self.is_small) {
            keep(decoder);
        }
        Ok(())
    }

    async fn pass(
        &mut self,
        blob: &Blob,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), FrameError> {
        let mut left = blob.size;
        while left > 0 {
            let length = self.some(left, blob).await?;
            if length == 0 {
                return Err(corrupt(blob));
            }
            take(&self.output[..length]).map_err(|source| FrameError::Sink { source })?;
            left -= length as u64;
            self.since_yield += length;
            if self.since_yield >= CHUNK {
                self.since_yield = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Has the next bytes, `most` at most, in `output`, and gives their number: none at the end.
    async fn some(&mut self, most: u64, blob: &Blob) -> Result<usize, FrameError> {
        let room = bounded(self.output.len(), most);
        loop {
            let Some(decoder) = &mut self.decoder else {
                let room = bounded(room, self.left);
                let read = read(self.reader, &mut self.output[..room]).await?;
                self.left -= read as u64;
                return Ok(read);
            };
            if self.has_ended {
                return Ok(0);
            }
            if self.waiting.is_empty() && self.is_drained {
                let due = bounded(self.input.len(), self.left);
                let read = read(self.reader, &mut self.input[..due]).await?;
                if read == 0 {
                    return Err(corrupt(blob));
                }
                self.left -= read as u64;
                self.waiting = 0..read;
            }
            let input = &self.input[self.waiting.clone()];
            let status = decoder.run_on_buffers(input, &mut self.output[..room]);
            let status = status.map_err(|_| corrupt(blob))?;
            self.waiting.start += status.bytes_read;
            // Zero says that the frame is whole and all of it was written out.
            self.has_ended = status.remaining == 0;
            self.is_drained = status.bytes_written < room;
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
        }
    }
}

/// Reads at least one byte, unless there is no room for any.
async fn read(reader: &mut (impl AsyncRead + Unpin), room: &mut [u8]) -> Result<usize, FrameError> {
    if room.is_empty() {
        return Ok(0);
    }
    match reader.read(room).await.map_err(broken)? {
        0 => Err(FrameError::CutShort),
        read => Ok(read),
    }
}

fn bounded(most: usize, size: u64) -> usize {
    usize::try_from(size).map_or(most, |size| most.min(size))
}

fn corrupt(blob: &Blob) -> FrameError {
    FrameError::Corrupt {
        digest: blob.digest,
        size: blob.size,
    }
}

static SPARE: Mutex<Vec<Decoder<'static>>> = Mutex::new(Vec::new());

fn keep(mut decoder: Decoder<'static>) {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    if spare.len() < SPARE_DECODERS && decoder.reinit().is_ok() {
        spare.push(decoder);
    }
}

fn decoder() -> io::Result<Decoder<'static>> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    if let Some(decoder) = spare {
        return Ok(decoder);
    }
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG))?;
    Ok(decoder)
}

#[cfg(test)]
mod tests;
