//! The include search list, as the compiler itself prints it.
//!
//! Pure: parses what `LC_ALL=C cc <flags> -v -E -dM -x LANG /dev/null` prints. Never runs it, and
//! never re-implements the order of `-isystem`, `CPATH` and the like or the removal of duplicates.

/// Where a compiler looks for includes, in its order and its spelling (which lands in dep files,
/// `__FILE__` and debug information). Relative directories are relative to the compiler's cwd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchList {
    /// Searched for `"name"` only, after the includer's directory and before [`Self::angle`].
    pub quote: Vec<Vec<u8>>,
    /// Searched for both forms.
    pub angle: Vec<Vec<u8>>,
    /// Directories left out because they do not exist: creating one changes the list. Directories left out
    /// as duplicates are not here.
    pub ignored: Vec<Vec<u8>>,
    /// The macros its compiler predefines, as directives, but for those whose names begin with two underscores. `None`
    /// where nobody asked.
    pub predefined: Option<Vec<u8>>,
    /// The list holds framework directories or header maps, which are not searched by name alone.
    pub frameworks: bool,
    /// The gcc installation that clang selected, by which it finds libstdc++, as spelled.
    pub installation: Option<Vec<u8>>,
}

impl SearchList {
    /// The same list with `directories` before all that is searched for both forms.
    #[must_use]
    pub fn behind(&self, directories: &[Vec<u8>]) -> Self {
        Self {
            angle: [directories, &self.angle].concat(),
            ..self.clone()
        }
    }
}

/// The text is not the answer of a compiler in the C locale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchListError {
    /// A line that frames the lists is missing.
    #[error("the compiler's search list has no line {marker:?}")]
    MissingMarker {
        /// The line looked for.
        marker: &'static str,
    },
}

const QUOTE: &str = "#include \"...\" search starts here:";
const ANGLE: &str = "#include <...> search starts here:";
const END: &str = "End of search list.";
const INSTALLATION: &[u8] = b"Selected GCC installation: ";
const NONEXISTENT: &[u8] = b"ignoring nonexistent directory \"";

/// The predefined macros among what `-dM` prints on standard output, in the form of [`SearchList::predefined`].
pub fn predefined(stdout: &[u8]) -> Option<Vec<u8>> {
    const DEFINE: &[u8] = b"#define ";
    let lines = stdout.split_inclusive(|byte| *byte == b'\n');
    let mut definitions = lines.clone().filter(|line| line.starts_with(DEFINE)).peekable();
    definitions.peek()?;
    let is_reserved = |line: &&[u8]| line[DEFINE.len()..].starts_with(b"__");
    Some(
        definitions
            .filter(|line| !is_reserved(line))
            .flatten()
            .copied()
            .collect(),
    )
}

/// Parses the compiler's answer.
pub fn parse(stderr: &[u8]) -> Result<SearchList, SearchListError> {
    let mut list = SearchList::default();
    let mut lines = stderr
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    until(&mut lines, QUOTE, |line| {
        let name = line
            .strip_prefix(NONEXISTENT)
            .and_then(|rest| rest.strip_suffix(b"\""));
        list.ignored.extend(name.map(<[u8]>::to_vec));
        if let Some(installation) = line.strip_prefix(INSTALLATION) {
            list.installation = Some(installation.to_vec());
        }
    })?;
    let mut frameworks = false;
    let mut directory = |line: &[u8]| {
        let name = line.strip_prefix(b" ").unwrap_or(line);
        let plain = [b" (framework directory)".as_slice(), b" (headermap)"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        frameworks |= plain.is_some();
        plain.unwrap_or(name).to_vec()
    };
    until(&mut lines, ANGLE, |line| list.quote.push(directory(line)))?;
    until(&mut lines, END, |line| list.angle.push(directory(line)))?;
    list.frameworks = frameworks;
    Ok(list)
}

/// Gives each line before `marker` to `take`.
fn until<'a>(
    lines: &mut impl Iterator<Item = &'a [u8]>,
    marker: &'static str,
    mut take: impl FnMut(&'a [u8]),
) -> Result<(), SearchListError> {
    for line in lines {
        if line == marker.as_bytes() {
            return Ok(());
        }
        take(line);
    }
    Err(SearchListError::MissingMarker { marker })
}

/// What an argument is to the list.
enum Argument<'a> {
    /// Names this directory.
    Place(&'static [u8], &'a [u8]),
    /// Names none.
    Harmless,
    /// Anything else.
    Unknown,
}

/// What each of `arguments` is, with the words it is made of.
fn classified(arguments: &[Vec<u8>]) -> impl Iterator<Item = (Argument<'_>, &[Vec<u8>])> {
    const PLACES: [&[u8]; 4] = [FIRST, b"-isystem", b"-iquote", b"-idirafter"];
    const NO_PLACES: [&[u8]; 4] = [b"-O", b"-m", b"-std=", b"-pthread"];
    let mut rest = arguments;
    std::iter::from_fn(move || {
        let word = rest.first()?;
        let separate = PLACES.iter().find(|place| word == *place);
        let joined = || {
            let place = PLACES.iter().find(|place| word.starts_with(place))?;
            Some(Argument::Place(place, &word[place.len()..]))
        };
        let is_harmless = NO_PLACES.iter().any(|flag| word.starts_with(flag))
            || word.starts_with(b"-f") && !word.contains(&b'=');
        let (argument, length) = match (separate, rest.get(1)) {
            (Some(place), Some(name)) => (Argument::Place(place, name), 2),
            (Some(_), None) => (Argument::Unknown, 1),
            (None, _) if is_harmless => (Argument::Harmless, 1),
            (None, _) => (joined().unwrap_or(Argument::Unknown), 1),
        };
        let (words, behind) = rest.split_at(length);
        rest = behind;
        Some((argument, words))
    })
}

/// Whether a compiler called with `arguments` may print another list elsewhere: unless each is known to name no place,
/// or an absolute one.
pub fn depends_on_directory(arguments: &[Vec<u8>]) -> bool {
    classified(arguments).any(|(argument, _)| match argument {
        Argument::Place(_, place) => !place.starts_with(b"/"),
        Argument::Harmless => false,
        Argument::Unknown => true,
    })
}

/// The flag whose directories are searched before all others for both forms.
const FIRST: &[u8] = b"-I";

/// Arguments, and apart from them the directories that `-I` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The other arguments.
    pub rest: Vec<Vec<u8>>,
    /// The directories, in their order; at least one.
    pub directories: Vec<Vec<u8>>,
}

/// Takes the directories that `-I` names out of `arguments`. `None` where there are none, where one is spelled so that a
/// compiler may read or print it otherwise (`-I-`, `-I=x`, a slash at its end), or where an argument is not known to go
/// without its neighbours.
pub fn split_first_directories(arguments: &[Vec<u8>]) -> Option<Split> {
    let is_plain = |name: &[u8]| {
        let begins = name
            .first()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"/._".contains(byte));
        begins && !name.ends_with(b"/") && !name.contains(&b'\n')
    };
    let mut split = Split {
        rest: Vec::new(),
        directories: Vec::new(),
    };
    for (argument, words) in classified(arguments) {
        match argument {
            Argument::Place(FIRST, name) if is_plain(name) => split.directories.push(name.to_vec()),
            Argument::Place(FIRST, _) | Argument::Unknown => return None,
            Argument::Place(..) | Argument::Harmless => split.rest.extend_from_slice(words),
        }
    }
    (!split.directories.is_empty()).then_some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_relative_place_has_one_list_everywhere() {
        for (arguments, depends) in [
            ("", false),
            ("-O2 -march=x86-64 -std=c++20 -fno-exceptions -pthread", false),
            (
                "-I/usr/include/x -isystem /opt/x/include -iquote/x -idirafter/x",
                false,
            ),
            ("-I include", true),
            ("-Iinclude", true),
            ("-isystem -O2", true),
            ("-I", true),
            ("/usr/include", true),
            ("-I=x", true),
            ("-isysteminclude", true),
            ("--sysroot=root", true),
            ("-fplugin=here.so", true),
            ("-Xclang -Iinclude", true),
            ("-iprefix x/ -iwithprefix y", true),
            ("-B tools", true),
            ("@here", true),
        ] {
            let words: Vec<_> = arguments
                .split_whitespace()
                .map(|word| word.as_bytes().to_vec())
                .collect();
            assert_eq!(depends_on_directory(&words), depends, "{arguments}");
        }
    }

    fn names(list: &[&str]) -> Vec<Vec<u8>> {
        list.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn predefined_macros_are_those_a_file_may_use_as_a_name() {
        let check = |stdout: &str, expected: Option<&str>| {
            let found = predefined(stdout.as_bytes());
            assert_eq!(found, expected.map(|text| text.as_bytes().to_vec()), "{stdout:?}");
        };
        check(
            "#define __linux__ 1\n#define linux 1\n#define _LP64 1\n#define H \"x.h\"\n",
            Some("#define linux 1\n#define _LP64 1\n#define H \"x.h\"\n"),
        );
        check("#define __STDC__ 1\n", Some(""));
        check("", None);
        check("usage\n", None);
    }

    #[test]
    fn reads_the_answer_of_gcc() {
        let stderr = b"COLLECT_GCC_OPTIONS='-v'\n\
            ignoring nonexistent directory \"/usr/local/include/x86_64-linux-gnu\"\n\
            ignoring nonexistent directory \"no pe\"\n\
            ignoring duplicate directory \"/usr/include\"\n  \
            as it is a non-system directory that duplicates a system directory\n\
            #include \"...\" search starts here:\n q dir\n#include <...> search starts here:\n .\n \
            /usr/lib/gcc/x86_64-linux-gnu/12/include\nEnd of search list.\nCOMPILER_PATH=/usr/lib\n";
        let list = parse(stderr).unwrap();
        assert_eq!(list.quote, names(&["q dir"]));
        assert_eq!(
            list.angle,
            names(&[".", "/usr/lib/gcc/x86_64-linux-gnu/12/include"])
        );
        assert_eq!(
            list.ignored,
            names(&["/usr/local/include/x86_64-linux-gnu", "no pe"])
        );
        assert!(!list.frameworks);
    }

    #[test]
    fn keeps_the_spelling_of_clang_and_sees_frameworks() {
        let stderr = b"#include \"...\" search starts here:\n a.hmap (headermap)\n\
            #include <...> search starts here:\n /usr/bin/../lib/gcc/include\n \
            /Library/F (framework directory)\nEnd of search list.\n";
        let list = parse(stderr).unwrap();
        assert_eq!(list.quote, names(&["a.hmap"]));
        assert_eq!(list.angle, names(&["/usr/bin/../lib/gcc/include", "/Library/F"]));
        assert!(list.frameworks);
    }

    #[test]
    fn a_missing_marker_is_named() {
        let check = |stderr: &str, marker| {
            assert_eq!(
                parse(stderr.as_bytes()),
                Err(SearchListError::MissingMarker { marker })
            );
        };
        check("", QUOTE);
        check("gcc: fatal error: no input files\n", QUOTE);
        check("#include \"...\" search starts here:\n a\n", ANGLE);
        check(
            "#include \"...\" search starts here:\n#include <...> search starts here:\n /usr",
            END,
        );
    }
}
