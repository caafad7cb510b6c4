//! The include search list, as the compiler itself prints it.
//!
//! Pure: parses what `LC_ALL=C cc <flags> -v -E -dM -x LANG /dev/null` prints. Never runs it, and
//! never re-implements the order of `-I`, `-isystem`, `CPATH` or the removal of duplicates.

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

/// Whether a compiler called with `arguments` may print another list elsewhere: unless each is known to name no place,
/// or an absolute one.
pub fn depends_on_directory(arguments: &[Vec<u8>]) -> bool {
    const PLACES: [&[u8]; 4] = [b"-I", b"-isystem", b"-iquote", b"-idirafter"];
    const NO_PLACES: [&[u8]; 4] = [b"-O", b"-m", b"-std=", b"-pthread"];
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let place = if PLACES.contains(&word.as_slice()) {
            words.next().map(Vec::as_slice)
        } else {
            PLACES.iter().find_map(|place| word.strip_prefix(*place))
        };
        let is_harmless = match place {
            Some(place) => place.starts_with(b"/"),
            None => {
                NO_PLACES.iter().any(|flag| word.starts_with(flag))
                    || word.starts_with(b"-f") && !word.contains(&b'=')
            }
        };
        if !is_harmless {
            return true;
        }
    }
    false
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
