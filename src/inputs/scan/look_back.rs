//! What stands before a position on its line. Only used to keep words in prose from costing a tier: a
//! literal name is believed wherever it stands.

use super::bounds::LOOK_BACK;
use super::text::{Text, ends_spliced, is_blank, is_word_byte};

/// Whether nothing but blanks or the end of a comment stands before `position` on its physical line. Only
/// there can a `#` begin a directive, whatever the lexer's state: text on an earlier, spliced line could
/// only make it less of one.
pub(super) fn is_first_on_line(text: Text<'_>, position: usize) -> bool {
    let whole = text.before(position);
    let before = without_blanks(whole);
    if whole.len() - before.len() >= LOOK_BACK {
        return true;
    }
    match before {
        [] | [.., b'\n' | b'\r'] | [0xef, 0xbb, 0xbf] | [.., b'*', b'/'] => true,
        // A comment may end in a spliced `*/`.
        [rest @ .., b'/'] => matches!(rest, [.., b'\n' | b'\r']),
        _ => false,
    }
}

/// Whether the bytes before `position`, less blanks, end with `word`.
pub(super) fn follows(text: Text<'_>, position: usize, word: &[u8]) -> bool {
    without_blanks(text.before(position)).ends_with(word)
}

/// Whether the word at `position` is only defined, undefined or asked for: `defined NAME`, `#ifdef NAME` and the like.
pub(super) fn is_only_named(text: Text<'_>, position: usize) -> bool {
    const BEFORE: [&[u8]; 9] = [
        b"define",
        b"undef",
        b"ifdef",
        b"ifndef",
        b"elifdef",
        b"elifndef",
        b"defined",
        b"defined(",
        b"defined (",
    ];
    BEFORE.iter().any(|word| follows(text, position, word))
}

/// Whether `position` begins a word. A splice before it counts as a boundary.
pub(super) fn begins_word(text: Text<'_>, position: usize) -> bool {
    !text
        .before(position)
        .last()
        .is_some_and(|byte| is_word_byte(*byte))
}

/// Whether a `define` stands before `position` on its logical line; yes for a line too long to tell.
pub(super) fn is_in_define(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let window = before
        .get(before.len().saturating_sub(LOOK_BACK)..)
        .unwrap_or(before);
    let mut start = window.len();
    while let Some(line_end) = window
        .get(..start)
        .and_then(|head| head.iter().rposition(|b| *b == b'\n'))
    {
        if !ends_spliced(window.get(..line_end).unwrap_or_default()) {
            return contains(window.get(line_end + 1..).unwrap_or_default(), b"define");
        }
        start = line_end;
    }
    window.len() < before.len() || contains(window, b"define")
}

/// Whether `position`, unless it is in a comment or string, belongs to an `#if` or `#elif` that begins its logical
/// line; no for a line too long to tell.
pub(super) fn is_in_condition(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let window = before
        .get(before.len().saturating_sub(LOOK_BACK)..)
        .unwrap_or(before);
    let mut start = window.len();
    let line = loop {
        let head = window.get(..start).unwrap_or_default();
        match head.iter().rposition(|byte| *byte == b'\n') {
            Some(line_end) if ends_spliced(head.get(..line_end).unwrap_or_default()) => start = line_end,
            Some(line_end) => break window.get(line_end + 1..).unwrap_or_default(),
            None if window.len() == before.len() => break window,
            None => return false,
        }
    };
    let Some(directive) = line.trim_ascii_start().strip_prefix(b"#") else {
        return false;
    };
    let directive = directive.trim_ascii_start();
    // Behind the end of a comment or of a raw string the directive may have begun on an earlier line.
    let ends_context = line.iter().any(|byte| matches!(byte, b'*' | b'"'));
    (directive.starts_with(b"if") || directive.starts_with(b"elif")) && !ends_context
}

/// Whether an odd number of unescaped quotes stands before `position` on its physical line, as inside a
/// string literal of C.
pub(super) fn is_in_string(text: Text<'_>, position: usize) -> bool {
    let before = text.before(position);
    let window = before
        .get(before.len().saturating_sub(LOOK_BACK)..)
        .unwrap_or(before);
    let line_start = window
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |line_end| line_end + 1);
    let line = window.get(line_start..).unwrap_or_default();
    let mut inside = false;
    let mut escaped = false;
    for byte in line {
        match byte {
            b'\\' => escaped = !escaped,
            b'"' if !escaped => inside = !inside,
            _ => escaped = false,
        }
        if *byte == b'"' {
            escaped = false;
        }
    }
    inside || (line_start == 0 && window.len() < before.len())
}

fn without_blanks(before: &[u8]) -> &[u8] {
    let blanks = before
        .iter()
        .rev()
        .take(LOOK_BACK)
        .take_while(|byte| is_blank(**byte))
        .count();
    before.get(..before.len() - blanks).unwrap_or_default()
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}
