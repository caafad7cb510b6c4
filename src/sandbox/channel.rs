//! The sandbox's end of its two pipes to the builder: plans come in, messages go out.
//!
//! Each message is its length (4 bytes, little-endian) and its bytes. Never reads a byte beyond the message
//! it is asked for, because the next one belongs to the next process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::codec::CodecError;
use super::message::Message;
use super::plan::Plan;
use super::plan_codec;

/// Bytes before each message.
pub(super) const LENGTH_BYTES: usize = 4;

/// `message` with its length before it.
pub(super) fn framed(message: &[u8]) -> Result<Vec<u8>, CodecError> {
    let bound = u64::from(u32::MAX);
    let length = u32::try_from(message.len()).map_err(|_| CodecError::TooLong {
        length: message.len() as u64,
        bound,
    })?;
    Ok([&length.to_le_bytes(), message].concat())
}

/// The announced length, if a reader that accepts `bound` bytes may allocate it.
pub(super) fn length(prefix: [u8; LENGTH_BYTES], bound: u64) -> Result<usize, CodecError> {
    let length = u32::from_le_bytes(prefix);
    if u64::from(length) > bound {
        return Err(CodecError::TooLong {
            length: length.into(),
            bound,
        });
    }
    Ok(length as usize)
}

/// Standard input and output without their buffers.
#[derive(Debug)]
pub(super) struct Channel {
    input: File,
    output: File,
}

impl Channel {
    pub(super) fn standard() -> io::Result<Self> {
        Ok(Self {
            input: io::stdin().as_fd().try_clone_to_owned()?.into(),
            output: io::stdout().as_fd().try_clone_to_owned()?.into(),
        })
    }

    /// The pipe that hangs up when the builder is gone or wants the job gone.
    pub(super) fn lifeline(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    pub(super) fn receive_plan(&mut self) -> io::Result<Plan> {
        let mut prefix = [0; LENGTH_BYTES];
        self.input.read_exact(&mut prefix)?;
        let length = length(prefix, plan_codec::MAX_PLAN_BYTES).map_err(io::Error::other)?;
        let mut message = vec![0; length];
        self.input.read_exact(&mut message)?;
        plan_codec::decode(&message).map_err(io::Error::other)
    }

    pub(super) fn send(&mut self, message: &Message) -> io::Result<()> {
        self.output
            .write_all(&framed(&message.encode()).map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_allocated() {
        assert_eq!(length(5u32.to_le_bytes(), 5), Ok(5));
        assert_eq!(
            length(6u32.to_le_bytes(), 5),
            Err(CodecError::TooLong { length: 6, bound: 5 })
        );
        assert_eq!(framed(b"ab"), Ok(b"\x02\0\0\0ab".to_vec()));
    }
}
