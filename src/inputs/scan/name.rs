//! Names between delimiters: header names, string literals, and strings within strings.

use super::bounds::NAME;
use super::text::Text;

/// The logical bytes from `position` up to `close`, and the position after it. `None` if the line ends
/// first or the name is longer than a path can be. A backslash escapes nothing, as in a header name of gcc.
pub(super) fn until(text: Text<'_>, position: usize, close: u8) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut at = position;
    while name.len() <= NAME {
        let (byte, after) = text.next(at)?;
        at = after;
        match byte {
            b'\n' | b'\r' => return None,
            byte if byte == close => return Some((name, at)),
            byte => name.push(byte),
        }
    }
    None
}

/// The byte of the numeric escape whose backslash is before `position`, `x41` or `101`.
pub(super) fn numeric_escape(text: Text<'_>, position: usize) -> Option<u8> {
    escape(text, position).map(|(byte, _)| byte)
}

/// The same and the position after it.
pub(super) fn escape(text: Text<'_>, position: usize) -> Option<(u8, usize)> {
    let (radix, limit, mut at) = match text.next(position)? {
        (b'x', after) => (16, usize::MAX, after),
        (b'0'..=b'7', _) => (8, 3, position),
        _ => return None,
    };
    let mut value: u32 = 0;
    let mut digits = 0;
    while digits < limit
        && let Some((byte, after)) = text.next(at)
        && let Some(digit) = char::from(byte).to_digit(radix)
    {
        value = value.checked_mul(radix)?.checked_add(digit)?;
        digits += 1;
        at = after;
    }
    let byte = u8::try_from(value).ok().filter(|_| digits > 0)?;
    Some((byte, at))
}

/// The content of a string literal whose opening quote is before `position`, with `\"` and `\\` undone.
pub(super) fn string(text: Text<'_>, position: usize, limit: usize) -> Option<(Vec<u8>, usize)> {
    unescaped(text, position, limit, |_, _| None)
}

/// The same with numbers undone too, as in the name that a `#line` gives.
pub(super) fn interpreted_string(text: Text<'_>, position: usize, limit: usize) -> Option<(Vec<u8>, usize)> {
    unescaped(text, position, limit, escape)
}

fn unescaped(
    text: Text<'_>,
    position: usize,
    limit: usize,
    other: impl Fn(Text<'_>, usize) -> Option<(u8, usize)>,
) -> Option<(Vec<u8>, usize)> {
    let mut content = Vec::new();
    let mut at = position;
    while content.len() <= limit {
        let (byte, after) = text.next(at)?;
        at = after;
        match byte {
            b'\n' | b'\r' => return None,
            b'"' => return Some((content, at)),
            b'\\' => {
                let escaped = match text.next(at) {
                    Some((escaped @ (b'"' | b'\\'), after)) => Some((escaped, after)),
                    _ => other(text, at),
                };
                let (meant, after) = escaped.unwrap_or((byte, at));
                content.push(meant);
                at = after;
            }
            byte => content.push(byte),
        }
    }
    None
}

/// The name up to an escaped quote, as an assembler operand stands in a string literal of C. `None` if the
/// literal or the line ends first: then the operand goes on elsewhere.
pub(super) fn until_escaped_quote(text: Text<'_>, position: usize) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = position;
    while name.len() <= NAME {
        let (byte, after) = text.next(at)?;
        at = after;
        match byte {
            b'\n' | b'\r' | b'"' => return None,
            b'\\' => {
                let (escaped, after) = text.next(at)?;
                at = after;
                match escaped {
                    b'"' => return Some(name),
                    b'\\' => name.push(b'\\'),
                    _ => return None,
                }
            }
            byte => name.push(byte),
        }
    }
    None
}

/// The name as a compiler with trigraphs (`-std=c11`, `-trigraphs`) reads it, if that differs.
pub(super) fn without_trigraphs(name: &[u8]) -> Option<Vec<u8>> {
    let mut translated = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        if let [b'?', b'?', third, tail @ ..] = rest
            && let Some(meant) = trigraph(*third)
        {
            translated.push(meant);
            rest = tail;
        } else {
            translated.push(byte);
            rest = tail;
        }
    }
    (translated != name).then_some(translated)
}

/// The replacement of `??` and `third` (C11 5.2.1.1).
fn trigraph(third: u8) -> Option<u8> {
    let meant = match third {
        b'=' => b'#',
        b'(' => b'[',
        b'/' => b'\\',
        b')' => b']',
        b'\'' => b'^',
        b'<' => b'{',
        b'!' => b'|',
        b'>' => b'}',
        b'-' => b'~',
        _ => return None,
    };
    Some(meant)
}
