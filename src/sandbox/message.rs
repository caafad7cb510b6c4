//! What the inside of a sandbox says to the builder, as bytes.
//!
//! A job cannot say any of it: its standard output is another pipe.

use super::codec::{CodecError, Reader, Writer};
use super::plan::{End, Limit, Report};
use super::stage::{Failure, Stage};

/// Bytes of a message beside the job's output.
pub(super) const MESSAGE_SLACK_BYTES: u64 = 64 << 10;

const UNSHARED: u8 = 0;
const SETUP_FAILED: u8 = 1;
const EXEC_FAILED: u8 = 2;
const REPORT: u8 = 3;

const LIMITS: [Limit; 6] = [
    Limit::Wall,
    Limit::Cpu,
    Limit::Memory,
    Limit::Processes,
    Limit::File,
    Limit::Output,
];

/// One message out of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The namespaces exist and wait for their users to be mapped.
    Unshared,
    /// The job was not started.
    Failed(Failure),
    /// The job has ended.
    Ended(Report),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Unshared => writer.u8(UNSHARED),
            Self::Failed(Failure::Setup { stage, errno, path }) => {
                writer.u8(SETUP_FAILED);
                writer.u8(stage.code());
                writer.u32(errno.cast_unsigned());
                writer.path(path);
            }
            Self::Failed(Failure::Exec { errno, program }) => {
                writer.u8(EXEC_FAILED);
                writer.u32(errno.cast_unsigned());
                writer.path(program);
            }
            Self::Ended(report) => {
                writer.u8(REPORT);
                write_end(&mut writer, report.end);
                writer.bytes(&report.stdout);
                writer.bytes(&report.stderr);
                writer.duration(report.cpu);
                writer.duration(report.wall);
                writer.u64(report.peak_memory_bytes);
            }
        }
        writer.finish()
    }

    pub(super) fn decode(message: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(message);
        let decoded = match reader.u8()? {
            UNSHARED => Self::Unshared,
            SETUP_FAILED => Self::Failed(Failure::Setup {
                stage: read_stage(&mut reader)?,
                errno: reader.u32()?.cast_signed(),
                path: reader.path()?,
            }),
            EXEC_FAILED => Self::Failed(Failure::Exec {
                errno: reader.u32()?.cast_signed(),
                program: reader.path()?,
            }),
            REPORT => Self::Ended(Report {
                end: read_end(&mut reader)?,
                stdout: reader.bytes()?,
                stderr: reader.bytes()?,
                cpu: reader.duration()?,
                wall: reader.duration()?,
                peak_memory_bytes: reader.u64()?,
            }),
            other => {
                return Err(CodecError::Unknown {
                    what: "message kind",
                    value: other.into(),
                });
            }
        };
        reader.finish()?;
        Ok(decoded)
    }
}

fn read_stage(reader: &mut Reader<'_>) -> Result<Stage, CodecError> {
    let code = reader.u8()?;
    Stage::from_code(code).ok_or(CodecError::Unknown {
        what: "stage",
        value: code.into(),
    })
}

fn write_end(writer: &mut Writer, end: End) {
    let (kind, value) = match end {
        End::Exited(code) => (0, code.into()),
        End::Signaled(signal) => (1, signal.cast_unsigned()),
        End::LimitExceeded(limit) => (2, limit as u32),
    };
    writer.u8(kind);
    writer.u32(value);
}

fn read_end(reader: &mut Reader<'_>) -> Result<End, CodecError> {
    let kind = reader.u8()?;
    let value = reader.u32()?;
    let end = match kind {
        0 => u8::try_from(value).ok().map(End::Exited),
        1 => Some(End::Signaled(value.cast_signed())),
        2 => LIMITS.get(value as usize).copied().map(End::LimitExceeded),
        _ => None,
    };
    end.ok_or(CodecError::Unknown {
        what: "end of a job",
        value,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn report(end: End) -> Message {
        Message::Ended(Report {
            end,
            stdout: b"out".to_vec(),
            stderr: vec![0, 255],
            cpu: Duration::from_nanos(1),
            wall: Duration::from_secs(7),
            peak_memory_bytes: u64::MAX,
        })
    }

    fn check(message: &Message) {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(message));
    }

    #[test]
    fn every_message_survives_the_way() {
        check(&Message::Unshared);
        check(&Message::Failed(Failure::Exec {
            errno: 2,
            program: PathBuf::from("/a"),
        }));
        check(&Message::Failed(Failure::Setup {
            stage: Stage::Bind,
            errno: i32::MIN,
            path: PathBuf::from("/a"),
        }));
        check(&report(End::Exited(255)));
        check(&report(End::Signaled(11)));
        for limit in LIMITS {
            check(&report(End::LimitExceeded(limit)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(message in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Message::decode(&message);
        }
    }
}
