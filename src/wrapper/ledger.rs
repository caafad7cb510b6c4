//! What became of each unit of one build: a line per unit, appended by the wrapper that knows it, read once by
//! `quicc run`. Lines survive the agent and need no lock: an append of a short line is atomic.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::Serialize;

/// The fate of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Compiled on a builder.
    Remote,
    /// Compiled here by verdict, for a reason code.
    Local(String),
    /// Compiled here because the farm failed, for a reason code.
    Fallback(String),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What became of the unit.
    pub fate: Fate,
    /// Bytes sent for it.
    pub bytes_up: u64,
    /// Bytes received for it.
    pub bytes_down: u64,
}

impl Line {
    fn render(&self) -> String {
        let (word, reason) = match &self.fate {
            Fate::Remote => ("remote", "-"),
            Fate::Local(reason) => ("local", reason.as_str()),
            Fate::Fallback(reason) => ("fallback", reason.as_str()),
        };
        format!("{word} {reason} {} {}\n", self.bytes_up, self.bytes_down)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (word, reason) = (words.next()?, words.next()?.to_owned());
        let (bytes_up, bytes_down) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let fate = match word {
            "remote" => Fate::Remote,
            "local" => Fate::Local(reason),
            "fallback" => Fate::Fallback(reason),
            _ => return None,
        };
        Some(Self {
            fate,
            bytes_up,
            bytes_down,
        })
    }
}

/// Appends a line. A ledger that cannot be written must not fail a compile: the unit then goes uncounted. It may be
/// longer than the caller lets its files grow, and the signal that tells of that would end us.
pub fn append(ledger: &Path, line: &Line) {
    let signal = SigSet::from(Signal::SIGXFSZ);
    let Ok(mut file) = OpenOptions::new().append(true).open(ledger) else {
        return;
    };
    let Ok(before) = signal.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
        return;
    };
    if file.write_all(line.render().as_bytes()).is_err() {
        take(&signal);
    }
    let _ = before.thread_set_mask();
}

/// Takes away a signal that was held back, if it came: the compiler that this process becomes is not to meet it.
fn take(signal: &SigSet) {
    if let Ok(arrived) = SignalFd::with_flags(signal, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
        let _ = arrived.read_signal();
    }
}

/// The sum over a ledger; the JSON of `quicc run --summary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Units compiled on builders.
    pub remote: u64,
    /// Units compiled here, fallbacks included.
    pub local: u64,
    /// How many were local for which reason, fallbacks included.
    pub local_reasons: BTreeMap<String, u64>,
    /// Units compiled here because the farm failed.
    pub fallbacks: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

impl Summary {
    /// Adds up a ledger's text.
    pub fn of(text: &str) -> Self {
        let mut summary = Self::default();
        text.lines()
            .filter_map(Line::parse)
            .for_each(|line| summary.add(line));
        summary
    }

    fn add(&mut self, line: Line) {
        self.bytes_up += line.bytes_up;
        self.bytes_down += line.bytes_down;
        let reason = match line.fate {
            Fate::Remote => {
                self.remote += 1;
                return;
            }
            Fate::Local(reason) => reason,
            Fate::Fallback(reason) => {
                self.fallbacks += 1;
                reason
            }
        };
        self.local += 1;
        *self.local_reasons.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fates = [
            Fate::Remote,
            Fate::Local("stdin-source".to_owned()),
            Fate::Fallback("lost".to_owned()),
            Fate::Local("stdin-source".to_owned()),
        ];
        for fate in fates {
            append(
                file.path(),
                &Line {
                    fate,
                    bytes_up: 3,
                    bytes_down: 5,
                },
            );
        }
        let summary = Summary::of(&std::fs::read_to_string(file.path()).unwrap());
        assert_eq!((summary.remote, summary.local, summary.fallbacks), (1, 3, 1));
        assert_eq!((summary.bytes_up, summary.bytes_down), (12, 20));
        assert_eq!(summary.local_reasons.get("stdin-source"), Some(&2));
        assert_eq!(Summary::of("nonsense\nremote\nlocal x y z\n"), Summary::default());
    }
}
