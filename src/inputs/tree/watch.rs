//! The kernel's word on changes (inotify(7)), so that what it said of a path need not be asked again.
//!
//! Every directory from the root down to a path, and every file, is watched by its inode before it is asked of:
//! a write through another hard link or bind mount shows as well. A store through a shared mapping shows only when the
//! mapping ends, so files that somebody may map are asked of all the same ([`super::Tree::stat`]). File systems that others can change unseen are never watched, nor is what an overflowing queue or a
//! new mount leaves in doubt believed. Never decides what an event means; that is [`super::known`].

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use nix::sys::statfs::statfs;

use super::known::{Answer, ChangedName, Event, Known, Ticket, WatchId};
use super::{StatTuple, TreeError, as_path};

/// Part of the user's watches (`fs.inotify.max_user_watches`) left to others: three of four.
const SHARE_OF_WATCHES: usize = 4;
/// What is assumed where the kernel does not say, its own default until 5.11.
const USUAL_WATCHES: usize = 8192;
/// Directories between the root and a file that is watched.
const DEPTH: usize = 128;
/// How long who must not wait for a file system waits while others ask or set watches.
const AT_ONCE: Duration = Duration::from_millis(1);

/// File systems whose every change passes through this kernel: ext, xfs, btrfs, tmpfs, ramfs, f2fs, bcachefs, erofs,
/// squashfs (statfs(2)). Overlays are left out: a change of a lower layer shows nowhere.
const WATCHED_FILE_SYSTEMS: [i64; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0xf2f5_2010,
    0xca45_1a4e,
    0xe0f5_e1e2,
    0x7371_7368,
];

/// How often everything was forgotten, and how much was taken back since.
pub type Mark = (u64, u64);

/// From when on all that changes in a directory is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footing {
    mark: Mark,
    /// Of the directory, wherever its path leads later.
    watch: WatchId,
}

/// What changed between two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The later mark.
    pub mark: Mark,
    /// All of it: names in directories.
    pub names: Vec<ChangedName>,
}

/// What was asked while nothing changed stays known.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<RwLock<State>>);

#[derive(Debug)]
struct State {
    known: Known,
    inotify: Inotify,
    /// Readable (POLLERR | POLLPRI) once the mount table has changed, proc(5).
    mounts: File,
    /// Inodes that may be watched at once.
    allowed: usize,
    /// Counts how often everything had to be forgotten.
    epoch: u64,
}

impl Watch {
    /// A watch, or one that never proves anything where the kernel offers none.
    pub(super) fn new() -> Self {
        Self(State::new(0).map(RwLock::new))
    }

    /// What is proven of `path` as of the last [`Self::refresh`].
    pub(super) fn answer(&self, path: &[u8]) -> Option<Answer> {
        self.read()?.known.answer(path)
    }

    /// The same, and the path in the copy that whoever remembers something of it can share.
    pub(super) fn shared_answer(&self, path: &[u8]) -> Option<(Arc<[u8]>, Answer)> {
        let state = self.read()?;
        let (path, answer) = state.known.shared_answer(path)?;
        Some((Arc::clone(path), answer))
    }

    /// Takes back what is known of `path` if it was found to be otherwise: some changes are not told of, that of an
    /// attribute by chattr(1) for one, and what is read then would differ from what is known for ever.
    pub(super) fn compare(&self, path: &[u8], found: StatTuple) {
        let is_otherwise = |answer: Option<Answer>| answer.is_some_and(|answer| answer != Some(found));
        if let Some(lock) = self.0.as_ref().filter(|_| is_otherwise(self.answer(path))) {
            write(lock).known.disprove(path);
        }
    }

    /// What tells a file from the same at another time if its times do not ([`StatTuple::news`]), as of the last
    /// [`Self::refresh`].
    pub(super) fn news(&self, path: &[u8]) -> u64 {
        self.read().map_or(0, |state| state.known.news(path))
    }

    /// How often everything was forgotten, as when something was mounted.
    pub(super) fn epoch(&self) -> u64 {
        self.read().map_or(0, |state| state.epoch)
    }

    /// Takes back everything that changed until now. Gives a mark: as long as it stays the same, so does all that
    /// was proven; `None` where nothing is.
    pub(super) fn refresh(&self) -> Option<Mark> {
        let mut state = write(self.0.as_ref()?);
        state.take_news();
        Some((state.epoch, state.known.losses()))
    }

    /// The same, and what was taken back since `mark`; `None` if more than names that came or went.
    pub(super) fn refresh_since(&self, mark: Mark) -> Option<Changes> {
        changes_since(&mut write(self.0.as_ref()?), mark)
    }

    /// The same, or `None` if it would have to wait longer than [`AT_ONCE`].
    pub(super) fn refresh_since_at_once(&self, mark: Mark) -> Option<Changes> {
        let (lock, begun) = (self.0.as_ref()?, Instant::now());
        loop {
            match lock.try_write() {
                Ok(mut state) => return changes_since(&mut state, mark),
                Err(TryLockError::Poisoned(_)) => return None,
                Err(TryLockError::WouldBlock) if begun.elapsed() >= AT_ONCE => return None,
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }

    /// Notes that the names in the directory `path` are remembered as long as its answer stays the same. Whether that is
    /// news: then an answer had before tells nothing of them.
    pub(super) fn note_listed(&self, path: &[u8]) -> bool {
        let Some(lock) = self.0.as_ref().filter(|_| !self.is_listed(path)) else {
            return false;
        };
        write(lock).known.note_listed(path);
        true
    }

    /// Whether that was noted and is not forgotten.
    fn is_listed(&self, path: &[u8]) -> bool {
        self.read().is_some_and(|state| state.known.is_listed(path))
    }

    /// Whether that was noted before `mark` and is not forgotten.
    pub(super) fn is_listed_since(&self, path: &[u8], (epoch, losses): Mark) -> bool {
        self.read()
            .is_some_and(|state| state.epoch == epoch && state.known.is_listed_since(path, losses))
    }

    /// What a reading of the directory `path` that begins now can be followed from; `None` where it is not watched or not
    /// noted as listed.
    pub(super) fn footing(&self, path: &[u8]) -> Option<Footing> {
        let state = self.read()?;
        let watch = state
            .known
            .directory(path)
            .filter(|_| state.known.is_listed(path))?;
        Some(state.footing(watch))
    }

    /// Whether, as of the last [`Self::refresh`], the same directory is there and no name in it may be another.
    pub(super) fn is_unchanged(&self, path: &[u8], footing: Footing) -> bool {
        self.count_changed(path, footing) == Some(0)
    }

    /// How many names in it may be others by then; `None` as for [`Self::changed_names`].
    pub(super) fn count_changed(&self, path: &[u8], footing: Footing) -> Option<usize> {
        let state = self.read()?;
        Some(state.changed_names(path, footing)?.len())
    }

    /// The names in the directory `path` that may be others by now, and what to go on from; `None` if it may be another
    /// directory, or more than can be told has changed.
    pub(super) fn changed_names(&self, path: &[u8], footing: Footing) -> Option<(Footing, Vec<Vec<u8>>)> {
        let mut state = write(self.0.as_ref()?);
        state.take_news();
        let names = state.changed_names(path, footing)?;
        let names = names.into_iter().map(<[u8]>::to_vec).collect();
        Some((state.footing(footing.watch), names))
    }

    /// Asks `ask` of `path`, and keeps the answer if the path can be watched.
    pub(super) fn stat(
        &self,
        path: &[u8],
        ask: impl Fn() -> Result<Answer, TreeError>,
    ) -> Result<Answer, TreeError> {
        let Some(lock) = &self.0 else { return ask() };
        let Some((epoch, ticket)) = self.begin(path) else {
            return ask();
        };
        let covered = self.read().and_then(|state| state.known.directory(path));
        let mut answer = ask()?;
        let mut own = None;
        if let Some(watch) = covered
            && answer.is_some_and(|stat| stat.is_directory())
        {
            // It was watched before it was asked of.
            own = Some(watch);
        } else if let Some(stat) = answer {
            // A directory's times tell of its names, which only its own watch sees.
            own = if stat.is_directory() {
                self.vet(path).and_then(|vetted| write(lock).cover(path, &vetted))
            } else if stat.is_symlink() || is_watchable(path) {
                write(lock).cover_file(path)
            } else {
                // It is mounted there from elsewhere.
                None
            };
            if own.is_none() {
                return Ok(answer);
            }
            answer = ask()?;
        }
        let mut state = write(lock);
        if state.epoch == epoch {
            state.known.learn(ticket, own, path, answer);
        }
        Ok(answer)
    }

    /// Has the directory of `path` watched.
    fn begin(&self, path: &[u8]) -> Option<(u64, Ticket)> {
        // Whatever happens to the root directory, its own watch tells.
        let parent = if path == b"/" { path } else { parent_of(path)? };
        {
            let state = self.read()?;
            if let Some(ticket) = state.known.ticket(parent) {
                return Some((state.epoch, ticket));
            }
        }
        let vetted = self.vet(parent)?;
        let mut state = write(self.0.as_ref()?);
        state.cover(parent, &vetted)?;
        Some((state.epoch, state.known.ticket(parent)?))
    }

    /// What of `path` and the directories above it is not watched yet, if all of it can be. Asked without the lock: a
    /// file system that does not answer is nobody's trouble but of those who ask of its files.
    fn vet<'a>(&self, path: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let mut unwatched = Vec::new();
        let mut next = Some(path);
        while let Some(directory) = next
            && self.read()?.known.directory(directory).is_none()
        {
            if unwatched.len() >= DEPTH {
                return None;
            }
            unwatched.push(directory);
            next = parent_of(directory);
        }
        let is_whole = unwatched.iter().all(|directory| is_watchable(directory));
        is_whole.then_some(unwatched)
    }

    fn read(&self) -> Option<RwLockReadGuard<'_, State>> {
        Some(self.0.as_ref()?.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was taken back since `mark`; `None` if more than names that came or went.
fn changes_since(state: &mut State, (epoch, losses): Mark) -> Option<Changes> {
    state.take_news();
    let names = (state.epoch == epoch).then(|| state.known.names_lost_since(losses))??;
    Some(Changes {
        mark: (state.epoch, state.known.losses()),
        names,
    })
}

fn write(lock: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn footing(&self, watch: WatchId) -> Footing {
        Footing {
            mark: (self.epoch, self.known.losses()),
            watch,
        }
    }

    fn changed_names(&self, path: &[u8], footing: Footing) -> Option<BTreeSet<&[u8]>> {
        let (epoch, losses) = footing.mark;
        let is_same = self.epoch == epoch && self.known.directory(path) == Some(footing.watch);
        is_same.then(|| self.known.names_lost_in(path, losses)).flatten()
    }

    fn new(epoch: u64) -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let mounts = File::open("/proc/self/mountinfo").ok()?;
        Some(Self {
            known: Known::default(),
            inotify,
            mounts,
            allowed: watches_allowed(),
            epoch,
        })
    }

    fn take_news(&mut self) {
        let is_whole = self.take_events();
        let mut mounts = [PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI)];
        if !is_whole || poll(&mut mounts, PollTimeout::ZERO) != Ok(0) {
            self.restart();
        }
    }

    /// Whether these are all there were.
    fn take_events(&mut self) -> bool {
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => continue,
                Err(_) => return false,
            };
            for InotifyEvent { wd, mask, name, .. } in events {
                let watch = wd.as_raw();
                let event = match name {
                    _ if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => return false,
                    _ if mask.contains(AddWatchFlags::IN_IGNORED) => Event::Ended(watch),
                    Some(name) => Event::Name(watch, name.into_vec()),
                    None => Event::Itself(watch),
                };
                self.known.apply(&event);
            }
        }
    }

    /// Forgets everything and watches anew. Where that is refused, nothing is watched and the old word is not
    /// believed.
    fn restart(&mut self) {
        let epoch = self.epoch + 1;
        let known = self.known.renewed();
        match Self::new(epoch) {
            Some(state) => *self = Self { known, ..state },
            None => {
                self.known = known;
                self.allowed = 0;
                self.epoch = epoch;
            }
        }
    }

    /// Watches the directory `path` and those above it, as far as they are among the `vetted`.
    fn cover(&mut self, path: &[u8], vetted: &[&[u8]]) -> Option<WatchId> {
        if let Some(watch) = self.known.directory(path) {
            return Some(watch);
        }
        // It was watched a moment ago, and is another one by now.
        if !vetted.contains(&path) {
            return None;
        }
        if path != b"/" {
            self.cover(parent_of(path)?, vetted)?;
        }
        // Were the name given to another inode meanwhile, its parent's watch would tell.
        let watch = self.add(path, of_directory())?;
        self.known.cover(path, watch);
        Some(watch)
    }

    /// Watches the inode of a file or symlink whose directory is covered.
    fn cover_file(&mut self, path: &[u8]) -> Option<WatchId> {
        let watch = self.add(path, of_file())?;
        self.known.cover_file(path, watch);
        Some(watch)
    }

    fn add(&mut self, path: &[u8], flags: AddWatchFlags) -> Option<WatchId> {
        if self.known.watches() >= self.allowed {
            return None;
        }
        match self
            .inotify
            .add_watch(as_path(path), flags | AddWatchFlags::IN_DONT_FOLLOW)
        {
            Ok(watch) => Some(watch.as_raw()),
            Err(error) => {
                if error == Errno::ENOSPC {
                    self.allowed = self.known.watches();
                }
                None
            }
        }
    }
}

/// Whether every change on the file system that holds `path` passes through this kernel.
fn is_watchable(path: &[u8]) -> bool {
    let found = statfs(as_path(path));
    found.is_ok_and(|found| WATCHED_FILE_SYSTEMS.contains(&found.filesystem_type().0))
}

fn of_directory() -> AddWatchFlags {
    AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

fn of_file() -> AddWatchFlags {
    AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
}

fn parent_of(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|&byte| byte == b'/')? {
        0 if path.len() == 1 => None,
        0 => Some(b"/"),
        slash => path.get(..slash),
    }
}

/// How many watches of the user's this process may take.
fn watches_allowed() -> usize {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(USUAL_WATCHES)
        / SHARE_OF_WATCHES
}
