//! The agent's socket as those who ask it see it: connecting takes a bounded time, and only to an agent of this
//! user. Whoever answers says what a build's objects are.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::paths::Paths;
use crate::host::files;

/// How long connecting may take: it waits only while more callers than the kernel queues are before us.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no agent is running")]
    Absent,
    /// Somebody listens and does not take us.
    #[error("the agent does not answer")]
    Silent,
    /// The socket or its directory is another user's.
    #[error("the agent's socket or its directory belongs to another user")]
    Foreign,
}

/// Connects to this user's agent.
pub fn connect(paths: &Paths) -> Result<UnixStream, ConnectError> {
    if let Some(directory) = paths.socket_directory() {
        match files::is_private(directory) {
            Ok(true) => {}
            Ok(false) => return Err(ConnectError::Foreign),
            Err(_) => return Err(ConnectError::Absent),
        }
    }
    let stream = connect_within(paths, CONNECT).map_err(|error| match error.kind() {
        // What a unix socket says when its sending timeout is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ConnectError::Silent,
        _ => ConnectError::Absent,
    })?;
    let peer = getsockopt(&stream, PeerCredentials).map_err(|_| ConnectError::Foreign)?;
    if peer.uid() == nix::unistd::geteuid().as_raw() {
        Ok(stream)
    } else {
        Err(ConnectError::Foreign)
    }
}

fn connect_within(paths: &Paths, bound: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Of a unix socket this bounds connecting too.
    socket.set_write_timeout(Some(bound))?;
    socket.connect(&SockAddr::unix(&paths.socket)?)?;
    socket.set_write_timeout(None)?;
    Ok(OwnedFd::from(socket).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    /// Places whose socket is in a directory of its own.
    fn places(directory: &Path) -> Paths {
        let paths = Paths::derive(|name| (name == "QUICC_HOME").then(|| "/x".into()), 7).unwrap();
        Paths {
            socket: directory.join("agent.sock"),
            ..paths
        }
    }

    #[test]
    fn only_a_directory_of_ours_alone_is_trusted() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d");
        let paths = places(&directory);
        assert!(matches!(connect(&paths), Err(ConnectError::Absent)));
        std::fs::create_dir(&directory).unwrap();
        let _listener = UnixListener::bind(&paths.socket).unwrap();
        let set_mode = |mode| std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        set_mode(0o755);
        assert!(matches!(connect(&paths), Err(ConnectError::Foreign)));
        set_mode(0o700);
        assert!(connect(&paths).is_ok());
        symlink(&directory, root.path().join("link")).unwrap();
        let linked = places(&root.path().join("link"));
        assert!(matches!(connect(&linked), Err(ConnectError::Foreign)));
    }

    #[test]
    fn a_full_queue_is_waited_for_no_longer_than_said() {
        let directory = tempfile::tempdir().unwrap();
        let paths = places(directory.path());
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&paths.socket).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let bound = Duration::from_millis(1);
        let _first = connect_within(&paths, bound).unwrap();
        let second = connect_within(&paths, bound);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
