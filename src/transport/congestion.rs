//! Congestion control for builds: starts from what the path carried last time, is not collapsed by random loss, keeps
//! its own queue short and gives way to others. This file fits the pure [`model`] to quinn; it decides nothing.
//!
//! Sources, all read and none copied: BBRv3 (draft-ietf-ccwg-bbr: delivery rate and least round trip as the model),
//! RFC 9438 (Cubic, where loss-based flows keep the queue), Copa (whether a queue is others': does it go when we step
//! back), careful resume (draft-ietf-tsvwg-careful-resume), RFC 9002 for the rest. quinn paces at 5/4 of window per
//! smoothed round trip, so the window alone sets the rate.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use self::model::Model;
use super::path::{Paths, Remembered};
use crate::host::clock;

mod cubic;
mod estimate;
mod model;
mod rounds;

/// Makes the controllers of one connection.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    /// Where the path's past is, by the name of the peer.
    path: Option<Path>,
    /// A connection that moves to another path starts with nothing: what is remembered was the first one.
    was_used: AtomicBool,
}

#[derive(Debug, Clone)]
struct Path {
    paths: Paths,
    peer: String,
}

impl Congestion {
    /// For a connection to or from `peer`, of which `paths` may know something.
    pub(super) fn towards(peer: String, paths: &Paths) -> Self {
        Self {
            path: Some(Path {
                paths: paths.clone(),
                peer,
            }),
            was_used: AtomicBool::new(false),
        }
    }

    /// What is remembered of the path.
    fn known(&self) -> Option<Remembered> {
        let path = self.path.as_ref()?;
        path.paths.recall(&path.peer, clock::unix_seconds())
    }

    /// The path's round trip when it was used last.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.known().map(|known| known.round_trip)
    }
}

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, packet: u16) -> Box<dyn Controller> {
        let is_first = !self.was_used.swap(true, Ordering::Relaxed);
        let known = self.known().filter(|_| is_first);
        Box::new(Fitted {
            model: Model::new(now, packet, known),
            path: self.path.clone(),
        })
    }
}

/// A model that quinn asks.
#[derive(Debug, Clone)]
struct Fitted {
    model: Model,
    path: Option<Path>,
}

impl Controller for Fitted {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last: u64) {
        self.model.sent(now, bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        _is_limited_by_sender: bool,
        _round_trip: &RttEstimator,
    ) {
        self.model.acknowledged(now, sent, bytes);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        is_limited_by_sender: bool,
        _largest: Option<u64>,
    ) {
        let seen = self.model.batch_ends(now, in_flight, is_limited_by_sender);
        if let (Some(seen), Some(path)) = (seen, &self.path) {
            path.paths.note(&path.peer, seen, clock::unix_seconds());
        }
    }

    fn on_congestion_event(&mut self, now: Instant, _sent: Instant, is_persistent: bool, lost: u64) {
        if lost == 0 {
            self.model.marked();
        } else {
            self.model.lost(lost, is_persistent, now);
        }
    }

    fn on_mtu_update(&mut self, packet: u16) {
        self.model.set_packet(packet);
    }

    fn window(&self) -> u64 {
        self.model.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.model.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests;
