//! The limits of this process, as the kernel has them. Never sets one, and judges none.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use quicc_protocol::message::wrapper::ResourceLimits;

/// The limits of this process that a compiler inherits. One that cannot be read counts as none.
pub fn own() -> ResourceLimits {
    let (stack, stack_ceiling) = both(Resource::RLIMIT_STACK);
    ResourceLimits {
        address_space: soft(Resource::RLIMIT_AS),
        data: soft(Resource::RLIMIT_DATA),
        file_size: soft(Resource::RLIMIT_FSIZE),
        processor_time: soft(Resource::RLIMIT_CPU),
        stack,
        stack_ceiling,
    }
}

fn soft(resource: Resource) -> Option<u64> {
    both(resource).0
}

/// The soft and the hard limit.
fn both(resource: Resource) -> (Option<u64>, Option<u64>) {
    let (soft, hard) = getrlimit(resource).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    let finite = |limit| (limit != RLIM_INFINITY).then_some(limit);
    (finite(soft), finite(hard))
}
