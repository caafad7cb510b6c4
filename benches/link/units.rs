//! The units that are measured one by one: sources made for it, and a compiler of constant time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::measure::{Compile, succeed};
use crate::sleeper::{Habit, Sleeper};
use crate::support::World;

/// How long a compile sleeps.
pub const NAP: Duration = Duration::from_millis(50);
/// Of the project's own headers, which each unit includes.
const HEADERS: usize = 60;
const SMALL: Habit = Habit {
    name: "small",
    nap: NAP,
    object: 20_000,
};
const LARGE: Habit = Habit {
    name: "large",
    nap: NAP,
    object: 200_000,
};
const MIDDLING: Habit = Habit {
    name: "middling",
    nap: NAP,
    object: 64_000,
};
/// Compiles of everything before it is measured.
const WARMING: usize = 3;
/// Compiles after which a farm that was not used is not about to be.
const WARMING_MOST: usize = 100;

/// What is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Unchanged,
    Edited,
    New,
    Header,
    Large,
    /// 64 kB each way.
    Both64,
    /// 200 kB each way.
    Both200,
    CxxUnchanged,
    CxxEdited,
    CxxNew,
}

/// The units of one world.
pub struct Units<'a> {
    world: &'a World,
    small: Sleeper,
    middling: Sleeper,
    large: Sleeper,
    made: usize,
    /// Whether compilers are named as found along `PATH`.
    is_by_name: bool,
}

/// How the last comment of a source begins.
const COMMENT: &str = "/* of no use: ";

/// Letters of which a compressor makes `bytes` bytes.
fn incompressible(bytes: usize, seed: usize) -> String {
    let mut noise = vec![0; bytes * 4 / 3];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut noise);
    // 64 letters in a row.
    noise.iter().map(|byte| char::from(b'?' + byte % 64)).collect()
}

const C_HEADERS: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n";
const CXX_HEADERS: &str = "#include <vector>\n#include <string>\n#include <map>\n#include <memory>\n#include <iostream>\n#include <algorithm>\n";

impl<'a> Units<'a> {
    pub fn new(world: &'a World) -> Result<Self, String> {
        for header in 0..HEADERS {
            world.write(
                &format!("include/h{header}.h"),
                &format!("#pragma once\nstruct s{header} {{ int x; }};\n"),
            );
        }
        Ok(Self {
            world,
            small: Sleeper::make(world, SMALL)?,
            middling: Sleeper::make(world, MIDDLING)?,
            large: Sleeper::make(world, LARGE)?,
            made: 0,
            is_by_name: false,
        })
    }

    /// The directory of the compilers of most units.
    pub fn compilers(&self) -> Option<PathBuf> {
        self.small.gcc.parent().map(PathBuf::from)
    }

    /// Adds a line to a header that all units include.
    pub fn edit_header(&self, line: &str) {
        let path = self.world.at("include/h0.h");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + line).unwrap();
    }

    /// Has further units name compilers as they are found along `PATH`.
    pub fn name_by_path(&mut self) {
        self.is_by_name = true;
    }

    /// Gives a unit's source another comment, which takes as many bytes on the wire as its object.
    pub fn replace_comment(&self, case: Case, compile: &Compile, round: usize) {
        let bytes = match case {
            Case::Both64 => MIDDLING.object,
            Case::Both200 => LARGE.object,
            _ => return,
        };
        let text = std::fs::read_to_string(&compile.source).unwrap();
        let body = text.split(COMMENT).next().unwrap_or_default();
        let comment = incompressible(bytes, round);
        std::fs::write(&compile.source, format!("{body}{COMMENT}{comment} */\n")).unwrap();
    }

    /// A source nobody has seen.
    pub fn make(&mut self, case: Case) -> Compile {
        let is_cxx = matches!(case, Case::CxxUnchanged | Case::CxxEdited | Case::CxxNew);
        let sleeper = match case {
            Case::Large | Case::Both200 => &self.large,
            Case::Both64 => &self.middling,
            _ => &self.small,
        };
        let (compiler, standard, suffix) = if is_cxx {
            (&sleeper.gxx, CXX_HEADERS, "cc")
        } else {
            (&sleeper.gcc, C_HEADERS, "c")
        };
        let own = (0..HEADERS).map(|header| format!("#include \"h{header}.h\"\n"));
        let body =
            (0..50).map(|line| format!("int f{line}_{0}(int a) {{ return a + {line}; }}\n", self.made));
        let text: String = own.chain([standard.to_owned()]).chain(body).collect();
        let name = format!("unit{}.{suffix}", self.made);
        self.made += 1;
        self.world.write(&name, &text);
        let include = format!("-I{}", self.world.at("include").display());
        let compiler = if self.is_by_name {
            compiler.file_name().and_then(|name| name.to_str()).unwrap()
        } else {
            compiler.to_str().unwrap()
        };
        let words = [compiler, "-O2", &include, &name];
        Compile {
            words: words.map(str::to_owned).into(),
            source: self.world.at(&name),
            object: PathBuf::from(format!("{name}.o")),
        }
    }
}

/// Compiles a unit again and again until [`WARMING`] units on end were compiled on the farm: a new agent compiles here
/// until it knows one.
pub fn warm(client: &Client<'_>, compile: &Compile) -> Result<(), String> {
    let mut remote = 0;
    for _ in 0..WARMING_MOST {
        let before = client.counts()?;
        time(client, compile)?;
        // distccd says so later than its client ends, and has nothing to warm up.
        let is_remote = client.daemon().is_none() || client.require_remote(&before, 1).is_ok();
        remote = if is_remote { remote + 1 } else { 0 };
        if remote == WARMING {
            return Ok(());
        }
    }
    Err(format!(
        "{}: {WARMING_MOST} units on end and not {WARMING} on the farm: {:#}",
        client.name(),
        client.world().status()
    ))
}

/// How long a unit takes, from the start of its wrapper to its end.
pub fn time(client: &Client<'_>, compile: &Compile) -> Result<Duration, String> {
    let started = Instant::now();
    succeed(client.command(&compile.command_line()))?;
    Ok(started.elapsed())
}
