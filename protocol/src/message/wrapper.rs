//! Wrapper and agent on one machine, over a unix socket. The same envelope, no hello: a wrapper states its
//! version, and an agent of another version answers [`AgentDrains`].

use bincode::{Decode, Encode};

use super::blob::Body;
use super::message;
use super::run::{After, Exit, StandardStreams};

/// Version of these messages; wrapper and agent must agree exactly.
pub const VERSION: u32 = 3;

/// Limits of the wrapper's process that a compiler inherits and may run into (getrlimit(2)); `None`: there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct ResourceLimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of data.
    pub data: Option<u64>,
    /// Bytes of a file that is written.
    pub file_size: Option<u64>,
    /// Seconds of processor time.
    pub processor_time: Option<u64>,
    /// Bytes of stack.
    pub stack: Option<u64>,
    /// What a process may raise [`Self::stack`] to.
    pub stack_ceiling: Option<u64>,
}

/// A compiler was called.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompileRequest {
    /// [`VERSION`].
    pub version: u32,
    /// The real compiler's path.
    pub compiler: Vec<u8>,
    /// The arguments, `argv[0]` included.
    pub argv: Vec<Vec<u8>>,
    /// Working directory, physical.
    pub cwd: Vec<u8>,
    /// The environment, in the order received.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The umask.
    pub umask: u32,
    /// What the descriptors are.
    pub streams: StandardStreams,
    /// The mount namespace, as `/proc/self/ns/mnt` names it.
    pub mount_namespace: u64,
    /// Whether the invocation runs inside a local compile that holds a token: it needs none.
    pub inside_local_compile: bool,
    /// What the compiler may use.
    pub resource_limits: ResourceLimits,
}
message!(CompileRequest, 60, WRAPPER_PAYLOAD);

/// Run the compiler yourself; the token is held until the connection closes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunLocally {
    /// Why, as a stable code; empty for what is no compile and is not counted.
    pub reason: String,
    /// Whether the farm was tried first.
    pub fallback: bool,
    /// Bytes sent for the attempt.
    pub bytes_up: u64,
    /// Bytes received for the attempt.
    pub bytes_down: u64,
}
message!(RunLocally, 61, CONTROL_PAYLOAD);

/// What a compiler does with a file that is there already when it writes an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Predecessor {
    /// It makes a new one in its place.
    Replaced,
    /// It makes a new one unless nothing is in it, as mktemp(1) leaves it.
    KeptIfEmpty,
    /// It writes into it, so that its links, mode and owner stay.
    Kept,
}

/// A file to write, a body of the message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OutputFile {
    /// Where, as the compiler was told: absolute, or relative to the working directory.
    pub path: Vec<u8>,
    /// What to do there.
    pub after: After,
    /// What the compiler does with a file that is there.
    pub predecessor: Predecessor,
}

/// The compile was run: write these outputs and end like the compiler. Bodies, plain: standard output, standard
/// error, every written output.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompileDone {
    /// How to end.
    pub exit: Exit,
    /// The outputs.
    pub outputs: Vec<OutputFile>,
    /// The bodies that follow.
    pub bodies: Vec<Body>,
    /// Bytes sent for this unit.
    pub bytes_up: u64,
    /// Bytes received for this unit.
    pub bytes_down: u64,
}
message!(CompileDone, 62, WRAPPER_PAYLOAD);

/// This agent is of another version or is ending: start a new one, or run the compiler.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AgentDrains {
    /// The agent's version of these messages.
    pub version: u32,
}
message!(AgentDrains, 63, CONTROL_PAYLOAD);

/// The wrapper has (not) published the outputs: ends the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Published {
    /// Whether every output was written.
    pub complete: bool,
}
message!(Published, 64, CONTROL_PAYLOAD);

/// Asks the agent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Question {
    /// How it is: answered by [`AgentStatus`].
    Status,
    /// To end once running units are done.
    Stop,
}

/// A question to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AgentQuestion {
    /// [`VERSION`].
    pub version: u32,
    /// What is asked.
    pub question: Question,
}
message!(AgentQuestion, 65, CONTROL_PAYLOAD);

/// What became of the last units that compile a source? Answered by [`AgentStatus`] with a document of its own.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExplainQuestion {
    /// [`VERSION`].
    pub version: u32,
    /// The source's absolute path.
    pub source: Vec<u8>,
}
message!(ExplainQuestion, 68, CONTROL_PAYLOAD, source_is_absolute);

fn source_is_absolute(asked: &ExplainQuestion) -> Option<&'static str> {
    (!super::is_absolute_path(&asked.source)).then_some("a source is an absolute path")
}

/// A JSON document about the agent or about a source.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AgentStatus {
    /// The document.
    pub json: String,
}
message!(AgentStatus, 66, RUN_PAYLOAD);

/// The unit is being worked on: sent every few seconds, so that a wrapper can tell a busy agent from a stopped
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StillWorking {}
message!(StillWorking, 67, CONTROL_PAYLOAD);
