//! Questions about a path's bytes. Never touches a file and never normalises: `a/../b` depends on links.

/// The last component: what follows the last slash.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// `path` from the root on: itself when absolute, else below `cwd`.
pub(super) fn absolute(cwd: &[u8], path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    [cwd, b"/", path].concat()
}

/// Whether `path` names standard input, a device or a descriptor, which another machine does not share.
pub(super) fn is_special(path: &[u8]) -> bool {
    path == b"-" || path.starts_with(b"/dev/") || path.starts_with(b"/proc/")
}

/// Whether the file at `path` cannot be an output that is replaced by renaming: special, a directory by its
/// spelling, or nothing at all.
pub(super) fn is_odd_output(path: &[u8]) -> bool {
    is_special(path) || matches!(file_name(path), b"" | b"." | b"..")
}

/// Whether `path`, or any other bytes, contain `part`.
pub(super) fn mentions(path: &[u8], part: &[u8]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}

/// `path` with the suffix of its last component replaced by `suffix`, or appended where there is none.
/// A dot that begins the component counts as a suffix only for [`LeadingDot::IsSuffix`].
pub(super) fn with_suffix(path: &[u8], suffix: &[u8], leading_dot: LeadingDot) -> Vec<u8> {
    let name_start = path.len() - file_name(path).len();
    let dot = path[name_start..].iter().rposition(|&byte| byte == b'.');
    let stem_end = match (dot, leading_dot) {
        (Some(0), LeadingDot::IsName) | (None, _) => path.len(),
        (Some(position), _) => name_start + position,
    };
    [&path[..stem_end], suffix].concat()
}

/// How a file name such as `.o` is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeadingDot {
    /// The whole name is a stem.
    IsName,
    /// The stem is empty.
    IsSuffix,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_replaced_in_the_last_component_only() {
        let check = |path: &str, leading_dot, expect: &str| {
            let got = with_suffix(path.as_bytes(), b".d", leading_dot);
            assert_eq!(String::from_utf8(got).unwrap(), expect, "{path}");
        };
        check("x.y.o", LeadingDot::IsSuffix, "x.y.d");
        check("foo", LeadingDot::IsSuffix, "foo.d");
        check("a.b/foo", LeadingDot::IsSuffix, "a.b/foo.d");
        check("a.b/.o", LeadingDot::IsSuffix, "a.b/.d");
        check("a.b/.o", LeadingDot::IsName, "a.b/.o.d");
        check("x.", LeadingDot::IsName, "x.d");
        check("..o", LeadingDot::IsName, "..d");
        check("", LeadingDot::IsName, ".d");
    }

    #[test]
    fn odd_outputs() {
        for odd in ["", "-", "/dev/null", "/proc/self/fd/1", "out/", ".", "a/.."] {
            assert!(is_odd_output(odd.as_bytes()), "{odd}");
        }
        for plain in ["a.o", "dev/null", "/x/dev/null", "./a", "..o"] {
            assert!(!is_odd_output(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn relative_paths_are_below_the_working_directory() {
        assert_eq!(absolute(b"/w", b"a/../b"), b"/w/a/../b");
        assert_eq!(absolute(b"/w", b"/b"), b"/b");
    }

    #[test]
    fn mentions_finds_parts() {
        assert!(mentions(
            b"/b/CMakeFiles/CMakeScratch/x",
            b"CMakeFiles/CMakeScratch"
        ));
        assert!(!mentions(b"/b/CMakeFiles", b"CMakeFiles/CMakeScratch"));
    }
}
