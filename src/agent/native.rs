//! `native` as a processor: what the driver here would run is run there, program by program, so that only this
//! machine's processor decides. Blocking; never runs what it finds.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use quicc_protocol::message::run::{SCRATCH_NAME, Step};
use quicc_protocol::message::wrapper::CompileRequest;

use super::compilers::{Compilers, DriverQuestion};
use super::remote::{self, Candidate};
use crate::compile::read_driver_steps;
use crate::host::terminal;
use crate::toolchain::find_in_path;
use crate::toolchain::search_path::DEFAULT_PATH;

/// The name in the scratch directory of what a compiler hands to an assembler.
const TEMPORARY: &[u8] = b"unit.s";

/// What runs on a builder.
#[derive(Debug)]
pub struct Resolved {
    /// The programs.
    pub steps: Vec<Step>,
    /// Variables they find beside those of the client.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Resolved {
    /// The driver itself, as it was called.
    pub fn driver(request: &CompileRequest) -> Self {
        Self {
            steps: vec![Step {
                program: request.compiler.clone(),
                argv: request.argv.clone(),
            }],
            variables: Vec::new(),
        }
    }
}

/// Asks the driver with `arguments` for its programs. `Err`: why they cannot stand for it.
pub fn resolve(
    compilers: &Compilers,
    request: &CompileRequest,
    candidate: &Candidate,
    arguments: &[Vec<u8>],
) -> Result<Resolved, String> {
    let toolchain = &candidate.toolchain;
    let printed = compilers.driver_steps(&DriverQuestion {
        toolchain,
        argv0: request.argv.first().map_or(&[][..], Vec::as_slice),
        arguments,
        cwd: &request.cwd,
        env: &request.env,
        terminals: terminal::sizes(remote::observed(request.streams)),
    })?;
    let outputs: Vec<_> = candidate
        .plan
        .outputs
        .iter()
        .map(|output| output.path.as_slice())
        .collect();
    let temporary = [b"/", SCRATCH_NAME, b"/", TEMPORARY].concat();
    let read = read_driver_steps(&printed, toolchain.toolchain.dialect, &outputs, &temporary)
        .map_err(|error| error.to_string())?;
    let path = request
        .env
        .iter()
        .find(|(name, _)| name == b"PATH")
        .map_or(DEFAULT_PATH.as_bytes(), |(_, value)| value);
    let steps = read
        .programs
        .into_iter()
        .map(|argv| {
            let program = locate(&argv, path, &toolchain.files)?;
            Ok(Step { program, argv })
        })
        .collect::<Result<_, String>>()?;
    Ok(Resolved {
        steps,
        variables: read.variables,
    })
}

/// The program of an argument list, which must be one that discovery found: no other is on the builder.
fn locate(argv: &[Vec<u8>], path: &[u8], known: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let name = argv.first().map_or(&[][..], Vec::as_slice);
    let found = if name.contains(&b'/') {
        Some(name.to_vec())
    } else {
        find_in_path(
            OsStr::from_bytes(name),
            OsStr::from_bytes(path),
            Path::new("/"),
            &|_| false,
        )
        .map(|program| program.into_os_string().into_vec())
    };
    found
        .filter(|program| known.contains(program))
        .ok_or_else(|| format!("{} is no part of the toolchain", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_the_toolchain_are_located() {
        let known = ["/bin/sh", "/usr/lib/cc1"].map(|path| path.as_bytes().to_vec());
        let check = |name: &str, path: &str, expected: Option<&str>| {
            let found = locate(&[name.as_bytes().to_vec()], path.as_bytes(), &known).ok();
            assert_eq!(
                found,
                expected.map(|path| path.as_bytes().to_vec()),
                "{name} along {path}"
            );
        };
        check("/usr/lib/cc1", "", Some("/usr/lib/cc1"));
        check("/usr/lib/cc1plus", "", None);
        check("sh", "/absent:/bin", Some("/bin/sh"));
        check("sh", "/usr/bin:/bin", None);
        check("absent", "/bin", None);
    }
}
