//! A farm at one end of the link, and clients at the other.

use std::time::Duration;

use crate::support::{FarmFiles, Role};
use crate::wire::Wire;

/// Scheduler and builder.
pub struct Farm {
    pub files: FarmFiles,
    pub scheduler: Role,
    pub builder: Role,
}

impl Farm {
    /// Starts them, the builder with further `lines` in its configuration.
    pub fn start(wire: &Wire, lines: &str) -> Self {
        wire.farm.within(|| {
            let files = FarmFiles::at(wire.farm.address);
            let path = files.world().at("builder.conf");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text + lines).unwrap();
            let scheduler = files.start("scheduler");
            let builder = files.start("builder");
            Self {
                files,
                scheduler,
                builder,
            }
        })
    }
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
