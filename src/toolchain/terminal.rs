//! The terminal description a compiler reads before it colours its diagnostics.
//!
//! clang asks terminfo whether `TERM` has colours when its standard error is a terminal; gcc only compares
//! `TERM` with `dumb`. Never looks at a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where ncurses looks as distributions build it (terminfo(5), "Fetching Compiled Descriptions").
const DIRECTORIES: [&str; 4] = [
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/lib/terminfo",
];

/// The existing descriptions of the client's `TERM`, in the order in which they are looked for. Needed only
/// for a compile whose standard error is a terminal.
pub fn terminal_files(env: &[(Vec<u8>, Vec<u8>)]) -> Vec<PathBuf> {
    let mut files = candidates(env);
    files.retain(|file| file.is_file());
    files
}

/// Every place that may hold the description: `<directory>/<first character>/<name>`, the character also in
/// hexadecimal.
fn candidates(env: &[(Vec<u8>, Vec<u8>)]) -> Vec<PathBuf> {
    let value = |wanted: &str| {
        let found = env.iter().find(|(name, _)| name == wanted.as_bytes());
        OsStr::from_bytes(found.map_or(b"", |(_, value)| value.as_slice()))
    };
    let name = value("TERM");
    let Some(&first) = name
        .as_bytes()
        .first()
        .filter(|_| !name.as_bytes().contains(&b'/'))
    else {
        return Vec::new();
    };
    let mut directories = vec![
        PathBuf::from(value("TERMINFO")),
        PathBuf::from(value("HOME")).join(".terminfo"),
    ];
    directories.extend(std::env::split_paths(value("TERMINFO_DIRS")));
    directories.extend(DIRECTORIES.map(PathBuf::from));
    directories.retain(|directory| directory.is_absolute());
    let places = directories.iter().flat_map(|directory| {
        [
            directory.join(OsStr::from_bytes(&[first])),
            directory.join(format!("{first:02x}")),
        ]
    });
    places.map(|place| place.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn places_come_in_the_order_of_terminfo() {
        let env = [
            ("TERM", "xterm"),
            ("TERMINFO", "/t"),
            ("HOME", "/h"),
            ("TERMINFO_DIRS", ":/d:relative"),
        ];
        let found = candidates(&environment(&env));
        let expected = [
            "/t/x/xterm",
            "/t/78/xterm",
            "/h/.terminfo/x/xterm",
            "/h/.terminfo/78/xterm",
            "/d/x/xterm",
        ];
        assert_eq!(found[..5], expected.map(PathBuf::from));
        assert!(found.contains(&"/usr/share/terminfo/x/xterm".into()));
    }

    #[test]
    fn a_name_that_leaves_its_directory_has_no_description() {
        for name in ["", "/etc/passwd", "../x"] {
            assert!(candidates(&environment(&[("TERM", name)])).is_empty(), "{name}");
        }
    }

    #[test]
    fn only_descriptions_that_exist_are_told() {
        let scratch = tempfile::tempdir().unwrap();
        let description = scratch.path().join("q/quicc-test");
        std::fs::create_dir_all(description.parent().unwrap()).unwrap();
        std::fs::write(&description, b"").unwrap();
        let env = environment(&[
            ("TERM", "quicc-test"),
            ("TERMINFO", scratch.path().to_str().unwrap()),
        ]);
        assert_eq!(terminal_files(&env), [description]);
    }
}
