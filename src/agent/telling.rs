//! What one life of a builder was told of this agent's view, whatever connections carried it: one table, and the stream
//! that carries it now. A connection that is lost costs its successor what the builder may not have applied, never the
//! table, unless the builder has dropped it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicc_protocol::close;
use quicc_protocol::identifiers::ViewId;
use quicc_protocol::message::Message;
use quicc_protocol::message::table::{EntryKind, TableOpen, TableRecord, TableRecords};
use quinn::VarInt;
use tokio::sync::{mpsc, watch};

use super::meeting::{Standing, settled};
use super::table::{Table, TableError};
use super::unconfirmed::{Resumption, Sent, Unconfirmed};
use crate::host::task::{self, Task};
use crate::transport::tuning::TABLE_PRIORITY;
use crate::transport::{frame, until_closed};

/// Encoded bytes of records gathered into one message; a record alone is at most as much again.
const RECORD_BYTES_PER_MESSAGE: usize = 512 << 10;

/// Where a table stood after a change, and what the change gave.
#[derive(Debug)]
pub struct Told<T> {
    /// Which table of the view.
    pub epoch: u64,
    /// Records told.
    pub position: u64,
    /// The change's own result.
    pub value: T,
}

impl<T> Told<Option<T>> {
    /// What a change gave, if anything.
    pub fn transposed(self) -> Option<Told<T>> {
        let Self { epoch, position, .. } = self;
        let value = self.value?;
        Some(Told {
            epoch,
            position,
            value,
        })
    }
}

/// A connection that carries a table.
#[derive(Debug, Clone)]
pub(super) struct Carrier {
    pub(super) connection: quinn::Connection,
    pub(super) standing: watch::Receiver<Standing>,
}

/// What the builder was told.
#[derive(Debug)]
pub struct Telling {
    view: ViewId,
    /// Records sent to builders, counted over all of them.
    records: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: Table,
    epoch: u64,
    unconfirmed: Unconfirmed,
    /// Whether the table goes on from an earlier connection and the builder did not show yet that it has it still.
    is_resumed: bool,
    /// The epoch of the next table that is begun.
    next_epoch: u64,
    /// None once the connection is lost.
    carrier: Option<Carrier>,
    /// To the stream. Unbounded: it holds what the table describes, which `limits::TABLE_ENTRIES` bounds.
    queue: mpsc::UnboundedSender<Sent>,
    stream: Option<Task<()>>,
}

impl Telling {
    /// Begins a table on its first connection. Its epoch is `epoch`, those of later ones follow. Records sent are added
    /// to `records`.
    pub(super) fn begin(view: ViewId, carrier: Carrier, epoch: u64, records: Arc<AtomicU64>) -> Arc<Self> {
        let state = State {
            table: Table::new(),
            epoch,
            unconfirmed: Unconfirmed::default(),
            is_resumed: false,
            next_epoch: epoch,
            carrier: Some(carrier),
            queue: mpsc::unbounded_channel().0,
            stream: None,
        };
        let telling = Arc::new(Self {
            view,
            records,
            state: Mutex::new(state),
        });
        telling.begin_anew(&mut telling.state());
        telling
    }

    /// Goes on with the table on another connection to the same builder or, where that cannot have it, begins one of
    /// `epoch`, which exceeds that of any earlier one and of those that followed it.
    pub(super) fn go_on(self: &Arc<Self>, carrier: Carrier, epoch: u64) {
        let mut state = self.state();
        state.carrier = Some(carrier);
        state.next_epoch = epoch;
        let Some(Resumption { position, again }) = state.unconfirmed.resumption() else {
            return self.begin_anew(&mut state);
        };
        tracing::info!(
            epoch = state.epoch,
            position,
            again = again.len(),
            "a table goes on where it was"
        );
        state.is_resumed = true;
        self.open(&mut state, Some(position));
        for sent in again {
            self.send(&state, sent);
        }
    }

    /// Changes the table under its lock, so that records leave in the order of their positions; they leave also
    /// when the change failed midway. A table whose ids are used up is begun anew.
    pub(super) fn tell<T>(
        self: &Arc<Self>,
        change: impl Fn(&mut Table) -> Result<T, TableError>,
    ) -> Result<Told<T>, TableError> {
        let told = self.tell_in(&mut self.state(), change);
        // What a thread left that panicked was told with it.
        self.state.clear_poison();
        told
    }

    /// The same, or `None` while somebody else changes it.
    pub(super) fn tell_at_once<T>(
        self: &Arc<Self>,
        change: impl Fn(&mut Table) -> Result<T, TableError>,
    ) -> Option<Result<Told<T>, TableError>> {
        // After a panic others may wait for what was not told.
        let mut state = self.state.try_lock().ok()?;
        Some(self.tell_in(&mut state, change))
    }

    fn tell_in<T>(
        self: &Arc<Self>,
        state: &mut State,
        change: impl Fn(&mut Table) -> Result<T, TableError>,
    ) -> Result<Told<T>, TableError> {
        let changed = match change(&mut state.table) {
            Err(TableError::Full) => {
                self.begin_anew(state);
                change(&mut state.table)
            }
            changed => changed,
        };
        let (records, position) = state.table.take_records();
        for records in split_records(records) {
            let sent = Sent {
                records: records.len() as u64,
                frame: TableRecords { records }.to_frame().into(),
            };
            state.unconfirmed.push(sent.clone());
            self.send(state, sent);
        }
        Ok(Told {
            epoch: state.epoch,
            position,
            value: changed?,
        })
    }

    /// What the table, as it was told, answers at once; `None` while somebody changes it. Never waits.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Table) -> T) -> Option<Told<T>> {
        // After a panic there may be records that were not told yet.
        let state = self.state.try_lock().ok()?;
        Some(Told {
            epoch: state.epoch,
            position: state.table.position(),
            value: question(&state.table),
        })
    }

    /// The builder answered an action that needed `position` records of the table of `epoch`: it has them.
    pub(super) fn confirm(&self, epoch: u64, position: u64) {
        let mut state = self.state();
        if state.epoch == epoch {
            state.is_resumed = false;
            state.unconfirmed.confirm(position);
        }
    }

    /// The builder does not know the table of `epoch`. Whether another was begun: if it has dropped it since the last
    /// connection, say, or if that was done before. Otherwise the next connection begins one.
    pub(super) fn disown(self: &Arc<Self>, epoch: u64) -> bool {
        let mut state = self.state();
        if state.epoch != epoch {
            return true;
        }
        if state.is_resumed {
            tracing::info!(epoch, "the builder has dropped its table: it is told anew");
            self.begin_anew(&mut state);
            return true;
        }
        state.unconfirmed.give_up();
        false
    }

    /// Whether the builder did not show yet that it has the table of `epoch` still.
    fn is_resumed(&self, epoch: u64) -> bool {
        let state = self.state();
        state.epoch == epoch && state.is_resumed
    }

    fn begin_anew(self: &Arc<Self>, state: &mut State) {
        state.table = Table::new();
        state.unconfirmed = Unconfirmed::default();
        state.epoch = state.next_epoch;
        state.next_epoch += 1;
        state.is_resumed = false;
        self.open(state, None);
    }

    /// Has a stream of the present connection carry the table, in the place of any other.
    fn open(self: &Arc<Self>, state: &mut State, resumes_behind: Option<u64>) {
        let (queue, sent) = mpsc::unbounded_channel();
        state.queue = queue;
        let open = TableOpen::new(self.view, state.epoch, resumes_behind);
        let Some(Carrier { connection, standing }) = state.carrier.clone() else {
            return;
        };
        let telling = Arc::downgrade(self);
        state.stream = Some(task::spawn("table", async move {
            let is_awaited = || {
                let telling = telling.upgrade();
                telling.is_some_and(|telling| telling.is_resumed(open.epoch))
            };
            let carried = until_closed(&connection, carry(&connection, &open, sent, is_awaited)).await;
            if carried.flatten().is_some() {
                return;
            }
            let is_met = settled(standing).await == Standing::Met;
            let Some(telling) = telling.upgrade() else { return };
            if !is_met || connection.close_reason().is_some() {
                telling.let_go(&connection);
            } else if !telling.disown(open.epoch) {
                connection.close(VarInt::from_u32(close::DONE), b"the table broke");
            }
        }));
    }

    /// Holds on to a connection that is lost no longer, unless there is another.
    fn let_go(&self, lost: &quinn::Connection) {
        let mut state = self.state();
        let is_it = |carrier: &mut Carrier| carrier.connection.stable_id() == lost.stable_id();
        if state.carrier.take_if(is_it).is_some() {
            state.stream = None;
        }
    }

    fn send(&self, state: &State, sent: Sent) {
        self.records.fetch_add(sent.records, Ordering::Relaxed);
        // Fails only once the stream broke: the next connection tells it again.
        let _ = state.queue.send(sent);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a table until there is another; `None` when the stream or the connection breaks before. While the builder's
/// word `is_awaited` the end of an idle stream is noticed; a view that gave way later is begun anew when it is needed.
async fn carry(
    connection: &quinn::Connection,
    open: &TableOpen,
    mut queue: mpsc::UnboundedReceiver<Sent>,
    is_awaited: impl Fn() -> bool,
) -> Option<()> {
    let mut send = connection.open_uni().await.ok()?;
    send.set_priority(TABLE_PRIORITY).ok()?;
    frame::send(&mut send, open).await.ok()?;
    let stopped = send.stopped();
    tokio::pin!(stopped);
    let mut is_idle_watched = is_awaited();
    loop {
        let sent = tokio::select! {
            sent = queue.recv() => sent,
            _ = connection.closed() => return None,
            _ = &mut stopped, if is_idle_watched => {
                if is_awaited() {
                    return None;
                }
                is_idle_watched = false;
                continue;
            }
        };
        let Some(sent) = sent else { break };
        send.write_all(&sent.frame).await.ok()?;
    }
    let _ = send.finish();
    Some(())
}

/// Records by message: in order, each message within its limit.
fn split_records(records: Vec<TableRecord>) -> Vec<Vec<TableRecord>> {
    let mut messages: Vec<Vec<TableRecord>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record_bytes(&record);
        if messages.is_empty() || bytes + size > RECORD_BYTES_PER_MESSAGE {
            messages.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(message) = messages.last_mut() {
            message.push(record);
        }
    }
    messages
}

/// At least the bytes a record takes on the wire.
fn record_bytes(record: &TableRecord) -> usize {
    /// Ids, digest, times and lengths of any record, or of a name in one.
    const REST: usize = 80;
    const REST_OF_NAME: usize = 8;
    match record {
        TableRecord::Define { name, kind, .. } => {
            let target = if let EntryKind::Symlink { target } = kind {
                target.len()
            } else {
                0
            };
            REST + name.len() + target
        }
        TableRecord::Remove { .. } => REST,
        TableRecord::Poison { names, .. } => {
            REST + names
                .iter()
                .map(|(name, _)| name.len() + REST_OF_NAME)
                .sum::<usize>()
        }
        TableRecord::Cure { names, .. } => {
            REST + names.iter().map(|name| name.len() + REST_OF_NAME).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::limits;
    use quicc_protocol::message::table::PoisonKind;

    #[test]
    fn a_flood_of_names_travels_in_messages_of_legal_size() {
        let names = |count: usize| {
            (0..count)
                .map(|n| (format!("{n:0>255}").into_bytes(), PoisonKind::Link))
                .collect()
        };
        let records = vec![
            TableRecord::Poison {
                parent: 1,
                names: names(1000)
            };
            40
        ];
        let messages = split_records(records.clone());
        assert_eq!(messages.concat(), records);
        for records in messages {
            assert!(TableRecords { records }.to_frame().len() <= limits::RUN_PAYLOAD);
        }
        assert_eq!(split_records(Vec::new()).concat(), []);
    }
}
