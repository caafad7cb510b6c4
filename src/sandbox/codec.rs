//! Length-prefixed bytes between the processes of one sandbox, which are always of the same build.
//!
//! Never reads or writes a descriptor, and never allocates more than the bytes it is given.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A value ends before its last byte.
    #[error("message is cut short")]
    Truncated,
    /// Bytes follow the value.
    #[error("message has {count} bytes too many")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A number stands for nothing.
    #[error("message has an unknown {what}: {value}")]
    Unknown {
        /// What the number should have been.
        what: &'static str,
        /// The number.
        value: u32,
    },
    /// A message is longer than its reader accepts.
    #[error("message of {length} bytes exceeds {bound}")]
    TooLong {
        /// Announced length in bytes.
        length: u64,
        /// Longest accepted length in bytes.
        bound: u64,
    },
}

/// Appends values to a message.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }

    pub(super) fn duration(&mut self, duration: Duration) {
        self.u64(duration.as_secs());
        self.u32(duration.subsec_nanos());
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for each in items {
            item(self, each);
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values from a message.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(CodecError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn length(&mut self) -> Result<usize, CodecError> {
        usize::try_from(self.u64()?).map_err(|_| CodecError::Truncated)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, CodecError> {
        let length = self.length()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    pub(super) fn path(&mut self) -> Result<PathBuf, CodecError> {
        self.bytes().map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    pub(super) fn duration(&mut self) -> Result<Duration, CodecError> {
        let seconds = self.u64()?;
        let nanoseconds = self.u32()?;
        if nanoseconds >= 1_000_000_000 {
            return Err(CodecError::Unknown {
                what: "part of a second",
                value: nanoseconds,
            });
        }
        Ok(Duration::new(seconds, nanoseconds))
    }

    /// Every item takes at least one byte, so a false count runs out of bytes, never of memory.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let count = self.length()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn finish(self) -> Result<(), CodecError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(CodecError::Trailing { count }),
        }
    }
}
