//! The meeting with a builder whose connection is in use before it has answered, and what has become of it. The connection
//! ends with the control stream; what was sent on it meanwhile is others'.

use quicc_protocol::{close, limits};
use tokio::sync::watch;

use crate::transport::{Opened, TransportError, frame};

/// What has become of the meeting with a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not answered yet.
    Unmet,
    /// It is the one that was meant.
    Met,
    /// It refused what was sent before its answer.
    TooEarly,
    /// The meeting failed otherwise; the connection is closed.
    Failed,
}

/// How a meeting ended, once it has.
pub(super) async fn settled(mut standing: watch::Receiver<Standing>) -> Standing {
    let met = standing.wait_for(|standing| *standing != Standing::Unmet).await;
    met.map_or(Standing::Failed, |standing| *standing)
}

/// Meets a builder and ends the connection with its control stream, on which builders say nothing.
pub(super) async fn follow_control(opened: Opened, standing: watch::Sender<Standing>) {
    let connection = opened.connection.clone();
    let ended = match opened.meet().await {
        Ok(mut peer) => {
            standing.send_replace(Standing::Met);
            let _ = frame::receive(&mut peer.control.receive, limits::CONTROL_PAYLOAD).await;
            &b""[..]
        }
        Err(error) => {
            let is_too_early = matches!(error, TransportError::TooEarly { .. });
            standing.send_replace(if is_too_early {
                Standing::TooEarly
            } else {
                Standing::Failed
            });
            tracing::info!(error = crate::host::text::chain(&error), "no builder was met");
            b"not met"
        }
    };
    // It would forget how else it ended.
    if connection.close_reason().is_none() {
        connection.close(close::DONE.into(), ended);
    }
}
