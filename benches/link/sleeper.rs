//! A compiler of constant time, so that what is measured is not its work: a program made of `sleeper.c` that sleeps
//! where gcc would compile, and then leaves an object made before. All other questions gcc answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::World;

const SOURCE: &str = include_str!("sleeper.c");

/// How it works.
#[derive(Debug, Clone, Copy)]
pub struct Habit {
    /// In `<name>/gcc` and `<name>/g++`.
    pub name: &'static str,
    pub nap: Duration,
    /// Bytes of its objects, none of which a compressor can do without.
    pub object: usize,
}

/// Where it is.
#[derive(Debug, Clone)]
pub struct Sleeper {
    pub gcc: PathBuf,
    pub gxx: PathBuf,
}

impl Sleeper {
    /// The compiler of a language.
    pub fn program(&self, is_cxx: bool) -> String {
        let program = if is_cxx { &self.gxx } else { &self.gcc };
        program.display().to_string()
    }

    /// Makes one below the sources of `world`.
    pub fn make(world: &World, habit: Habit) -> Result<Self, String> {
        let directory = world.at(habit.name);
        std::fs::create_dir_all(&directory).unwrap();
        let object = directory.join("object");
        std::fs::write(&object, noise(habit.object)).unwrap();
        let source = directory.join("sleeper.c");
        std::fs::write(&source, SOURCE).unwrap();
        let gcc = directory.join("gcc");
        let mut command = world.command("gcc");
        command
            .args(["-O2", "-static", "-o"])
            .args([&gcc, &source])
            .arg(format!("-DNAP_MS={}", habit.nap.as_millis()))
            .arg(format!("-DOBJECT=\"{}\"", object.display()));
        for (name, program) in [("REAL_C", "gcc"), ("REAL_CXX", "g++")] {
            let real = Path::new("/usr/bin").join(program);
            command.arg(format!("-D{name}=\"{}\"", real.display()));
        }
        let output = command.output().map_err(|error| format!("gcc: {error}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("no sleeping compiler: {stderr}"));
        }
        let gxx = directory.join("g++");
        std::fs::copy(&gcc, &gxx).unwrap();
        // distcc calls a compiler by its machine's name where there is one.
        let machine = world.command("gcc").arg("-dumpmachine").output();
        let machine = machine.map_err(|error| format!("gcc: {error}"))?.stdout;
        let machine = String::from_utf8_lossy(&machine).trim().to_owned();
        for (program, name) in [(&gcc, "gcc"), (&gxx, "g++")] {
            std::fs::hard_link(program, directory.join(format!("{machine}-{name}"))).unwrap();
        }
        Ok(Self { gcc, gxx })
    }
}

/// An ELF header, for those that look, and bytes without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new().finalize_xof();
    let mut bytes = vec![0; length];
    hasher.fill(&mut bytes);
    let header = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}
