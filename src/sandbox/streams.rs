//! What a job writes to its two output streams, up to a bound.
//!
//! Never waits: it reads what is there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes taken from a stream at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// Standard output and standard error of a job.
#[derive(Debug)]
pub(super) struct Streams {
    pipes: [Option<File>; 2],
    bytes: [Vec<u8>; 2],
    room: usize,
    overflowed: bool,
    chunk: Vec<u8>,
}

impl Streams {
    /// Takes at most `bound` bytes of both together.
    pub(super) fn new(stdout: File, stderr: File, bound: u64) -> Self {
        Self {
            pipes: [Some(stdout), Some(stderr)],
            bytes: [Vec::new(), Vec::new()],
            room: usize::try_from(bound).unwrap_or(usize::MAX),
            overflowed: false,
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// The streams that have not ended.
    pub(super) fn open(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.pipes
            .iter()
            .enumerate()
            .filter_map(|(index, pipe)| Some((index, pipe.as_ref()?.as_fd())))
    }

    /// Whether more was written than fits.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Reads once from stream `index`, which is readable.
    pub(super) fn read(&mut self, index: usize) -> io::Result<()> {
        let Some(pipe) = &mut self.pipes[index] else {
            return Ok(());
        };
        let count = match pipe.read(&mut self.chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            // The end of a terminal: nobody has it open any more, and everything written was read.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => 0,
            result => result?,
        };
        if count == 0 {
            self.pipes[index] = None;
        }
        let kept = count.min(self.room);
        self.bytes[index].extend_from_slice(&self.chunk[..kept]);
        self.room -= kept;
        self.overflowed |= kept < count;
        Ok(())
    }

    /// Reads what the ended job left in the pipes.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        while !self.overflowed {
            let ready = self.readable()?;
            if ready.is_empty() {
                break;
            }
            for index in ready {
                self.read(index)?;
            }
        }
        Ok(())
    }

    fn readable(&self) -> io::Result<Vec<usize>> {
        let (indices, mut polled): (Vec<usize>, Vec<PollFd<'_>>) = self
            .open()
            .map(|(index, pipe)| (index, PollFd::new(pipe, PollFlags::POLLIN)))
            .unzip();
        match poll(&mut polled, PollTimeout::ZERO) {
            Err(Errno::EINTR) | Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(indices
            .into_iter()
            .zip(polled)
            .filter(|(_, each)| is_ready(each))
            .map(|(index, _)| index)
            .collect())
    }

    /// Standard output and standard error.
    pub(super) fn into_bytes(self) -> (Vec<u8>, Vec<u8>) {
        let [stdout, stderr] = self.bytes;
        (stdout, stderr)
    }
}

/// Whether a descriptor has something to read, its end included.
pub(super) fn is_ready(polled: &PollFd<'_>) -> bool {
    polled.revents().is_some_and(|events| !events.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(bound: u64, stdout: &[u8], stderr: &[u8], kept: (&[u8], &[u8]), overflowed: bool) {
        let (out, mut out_writer) = io::pipe().unwrap();
        let (err, mut err_writer) = io::pipe().unwrap();
        out_writer.write_all(stdout).unwrap();
        err_writer.write_all(stderr).unwrap();
        drop(out_writer);
        let mut streams = Streams::new(
            File::from(std::os::fd::OwnedFd::from(out)),
            std::os::fd::OwnedFd::from(err).into(),
            bound,
        );
        streams.drain().unwrap();
        let still_open: Vec<usize> = streams.open().map(|(index, _)| index).collect();
        assert!(overflowed || still_open == [1], "{still_open:?}");
        assert_eq!(streams.overflowed(), overflowed);
        assert_eq!(streams.into_bytes(), (kept.0.to_vec(), kept.1.to_vec()));
        drop(err_writer);
    }

    #[test]
    fn what_was_written_is_kept_up_to_the_bound() {
        check(6, b"abc", b"def", (b"abc", b"def"), false);
        check(5, b"abc", b"def", (b"abc", b"de"), true);
        check(0, b"", b"", (b"", b""), false);
        check(0, b"a", b"", (b"", b""), true);
    }
}
