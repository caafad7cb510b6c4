//! Blocking frames over the agent's unix socket.

use std::io::{self, Read, Write};

use quicc_protocol::codec::DecodeError;
use quicc_protocol::envelope::{self, Header};
use quicc_protocol::limits;
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{Body, Encoding};

/// Bytes for which memory is there before they have come.
const READ_AT_ONCE: usize = 64 << 10;

/// Why the conversation with the agent failed; the compile then runs here.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket broke or nothing came in time.
    #[error("the agent's socket broke")]
    Broken(#[from] io::Error),
    /// An envelope is malformed or too long.
    #[error("the agent sent a malformed frame")]
    Frame,
    /// A message does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl ChannelError {
    /// Whether the time set on the socket was over.
    pub fn is_silence(&self) -> bool {
        // What the kernel says of a socket's timeout.
        matches!(self, Self::Broken(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// One frame as it came.
#[derive(Debug)]
pub struct Received {
    kind: u16,
    payload: Vec<u8>,
}

impl Received {
    /// The message, if it is an `M`.
    pub fn open<M: Message>(&self) -> Result<Option<M>, ChannelError> {
        if self.kind != M::KIND {
            return Ok(None);
        }
        Ok(Some(M::from_payload(&self.payload)?))
    }
}

/// Writes one message.
pub fn send<M: Message>(writer: &mut impl Write, message: &M) -> Result<(), ChannelError> {
    Ok(writer.write_all(&message.to_frame())?)
}

/// Reads one frame.
pub fn receive(reader: &mut impl Read) -> Result<Received, ChannelError> {
    let mut bytes = Vec::with_capacity(envelope::HEADER_MAX);
    let header = loop {
        match Header::take(&bytes) {
            Ok(Some((header, _))) => break header,
            Ok(None) => {}
            Err(_) => return Err(ChannelError::Frame),
        }
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    };
    if header.length as usize > limits::WRAPPER_PAYLOAD {
        return Err(ChannelError::Frame);
    }
    Ok(Received {
        kind: header.kind,
        payload: read_exactly(reader, u64::from(header.length))?,
    })
}

/// Reads a body; bodies between agent and wrapper are plain.
pub fn receive_body(reader: &mut impl Read, body: &Body) -> Result<Vec<u8>, ChannelError> {
    if body.encoding != Encoding::Plain || body.broken_rule().is_some() {
        return Err(ChannelError::Frame);
    }
    read_exactly(reader, body.size)
}

/// Beyond [`READ_AT_ONCE`], memory follows the bytes that came, not the length announced.
fn read_exactly(reader: &mut impl Read, length: u64) -> Result<Vec<u8>, ChannelError> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(READ_AT_ONCE).min(READ_AT_ONCE));
    if reader.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(ChannelError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}
