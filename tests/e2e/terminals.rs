//! Compiles whose standard streams are terminals: coloured, linked and wrapped as the client's own would be.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::{QUICC, World};

const WRONG: &str = "int f(const char *first_parameter_with_a_name, int second_parameter_with_a_name) {\n\
  int unused; return strlen(first_parameter_with_a_name) + nope + second_parameter_with_a_name;\n}\n";
const WARNED: &str =
    "static int never_called(int parameter) { int unused; return parameter == 1 & parameter != 2; }\n";
const TEMPLATES: &str = "#include <list>\n#include <algorithm>\nstruct a {};\n\
void f(std::list<a> &list) { std::sort(list.begin(), list.end()); }\n";

/// How a unit's streams are connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    columns: u16,
    stdin_is_terminal: bool,
    term: Option<&'static str>,
    variable: Option<(&'static str, &'static str)>,
}

pub(crate) const XTERM: Setting = Setting {
    columns: 60,
    stdin_is_terminal: true,
    term: Some("xterm-256color"),
    variable: None,
};

const SETTINGS: [Setting; 8] = [
    XTERM,
    Setting {
        columns: 200,
        ..XTERM
    },
    Setting { columns: 0, ..XTERM },
    Setting {
        stdin_is_terminal: false,
        ..XTERM
    },
    Setting {
        term: Some("dumb"),
        ..XTERM
    },
    Setting { term: None, ..XTERM },
    Setting {
        variable: Some(("COLUMNS", "50")),
        ..XTERM
    },
    Setting {
        variable: Some(("GCC_COLORS", "error=01;32:locus=04")),
        ..XTERM
    },
];

/// Runs a command with standard output and error on a terminal. Gives what appeared there, odd bytes escaped.
pub(crate) fn on_terminal(command: &mut Command, setting: Setting) -> (ExitStatus, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).unwrap();
    unlockpt(&ours).unwrap();
    let theirs: OwnedFd = ioctl_tiocgptpeer(&ours, flags).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: setting.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).unwrap();
    if setting.stdin_is_terminal {
        command.stdin(theirs.try_clone().unwrap());
    }
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
    if let Some(term) = setting.term {
        command.env("TERM", term);
    }
    command.envs(setting.variable).env("LANG", "C.UTF-8");
    let mut child = command.spawn().unwrap();
    // Its copies of the terminal would keep it open.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut text = Vec::new();
    let ended = std::fs::File::from(ours).read_to_end(&mut text).unwrap_err();
    assert_eq!(ended.raw_os_error(), Some(nix::libc::EIO), "{ended}");
    (child.wait().unwrap(), text.escape_ascii().to_string())
}

/// Compiles on a terminal here and through quicc, and compares. Gives what became of the unit, and whether
/// its text was coloured.
fn check(world: &World, compiler: &str, source: &str, flags: &[&str], setting: Setting) -> (String, bool) {
    let arguments: Vec<_> = [flags, &["-c", source, "-o", "out.o"]].concat();
    let remove = || {
        let _ = std::fs::remove_file(world.at("out.o"));
    };
    remove();
    let local = on_terminal(world.command(compiler).args(&arguments), setting);
    let object = std::fs::read(world.at("out.o")).ok();
    remove();
    let ledger = world.root().join("ledger");
    std::fs::write(&ledger, "").unwrap();
    let mut command = world.command(QUICC);
    command
        .arg(compiler)
        .args(&arguments)
        .env("QUICC_LEDGER", &ledger);
    let remote = on_terminal(&mut command, setting);
    assert_eq!(local, remote, "{compiler} {arguments:?} {setting:?}");
    assert_eq!(object, std::fs::read(world.at("out.o")).ok(), "the same object");
    let fate = std::fs::read_to_string(&ledger).unwrap();
    let words: Vec<_> = fate.split(' ').take(2).collect();
    (words.join(" "), local.1.contains("\\x1b"))
}

fn world() -> World {
    let world = World::new();
    world.write("wrong.c", WRONG);
    world.write("warned.c", WARNED);
    world.write("warned.cc", WARNED);
    world.write("templates.cc", TEMPLATES);
    world
}

#[test]
fn diagnostics_on_a_terminal_are_the_local_ones() {
    let world = world();
    for setting in SETTINGS {
        for (compiler, source) in [
            ("gcc", "wrong.c"),
            ("gcc", "warned.c"),
            ("clang", "wrong.c"),
            ("clang", "warned.c"),
        ] {
            let fate = check(&world, compiler, source, &["-Wall", "-Wextra"], setting);
            let is_coloured = setting.term == XTERM.term;
            assert_eq!(
                fate,
                ("remote -".to_owned(), is_coloured),
                "{compiler} {source} {setting:?} {}",
                world.agent_log()
            );
        }
    }
    for (compiler, source) in [
        ("g++", "templates.cc"),
        ("clang++", "templates.cc"),
        ("g++", "warned.cc"),
        ("clang++", "warned.cc"),
    ] {
        let fate = check(&world, compiler, source, &["-Wall"], XTERM);
        assert_eq!(
            fate,
            ("remote -".to_owned(), true),
            "{compiler} {source} {}",
            world.agent_log()
        );
    }
}

#[test]
fn a_compile_for_this_processor_speaks_to_terminals_too() {
    let world = world();
    let flags = ["-Wall", "-Wextra", "-O1", "-march=native"];
    for setting in SETTINGS {
        for compiler in ["gcc", "clang"] {
            let fate = check(&world, compiler, "warned.c", &flags, setting);
            let is_coloured = setting.term == XTERM.term;
            let context = || format!("{compiler} {setting:?} {}", world.agent_log());
            assert_eq!(fate, ("remote -".to_owned(), is_coloured), "{}", context());
        }
    }
    for compiler in ["g++", "clang++"] {
        let plain = [&flags[..], &["-fno-diagnostics-color"]].concat();
        let fate = check(&world, compiler, "warned.cc", &plain, XTERM);
        assert_eq!(fate.0, "remote -", "{compiler} {}", world.agent_log());
    }
}

#[test]
fn a_terminal_description_of_the_users_own_stays_here() {
    let world = world();
    let own = world.root().join(".terminfo/x/xterm-256color");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    // A terminal without colours, whatever its name.
    std::fs::copy("/lib/terminfo/d/dumb", own).unwrap();
    let fate = check(&world, "clang", "wrong.c", &[], XTERM);
    assert_eq!(fate, ("local own-terminal-description".to_owned(), false));
}
