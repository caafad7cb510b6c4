//! The files that make compilers speak as they do on the client: locale data, message catalogues, character
//! conversions.
//!
//! Quotes in diagnostics are typographic only in a UTF-8 locale that exists; an unknown locale is `C`. Never
//! sets or changes a locale.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::locale_name::{is_plain, names_utf8, variants};

/// The categories of glibc; a compiler's libraries may ask for any (locale(7)).
const CATEGORIES: [&str; 12] = [
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_COLLATE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_MONETARY",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
];
/// Catalogues of the tools that take part in a compile, as beginnings of `<domain>.mo`; distributions put
/// the version behind (`gcc-12.mo`).
const DOMAINS: [&str; 7] = ["gcc", "cpplib", "gas", "binutils", "bfd", "opcodes", "libc"];
/// Entries looked at in one directory.
const MAX_ENTRIES: usize = 4096;
/// Bytes read of a `locale.alias`.
const MAX_ALIAS_SIZE: u64 = 1 << 20;
/// Names one environment may ask for; more are ignored, as no user has them.
const MAX_NAMES: usize = 64;

/// What a compile in some environment needs besides its toolchain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocaleSupport {
    /// `C`, `POSIX` or nothing is asked for: no file is read.
    Plain,
    /// These existing files, sorted, each once. May be empty: an unknown locale is `C`, there as here.
    Files(Vec<PathBuf>),
}

/// Where the C library and the tools look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocaleRoots {
    /// Directories with `locale-archive` and `<locale>/LC_*`.
    pub locales: Vec<PathBuf>,
    /// Directories with `locale.alias` and `<language>/LC_MESSAGES/<domain>.mo`.
    pub catalogues: Vec<PathBuf>,
    /// Directories with `gconv-modules` and the modules themselves.
    pub conversions: Vec<PathBuf>,
}

impl LocaleRoots {
    /// The places of glibc as distributions build it, with Ubuntu's language packs.
    pub fn system() -> Self {
        let mut conversions: Vec<PathBuf> = entries(Path::new("/usr/lib"))
            .map(|entry| entry.join("gconv"))
            .collect();
        conversions.extend(["/usr/lib/gconv", "/usr/lib64/gconv", "/usr/lib32/gconv"].map(PathBuf::from));
        conversions.retain(|directory| directory.is_dir());
        Self {
            locales: vec!["/usr/lib/locale".into()],
            catalogues: vec!["/usr/share/locale".into(), "/usr/share/locale-langpack".into()],
            conversions,
        }
    }

    /// The same and a toolchain's own [`catalogues`](super::Toolchain::catalogues).
    #[must_use]
    pub fn with_catalogues(mut self, catalogues: &[PathBuf]) -> Self {
        self.catalogues.extend_from_slice(catalogues);
        self
    }
}

/// What compiles in the environment `env` need, from the system's places.
pub fn locale_files(env: &[(Vec<u8>, Vec<u8>)]) -> LocaleSupport {
    locale_files_in(env, &LocaleRoots::system())
}

/// What compiles in the environment `env` need, from the places `roots`.
pub fn locale_files_in(env: &[(Vec<u8>, Vec<u8>)], roots: &LocaleRoots) -> LocaleSupport {
    let asked = Asked::by(env);
    if asked.names.is_empty() {
        return LocaleSupport::Plain;
    }
    let mut found = BTreeSet::new();
    let aliases: Vec<PathBuf> = roots
        .catalogues
        .iter()
        .map(|root| root.join("locale.alias"))
        .collect();
    let mut names = asked.names;
    let mut languages = asked.languages;
    for file in &aliases {
        let text = read_start(file);
        expand(&mut names, &text);
        expand(&mut languages, &text);
    }
    found.extend(aliases);
    let own = asked.locale_path.iter().cloned();
    for root in own.chain(roots.locales.iter().cloned()) {
        found.insert(root.join("locale-archive"));
        for variant in names.iter().flat_map(|name| variants(name)) {
            locale_data(&root.join(OsStr::from_bytes(&variant)), &mut found);
        }
    }
    for root in &roots.catalogues {
        for variant in languages.iter().flat_map(|name| variants(name)) {
            let directory = root.join(OsStr::from_bytes(&variant)).join("LC_MESSAGES");
            found.extend(entries(&directory).filter(|entry| is_catalogue(entry)));
        }
    }
    let converts = names.iter().any(|name| !names_utf8(name));
    for root in &roots.conversions {
        conversion_data(root, converts, &mut found);
    }
    LocaleSupport::Files(found.into_iter().filter(|path| path.is_file()).collect())
}

/// What an environment asks for.
struct Asked {
    /// Locales of all categories, other than `C` and `POSIX`.
    names: BTreeSet<Vec<u8>>,
    /// Locales whose message catalogues are looked for.
    languages: BTreeSet<Vec<u8>>,
    /// Directories of `LOCPATH`, searched before the system's.
    locale_path: Vec<PathBuf>,
}

impl Asked {
    fn by(env: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let value = |wanted: &str| {
            let found = env.iter().find(|(name, _)| name == wanted.as_bytes());
            found
                .map(|(_, value)| value.as_slice())
                .filter(|value| !value.is_empty())
        };
        // An empty value counts as unset (POSIX, "Internationalization Variables").
        let effective = |category: &str| {
            value("LC_ALL")
                .or_else(|| value(category))
                .or_else(|| value("LANG"))
                .unwrap_or_default()
        };
        let names = CATEGORIES
            .map(effective)
            .into_iter()
            .filter(|name| !is_plain(name));
        let messages = effective("LC_MESSAGES");
        let mut languages = BTreeSet::new();
        // LANGUAGE counts only where messages are not in the C locale (gettext manual, "The LANGUAGE variable").
        if !is_plain(messages) {
            languages.insert(messages.to_vec());
            let listed = value("LANGUAGE").unwrap_or_default().split(|&byte| byte == b':');
            languages.extend(
                listed
                    .filter(|name| !is_plain(name))
                    .take(MAX_NAMES)
                    .map(<[u8]>::to_vec),
            );
        }
        let locale_path = std::env::split_paths(OsStr::from_bytes(value("LOCPATH").unwrap_or_default()));
        Self {
            names: names.map(<[u8]>::to_vec).collect(),
            languages,
            locale_path: locale_path
                .filter(|directory| directory.is_absolute())
                .take(MAX_NAMES)
                .collect(),
        }
    }
}

/// Adds what the `locale.alias` text says the names stand for (`german  de_DE.ISO-8859-1`).
fn expand(names: &mut BTreeSet<Vec<u8>>, aliases: &[u8]) {
    for line in aliases
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
    {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        if let (Some(alias), Some(target)) = (words.next(), words.next())
            && names.len() < MAX_NAMES
            && names.iter().any(|name| name.eq_ignore_ascii_case(alias))
        {
            names.insert(target.to_vec());
        }
    }
}

/// Adds the files of one compiled locale: `LC_*`, and `LC_MESSAGES/SYS_LC_MESSAGES`.
fn locale_data(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in entries(directory) {
        if entry.is_dir() {
            found.extend(entries(&entry));
        } else {
            found.insert(entry);
        }
    }
}

fn is_catalogue(file: &Path) -> bool {
    let Some(domain) = file
        .file_name()
        .and_then(OsStr::to_str)
        .and_then(|name| name.strip_suffix(".mo"))
    else {
        return false;
    };
    DOMAINS.iter().any(|known| {
        let rest = domain.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

/// Adds iconv's tables under `root`; the modules too if text must be converted, since which one is decided
/// by tables of aliases that iconv alone interprets.
fn conversion_data(root: &Path, modules: bool, found: &mut BTreeSet<PathBuf>) {
    found.insert(root.join("gconv-modules.cache"));
    found.insert(root.join("gconv-modules"));
    found.extend(entries(&root.join("gconv-modules.d")));
    if modules {
        found.extend(entries(root).filter(|entry| entry.extension().is_some_and(|kind| kind == "so")));
    }
}

/// The entries of `directory`, at most [`MAX_ENTRIES`]; none if it cannot be listed.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let listing = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .take(MAX_ENTRIES);
    listing.flatten().map(|entry| entry.path())
}

/// The first [`MAX_ALIAS_SIZE`] bytes of `file`; empty if it cannot be read.
fn read_start(file: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(file) {
        let _ = file.take(MAX_ALIAS_SIZE).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACED: [&str; 17] = [
        "locale/locale-archive",
        "locale/C.utf8/LC_CTYPE",
        "locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
        "locale/de_DE/LC_CTYPE",
        "locale/de_DE.utf8/LC_CTYPE",
        "locale/fr_FR.utf8/LC_CTYPE",
        "own/de_DE.utf8/LC_CTYPE",
        "share/de/LC_MESSAGES/gcc-12.mo",
        "share/de/LC_MESSAGES/cpplib.mo",
        "share/de/LC_MESSAGES/gas.mo",
        "share/de/LC_MESSAGES/gccgo.mo",
        "share/de/LC_MESSAGES/bash.mo",
        "share/fr/LC_MESSAGES/gcc.mo",
        "gconv/gconv-modules.cache",
        "gconv/gconv-modules.d/extra.conf",
        "gconv/ISO8859-1.so",
        "gconv/README",
    ];

    /// Checks which files under a small system an environment (`NAME=value …`) needs; `None` for plain.
    fn check(env: &str, expected: Option<&[&str]>) {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        for file in PLACED {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, b"").unwrap();
        }
        std::fs::write(root.join("share/locale.alias"), "# names\ngerman\tde_DE\n").unwrap();
        let roots = LocaleRoots {
            locales: vec![root.join("locale")],
            catalogues: vec![root.join("share")],
            conversions: vec![root.join("gconv")],
        };
        let env = env.replace('@', root.to_str().unwrap());
        let pair = |text: &str| {
            let (name, value) = text.split_once('=').unwrap();
            (name.as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        let env: Vec<_> = env.split_whitespace().map(pair).collect();
        let always = [
            "share/locale.alias",
            "locale/locale-archive",
            "gconv/gconv-modules.cache",
            "gconv/gconv-modules.d/extra.conf",
        ];
        let expected = expected.map_or(LocaleSupport::Plain, |files| {
            let files: BTreeSet<_> = always.iter().chain(files).map(|file| root.join(file)).collect();
            LocaleSupport::Files(files.into_iter().collect())
        });
        assert_eq!(locale_files_in(&env, &roots), expected, "{env:?}");
    }

    const C_UTF8: &[&str] = &[
        "locale/C.utf8/LC_CTYPE",
        "locale/C.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
    ];
    const GERMAN: &[&str] = &[
        "locale/de_DE/LC_CTYPE",
        "locale/de_DE.utf8/LC_CTYPE",
        "share/de/LC_MESSAGES/gcc-12.mo",
        "share/de/LC_MESSAGES/cpplib.mo",
        "share/de/LC_MESSAGES/gas.mo",
    ];

    #[test]
    fn the_c_locale_needs_nothing() {
        check("", None);
        check("LANG=C LC_CTYPE=POSIX", None);
        check("LC_ALL=C LANG=de_DE.UTF-8 LANGUAGE=de", None);
        check("LC_ALL= LANG= LANGUAGE=de", None);
    }

    #[test]
    fn variables_have_their_precedence() {
        check("LANG=C.UTF-8", Some(C_UTF8));
        check("LANG=fr_FR.UTF-8 LC_ALL=C.UTF-8", Some(C_UTF8));
        check("LANG=C LC_CTYPE=C.UTF-8", Some(C_UTF8));
        check("LANG=de_DE.UTF-8", Some(GERMAN));
        check("LANG=de_DE.UTF-8 LC_ALL=", Some(GERMAN));
        check("LANG=en_US.UTF-8", Some(&[]));
    }

    #[test]
    fn language_is_a_list_that_counts_for_messages_only() {
        check(
            "LANG=C.UTF-8 LANGUAGE=de:fr",
            Some(&[C_UTF8, &GERMAN[2..], &["share/fr/LC_MESSAGES/gcc.mo"]].concat()),
        );
        check("LC_CTYPE=C.UTF-8 LANGUAGE=de", Some(C_UTF8));
    }

    #[test]
    fn a_name_without_utf8_needs_conversions() {
        check(
            "LANG=de_DE",
            Some(&[&GERMAN[..1], &GERMAN[2..], &["gconv/ISO8859-1.so"]].concat()),
        );
        check(
            "LANG=German",
            Some(&[&GERMAN[..1], &GERMAN[2..], &["gconv/ISO8859-1.so"]].concat()),
        );
    }

    #[test]
    fn locpath_comes_on_top() {
        let files = [&["own/de_DE.utf8/LC_CTYPE"], GERMAN].concat();
        check("LANG=de_DE.UTF-8 LOCPATH=@/own:relative", Some(&files));
    }

    #[test]
    fn the_systems_own_places_answer() {
        let env = [(b"LANG".to_vec(), b"C.UTF-8".to_vec())];
        let LocaleSupport::Files(files) = locale_files(&env) else {
            panic!("C.UTF-8 is not plain");
        };
        assert!(
            files.iter().all(|file| file.is_absolute() && file.is_file()),
            "{files:?}"
        );
        let compiled = Path::new("/usr/lib/locale/C.utf8/LC_CTYPE");
        assert_eq!(files.iter().any(|file| file == compiled), compiled.exists());
    }
}
