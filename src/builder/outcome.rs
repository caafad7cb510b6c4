//! A finished run as what travels back: an outcome and its bodies. Never writes to a stream.

use std::borrow::Cow;
use std::time::Duration;

use quicc_protocol::message::blob::Body;
use quicc_protocol::message::run::{Exit, Outcome, Usage};

pub(super) use self::unread::{MayHold, Unread};
use super::collect::Collected;
use crate::sandbox::{End, Limit, Report};
use crate::transport::frame;

mod unread;

/// An outcome with the bytes of its bodies.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) outcome: Outcome,
    pub(super) wires: Vec<Vec<u8>>,
}

/// Bytes of what a run left.
pub(super) fn size(report: &Report, collected: &Collected) -> u64 {
    let streams = [&report.stdout, &report.stderr];
    let all = streams.into_iter().chain(&collected.bytes);
    all.map(|bytes| bytes.len() as u64).sum()
}

/// Compresses what a run left at a `level` of zstd. Takes processor time in proportion to it.
pub(super) fn pack(
    level: i32,
    report: &Report,
    collected: Collected,
    mirror_changed: bool,
) -> Result<Packed, Limit> {
    let exit = exit(report.end)?;
    let streams = [&report.stdout, &report.stderr];
    let (bodies, wires): (Vec<Body>, Vec<Vec<u8>>) = streams
        .into_iter()
        .chain(&collected.bytes)
        .map(|bytes| {
            let (body, wire) = frame::pack_at(level, bytes);
            (body, Cow::into_owned(wire))
        })
        .unzip();
    let outcome = Outcome {
        exit,
        outputs: collected.outputs,
        bodies,
        unexpected: collected.unexpected,
        mirror_changed,
        usage: Usage {
            wall: microseconds(report.wall),
            cpu: microseconds(report.cpu),
            memory: report.peak_memory_bytes,
        },
        extensions: Vec::new(),
    };
    Ok(Packed { outcome, wires })
}

fn exit(end: End) -> Result<Exit, Limit> {
    match end {
        End::Exited(code) => Ok(Exit::Code(code)),
        End::Signaled(signal) => Ok(Exit::Signal(u8::try_from(signal).unwrap_or(0))),
        End::LimitExceeded(limit) => Err(limit),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::message::Message;
    use quicc_protocol::message::run::After;

    fn report(end: End) -> Report {
        Report {
            end,
            stdout: b"out".to_vec(),
            stderr: vec![b'e'; 10_000],
            cpu: Duration::from_millis(2),
            wall: Duration::from_millis(3),
            peak_memory_bytes: 5,
        }
    }

    #[test]
    fn an_outcome_keeps_the_protocols_rules() {
        let collected = Collected {
            outputs: vec![After::Absent, After::Written { executable: true }],
            bytes: vec![b"object".to_vec()],
            unexpected: vec![b"/x".to_vec()],
        };
        let ran = report(End::Exited(1));
        assert_eq!(size(&ran, &collected), 10_009);
        let packed = pack(1, &ran, collected, true).unwrap();
        assert_eq!(packed.outcome.broken_rule(), None);
        assert_eq!(packed.outcome.exit, Exit::Code(1));
        let sizes: Vec<_> = packed.outcome.bodies.iter().map(|body| body.size).collect();
        assert_eq!(sizes, [3, 10_000, 6]);
        for (body, wire) in packed.outcome.bodies.iter().zip(&packed.wires) {
            assert_eq!(body.wire_size, wire.len() as u64);
        }
        assert!(packed.wires[1].len() < 1000, "compressed");
        assert_eq!(
            (packed.outcome.usage.wall, packed.outcome.usage.cpu),
            (3000, 2000)
        );
    }

    #[test]
    fn ends_become_exits_or_refusals() {
        let check = |end, expected| {
            let packed = pack(1, &report(end), Collected::default(), false);
            assert_eq!(packed.map(|packed| packed.outcome.exit), expected, "{end:?}");
        };
        check(End::Signaled(9), Ok(Exit::Signal(9)));
        check(End::Signaled(-1), Ok(Exit::Signal(0)));
        check(End::LimitExceeded(Limit::Memory), Err(Limit::Memory));
    }
}
