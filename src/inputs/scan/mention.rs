//! Macros that stand for `__has_include`: which names a text asks for through one.

use super::text::{Text, is_blank, is_word_byte};
use super::{Reference, ReferenceKind, Scanner, look_back};

/// What may stand for the operator: `__has_include` and `__has_include_next` are told apart by nothing here.
const KINDS: [ReferenceKind; 2] = [ReferenceKind::HasInclude, ReferenceKind::HasIncludeNext];

/// What a text asks for through one macro.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// The literal names.
    pub includes: Vec<Reference>,
    /// A name is asked for that only a preprocessor knows, or the macro is handed on.
    pub computed: bool,
}

/// The macro that the definition around the operator at `at` makes stand for it: `#define NAME __has_include` or
/// `#define NAME(x) __has_include(x)`, on one line. `end` is behind the operator.
pub(super) fn alias_of(text: Text<'_>, at: usize, end: usize) -> Option<Vec<u8>> {
    let line = line_before(text.before(at));
    let line = strip(line.trim_ascii_start(), b"#")?;
    let line = strip(line.trim_ascii_start(), b"define")?;
    let name = line.trim_ascii_start();
    if name.len() == line.len() {
        return None;
    }
    let (name, rest) = split_word(name);
    if name.is_empty() {
        return None;
    }
    let after = text.from(end);
    let after = if rest.starts_with(b"(") {
        let (parameter, rest) = split_word(rest.get(1..)?.trim_ascii_start());
        if parameter.is_empty() || rest.trim_ascii() != b")" {
            return None;
        }
        let inside = strip(after.trim_ascii_start(), b"(")?;
        let (operand, rest) = split_word(inside.trim_ascii_start());
        if operand != parameter {
            return None;
        }
        strip(rest.trim_ascii_start(), b")")?
    } else if rest.trim_ascii().is_empty() {
        after
    } else {
        return None;
    };
    let blanks = after.iter().take_while(|byte| is_blank(**byte)).count();
    matches!(after.get(blanks), None | Some(b'\n' | b'\r')).then(|| name.to_vec())
}

/// Everything `content` asks for through `alias`.
pub fn mentions(content: &[u8], alias: &[u8]) -> Mentions {
    let mut scanner = Scanner::new(content);
    let mut computed = false;
    for at in memchr::memmem::find_iter(content, alias) {
        let end = at + alias.len();
        let text = scanner.text;
        let is_word = look_back::begins_word(text, at) && !text.peek(end).is_some_and(is_word_byte);
        let is_used = !look_back::is_only_named(text, at);
        if is_word && is_used && !is_prose(text.before(at)) {
            computed |= !asks_literally(&mut scanner, at, end);
        }
    }
    Mentions {
        includes: scanner.finish().includes,
        computed,
    }
}

fn asks_literally(scanner: &mut Scanner<'_>, at: usize, end: usize) -> bool {
    let Ok(open) = scanner.skip_trivia(end) else {
        return false;
    };
    let Some((b'(', inside)) = scanner.text.next(open) else {
        // Without an operand it asks for nothing, unless another macro is made of it.
        return !look_back::is_in_define(scanner.text, at);
    };
    let Ok(operand) = scanner.skip_trivia(inside) else {
        return false;
    };
    KINDS.iter().all(|kind| scanner.literal(*kind, operand))
}

/// Whether the line up to here is that of a comment: no directive goes on in it.
fn is_prose(before: &[u8]) -> bool {
    let line = line_before(before);
    let earlier = before.get(..before.len() - line.len()).unwrap_or_default();
    let earlier = earlier.trim_ascii_end();
    let line = line.trim_ascii_start();
    let begins = line.starts_with(b"/*") || line.starts_with(b"//") || line.starts_with(b"*");
    begins
        && memchr::memmem::find(line, b"*/").is_none()
        && !earlier.ends_with(b"\\")
        && !earlier.ends_with(b"??/")
}

fn line_before(before: &[u8]) -> &[u8] {
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    before.get(start..).unwrap_or_default()
}

fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(prefix)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| is_word_byte(**byte)).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::scan::scan;

    #[test]
    fn a_macro_for_the_operator_is_known_by_its_definition() {
        let check = |text: &str, aliases: &[&str], probe: bool| {
            let found = scan(text.as_bytes());
            let names: Vec<_> = found
                .probe_aliases
                .iter()
                .map(|name| String::from_utf8_lossy(name))
                .collect();
            assert_eq!(
                (names, found.computed_probe),
                (aliases.iter().map(|name| (*name).into()).collect(), probe),
                "{text:?}"
            );
        };
        check("#define HAS __has_include\n", &["HAS"], false);
        check("#  define HAS(x) __has_include(x)\n", &["HAS"], false);
        check("#define HAS( x ) __has_include( x )", &["HAS"], false);
        check("#define HAS(x) __has_include(MACRO)\n", &[], true);
        check("#define HAS(x) A && __has_include(x)\n", &[], true);
        check("#define HAS(x) __has_include(x) || B\n", &[], true);
        check("#define HAS \\\n __has_include\n", &[], true);
        check("#define HAVE __has_include(<x.h>)\n", &[], false);
        check("#if __has_include(MACRO)\n", &[], false);
        check("#if __has_include(MACRO())\n", &[], true);
    }

    #[test]
    fn what_is_asked_through_a_macro_is_found() {
        let check = |text: &str, names: &[&str], computed: bool| {
            let found = mentions(text.as_bytes(), b"HAS");
            let mut spelled: Vec<_> = found
                .includes
                .iter()
                .map(|name| String::from_utf8_lossy(&name.spelling))
                .collect();
            spelled.dedup();
            assert_eq!(
                (spelled, found.computed),
                (names.iter().map(|name| (*name).into()).collect(), computed),
                "{text:?}"
            );
        };
        check("#ifndef HAS\n#define HAS __has_include\n#endif\n", &[], false);
        check("#define HAS(x) 0\n", &[], false);
        check("#if A || (B && HAS(<x.h>))\n", &["x.h"], false);
        check(
            "#if HAS ( \"../y.h\" ) \\\n && HAS(<z.h>)\n",
            &["../y.h", "z.h"],
            false,
        );
        check("#if HAS(MACRO)\n", &[], true);
        check("#define HAVE_X HAS(\"x.h\")\n", &["x.h"], false);
        check("#define OTHER HAS\n", &[], true);
        check("#define OTHER(x) HAS(x)\n", &[], true);
        check("#if XHAS(MACRO) || HASX(MACRO)\n", &[], false);
        check("/* HAS(x) is\n * HAS(x), and\n // HAS(x)\n", &[], false);
        check("#if A /*\n * */ && HAS(MACRO)\n", &[], true);
        check("#if A \\\n * HAS(MACRO)\n", &[], true);
        check("#if defined(HAS) && HAS(<x.h>)\n", &["x.h"], false);
    }
}
