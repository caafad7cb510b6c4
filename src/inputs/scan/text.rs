//! Source text as a preprocessor reads it after line splicing: one logical byte at a time, from any
//! position. Owns splices, blanks, comments and words; knows no directive.

use std::ops::Range;

use super::bounds::{BLANKS_AFTER_COMMENT, COMMENTS_IN_TRIVIA, SPLICE_BLANKS, WORD};

/// A view of one file's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
}

/// What stands between two tokens of a line could not be skipped within the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuchTrivia;

/// The first letters of a word and where it ended. A word longer than the longest keyword is `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    letters: [u8; WORD],
    length: usize,
    /// The position after the word.
    pub(super) end: usize,
}

impl Word {
    /// The word, or an empty slice where it is too long to be a keyword.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.letters.get(..self.length).unwrap_or_default()
    }
}

/// Where the closing `*/` of a text are, found once: a search from every `/*` would be quadratic in a file
/// of unterminated comments.
#[derive(Debug, Default)]
pub(super) struct CommentEnds {
    ends: Option<Vec<usize>>,
}

impl CommentEnds {
    /// The position after the first `*/` at or behind `from`.
    fn after(&mut self, text: Text<'_>, from: usize) -> Option<usize> {
        let ends = self.ends.get_or_insert_with(|| text.comment_ends());
        // An end lies at least two bytes behind the `*` it closes with.
        let next = ends.partition_point(|&end| end < from.saturating_add(2));
        ends.get(next).copied()
    }
}

impl<'a> Text<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes before `position`, for looking back on a line.
    pub(super) fn before(self, position: usize) -> &'a [u8] {
        self.bytes.get(..position).unwrap_or(self.bytes)
    }

    /// The physical bytes from `position` on.
    pub(super) fn from(self, position: usize) -> &'a [u8] {
        self.bytes.get(position..).unwrap_or_default()
    }

    /// The physical lines, without the line feeds that close them.
    pub(super) fn lines(self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', self.bytes).chain([self.bytes.len()]);
        ends.map(move |end| std::mem::replace(&mut start, end + 1)..end)
    }

    /// The logical byte at `position` and the position after it; splices are passed over.
    pub(super) fn next(self, mut position: usize) -> Option<(u8, usize)> {
        loop {
            let byte = *self.bytes.get(position)?;
            if byte != b'\\' && byte != b'?' {
                return Some((byte, position + 1));
            }
            match self.splice_end(position) {
                Some(end) => position = end,
                None => return Some((byte, position + 1)),
            }
        }
    }

    /// The logical byte at `position`.
    pub(super) fn peek(self, position: usize) -> Option<u8> {
        self.next(position).map(|(byte, _)| byte)
    }

    /// The position after a splice that starts at `position`: a backslash or `??/`, blanks (both compilers
    /// accept them, with a warning) and a line end.
    fn splice_end(self, position: usize) -> Option<usize> {
        let rest = self.from(position);
        let mut length = if rest.first() == Some(&b'\\') {
            1
        } else if rest.starts_with(b"??/") {
            3
        } else {
            return None;
        };
        let limit = length + SPLICE_BLANKS;
        while length < limit && matches!(rest.get(length), Some(b' ' | b'\t' | 0x0b | 0x0c)) {
            length += 1;
        }
        match rest.get(length)? {
            b'\n' => Some(position + length + 1),
            b'\r' if rest.get(length + 1) == Some(&b'\n') => Some(position + length + 2),
            b'\r' => Some(position + length + 1),
            _ => None,
        }
    }

    /// Skips blanks and whole comments. A `//` comment ends what a directive can say, so it is not skipped.
    pub(super) fn skip_trivia(self, position: usize, ends: &mut CommentEnds) -> Result<usize, TooMuchTrivia> {
        let mut at = self.skip_blanks(position, usize::MAX)?;
        for _ in 0..COMMENTS_IN_TRIVIA {
            let Some(inside) = self.comment_start(at) else {
                return Ok(at);
            };
            let Some(end) = ends.after(self, inside) else {
                return Ok(at);
            };
            at = self.skip_blanks(end, BLANKS_AFTER_COMMENT)?;
        }
        Err(TooMuchTrivia)
    }

    /// Reads letters, digits and underscores, splices within them included.
    pub(super) fn word(self, position: usize) -> Word {
        let mut word = Word {
            letters: [0; WORD],
            length: 0,
            end: position,
        };
        while let Some((byte, after)) = self.next(word.end) {
            if !is_word_byte(byte) {
                break;
            }
            let Some(letter) = word.letters.get_mut(word.length) else {
                return Word { length: 0, ..word };
            };
            *letter = byte;
            word.length += 1;
            word.end = after;
        }
        word
    }

    fn skip_blanks(self, position: usize, limit: usize) -> Result<usize, TooMuchTrivia> {
        let mut at = position;
        let mut skipped = 0;
        while let Some((byte, after)) = self.next(at)
            && is_blank(byte)
        {
            if skipped == limit {
                return Err(TooMuchTrivia);
            }
            skipped += 1;
            at = after;
        }
        Ok(at)
    }

    fn comment_start(self, position: usize) -> Option<usize> {
        let (b'/', after) = self.next(position)? else {
            return None;
        };
        match self.next(after)? {
            (b'*', inside) => Some(inside),
            _ => None,
        }
    }

    fn comment_ends(self) -> Vec<usize> {
        let stars = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'*');
        stars
            .filter_map(|(star, _)| match self.next(star + 1) {
                Some((b'/', end)) => Some(end),
                _ => None,
            })
            .collect()
    }
}

/// A byte that may stand between the tokens of a directive. Both compilers take a NUL for a blank.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0)
}

/// A byte of a keyword.
pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A byte an identifier can begin with: `$`, universal character names and UTF-8 are extensions or C23.
pub(super) fn starts_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'\\') || byte >= 0x80
}

/// What a line end is to compilers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// The end of a line.
    Ends,
    /// A splice.
    Spliced,
    /// Either, depending on the compiler and its mode.
    Unclear,
}

/// What the line feed is that closes `before`.
pub(super) fn line_end(before: &[u8]) -> LineEnd {
    let before = before.strip_suffix(b"\r").unwrap_or(before);
    let last = before.iter().rev().take(SPLICE_BLANKS + 1);
    let blanks = last.take_while(|byte| is_blank(**byte)).count();
    let (line, gap) = before.split_at(before.len() - blanks);
    match line {
        _ if blanks > SPLICE_BLANKS => LineEnd::Unclear,
        // Without trigraphs it is nothing.
        [.., b'?', b'?', b'/'] | [.., b'\r'] => LineEnd::Unclear,
        // gcc takes a NUL for a blank here and clang does not.
        [.., b'\\'] if gap.contains(&0) => LineEnd::Unclear,
        [.., b'\\'] => LineEnd::Spliced,
        _ => LineEnd::Ends,
    }
}

/// Whether a NUL makes a splice of some backslash for gcc only.
pub(super) fn has_unclear_splice(content: &[u8]) -> bool {
    memchr::memchr(0, content).is_some()
        && memchr::memchr_iter(b'\n', content).any(|at| {
            let line = content.get(..at).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let last = line.iter().rev().take(SPLICE_BLANKS);
            let blanks = last.take_while(|byte| is_blank(**byte)).count();
            let (line, gap) = line.split_at(line.len() - blanks);
            gap.contains(&0) && (line.ends_with(b"\\") || line.ends_with(b"??/"))
        })
}

/// Whether `rest` begins with what clang may take for white space beyond ASCII (Unicode's property `White_Space`).
pub(super) fn starts_odd_blank(rest: &[u8]) -> bool {
    matches!(
        rest,
        [0xc2, 0x85 | 0xa0, ..]
            | [0xe1, 0x9a, 0x80, ..]
            | [0xe1, 0xa0, 0x8e, ..]
            | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
            | [0xe2, 0x81, 0x9f, ..]
            | [0xe3, 0x80, 0x80, ..]
    )
}
