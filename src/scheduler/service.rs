//! The scheduler at work: select, tell the ledger, send what it says.
//!
//! One task per connection, one loop around the ledger. Waits for nobody: queues are bounded, and a peer that lets
//! its queue fill loses its connection. Whatever one peer does, the others are served.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use quicc_certs::{Name, Role, TicketError};
use quicc_protocol::close;
use quicc_protocol::identifiers::LeaseId;
use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd};
use quicc_protocol::version::Hello;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::belief;
use super::connection::{self, ConnectionNumber, Ending, Event, Outgoing, Reporter, Visitor};
use super::ledger::{AgentId, BuilderId, DropReason, EndReason, Grant, Input, Ledger, Output};
use super::moment::Moment;
use super::tickets::{Holder, TicketOffice};
use crate::host::clock;
use crate::host::task::{self, Task};
use crate::transport::{Arriving, Endpoint};

/// Connections at once, unfinished handshakes included.
pub const CONNECTIONS: usize = 4096;
/// Connections at once with one certificate name: a machine that dials in a loop leaves room for others.
pub const CONNECTIONS_PER_NAME: usize = 64;
/// Events waiting for the ledger; connections wait with their next one.
const EVENTS: usize = 1024;
/// What [`Hello::role`] says of a scheduler.
const HELLO_ROLE: u8 = 1;
const SOFTWARE: &str = concat!("quicc ", env!("CARGO_PKG_VERSION"));

/// What a scheduler has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// The cluster it serves: peers of others are refused.
    pub cluster: Name,
    /// Time between a builder's offers; a builder is lost after three.
    pub heartbeat: Duration,
}

/// Why a scheduler cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// No key for tickets.
    #[error("the scheduler cannot issue tickets")]
    Tickets {
        /// What failed.
        #[from]
        source: TicketError,
    },
    /// The endpoint was closed by somebody else.
    #[error("the scheduler's endpoint is closed")]
    EndpointClosed,
}

/// Serves builders and agents that connect to `endpoint` until `shutdown`, then closes it.
pub async fn serve(
    config: SchedulerConfig,
    endpoint: Endpoint,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SchedulerError> {
    let (events, mut queue) = mpsc::channel(EVENTS);
    let mut service = Service::new(config, events)?;
    let mut shutdown = pin!(shutdown);
    loop {
        let deadline = service.deadline();
        tokio::select! {
            () = &mut shutdown => break,
            arriving = endpoint.accept() => {
                let arriving = arriving.ok_or(SchedulerError::EndpointClosed)?;
                service.admit(arriving);
            }
            Some((connection, event)) = queue.recv() => service.note(connection, event),
            () = sleep_until(deadline) => {}
        }
        // All that waits now comes before the tick, so that nobody who spoke counts as silent, and settles at once.
        let waiting = std::iter::from_fn(|| queue.try_recv().ok());
        for (connection, event) in waiting.take(EVENTS) {
            service.note(connection, event);
        }
        service.tick();
        service.deliver();
    }
    endpoint.close().await;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

struct Service {
    config: SchedulerConfig,
    ledger: Ledger,
    tickets: TicketOffice,
    /// What [`Moment`] counts from.
    start: Instant,
    connections: BTreeMap<ConnectionNumber, Connection>,
    next_connection: ConnectionNumber,
    events: mpsc::Sender<(ConnectionNumber, Event)>,
}

struct Connection {
    /// Ends with this entry.
    _task: Task<()>,
    /// `None` until the handshake is done, and once the peer was dismissed.
    visitor: Option<Visitor>,
    has_offered: bool,
}

impl Service {
    fn new(
        config: SchedulerConfig,
        events: mpsc::Sender<(ConnectionNumber, Event)>,
    ) -> Result<Self, SchedulerError> {
        Ok(Self {
            ledger: Ledger::new(config.heartbeat, first_lease(clock::unix_seconds())),
            tickets: TicketOffice::open(config.cluster.clone())?,
            config,
            start: Instant::now(),
            connections: BTreeMap::new(),
            next_connection: 1,
            events,
        })
    }

    fn now(&self) -> Moment {
        Moment(0) + self.start.elapsed()
    }

    fn deadline(&self) -> Option<Instant> {
        let after_start = self.ledger.deadline()?.since(Moment(0));
        self.start.checked_add(after_start)
    }

    fn admit(&mut self, arriving: Arriving) {
        if self.connections.len() >= CONNECTIONS {
            tracing::warn!(address = %arriving.remote_address(), CONNECTIONS, "refused: too many connections");
            return;
        }
        let connection = self.next_connection;
        self.next_connection += 1;
        let reporter = Reporter {
            connection,
            events: self.events.clone(),
        };
        let hello = Hello::ours(HELLO_ROLE, SOFTWARE);
        let attended = connection::attend(arriving, hello, self.config.cluster.clone(), reporter);
        let entry = Connection {
            _task: task::spawn("connection", attended),
            visitor: None,
            has_offered: false,
        };
        self.connections.insert(connection, entry);
    }

    fn note(&mut self, connection: ConnectionNumber, event: Event) {
        let (agent, builder) = (AgentId(connection), BuilderId(connection));
        match event {
            Event::Arrived(visitor) => self.welcome(connection, visitor),
            Event::Offered(offer) => self.note_offer(connection, offer),
            Event::Demanded(demand) => self.handle(Input::Demanded { agent, demand }),
            Event::Returned(lease) => self.handle(Input::LeaseReturned { agent, lease }),
            Event::StatusAsked => {
                let status = belief::status(self.ledger.builders(), self.ledger.agents());
                self.tell(connection, Outgoing::Status(status));
            }
            Event::Gone => {
                self.part(connection, None);
                self.connections.remove(&connection);
                // Unknown to the ledger under one of the two names, or under both.
                self.handle(Input::BuilderGone { builder });
                self.handle(Input::AgentGone { agent });
            }
        }
    }

    fn welcome(&mut self, connection: ConnectionNumber, visitor: Visitor) {
        let known = self
            .connections
            .values()
            .filter_map(|entry| entry.visitor.as_ref());
        let same = known.filter(|other| (other.role, &other.name) == (visitor.role, &visitor.name));
        if same.count() >= CONNECTIONS_PER_NAME {
            dismiss(
                visitor,
                Ending::new(close::NOT_ALLOWED, "too many connections with one name"),
            );
            return;
        }
        let name = visitor.name.to_string();
        let input = match visitor.role {
            Role::Builder => Input::BuilderArrived {
                builder: BuilderId(connection),
                name,
            },
            Role::Client | Role::Scheduler => Input::AgentArrived {
                agent: AgentId(connection),
                client: name,
            },
        };
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.visitor = Some(visitor);
            self.handle(input);
        }
    }

    fn note_offer(&mut self, connection: ConnectionNumber, offer: BuilderOffer) {
        let Some(entry) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(visitor) = &entry.visitor else { return };
        if !std::mem::replace(&mut entry.has_offered, true) {
            let BuilderOffer {
                endpoint,
                slots,
                machine,
                software,
                ..
            } = &offer;
            tracing::info!(builder = %visitor.name, endpoint, slots, machine, software, "builder arrived");
        }
        let builder = BuilderId(connection);
        self.handle(Input::Offered { builder, offer });
        let welcome = self.tickets.welcome(self.config.heartbeat, clock::unix_seconds());
        self.tell(connection, Outgoing::Welcome(welcome));
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.ledger.deadline().is_some_and(|deadline| deadline <= now) {
            self.handle(Input::Tick);
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.ledger.handle(now, input);
    }

    /// Does what the ledger says, until it says nothing more.
    fn deliver(&mut self) {
        while let Some(output) = self.ledger.poll() {
            match output {
                Output::Grant(grant) => self.grant(grant),
                Output::EndLease {
                    lease,
                    agent,
                    builder,
                    reason,
                } => self.end_lease(lease, agent, builder, reason),
                Output::DropBuilder {
                    builder,
                    name,
                    reason,
                } => {
                    let ending = match reason {
                        DropReason::Silent => Ending::new(close::SILENT, "no offer came"),
                        DropReason::Replaced => Ending::new(close::DONE, "the same builder connected again"),
                    };
                    tracing::debug!(builder = name, ?reason, "builder dropped");
                    self.part(builder.0, Some(ending));
                }
            }
        }
    }

    fn grant(&mut self, grant: Grant) {
        let agent = grant.agent.0;
        let visitor = |connection| self.connections.get(&connection)?.visitor.as_ref();
        let (Some(holder), Some(builder)) = (visitor(agent), visitor(grant.builder.0)) else {
            return;
        };
        tracing::debug!(
            client = %holder.name, builder = %builder.name, lease = grant.lease, slots = grant.slots, "grant"
        );
        let name = builder.name.clone();
        let holder = Holder {
            name: &holder.name,
            spki: &holder.spki,
        };
        match self.tickets.issue(grant, &name, holder, clock::unix_seconds()) {
            Ok(message) => self.tell(agent, Outgoing::Grant(message)),
            Err(error) => tracing::error!(%error, "a grant could not be signed"),
        }
    }

    fn end_lease(&mut self, lease: LeaseId, agent: AgentId, builder: BuilderId, reason: EndReason) {
        tracing::debug!(lease, ?reason, "lease ended");
        for connection in [agent.0, builder.0] {
            let end = LeaseEnd {
                lease,
                extensions: Vec::new(),
            };
            self.tell(connection, Outgoing::End(end));
        }
    }

    /// Queues a message; a peer whose queue is full does not read and is parted from.
    fn tell(&mut self, connection: ConnectionNumber, outgoing: Outgoing) {
        let visitor = self
            .connections
            .get(&connection)
            .and_then(|entry| entry.visitor.as_ref());
        let Some(visitor) = visitor else { return };
        if visitor.outbox.try_send(outgoing).is_err() {
            self.part(
                connection,
                Some(Ending::new(close::SILENT, "the peer does not read")),
            );
            self.handle(Input::BuilderGone {
                builder: BuilderId(connection),
            });
            self.handle(Input::AgentGone {
                agent: AgentId(connection),
            });
        }
    }

    /// Forgets the peer of a connection and, given an ending, closes it. The entry stays until the task reports its
    /// end.
    fn part(&mut self, connection: ConnectionNumber, ending: Option<Ending>) {
        let Some(entry) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(visitor) = entry.visitor.take() else {
            return;
        };
        if visitor.role == Role::Builder && entry.has_offered {
            let reason = ending
                .as_ref()
                .map_or("its connection ended", |ending| &ending.reason);
            tracing::info!(builder = %visitor.name, reason, "builder lost");
        }
        if let Some(ending) = ending {
            dismiss(visitor, ending);
        }
    }
}

fn dismiss(visitor: Visitor, ending: Ending) {
    // An error means that the connection ended by itself.
    let _ = visitor.dismissal.send(ending);
}

/// Lease ids of this run stand above those of every earlier one that granted fewer than a million a second.
fn first_lease(unix_seconds: u64) -> LeaseId {
    unix_seconds << 20
}

#[cfg(test)]
mod tests;
