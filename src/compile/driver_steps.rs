//! Reads what a compiler driver prints under `-###`: the programs it would run, each with its final arguments.
//! These hold what only this machine knows, the processor that `native` stands for. Never runs anything, and
//! refuses whatever it does not understand to the last word: a compile that is refused is made here.

use super::{Dialect, path};

/// What a driver would run for one compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverSteps {
    /// Variables that the driver sets for its programs.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// The programs in their order, as argument lists; `argv[0]` is a path, or a name to be found along `PATH`.
    pub programs: Vec<Vec<Vec<u8>>>,
}

/// Why printed steps cannot stand for the driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverStepsError {
    /// A line that is no command and no banner: a warning, which the user should see from the driver.
    #[error("the driver also says {0:?}")]
    Message(String),
    /// A command whose words cannot be told apart.
    #[error("a printed command is malformed")]
    Quotation,
    /// A program that is neither compiler, assembler nor objcopy.
    #[error("the driver would run {0:?}")]
    Program(String),
    /// Not one compile with what belongs to it, or one whose temporary files cannot be told.
    #[error("the programs are not those of one plain compile")]
    Shape,
    /// An argument that does not mean all that it means here, or not elsewhere.
    #[error("the argument {0:?} means another thing elsewhere")]
    Machine(String),
}

/// Reads `printed`, the standard error of the driver in the C locale, asked with `-###` as its first argument. A
/// temporary file between two programs, which is none of `outputs`, becomes `temporary`.
///
/// # Errors
/// [`DriverStepsError`] means: compile here.
pub fn read_driver_steps(
    printed: &[u8],
    dialect: Dialect,
    outputs: &[&[u8]],
    temporary: &[u8],
) -> Result<DriverSteps, DriverStepsError> {
    let Printed {
        variables,
        mut commands,
        ..
    } = read(printed, dialect)?;
    check_shape(&commands, dialect)?;
    name_temporary(&mut commands, outputs, temporary)?;
    for command in &mut commands {
        forget_question(&mut command.words)?;
        check_words(&command.words)?;
    }
    Ok(DriverSteps {
        variables,
        programs: commands.into_iter().map(|command| command.words).collect(),
    })
}

/// Lines as printed.
#[derive(Debug, Default)]
struct Printed {
    variables: Vec<(Vec<u8>, Vec<u8>)>,
    commands: Vec<Command>,
    /// Variables that no command has followed yet: those behind the last are for a linker.
    pending: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
struct Command {
    /// The program and its arguments.
    words: Vec<Vec<u8>>,
    /// Its standard output is the next one's standard input.
    is_piped: bool,
}

/// Beginnings of lines of gcc that say nothing about a compile (gcc/gcc.cc, `print_configuration`).
const GCC_BANNER: [&[u8]; 7] = [
    b"Using built-in specs.",
    b"Reading specs from ",
    b"Target: ",
    b"Configured with: ",
    b"Thread model: ",
    b"Supported LTO compression algorithms: ",
    b"gcc version ",
];
/// Variables that gcc sets for the programs it runs.
const GCC_VARIABLES: [&[u8]; 6] = [
    b"COLLECT_AS_OPTIONS",
    b"COLLECT_GCC",
    b"COLLECT_GCC_OPTIONS",
    b"COLLECT_LTO_WRAPPER",
    b"OFFLOAD_TARGET_DEFAULT",
    b"OFFLOAD_TARGET_NAMES",
];
/// Variables that gcc sets for a linker.
const GCC_LINK_VARIABLES: [&[u8]; 2] = [b"COMPILER_PATH", b"LIBRARY_PATH"];
/// Beginnings of lines of clang that say nothing about a compile, beside the one with its version.
const CLANG_BANNER: [&[u8]; 5] = [
    b"Build config: ",
    b"Configuration file: ",
    b"InstalledDir: ",
    b"Target: ",
    b"Thread model: ",
];
/// In the line with clang's version, behind the name of a vendor.
const CLANG_VERSION: &[u8] = b"clang version ";
/// Printed before a command that clang would run without starting a process.
const CLANG_IN_PROCESS: &[u8] = b" (in-process)";

fn read(printed: &[u8], dialect: Dialect) -> Result<Printed, DriverStepsError> {
    let mut found = Printed::default();
    let mut rest = printed;
    while !rest.is_empty() {
        let (line, following) = split_line(rest);
        rest = if matches!(dialect, Dialect::Clang) && line == CLANG_IN_PROCESS {
            following
        } else if line.starts_with(b" ") {
            // A quoted word may hold the end of a line.
            let (command, following) = read_command(rest)?;
            found.command(command)?;
            following
        } else {
            found.remark(line, dialect)?;
            following
        };
    }
    Ok(found)
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

impl Printed {
    /// Takes in a command. All of them get one environment, so what is set for one must hold for all.
    fn command(&mut self, command: Command) -> Result<(), DriverStepsError> {
        for (name, value) in std::mem::take(&mut self.pending) {
            match self.variables.iter().find(|(known, _)| *known == name) {
                Some((_, before)) if *before != value => return Err(DriverStepsError::Shape),
                Some(_) => {}
                None if self.commands.is_empty() => self.variables.push((name, value)),
                None => return Err(DriverStepsError::Shape),
            }
        }
        self.commands.push(command);
        Ok(())
    }

    /// Takes in a line that is no command.
    fn remark(&mut self, line: &[u8], dialect: Dialect) -> Result<(), DriverStepsError> {
        let says_nothing = match dialect {
            Dialect::Gcc => line.is_empty() || begins_with_any(line, &GCC_BANNER),
            Dialect::Clang => is_clang_version(line) || begins_with_any(line, &CLANG_BANNER),
        };
        if says_nothing {
            return Ok(());
        }
        let unknown = || DriverStepsError::Message(lossy(line));
        let equals = line
            .iter()
            .position(|&byte| byte == b'=')
            .filter(|_| matches!(dialect, Dialect::Gcc))
            .ok_or_else(unknown)?;
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        if GCC_VARIABLES.contains(&name) {
            self.pending.push((name.to_vec(), value.to_vec()));
        } else if !GCC_LINK_VARIABLES.contains(&name) {
            return Err(unknown());
        }
        Ok(())
    }
}

fn begins_with_any(line: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings.iter().any(|beginning| line.starts_with(beginning))
}

/// A message has a colon before it says anything: `clang: warning: …`.
fn is_clang_version(line: &[u8]) -> bool {
    line.windows(CLANG_VERSION.len())
        .position(|part| part == CLANG_VERSION)
        .is_some_and(|position| !line[..position].contains(&b':'))
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Reads a command up to the end of its line: words behind blanks, quoted by `"` with `"`, `\` and `$` behind a
/// backslash, or bare if they have only letters, digits and `_/.-` (gcc/gcc.cc, `execute`; clang quotes all,
/// llvm/lib/Support/Program.cpp, `printArg`).
fn read_command(text: &[u8]) -> Result<(Command, &[u8]), DriverStepsError> {
    let mut command = Command {
        words: Vec::new(),
        is_piped: false,
    };
    let mut rest = text;
    loop {
        rest = match rest {
            [] => break,
            [b'\n', following @ ..] => {
                rest = following;
                break;
            }
            [b' ', b'|', b'\n', ..] => {
                command.is_piped = true;
                &rest[2..]
            }
            [b' ', b'"', quoted @ ..] => {
                let (word, following) = read_quoted(quoted)?;
                command.words.push(word);
                following
            }
            [b' ', bare @ ..] => {
                let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_/.-".contains(byte);
                let length = bare.iter().take_while(|byte| is_plain(byte)).count();
                let (word, following) = bare.split_at(length);
                if word.is_empty() {
                    return Err(DriverStepsError::Quotation);
                }
                command.words.push(word.to_vec());
                following
            }
            _ => return Err(DriverStepsError::Quotation),
        };
    }
    Ok((command, rest))
}

/// Reads a word up to its closing quotation mark.
fn read_quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), DriverStepsError> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Err(DriverStepsError::Quotation),
            [b'"', following @ ..] => return Ok((word, following)),
            [b'\\', escaped @ (b'"' | b'\\' | b'$'), following @ ..] => {
                word.push(*escaped);
                following
            }
            [b'\\' | b'$', ..] => return Err(DriverStepsError::Quotation),
            [byte, following @ ..] => {
                word.push(*byte);
                following
            }
        };
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Compiler,
    Assembler,
    Objcopy,
}

impl Program {
    fn of(words: &[Vec<u8>], dialect: Dialect) -> Option<Self> {
        let name = path::file_name(words.first()?);
        let is_tool = |tool: &[u8]| {
            name.strip_suffix(tool)
                .is_some_and(|target| target.is_empty() || target.ends_with(b"-"))
        };
        match (dialect, words.get(1).map(Vec::as_slice)) {
            (Dialect::Gcc, _) if matches!(name, b"cc1" | b"cc1plus") => Some(Self::Compiler),
            (Dialect::Clang, Some(b"-cc1")) => Some(Self::Compiler),
            (Dialect::Clang, Some(b"-cc1as")) => Some(Self::Assembler),
            _ if is_tool(b"as") => Some(Self::Assembler),
            _ if is_tool(b"objcopy") => Some(Self::Objcopy),
            _ => None,
        }
    }
}

/// One compile: a compiler, an assembler or both, and then what moves debug information into a file of its own.
fn check_shape(commands: &[Command], dialect: Dialect) -> Result<(), DriverStepsError> {
    let mut programs = Vec::with_capacity(commands.len());
    for Command { words, .. } in commands {
        let unknown = || DriverStepsError::Program(lossy(words.first().map_or(b"", |word| word)));
        programs.push(Program::of(words, dialect).ok_or_else(unknown)?);
    }
    let making = programs
        .iter()
        .take_while(|program| **program != Program::Objcopy)
        .count();
    let (making, moving) = programs.split_at(making);
    let is_compile = matches!(
        making,
        [Program::Compiler] | [Program::Assembler] | [Program::Compiler, Program::Assembler]
    );
    let moves = moving.iter().all(|program| *program == Program::Objcopy);
    (is_compile && moves).then_some(()).ok_or(DriverStepsError::Shape)
}

/// Calls what the compiler hands to the assembler `temporary`, be it a file of another name or a pipe. The assembler
/// gets it last, as it does without `-pipe`.
fn name_temporary(
    commands: &mut [Command],
    outputs: &[&[u8]],
    temporary: &[u8],
) -> Result<(), DriverStepsError> {
    if commands.iter().skip(1).any(|command| command.is_piped) {
        return Err(DriverStepsError::Shape);
    }
    let [first, second, further @ ..] = commands else {
        let is_piped = commands.iter().any(|command| command.is_piped);
        return if is_piped {
            Err(DriverStepsError::Shape)
        } else {
            Ok(())
        };
    };
    let made = first
        .words
        .iter()
        .position(|word| word == b"-o")
        .and_then(|position| first.words.get(position + 1))
        .cloned()
        .ok_or(DriverStepsError::Shape)?;
    if first.is_piped {
        if made != b"-" {
            return Err(DriverStepsError::Shape);
        }
        second.words.push(made.clone());
    } else if outputs.contains(&made.as_slice()) {
        // No assembler in between: what objcopy gets is the object itself.
        return Ok(());
    }
    if second.words.last() != Some(&made) {
        return Err(DriverStepsError::Shape);
    }
    let all = std::iter::once(first)
        .chain(std::iter::once(second))
        .chain(further);
    for word in all.flat_map(|command| &mut command.words) {
        if *word == made {
            *word = temporary.to_vec();
        } else if made.len() > 1 && path::mentions(word, &made) {
            return Err(DriverStepsError::Shape);
        }
    }
    Ok(())
}

/// What clang records of its command line, with `-###` as the first argument of it.
const RECORDS: [&[u8]; 2] = [b"-dwarf-debug-flags", b"-record-command-line"];
const QUESTION: &[u8] = b" -### ";

/// Takes the question out of what would be recorded.
fn forget_question(words: &mut [Vec<u8>]) -> Result<(), DriverStepsError> {
    for index in 1..words.len() {
        if !RECORDS.contains(&words[index - 1].as_slice()) {
            continue;
        }
        let record = &words[index];
        let position = record
            .windows(QUESTION.len())
            .position(|part| part == QUESTION)
            .ok_or_else(|| DriverStepsError::Machine(lossy(record)))?;
        let (program, arguments) = record.split_at(position);
        words[index] = [program, &arguments[QUESTION.len() - 1..]].concat();
    }
    Ok(())
}

/// Flags of clang's compiler proper whose operand is a processor.
const PROCESSOR_FLAGS: [&[u8]; 2] = [b"-target-cpu", b"-tune-cpu"];

/// Given by a gcc that is not where it was built to be. It also sets `GCC_EXEC_PREFIX`, before it prints anything.
const RELOCATED: &[u8] = b"-iprefix";

/// Refuses what another machine would resolve by itself, and what exists only while the driver runs.
fn check_words(words: &[Vec<u8>]) -> Result<(), DriverStepsError> {
    let is_native = |index: usize, word: &[u8]| {
        let is_operand = index > 0 && PROCESSOR_FLAGS.contains(&words[index - 1].as_slice());
        let is_joined = word.starts_with(b"-m") && path::mentions(word, b"=native");
        is_joined || (is_operand && word.starts_with(b"native"))
    };
    let odd = words
        .iter()
        .enumerate()
        .find(|(index, word)| word.starts_with(b"@") || *word == RELOCATED || is_native(*index, word));
    odd.map_or(Ok(()), |(_, word)| Err(DriverStepsError::Machine(lossy(word))))
}

#[cfg(test)]
mod tests;
