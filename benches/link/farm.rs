//! A farm at one end of the link, and clients at the other.

use std::time::Duration;

use crate::open_box;
use crate::support::{FarmFiles, Role};
use crate::wire::Wire;

/// Scheduler and builder.
pub struct Farm {
    pub files: FarmFiles,
    pub scheduler: Role,
    pub builder: Role,
}

/// How the builder shuts its actions in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// As it does for a user.
    Whole,
    /// Without namespaces: [`open_box`].
    LeftOut,
}

impl Farm {
    /// Starts them, the builder with further `lines` in its configuration.
    pub fn start(wire: &Wire, lines: &str, sandbox: Sandbox) -> Result<Self, String> {
        wire.farm.within(|| {
            let files = FarmFiles::at(wire.farm.address);
            let path = files.world().at("builder.conf");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text + lines).unwrap();
            let scheduler = files.start("scheduler");
            let builder = match sandbox {
                Sandbox::Whole => files.start("builder"),
                Sandbox::LeftOut => Role::start(open_box::builder(files.world())?),
            };
            Ok(Self {
                files,
                scheduler,
                builder,
            })
        })
    }
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
