//! A trouble remembered for a while, so that a build pays for it once: an empty file, as old as the trouble.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The file, and how long the trouble counts.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    remembered: Duration,
}

impl Mark {
    /// The mark at `path`; nothing is read or written yet.
    pub const fn new(path: PathBuf, remembered: Duration) -> Self {
        Self { path, remembered }
    }

    /// Whether the trouble happened lately.
    pub fn counts(&self) -> bool {
        self.age()
            .is_some_and(|age| age.is_some_and(|age| age < self.remembered))
    }

    /// The same, for a trouble that is dear to meet: of those who come when it does not count any more only the
    /// first is told so, and should [`Mark::clear`] it if it is over; the others believe it on.
    pub fn counts_or_renews(&self) -> bool {
        let counts = self.counts();
        if !counts && self.age().is_some() {
            self.set();
        }
        counts
    }

    /// Whether a mark is there, however old.
    pub fn is_there(&self) -> bool {
        self.age().is_some()
    }

    /// How long ago the trouble was, if there is a mark; one from the future (a clock set back) has no age.
    fn age(&self) -> Option<Option<Duration>> {
        let modified = std::fs::metadata(&self.path).and_then(|data| data.modified());
        Some(SystemTime::now().duration_since(modified.ok()?).ok())
    }

    /// The trouble happened now.
    pub fn set(&self) {
        // Without a place for it every unit pays; nothing worse.
        let _ = File::create(&self.path).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// The trouble is over.
    pub fn clear(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_again_when_the_time_is_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mark = Mark::new(path.clone(), Duration::from_secs(3600));
        let age = |seconds: u64| {
            let then = SystemTime::now() - Duration::from_secs(seconds);
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(then)
                .unwrap();
        };
        assert!(!mark.counts_or_renews() && !mark.is_there());
        mark.set();
        age(3500);
        assert!(mark.counts() && mark.counts_or_renews());
        age(3601);
        assert!(!mark.counts());
        assert!(!mark.counts_or_renews(), "the first tries");
        assert!(mark.counts_or_renews(), "the next one believes it");
        let future = SystemTime::now() + Duration::from_secs(60);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(future)
            .unwrap();
        assert!(!mark.counts());
        mark.clear();
        assert!(!mark.counts() && !mark.is_there());
    }
}
