//! Which limit a job has exceeded.
//!
//! Pure: never measures, waits or kills.

use std::time::Duration;

use super::plan::{End, Limit, Limits, MAX_OUTPUT_BYTES};
use super::usage::Usage;

/// Threads for each process of [`Limits::processes`]: far beyond a compiler's, and a bound on what a job can
/// take of the kernel.
const THREADS_PER_PROCESS: u64 = 64;

/// Between two samples.
const INTERVAL: Duration = Duration::from_millis(50);

/// Between two samples of a job that has used more than half of its memory.
const NARROW_INTERVAL: Duration = Duration::from_millis(10);

/// The limit that a sample exceeds. Many processes have much memory too, and then they are the reason.
pub(super) fn of_sample(usage: &Usage, limits: &Limits) -> Option<Limit> {
    let processes = u64::from(limits.processes);
    if usage.processes > processes || usage.threads > processes * THREADS_PER_PROCESS {
        Some(Limit::Processes)
    } else if usage.memory_bytes > limits.memory_bytes {
        Some(Limit::Memory)
    } else {
        (usage.cpu >= limits.cpu).then_some(Limit::Cpu)
    }
}

/// How long to wait for the next sample.
pub(super) fn interval(usage: &Usage, limits: &Limits) -> Duration {
    if usage.memory_bytes > limits.memory_bytes / 2 {
        NARROW_INTERVAL
    } else {
        INTERVAL
    }
}

/// Most bytes of output to take.
pub(super) fn output_bytes(limits: &Limits) -> u64 {
    limits.output_bytes.min(MAX_OUTPUT_BYTES)
}

/// What is known when the program has ended by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aftermath {
    /// How it ended.
    pub(super) end: End,
    /// Time used by all processes.
    pub(super) cpu: Duration,
    /// Whether more was written than is kept.
    pub(super) too_much_output: bool,
    /// Whether the kernel killed any process of the machine for want of memory meanwhile.
    pub(super) memory_ran_out: bool,
}

/// How such a run counts. A driver turns the kill of a tool into an exit code like any other, so a failure
/// beside a kill for memory anywhere on the machine is nobody's source error.
pub(super) fn of_aftermath(aftermath: &Aftermath, limits: &Limits) -> End {
    if aftermath.too_much_output {
        End::LimitExceeded(Limit::Output)
    } else if aftermath.cpu >= limits.cpu {
        End::LimitExceeded(Limit::Cpu)
    } else if aftermath.end == End::Signaled(nix::libc::SIGXFSZ) {
        End::LimitExceeded(Limit::File)
    } else if aftermath.memory_ran_out && aftermath.end != End::Exited(0) {
        End::LimitExceeded(Limit::Memory)
    } else {
        aftermath.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        wall: Duration::from_secs(9),
        cpu: Duration::from_secs(5),
        memory_bytes: 1000,
        processes: 2,
        file_bytes: 1,
        output_bytes: 1,
    };

    const CALM: Usage = Usage {
        cpu: Duration::from_secs(4),
        memory_bytes: 1000,
        processes: 2,
        threads: 128,
    };

    #[test]
    fn a_sample_exceeds_the_limit_it_passes() {
        let check = |usage: Usage, expected| assert_eq!(of_sample(&usage, &LIMITS), expected, "{usage:?}");
        check(CALM, None);
        check(
            Usage {
                memory_bytes: 1001,
                ..CALM
            },
            Some(Limit::Memory),
        );
        check(Usage { processes: 3, ..CALM }, Some(Limit::Processes));
        check(Usage { threads: 129, ..CALM }, Some(Limit::Processes));
        check(
            Usage {
                cpu: LIMITS.cpu,
                ..CALM
            },
            Some(Limit::Cpu),
        );
    }

    #[test]
    fn samples_come_closer_as_memory_fills() {
        assert_eq!(
            interval(
                &Usage {
                    memory_bytes: 500,
                    ..CALM
                },
                &LIMITS
            ),
            INTERVAL
        );
        assert_eq!(
            interval(
                &Usage {
                    memory_bytes: 501,
                    ..CALM
                },
                &LIMITS
            ),
            NARROW_INTERVAL
        );
    }

    #[test]
    fn an_end_for_want_of_something_is_not_the_programs_own() {
        let check = |end, cpu, too_much_output, memory_ran_out, expected| {
            let aftermath = Aftermath {
                end,
                cpu: Duration::from_secs(cpu),
                too_much_output,
                memory_ran_out,
            };
            assert_eq!(of_aftermath(&aftermath, &LIMITS), expected, "{aftermath:?}");
        };
        check(End::Exited(0), 1, false, false, End::Exited(0));
        check(End::Exited(1), 1, false, false, End::Exited(1));
        check(End::Exited(0), 1, false, true, End::Exited(0));
        check(End::Exited(1), 1, false, true, End::LimitExceeded(Limit::Memory));
        check(
            End::Signaled(9),
            1,
            false,
            true,
            End::LimitExceeded(Limit::Memory),
        );
        check(End::Signaled(11), 1, false, false, End::Signaled(11));
        check(
            End::Signaled(nix::libc::SIGXFSZ),
            1,
            false,
            false,
            End::LimitExceeded(Limit::File),
        );
        check(End::Exited(0), 5, false, false, End::LimitExceeded(Limit::Cpu));
        check(End::Exited(0), 1, true, false, End::LimitExceeded(Limit::Output));
    }
}
