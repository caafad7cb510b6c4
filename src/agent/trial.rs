//! The trial compile of a toolchain: the same small unit here and on a builder.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quicc_protocol::message::run::{Exit, StandardStreams};
use quicc_protocol::message::wrapper::{CompileRequest, VERSION};

use super::farm::Slot;
use super::link::{RunError, Traffic};
use super::remote::{self, Tier};
use super::trust::Trial;
use super::unit::Units;
use crate::compile::Language;
use crate::host::files::write_then_rename;
use crate::toolchain::question::{Question, ask};

/// Uses the front end, the optimiser, the assembler and debug information; includes a header of the compiler's own.
const C: &str = "#include <stddef.h>\n#include <stdarg.h>\nstruct pair { size_t first; double second; };\n\
static int sum(int count, ...) {\n  va_list list; int total = 0;\n  va_start(list, count);\n\
  while (count--) total += va_arg(list, int);\n  va_end(list);\n  return total;\n}\n\
int quicc_trial(struct pair *pair, const char *text) {\n  int hash = 5381;\n\
  for (; *text; ++text) hash = hash * 33 ^ *text;\n  pair->second *= hash;\n\
  return sum(3, hash, (int)pair->first, 7);\n}\n";
/// The same with what only C++ has.
const CXX: &str = "struct base { virtual ~base() {} virtual int value() const = 0; };\n\
template <int N> struct fixed : base { int value() const { return N + fixed<N - 1>().value(); } };\n\
template <> struct fixed<0> : base { int value() const { return 0; } };\n\
int quicc_trial(const base &other) {\n  try { fixed<9> nine; return nine.value() + other.value(); }\n\
  catch (int thrown) { return thrown; }\n}\n";
/// For the assembler, with and without a preprocessor in front.
const ASSEMBLER: &str =
    ".text\n.globl quicc_trial\nquicc_trial:\n.byte 0x90, 0xc3\n.section .rodata\n.asciz \"trial\"\n";

const fn source_of(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Cxx | Language::PreprocessedCxx => ("trial.cc", CXX),
        Language::Assembler => ("trial.s", ASSEMBLER),
        Language::AssemblerWithCpp => ("trial.S", ASSEMBLER),
        _ => ("trial.c", C),
    }
}

/// Compares. `Err(None)`: the unit could not be compiled here, so nothing is known.
pub async fn run(
    units: &Arc<Units>,
    slot: &Slot,
    asked: &Arc<CompileRequest>,
    language: Language,
    traffic: &Arc<Traffic>,
) -> Result<Trial, Option<RunError>> {
    let asked = Arc::clone(asked);
    let compiler = PathBuf::from(OsString::from_vec(asked.compiler.clone()));
    let shared = Arc::clone(units);
    let link = Arc::clone(&slot.link);
    let prepare = move || {
        let (request, local) = compile_here(&shared, &asked, language)?;
        let candidate = remote::judge(&shared.compilers, &shared.tree, &request).ok()?;
        let prepared =
            remote::prepare(&shared.compilers, &shared.tree, &request, &candidate, Tier::Scan).ok()?;
        let told = remote::tell(&shared.tree, &prepared, &link, &|_, _| false);
        Some((prepared, told, local))
    };
    let (prepared, told, local) = tokio::task::spawn_blocking(prepare)
        .await
        .ok()
        .flatten()
        .ok_or(None)?;
    let told = told.map_err(|error| Some(error.into()))?;
    let returned = remote::attempt(&prepared, slot, told, traffic)
        .await
        .map_err(Some)?;
    let equal = returned.outcome.exit == Exit::Code(0) && returned.bodies.get(2) == Some(&local);
    if !equal {
        let said = returned
            .bodies
            .get(1)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        tracing::warn!(
            builder = slot.link.name,
            compiler = %compiler.display(),
            exit = ?returned.outcome.exit,
            said,
            "a trial compile differs: this toolchain is not used there"
        );
    }
    Ok(if equal { Trial::Equal } else { Trial::Different })
}

/// Writes the unit, compiles it here in the environment of the unit that asked and gives the request that compiles it there, and the local object.
fn compile_here(
    units: &Units,
    asked: &CompileRequest,
    language: Language,
) -> Option<(CompileRequest, Vec<u8>)> {
    let compiler = Path::new(OsStr::from_bytes(&asked.compiler));
    let (name, text) = source_of(language);
    let directory: PathBuf = units.trials.canonicalize().ok()?;
    let source = directory.join(name);
    // An unchanged source keeps its times, and the mirror its entry.
    if std::fs::read(&source).ok().as_deref() != Some(text.as_bytes()) {
        write_then_rename(&source, text.as_bytes(), 0o600).ok()?;
    }
    let object = crate::host::files::temporary_beside(&directory.join("trial.o"));
    let arguments: Vec<OsString> = [
        OsStr::new("-O2"),
        OsStr::new("-g"),
        OsStr::new("-c"),
        source.as_os_str(),
        OsStr::new("-o"),
        object.as_os_str(),
    ]
    .map(OsStr::to_owned)
    .to_vec();
    let environment: Vec<(OsString, OsString)> = asked
        .env
        .iter()
        .map(|(name, value)| {
            (
                OsString::from_vec(name.clone()),
                OsString::from_vec(value.clone()),
            )
        })
        .collect();
    let question = Question {
        program: compiler.to_owned(),
        arguments: arguments.clone(),
        environment,
        directory: directory.clone(),
    };
    let answer = ask(&question).ok();
    let local = std::fs::read(&object);
    let _ = std::fs::remove_file(&object);
    let local = local
        .ok()
        .filter(|_| answer.is_some_and(|answer| answer.success))?;
    let bytes = |text: &OsStr| text.as_bytes().to_vec();
    let argv0 = std::iter::once(bytes(compiler.as_os_str()));
    let request = CompileRequest {
        version: VERSION,
        compiler: bytes(compiler.as_os_str()),
        argv: argv0
            .chain(arguments.iter().map(|argument| bytes(argument)))
            .collect(),
        cwd: directory.into_os_string().into_vec(),
        env: asked.env.clone(),
        umask: 0o022,
        streams: StandardStreams::default(),
        mount_namespace: 0,
        inside_local_compile: true,
    };
    Some((request, local))
}
