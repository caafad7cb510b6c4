//! One unit from request to answer: verdict, inputs, slot, attempt, validation; and what follows when a step
//! fails. Whatever happens, the answer is an outcome that equals the local compile's, or "compile it here".

use std::collections::{HashMap, HashSet};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quicc_protocol::message::blob::{Body, Encoding};
use quicc_protocol::message::refusal::RefusalCode;
use quicc_protocol::message::run::{After, Exit};
use quicc_protocol::message::wrapper::{CompileDone, CompileRequest, OutputFile};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::compilers::Compilers;
use super::farm::{Farm, NoSlot, Slot};
use super::link::{Returned, RunError, Traffic};
use super::recall::{self, Key, Recall};
use super::remote::{self, Candidate, LocalReason, Prepared, Tier};
use super::table::TableError;
use super::trust::{Trial, Trust};
use crate::compile::Role;
use crate::inputs::tree::Tree;
use crate::inputs::validate::{Validity, validate};

/// Attempts on builders before a unit is compiled here.
const ATTEMPTS: usize = 3;
/// Refusals for want of a slot that cost only a pause, and the pause.
const BUSY_REFUSALS: usize = 40;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How often the files a builder was told of are looked at again while units run.
const SWEEP: Duration = Duration::from_secs(1);
/// Command lines remembered for outputs nobody declared.
const ODD_COMMANDS: usize = 4096;
/// Names of published files remembered; beyond it they are treated like any other name.
const PUBLISHED: usize = 1 << 20;

/// What becomes of a unit.
#[derive(Debug)]
pub enum Decision {
    /// No compile: run it, count nothing.
    NotACompile,
    /// Compile it here.
    Local {
        /// Stable code.
        reason: LocalReason,
        /// The farm failed.
        fallback: bool,
    },
    /// Publish this.
    Done(CompileDone, Vec<Vec<u8>>),
}

impl Decision {
    fn local(reason: impl Into<String>) -> Self {
        Self::Local {
            reason: reason.into(),
            fallback: false,
        }
    }

    fn fallback(reason: impl Into<String>) -> Self {
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
    swept: Mutex<HashMap<u64, Instant>>,
}

/// One unit on its way.
struct Unit {
    request: Arc<CompileRequest>,
    key: Key,
    candidate: Arc<Candidate>,
    traffic: Arc<Traffic>,
}

/// A compile that may travel, and what it travels with if that is known already.
type Begun = (Arc<Candidate>, Option<Prepared>);

/// How an attempt ended that gave no answer.
enum Failed {
    /// Prepare again and try again.
    Again(&'static str),
    /// A slot was refused that the lease had promised: told and held differ for a moment.
    Busy,
    /// The same, with the compiler's own list of dependencies.
    AgainWithDependencies,
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
            compilers: Compilers::default(),
            trust: Trust::default(),
            recall: Recall::default(),
            trials,
            blocking: Semaphore::new(threads),
            published: Mutex::default(),
            odd: Mutex::default(),
            swept: Mutex::default(),
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

    /// Decides one unit. Dropping the future cancels what runs for it.
    pub async fn decide(self: &Arc<Self>, request: Arc<CompileRequest>, traffic: &Arc<Traffic>) -> Decision {
        let key = recall::key_of(&request);
        let asked = Arc::clone(&request);
        let begun = self.blocking(move |units| units.begin(&asked, &key)).await;
        let (candidate, mut ready) = match begun {
            Some(Ok(begun)) => begun,
            Some(Err(Some(reason))) => return Decision::local(reason),
            Some(Err(None)) => return Decision::NotACompile,
            None => return Decision::fallback("internal"),
        };
        if lock(&self.odd).contains(&request.argv) {
            return Decision::local("unexpected-output");
        }
        let unit = Unit {
            request,
            key,
            candidate,
            traffic: Arc::clone(traffic),
        };
        let mut tier = Tier::Scan;
        let (mut last, mut attempts, mut refusals) = ("farm-lost", 0, 0);
        while attempts < ATTEMPTS {
            match self.try_once(&unit, tier, ready.take()).await {
                Ok(decision) | Err(Failed::Finally(decision)) => return decision,
                Err(Failed::Again(reason)) => last = reason,
                Err(Failed::AgainWithDependencies) => tier = Tier::Dependencies,
                Err(Failed::Busy) if refusals < BUSY_REFUSALS => {
                    refusals += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(Failed::Busy) => last = "builder-busy",
            }
            attempts += 1;
        }
        Decision::fallback(last)
    }

    /// What is remembered of the call, or what its command line means. Blocking.
    fn begin(&self, request: &CompileRequest, key: &Key) -> Result<Begun, Option<LocalReason>> {
        let recalled = self
            .recall
            .prepare(&self.compilers, &self.tree, request, key, &|directory, name| {
                self.is_published(directory, name)
            });
        if let Some((candidate, prepared)) = recalled {
            return Ok((candidate, Some(prepared.map_err(Some)?)));
        }
        let candidate = remote::judge(&self.compilers, &self.tree, request)?;
        Ok((Arc::new(candidate), None))
    }

    /// Whether quicc wrote `name` in `directory`.
    fn is_published(&self, directory: &[u8], name: &[u8]) -> bool {
        lock(&self.published).contains(&(directory.to_vec(), name.to_vec()))
    }

    async fn try_once(
        self: &Arc<Self>,
        unit: &Unit,
        tier: Tier,
        ready: Option<Prepared>,
    ) -> Result<Decision, Failed> {
        let prepared = match ready {
            Some(prepared) => prepared,
            None => {
                let (asked, of) = (Arc::clone(&unit.request), Arc::clone(&unit.candidate));
                self.blocking(move |units| remote::prepare(&units.compilers, &units.tree, &asked, &of, tier))
                    .await
                    .ok_or(Failed::Finally(Decision::fallback("internal")))?
                    .map_err(|reason| Failed::Finally(Decision::local(reason)))?
            }
        };
        let slot = self.farm.acquire().await.map_err(|no| {
            Failed::Finally(Decision::fallback(match no {
                NoSlot::Unreachable => "farm-unreachable",
                NoSlot::NoneFree => "no-free-slot",
            }))
        })?;
        self.require_trust(&slot, unit, &prepared).await?;
        self.sweep(&slot).await;
        // A unit may have waited long for its slot; what it tells must not be old.
        let prepared = self.require_valid(prepared).await?;
        let returned = self.attempt(&prepared, &slot, &unit.traffic).await?;
        drop(slot);
        self.judge_outcome(unit, prepared, returned).await
    }

    async fn attempt(
        &self,
        prepared: &Prepared,
        slot: &Slot,
        traffic: &Arc<Traffic>,
    ) -> Result<Returned, Failed> {
        let is_ours = |directory: &[u8], name: &[u8]| self.is_published(directory, name);
        let returned = remote::attempt(&self.tree, prepared, slot, &is_ours, traffic)
            .await
            .map_err(|error| self.classify(error, slot))?;
        self.farm.accepted(slot);
        Ok(returned)
    }

    /// What a failed attempt means, by who must act.
    fn classify(&self, error: RunError, slot: &Slot) -> Failed {
        let link = &slot.link;
        tracing::info!(
            builder = link.name,
            error = crate::host::text::chain(&error),
            "an attempt failed"
        );
        match error {
            RunError::Lost => Failed::Again("builder-lost"),
            RunError::Mute => {
                // So long a wait is not begun again elsewhere.
                self.farm.spare(link);
                Failed::Finally(Decision::fallback("builder-mute"))
            }
            RunError::Raced { .. } => Failed::Again("inputs-changed"),
            RunError::Table(TableError::Outdated) => Failed::Again("inputs-changed"),
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

    async fn sweep(self: &Arc<Self>, slot: &Slot) {
        let key = slot.link.number;
        let due = {
            let mut swept = lock(&self.swept);
            if swept.len() > 64 {
                swept.clear();
            }
            let now = Instant::now();
            let last = swept.insert(key, now);
            let due = last.is_none_or(|last| now.duration_since(last) >= SWEEP);
            if let (false, Some(last)) = (due, last) {
                swept.insert(key, last);
            }
            due
        };
        if due {
            let link = Arc::clone(&slot.link);
            self.blocking(move |units| remote::sweep(&link, &units.tree))
                .await;
        }
    }

    async fn require_trust(
        self: &Arc<Self>,
        slot: &Slot,
        unit: &Unit,
        prepared: &Prepared,
    ) -> Result<(), Failed> {
        let key = (slot.link.number, prepared.toolchain);
        let trial = self
            .trust
            .get(
                key,
                super::trial::run(
                    self,
                    slot,
                    &unit.request,
                    unit.candidate.plan.language,
                    &unit.traffic,
                ),
            )
            .await;
        match trial {
            Ok(Trial::Equal) => Ok(()),
            Ok(Trial::Different) => Err(Failed::Finally(Decision::local("toolchain-untrusted"))),
            Err(Some(error)) => Err(self.classify(error, slot)),
            Err(None) => Err(Failed::Finally(Decision::local("toolchain-untested"))),
        }
    }

    /// Turns an outcome into an answer, if it is one the local compiler would have given too.
    async fn judge_outcome(
        self: &Arc<Self>,
        unit: &Unit,
        prepared: Prepared,
        returned: Returned,
    ) -> Result<Decision, Failed> {
        let request = &unit.request;
        let Returned { outcome, bodies } = returned;
        if outcome.exit != Exit::Code(0) {
            // A closure found by scanning may have been too small, and poison the cause.
            return Err(if prepared.tier == Tier::Scan && mentions_poison(&bodies) {
                Failed::AgainWithDependencies
            } else {
                // The user sees the local compiler's own words; errors are rare and end the build anyway.
                Failed::Finally(Decision::local("compile-failed"))
            });
        }
        if !outcome.unexpected.is_empty() || outcome.outputs.len() != prepared.outputs.len() {
            let mut odd = lock(&self.odd);
            if odd.len() < ODD_COMMANDS {
                odd.insert(request.argv.clone());
            }
            return Err(Failed::Finally(Decision::local("unexpected-output")));
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
        let text = |index: usize| bodies.get(index).is_some_and(|body| !body.is_empty());
        if (request.streams.stderr_is_terminal && text(1)) || (request.streams.stdout_is_terminal && text(0))
        {
            return Err(Failed::Finally(Decision::local("terminal-diagnostics")));
        }
        let prepared = self.require_valid(prepared).await?;
        self.remember_published(&prepared);
        self.recall.remember(unit.key, &unit.candidate, &prepared);
        Ok(done(&prepared, outcome.outputs, bodies, &unit.traffic))
    }

    /// Gives the compile back if it would still read the same files.
    async fn require_valid(self: &Arc<Self>, prepared: Prepared) -> Result<Prepared, Failed> {
        if prepared.proof.is_some() && self.tree.refresh() == prepared.proof {
            return Ok(prepared);
        }
        let (validity, prepared) = self
            .blocking(move |units| (validate(&units.tree, &prepared.kept), prepared))
            .await
            .ok_or(Failed::Finally(Decision::fallback("internal")))?;
        match validity {
            Validity::Unchanged { proof } => Ok(Prepared { proof, ..prepared }),
            Validity::Changed { path } => {
                tracing::info!(path = %String::from_utf8_lossy(&path), "inputs changed since they were found");
                Err(Failed::Again("inputs-changed"))
            }
        }
    }

    fn remember_published(&self, prepared: &Prepared) {
        let mut published = lock(&self.published);
        for output in &prepared.outputs {
            if published.len() < PUBLISHED {
                published.insert((output.directory.clone(), output.declared.name.clone()));
            }
        }
    }
}

/// The answer to the wrapper.
fn done(prepared: &Prepared, after: Vec<After>, bodies: Vec<Vec<u8>>, traffic: &Arc<Traffic>) -> Decision {
    let (bytes_up, bytes_down) = traffic.totals();
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
        .zip(after)
        .map(|(output, after)| OutputFile {
            path: output.spelled.clone(),
            after,
        })
        .collect();
    let message = CompileDone {
        exit: Exit::Code(0),
        outputs,
        bodies: bodies.iter().map(describe).collect(),
        bytes_up,
        bytes_down,
    };
    Decision::Done(message, bodies)
}

/// Whether diagnostics may come from poison: the kernel's words for a link to itself or a directory that may not
/// be entered. In another language they cannot be told, so any text may.
fn mentions_poison(bodies: &[Vec<u8>]) -> bool {
    let Some(stderr) = bodies.get(1) else { return true };
    let mentions = |words: &[u8]| stderr.windows(words.len()).any(|window| window == words);
    let ascii = stderr.is_ascii();
    !ascii || mentions(b"Too many levels of symbolic links") || mentions(b"Permission denied")
}
