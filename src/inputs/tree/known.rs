//! PURE. Which stat tuples a watch still proves: what each of the kernel's events takes back.
//!
//! Never asks the kernel anything. Paths are physical. An event takes back too much rather than too little.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;

use super::StatTuple;

/// Paths remembered; beyond it everything is forgotten and learned again.
pub(super) const KNOWN_PATHS: usize = 400_000;

/// Directories whose every name counts; beyond it all are noted again.
pub(super) const KNOWN_LISTED: usize = 40_000;
/// Losses remembered one by one. A build at full width publishes some hundred files while one unit compiles, each with a
/// handful of events; to judge more than these would cost as much as to look at the files.
pub(super) const REMEMBERED_LOSSES: usize = 1024;

/// A watch as the kernel numbers it.
pub(super) type WatchId = i32;

/// What the kernel said of a path: nothing there, or this.
pub(super) type Answer = Option<StatTuple>;

/// One thing the kernel told of a watched inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A name in a watched directory came, went, was replaced, or its inode's attributes changed.
    Name(WatchId, Vec<u8>),
    /// A watched inode changed, was moved or deleted.
    Itself(WatchId),
    /// The kernel has given the watch up.
    Ended(WatchId),
}

/// The state of knowledge before a question was asked: an answer that was overtaken is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    clock: u64,
    forgets: u64,
    parent: WatchId,
}

/// A name that came, went or was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedName {
    /// The physical path of the directory.
    pub directory: Arc<[u8]>,
    /// The name in it.
    pub name: Box<[u8]>,
}

/// What was taken back.
#[derive(Debug, Clone)]
enum Loss {
    /// Nothing: it stands between what was counted before and after it.
    Nothing,
    /// What is known of a name.
    Name(ChangedName),
    /// More than that.
    More,
}

/// Of a directory whose names are remembered, by [`Known::losses`] then.
#[derive(Debug, Clone, Copy)]
struct Noted {
    /// Since when.
    since: u64,
    /// When a name in it was lost last.
    changed: u64,
}

#[derive(Debug)]
struct Watched {
    /// The names under which the inode is known; more than one for hard links and bind mounts.
    paths: Vec<Arc<[u8]>>,
    /// When it last changed.
    changed: u64,
}

/// What is proven.
#[derive(Debug, Default)]
pub(super) struct Known {
    answers: HashMap<Arc<[u8]>, Answer>,
    /// Directories all of whose names, and all of whose ancestors, are watched.
    directories: HashMap<Arc<[u8]>, WatchId>,
    watched: HashMap<WatchId, Watched>,
    /// Directories whose names are remembered elsewhere.
    listed: HashMap<Arc<[u8]>, Noted>,
    /// Counts events.
    clock: u64,
    /// Counts what was taken back that others may rely on.
    losses: u64,
    /// The last of these.
    lost: VecDeque<Loss>,
    /// What they were when more than one name was lost.
    lost_more: u64,
    /// Counts how often all below a directory was forgotten.
    forgets: u64,
    /// When, by `clock`, something happened to a file last.
    news: HashMap<Arc<[u8]>, u64>,
    /// What is said of those of which nothing is known: when more had to be forgotten.
    no_news: u64,
}

impl Known {
    /// Nothing, told apart from all before: what happened to a file meanwhile was told nobody.
    pub(super) fn renewed(&self) -> Self {
        let clock = self.clock + 1;
        Self {
            clock,
            no_news: clock,
            ..Self::default()
        }
    }

    /// A number that stays the same as long as nothing is told of the file at `path` itself.
    pub(super) fn news(&self, path: &[u8]) -> u64 {
        self.news.get(path).copied().unwrap_or(self.no_news)
    }

    fn note_news(&mut self, path: Arc<[u8]>) {
        if self.news.len() >= KNOWN_PATHS {
            self.news.clear();
            self.no_news = self.clock;
        }
        self.news.insert(path, self.clock);
    }

    /// What is proven of `path`.
    pub(super) fn answer(&self, path: &[u8]) -> Option<Answer> {
        self.answers.get(path).copied()
    }

    /// The same, and the path in the copy that whoever remembers something of it can share.
    pub(super) fn shared_answer(&self, path: &[u8]) -> Option<(&Arc<[u8]>, Answer)> {
        let (path, answer) = self.answers.get_key_value(path)?;
        Some((path, *answer))
    }

    /// As long as it stays the same, nothing that was proven has changed, but for the times of directories that were
    /// not told of as listed.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// The names whose loss is all that was lost since [`Self::losses`] was `losses`; `None` if it was more, or cannot
    /// be told any more.
    pub(super) fn names_lost_since(&self, losses: u64) -> Option<Vec<ChangedName>> {
        let count = usize::try_from(self.losses.checked_sub(losses)?).ok()?;
        let first = self.lost.len().checked_sub(count)?;
        let lost = self.lost.range(first..).filter_map(|loss| match loss {
            Loss::Nothing => None,
            Loss::Name(changed) => Some(Some(changed.clone())),
            Loss::More => Some(None),
        });
        lost.collect()
    }

    fn lose(&mut self, lost: Loss) {
        if self.lost.len() >= REMEMBERED_LOSSES {
            self.lost.pop_front();
        }
        self.losses += 1;
        if let Loss::Name(changed) = &lost
            && let Some(noted) = self.listed.get_mut(&changed.directory)
        {
            noted.changed = self.losses;
        }
        if let Loss::More = lost {
            self.lost_more = self.losses;
        }
        self.lost.push_back(lost);
    }

    /// How many inodes are watched.
    pub(super) fn watches(&self) -> usize {
        self.watched.len()
    }

    /// Whether a name that comes or goes in the directory `path` is a loss, whoever asked for it.
    pub(super) fn is_listed(&self, path: &[u8]) -> bool {
        self.listed.contains_key(path)
    }

    /// Whether it has been one ever since [`Self::losses`] was `losses`.
    pub(super) fn is_listed_since(&self, path: &[u8], losses: u64) -> bool {
        self.listed.get(path).is_some_and(|noted| noted.since <= losses)
    }

    /// Notes that somebody remembers the names in a directory. What was counted before tells nothing of them.
    pub(super) fn note_listed(&mut self, path: &[u8]) {
        if self.listed.contains_key(path) {
            return;
        }
        if self.listed.len() >= KNOWN_LISTED {
            // What happens in them is not counted from now on.
            self.listed.clear();
            self.lose(Loss::More);
        }
        self.lose(Loss::Nothing);
        let noted = Noted {
            since: self.losses,
            changed: self.losses,
        };
        self.listed.insert(path.into(), noted);
    }

    /// The names in a directory that may have come, gone or be other things since [`Self::losses`] was `losses`; `None`
    /// where that cannot be told.
    pub(super) fn names_lost_in(&self, directory: &[u8], losses: u64) -> Option<BTreeSet<&[u8]>> {
        let noted = self.listed.get(directory).filter(|noted| noted.since <= losses)?;
        if self.lost_more > losses {
            return None;
        }
        if noted.changed <= losses {
            return Some(BTreeSet::new());
        }
        let count = usize::try_from(self.losses.checked_sub(losses)?).ok()?;
        let first = self.lost.len().checked_sub(count)?;
        let names = self.lost.range(first..).filter_map(|loss| match loss {
            Loss::Name(changed) if *changed.directory == *directory => Some(&*changed.name),
            Loss::Name(_) | Loss::Nothing | Loss::More => None,
        });
        Some(names.collect())
    }

    /// The watch of a covered directory.
    pub(super) fn directory(&self, path: &[u8]) -> Option<WatchId> {
        self.directories.get(path).copied()
    }

    /// Notes that the directory `path` is watched. Its parent must be covered.
    pub(super) fn cover(&mut self, path: &[u8], watch: WatchId) {
        let path = self.note(path, watch);
        self.directories.insert(path, watch);
    }

    /// Notes that the file `path` is watched.
    pub(super) fn cover_file(&mut self, path: &[u8], watch: WatchId) {
        self.note(path, watch);
    }

    fn note(&mut self, path: &[u8], watch: WatchId) -> Arc<[u8]> {
        let clock = self.clock;
        let watched = self.watched.entry(watch).or_insert_with(|| Watched {
            paths: Vec::new(),
            changed: clock,
        });
        if let Some(known) = watched.paths.iter().find(|known| ***known == *path) {
            return Arc::clone(known);
        }
        let path = Arc::from(path);
        watched.paths.push(Arc::clone(&path));
        path
    }

    /// `path` as it is remembered of the inode watched as `own`.
    fn noted(&self, own: Option<WatchId>, path: &[u8]) -> Option<Arc<[u8]>> {
        let watched = self.watched.get(&own?)?;
        watched.paths.iter().find(|known| ***known == *path).cloned()
    }

    /// To be had before the kernel is asked of a name in a covered directory.
    pub(super) fn ticket(&self, directory: &[u8]) -> Option<Ticket> {
        Some(Ticket {
            clock: self.clock,
            forgets: self.forgets,
            parent: self.directory(directory)?,
        })
    }

    /// Keeps an answer of the kernel given after `ticket` was had and, where there is something, after its inode was
    /// watched as `own`. Says whether it was kept.
    pub(super) fn learn(
        &mut self,
        ticket: Ticket,
        own: Option<WatchId>,
        path: &[u8],
        answer: Answer,
    ) -> bool {
        let is_unchanged = |watch: WatchId| {
            self.watched
                .get(&watch)
                .is_some_and(|watched| watched.changed <= ticket.clock)
        };
        // A directory on the way may have been another one when the kernel was asked.
        if ticket.forgets != self.forgets || !is_unchanged(ticket.parent) || !own.is_none_or(is_unchanged) {
            return false;
        }
        if self.answers.len() >= KNOWN_PATHS {
            self.answers.clear();
            self.lose(Loss::More);
        }
        let path = self.noted(own, path).unwrap_or_else(|| path.into());
        self.answers.insert(path, answer);
        true
    }

    /// Takes back what is known of `path`.
    pub(super) fn disprove(&mut self, path: &[u8]) {
        if self.answers.remove(path).is_some() {
            self.lose(Loss::More);
        }
    }

    /// Takes back what `event` may have changed.
    pub(super) fn apply(&mut self, event: &Event) {
        self.clock += 1;
        match event {
            Event::Name(watch, name) => {
                for directory in self.touch(*watch) {
                    // The directory's own times have changed as well. Where it was moved away, its path tells of something
                    // else, and whoever relies on that is to know.
                    let is_there = self.directories.get(&*directory) == Some(watch);
                    if self.answers.remove(&*directory).is_some() && !is_there {
                        self.lose(Loss::More);
                    }
                    let path = super::join(&directory, name);
                    let was_known = self.answers.remove(&*path).is_some();
                    let was_directory = self.directories.contains_key(&*path);
                    if was_directory {
                        self.forget_below(&path);
                    }
                    if was_known || was_directory || self.listed.contains_key(&*directory) {
                        let name = name.as_slice().into();
                        self.lose(Loss::Name(ChangedName { directory, name }));
                    }
                }
            }
            Event::Itself(watch) => self.inode_changed(*watch),
            Event::Ended(watch) => {
                self.inode_changed(*watch);
                self.watched.remove(watch);
            }
        }
    }

    fn inode_changed(&mut self, watch: WatchId) {
        self.lose(Loss::More);
        for path in self.touch(watch) {
            self.answers.remove(&*path);
            if self.directories.contains_key(&*path) {
                self.forget_below(&path);
            } else {
                self.note_news(path);
            }
        }
    }

    /// Notes that a watched inode changed. Gives its names.
    fn touch(&mut self, watch: WatchId) -> Vec<Arc<[u8]>> {
        let clock = self.clock;
        self.watched.get_mut(&watch).map_or_else(Vec::new, |watched| {
            watched.changed = clock;
            watched.paths.clone()
        })
    }

    /// With the place or permissions of a directory, all that is reached through it may be another.
    fn forget_below(&mut self, directory: &[u8]) {
        self.forgets += 1;
        let stays = |path: &[u8]| {
            path != directory
                && !path
                    .strip_prefix(directory)
                    .is_some_and(|rest| directory == b"/" || rest.starts_with(b"/"))
        };
        self.answers.retain(|path, _| stays(path));
        self.directories.retain(|path, _| stays(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: WatchId = 1;
    const SRC: WatchId = 2;
    const FILE: WatchId = 3;

    fn stat(ino: u64, mode: u32) -> StatTuple {
        StatTuple {
            dev: 1,
            ino,
            size: 1,
            mtime_ns: 0,
            ctime_ns: 0,
            mode,
            nlink: 1,
            news: 0,
        }
    }

    /// `/src` with the file `a.h` and no `b.h`.
    fn known() -> Known {
        let mut known = Known::default();
        known.cover(b"/", ROOT);
        known.cover(b"/src", SRC);
        let ticket = known.ticket(b"/src").unwrap();
        known.cover_file(b"/src/a.h", FILE);
        assert!(known.learn(ticket, Some(FILE), b"/src/a.h", Some(stat(7, 0o100_644))));
        assert!(known.learn(ticket, None, b"/src/b.h", None));
        let ticket = known.ticket(b"/").unwrap();
        assert!(known.learn(ticket, None, b"/src", Some(stat(6, 0o040_755))));
        known
    }

    /// What is still known of `/src/a.h`, `/src/b.h` and `/src` after `event`.
    fn check(event: Event, expected: [bool; 3]) {
        let mut known = known();
        known.apply(&event);
        let paths: [&[u8]; 3] = [b"/src/a.h", b"/src/b.h", b"/src"];
        assert_eq!(
            paths.map(|path| known.answer(path).is_some()),
            expected,
            "{event:?}"
        );
    }

    #[test]
    fn an_event_takes_back_what_it_may_have_changed() {
        check(Event::Name(SRC, b"a.h".to_vec()), [false, true, false]);
        check(Event::Name(SRC, b"b.h".to_vec()), [true, false, false]);
        check(Event::Name(SRC, b"a.o".to_vec()), [true, true, false]);
        check(Event::Itself(FILE), [false, true, true]);
        check(Event::Ended(FILE), [false, true, true]);
        check(Event::Name(ROOT, b"tmp".to_vec()), [true, true, true]);
        check(Event::Name(99, b"a.h".to_vec()), [true, true, true]);
    }

    #[test]
    fn a_directory_on_the_way_takes_everything_below_it_along() {
        check(Event::Name(ROOT, b"src".to_vec()), [false; 3]);
        check(Event::Itself(SRC), [false; 3]);
        check(Event::Ended(SRC), [false; 3]);
        check(Event::Itself(ROOT), [false; 3]);
        let mut known = known();
        known.cover(b"/src2", 9);
        known.apply(&Event::Itself(9));
        assert!(
            known.answer(b"/src/a.h").is_some(),
            "a name that only begins alike"
        );
        known.apply(&Event::Itself(SRC));
        assert_eq!(known.ticket(b"/src"), None, "to be covered anew");
    }

    #[test]
    fn only_what_was_relied_on_counts_as_lost() {
        let loses = |event: Event| {
            let mut known = known();
            known.note_listed(b"/src");
            let before = known.losses();
            known.apply(&event);
            known.losses() != before
        };
        assert!(!loses(Event::Name(ROOT, b"tmp".to_vec())), "nobody asked of it");
        assert!(loses(Event::Name(ROOT, b"src".to_vec())));
        assert!(loses(Event::Name(SRC, b"b.h".to_vec())), "known to be absent");
        assert!(
            loses(Event::Name(SRC, b"new.o".to_vec())),
            "a listing has changed"
        );
        assert!(loses(Event::Itself(FILE)));
        assert!(loses(Event::Itself(ROOT)));
    }

    #[test]
    fn names_are_told_of_since_their_directory_was_noted() {
        let mut known = known();
        known.note_listed(b"/src");
        let before = known.losses();
        known.note_listed(b"/");
        assert_eq!(
            known.names_lost_since(before),
            Some(Vec::new()),
            "nothing was lost"
        );
        assert!(known.is_listed_since(b"/src", before));
        assert!(!known.is_listed_since(b"/", before), "nobody counted then");
        assert!(known.is_listed_since(b"/", known.losses()));
        for number in 0..KNOWN_LISTED {
            known.note_listed(format!("/{number}").as_bytes());
        }
        known.apply(&Event::Name(SRC, b"unnoticed.h".to_vec()));
        known.note_listed(b"/src");
        assert_eq!(known.names_lost_since(before), None, "it was forgotten meanwhile");
    }

    #[test]
    fn a_listed_directory_is_followed_by_its_own_names() {
        let since = |events: &[Event]| {
            let mut known = known();
            known.note_listed(b"/src");
            known.note_listed(b"/");
            let before = known.losses();
            events.iter().for_each(|event| known.apply(event));
            let names = known.names_lost_in(b"/src", before)?;
            Some(names.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let name = |watch: WatchId, name: &str| Event::Name(watch, name.into());
        assert_eq!(since(&[]), Some(Vec::new()));
        assert_eq!(since(&[name(ROOT, "tmp")]), Some(Vec::new()));
        let told = [name(SRC, "b"), name(ROOT, "tmp"), name(SRC, "a"), name(SRC, "b")];
        assert_eq!(since(&told), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(since(&[Event::Itself(FILE)]), None);
        assert_eq!(since(&[name(SRC, "a"), Event::Ended(SRC)]), None);
        assert_eq!(since(&vec![name(SRC, "a"); REMEMBERED_LOSSES + 1]), None);
        let mut elsewhere = vec![name(ROOT, "tmp"); REMEMBERED_LOSSES + 1];
        assert_eq!(since(&elsewhere), Some(Vec::new()), "a quiet one needs no record");
        elsewhere.push(name(SRC, "a"));
        assert_eq!(since(&elsewhere), None);
        let mut known = known();
        known.note_listed(b"/");
        assert_eq!(known.names_lost_in(b"/src", known.losses()), None, "not listed");
        let before = known.losses();
        known.note_listed(b"/src");
        assert_eq!(known.names_lost_in(b"/src", before), None, "nobody counted then");
    }

    #[test]
    fn what_happens_in_a_directory_moved_away_tells_nothing_of_its_old_place() {
        let mut known = known();
        known.apply(&Event::Name(ROOT, b"src".to_vec()));
        let ticket = known.ticket(b"/").unwrap();
        assert!(known.learn(ticket, None, b"/src", None));
        let before = known.losses();
        known.apply(&Event::Name(SRC, b"a.h".to_vec()));
        known.apply(&Event::Name(ROOT, b"src".to_vec()));
        assert_ne!(
            known.losses(),
            before,
            "something was found absent that may be there now"
        );
    }

    #[test]
    fn an_answer_overtaken_by_an_event_is_not_kept() {
        let overtaken = |event: Event| {
            let mut known = known();
            let ticket = known.ticket(b"/src").unwrap();
            known.apply(&event);
            known.learn(ticket, Some(FILE), b"/src/a.h", None)
        };
        assert!(!overtaken(Event::Name(SRC, b"c.h".to_vec())));
        assert!(!overtaken(Event::Itself(FILE)));
        assert!(!overtaken(Event::Ended(FILE)));
        assert!(overtaken(Event::Name(ROOT, b"c.h".to_vec())));
        assert!(
            !overtaken(Event::Name(ROOT, b"src".to_vec())),
            "a directory on the way"
        );
        assert!(known().ticket(b"/other").is_none());
    }

    #[test]
    fn what_was_found_otherwise_is_asked_anew() {
        let mut known = known();
        let before = known.losses();
        known.disprove(b"/src/other.h");
        assert_eq!(known.losses(), before);
        known.disprove(b"/src/a.h");
        assert_eq!(known.answer(b"/src/a.h"), None);
        assert!(known.answer(b"/src/b.h").is_some());
        assert_eq!(known.names_lost_since(before), None);
    }

    #[test]
    fn an_inode_of_two_names_changes_under_both() {
        let mut known = known();
        let ticket = known.ticket(b"/src").unwrap();
        known.cover_file(b"/src/c.h", FILE);
        assert!(known.learn(ticket, Some(FILE), b"/src/c.h", Some(stat(7, 0o100_644))));
        let news = |known: &Known| [&b"/src/a.h"[..], b"/src/c.h"].map(|path| known.news(path));
        let before = news(&known);
        known.apply(&Event::Itself(FILE));
        assert_eq!(known.answer(b"/src/a.h"), None);
        assert_eq!(known.answer(b"/src/c.h"), None);
        let after = news(&known);
        assert!(before[0] != after[0] && before[1] != after[1] && after[0] == after[1]);
        let known = known.renewed();
        let renewed = news(&known);
        let earlier = [before, after].concat();
        assert!(
            renewed.iter().all(|renewed| !earlier.contains(renewed)),
            "stores may have been missed"
        );
        assert_eq!(known.answer(b"/src/b.h"), None);
    }
}
