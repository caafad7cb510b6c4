//! Frames and messages: whatever a peer sends is read as its envelope says or refused, within the limits; and
//! what was understood is written again in no more bytes, with the same meaning.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use quicc::transport::frame::{self, Frame, FrameError};
use quicc_protocol::envelope::{HEADER_MAX, Header};
use quicc_protocol::limits;
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{BlobBatch, BlobsWanted};
use quicc_protocol::message::lease::{FarmStatus, FarmStatusRequest, LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd, SchedulerWelcome};
use quicc_protocol::message::refusal::Refusal;
use quicc_protocol::message::run::{LeasePresented, Outcome, RunRequest};
use quicc_protocol::message::table::{TableOpen, TableRecords};
use quicc_protocol::message::wrapper::{
    AgentDrains, AgentQuestion, AgentStatus, CompileDone, CompileRequest, ExplainQuestion, Published,
    RunLocally, StillWorking,
};

/// Reads `bytes` as a stream of frames and as the payload of every message.
pub fn check(bytes: &[u8]) {
    let (frames, end) = read_frames(bytes);
    let length: usize = frames.iter().map(length_of).sum();
    assert!(
        length <= bytes.len(),
        "frames of {length} bytes from {}",
        bytes.len()
    );
    check_end(&bytes[length..], end.as_ref());
    for frame in &frames {
        read_as_every_message(&frame.payload);
    }
    read_as_every_message(bytes);
}

/// Runs a future whose input is all there already.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    let mut future: Pin<&mut F> = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a slice is always ready"),
    }
}

fn read_frames(mut bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    loop {
        match ready(frame::receive(&mut bytes, limits::WRAPPER_PAYLOAD)) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// Bytes a frame took: its length may have been written in more than the fewest.
fn length_of(frame: &Frame) -> usize {
    assert_eq!(frame.header.length as usize, frame.payload.len());
    let mut header = Vec::new();
    frame.header.push(&mut header);
    assert!(header.len() <= HEADER_MAX);
    header.len() + frame.payload.len()
}

/// A reader stops for the reason it gives: `rest` is what follows the frames, if every length was written in the
/// fewest bytes.
fn check_end(rest: &[u8], end: Option<&FrameError>) {
    match (end, Header::take(rest)) {
        (Some(FrameError::TooLong { length, limit }), _) => assert!(*length as usize > *limit),
        (Some(FrameError::Broken { source }), _) => panic!("a slice broke: {source}"),
        (None, Ok(Some((header, start)))) => {
            assert!(
                rest.len() - start < header.length as usize,
                "a whole frame was left"
            );
        }
        _ => {}
    }
}

macro_rules! every_message {
    ($($message:ty),+ $(,)?) => {
        /// The messages read here.
        #[cfg(test)]
        pub(crate) const NAMES: &[&str] = &[$(<$message as Message>::NAME),+];

        fn read_as_every_message(payload: &[u8]) {
            $(reads_back::<$message>(payload);)+
        }
    };
}

every_message!(
    BuilderOffer,
    SchedulerWelcome,
    LeaseEnd,
    Refusal,
    LeaseDemand,
    LeaseGrant,
    FarmStatusRequest,
    FarmStatus,
    TableOpen,
    TableRecords,
    BlobBatch,
    BlobsWanted,
    LeasePresented,
    RunRequest,
    Outcome,
    CompileRequest,
    RunLocally,
    CompileDone,
    AgentDrains,
    Published,
    AgentQuestion,
    AgentStatus,
    StillWorking,
    ExplainQuestion,
);

/// A payload that decodes breaks no rule, and its message has one encoding that is as short as any.
fn reads_back<M: Message + PartialEq + Debug>(payload: &[u8]) {
    let Ok(message) = M::from_payload(payload) else {
        return;
    };
    assert_eq!(message.broken_rule(), None, "{message:?}");
    let frame = message.to_frame();
    let (header, start) = Header::take(&frame)
        .expect("our header is well formed")
        .expect("and whole");
    assert_eq!((header.kind, header.flags), (M::KIND, M::FLAGS));
    let again = &frame[start..];
    assert!(
        again.len() <= payload.len(),
        "{} grows from {} to {} bytes",
        M::NAME,
        payload.len(),
        again.len()
    );
    let read = M::from_payload(again).unwrap_or_else(|error| panic!("{} reads back: {error}", M::NAME));
    assert_eq!(read, message);
    let surplus = [payload, &[0]].concat();
    assert!(
        M::from_payload(&surplus).is_err(),
        "{} takes a byte too many",
        M::NAME
    );
}
