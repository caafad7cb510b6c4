//! Pseudo-terminals for a job whose client has terminals: compilers ask them whether to colour and how wide to be.
//!
//! They come from the host's own, opened before its tree is out of reach; a job gets descriptors and no names. What
//! is written comes out unchanged, for the client's own terminal to make of it what it does.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::plan::Terminal;

/// Both ends of one terminal.
#[derive(Debug)]
pub(super) struct Pair {
    /// Where what the job writes is read. The terminal hangs up with it.
    pub(super) ours: File,
    /// For the job.
    pub(super) jobs: OwnedFd,
}

/// Opens a raw terminal of this size, which becomes nobody's controlling terminal.
pub(super) fn open(size: Terminal) -> io::Result<Pair> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let jobs = ioctl_tiocgptpeer(&ours, flags)?;
    let mut modes = tcgetattr(&jobs)?;
    modes.make_raw();
    tcsetattr(&jobs, OptionalActions::Now, &modes)?;
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    };
    tcsetwinsize(&jobs, size)?;
    Ok(Pair {
        ours: ours.into(),
        jobs,
    })
}

/// Opens what `sizes` asks for.
pub(super) fn open_all<const COUNT: usize>(
    sizes: [Option<Terminal>; COUNT],
) -> io::Result<[Option<Pair>; COUNT]> {
    let mut pairs = [const { None }; COUNT];
    for (pair, size) in pairs.iter_mut().zip(sizes) {
        *pair = size.map(open).transpose()?;
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::io::{IsTerminal, Read, Write};

    use super::*;

    #[test]
    fn what_is_written_comes_out_unchanged() {
        let size = Terminal {
            rows: 24,
            columns: 71,
            width: 3,
            height: 4,
        };
        let [none, pair] = open_all([None, Some(size)]).unwrap();
        assert!(none.is_none());
        let mut pair = pair.unwrap();
        assert!(pair.jobs.is_terminal());
        let found = rustix::termios::tcgetwinsize(&pair.jobs).unwrap();
        assert_eq!(
            (found.ws_row, found.ws_col, found.ws_xpixel, found.ws_ypixel),
            (24, 71, 3, 4)
        );
        let text = b"a\nb\tc\r\n\x03\x04\x1b[0m";
        File::from(pair.jobs).write_all(text).unwrap();
        let mut read = Vec::new();
        let error = pair.ours.read_to_end(&mut read).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(nix::libc::EIO),
            "how a terminal's end shows"
        );
        assert_eq!(read, text);
    }
}
