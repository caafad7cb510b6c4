//! Pseudo-terminals for compilers, which ask them whether to colour and how wide to be.
//!
//! What is written comes out unchanged, for the user's own terminal to make of it what it does. Never anybody's
//! controlling terminal.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use quicc_protocol::message::run::{StandardStreams, WindowSize};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// The size of a terminal; 0 for what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Lines of characters.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

/// What a program finds as standard input, output and error where its streams are `streams`.
pub fn sizes(streams: StandardStreams) -> [Option<Terminal>; 3] {
    let terminal = |size: WindowSize| Terminal {
        rows: size.rows,
        columns: size.columns,
        width: size.width,
        height: size.height,
    };
    [streams.stdin, streams.stdout, streams.stderr].map(|stream| stream.map(terminal))
}

/// Both ends of one terminal.
#[derive(Debug)]
pub struct Pair {
    /// Where what a program writes is read; the end shows as `EIO`. The terminal hangs up with it.
    pub ours: File,
    /// For the program.
    pub programs: OwnedFd,
}

/// Opens a raw terminal of this size.
///
/// # Errors
/// As `openpt(3)`: there may be none in this mount namespace, or too many.
pub fn open(size: Terminal) -> io::Result<Pair> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let programs = ioctl_tiocgptpeer(&ours, flags)?;
    let mut modes = tcgetattr(&programs)?;
    modes.make_raw();
    tcsetattr(&programs, OptionalActions::Now, &modes)?;
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    };
    tcsetwinsize(&programs, size)?;
    Ok(Pair {
        ours: ours.into(),
        programs,
    })
}

/// Opens what `sizes` asks for.
///
/// # Errors
/// As [`open`].
pub fn open_all<const COUNT: usize>(sizes: [Option<Terminal>; COUNT]) -> io::Result<[Option<Pair>; COUNT]> {
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
        assert!(pair.programs.is_terminal());
        let found = rustix::termios::tcgetwinsize(&pair.programs).unwrap();
        assert_eq!(
            (found.ws_row, found.ws_col, found.ws_xpixel, found.ws_ypixel),
            (24, 71, 3, 4)
        );
        let text = b"a\nb\tc\r\n\x03\x04\x1b[0m";
        File::from(pair.programs).write_all(text).unwrap();
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
