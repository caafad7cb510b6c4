//! The environment of a compile: what a builder's compiler is given, and which variables keep a compile
//! local. Never reads this process's environment.

use std::collections::BTreeMap;

use super::{Cause, Reason, path};

/// Variables that reach the remote compiler: those gcc, clang, binutils or the C library read for a compile
/// and whose value means the same there. Everything else is dropped, above all `MAKEFLAGS` (its jobserver
/// descriptors do not exist remotely) and `TMPDIR` (the builder has its own scratch directory).
const PASSED: &[&str] = &[
    "BINUTILS_ROOT",
    "COLORTERM",
    "COLUMNS",
    "COMPILER_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "G++_ROOT",
    "GCC_COLORS",
    "GCC_EXEC_PREFIX",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    "GCC_ROOT",
    "GCC_URLS",
    "IPHONEOS_DEPLOYMENT_TARGET",
    "LANG",
    "LANGUAGE",
    "LIBRARY_PATH",
    "LLVM_OVERRIDE_PRODUCER",
    "LOCPATH",
    "MACOSX_DEPLOYMENT_TARGET",
    "NO_COLOR",
    "OBJCPLUS_INCLUDE_PATH",
    "OBJC_INCLUDE_PATH",
    "PATH",
    "PWD",
    "SDKROOT",
    "SOURCE_DATE_EPOCH",
    "SYSROOT",
    "TZ",
];

/// Beginnings of names that reach the remote compiler as those of [`PASSED`] do.
const PASSED_PREFIXES: &[&str] = &["LC_", "TERM"];

/// The part of the client's environment that the remote compiler gets, sorted by name. Where a name repeats
/// the first definition counts, as for `getenv`.
pub fn remote_environment(env: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut passed = BTreeMap::new();
    for (name, value) in env {
        if is_passed(name) {
            passed.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    passed.into_iter().collect()
}

fn is_passed(name: &[u8]) -> bool {
    PASSED.iter().any(|known| known.as_bytes() == name)
        || PASSED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// When a variable keeps a compile local.
#[derive(Debug, Clone, Copy)]
enum When {
    /// It is set, even to nothing.
    Set,
    /// Its value is not empty.
    NotEmpty,
    /// Its value is not empty, and messages are not those of the C locale.
    WithLocale,
    /// Its value lists a file, apart from directories, whose name is not one of [`HARMLESS_PRELOADS`].
    NamesLibrary,
    /// Its value lists a directory whose name is not [`FAKEROOT_DIRECTORY`]; nothing between colons is the working
    /// directory.
    NamesDirectory,
    /// Its value lists a directory that depends on the working directory; nothing between colons is that itself.
    NamesRelative,
}

/// Variables that keep a compile local; a name that ends in `*` covers all names that begin so.
/// Those that select programs do so because the identity of a toolchain does not cover them.
const KEEPS_LOCAL: &[(&str, When, Cause)] = &[
    // With `GCC_ROOT` and `G++_ROOT`: what stands for the prefix of its own paths that gcc was configured with (gcc/prefix.cc).
    ("BINUTILS_ROOT", When::NamesRelative, Cause::EnvironmentPrograms),
    ("CCC_*", When::Set, Cause::EnvironmentFlags),
    ("CC_LOG_DIAGNOSTICS*", When::Set, Cause::EnvironmentOutput),
    ("CC_PRINT_*", When::Set, Cause::EnvironmentOutput),
    // From clang 16 on: no configuration file is read.
    ("CLANG_NO_DEFAULT_CONFIG", When::NotEmpty, Cause::EnvironmentFlags),
    ("COLLECT_*", When::Set, Cause::InsideDriver),
    ("COMPILER_PATH", When::NotEmpty, Cause::EnvironmentPrograms),
    ("DEPENDENCIES_OUTPUT", When::Set, Cause::EnvironmentOutput),
    (
        "FORCE_CLANG_DIAGNOSTICS_CRASH",
        When::Set,
        Cause::EnvironmentFlags,
    ),
    ("G++_ROOT", When::NamesRelative, Cause::EnvironmentPrograms),
    ("GCC_COMPARE_DEBUG", When::NotEmpty, Cause::EnvironmentFlags),
    ("GCC_EXEC_PREFIX", When::NotEmpty, Cause::EnvironmentPrograms),
    ("GCC_ROOT", When::NamesRelative, Cause::EnvironmentPrograms),
    // Gentoo's gcc reads the specs it names.
    ("GCC_SPECS", When::NotEmpty, Cause::EnvironmentFlags),
    // Conversions of messages into the character set of the locale.
    ("GCONV_PATH", When::WithLocale, Cause::EnvironmentFlags),
    // The format that objcopy takes for the usual one (binutils manual, "Target Selection").
    ("GNUTARGET", When::NotEmpty, Cause::EnvironmentFlags),
    // Here and below: where Guix and Nix have the C library find locales, apart from the places that are shipped.
    ("GUIX_LOCPATH", When::WithLocale, Cause::EnvironmentFlags),
    ("LD_AUDIT", When::NotEmpty, Cause::EnvironmentLoader),
    ("LD_DEBUG", When::NotEmpty, Cause::EnvironmentLoader),
    ("LD_LIBRARY_PATH", When::NamesDirectory, Cause::EnvironmentLoader),
    ("LD_PRELOAD", When::NamesLibrary, Cause::EnvironmentLoader),
    ("LD_PROFILE", When::NotEmpty, Cause::EnvironmentLoader),
    // Every program that is loaded prints of itself.
    ("LD_SHOW_AUXV", When::Set, Cause::EnvironmentLoader),
    ("LD_TRACE_LOADED_OBJECTS", When::Set, Cause::EnvironmentLoader),
    // gcc reads specs along it.
    ("LIBRARY_PATH", When::NamesRelative, Cause::EnvironmentPrograms),
    ("LOCALE_ARCHIVE*", When::WithLocale, Cause::EnvironmentFlags),
    // The character set that gettext translates messages into.
    ("OUTPUT_CHARSET", When::WithLocale, Cause::EnvironmentFlags),
    ("QA_OVERRIDE_GCC3_OPTIONS", When::Set, Cause::EnvironmentFlags),
    ("RC_DEBUG_OPTIONS", When::Set, Cause::EnvironmentFlags),
    ("RC_DEBUG_PREFIX_MAP", When::Set, Cause::EnvironmentFlags),
    ("SUNPRO_DEPENDENCIES", When::Set, Cause::EnvironmentOutput),
];

/// Preloaded libraries that change nothing a compiler prints or writes, by the beginning of their file name.
const HARMLESS_PRELOADS: &[&str] = &["libfakeroot", "libeatmydata"];

/// The directory that `fakeroot` puts into `LD_LIBRARY_PATH`; it holds that library alone.
const FAKEROOT_DIRECTORY: &str = "libfakeroot";

/// The first variable that keeps a compile local, if any.
pub(super) fn local_reason(env: &[(Vec<u8>, Vec<u8>)]) -> Option<Reason> {
    env.iter().find_map(|(name, value)| {
        let (_, _, cause) = KEEPS_LOCAL
            .iter()
            .find(|(known, when, _)| covers(known, name) && applies(*when, value, env))?;
        Some(Reason::new(*cause, name))
    })
}

fn covers(known: &str, name: &[u8]) -> bool {
    match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == known.as_bytes(),
    }
}

fn applies(when: When, value: &[u8], env: &[(Vec<u8>, Vec<u8>)]) -> bool {
    match when {
        When::Set => true,
        When::NotEmpty => !value.is_empty(),
        When::WithLocale => !value.is_empty() && has_locale(env),
        // The loader splits LD_PRELOAD at colons and spaces (ld.so(8)).
        When::NamesLibrary => value.split(|byte| matches!(byte, b':' | b' ')).any(|library| {
            let name = path::file_name(library);
            !library.is_empty()
                && !HARMLESS_PRELOADS
                    .iter()
                    .any(|known| name.starts_with(known.as_bytes()))
        }),
        When::NamesDirectory => {
            let mut directories = value.split(|byte| matches!(byte, b':' | b';'));
            !value.is_empty()
                && directories.any(|directory| path::file_name(directory) != FAKEROOT_DIRECTORY.as_bytes())
        }
        When::NamesRelative => value
            .split(|&byte| byte == b':')
            .any(|directory| !directory.starts_with(b"/")),
    }
}

/// Whether any variable asks for another locale than C (POSIX, "Internationalization Variables").
fn has_locale(env: &[(Vec<u8>, Vec<u8>)]) -> bool {
    env.iter().any(|(name, value)| {
        (name == b"LANG" || name.starts_with(b"LC_")) && !matches!(value.as_slice(), b"" | b"C" | b"POSIX")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let split = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        text.split('|').map(split).collect()
    }

    #[test]
    fn the_remote_environment_is_an_allow_list_sorted_with_the_first_definition() {
        let given = variables(
            "TZ=UTC|MAKEFLAGS=-j|PATH=/bin|TMPDIR=/x|LC_ALL=C|PATH=/evil|HOME=/h|TERM=xterm|CPATH=|LCX=1|PWD=/w",
        );
        let expect = variables("CPATH=|LC_ALL=C|PATH=/bin|PWD=/w|TERM=xterm|TZ=UTC");
        assert_eq!(remote_environment(&given), expect);
    }

    #[test]
    fn some_variables_keep_a_compile_local() {
        let check = |given: &str, expect: Option<(Cause, &str)>| {
            let reason = local_reason(&variables(given));
            let expect = expect.map(|(cause, name)| Reason::new(cause, name.as_bytes()));
            assert_eq!(reason, expect, "{given}");
        };
        check("PATH=/bin|LANG=C", None);
        check(
            "DEPENDENCIES_OUTPUT=",
            Some((Cause::EnvironmentOutput, "DEPENDENCIES_OUTPUT")),
        );
        check(
            "SUNPRO_DEPENDENCIES=f",
            Some((Cause::EnvironmentOutput, "SUNPRO_DEPENDENCIES")),
        );
        check("A=1|COLLECT_GCC=gcc", Some((Cause::InsideDriver, "COLLECT_GCC")));
        check(
            "CCC_OVERRIDE_OPTIONS=+x",
            Some((Cause::EnvironmentFlags, "CCC_OVERRIDE_OPTIONS")),
        );
        check(
            "GCC_COMPARE_DEBUG=-g",
            Some((Cause::EnvironmentFlags, "GCC_COMPARE_DEBUG")),
        );
        check(
            "GCC_EXEC_PREFIX=/x/",
            Some((Cause::EnvironmentPrograms, "GCC_EXEC_PREFIX")),
        );
        check("LD_PRELOAD=|LD_LIBRARY_PATH=", None);
        check("LIBRARY_PATH=/opt/lib:/usr/lib", None);
        for list in ["LIBRARY_PATH=/opt/lib:", "LIBRARY_PATH=lib"] {
            check(list, Some((Cause::EnvironmentPrograms, "LIBRARY_PATH")));
        }
        check("LD_PRELOAD=libfakeroot-sysv.so", None);
        check("LD_PRELOAD=/usr/lib/libeatmydata.so:libfakeroot.so", None);
        check(
            "LD_PRELOAD=libfakeroot.so /x/evil.so",
            Some((Cause::EnvironmentLoader, "LD_PRELOAD")),
        );
        check(
            "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/libfakeroot:/usr/lib64/libfakeroot",
            None,
        );
        for list in [
            "LD_LIBRARY_PATH=/opt/lib",
            "LD_LIBRARY_PATH=:",
            "LD_LIBRARY_PATH=/usr/lib64/libfakeroot:",
        ] {
            check(list, Some((Cause::EnvironmentLoader, "LD_LIBRARY_PATH")));
        }
        for name in ["CLANG_NO_DEFAULT_CONFIG", "GCC_SPECS", "GNUTARGET"] {
            check(&format!("{name}=x"), Some((Cause::EnvironmentFlags, name)));
        }
        for name in ["BINUTILS_ROOT", "G++_ROOT", "GCC_ROOT"] {
            check(&format!("{name}=/opt/gcc"), None);
            for value in ["", "gcc", "$GCC"] {
                check(
                    &format!("{name}={value}"),
                    Some((Cause::EnvironmentPrograms, name)),
                );
            }
        }
        for name in ["GCONV_PATH", "OUTPUT_CHARSET"] {
            check(&format!("LC_ALL=C|{name}=x"), None);
            check(&format!("{name}=|LANG=de_DE.UTF-8"), None);
            check(
                &format!("LANG=de_DE.UTF-8|{name}=x"),
                Some((Cause::EnvironmentFlags, name)),
            );
        }
        check("LD_BIND_NOW=1", None);
        check("LD_SHOW_AUXV=", Some((Cause::EnvironmentLoader, "LD_SHOW_AUXV")));
        check(
            "LD_TRACE_LOADED_OBJECTS=1",
            Some((Cause::EnvironmentLoader, "LD_TRACE_LOADED_OBJECTS")),
        );
        check("LOCALE_ARCHIVE=/nix/archive|LANG=C|LC_ALL=", None);
        check(
            "LOCALE_ARCHIVE_2_27=/nix/archive|LC_CTYPE=C.UTF-8",
            Some((Cause::EnvironmentFlags, "LOCALE_ARCHIVE_2_27")),
        );
        check(
            "LANG=de_DE.UTF-8|GUIX_LOCPATH=/gnu/locale",
            Some((Cause::EnvironmentFlags, "GUIX_LOCPATH")),
        );
    }

    #[test]
    fn tables_are_sorted() {
        assert!(PASSED.is_sorted());
        assert!(KEEPS_LOCAL.is_sorted_by_key(|(name, _, _)| *name));
    }
}
