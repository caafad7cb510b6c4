//! One action from its request to its outcome. Whatever is cancelled on the way leaves nothing: processes are ended and
//! disk work stops where it can, and slot and directories go with the last of them.

use std::sync::Arc;

use quicc_protocol::identifiers::decode_ascending;
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::RunRequest;
use quicc_protocol::{close, limits};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::timeout;

use self::reply::Answer;
use super::connection::{Client, FIRST_MESSAGE};
use super::job::Job;
use super::{inputs, refusals};
use crate::transport::frame;

mod reply;

/// Serves one run stream.
pub(super) async fn serve(client: &Arc<Client>, mut send: SendStream, mut receive: RecvStream) {
    let request = match timeout(FIRST_MESSAGE, request(&mut receive)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return,
        Ok(Err(code)) => return abandon(&mut send, &mut receive, code),
        Err(_) => return abandon(&mut send, &mut receive, close::CANCELLED),
    };
    let stopped = send.stopped();
    let served = async {
        let answer = perform(client, request, &mut send).await;
        reply::send(&mut send, answer).await
    };
    let complete = tokio::select! {
        sent = served => sent.is_ok(),
        _ = stopped => false,
        () = cut(&mut receive) => false,
    };
    if !complete {
        abandon(&mut send, &mut receive, close::CANCELLED);
    }
}

/// The request, `None` for a stream that ends without one, or the code to reset the stream with.
async fn request(receive: &mut RecvStream) -> Result<Option<RunRequest>, u32> {
    loop {
        match frame::receive(receive, limits::RUN_PAYLOAD).await {
            Ok(Some(frame)) if frame.is::<RunRequest>() => {
                return frame.open().map(Some).map_err(|_| close::PROTOCOL);
            }
            Ok(Some(frame)) if frame.is_ignorable() => {}
            Ok(Some(_)) => return Err(close::UNSUPPORTED),
            Ok(None) => return Ok(None),
            Err(_) => return Err(close::PROTOCOL),
        }
    }
}

/// Returns when the client resets its side. That it ends it, or says more than there is to say, is no matter.
async fn cut(receive: &mut RecvStream) {
    if receive.received_reset().await == Ok(None) {
        std::future::pending().await
    }
}

fn abandon(send: &mut SendStream, receive: &mut RecvStream, code: u32) {
    // Fail only for streams that ended already.
    let _ = send.reset(VarInt::from_u32(code));
    let _ = receive.stop(VarInt::from_u32(code));
}

async fn perform(
    client: &Arc<Client>,
    request: RunRequest,
    send: &mut SendStream,
) -> Result<Answer, Refusal> {
    let builder = &client.builder;
    let ids = decode_ascending(&request.entries, limits::TABLE_ENTRIES as usize)
        .map_err(|error| Refusal::new(RefusalCode::Malformed, error.to_string()))?;
    let on_their_way = request
        .on_their_way()
        .map_err(|rule| Refusal::new(RefusalCode::Malformed, rule))?;
    let slot = builder
        .admission
        .admit(client.owner.key, request.lease)
        .await
        .map(Arc::new)
        .map_err(refusals::not_admitted)?;
    let view = inputs::table(client, &request).await?;
    inputs::fetch(client, &view.mirror, &ids, on_their_way, &slot, send).await?;
    slot.advance().await.map_err(refusals::not_admitted)?;
    let job = Job::lay(client, view, request, ids, slot).await?;
    let (job, report) = job.run(client).await?;
    let (packed, slot) = job.finish(client, report).await?;
    let may_hold = builder.outcomes.admit(client.owner.key).await;
    // The client may start its next action as soon as it has read this one: its slot is free by then.
    drop(slot);
    Ok(Answer {
        packed,
        _may_hold: may_hold,
    })
}
