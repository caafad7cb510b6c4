//! A table stream: one view told by its client, for as long as the stream lasts.

use std::sync::Arc;

use quicc_protocol::limits;
use quicc_protocol::message::Extensions;
use quicc_protocol::message::table::{TableOpen, TableRecords};
use quinn::RecvStream;

use super::connection::{Client, Misbehaviour, StreamEnd, blocking};
use super::mirror::MirrorError;
use super::views::{Feed, ViewError};
use crate::transport::frame;

/// Extension of [`TableOpen`]: eight bytes, little endian, the number of records of this epoch the stream leaves
/// out because the builder has them. Without it the table is told from its first record.
pub const RESUME_POSITION: u16 = 1;

/// Follows the stream that begins with `open`.
pub(super) async fn follow(
    client: &Arc<Client>,
    mut stream: RecvStream,
    open: TableOpen,
) -> Result<(), Misbehaviour> {
    let resume = resume_position(&open.extensions)?;
    let opening = Arc::clone(client);
    let opened = blocking(move || {
        let views = &opening.builder.views;
        views.open(&opening.owner, open.view, open.epoch, resume)
    });
    let feed = match opened.await {
        Ok(Ok(feed)) => feed,
        Ok(Err(ViewError::NotAllowed { .. })) => {
            return Ok(StreamEnd::NotAllowed.apply(&mut stream));
        }
        // The client's next action learns that its table is not known.
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a table was not opened");
            return Ok(StreamEnd::Cancelled.apply(&mut stream));
        }
        Err(_) => return Ok(StreamEnd::Ending.apply(&mut stream)),
    };
    client.builder.condition.notify();
    let followed = records(client, &mut stream, Arc::new(feed), resume.unwrap_or(0)).await;
    client.builder.condition.notify();
    followed
}

async fn records(
    client: &Arc<Client>,
    stream: &mut RecvStream,
    feed: Arc<Feed>,
    mut position: u64,
) -> Result<(), Misbehaviour> {
    while let Some(frame) = frame::receive(stream, limits::RUN_PAYLOAD).await? {
        if frame.is_ignorable() && !frame.is::<TableRecords>() {
            continue;
        }
        let TableRecords { records } = frame.open()?;
        let first = position;
        position += records.len() as u64;
        if !feed.is_current() {
            return Ok(StreamEnd::Cancelled.apply(stream));
        }
        let applying = Arc::clone(&feed);
        let applied = blocking(move || {
            let applied = applying.mirror().apply(first, &records);
            applying.account();
            applied
        });
        let applied = applied.await;
        client.builder.condition.notify();
        match applied {
            Ok(Ok(())) => {}
            Ok(Err(error @ (MirrorError::Table { .. } | MirrorError::Gap { .. }))) => {
                return Err(Misbehaviour::of(&error));
            }
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a mirror was given up");
                return Ok(StreamEnd::Cancelled.apply(stream));
            }
            Err(_) => return Ok(StreamEnd::Ending.apply(stream)),
        }
    }
    Ok(())
}

fn resume_position(extensions: &Extensions) -> Result<Option<u64>, Misbehaviour> {
    let Some((_, bytes)) = extensions.iter().find(|(number, _)| *number == RESUME_POSITION) else {
        return Ok(None);
    };
    let bytes: [u8; 8] = bytes[..]
        .try_into()
        .map_err(|_| Misbehaviour::rule("a position to resume from has eight bytes"))?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_resumes_where_it_says() {
        let position = 0x0102_u64.to_le_bytes().to_vec();
        assert_eq!(resume_position(&vec![]).unwrap(), None);
        assert_eq!(resume_position(&vec![(9, vec![])]).unwrap(), None);
        assert_eq!(
            resume_position(&vec![(RESUME_POSITION, position)]).unwrap(),
            Some(0x0102)
        );
        assert!(resume_position(&vec![(RESUME_POSITION, vec![1; 7])]).is_err());
    }
}
