//! Agent to builder: one compile, on one bidirectional stream.
//!
//! `RunRequest →`, then any number of `← BlobsWanted` (answered by [`super::blob::BlobBatch`] streams), then
//! `← Outcome` with its bodies or `← Refusal`. A reset of the stream cancels.

use bincode::{Decode, Encode};

use super::blob::Body;
use super::{Extensions, is_absolute_path, is_entry_name, message};
use crate::BlobDigest;
use crate::identifiers::{EntryId, LeaseId, ViewId};
use crate::limits;

/// Name in the root of every action's tree of a directory that is the action's own, writable and empty at its start:
/// for temporary files. No client uses the name; text that holds it is not what the client's own compiler would say.
pub const SCRATCH_NAME: &[u8] = b".quicc-scratch";

/// Presents a lease on a connection; valid until the ticket's expiry. Sent on a unidirectional stream before
/// the first action of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeasePresented {
    /// Which lease.
    pub lease: LeaseId,
    /// The scheduler's signed ticket.
    pub ticket: String,
    /// Later additions.
    pub extensions: Extensions,
}
message!(LeasePresented, 40, CONTROL_PAYLOAD);

/// The size of a terminal, as `TIOCGWINSZ` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct WindowSize {
    /// Lines of characters; 0 for unknown, as in the other fields.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

/// Which of the standard descriptors are terminals: facts, never the descriptors themselves. Compilers colour and
/// wrap what they say by them; gcc asks standard input how wide a terminal on standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct StandardStreams {
    /// The terminal on standard input.
    pub stdin: Option<WindowSize>,
    /// The terminal on standard output.
    pub stdout: Option<WindowSize>,
    /// The terminal on standard error.
    pub stderr: Option<WindowSize>,
}

/// What stands at an output's path on the client before the compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Before {
    /// Nothing.
    Absent,
    /// A file the compiler may overwrite.
    Writable,
    /// A file whose mode forbids writing.
    ReadOnly,
}

/// A file the compile is expected to write.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeclaredOutput {
    /// The real directory it goes to: an entry of the table.
    pub directory: EntryId,
    /// Its name there.
    pub name: Vec<u8>,
    /// What the compiler finds there.
    pub before: Before,
}

/// One program of an action.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Step {
    /// The program's path on the client.
    pub program: Vec<u8>,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<Vec<u8>>,
}

/// Runs a compiler, or the programs that a compiler driver would run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunRequest {
    /// The lease that pays.
    pub lease: LeaseId,
    /// Whose files.
    pub view: ViewId,
    /// Which table of the view.
    pub epoch: u64,
    /// Records of the table this action needs applied.
    pub position: u64,
    /// The entries it needs, as [`crate::identifiers::encode_ascending`] writes them.
    pub entries: Vec<u8>,
    /// What to run, one after the other; the first that does not exit with 0 is the last.
    pub steps: Vec<Step>,
    /// Working directory on the client.
    pub cwd: Vec<u8>,
    /// The environment, sorted by name.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The client's umask.
    pub umask: u32,
    /// Where the compiler finds a terminal; elsewhere it finds nothing to read and pipes.
    pub streams: StandardStreams,
    /// What it may write; anything else it writes is reported and the result is worthless.
    pub outputs: Vec<DeclaredOutput>,
    /// Later additions.
    pub extensions: Extensions,
}
message!(RunRequest, 41, RUN_PAYLOAD, request_rule);

/// Extension of [`RunRequest`]: the digests, one behind the other, of those blobs of its entries that are on their way
/// though nobody asked: sent along with it or with another request of the connection. Without it any may be.
const ON_THEIR_WAY: u16 = 1;
/// Blobs that one request may say to be on their way.
pub const ON_THEIR_WAY_TOLD: usize = 256;

impl RunRequest {
    /// Says which blobs are on their way; nothing if they are more than [`ON_THEIR_WAY_TOLD`].
    pub fn tell_on_their_way(&mut self, digests: &[BlobDigest]) {
        if digests.len() <= ON_THEIR_WAY_TOLD {
            let bytes = digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
            self.extensions.push((ON_THEIR_WAY, bytes));
        }
    }

    /// The blobs that are on their way; `None` where the request does not say. An error is the rule that the message
    /// breaks.
    pub fn on_their_way(&self) -> Result<Option<Vec<BlobDigest>>, &'static str> {
        let mut extensions = self.extensions.iter();
        let Some((_, bytes)) = extensions.find(|(number, _)| *number == ON_THEIR_WAY) else {
            return Ok(None);
        };
        let (digests, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || digests.len() > ON_THEIR_WAY_TOLD {
            return Err("blobs on their way are a few digests");
        }
        Ok(Some(
            digests.iter().copied().map(BlobDigest::from_bytes).collect(),
        ))
    }
}

fn request_rule(request: &RunRequest) -> Option<&'static str> {
    if request.steps.is_empty() || request.steps.len() > limits::STEPS {
        return Some("no steps, or too many");
    }
    if request.steps.iter().any(has_bad_argv) {
        return Some("argv is empty or holds a NUL");
    }
    let is_elsewhere = |step: &Step| !is_absolute_path(&step.program);
    if request.steps.iter().any(is_elsewhere) || !is_absolute_path(&request.cwd) {
        return Some("program and working directory are not absolute paths");
    }
    let bad_variable = |(name, value): &(Vec<u8>, Vec<u8>)| {
        name.is_empty() || name.contains(&0) || name.contains(&b'=') || value.contains(&0)
    };
    if request.env.iter().any(bad_variable) {
        return Some("the environment is malformed");
    }
    if request.outputs.len() > limits::OUTPUTS || request.umask > 0o777 {
        return Some("too many outputs, or no umask");
    }
    let bad_output = |output: &DeclaredOutput| !is_entry_name(&output.name);
    request
        .outputs
        .iter()
        .any(bad_output)
        .then_some("an output's name is no path component")
}

fn has_bad_argv(step: &Step) -> bool {
    step.argv.is_empty() || step.argv.iter().any(|argument| argument.contains(&0))
}

/// How the last step that ran ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// What stands at a declared output's path after the compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum After {
    /// The file that was there before, untouched.
    Unchanged,
    /// Nothing.
    Absent,
    /// A new or rewritten file: the next body, executable or not.
    Written {
        /// Whether the compiler set an execute bit.
        executable: bool,
    },
}

/// What the action used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Usage {
    /// Wall clock from the start of the first step to the end of the last, microseconds.
    pub wall: u64,
    /// User and system time, microseconds.
    pub cpu: u64,
    /// Peak resident memory of all its processes as sampled, bytes.
    pub memory: u64,
}

/// The end of an action. Bodies follow raw: standard output, standard error, then every written output in the
/// order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// How the last step that ran ended.
    pub exit: Exit,
    /// One state per declared output, in the order of the request.
    pub outputs: Vec<After>,
    /// The bodies that follow.
    pub bodies: Vec<Body>,
    /// Files written that were not declared, at most a few of them named.
    pub unexpected: Vec<Vec<u8>>,
    /// Whether the mirror changed where this action could see it while it ran.
    pub mirror_changed: bool,
    /// What it used.
    pub usage: Usage,
    /// Later additions.
    pub extensions: Extensions,
}
message!(Outcome, 42, RUN_PAYLOAD, outcome_rule);

fn outcome_rule(outcome: &Outcome) -> Option<&'static str> {
    let written = outcome
        .outputs
        .iter()
        .filter(|after| matches!(after, After::Written { .. }))
        .count();
    if outcome.bodies.len() != written + 2 {
        return Some("an outcome has a body for each stream and written output");
    }
    outcome.bodies.iter().find_map(Body::broken_rule)
}
