//! Keeps in a file what the paths to the farm carried. Losing it costs some speed, never a unit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::files::write_then_rename;
use crate::host::task::{self, Task};
use crate::host::timer;
use crate::transport::path::Paths;

/// Bytes of a file that is read: a few hundred paths are less.
const FILE: u64 = 256 << 10;
/// How often it is written, if anything changed.
const EVERY: Duration = Duration::from_secs(60);

/// Paths that a file outlives.
#[derive(Debug)]
pub struct Kept {
    paths: Paths,
    file: PathBuf,
    _writing: Task<()>,
}

impl Kept {
    /// The paths in `file`, which is written now and then from now on.
    pub fn open(file: PathBuf) -> Self {
        let paths = load(&file);
        Self {
            _writing: task::spawn("paths", write_now_and_then(paths.clone(), file.clone())),
            paths,
            file,
        }
    }

    /// The paths.
    pub fn paths(&self) -> Paths {
        self.paths.clone()
    }

    /// Writes them for the last time.
    pub fn close(self) {
        save(&self.paths, &self.file);
    }
}

/// None if the file is missing or no good.
fn load(file: &Path) -> Paths {
    let is_small = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() <= FILE);
    let text = is_small.then(|| std::fs::read_to_string(file).ok()).flatten();
    Paths::from_text(&text.unwrap_or_default())
}

fn save(paths: &Paths, file: &Path) {
    if let Err(error) = write_then_rename(file, paths.to_text().as_bytes(), 0o600) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "paths are not remembered"
        );
    }
}

async fn write_now_and_then(paths: Paths, file: PathBuf) {
    let mut written = paths.to_text();
    loop {
        timer::sleep(EVERY).await;
        let now = paths.to_text();
        if now != written {
            written = now;
            let (paths, file) = (paths.clone(), file.clone());
            // It fails only when the process ends, which saves once more.
            let _ = tokio::task::spawn_blocking(move || save(&paths, &file)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::path::Remembered;

    #[test]
    fn paths_outlive_the_process_and_a_bad_file_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("paths.json");
        assert_eq!(load(&file).recall("b1", 5), None);
        let seen = Remembered {
            rate: 1e6,
            round_trip: Duration::from_millis(20),
            is_full: true,
        };
        let paths = Paths::default();
        paths.note("b1", seen, 5);
        save(&paths, &file);
        assert_eq!(load(&file).recall("b1", 5), Some(seen));
        std::fs::write(&file, b"\xff{").unwrap();
        assert_eq!(load(&file).recall("b1", 5), None);
    }
}
