//! The scheduler: grants agents leases on builders' slots, fairly, ahead of demand.
//!
//! Holds soft state only: builders are the truth about their slots and register by dialling out, agents repeat
//! their demand when they reconnect, so a restarted scheduler is whole after one heartbeat. It never sees source,
//! never stands in the path of a compile and never ends a running action.
//!
//! [`ledger`] decides (with [`share`], [`placement`] and `balance`, all pure); [`service`] waits, sends and signs.

mod balance;
mod belief;
mod books;
mod connection;
pub mod ledger;
pub mod moment;
pub mod placement;
pub mod service;
mod settle;
pub mod share;
mod tickets;

#[cfg(test)]
mod simulation;
