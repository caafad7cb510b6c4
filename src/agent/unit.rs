//! One unit from request to answer: verdict, inputs, slot, attempt, validation; and what follows when a step
//! fails. Whatever happens, the answer is an outcome that equals the local compile's, or "compile it here".

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quicc_protocol::message::blob::{Body, Encoding};
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{After, Exit, Outcome};
use quicc_protocol::message::wrapper::{CompileDone, CompileRequest, OutputFile};
use tokio::sync::Semaphore;

use super::compilers::Compilers;
use super::doubt;
use super::failure::{self, Failure};
use super::farm::{Farm, NoSlot, Slot};
use super::history::Notes;
use super::link::{Link, Returned, RunError, Traffic};
use super::reason::LocalReason;
use super::recall::{self, Key, Recall};
use super::remote::{self, Candidate, FRESH, Prepared, Tier, ToldAction};
use super::staleness;
use super::sweeps::{self, Sweeps};
use super::table::TableError;
use super::trial::Beside;
use super::trust::{self, Trust, Unproven, Unusable};
use crate::compile::{self, Role};
use crate::host::timer;
use crate::inputs::closure::IncludeGraphs;
use crate::inputs::tree::Tree;
use crate::inputs::validate::still_holds;

/// Attempts on builders before a unit is compiled here.
const ATTEMPTS: usize = 3;
/// Refusals for want of a slot that cost only a pause, and the pause.
pub(super) const BUSY_REFUSALS: usize = 40;
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How gcc and clang end for what is wrong with a source; whatever else is not 0 tells of the compiler itself.
const SOURCE_ERROR: Exit = Exit::Code(1);
/// The reason to compile a unit here whose files do not keep still; no fault of the farm's.
const INPUTS_CHANGED: &str = "inputs-changed";
/// The reason to compile a failed unit here once more; no fault of the farm's either.
const COMPILE_FAILED: &str = "compile-failed";
/// The bodies of an outcome that are text: standard output and standard error.
const STREAMS: usize = 2;
/// Command lines remembered for outputs nobody declared.
const ODD_COMMANDS: usize = 4096;
/// How the names of files end that no source looks for unless it names them literally.
const NEVER_INCLUDED: [&[u8]; 6] = [b".o", b".obj", b".lo", b".d", b".dwo", b".su"];
/// Names of published files remembered; beyond it they are treated like any other name.
const PUBLISHED: usize = 1 << 20;

/// What becomes of a unit.
#[derive(Debug)]
pub enum Decision {
    /// No compile: run it, count nothing.
    NotACompile,
    /// Compile it here.
    Local {
        /// Why.
        reason: LocalReason,
        /// The farm failed.
        fallback: bool,
    },
    /// Publish this.
    Done(CompileDone, Vec<Vec<u8>>),
}

impl Decision {
    fn local(reason: impl Into<LocalReason>) -> Self {
        Self::Local {
            reason: reason.into(),
            fallback: false,
        }
    }

    fn fallback(reason: impl Into<LocalReason>) -> Self {
        Self::Local {
            reason: reason.into(),
            fallback: true,
        }
    }
}

/// What all units of one agent share.
#[derive(Debug)]
pub struct Units {
    /// The farm.
    pub farm: Arc<Farm>,
    /// The client's files.
    pub tree: Arc<Tree>,
    /// What their includes led to.
    pub graphs: IncludeGraphs,
    /// The compilers.
    pub compilers: Compilers,
    /// Tried toolchains.
    pub trust: Trust,
    /// What earlier compiles were prepared with.
    pub recall: Recall,
    /// Directory for the trial units.
    pub trials: std::path::PathBuf,
    blocking: Semaphore,
    published: Mutex<HashSet<(Vec<u8>, Vec<u8>)>>,
    odd: Mutex<HashSet<Vec<Vec<u8>>>>,
    sweeps: Sweeps,
}

/// One unit on its way.
struct Unit {
    request: Arc<CompileRequest>,
    key: Key,
    candidate: Arc<Candidate>,
    traffic: Arc<Traffic>,
    notes: Arc<Notes>,
}

/// What a compile travels with the first time, and whether that is known from before; or why it stays here.
type First = (Result<Prepared, LocalReason>, bool);

/// A compile that may travel, and what with unless it is not to.
type Begun = (Arc<Candidate>, Option<First>);

/// How an attempt ended that gave no answer.
enum Failed {
    /// Prepare again and try again.
    Again(&'static str),
    /// A slot was refused that the lease had promised: told and held differ for a moment.
    Busy,
    /// The builder was restarted and its link is being made anew.
    TooEarly,
    /// The same, with the compiler's own list of dependencies.
    AgainWithDependencies,
    /// It failed while something it could see changed: once more, and then here.
    InDoubt,
    /// Compile here.
    Finally(Decision),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Units {
    /// Nothing known yet. `trials` is a directory for the sources of trial compiles.
    pub fn new(farm: Arc<Farm>, tree: Arc<Tree>, trials: std::path::PathBuf) -> Arc<Self> {
        let threads = std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
        Arc::new(Self {
            farm,
            tree,
            graphs: IncludeGraphs::default(),
            compilers: Compilers::new(trials.clone()),
            trust: Trust::default(),
            recall: Recall::default(),
            trials,
            blocking: Semaphore::new(threads),
            published: Mutex::default(),
            odd: Mutex::default(),
            sweeps: Sweeps::default(),
        })
    }

    /// Runs blocking work, at most one per processor at a time.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = self.blocking.acquire().await.ok()?;
        let units = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&units)).await.ok()
    }

    /// Decides one unit. Dropping the future cancels what runs for it. What it meets on its way is in the notes.
    pub async fn decide(
        self: &Arc<Self>,
        request: Arc<CompileRequest>,
        traffic: &Arc<Traffic>,
        notes: &Arc<Notes>,
    ) -> Decision {
        let key = recall::key_of(&request);
        let begun = match self.begin_at_once(&request, &key) {
            Some(begun) => Some(Ok(begun)),
            None => {
                let asked = Arc::clone(&request);
                self.blocking(move |units| units.begin(&asked, &key)).await
            }
        };
        let (candidate, mut first) = match begun {
            Some(Ok(begun)) => begun,
            Some(Err(Some(reason))) => return Decision::local(reason),
            Some(Err(None)) => return Decision::NotACompile,
            None => return Decision::fallback("internal"),
        };
        notes.understood(&candidate.plan);
        if self.is_odd(&request) {
            return Decision::local("unexpected-output");
        }
        let mut unit = Unit {
            request,
            key,
            candidate,
            traffic: Arc::clone(traffic),
            notes: Arc::clone(notes),
        };
        let mut tier = Tier::Scan;
        let (mut last, mut attempts, mut refusals) = ("farm-lost", 0, 0);
        let (mut doubted, mut early) = (false, false);
        while attempts < ATTEMPTS {
            match self.try_once(&unit, tier, first.take()).await {
                Ok(decision) | Err(Failed::Finally(decision)) => return decision,
                Err(Failed::Again(reason)) => {
                    last = reason;
                    if reason == INPUTS_CHANGED {
                        notes.inputs_changed();
                        match self.judge_again(&unit.request).await {
                            Ok(candidate) => unit.candidate = candidate,
                            Err(decision) => return decision,
                        }
                    }
                }
                Err(Failed::AgainWithDependencies) => {
                    tier = Tier::Dependencies;
                    notes.repairing();
                }
                Err(Failed::InDoubt) if doubted => return Decision::local(COMPILE_FAILED),
                Err(Failed::InDoubt) => {
                    doubted = true;
                    last = COMPILE_FAILED;
                    notes.trouble("it failed while files that it could see changed");
                }
                Err(Failed::Busy) if refusals < BUSY_REFUSALS => {
                    refusals += 1;
                    timer::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(Failed::Busy) => last = "builder-busy",
                // It happens once to a link.
                Err(Failed::TooEarly) if !early => {
                    early = true;
                    continue;
                }
                Err(Failed::TooEarly) => last = "builder-lost",
            }
            attempts += 1;
        }
        if [INPUTS_CHANGED, COMPILE_FAILED].contains(&last) {
            Decision::local(last)
        } else {
            Decision::fallback(last)
        }
    }

    /// What is remembered of the call, if that takes no time worth another thread: to wake one costs more.
    fn begin_at_once(&self, request: &CompileRequest, key: &Key) -> Option<Begun> {
        if compile::restriction(&request.resource_limits).is_some() {
            return None;
        }
        let is_ours = |directory: &[u8], name: &[u8]| self.is_published(directory, name);
        let (candidate, prepared) =
            self.recall
                .prepare_at_once(&self.compilers, &self.tree, request, key, &is_ours)?;
        Some((candidate, Some((Ok(prepared), true))))
    }

    /// What is remembered of the call, or what its command line means and what it may read. Blocking.
    fn begin(&self, request: &CompileRequest, key: &Key) -> Result<Begun, Option<LocalReason>> {
        if let Some(limit) = compile::restriction(&request.resource_limits) {
            // What is no compile, or stays here anyhow, has its own answer.
            remote::judge(&self.compilers, &self.tree, request)?;
            return Err(Some(limit.into()));
        }
        let recalled = self
            .recall
            .prepare(&self.compilers, &self.tree, request, key, &|directory, name| {
                self.is_published(directory, name)
            });
        if let Some((candidate, prepared)) = recalled {
            return Ok((candidate, Some((Ok(prepared.map_err(Some)?), true))));
        }
        let candidate = remote::judge(&self.compilers, &self.tree, request)?;
        let first = (!self.is_odd(request)).then(|| {
            let prepared = remote::prepare(
                &self.compilers,
                &self.tree,
                &self.graphs,
                request,
                &candidate,
                Tier::Scan,
            );
            (prepared, false)
        });
        Ok((Arc::new(candidate), first))
    }

    /// Whether the same command line wrote a file that nobody declared.
    fn is_odd(&self, request: &CompileRequest) -> bool {
        lock(&self.odd).contains(&request.argv)
    }

    /// Whether quicc wrote `name` in `directory`.
    fn is_published(&self, directory: &[u8], name: &[u8]) -> bool {
        lock(&self.published).contains(&(directory.to_vec(), name.to_vec()))
    }

    async fn try_once(
        self: &Arc<Self>,
        unit: &Unit,
        tier: Tier,
        first: Option<First>,
    ) -> Result<Decision, Failed> {
        let (prepared, remembered) = match first {
            Some(first) => first,
            None => {
                let (asked, of) = (Arc::clone(&unit.request), Arc::clone(&unit.candidate));
                let prepared = self.blocking(move |units| {
                    remote::prepare(&units.compilers, &units.tree, &units.graphs, &asked, &of, tier)
                });
                let internal = Failed::Finally(Decision::fallback("internal"));
                (prepared.await.ok_or(internal)?, false)
            }
        };
        let prepared = prepared.map_err(|reason| Failed::Finally(Decision::local(reason)))?;
        unit.notes.prepared(&prepared, remembered);
        let slot = self.farm.acquire().await.map_err(|no| {
            Failed::Finally(Decision::fallback(match no {
                NoSlot::Unreachable => "farm-unreachable",
                NoSlot::NoneFree => "no-free-slot",
            }))
        })?;
        let (prepared, returned) = self.attempt(prepared, &slot, unit).await?;
        let link = Arc::clone(&slot.link);
        drop(slot);
        self.judge_outcome(unit, link, prepared, returned).await
    }

    /// Runs it on a builder that is trusted, or beside the trial that makes it so.
    async fn attempt(
        self: &Arc<Self>,
        prepared: Prepared,
        slot: &Slot,
        unit: &Unit,
    ) -> Result<(Prepared, Returned), Failed> {
        let key = (slot.link.process.number, prepared.toolchain);
        let beside = Beside::default();
        let language = unit.candidate.plan.language;
        let trial = || super::trial::run(self, slot, &unit.request, language, &unit.traffic, &beside);
        let run = self.run(prepared, slot, unit, key, &beside);
        self.trust.prove(key, trial, run).await.map_err(|why| match why {
            Unusable::Failed(failed) => failed,
            Unusable::Untrusted => Failed::Finally(Decision::local("toolchain-untrusted")),
            Unusable::Untried(Some(error)) => match self.classify(error, slot, &unit.notes) {
                // The trial had its pauses.
                Failed::Busy => Failed::Again("builder-busy"),
                failed => failed,
            },
            Unusable::Untried(None) => Failed::Finally(Decision::local("toolchain-untested")),
        })
    }

    /// Runs it, right behind the trial if it makes one.
    async fn run(
        self: &Arc<Self>,
        prepared: Prepared,
        slot: &Slot,
        unit: &Unit,
        key: trust::Key,
        beside: &Beside,
    ) -> Result<Unproven<(Prepared, Returned)>, Failed> {
        let running = beside.running();
        self.sweep(slot).await?;
        let (told, prepared) = self.tell(prepared, slot, unit).await?;
        beside.may_leave().await;
        unit.notes.sent(&slot.link.name);
        let returned = remote::attempt(&prepared, slot, told, &unit.traffic).await;
        drop(running);
        let returned = returned.map_err(|error| match error {
            // The trial may have its slot, and keep it while a whole toolchain travels: that is no fault of the lease's.
            RunError::Refused(Refusal {
                code: RefusalCode::Busy,
                ..
            }) if !self.trust.is_tried(&key) => Failed::Busy,
            error => self.classify(error, slot, &unit.notes),
        })?;
        self.farm.accepted(slot);
        Ok(Unproven::new((prepared, returned)))
    }

    /// Has the slot's builder told of its inputs.
    async fn tell(
        self: &Arc<Self>,
        prepared: Prepared,
        slot: &Slot,
        unit: &Unit,
    ) -> Result<(ToldAction, Prepared), Failed> {
        let mut prepared = prepared;
        // Whoever waited long for a slot does not have it compile what is old. What is told anew is looked at anyway.
        let is_old = prepared.looked.elapsed() > FRESH;
        if is_old && remote::told_before(&prepared, &slot.link).is_some() {
            prepared = self.require_valid(&unit.notes, prepared).await?;
        }
        if let Some(told) = remote::told_before(&prepared, &slot.link) {
            return Ok((told, prepared));
        }
        let is_ours = |directory: &[u8], name: &[u8]| self.is_published(directory, name);
        let at_once = remote::tell_at_once(&self.tree, &prepared, &slot.link, &is_ours);
        let (told, prepared) = match at_once {
            Some(told) => (told, prepared),
            None => {
                let link = Arc::clone(&slot.link);
                let telling = self.blocking(move |units| {
                    let is_ours = |directory: &[u8], name: &[u8]| units.is_published(directory, name);
                    (remote::tell(&units.tree, &prepared, &link, &is_ours), prepared)
                });
                let internal = Failed::Finally(Decision::fallback("internal"));
                telling.await.ok_or(internal)?
            }
        };
        match told {
            Ok((told, proof)) => Ok((told, Prepared { proof, ..prepared })),
            Err(error) => Err(self.classify(error.into(), slot, &unit.notes)),
        }
    }

    /// What the command line means now: a response file may be among the inputs that changed.
    async fn judge_again(
        self: &Arc<Self>,
        request: &Arc<CompileRequest>,
    ) -> Result<Arc<Candidate>, Decision> {
        let asked = Arc::clone(request);
        let judged = self.blocking(move |units| remote::judge(&units.compilers, &units.tree, &asked));
        match judged.await {
            Some(Ok(candidate)) => Ok(Arc::new(candidate)),
            Some(Err(Some(reason))) => Err(Decision::local(reason)),
            Some(Err(None)) => Err(Decision::NotACompile),
            None => Err(Decision::fallback("internal")),
        }
    }

    /// What a failed attempt means, by who must act.
    fn classify(&self, error: RunError, slot: &Slot, notes: &Notes) -> Failed {
        if let RunError::Table(changed @ TableError::Changed { .. }) = &error {
            return inputs_changed(changed, notes);
        }
        let link = &slot.link;
        let words = crate::host::text::chain(&error);
        notes.trouble(&format!("builder {}: {words}", link.name));
        tracing::info!(builder = link.name, error = words, "an attempt failed");
        match error {
            RunError::Lost => Failed::Again("builder-lost"),
            RunError::TooEarly => Failed::TooEarly,
            // What a unit may wait for a silent network it has waited by now.
            RunError::Silent => Failed::Finally(Decision::fallback("builder-silent")),
            RunError::Mute => {
                // So long a wait is not begun again elsewhere.
                self.farm.spare(link);
                Failed::Finally(Decision::fallback("builder-mute"))
            }
            RunError::Raced { .. } => Failed::Again(INPUTS_CHANGED),
            RunError::Table(TableError::Outdated) => Failed::Again(INPUTS_CHANGED),
            RunError::Table(_) => Failed::Finally(Decision::fallback("table")),
            RunError::Misbehaved { .. } => {
                self.farm.avoid(link);
                Failed::Again("builder-misbehaved")
            }
            RunError::Refused(refusal) => match refusal.code {
                RefusalCode::Busy => {
                    self.farm.refused(slot);
                    Failed::Busy
                }
                RefusalCode::Stale | RefusalCode::UnknownTable => Failed::Again("builder-stale"),
                RefusalCode::LimitExceeded => Failed::Finally(Decision::fallback("limit-exceeded")),
                RefusalCode::Unsupported => Failed::Finally(Decision::fallback("builder-unsupported")),
                RefusalCode::Draining | RefusalCode::Internal => {
                    self.farm.spare(link);
                    Failed::Again("builder-refuses")
                }
                RefusalCode::NotAllowed => {
                    self.farm.avoid(link);
                    Failed::Again("builder-refuses")
                }
                RefusalCode::Malformed => Failed::Finally(Decision::fallback("builder-refuses")),
            },
        }
    }

    /// Looks at what the slot's builder was told.
    async fn sweep(self: &Arc<Self>, slot: &Slot) -> Result<(), Failed> {
        let (link, tree) = (Arc::clone(&slot.link), Arc::clone(&self.tree));
        // Not among the other blocking work: a queue of inputs to be found is no sign of files that do not answer.
        let swept = self
            .sweeps
            .wait(slot.link.number, move || staleness::sweep(&link, &tree));
        let unanswered = |sweeps::Unanswered| {
            let problem = "files that its builder was told of do not answer";
            Failed::Finally(Decision::local(LocalReason::because("inputs", problem)))
        };
        swept.await.map_err(unanswered)?;
        // That may be a while ago, and a file that no scanner found has nothing else to tell that it changed.
        if staleness::is_swept(&slot.link, &self.tree) {
            return Ok(());
        }
        let (link, tree) = (Arc::clone(&slot.link), Arc::clone(&self.tree));
        let swept = sweeps::now(move || staleness::sweep_unwatched(&link, &tree));
        swept.await.map_err(unanswered)
    }

    /// Turns an outcome into an answer, if it is one the local compiler would have given too.
    async fn judge_outcome(
        self: &Arc<Self>,
        unit: &Unit,
        link: Arc<Link>,
        prepared: Prepared,
        returned: Returned,
    ) -> Result<Decision, Failed> {
        let request = &unit.request;
        let Returned {
            outcome,
            bodies,
            epoch,
            position,
        } = returned;
        if prepared.caveats.is_resolved {
            speaks_for_driver(&prepared, &outcome, &bodies)?;
        }
        if outcome.exit != Exit::Code(0) {
            judge_failure(&prepared, &outcome, &bodies)?;
            let prepared = self.require_certain(prepared, link, epoch, position).await?;
            let prepared = self.require_words(request, prepared, &bodies).await?;
            let prepared = self.require_valid(&unit.notes, prepared).await?;
            return Ok(done(unit, &prepared, outcome, bodies));
        }
        if !outcome.unexpected.is_empty() || outcome.outputs.len() != prepared.outputs.len() {
            let mut odd = lock(&self.odd);
            if odd.len() < ODD_COMMANDS {
                odd.insert(request.argv.clone());
            }
            let reason = match outcome.unexpected.first() {
                Some(name) => LocalReason::because("unexpected-output", &String::from_utf8_lossy(name)),
                None => "unexpected-output".into(),
            };
            return Err(Failed::Finally(Decision::local(reason)));
        }
        let main_missing = prepared
            .outputs
            .iter()
            .zip(&outcome.outputs)
            .any(|(output, after)| {
                matches!(output.role, Role::Object | Role::Assembly)
                    && !matches!(after, After::Written { .. })
            });
        if main_missing {
            return Err(Failed::Finally(Decision::local("no-output")));
        }
        let prepared = self.require_words(request, prepared, &bodies).await?;
        let prepared = self.require_valid(&unit.notes, prepared).await?;
        self.remember_published(&prepared);
        self.recall.remember(unit.key, &unit.candidate, &prepared);
        Ok(done(unit, &prepared, outcome, bodies))
    }

    /// Gives a compile back that failed, if nothing its builder was told since may have made it fail.
    async fn require_certain(
        self: &Arc<Self>,
        prepared: Prepared,
        link: Arc<Link>,
        epoch: u64,
        position: u64,
    ) -> Result<Prepared, Failed> {
        let judged = self.blocking(move |_| {
            let found = link.tell(|table| Ok(doubt::doubt(table, &prepared.kept, position)));
            if let Ok(found) = &found {
                if doubt::is_certain(epoch, found) {
                    return Ok(prepared);
                }
                if let Some(path) = &found.value {
                    let path = String::from_utf8_lossy(path);
                    tracing::info!(%path, "a compile failed while the builder was told of this");
                }
            }
            Err(Failed::InDoubt)
        });
        judged
            .await
            .unwrap_or(Err(Failed::Finally(Decision::fallback("internal"))))
    }

    /// Gives the compile back if its messages are those of the local compiler.
    async fn require_words(
        self: &Arc<Self>,
        request: &CompileRequest,
        prepared: Prepared,
        bodies: &[Vec<u8>],
    ) -> Result<Prepared, Failed> {
        judge_text(&prepared, bodies)?;
        let diagnostics = match bodies.get(1) {
            Some(text) if prepared.caveats.may_quote_unseen && !text.is_empty() => text.clone(),
            _ => return Ok(prepared),
        };
        let cwd = request.cwd.clone();
        let judged = self.blocking(move |_| {
            let only_inputs = remote::quotes_only_inputs(&prepared, &cwd, &diagnostics);
            only_inputs.then_some(prepared)
        });
        let unseen = Decision::local("precompiled-header-diagnostics");
        judged.await.flatten().ok_or(Failed::Finally(unseen))
    }

    /// Gives the compile back if it would still read the same files.
    async fn require_valid(self: &Arc<Self>, notes: &Notes, prepared: Prepared) -> Result<Prepared, Failed> {
        let proof = prepared.proof;
        let newer = proof.and_then(|proof| still_holds(&self.tree, &prepared.kept, proof));
        if newer.is_some() {
            return Ok(Prepared {
                proof: newer,
                ..prepared
            });
        }
        let (found, prepared) = self
            .blocking(move |units| (remote::look_again(&units.tree, &prepared), prepared))
            .await
            .ok_or(Failed::Finally(Decision::fallback("internal")))?;
        match found {
            Ok(proof) => Ok(Prepared { proof, ..prepared }),
            Err(changed) => Err(inputs_changed(&changed, notes)),
        }
    }

    fn remember_published(&self, prepared: &Prepared) {
        let mut published = lock(&self.published);
        for output in &prepared.outputs {
            let name = &output.declared.name;
            if published.len() < PUBLISHED && NEVER_INCLUDED.iter().any(|end| name.ends_with(end)) {
                published.insert((output.directory.clone(), output.declared.name.clone()));
            }
        }
    }
}

/// What follows where a file of a closure changed.
fn inputs_changed(changed: &TableError, notes: &Notes) -> Failed {
    notes.trouble(&changed.to_string());
    tracing::info!(%changed, "a compile is prepared again");
    Failed::Again(INPUTS_CHANGED)
}

/// Refuses what a driver's own run would show in another way than its programs do alone: it has its words about one
/// that fails.
fn speaks_for_driver(prepared: &Prepared, outcome: &Outcome, bodies: &[Vec<u8>]) -> Result<(), Failed> {
    if outcome.exit != Exit::Code(0) {
        let stderr = bodies.get(1).map_or(&[][..], Vec::as_slice);
        let is_poisoned = prepared.tier == Tier::Scan && failure::judge(stderr) == Failure::Poison;
        return Err(if is_poisoned {
            Failed::AgainWithDependencies
        } else {
            Failed::Finally(Decision::local(COMPILE_FAILED))
        });
    }
    Ok(())
}

/// Whether a failed compile would have failed here in the same way; if not, what follows.
fn judge_failure(prepared: &Prepared, outcome: &Outcome, bodies: &[Vec<u8>]) -> Result<(), Failed> {
    let here = |problem: &str| {
        tracing::info!(problem, exit = ?outcome.exit, "a failed compile is done here once more");
        Failed::Finally(Decision::local(LocalReason::because(COMPILE_FAILED, problem)))
    };
    if outcome.exit != SOURCE_ERROR {
        return Err(here("the compiler broke"));
    }
    if !outcome.unexpected.is_empty() || outcome.outputs.len() != prepared.outputs.len() {
        return Err(here("it wrote more than it was to"));
    }
    let stderr = bodies.get(1).map_or(&[][..], Vec::as_slice);
    // In another language poison cannot be told from a mistake.
    let failure = if prepared.caveats.translated {
        Failure::Poison
    } else {
        failure::judge(stderr)
    };
    match failure {
        // A closure found by scanning may have been too small.
        Failure::Poison if prepared.tier == Tier::Scan => return Err(Failed::AgainWithDependencies),
        Failure::Poison => return Err(here("a file may have been missing")),
        Failure::Unclear(problem) => return Err(here(problem)),
        // The compiler's own list of dependencies, which was made first, would have missed it too.
        Failure::Source if prepared.tier == Tier::Dependencies && failure::misses_file(stderr) => {
            return Err(here(
                "a file was missing that the list of dependencies did not miss",
            ));
        }
        Failure::Source => {}
    }
    // Whatever it was that changed, a lookup that nobody foresaw may have asked for it.
    if outcome.mirror_changed && (prepared.kept.computed || prepared.kept.aliased_probe) {
        return Err(Failed::InDoubt);
    }
    Ok(())
}

/// Whether text may be shown, and outputs be taken, as the local compiler's.
fn judge_text(prepared: &Prepared, bodies: &[Vec<u8>]) -> Result<(), Failed> {
    let text = || bodies.iter().take(STREAMS).filter(|body| !body.is_empty());
    let reason = if text().any(|body| failure::names_scratch(body)) {
        "temporary-file-named"
    } else if bodies
        .iter()
        .skip(STREAMS)
        .any(|body| failure::names_scratch(body))
    {
        // clang's assembler writes it into the line table of a file without code.
        "scratch-path"
    } else if prepared.kept.computed_line && text().next().is_some() {
        "computed-line-name"
    } else {
        return Ok(());
    };
    Err(Failed::Finally(Decision::local(reason)))
}

/// The answer to the wrapper.
fn done(unit: &Unit, prepared: &Prepared, outcome: Outcome, bodies: Vec<Vec<u8>>) -> Decision {
    let (bytes_up, bytes_down) = unit.traffic.totals();
    let dialect = unit.candidate.toolchain.toolchain.dialect;
    let describe = |bytes: &Vec<u8>| {
        let size = bytes.len() as u64;
        // Over a socket of this machine the digest proves nothing that the kernel does not.
        let digest = quicc_protocol::BlobDigest::from_bytes([0; 32]);
        Body {
            digest,
            size,
            wire_size: size,
            encoding: Encoding::Plain,
        }
    };
    let outputs = prepared
        .outputs
        .iter()
        .zip(outcome.outputs)
        .map(|(output, after)| OutputFile {
            path: output.spelled.clone(),
            after,
            predecessor: output.role.predecessor(dialect),
        })
        .collect();
    let message = CompileDone {
        exit: outcome.exit,
        outputs,
        bodies: bodies.iter().map(describe).collect(),
        bytes_up,
        bytes_down,
    };
    Decision::Done(message, bodies)
}
