//! Compiles that were prepared before: for the same call nothing is looked for again as long as all that was found
//! still holds.
//!
//! Blocking, but for what is done at once. Never believes what it cannot examine; whoever asks then prepares anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use foldhash::HashMap;
use quicc_protocol::BlobDigest;
use quicc_protocol::message::run::StandardStreams;
use quicc_protocol::message::wrapper::CompileRequest;

use super::compilers::{Compilers, Environment, KnownToolchain};
use super::loader_path;
use super::native::Resolved;
use super::outputs::{self, Located};
use super::reason::LocalReason;
use super::remote::{self, Candidate, Caveats, Prepared, Tier};
use crate::inputs::closure::Object;
use crate::inputs::kept::Kept;
use crate::inputs::tree::{Mark, Tree};
use crate::inputs::validate::{Revision, is_looked_at_in_no_time, revise, revise_at_once};

/// Calls remembered; beyond it all are forgotten and learned again.
const REMEMBERED: usize = 20_000;

/// Variables that differ from call to call of one build and that neither a verdict nor a compiler looks at.
const IDLE_VARIABLES: [&str; 6] = ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SHLVL", "OLDPWD", "_"];

/// Identifies a call by all that decides what it reads.
pub type Key = [u8; 32];

/// What was found for a call.
#[derive(Debug, Clone)]
struct Remembered {
    candidate: Arc<Candidate>,
    kept: Arc<Kept>,
    proof: Option<Mark>,
    tier: Tier,
    caveats: Caveats,
    toolchain: BlobDigest,
}

impl Remembered {
    /// Whether it was found for `toolchain`.
    fn is_of(&self, toolchain: &KnownToolchain) -> bool {
        let known = &self.candidate.toolchain;
        known.files == toolchain.files && known.real_files == toolchain.real_files
    }

    /// What was found as a compile ready to travel, with all it may read now and what proves that.
    fn prepared(
        &self,
        request: &CompileRequest,
        (kept, proof): (Arc<Kept>, Option<Mark>),
        outputs: Vec<Located>,
        resolved: Option<Resolved>,
        looked: Instant,
    ) -> Prepared {
        Prepared {
            action: remote::action(request, &outputs, resolved),
            kept,
            proof,
            looked,
            outputs,
            tier: self.tier,
            caveats: self.caveats,
            toolchain: self.toolchain,
        }
    }
}

/// The memory.
#[derive(Debug, Default)]
pub struct Recall(Mutex<HashMap<Key, Remembered>>);

/// The key of a call.
pub fn key_of(request: &CompileRequest) -> Key {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &[u8]| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    add(&request.compiler);
    add(&request.cwd);
    add(&(request.argv.len() as u64).to_le_bytes());
    for argument in &request.argv {
        add(argument);
    }
    for (name, value) in decisive(&request.env) {
        add(name);
        add(value);
    }
    // What describes a terminal is an input; its size is not.
    let on_terminal = remote::observed(request.streams) != StandardStreams::default();
    hasher.update(&[u8::from(on_terminal)]);
    *hasher.finalize().as_bytes()
}

fn decisive(env: &Environment) -> impl Iterator<Item = (&[u8], &[u8])> {
    env.iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| !IDLE_VARIABLES.iter().any(|idle| idle.as_bytes() == *name))
}

impl Recall {
    /// The call of `key` prepared as before, if what was found then can be brought up to date. The inner error says
    /// why it is to be compiled here this time.
    pub fn prepare(
        &self,
        compilers: &Compilers,
        tree: &Tree,
        request: &CompileRequest,
        key: &Key,
        is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<(Arc<Candidate>, Result<Prepared, LocalReason>)> {
        let remembered = self.lock().get(key).cloned()?;
        // The tools' bytes are in the closure; which tools they are depends on the machine.
        let now = compilers
            .toolchain(tree, remote::compiler_of(request), &request.env)
            .ok()?;
        if !remembered.is_of(&now) {
            return None;
        }
        // A library may have appeared along the list since.
        let may_load_others = |(name, list): &(Vec<u8>, Vec<u8>)| {
            name == b"LD_LIBRARY_PATH"
                && !list.is_empty()
                && !loader_path::is_harmless(tree, list, &now.files)
        };
        if request.env.iter().any(may_load_others) {
            return None;
        }
        let looked = Instant::now();
        let Revision::Holds { kept, proof } = revise(tree, &remembered.kept, remembered.proof, is_ours)
        else {
            return None;
        };
        let candidate = Arc::clone(&remembered.candidate);
        let outputs = match outputs::locate(&request.cwd, &candidate.plan.outputs) {
            Ok(outputs) => outputs,
            Err(odd) => return Some((candidate, Err(odd.code().into()))),
        };
        if outputs.iter().any(|output| kept.get(&output.directory).is_none()) {
            return None;
        }
        let resolved = match remote::resolve_native(compilers, request, &candidate) {
            Ok(resolved) => resolved,
            Err(reason) => return Some((candidate, Err(reason))),
        };
        let prepared = remembered.prepared(request, (kept, proof), outputs, resolved, looked);
        Some((candidate, Ok(prepared)))
    }

    /// The same, for a thread that others wait for: `None` also where more is to be looked at than a few files that
    /// somebody may have mapped, a few names that came or went beside them, and where the outputs go.
    pub fn prepare_at_once(
        &self,
        compilers: &Compilers,
        tree: &Tree,
        request: &CompileRequest,
        key: &Key,
        is_ours: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<(Arc<Candidate>, Prepared)> {
        let remembered = self.lock().get(key).cloned()?;
        let loads_others = request
            .env
            .iter()
            .any(|(name, list)| name == b"LD_LIBRARY_PATH" && !list.is_empty());
        let candidate = Arc::clone(&remembered.candidate);
        if loads_others
            || candidate.plan.native_arguments.is_some()
            || !is_looked_at_in_no_time(&remembered.kept)
        {
            return None;
        }
        let now = compilers.toolchain_at_once(tree, remote::compiler_of(request), &request.env)?;
        if !remembered.is_of(&now) {
            return None;
        }
        let looked = Instant::now();
        let (kept, proof) = revise_at_once(tree, &remembered.kept, remembered.proof?, is_ours)?;
        let is_known = |directory: &[u8]| matches!(kept.get(directory), Some(Object::Directory { .. }));
        let outputs = outputs::locate_at_once(&request.cwd, &candidate.plan.outputs, is_known)?;
        let prepared = remembered.prepared(request, (kept, Some(proof)), outputs, None, looked);
        Some((candidate, prepared))
    }

    /// Remembers what a compile that succeeded was prepared with.
    pub fn remember(&self, key: Key, candidate: &Arc<Candidate>, prepared: &Prepared) {
        if candidate.asked_of_files {
            return;
        }
        let remembered = Remembered {
            candidate: Arc::clone(candidate),
            kept: Arc::clone(&prepared.kept),
            proof: prepared.proof,
            tier: prepared.tier,
            caveats: prepared.caveats,
            toolchain: prepared.toolchain,
        };
        let mut map = self.lock();
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(key, remembered);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::message::wrapper::{ResourceLimits, VERSION};

    fn request(argv: &[&str], env: &[(&str, &str)]) -> CompileRequest {
        let bytes = |text: &&str| text.as_bytes().to_vec();
        CompileRequest {
            version: VERSION,
            compiler: b"/usr/bin/gcc".to_vec(),
            argv: argv.iter().map(bytes).collect(),
            cwd: b"/src".to_vec(),
            env: env
                .iter()
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect(),
            umask: 0o022,
            streams: StandardStreams::default(),
            mount_namespace: 0,
            inside_local_compile: false,
            resource_limits: ResourceLimits::default(),
        }
    }

    #[test]
    fn only_what_decides_makes_another_call() {
        let key = |argv: &[&str], env: &[(&str, &str)]| key_of(&request(argv, env));
        let one = key(&["gcc", "-c", "a.c"], &[("PATH", "/bin"), ("MAKEFLAGS", "-j")]);
        assert_eq!(
            one,
            key(&["gcc", "-c", "a.c"], &[("PATH", "/bin"), ("MAKELEVEL", "2")])
        );
        assert_ne!(one, key(&["gcc", "-c", "a.c"], &[("PATH", "/sbin")]));
        assert_ne!(
            one,
            key(&["gcc", "-c", "a.c"], &[("PATH", "/bin"), ("CPATH", "x")])
        );
        assert_ne!(one, key(&["gcc", "-ca.c"], &[("PATH", "/bin")]));
        assert_ne!(
            key(&["gcc", "PATH", "/bin"], &[]),
            key(&["gcc"], &[("PATH", "/bin")])
        );
    }
}
