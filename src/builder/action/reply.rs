//! An answer on its way to the client. Gives up a client that does not take it.

use std::io;
use std::time::Duration;

use quicc_protocol::message::Message;
use quicc_protocol::message::refusal::Refusal;
use quinn::SendStream;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::builder::outcome::{MayHold, Packed};
use crate::transport::tuning;

/// How long an answer may wait without a byte of it leaving: the stream's window is closed only while the client
/// does not read, and a connection that is silent was ended long before.
const STALL: Duration = Duration::from_secs(10);
/// Time for a whole answer to leave, whatever its progress.
const SEND_WITHIN: Duration = Duration::from_secs(120);

/// An outcome, and the right to hold it in memory.
pub(super) struct Answer {
    pub(super) packed: Packed,
    pub(super) _may_hold: MayHold,
}

/// Sends an answer and ends the stream.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when the client does not take it; others when the stream breaks.
pub(super) async fn send(stream: &mut SendStream, answer: Result<Answer, Refusal>) -> io::Result<()> {
    let bytes = answer.as_ref().map_or(0, |answer| {
        answer.packed.wires.iter().map(|wire| wire.len() as u64).sum()
    });
    // Fails only for a stream that is closed, as what follows then tells.
    let _ = stream.set_priority(tuning::run_priority(stream.id(), bytes));
    let sending = async {
        match answer {
            Ok(answer) => {
                let packed = &answer.packed;
                write(stream, &packed.outcome.to_frame(), STALL).await?;
                for wire in &packed.wires {
                    write(stream, wire, STALL).await?;
                }
            }
            Err(refusal) => write(stream, &refusal.to_frame(), STALL).await?,
        }
        // Fails only for a stream the client stopped.
        let _ = stream.finish();
        Ok(())
    };
    timeout(SEND_WITHIN, sending).await?
}

/// Writes all bytes, as long as some of them leave within every `stall`.
async fn write(writer: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8], stall: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(stall, writer.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const MOMENT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_reader_that_takes_everything_gets_everything() {
        let (mut near, mut far) = tokio::io::duplex(3);
        let bytes: Vec<u8> = (0..=255).collect();
        let writing = async {
            write(&mut near, &bytes, LONG).await.unwrap();
            drop(near);
        };
        let mut read = Vec::new();
        let ((), count) = tokio::join!(writing, far.read_to_end(&mut read));
        assert_eq!((count.unwrap(), &read), (256, &bytes));
    }

    #[tokio::test]
    async fn a_reader_that_stops_is_given_up() {
        let (mut near, mut far) = tokio::io::duplex(3);
        let reading = async {
            let mut some = [0; 6];
            far.read_exact(&mut some).await.unwrap();
        };
        let (written, ()) = tokio::join!(write(&mut near, &[0; 100], MOMENT), reading);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_broken_stream_is_no_stall() {
        let (mut near, far) = tokio::io::duplex(3);
        drop(far);
        let error = write(&mut near, &[0; 100], LONG).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
