//! What is known of the client's files: digests, references and directory listings, each believed only as
//! long as the kernel's word for its file is unchanged.
//!
//! Blocking, shared by any number of discoveries. Keeps no contents but the last few texts, resolves no names, follows
//! no symlinks: every path given is physical, so its last component is looked at itself.

mod content;
mod known;
mod listing;
mod recent;
#[cfg(test)]
mod silent_tests;
mod stat;
#[cfg(test)]
mod tests;
mod turn;
mod watch;
#[cfg(test)]
mod watch_tests;

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use foldhash::{HashMap, HashSet};

pub(crate) use listing::precompiled_header_of;
pub use listing::{EntryKind, Listing};
use stat::FileSystem;
pub use stat::StatTuple;

use super::closure::{Item, Object};
use super::scan::{Alias, Definition, Mentions, References};
use crate::host::clock;
use crate::host::files::{FileError, PathContext};
pub use known::ChangedName;
use recent::Recent;
use turn::Turns;
pub use watch::{Changes, Mark};
use watch::{Footing, Watch};

/// BLAKE3 of a file's bytes.
pub type ContentDigest = [u8; 32];

/// A text, and a macro it may mention or define.
type Mentioning = (ContentDigest, Box<[u8]>);

/// Where a symlink leads, and what the kernel said of it both before and after that was read.
type Target = (StatTuple, Vec<u8>);

/// A path, in the copy that whoever remembers something of it can share, and what the kernel says of what is there.
pub(super) type Seen = (Arc<[u8]>, StatTuple);

/// Files whose digest is remembered; beyond it everything is forgotten and learned again.
pub const REMEMBERED_FILES: usize = 400_000;
/// Symlinks whose target is remembered, likewise.
pub const REMEMBERED_LINKS: usize = 20_000;
/// Directories whose listing is remembered, likewise.
pub const REMEMBERED_LISTINGS: usize = 20_000;
/// Aliases of `__has_include` by which files are read as soon as they are scanned, the last that were met. C libraries
/// have one each.
const REMEMBERED_ALIASES: usize = 4;
/// Names a directory that lookups touch may hold.
pub const LISTING_NAMES: usize = 50_000;
/// Names looked at one by one to know a directory that changed: as many as cost less than to read it.
pub(super) const FOLLOWED_NAMES: usize = 64;
/// Names of a directory that changed which are gone through on a thread that others wait for.
const NAMES_AT_ONCE: usize = 2048;
/// How often a file that changes while it is read is read again.
pub const READ_ATTEMPTS: usize = 4;

/// Bytes of a file that is held in memory to be scanned or sent; all files of a closure have no more.
pub const FILE_BYTES: u64 = 1 << 30;

/// Why the client's files could not be known.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The kernel refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no regular file, or its size is not what reading it gives (`/proc`).
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The file or directory changed each time it was read.
    #[error("{} changes while it is read", path.display())]
    Raced {
        /// The file or directory.
        path: PathBuf,
    },
    /// A directory that lookups touch holds more than [`LISTING_NAMES`] names.
    #[error("{} holds more than {limit} names", path.display(), limit = LISTING_NAMES)]
    DirectoryTooLarge {
        /// The directory.
        path: PathBuf,
    },
    /// A file to be scanned or sent has more than [`FILE_BYTES`].
    #[error("{} has more than {limit} bytes", path.display(), limit = FILE_BYTES)]
    FileTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A directory ignores case, so a name absent from its listing may still be found.
    #[error("{} ignores the case of names", path.display())]
    IgnoresCase {
        /// The directory.
        path: PathBuf,
    },
}

/// One reading of a file.
#[derive(Debug, Clone)]
pub struct Content {
    /// What the kernel said of the file both before and after the bytes were read.
    pub stat: StatTuple,
    /// Of the bytes read.
    pub digest: ContentDigest,
    /// Whether an equal [`StatTuple`] proves equal bytes: false within a clock granule of the last change.
    pub settled: bool,
    /// Known if they were scanned.
    scanned: Option<Scanned>,
}

/// A file that was scanned.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The file as closures hold it.
    pub item: Arc<Item>,
    /// Of its bytes.
    pub digest: ContentDigest,
    /// What they refer to.
    pub references: Arc<References>,
}

impl Content {
    /// The file as closures hold it, which may have been scanned.
    pub(super) fn object(&self, scanned: bool) -> Object {
        Object::File {
            stat: self.stat,
            digest: self.digest,
            executable: self.stat.is_executable(),
            settled: self.settled,
            scanned,
        }
    }
}

/// One reading of a directory.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What the kernel said of the directory both before and after it was read.
    pub stat: StatTuple,
    /// Whether an equal [`StatTuple`] proves equal names.
    pub settled: bool,
    /// Its names.
    pub listing: Arc<Listing>,
}

/// A directory as it was read last, or followed.
#[derive(Debug, Clone)]
struct Remembered {
    listed: Listed,
    /// From when on its watch tells what became of its names; `None` where it has none.
    footing: Option<Footing>,
}

/// The memory of one client's files.
#[derive(Debug, Default)]
pub struct Tree {
    contents: RwLock<HashMap<Arc<[u8]>, Content>>,
    /// Scans by what was scanned. Not kept on the disk: a scan passes 640 MB in a second (`cargo bench --bench inputs
    /// -- scan`), so an agent that starts again spends 8 ms on all headers of a large C++ unit, once.
    references: RwLock<HashMap<ContentDigest, Arc<References>>>,
    listings: RwLock<HashMap<Vec<u8>, Remembered>>,
    /// Targets by link.
    links: RwLock<HashMap<Vec<u8>, Target>>,
    /// By epoch of the watches and number: a file system that is mounted may get the number of one that was.
    file_systems: RwLock<HashMap<(u64, u64), FileSystem>>,
    watch: Watch,
    items: RwLock<HashMap<Arc<[u8]>, Arc<Item>>>,
    mentions: RwLock<HashMap<Mentioning, Arc<Mentions>>>,
    /// Those of most files.
    no_mentions: Arc<Mentions>,
    definitions: RwLock<HashMap<Mentioning, Arc<[Definition]>>>,
    directories: RwLock<HashSet<Arc<[u8]>>>,
    /// Macros that were met standing for `__has_include`.
    aliases: RwLock<Vec<Arc<Alias>>>,
    recent: Recent,
    /// Who asks the kernel of a path.
    looks: Turns,
    /// Who reads a file.
    reads: Turns,
}

impl Tree {
    /// A memory of nothing that asks the kernel each time.
    pub fn new() -> Self {
        Self::default()
    }

    /// A memory of nothing that will not ask again what the kernel's watches prove to be unchanged. What it says is
    /// as of the last [`Self::refresh`] or later.
    pub fn watching() -> Self {
        Self {
            watch: Watch::new(),
            ..Self::default()
        }
    }

    /// Takes notice of all that changed until now. Two equal marks, neither `None`: nothing changed in between of
    /// what was known at the first.
    pub fn refresh(&self) -> Option<Mark> {
        self.watch.refresh()
    }

    /// Takes notice of all that changed until now, and says what of it came after `mark`. `None` if that is more than
    /// names that came, went or were replaced, or cannot be told.
    pub fn changes_since(&self, mark: Mark) -> Option<Changes> {
        self.watch.refresh_since(mark)
    }

    /// The same, for a thread that others wait for: also `None` while watches are being set, which a file system may
    /// take its time over.
    pub fn changes_since_at_once(&self, mark: Mark) -> Option<Changes> {
        self.watch.refresh_since_at_once(mark)
    }

    /// What the kernel says of `path` itself; `None` if there is no such name.
    pub fn stat(&self, path: &[u8]) -> Result<Option<StatTuple>, TreeError> {
        if let Some(answer) = self.watched(path) {
            return answer;
        }
        let turn = self.looks.take(path);
        if turn.waited
            && let Some(answer) = self.watched(path)
        {
            return answer;
        }
        self.watch.stat(path, || self.ask(path))
    }

    /// The same, and the path as its watch remembers it, if it has one.
    pub(super) fn look(&self, path: &[u8]) -> Result<Option<Seen>, TreeError> {
        let (known, answer) = match self.watch.shared_answer(path) {
            Some((known, answer)) => (Some(known), self.believed(path, answer)?),
            None => {
                let answer = self.stat(path)?;
                let known = answer.and_then(|_| self.watch.shared_answer(path));
                (known.map(|(known, _)| known), answer)
            }
        };
        Ok(answer.map(|stat| (known.unwrap_or_else(|| path.into()), stat)))
    }

    /// What is said of a path that is watched; the kernel is asked all the same of what somebody may have mapped.
    fn watched(&self, path: &[u8]) -> Option<Result<Option<StatTuple>, TreeError>> {
        let answer = self.watch.answer(path)?;
        Some(self.believed(path, answer))
    }

    fn believed(&self, path: &[u8], answer: Option<StatTuple>) -> Result<Option<StatTuple>, TreeError> {
        if is_present_file(answer) && may_be_mapped(path) {
            self.ask(path)
        } else {
            Ok(answer)
        }
    }

    /// What watches prove of `path` as of the last [`Self::refresh`], without a look at it; `None` if nothing.
    /// What somebody may have mapped for writing may have changed all the same.
    pub fn proven(&self, path: &[u8]) -> Option<Option<StatTuple>> {
        self.watch.answer(path)
    }

    fn ask(&self, path: &[u8]) -> Result<Option<StatTuple>, TreeError> {
        let (epoch, news) = (self.watch.epoch(), self.news(path));
        match std::fs::symlink_metadata(as_path(path)) {
            Ok(metadata) => {
                let mut stat = StatTuple::from(&metadata);
                let file_system = self.file_system(path, &stat, epoch);
                if stat.is_file() && stat::is_remote(file_system.granule) {
                    // NFS may answer from attributes a minute old; a compiler's open asks its server (nfs(5),
                    // "Close-to-open cache consistency").
                    stat = content::stat_of_opened(path).unwrap_or(stat);
                }
                let news = if stat.is_file() { news } else { 0 };
                let stat = mounted(stat, file_system, epoch);
                Ok(Some(StatTuple { news, ..stat }))
            }
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error)
                .context("examine", as_path(path))
                .map_err(TreeError::from),
        }
    }

    /// To be had before the kernel is asked of a file: what it says may be older than that.
    fn news(&self, path: &[u8]) -> u64 {
        if may_be_mapped(path) {
            self.watch.news(path)
        } else {
            0
        }
    }

    /// The literal target of the symlink at `path`, whose stat tuple is `now`.
    pub fn link_target(&self, path: &[u8], now: &StatTuple) -> Result<Vec<u8>, TreeError> {
        if let Some((_, target)) = known(&self.links, path).filter(|(stat, _)| stat == now) {
            return Ok(target);
        }
        let (read_at, epoch) = (clock::unix_nanos(), self.watch.epoch());
        let target = std::fs::read_link(as_path(path)).context("read link", as_path(path))?;
        let target = target.into_os_string().into_vec();
        // No program can change the target of a link that is there.
        let granule = self.file_system(path, now, epoch).granule;
        if now.is_settled(read_at, granule) && self.ask(path)? == Some(*now) {
            insert_bounded(
                &self.links,
                path.to_vec(),
                (*now, target.clone()),
                REMEMBERED_LINKS,
            );
        }
        Ok(target)
    }

    fn known_content(&self, path: &[u8], now: &StatTuple) -> Option<Content> {
        known(&self.contents, path).filter(|known| known.settled && known.stat == *now)
    }

    fn known_scan(&self, path: &[u8], now: &StatTuple) -> Option<Scanned> {
        let contents = reading(&self.contents);
        let known = contents
            .get(path)
            .filter(|known| known.settled && known.stat == *now)?;
        known.scanned.clone()
    }

    /// The digest of the regular file at `path`, whose stat tuple is `now`.
    pub fn content(&self, path: &Arc<[u8]>, now: &StatTuple) -> Result<Content, TreeError> {
        if let Some(known) = self.known_content(path, now) {
            return Ok(known);
        }
        let turn = self.reads.take(path);
        if turn.waited
            && let Some(known) = self.known_content(path, now)
        {
            return Ok(known);
        }
        let (content, _) = self.read(path, content::Purpose::Digest)?;
        self.remember(path, content.clone());
        Ok(content)
    }

    /// The same, and what its bytes refer to.
    pub fn scanned(&self, path: &Arc<[u8]>, now: &StatTuple) -> Result<Scanned, TreeError> {
        let known = || self.known_scan(path, now);
        if let Some(known) = known() {
            return Ok(known);
        }
        let turn = self.reads.take(path);
        if turn.waited
            && let Some(known) = known()
        {
            return Ok(known);
        }
        let (content, bytes) = self.read(path, content::Purpose::Scan)?;
        let references = self.references(&content.digest, &bytes);
        self.note_mentions(&content.digest, &bytes, &references.probe_aliases);
        self.recent.keep(&content.digest, bytes);
        let scanned = Scanned {
            item: self.share(Arc::clone(path), content.object(true)),
            digest: content.digest,
            references,
        };
        self.remember(
            path,
            Content {
                scanned: Some(scanned.clone()),
                ..content
            },
        );
        Ok(scanned)
    }

    /// The bytes of `digest`, which were at `path`, for an upload: those read a moment ago, or those that are there if
    /// they still are the same.
    pub fn read_verified(&self, path: &[u8], digest: &ContentDigest) -> Option<Arc<Vec<u8>>> {
        if let Some(recent) = self.recent(digest) {
            return Some(recent);
        }
        let (content, bytes) = self.read(path, content::Purpose::Scan).ok()?;
        (content.digest == *digest).then(|| Arc::new(bytes))
    }

    /// The text of `digest`, if it was read a moment ago. Looks at no file.
    pub fn recent(&self, digest: &ContentDigest) -> Option<Arc<Vec<u8>>> {
        self.recent.get(digest)
    }

    /// The names in the directory at `path`.
    pub fn listing(&self, path: &[u8]) -> Result<Listed, TreeError> {
        if let Some(known) = self.followed(path) {
            if !self.is_proven(path) {
                // Nothing hangs on its times, but whoever proves its names does so by what is known of it.
                self.stat(path)?;
            }
            return Ok(known);
        }
        let mut now = self.stat(path)?;
        if now.is_some_and(|now| now.is_directory()) && self.watch.note_listed(path) {
            now = self.stat(path)?;
        }
        let settled = || {
            let Remembered { listed, .. } = known(&self.listings, path)?;
            (listed.settled && Some(listed.stat) == now).then_some(listed)
        };
        if let Some(known) = settled() {
            return Ok(known);
        }
        let turn = self.reads.take(path);
        if turn.waited
            && let Some(known) = self.followed(path).or_else(settled)
        {
            return Ok(known);
        }
        let before = known(&self.listings, path);
        let followed = before
            .as_ref()
            .zip(now)
            .and_then(|(before, now)| self.follow(path, before, now));
        let remembered = match followed {
            Some(followed) => followed,
            None => self.read_names(path, before)?,
        };
        let listed = remembered.listed.clone();
        insert_bounded(&self.listings, path.to_vec(), remembered, REMEMBERED_LISTINGS);
        Ok(listed)
    }

    /// The same, or `None` where there are more than `limit` names.
    pub fn listing_of_few(&self, path: &[u8], limit: usize) -> Result<Option<Listed>, TreeError> {
        let remembered = known(&self.listings, path);
        let has_more = remembered.is_some_and(|Remembered { listed, footing }| {
            // Had all that changed gone, there would be more still.
            let changed = footing.and_then(|footing| self.watch.count_changed(path, footing));
            changed.is_some_and(|changed| listed.listing.names.len() > limit + changed)
        });
        if has_more {
            return Ok(None);
        }
        let listed = self.listing(path)?;
        Ok((listed.listing.names.len() <= limit).then_some(listed))
    }

    /// [`Self::listing`], for a thread that others wait for: `None` but for a directory whose watch tells what became
    /// of its names, if these are few, and those that came, went or were replaced are no more than `left`, which they
    /// are taken from.
    pub fn listing_at_once(&self, path: &[u8], left: &Cell<usize>) -> Option<Listed> {
        let Remembered { listed, footing } = known(&self.listings, path)?;
        let changed = self.watch.count_changed(path, footing?)?;
        if changed > 0 && listed.listing.names.len() > NAMES_AT_ONCE {
            return None;
        }
        left.set(left.get().checked_sub(changed)?);
        self.listing(path).ok()
    }

    /// The names remembered of a directory in which, by its watch, nothing came, went or was replaced since.
    fn followed(&self, path: &[u8]) -> Option<Listed> {
        let Remembered { listed, footing } = known(&self.listings, path)?;
        self.watch.is_unchanged(path, footing?).then_some(listed)
    }

    /// The names in a directory, made of those `before` and a look at each that its watch has told of since. `now` is what
    /// the kernel said before that.
    fn follow(&self, path: &[u8], before: &Remembered, now: StatTuple) -> Option<Remembered> {
        let (footing, names) = self.watch.changed_names(path, before.footing?)?;
        if names.len() > FOLLOWED_NAMES {
            return None;
        }
        let known = &before.listed.listing;
        let mut changed = Vec::new();
        for name in names {
            let kind = self.ask(&join(path, &name)).ok()?.as_ref().map(EntryKind::from);
            if known.names.get(name.as_slice()).copied() != kind {
                changed.push((name, kind));
            }
        }
        let listing = if changed.is_empty() {
            Arc::clone(known)
        } else {
            Arc::new(known.with(&changed)?)
        };
        let listed = Listed {
            stat: now,
            // What is being done in the directory at this moment may show in its times before its watch tells.
            settled: false,
            listing,
        };
        Some(Remembered {
            listed,
            footing: Some(footing),
        })
    }

    /// Reads the names in a directory. A file replaced by renaming another over it leaves them as they were `before`; who
    /// knew them need not look again.
    fn read_names(&self, path: &[u8], before: Option<Remembered>) -> Result<Remembered, TreeError> {
        let footing = self.watch.footing(path);
        let epoch = self.watch.epoch();
        let (stat, listing, read_at) = listing::read(path)?;
        let file_system = self.file_system(path, &stat, epoch);
        let settled = stat.is_settled(read_at, file_system.granule);
        let before = before.map(|before| before.listed.listing);
        let listing = match before.filter(|before| **before == listing) {
            Some(before) => before,
            None => Arc::new(listing),
        };
        let listed = Listed {
            stat: mounted(stat, file_system, epoch),
            settled,
            listing,
        };
        Ok(Remembered { listed, footing })
    }

    /// What is known to be at `path`, in the one copy all closures share.
    pub(super) fn share(&self, path: Arc<[u8]>, object: Object) -> Arc<Item> {
        if let Some(item) = known(&self.items, &*path)
            && item.object == object
        {
            return item;
        }
        let item = Arc::new(Item { path, object });
        let path = Arc::clone(&item.path);
        insert_bounded(&self.items, path, Arc::clone(&item), REMEMBERED_FILES);
        item
    }

    /// The path of a directory, in the one copy all closures share.
    pub(super) fn share_directory(&self, path: Arc<[u8]>) -> Arc<[u8]> {
        let mut directories = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = directories.get(&path) {
            return Arc::clone(shared);
        }
        if directories.len() >= REMEMBERED_LISTINGS {
            directories.clear();
        }
        directories.insert(Arc::clone(&path));
        path
    }

    /// What the file at `path`, whose bytes had `digest`, asks for through the macro `alias`; if `whole`, with all its
    /// words.
    pub(super) fn mentions(
        &self,
        path: &[u8],
        digest: &ContentDigest,
        alias: &Alias,
        whole: bool,
    ) -> Result<Arc<Mentions>, TreeError> {
        let key = (*digest, Box::from(alias.name()));
        if let Some(mentions) = known(&self.mentions, &key).filter(|known| known.is_whole || !whole) {
            return Ok(mentions);
        }
        let bytes = self.read_verified(path, digest).ok_or_else(|| TreeError::Raced {
            path: as_path(path).to_owned(),
        })?;
        let mentions = self.mentions_in(&bytes, alias, whole);
        insert_bounded(&self.mentions, key, Arc::clone(&mentions), REMEMBERED_FILES);
        Ok(mentions)
    }

    fn mentions_in(&self, bytes: &[u8], alias: &Alias, whole: bool) -> Arc<Mentions> {
        if whole || alias.may_matter(bytes) {
            Arc::new(alias.mentions(bytes))
        } else {
            Arc::clone(&self.no_mentions)
        }
    }

    /// The macro `name`, made ready to be looked for; files that are scanned from now on are read for it too, until
    /// [`REMEMBERED_ALIASES`] others were met.
    pub(super) fn alias(&self, name: &[u8]) -> Arc<Alias> {
        let find = |aliases: &[Arc<Alias>]| aliases.iter().find(|alias| alias.name() == name).map(Arc::clone);
        if let Some(alias) = find(&reading(&self.aliases)) {
            return alias;
        }
        let mut aliases = self.aliases.write().unwrap_or_else(PoisonError::into_inner);
        find(&aliases).unwrap_or_else(|| {
            let excess = (aliases.len() + 1).saturating_sub(REMEMBERED_ALIASES);
            aliases.drain(..excess);
            let alias = Arc::new(Alias::new(name));
            aliases.push(Arc::clone(&alias));
            alias
        })
    }

    /// Answers what [`Self::mentions`] will be asked of a file while its bytes are at hand: whoever meets an alias asks
    /// it of every file of its closure.
    fn note_mentions(&self, digest: &ContentDigest, bytes: &[u8], found: &[Vec<u8>]) {
        for name in found {
            self.alias(name);
        }
        let aliases = reading(&self.aliases).clone();
        for alias in aliases {
            let key = (*digest, Box::from(alias.name()));
            // It may be known better.
            if known(&self.mentions, &key).is_some() {
                continue;
            }
            let mentions = self.mentions_in(bytes, &alias, false);
            insert_bounded(&self.mentions, key, mentions, REMEMBERED_FILES);
        }
    }

    /// What the file at `path`, whose bytes had `digest`, makes of the macro `name`.
    pub(super) fn definitions(
        &self,
        path: &[u8],
        digest: &ContentDigest,
        name: &[u8],
    ) -> Result<Arc<[Definition]>, TreeError> {
        let key = (*digest, Box::from(name));
        if let Some(definitions) = known(&self.definitions, &key) {
            return Ok(definitions);
        }
        let bytes = self.read_verified(path, digest).ok_or_else(|| TreeError::Raced {
            path: as_path(path).to_owned(),
        })?;
        let definitions: Arc<[Definition]> = super::scan::definitions(&bytes, name).into();
        insert_bounded(&self.definitions, key, Arc::clone(&definitions), REMEMBERED_FILES);
        Ok(definitions)
    }

    /// What a file of `digest` refers to, if one was scanned.
    pub(super) fn references_of(&self, digest: &ContentDigest) -> Option<Arc<References>> {
        known(&self.references, digest)
    }

    /// Whether what is said of `path` is proven by watches, but for what [`may_be_mapped`].
    pub(super) fn is_proven(&self, path: &[u8]) -> bool {
        self.watch.answer(path).is_some()
    }

    /// Whether the directory that had `stat` stands and is watched. Its times change with every name in it, and are then
    /// asked for anew.
    pub(super) fn is_directory_proven(&self, path: &[u8], stat: &StatTuple) -> bool {
        matches!(self.stat(path), Ok(Some(now)) if now.is_same_inode(stat)) && self.is_proven(path)
    }

    /// [`Self::is_proven`] for the names in a directory that was listed, if all that changes in it has been told of
    /// since `mark`.
    pub(super) fn is_listing_proven(&self, path: &[u8], mark: Mark) -> bool {
        self.watch.is_listed_since(path, mark) && self.is_proven(path)
    }

    fn read(&self, path: &[u8], purpose: content::Purpose) -> Result<(Content, Vec<u8>), TreeError> {
        let (epoch, news) = (self.watch.epoch(), self.news(path));
        let reading = content::read(path, purpose)?;
        let file_system = self.file_system(path, &reading.stat, epoch);
        let settled = reading.stat.is_settled(reading.read_at, file_system.granule);
        let content = Content {
            stat: StatTuple {
                news,
                ..mounted(reading.stat, file_system, epoch)
            },
            digest: reading.digest,
            settled,
            scanned: None,
        };
        self.watch.compare(path, content.stat);
        Ok((content, reading.bytes))
    }

    fn references(&self, digest: &ContentDigest, bytes: &[u8]) -> Arc<References> {
        if let Some(references) = known(&self.references, digest) {
            return references;
        }
        let references = Arc::new(super::scan::scan(bytes));
        insert_bounded(
            &self.references,
            *digest,
            Arc::clone(&references),
            REMEMBERED_FILES,
        );
        references
    }

    fn remember(&self, path: &Arc<[u8]>, content: Content) {
        insert_bounded(&self.contents, Arc::clone(path), content, REMEMBERED_FILES);
    }

    /// The file system that holds `path` itself, of which `stat` was said in `epoch`.
    fn file_system(&self, path: &[u8], stat: &StatTuple, epoch: u64) -> FileSystem {
        let key = (epoch, stat.dev);
        if let Some(known) = known(&self.file_systems, &key) {
            return known;
        }
        let path = as_path(path);
        // statfs(2) follows a symlink.
        let holder = path.parent().filter(|_| stat.is_symlink()).unwrap_or(path);
        let Some(found) = FileSystem::of(holder) else {
            return FileSystem::unknown();
        };
        insert_bounded(&self.file_systems, key, found, REMEMBERED_LISTINGS);
        found
    }
}

/// What was said of a file of `file_system` in `epoch`.
fn mounted(stat: StatTuple, file_system: FileSystem, epoch: u64) -> StatTuple {
    StatTuple {
        dev: file_system.as_mounted(stat.dev, epoch),
        ..stat
    }
}

/// Where packages are installed: by replacing files, never through a shared mapping.
const INSTALLED: [&[u8]; 9] = [
    b"/bin/",
    b"/etc/",
    b"/gnu/store/",
    b"/lib/",
    b"/lib32/",
    b"/lib64/",
    b"/nix/store/",
    b"/opt/",
    b"/usr/",
];
/// Below those, where people build.
const BUILT: [&[u8]; 2] = [b"/usr/local/", b"/usr/src/"];

/// Whether a file's bytes may change without a word to its watch: stores through a shared mapping are told of when the
/// mapping ends (inotify(7), "Limitations and caveats"). Its times change with the first of them.
pub(super) fn may_be_mapped(path: &[u8]) -> bool {
    let is_below = |directories: &[&[u8]]| directories.iter().any(|directory| path.starts_with(directory));
    !is_below(&INSTALLED) || is_below(&BUILT)
}

fn is_present_file(answer: Option<StatTuple>) -> bool {
    answer.is_some_and(|stat| stat.is_file())
}

/// The path of `name` in `directory`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    join_to(&mut path, directory, name);
    path
}

/// Appends it to what is in `path`.
pub(crate) fn join_to(path: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    path.extend_from_slice(directory);
    if directory != b"/" {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

pub(crate) fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// Errors that mean "no such file" to a compiler as well. A name too long for the file system exists nowhere.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn known<K, Q, V>(map: &RwLock<HashMap<K, V>>, key: &Q) -> Option<V>
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
    V: Clone,
{
    // A map is whole between calls, so what a panicked thread left is as good as any.
    map.read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(key)
        .cloned()
}

fn insert_bounded<K: std::hash::Hash + Eq, V>(map: &RwLock<HashMap<K, V>>, key: K, value: V, limit: usize) {
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= limit {
        map.clear();
    }
    map.insert(key, value);
}
