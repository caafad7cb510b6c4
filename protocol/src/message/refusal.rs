//! A healthy peer saying no.

use bincode::{Decode, Encode};

use super::{Extensions, message};

/// Why; the code decides what the receiver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum RefusalCode {
    /// No slot is free, or no lease covers another action: try elsewhere, or here after the hint.
    Busy,
    /// An entry the action names was superseded: send the action again with current entries.
    Stale,
    /// The builder does not know this view, epoch or position: tell the table anew.
    UnknownTable,
    /// The certificate or ticket does not allow this.
    NotAllowed,
    /// The message breaks the protocol.
    Malformed,
    /// This machine cannot run the toolchain (other ELF machine, exec failed).
    Unsupported,
    /// The action ran into a limit: wall clock, processor time, memory, processes, output.
    LimitExceeded,
    /// Disk full or another failure of the builder's own.
    Internal,
    /// The builder is ending: it starts nothing more.
    Draining,
}

/// The refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// What kind of no.
    pub code: RefusalCode,
    /// For people, without paths or causes of the refusing side.
    pub text: String,
    /// Milliseconds after which asking again makes sense; 0 for no hint.
    pub retry_after: u32,
    /// Later additions.
    pub extensions: Extensions,
}
message!(Refusal, 4, CONTROL_PAYLOAD);

impl Refusal {
    /// A refusal without a hint.
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            retry_after: 0,
            extensions: Vec::new(),
        }
    }
}
