//! A reader that gives up on a sender who sends nothing. Knows nothing of what is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::transport::FrameError;

/// Fails with [`io::ErrorKind::TimedOut`] once a read has waited too long. Time between reads does not count.
#[derive(Debug)]
pub(super) struct Impatient<'a, R> {
    reader: &'a mut R,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<'a, R> Impatient<'a, R> {
    pub(super) fn new(reader: &'a mut R, patience: Duration) -> Self {
        Self {
            reader,
            patience,
            deadline: Box::pin(sleep(patience)),
            is_waiting: false,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Impatient<'_, R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut *this.reader).poll_read(context, buffer);
        if polled.is_ready() {
            this.is_waiting = false;
            return polled;
        }
        if !this.is_waiting {
            this.is_waiting = true;
            this.deadline.as_mut().reset(Instant::now() + this.patience);
        }
        ready!(this.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether an [`Impatient`] reader gave up. The connection's own timeout is another error: it breaks all streams.
pub(super) fn is_stall(error: &FrameError) -> bool {
    matches!(error, FrameError::Broken { source } if source.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::frame::{pack, receive_body};
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_and_a_whole_one_passes() {
        let (body, wire) = pack(b"some bytes");
        for (sent, whole) in [(0, false), (wire.len() - 1, false), (wire.len(), true)] {
            let (mut near, mut far) = tokio::io::duplex(64);
            near.write_all(&wire[..sent]).await.unwrap();
            let mut reader = Impatient::new(&mut far, Duration::from_millis(10));
            let received = receive_body(&mut reader, &body, &mut io::sink()).await;
            assert!(received.as_ref().err().is_none_or(is_stall), "{received:?}");
            assert_eq!(received.is_ok(), whole, "{sent}");
        }
    }
}
