//! A [`Plan`] as bytes, for the way from the builder into the sandbox.
//!
//! Never judges a plan: what the kernel will not do, it says itself.

use super::codec::{CodecError, Reader, Writer};
use super::plan::{Bind, Limits, Plan, Step, Terminal};

/// Longest encoded plan in bytes: room for a hundred thousand binds.
pub(super) const MAX_PLAN_BYTES: u64 = 64 << 20;

pub(super) fn encode(plan: &Plan) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.path(&plan.root);
    writer.list(&plan.output_directories, write_bind);
    writer.list(&plan.protected, write_bind);
    write_bind(&mut writer, &plan.scratch);
    writer.list(&plan.steps, write_step);
    writer.path(&plan.cwd);
    writer.list(&plan.env, |writer, (name, value)| {
        writer.bytes(name);
        writer.bytes(value);
    });
    writer.u32(plan.umask);
    for terminal in plan.terminals {
        write_terminal(&mut writer, terminal);
    }
    write_limits(&mut writer, &plan.limits);
    writer.finish()
}

pub(super) fn decode(message: &[u8]) -> Result<Plan, CodecError> {
    let mut reader = Reader::new(message);
    let plan = Plan {
        root: reader.path()?,
        output_directories: reader.list(read_bind)?,
        protected: reader.list(read_bind)?,
        scratch: read_bind(&mut reader)?,
        steps: reader.list(read_step)?,
        cwd: reader.path()?,
        env: reader.list(|reader| Ok((reader.bytes()?, reader.bytes()?)))?,
        umask: reader.u32()?,
        terminals: [
            read_terminal(&mut reader)?,
            read_terminal(&mut reader)?,
            read_terminal(&mut reader)?,
        ],
        limits: read_limits(&mut reader)?,
    };
    reader.finish()?;
    Ok(plan)
}

fn write_bind(writer: &mut Writer, bind: &Bind) {
    writer.path(&bind.source);
    writer.path(&bind.target);
}

fn read_bind(reader: &mut Reader<'_>) -> Result<Bind, CodecError> {
    Ok(Bind {
        source: reader.path()?,
        target: reader.path()?,
    })
}

fn write_step(writer: &mut Writer, step: &Step) {
    writer.path(&step.program);
    writer.list(&step.argv, |writer, argument| writer.bytes(argument));
}

fn read_step(reader: &mut Reader<'_>) -> Result<Step, CodecError> {
    Ok(Step {
        program: reader.path()?,
        argv: reader.list(Reader::bytes)?,
    })
}

fn write_terminal(writer: &mut Writer, terminal: Option<Terminal>) {
    writer.u8(terminal.is_some().into());
    if let Some(size) = terminal {
        for length in [size.rows, size.columns, size.width, size.height] {
            writer.u32(length.into());
        }
    }
}

fn read_terminal(reader: &mut Reader<'_>) -> Result<Option<Terminal>, CodecError> {
    if reader.u8()? == 0 {
        return Ok(None);
    }
    let mut length = || {
        let value = reader.u32()?;
        let what = "length of a terminal";
        u16::try_from(value).map_err(|_| CodecError::Unknown { what, value })
    };
    Ok(Some(Terminal {
        rows: length()?,
        columns: length()?,
        width: length()?,
        height: length()?,
    }))
}

fn write_limits(writer: &mut Writer, limits: &Limits) {
    writer.duration(limits.wall);
    writer.duration(limits.cpu);
    writer.u64(limits.memory_bytes);
    writer.u32(limits.processes);
    writer.u64(limits.file_bytes);
    writer.u64(limits.output_bytes);
}

fn read_limits(reader: &mut Reader<'_>) -> Result<Limits, CodecError> {
    Ok(Limits {
        wall: reader.duration()?,
        cpu: reader.duration()?,
        memory_bytes: reader.u64()?,
        processes: reader.u32()?,
        file_bytes: reader.u64()?,
        output_bytes: reader.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = PathBuf> {
        vec(any::<u8>(), 0..20).prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    fn bind() -> impl Strategy<Value = Bind> {
        (path(), path()).prop_map(|(source, target)| Bind { source, target })
    }

    fn limits() -> impl Strategy<Value = Limits> {
        any::<(Duration, Duration, u64, u32, u64, u64)>().prop_map(
            |(wall, cpu, memory_bytes, processes, file_bytes, output_bytes)| Limits {
                wall,
                cpu,
                memory_bytes,
                processes,
                file_bytes,
                output_bytes,
            },
        )
    }

    fn terminal() -> impl Strategy<Value = Option<Terminal>> {
        any::<Option<[u16; 4]>>().prop_map(|size| {
            let [rows, columns, width, height] = size?;
            Some(Terminal {
                rows,
                columns,
                width,
                height,
            })
        })
    }

    fn plan() -> impl Strategy<Value = Plan> {
        let bytes = || vec(any::<u8>(), 0..20);
        let mounts = (path(), vec(bind(), 0..4), vec(bind(), 0..4), bind());
        let step = (path(), vec(bytes(), 0..4)).prop_map(|(program, argv)| Step { program, argv });
        let program = (
            vec(step, 0..3),
            path(),
            vec((bytes(), bytes()), 0..4),
            any::<u32>(),
        );
        let terminals = [terminal(), terminal(), terminal()];
        (mounts, program, terminals, limits()).prop_map(|(mounts, program, terminals, limits)| {
            let (root, output_directories, protected, scratch) = mounts;
            let (steps, cwd, env, umask) = program;
            Plan {
                root,
                output_directories,
                protected,
                scratch,
                steps,
                cwd,
                env,
                umask,
                terminals,
                limits,
            }
        })
    }

    proptest! {
        #[test]
        fn a_plan_survives_the_way(plan in plan()) {
            prop_assert_eq!(decode(&encode(&plan)), Ok(plan));
        }

        #[test]
        fn every_cut_is_noticed(plan in plan(), cut in any::<prop::sample::Index>()) {
            let message = encode(&plan);
            let cut = cut.index(message.len());
            prop_assert_eq!(decode(&message[..cut]), Err(CodecError::Truncated));
        }

        #[test]
        fn bytes_too_many_are_noticed(plan in plan(), count in 1usize..9) {
            let mut message = encode(&plan);
            message.resize(message.len() + count, 0);
            prop_assert_eq!(decode(&message), Err(CodecError::Trailing { count }));
        }

        #[test]
        fn no_bytes_panic(message in vec(any::<u8>(), 0..300)) {
            let _ = decode(&message);
        }
    }
}
