//! A toolchain as every unit needs it, and whether it still stands as it was found.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Fingerprint, fingerprint};
use crate::toolchain::Toolchain;

/// A toolchain and its files as bytes, in the forms every unit needs.
#[derive(Debug)]
pub struct KnownToolchain {
    /// What discovery found.
    pub toolchain: Toolchain,
    /// Its files, as the tools open them.
    pub files: Vec<Vec<u8>>,
    /// The same files behind all links, in the same order.
    pub real_files: Vec<Vec<u8>>,
    /// Its directories, those that do not exist yet among them.
    pub directories: Vec<Vec<u8>>,
    /// Those of its files that stand in front of every command line: they may name directories and define macros.
    pub(super) configurations: Vec<PathBuf>,
    /// Its directories when they were searched: a tool or a specs file that appears in one would be used.
    stamps: Vec<Fingerprint>,
}

/// The end of the name of clang's configuration files, whose content stands in front of every command line.
const CONFIGURATION_SUFFIX: &[u8] = b".cfg";
/// The end of the name of gcc's.
const SPECS_SUFFIX: &[u8] = b"specs";
const NATIVE_VALUE: &[u8] = b"=native";

impl KnownToolchain {
    /// Whether nothing came or went in its directories since it was discovered.
    pub(super) fn directories_hold(&self) -> bool {
        let now = searched(&self.toolchain).map(|path| fingerprint(path));
        now.eq(self.stamps.iter().copied())
    }

    /// Every directory in which a tool that appears would be used, those that do not exist yet among them.
    pub(super) fn searched(&self) -> impl Iterator<Item = &Path> {
        searched(&self.toolchain).map(PathBuf::as_path)
    }

    /// Whether every compile names this machine's own processor, because a configuration file does. Read each time:
    /// most toolchains have none, and a person may edit it. A gcc that was configured so records the processor with
    /// `-g`, and its trial tells.
    pub fn is_configured_native(&self) -> bool {
        let names_native = |path: &Vec<u8>| {
            let text = std::fs::read(Path::new(OsStr::from_bytes(path))).unwrap_or_default();
            text.windows(NATIVE_VALUE.len()).any(|part| part == NATIVE_VALUE)
        };
        self.files
            .iter()
            .any(|path| path.ends_with(CONFIGURATION_SUFFIX) && names_native(path))
    }
}

fn configures(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path.ends_with(CONFIGURATION_SUFFIX) || path.ends_with(SPECS_SUFFIX)
}

/// Every directory in which a tool that appears would be used.
fn searched(toolchain: &Toolchain) -> impl Iterator<Item = &PathBuf> {
    toolchain.directories.iter().chain(&toolchain.missing_directories)
}

impl From<Toolchain> for KnownToolchain {
    fn from(toolchain: Toolchain) -> Self {
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        let real = |path: &PathBuf| {
            path.canonicalize()
                .map_or_else(|_| bytes(path), |real| bytes(&real))
        };
        Self {
            files: toolchain.paths.iter().map(bytes).collect(),
            real_files: toolchain.paths.iter().map(real).collect(),
            directories: searched(&toolchain).map(bytes).collect(),
            configurations: toolchain
                .paths
                .iter()
                .filter(|path| configures(path))
                .cloned()
                .collect(),
            stamps: searched(&toolchain).map(|path| fingerprint(path)).collect(),
            toolchain,
        }
    }
}
