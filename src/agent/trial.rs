//! The trial compile of a toolchain: the same small unit here and on a builder.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{Exit, StandardStreams};
use quicc_protocol::message::wrapper::{CompileRequest, ResourceLimits, VERSION};
use tokio::sync::watch;

use super::farm::Slot;
use super::link::{Returned, RunError, Traffic};
use super::remote::{self, Prepared, Tier, ToldAction};
use super::trust::Trial;
use super::unit::{BUSY_PAUSE, BUSY_REFUSALS, Units};
use crate::compile::Language;
use crate::host::files::write_then_rename;
use crate::host::timer;
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
        Language::Cxx | Language::PreprocessedCxx | Language::CxxHeader => ("trial.cc", CXX),
        Language::Assembler => ("trial.s", ASSEMBLER),
        Language::AssemblerWithCpp => ("trial.S", ASSEMBLER),
        _ => ("trial.c", C),
    }
}

/// How often the trial asks for a slot again while its unit may have it.
const BUSY_WHILE_RUNNING: Duration = Duration::from_secs(1);

/// How far a unit and the trial it makes have come, for they share a slot.
#[derive(Debug, Default)]
pub struct Beside(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    /// The trial is being made ready.
    is_awaited: bool,
    /// The builder has done with the unit.
    is_over: bool,
}

/// While one exists, the unit waits.
struct Awaited<'a>(&'a Beside);

impl Beside {
    /// Returns once the unit may leave: right behind the trial, if it makes one.
    pub async fn may_leave(&self) {
        // The sender is here: it does not end.
        let _ = self.0.subscribe().wait_for(|state| !state.is_awaited).await;
    }

    /// As long as the guard is there the unit may have the slot; then the slot is the trial's.
    pub fn running(&self) -> Running<'_> {
        Running(self)
    }

    /// Waits before a trial that found no slot asks again. Whether that was the builder's fault: the unit does not run.
    async fn pause(&self) -> bool {
        let mut state = self.0.subscribe();
        if state.borrow().is_over {
            timer::sleep(BUSY_PAUSE).await;
            return true;
        }
        // Another unit's slot may be free before.
        let over = state.wait_for(|state| state.is_over);
        let _ = timer::timeout(BUSY_WHILE_RUNNING, over).await;
        false
    }

    fn await_trial(&self) -> Awaited<'_> {
        self.0.send_modify(|state| state.is_awaited = true);
        Awaited(self)
    }
}

/// A unit that has not come to its end.
#[derive(Debug)]
pub struct Running<'a>(&'a Beside);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.is_over = true);
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.is_awaited = false);
    }
}

/// The trial unit, here and as it travels.
struct Unit {
    here: Question,
    object: PathBuf,
    prepared: Prepared,
}

/// Compares. `Err(None)`: the unit could not be compiled here, so nothing is known.
pub async fn run(
    units: &Arc<Units>,
    slot: &Slot,
    asked: &Arc<CompileRequest>,
    language: Language,
    traffic: &Arc<Traffic>,
    beside: &Beside,
) -> Result<Trial, Option<RunError>> {
    let awaited = beside.await_trial();
    let (shared, asking) = (Arc::clone(units), Arc::clone(asked));
    let unit = blocking(move || make_ready(&shared, &asking, language)).await;
    let unit = Arc::new(unit.flatten().ok_or(None)?);
    let told = tell(units, slot, &unit).await?;
    drop(awaited);
    // In this order: the request leaves before anything is computed.
    let there = compile_there(units, slot, &unit, told, traffic, beside);
    let shared = Arc::clone(&unit);
    let here = async {
        blocking(move || compile_here(&shared))
            .await
            .flatten()
            .ok_or(None)
    };
    let (returned, local) = tokio::try_join!(there, here)?;
    let equal = returned.outcome.exit == Exit::Code(0) && returned.bodies.get(2) == Some(&local);
    if !equal {
        let said = returned
            .bodies
            .get(1)
            .map(|text| String::from_utf8_lossy(text).into_owned());
        tracing::warn!(
            builder = slot.link.name,
            compiler = %unit.here.program.display(),
            exit = ?returned.outcome.exit,
            said,
            "a trial compile differs: this toolchain is not used there"
        );
    }
    Ok(if equal { Trial::Equal } else { Trial::Different })
}

/// Not among the units' blocking work, which may be what waits for the trial.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

async fn tell(units: &Arc<Units>, slot: &Slot, unit: &Arc<Unit>) -> Result<ToldAction, Option<RunError>> {
    let (units, link, unit) = (Arc::clone(units), Arc::clone(&slot.link), Arc::clone(unit));
    let told = blocking(move || remote::tell(&units.tree, &unit.prepared, &link, &|_, _| false)).await;
    let (told, _) = told.ok_or(None)?.map_err(|error| Some(error.into()))?;
    Ok(told)
}

/// Has the builder compile it. Which of two requests finds the last free slot is chance: the trial is refused, and asks
/// again, as long as the unit may have it.
async fn compile_there(
    units: &Arc<Units>,
    slot: &Slot,
    unit: &Arc<Unit>,
    mut told: ToldAction,
    traffic: &Arc<Traffic>,
    beside: &Beside,
) -> Result<Returned, Option<RunError>> {
    let mut refusals = 0;
    loop {
        let returned = remote::attempt(&unit.prepared, slot, told, traffic).await;
        let is_busy = |refusal: &Refusal| refusal.code == RefusalCode::Busy;
        match returned {
            Err(RunError::Refused(refusal)) if is_busy(&refusal) && refusals < BUSY_REFUSALS => {
                refusals += usize::from(beside.pause().await);
            }
            returned => return returned.map_err(Some),
        }
        told = tell(units, slot, unit).await?;
    }
}

/// Writes the unit, to be compiled in the environment of the unit that asked, and finds what it reads. Blocking.
fn make_ready(units: &Units, asked: &CompileRequest, language: Language) -> Option<Unit> {
    let (request, here, object) = write(units, asked, language)?;
    let candidate = remote::judge(&units.compilers, &units.tree, &request).ok()?;
    let prepared = remote::prepare(
        &units.compilers,
        &units.tree,
        &units.graphs,
        &request,
        &candidate,
        Tier::Scan,
    )
    .ok()?;
    Some(Unit {
        here,
        object,
        prepared,
    })
}

/// The object as the compiler here makes it. Blocking.
fn compile_here(unit: &Unit) -> Option<Vec<u8>> {
    let answer = ask(&unit.here).ok();
    let local = std::fs::read(&unit.object);
    let _ = std::fs::remove_file(&unit.object);
    local.ok().filter(|_| answer.is_some_and(|answer| answer.success))
}

/// Writes the source; gives the request that compiles it there, what compiles it here, and where to.
fn write(
    units: &Units,
    asked: &CompileRequest,
    language: Language,
) -> Option<(CompileRequest, Question, PathBuf)> {
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
        resource_limits: ResourceLimits::default(),
    };
    Some((request, question, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the unit ends, also before anything of it was sent, or its trial would ask a busy builder for ever.
    #[tokio::test(start_paused = true)]
    async fn a_trial_bears_with_a_busy_builder_only_while_its_unit_runs() {
        let beside = Beside::default();
        let running = beside.running();
        for _ in 0..3 {
            assert!(!beside.pause().await, "the unit may have the slot");
        }
        let fails = async {
            let _running = running;
            Err::<(), _>("its inputs changed")
        };
        assert_eq!(fails.await, Err("its inputs changed"));
        assert!(beside.pause().await, "the slot is the trial's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_leaves_behind_its_trial_or_when_that_has_failed() {
        let beside = Beside::default();
        beside.may_leave().await;
        let awaited = beside.await_trial();
        let left = tokio::time::timeout(Duration::from_secs(9), beside.may_leave()).await;
        assert!(left.is_err(), "the trial goes first");
        drop(awaited);
        beside.may_leave().await;
    }
}
