//! Where quicc keeps its files. Pure, given the environment's values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::env;

/// Longest path of a unix socket: `sun_path` less its NUL.
const SOCKET_PATH: usize = 107;

/// The places of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration of the client.
    pub config_file: PathBuf,
    /// Links, logs, remembered things: small, kept.
    pub state: PathBuf,
    /// Blobs and mirrors of an embedded farm: large, may be deleted while nothing runs.
    pub cache: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
}

/// No home directory is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither QUICC_HOME nor HOME is set: quicc has no place for its state")]
pub struct NoHome;

impl Paths {
    /// The places according to this process's environment.
    pub fn from_environment() -> Result<Self, NoHome> {
        Self::derive(env::read, nix::unistd::getuid().as_raw())
    }

    /// The places according to `variable`, for the user `uid`.
    pub fn derive(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<Self, NoHome> {
        let absolute = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = absolute("HOME");
        let xdg = |name: &str, below: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below)))
                .map(|path| path.join("quicc"))
        };
        let (config, state, cache) = match absolute(env::QUICC_HOME) {
            Some(own) => (own.join("config"), own.join("state"), own.join("cache")),
            None => (
                xdg("XDG_CONFIG_HOME", ".config").ok_or(NoHome)?.join("config"),
                xdg("XDG_STATE_HOME", ".local/state").ok_or(NoHome)?,
                xdg("XDG_CACHE_HOME", ".cache").ok_or(NoHome)?,
            ),
        };
        let config_file = absolute(env::QUICC_CONFIG).unwrap_or(config);
        let socket = socket_path(&state, uid);
        Ok(Self {
            config_file,
            state,
            cache,
            socket,
        })
    }

    /// The directory of the socket where that is not the state directory. Others may have made it first: it is to
    /// be trusted only if it is ours alone.
    pub fn socket_directory(&self) -> Option<&Path> {
        self.socket.parent().filter(|directory| *directory != self.state)
    }

    /// The permanent directory of links named like compilers.
    pub fn links(&self) -> PathBuf {
        self.state.join("links")
    }

    /// The installed copy of quicc that links and build trees refer to.
    pub fn installed(&self) -> PathBuf {
        self.state.join("bin/quicc")
    }

    /// The installed copy of the wrapper alone, or a link to the former: what stands before or for compilers.
    pub fn installed_wrapper(&self) -> PathBuf {
        self.state.join("bin/quicc-wrapper")
    }
}

/// A socket's path is short by law; a long state directory gets one under `/tmp`, named by its hash.
fn socket_path(state: &Path, uid: u32) -> PathBuf {
    let beside = state.join("agent.sock");
    if beside.as_os_str().len() <= SOCKET_PATH {
        return beside;
    }
    let digest = blake3::hash(state.as_os_str().as_encoded_bytes()).to_hex();
    PathBuf::from(format!("/tmp/quicc-{uid}-{}/agent.sock", &digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(variables: &[(&str, &str)]) -> Result<Paths, NoHome> {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Paths::derive(find, 7)
    }

    #[test]
    fn one_directory_holds_all_or_xdg_decides() {
        let own = derive(&[("QUICC_HOME", "/q"), ("HOME", "/h")]).unwrap();
        assert_eq!(own.socket, Path::new("/q/state/agent.sock"));
        assert_eq!(own.config_file, Path::new("/q/config"));
        let xdg = derive(&[
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
        ])
        .unwrap();
        assert_eq!(
            (xdg.cache.as_path(), xdg.state.as_path()),
            (Path::new("/c/quicc"), Path::new("/h/.local/state/quicc"))
        );
        assert_eq!(derive(&[]), Err(NoHome));
    }

    #[test]
    fn a_long_state_directory_still_has_a_socket() {
        let long = format!("/{}", "x".repeat(150));
        let (a, b) = (
            derive(&[("QUICC_HOME", &long)]).unwrap(),
            derive(&[("QUICC_HOME", &(long.clone() + "y"))]).unwrap(),
        );
        assert!(a.socket.as_os_str().len() <= SOCKET_PATH);
        assert_ne!(a.socket, b.socket);
        assert_eq!(a.socket_directory(), a.socket.parent());
        assert_eq!(derive(&[("HOME", "/h")]).unwrap().socket_directory(), None);
    }
}
