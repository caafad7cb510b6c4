//! Frames and bodies on a byte stream; generic over its halves, so that tests and the wrapper's unix socket use
//! the same code.

use std::borrow::Cow;
use std::io::Write;

use quicc_protocol::BlobDigest;
use quicc_protocol::codec::DecodeError;
use quicc_protocol::envelope::{self, Header};
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{Blob, Body, Encoding};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::solid::Unpacker;

/// Bodies shorter than this are sent plain: a zstd frame would not repay its header.
const COMPRESS_FROM: usize = 256;
/// Bytes of a payload for which memory is there before they have come: most are shorter and come at once.
const READ_AT_ONCE: usize = 8 << 10;
/// Fast levels: a body is made once and sent once, on a machine that has compiles to run.
const COMPRESSION_LEVEL: i32 = 1;

/// Why a frame or body could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the stream broke")]
    Broken {
        /// How.
        source: std::io::Error,
    },
    /// The stream ended inside a frame or body.
    #[error("the stream ended in the middle of a message")]
    CutShort,
    /// The envelope's length exceeds what is read here.
    #[error("a message of {length} bytes exceeds the {limit} allowed here")]
    TooLong {
        /// Announced payload bytes.
        length: u32,
        /// Bytes allowed.
        limit: usize,
    },
    /// The envelope is malformed.
    #[error(transparent)]
    Header(#[from] envelope::MalformedHeader),
    /// The payload is not the message its type says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message of another type was due.
    #[error("message type {found} came where {expected} was due")]
    Unexpected {
        /// What was due.
        expected: &'static str,
        /// The type number that came.
        found: u16,
    },
    /// A body's bytes are not what its digest or length says.
    #[error("a body of {size} bytes does not match its digest {digest}")]
    Corrupt {
        /// Announced digest.
        digest: BlobDigest,
        /// Announced length.
        size: u64,
    },
    /// A received body could not be stored.
    #[error("cannot store a received body")]
    Sink {
        /// Why: a full disk, say.
        source: std::io::Error,
    },
}

impl FrameError {
    /// Whether the peer broke the protocol, rather than the link or this machine failing.
    pub const fn is_misbehaviour(&self) -> bool {
        !matches!(self, Self::Broken { .. } | Self::CutShort | Self::Sink { .. })
    }
}

pub(super) fn broken(source: std::io::Error) -> FrameError {
    match source.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::CutShort,
        _ => FrameError::Broken { source },
    }
}

/// One message in its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The envelope.
    pub header: Header,
    /// The encoded message.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the envelope carries an `M`.
    pub const fn is<M: Message>(&self) -> bool {
        self.header.kind == M::KIND
    }

    /// Whether a receiver that does not know the type may skip it.
    pub const fn is_ignorable(&self) -> bool {
        self.header.flags & envelope::IGNORABLE != 0
    }

    /// The message, which must be an `M`.
    pub fn open<M: Message>(&self) -> Result<M, FrameError> {
        if !self.is::<M>() {
            return Err(FrameError::Unexpected {
                expected: M::NAME,
                found: self.header.kind,
            });
        }
        Ok(M::from_payload(&self.payload)?)
    }
}

/// Writes one message.
pub async fn send<M: Message>(writer: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), FrameError> {
    writer.write_all(&message.to_frame()).await.map_err(broken)
}

/// Reads one message of at most `limit` payload bytes; `None` when the stream ends between messages.
///
/// Not cancel-safe: a dropped future may have read part of a message.
pub async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Option<Frame>, FrameError> {
    let mut bytes = Vec::with_capacity(envelope::HEADER_MAX);
    let header = loop {
        if let Some((header, _)) = Header::take(&bytes)? {
            break header;
        }
        match reader.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && bytes.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(broken(error)),
        }
    };
    if header.length as usize > limit {
        return Err(FrameError::TooLong {
            length: header.length,
            limit,
        });
    }
    // Beyond a little, memory follows the bytes that came, not the length that was announced.
    let mut payload = Vec::with_capacity((header.length as usize).min(READ_AT_ONCE));
    let read = reader
        .take(u64::from(header.length))
        .read_to_end(&mut payload)
        .await
        .map_err(broken)?;
    if read < header.length as usize {
        return Err(FrameError::CutShort);
    }
    Ok(Some(Frame { header, payload }))
}

/// Reads one message that must be an `M`; the end of the stream is an error.
pub async fn expect<M: Message>(reader: &mut (impl AsyncRead + Unpin)) -> Result<M, FrameError> {
    receive(reader, M::LIMIT)
        .await?
        .ok_or(FrameError::CutShort)?
        .open()
}

/// Describes `bytes` as a body and gives the bytes to send: compressed where that makes them smaller.
pub fn pack(bytes: &[u8]) -> (Body, Cow<'_, [u8]>) {
    pack_at(COMPRESSION_LEVEL, bytes)
}

/// The same at another level of zstd.
pub fn pack_at(level: i32, bytes: &[u8]) -> (Body, Cow<'_, [u8]>) {
    let compressed = (bytes.len() >= COMPRESS_FROM)
        .then(|| zstd::bulk::compress(bytes, level).ok())
        .flatten()
        .filter(|compressed| compressed.len() < bytes.len());
    let (encoding, wire) = match compressed {
        Some(compressed) => (Encoding::Zstd, Cow::Owned(compressed)),
        None => (Encoding::Plain, Cow::Borrowed(bytes)),
    };
    let (size, wire_size) = (bytes.len() as u64, wire.len() as u64);
    (
        Body {
            digest: BlobDigest::of(bytes),
            size,
            wire_size,
            encoding,
        },
        wire,
    )
}

/// Reads exactly `body.wire_size` bytes, decodes them into `sink` and verifies length and digest; see [`Unpacker`]. The
/// sink may have received bytes when an error is returned.
pub async fn receive_body(
    reader: &mut (impl AsyncRead + Unpin),
    body: &Body,
    sink: &mut (dyn Write + Send),
) -> Result<(), FrameError> {
    let blob = Blob {
        digest: body.digest,
        size: body.size,
    };
    let mut bytes = Unpacker::of(reader, body.encoding, body.size, body.wire_size)?;
    bytes.next(&blob, sink).await?;
    bytes.finish(&blob).await
}

#[cfg(test)]
mod tests {
    use super::super::solid::CHUNK;
    use super::*;
    use quicc_protocol::limits::ZSTD_WINDOW_LOG;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use quicc_protocol::message::wrapper::{AgentDrains, AgentStatus};

    #[tokio::test]
    async fn frames_and_bodies_pass_a_byte_stream() {
        for text in [
            Vec::new(),
            b"short".to_vec(),
            vec![b'a'; 1 << 20],
            (0..=255).collect(),
        ] {
            let (body, wire) = pack(&text);
            let (mut near, mut far) = tokio::io::duplex(64);
            let sending = async {
                send(&mut near, &AgentDrains { version: 3 }).await.unwrap();
                near.write_all(&wire).await.unwrap();
                drop(near);
            };
            let receiving = async {
                let drains: AgentDrains = expect(&mut far).await.unwrap();
                let mut sink = Vec::new();
                receive_body(&mut far, &body, &mut sink).await.unwrap();
                assert_eq!(receive(&mut far, 10).await.unwrap(), None);
                (drains, sink)
            };
            let ((), (drains, sink)) = tokio::join!(sending, receiving);
            assert_eq!((drains, sink), (AgentDrains { version: 3 }, text));
        }
    }

    #[tokio::test]
    async fn a_body_that_lies_is_corrupt() {
        let bytes = vec![b'x'; 5000];
        let (body, wire) = pack(&bytes);
        let shorter = Body { size: 4999, ..body };
        let longer = Body { size: 5001, ..body };
        let other = Body {
            digest: BlobDigest::of(b"other"),
            ..body
        };
        for lie in [shorter, longer, other] {
            let result = receive_body(&mut &wire[..], &lie, &mut Vec::new()).await;
            assert!(matches!(result, Err(FrameError::Corrupt { .. })), "{lie:?}");
        }
        let mut flipped = wire.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert!(
            receive_body(&mut &flipped[..], &body, &mut Vec::new())
                .await
                .is_err()
        );
        let cut = receive_body(&mut &wire[..3], &body, &mut Vec::new()).await;
        assert!(matches!(cut, Err(FrameError::CutShort)));
    }

    fn zstd_body(bytes: &[u8], wire: &[u8]) -> Body {
        Body {
            digest: BlobDigest::of(bytes),
            size: bytes.len() as u64,
            wire_size: wire.len() as u64,
            encoding: Encoding::Zstd,
        }
    }

    /// Counts bytes.
    struct Gauge<'a>(&'a AtomicUsize);

    impl Write for Gauge<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.fetch_add(bytes.len(), Ordering::Relaxed);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_poll_does_more_than_a_few_chunks_of_work() {
        let bytes = vec![0; 32 << 20];
        let (small, compressed) = pack(&bytes);
        assert!(small.wire_size < 10_000, "a bomb");
        let plain = Body {
            wire_size: small.size,
            encoding: Encoding::Plain,
            ..small
        };
        for (body, wire) in [(small, &compressed[..]), (plain, &bytes)] {
            let count = AtomicUsize::new(0);
            let (mut reader, mut sink) = (wire, Gauge(&count));
            let mut receiving = pin!(receive_body(&mut reader, &body, &mut sink));
            let mut context = Context::from_waker(Waker::noop());
            loop {
                let before = count.load(Ordering::Relaxed);
                let polled = receiving.as_mut().poll(&mut context);
                assert!(count.load(Ordering::Relaxed) - before <= 2 * CHUNK, "{body:?}");
                if let Poll::Ready(received) = polled {
                    break received.unwrap();
                }
            }
            assert_eq!(count.load(Ordering::Relaxed), bytes.len());
        }
    }

    #[tokio::test]
    async fn a_compressed_body_is_one_whole_frame_of_a_small_window() {
        let bytes: Vec<u8> = (0..3 * CHUNK as u32).flat_map(u32::to_le_bytes).collect();
        let compress = |window| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), COMPRESSION_LEVEL).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        };
        let check = async |wire: &[u8], fits: bool| {
            let received = receive_body(&mut &wire[..], &zstd_body(&bytes, wire), &mut std::io::sink()).await;
            let corrupt = matches!(received, Err(FrameError::Corrupt { .. }));
            assert!(received.is_ok() == fits && corrupt != fits, "{received:?}");
        };
        let whole = compress(ZSTD_WINDOW_LOG);
        check(&whole, true).await;
        check(&compress(ZSTD_WINDOW_LOG + 1), false).await;
        check(&whole[..whole.len() - 1], false).await;
        check(&[&whole[..], b"x"].concat(), false).await;
        check(&[&whole[..], &whole].concat(), false).await;
        let empty = zstd::bulk::compress(b"", COMPRESSION_LEVEL).unwrap();
        let body = zstd_body(b"", &empty);
        receive_body(&mut &empty[..], &body, &mut std::io::sink())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_frame_too_long_or_cut_short_or_of_another_type_is_refused() {
        let frame = AgentStatus {
            json: "x".repeat(100),
        }
        .to_frame();
        assert!(matches!(
            receive(&mut &frame[..], 99).await,
            Err(FrameError::TooLong { .. })
        ));
        assert!(matches!(
            receive(&mut &frame[..50], 999).await,
            Err(FrameError::CutShort)
        ));
        assert!(matches!(
            expect::<AgentDrains>(&mut &frame[..]).await,
            Err(FrameError::Unexpected { .. })
        ));
    }
}
