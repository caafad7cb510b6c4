//! Limits of the caller that a compile here may run into and one on a builder would not. Reads none of this process.

use quicc_protocol::message::wrapper::ResourceLimits;

use super::{Cause, Reason};

/// The soft limit Linux gives a process that nobody has limited, and what clang raises a smaller one to.
const USUAL_STACK: u64 = 8 << 20;
/// What gcc's compilers raise their soft limit to where the hard one lets them.
const GCC_STACK: u64 = 64 << 20;

/// Why a compile under `limits` stays here: the first that is not a usual one, as a shell sets it.
///
/// A builder's compiler has no limit of address space, data or processor time but the farm's own, and meeting one of
/// those is no verdict on the source. Open files, processes, locked memory and core files decide nothing about a
/// compile, and Linux enforces no limit of resident memory.
pub fn restriction(limits: &ResourceLimits) -> Option<Reason> {
    let below = |limit: Option<u64>, usual| limit.is_some_and(|limit| limit < usual);
    let restricted = [
        ("ulimit -v", limits.address_space.is_some()),
        ("ulimit -d", limits.data.is_some()),
        ("ulimit -f", limits.file_size.is_some()),
        ("ulimit -t", limits.processor_time.is_some()),
        (
            "ulimit -s",
            below(limits.stack, USUAL_STACK) || below(limits.stack_ceiling, GCC_STACK),
        ),
    ];
    let (shell, _) = restricted.into_iter().find(|(_, restricts)| *restricts)?;
    Some(Reason::new(Cause::ResourceLimits, shell.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn only_limits_that_a_compile_may_meet_keep_it_here() {
        let check = |limits: ResourceLimits, expect: Option<&str>| {
            let subject = restriction(&limits).map(|reason| {
                assert_eq!(reason.cause, Cause::ResourceLimits);
                String::from_utf8(reason.subject).unwrap()
            });
            assert_eq!(subject.as_deref(), expect, "{limits:?}");
        };
        let none = ResourceLimits::default();
        let most = Some(1 << 40);
        check(none, None);
        check(
            ResourceLimits {
                address_space: most,
                ..none
            },
            Some("ulimit -v"),
        );
        check(ResourceLimits { data: most, ..none }, Some("ulimit -d"));
        check(
            ResourceLimits {
                file_size: Some(0),
                ..none
            },
            Some("ulimit -f"),
        );
        check(
            ResourceLimits {
                processor_time: most,
                ..none
            },
            Some("ulimit -t"),
        );
        let stack = |soft, hard| ResourceLimits {
            stack: soft,
            stack_ceiling: hard,
            ..none
        };
        check(stack(Some(8 * MIB), None), None);
        check(stack(Some(8 * MIB), Some(64 * MIB)), None);
        check(stack(Some(64 * MIB), Some(64 * MIB)), None);
        check(stack(Some(8 * MIB), Some(64 * MIB - 1)), Some("ulimit -s"));
        check(stack(Some(8 * MIB - 1), None), Some("ulimit -s"));
    }
}
