//! The builder's connection to the scheduler: dialled out, kept, dialled again. Tells what is free, hears what
//! leases end and what time it is.

use std::sync::Arc;
use std::time::Duration;

use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd, SchedulerWelcome};
use quicc_protocol::{close, limits};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::time::{Instant, sleep};

use super::machine;
use super::service::Shared;
use crate::transport::liveness::Watched;
use crate::transport::refusal::Refusals;
use crate::transport::{FrameError, Pace, Peer, TransportError, frame, resolve};

/// Pauses between attempts to reach the scheduler: doubling from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bounds of the heartbeat a scheduler may ask for.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Keeps the builder registered for as long as it is awaited.
pub(super) async fn register(builder: Arc<Shared>) {
    let mut pause = RETRY.0;
    loop {
        match connect(&builder).await {
            Ok(peer) => {
                pause = RETRY.0;
                tracing::info!(scheduler = %peer.identity, "registered");
                let reason = converse(&builder, peer).await;
                builder.admission.authority.lost();
                tracing::warn!(reason, "the scheduler is away");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the scheduler cannot be reached");
            }
        }
        sleep(pause).await;
        pause = RETRY.1.min(2 * pause);
    }
}

async fn connect(builder: &Shared) -> Result<Peer, TransportError> {
    let address = resolve::resolve(&builder.config.scheduler_address).await?;
    builder
        .endpoint
        .connect(address, &builder.config.scheduler, &builder.hello(), Pace::Prompt)
        .await
}

/// Speaks with the scheduler until the connection ends; says why it did.
async fn converse(builder: &Shared, peer: Peer) -> String {
    let connection = peer.connection;
    let _liveness = Watched::new(connection.clone(), Pace::Prompt, Refusals::default());
    let (mut send, mut receive) = (peer.control.send, peer.control.receive);
    let (code, reason) = match exchange(builder, &mut send, &mut receive).await {
        Ok(()) => (close::DONE, "the scheduler ended".to_owned()),
        Err(error) if error.is_misbehaviour() => (close::PROTOCOL, error.to_string()),
        Err(error) => (close::DONE, error.to_string()),
    };
    connection.close(VarInt::from_u32(code), b"");
    reason
}

async fn exchange(
    builder: &Shared,
    send: &mut SendStream,
    receive: &mut RecvStream,
) -> Result<(), FrameError> {
    let mut heartbeat = HEARTBEAT.0;
    let mut asked = Instant::now();
    frame::send(send, &offer(builder)).await?;
    loop {
        // Cancelling a receive in the middle of a frame would lose its place: the pause ends inside.
        let mut hearing = std::pin::pin!(frame::receive(receive, limits::CONTROL_PAYLOAD));
        let heard = loop {
            tokio::select! {
                heard = &mut hearing => break heard?,
                () = tokio::time::sleep_until(asked + heartbeat) => {
                    asked = Instant::now();
                    frame::send(send, &offer(builder)).await?;
                }
            }
        };
        let Some(frame) = heard else { return Ok(()) };
        if frame.is::<SchedulerWelcome>() {
            let welcome: SchedulerWelcome = frame.open()?;
            heartbeat = Duration::from_millis(welcome.heartbeat.into()).clamp(HEARTBEAT.0, HEARTBEAT.1);
            let authority = &builder.admission.authority;
            if let Err(error) =
                authority.heard(&welcome.ticket_key, welcome.scheduler_time, asked, Instant::now())
            {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the scheduler's ticket key is unusable");
            }
            builder.condition.notify();
        } else if frame.is::<LeaseEnd>() {
            let end: LeaseEnd = frame.open()?;
            builder.admission.end(end.lease);
        } else if !frame.is_ignorable() {
            return Err(FrameError::Unexpected {
                expected: "SchedulerWelcome",
                found: frame.header.kind,
            });
        }
    }
}

fn offer(builder: &Shared) -> BuilderOffer {
    BuilderOffer {
        endpoint: builder.config.public_endpoint.clone(),
        slots: builder.offered_slots(),
        busy: builder.admission.running(),
        machine: std::env::consts::ARCH.to_owned(),
        load_permille: machine::load_permille(),
        memory_available: machine::memory_available(),
        software: crate::SOFTWARE.to_owned(),
        extensions: Vec::new(),
    }
}
