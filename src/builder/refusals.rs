//! How this builder says no. Texts are for people far away: no paths and no causes of this side.

use quicc_protocol::message::refusal::{Refusal, RefusalCode};

/// When to ask a builder again that had no slot, milliseconds.
const BUSY_HINT: u32 = 100;
/// No slot.
pub(super) fn not_admitted(code: RefusalCode) -> Refusal {
    let (text, retry_after) = match code {
        RefusalCode::Busy => ("no slot is free under this lease", BUSY_HINT),
        RefusalCode::Draining => ("the builder is ending", 0),
        _ => ("no ticket was shown for this lease", 0),
    };
    Refusal {
        retry_after,
        ..Refusal::new(code, text)
    }
}

/// A failure of this side: `context` travels, the cause stays in the log.
pub(super) fn internal(context: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, "{context}");
    Refusal::new(RefusalCode::Internal, context)
}

/// Nothing is begun any more.
pub(super) fn ending() -> Refusal {
    Refusal::new(RefusalCode::Draining, "the builder is ending")
}

/// The client has to name current entries.
pub(super) fn stale() -> Refusal {
    Refusal::new(RefusalCode::Stale, "an entry was superseded")
}

/// The client has to tell its table anew.
pub(super) fn unknown_table() -> Refusal {
    Refusal::new(RefusalCode::UnknownTable, "the table is not known here")
}

/// The action itself is at fault, or this builder too small for it.
pub(super) fn limit_exceeded() -> Refusal {
    Refusal::new(
        RefusalCode::LimitExceeded,
        "the action ran into a limit of the builder",
    )
}
