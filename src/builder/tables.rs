//! A table stream: one view told by its client, for as long as the stream lasts.

use std::sync::Arc;
use std::time::Duration;

use quicc_protocol::message::table::{TableOpen, TableRecords};
use quicc_protocol::{close, limits};
use quinn::RecvStream;

use super::connection::{self, Client, StreamEnd, blocking};
use super::mirror::MirrorError;
use super::views::{Feed, ViewError};
use crate::transport::frame;

/// How long records wait for a lease: one may run out while its successor is on the way, and nobody works without
/// one for longer.
const LEASE_PATIENCE: Duration = Duration::from_secs(10);

/// Follows the stream that begins with `open`.
pub(super) async fn follow(
    client: &Arc<Client>,
    stream: &mut RecvStream,
    open: TableOpen,
) -> Result<(), StreamEnd> {
    let resume = open.resumes_behind().map_err(StreamEnd::rule)?;
    if !client.is_entitled_within(connection::LEASE_PATIENCE).await {
        return Err(StreamEnd::Stop(close::NOT_ALLOWED));
    }
    let opening = Arc::clone(client);
    let opened = blocking(move || {
        let views = &opening.builder.views;
        views.open(&opening.owner, open.view, open.epoch, resume)
    });
    let feed = opened.await?.map_err(|error| {
        client.note_refused(open.view, open.epoch);
        not_opened(&error)
    })?;
    client.builder.condition.notify();
    let followed = records(client, stream, feed, resume.unwrap_or(0)).await;
    client.builder.condition.notify();
    followed
}

fn not_opened(error: &ViewError) -> StreamEnd {
    tracing::warn!(error = error as &dyn std::error::Error, "a table was not opened");
    match error {
        ViewError::NotAllowed { .. } => StreamEnd::Stop(close::NOT_ALLOWED),
        // The client's next action learns that its table is not known.
        _ => StreamEnd::Stop(close::CANCELLED),
    }
}

async fn records(
    client: &Arc<Client>,
    stream: &mut RecvStream,
    feed: Feed,
    mut position: u64,
) -> Result<(), StreamEnd> {
    let feed = Arc::new(feed);
    loop {
        let received = tokio::select! {
            () = feed.superseded() => return Err(StreamEnd::Stop(close::CANCELLED)),
            received = frame::receive(stream, limits::RUN_PAYLOAD) => received?,
        };
        let Some(frame) = received else { return Ok(()) };
        if frame.is_ignorable() && !frame.is::<TableRecords>() {
            continue;
        }
        let TableRecords { records } = frame.open()?;
        if !client.is_entitled_within(LEASE_PATIENCE).await {
            return Err(StreamEnd::NoLease);
        }
        if !feed.is_current() {
            return Err(StreamEnd::Stop(close::CANCELLED));
        }
        let first = position;
        position += records.len() as u64;
        let applying = Arc::clone(&feed);
        let applied = blocking(move || {
            let applied = applying.mirror().apply(first, &records);
            applying.account();
            applied
        });
        let applied = applied.await?;
        client.builder.condition.notify();
        applied.map_err(|error| match &error {
            MirrorError::Table { .. } | MirrorError::Gap { .. } => StreamEnd::misbehaviour(&error),
            MirrorError::File { .. } | MirrorError::Broken => {
                tracing::error!(error = &error as &dyn std::error::Error, "a mirror was given up");
                StreamEnd::Stop(close::CANCELLED)
            }
        })?;
    }
}
