//! Toolchains that stand as they were found because the kernel told of no change, so that the half hundred directories
//! their programs are looked for in need not be asked of for every unit.
//!
//! Only ever says that nothing changed. Where it cannot, whoever asks looks for himself.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::KnownToolchain;
use crate::inputs::closure::places;
use crate::inputs::kept::Kept;
use crate::inputs::tree::{Mark, Tree};
use crate::inputs::validate::{Validity, is_looked_at_in_no_time, untouched, validate};

/// Toolchains remembered; beyond it all are learned again.
const REMEMBERED: usize = 64;
/// How soon the places of one are learned again: where a build writes into a directory of `PATH`, it is not worth it.
const LEARNED_AGAIN: Duration = Duration::from_secs(1);

/// A compiler, and the variables that decide which programs it runs.
pub(super) type Call = (PathBuf, Vec<(Vec<u8>, Vec<u8>)>);

#[derive(Debug)]
struct Places {
    toolchain: Arc<KnownToolchain>,
    /// None where nothing proves anything.
    proof: Option<(Arc<Kept>, Mark)>,
    learned: Instant,
}

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<HashMap<Call, Places>>);

impl Standing {
    /// The toolchain of `call`, if nothing came, went or changed in any of its places since it was learned.
    pub(super) fn get(&self, tree: &Tree, call: &Call) -> Option<Arc<KnownToolchain>> {
        self.get_if(call, |kept, mark| {
            untouched(tree, kept, tree.changes_since(mark)?)
        })
    }

    /// The same, for a thread that others wait for: `None` also if that takes a look at more than a few files.
    pub(super) fn get_at_once(&self, tree: &Tree, call: &Call) -> Option<Arc<KnownToolchain>> {
        self.get_if(call, |kept, mark| {
            if !is_looked_at_in_no_time(kept) {
                return None;
            }
            untouched(tree, kept, tree.changes_since_at_once(mark)?)
        })
    }

    /// The toolchain of `call`, if `newer` gives a newer proof for its places.
    fn get_if(
        &self,
        call: &Call,
        newer: impl FnOnce(&Kept, Mark) -> Option<Mark>,
    ) -> Option<Arc<KnownToolchain>> {
        let (toolchain, kept, mark) = {
            let map = self.lock();
            let places = map.get(call)?;
            let (kept, mark) = places.proof.as_ref()?;
            (Arc::clone(&places.toolchain), Arc::clone(kept), *mark)
        };
        let newer = newer(&kept, mark)?;
        if newer != mark
            && let Some(Places {
                proof: Some((current, mark)),
                ..
            }) = self.lock().get_mut(call)
            && Arc::ptr_eq(current, &kept)
        {
            *mark = newer.max(*mark);
        }
        Some(toolchain)
    }

    /// Whether the places of `call` are worth learning now.
    pub(super) fn is_due(&self, call: &Call) -> bool {
        self.lock()
            .get(call)
            .is_none_or(|places| places.learned.elapsed() >= LEARNED_AGAIN)
    }

    /// Learns that `toolchain` is that of `call` as long as nothing changes in the directories among `paths`, and none
    /// of the files, if `holds` says that it is so once they are watched.
    pub(super) fn learn<'a>(
        &self,
        tree: &Tree,
        call: Call,
        toolchain: &Arc<KnownToolchain>,
        paths: impl Iterator<Item = &'a Path>,
        holds: impl FnOnce() -> bool,
    ) {
        let paths: Vec<_> = paths.map(|path| path.as_os_str().as_bytes()).collect();
        let is_whole = paths.iter().all(|path| path.starts_with(b"/"));
        let closure = is_whole.then(|| places(tree, paths.into_iter()).ok()).flatten();
        let kept = closure.map(|closure| Arc::new(Kept::new(tree, closure)));
        let proof = kept.and_then(|kept| match validate(tree, &kept) {
            Validity::Unchanged { proof } => Some((kept, proof?)),
            Validity::Changed { .. } => None,
        });
        let places = Places {
            toolchain: Arc::clone(toolchain),
            proof: proof.filter(|_| holds()),
            learned: Instant::now(),
        };
        let mut map = self.lock();
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(call, places);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Call, Places>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
