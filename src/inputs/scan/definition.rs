//! Macros that a text defines, and which of them may stand for a header's name.
//!
//! A text keeps only a hash of each name it defines, since headers define thousands and next to none is ever asked for.
//! What one stands for is read when it is.

use super::bounds::{DEFINITIONS, MACRO};
use super::text::{CommentEnds, Text, TooMuchTrivia, is_word_byte, starts_odd_blank};
use super::{Form, Scanner};

/// The names a text defines as macros, wherever and however it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefinedNames(
    /// Hashes, ascending.
    Box<[u32]>,
);

impl DefinedNames {
    pub(super) fn new(mut hashes: Vec<u32>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes.into())
    }

    /// Whether `name` may be among them: never a wrong no, seldom a wrong yes.
    pub fn may_hold(&self, name: &[u8]) -> bool {
        let hash = name.iter().fold(SEED, |hash, byte| mix(hash, *byte));
        self.0.binary_search(&hash).is_ok()
    }
}

/// FNV-1a (draft-eastlake-fnv).
const SEED: u32 = 0x811c_9dc5;

fn mix(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// What one definition makes of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// The name of a header, which no further macro changes, unless a word of one in angle brackets is a macro.
    Header(Form, Box<[u8]>),
    /// Another identifier and nothing else.
    Name(Box<[u8]>),
    /// No header's name: nothing or a number.
    Nothing,
    /// A macro with parameters, which a name without parentheses behind it does not invoke.
    Function,
    /// Anything else.
    Other,
}

impl Scanner<'_> {
    /// Reads the `#define` whose word ends before `position`.
    pub(super) fn define(&mut self, position: usize) -> Result<(), TooMuchTrivia> {
        let mut at = self.skip_trivia(position)?;
        let mut hash = SEED;
        let start = at;
        while let Some((byte, after)) = self.text.next(at)
            && is_word_byte(byte)
        {
            hash = mix(hash, byte);
            at = after;
        }
        if at > start {
            self.defined.push(hash);
        }
        Ok(())
    }
}

/// Every definition of `name` in `content`, in comments and dead branches too.
pub fn definitions(content: &[u8], name: &[u8]) -> Vec<Definition> {
    let text = Text::new(content);
    let mut ends = CommentEnds::default();
    let mut found = Vec::new();
    for at in memchr::memchr3_iter(b'#', b'%', b'?', content) {
        let after = match text.from(at) {
            [b'#', ..] => at + 1,
            [b'?', b'?', b'=', ..] => at + 3,
            [b'%', ..] => match text.next(at + 1) {
                Some((b':', after)) => after,
                _ => continue,
            },
            _ => continue,
        };
        // What cannot be read may define anything.
        let definition = read_define(text, after, name, &mut ends).unwrap_or(Some(Definition::Other));
        found.extend(definition.filter(|definition| !found.contains(definition)));
        if found.len() > DEFINITIONS {
            return vec![Definition::Other];
        }
    }
    found
}

/// What the directive behind the `#` that ends before `position` makes of `name`, if it defines that.
fn read_define(
    text: Text<'_>,
    position: usize,
    name: &[u8],
    ends: &mut CommentEnds,
) -> Result<Option<Definition>, TooMuchTrivia> {
    let word = text.word(text.skip_trivia(position, ends)?);
    if word.as_bytes() != b"define" {
        return Ok(None);
    }
    let mut at = text.skip_trivia(word.end, ends)?;
    if starts_odd_blank(text.from(at)) {
        return Ok(Some(Definition::Other));
    }
    for expected in name {
        match text.next(at) {
            Some((byte, after)) if byte == *expected => at = after,
            _ => return Ok(None),
        }
    }
    match text.peek(at) {
        Some(byte) if is_word_byte(byte) => Ok(None),
        Some(b'(') => Ok(Some(Definition::Function)),
        _ => read_value(text, at, ends).map(Some),
    }
}

fn read_value(text: Text<'_>, position: usize, ends: &mut CommentEnds) -> Result<Definition, TooMuchTrivia> {
    let start = text.skip_trivia(position, ends)?;
    if is_line_end(text, start) {
        return Ok(Definition::Nothing);
    }
    let value = match text.next(start) {
        Some((b'"', inside)) => quoted(text, inside),
        Some((b'<', inside)) => angled(text, inside),
        Some((byte, _)) if is_word_byte(byte) => identifier(text, start).map(|(word, end)| {
            let definition = if byte.is_ascii_digit() {
                Definition::Nothing
            } else {
                Definition::Name(word)
            };
            (definition, end)
        }),
        _ => None,
    };
    let Some((definition, end)) = value else {
        return Ok(Definition::Other);
    };
    let end = text.skip_trivia(end, ends)?;
    Ok(if is_line_end(text, end) {
        definition
    } else {
        Definition::Other
    })
}

/// A string of which every compiler makes the same name: without escapes and what may be a trigraph.
fn quoted(text: Text<'_>, position: usize) -> Option<(Definition, usize)> {
    let is_plain = |byte| !matches!(byte, b'\\' | b'?' | b'\n' | b'\r' | 0);
    let (spelling, end) = until(text, position, b'"', is_plain)?;
    Some((Definition::Header(Form::Quote, spelling), end))
}

/// A name in angle brackets that comes out of the preprocessor as it goes in, but for the words in it: no blanks, no
/// comments, no tokens that end behind the bracket.
fn angled(text: Text<'_>, position: usize) -> Option<(Definition, usize)> {
    let is_plain = |byte| is_word_byte(byte) || matches!(byte, b'.' | b'/' | b'+' | b'-');
    let (spelling, end) = until(text, position, b'>', is_plain)?;
    let is_odd = spelling.ends_with(b"-") || spelling.windows(2).any(|pair| pair == b"//");
    (!is_odd).then_some((Definition::Header(Form::Angle, spelling), end))
}

/// The bytes up to `close`, at least one, if all are plain.
fn until(
    text: Text<'_>,
    position: usize,
    close: u8,
    is_plain: impl Fn(u8) -> bool,
) -> Option<(Box<[u8]>, usize)> {
    let mut name = Vec::new();
    let mut at = position;
    while name.len() <= super::bounds::NAME {
        let (byte, after) = text.next(at)?;
        at = after;
        match byte {
            byte if byte == close => return (!name.is_empty()).then(|| (name.into(), at)),
            byte if is_plain(byte) => name.push(byte),
            _ => return None,
        }
    }
    None
}

/// The letters, digits and underscores at `position`, at least one, and the position behind them. `None` where it is
/// longer than a name we follow, or may end at a trigraph.
pub(super) fn identifier(text: Text<'_>, position: usize) -> Option<(Box<[u8]>, usize)> {
    let mut word = Vec::new();
    let mut at = position;
    while let Some((byte, after)) = text.next(at)
        && is_word_byte(byte)
    {
        if word.len() == MACRO {
            return None;
        }
        word.push(byte);
        at = after;
    }
    let spelled = text.before(at).get(position..).unwrap_or_default();
    (!word.is_empty() && !spelled.contains(&b'?')).then(|| (word.into(), at))
}

/// Whether nothing but a `//` comment may stand between `position` and the end of its line.
pub(super) fn is_line_end(text: Text<'_>, position: usize) -> bool {
    match text.next(position) {
        None | Some((b'\n', _)) => true,
        Some((b'\r', after)) => matches!(text.peek(after), None | Some(b'\n')),
        Some((b'/', after)) => text.peek(after) == Some(b'/'),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::scan::scan;

    fn show(definition: &Definition) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match definition {
            Definition::Header(Form::Quote, name) => format!("\"{}\"", text(name)),
            Definition::Header(Form::Angle, name) => format!("<{}>", text(name)),
            Definition::Name(name) => text(name),
            other => format!("{other:?}"),
        }
    }

    /// What `text` makes of `HEADER`. Whatever is found is announced.
    fn check(text: &str, expected: &[&str]) {
        let found = definitions(text.as_bytes(), b"HEADER");
        assert_eq!(found.iter().map(show).collect::<Vec<_>>(), expected, "{text:?}");
        let defined = scan(text.as_bytes()).defined;
        assert_eq!(defined.may_hold(b"HEADER"), !expected.is_empty(), "{text:?}");
    }

    #[test]
    fn every_spelling_of_a_definition() {
        for text in [
            "#define HEADER <x.h>",
            "  #  define\tHEADER\t<x.h>  \n",
            "%:define HEADER <x.h> // why\n",
            "%\\\n:define HEADER <x.h>\r\n",
            "??=define HEADER <x.h> /* why */\n",
            "#/* a\nb */define/**/HEADER/**/<x.h>",
            "#def\\\nine HEA\\\nDER \\\n <x\\\n.h>\n",
            "#def??/\nine HEADER <x.h>",
            "/* #define HEADER <x.h>\n */",
            "#if 0\n#define HEADER <x.h>\n#endif",
            "R\"(\n#define HEADER <x.h>\n)\"",
            "#define HEADER<x.h>",
        ] {
            check(text, &["<x.h>"]);
        }
    }

    #[test]
    fn what_a_definition_stands_for() {
        check("#define HEADER \"../a b$c.h\"", &["\"../a b$c.h\""]);
        check("#define HEADER\"x.h\"", &["\"x.h\""]);
        check("#define HEADER <../sys-1/x++.hpp>", &["<../sys-1/x++.hpp>"]);
        check("#define HEADER OTHER_9", &["OTHER_9"]);
        check("#define HEADER OTHER /* why */ // indeed", &["OTHER"]);
        check("#define HEADER", &["Nothing"]);
        check("#define HEADER /* none */\n", &["Nothing"]);
        check("#define HEADER 1\n", &["Nothing"]);
        check("#define HEADER() <x.h>\n", &["Function"]);
        check(
            "#define HEADER <x.h>\n#undef HEADER\n#define HEADER \"y.h\"\n#define HEADER <x.h>\n",
            &["<x.h>", "\"y.h\""],
        );
    }

    #[test]
    fn what_is_not_understood_is_said_so() {
        for value in [
            "\"x\\\"y\"",
            "\"x??=y\"",
            "\"x.h\" \"y.h\"",
            "\"x.h",
            "\"\"",
            "L\"x.h\"",
            "< x.h>",
            "<x y.h>",
            "<x/**/y.h>",
            "<x//y.h>",
            "<x->",
            "<x.h>>",
            "<x.h",
            "<x$y.h>",
            "<x(y).h>",
            "STRING(x)",
            "A B",
            "(A)",
            "A ## B",
            "-1",
            "1.0",
            "a\\u00e9",
            "$x",
            "A??/\nB",
            "\u{e9}",
        ] {
            check(&format!("#define HEADER {value}\n"), &["Other"]);
        }
        check("#define HEADER$ <x.h>", &["Other"]);
        let odd = "#define\u{a0}HEADER <x.h>\n#define HEADER\u{a0}<x.h>\n";
        assert_eq!(definitions(odd.as_bytes(), b"HEADER"), [Definition::Other]);
        check(&format!("#define HEADER {}\n", "A".repeat(MACRO + 1)), &["Other"]);
    }

    #[test]
    fn other_names_are_left_alone() {
        check("#define HEADERS <x.h>", &[]);
        check("#define HEADE <x.h>", &[]);
        check("#undef HEADER", &[]);
        check("#ifdef HEADER", &[]);
        check("#define A HEADER", &[]);
        check("define HEADER <x.h>", &[]);
    }
}
