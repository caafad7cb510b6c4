//! Macros that make an output depend on a clock or a file's time: of which pieces `##` may make their names. A piece may
//! be in one file and the macro that pastes it in another.

use super::text::{Text, TooMuchTrivia, is_blank, is_word_byte};
use super::{Scanner, look_back};

/// Which macros that read a clock or a file time occur in the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeMacros {
    /// `__DATE__` or `__TIME__`.
    pub date_or_time: bool,
    /// `__TIMESTAMP__`, the source file's modification time.
    pub timestamp: bool,
}

impl TimeMacros {
    /// Adds what another file contains.
    pub fn unite(&mut self, other: Self) {
        self.date_or_time |= other.date_or_time;
        self.timestamp |= other.timestamp;
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Words of which `##` may make such a macro's name: a `__` put before a word, one put behind, and the word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimePieces {
    leads: bool,
    ends: bool,
    /// Beginnings of the names that are more than the `__`: `__DA` and the like. Any macro may put the rest behind one.
    begun: TimeMacros,
    /// `DATE` and the like.
    bare: TimeMacros,
    /// `DATE__` and the like.
    ended: TimeMacros,
}

impl TimePieces {
    /// Adds those of another file.
    pub fn unite(&mut self, other: Self) {
        self.leads |= other.leads;
        self.ends |= other.ends;
        self.begun.unite(other.begun);
        self.bare.unite(other.bare);
        self.ended.unite(other.ended);
    }

    /// What they may become together.
    pub fn pasted(self) -> TimeMacros {
        let mut pasted = self.begun;
        if self.leads {
            pasted.unite(self.ended);
        }
        if self.leads && self.ends {
            pasted.unite(self.bare);
        }
        pasted
    }
}

/// What lies between the underscores of the names, and which of them it is in.
const DATE: &[u8] = b"DATE";
const TIME: &[u8] = b"TIME";
const STAMP: &[u8] = b"STAMP";
const UNDERSCORES: &[u8] = b"__";
/// Letters behind the underscores by which the beginning of a name is told from other words; fewer are one only before a
/// `##`.
const TELLING: usize = 2;

const DATE_OR_TIME: TimeMacros = TimeMacros {
    date_or_time: true,
    timestamp: false,
};
const TIMESTAMP: TimeMacros = TimeMacros {
    date_or_time: false,
    timestamp: true,
};

impl Scanner<'_> {
    /// Judges the word `part`, which begins at `at` with an underscore and ends before `end`.
    pub(super) fn time_piece(&mut self, at: usize, part: &[u8], end: usize) -> Result<(), TooMuchTrivia> {
        let Some(letters) = part.strip_prefix(UNDERSCORES) else {
            return Ok(());
        };
        let begun = begun_by(letters);
        if (begun.is_none() && !letters.is_empty()) || !look_back::begins_word(self.text, at) {
            return Ok(());
        }
        let behind = self.skip_trivia(end)?;
        let place = Place::of(self.text, at, behind);
        if letters.is_empty() {
            self.references.time_pieces.leads |= place.is_before;
            self.references.time_pieces.ends |= place.is_behind;
        } else if place.is_before && (letters.len() >= TELLING || may_paste(self.text, behind)) {
            self.references.time_pieces.begun.unite(begun);
        }
        Ok(())
    }

    /// Whether a word that ends before `end` may be the last of a `##`'s operand.
    fn ends_operand(&mut self, end: usize) -> bool {
        match self.skip_trivia(end) {
            Ok(behind) => ends_value(self.text, behind) || may_paste(self.text, behind),
            Err(TooMuchTrivia) => true,
        }
    }

    /// Looks for the words that are to be put between underscores: they begin with no byte of a rule's.
    pub(super) fn time_words(&mut self) {
        let text = self.text.from(0);
        for core in [DATE, TIME] {
            for at in memchr::memmem::find_iter(text, core) {
                if text
                    .get(..at)
                    .and_then(<[u8]>::last)
                    .is_some_and(|byte| is_word_byte(*byte))
                {
                    continue;
                }
                let rest = text.get(at + core.len()..).unwrap_or_default();
                let (macros, rest) = match rest.strip_prefix(STAMP).filter(|_| core == TIME) {
                    Some(rest) => (TIMESTAMP, rest),
                    None => (DATE_OR_TIME, rest),
                };
                let ended = rest.strip_prefix(UNDERSCORES);
                if ended
                    .unwrap_or(rest)
                    .first()
                    .is_some_and(|byte| is_word_byte(*byte))
                {
                    continue;
                }
                let pieces = self.references.time_pieces;
                let mut united = if ended.is_some() {
                    pieces.ended
                } else {
                    pieces.bare
                };
                let known = united;
                united.unite(macros);
                let end = text.len() - ended.unwrap_or(rest).len();
                if united == known
                    || !look_back::may_be_operand(self.text, at)
                    || !self.ends_operand(end)
                    || look_back::is_in_block_of_prose(self.text, at)
                {
                    continue;
                }
                if ended.is_some() {
                    self.references.time_pieces.ended = united;
                } else {
                    self.references.time_pieces.bare = united;
                }
            }
        }
    }
}

/// Whether what the token at `behind` follows may be all there is of an argument or of a macro's value.
fn ends_value(text: Text<'_>, behind: usize) -> bool {
    match text.next(behind) {
        None | Some((b',' | b')' | b'\n' | b'\r', _)) => true,
        Some((b'/', after)) => text.peek(after) == Some(b'/'),
        Some(_) => false,
    }
}

/// Whether the token at `behind` may be a `##`.
fn may_paste(text: Text<'_>, behind: usize) -> bool {
    matches!(text.peek(behind), Some(b'#' | b'%' | b'?'))
}

/// The names that `letters`, behind two underscores, are the beginning of and not all.
fn begun_by(letters: &[u8]) -> TimeMacros {
    let begins = |name: &[u8]| (1..name.len()).contains(&letters.len()) && name.starts_with(letters);
    TimeMacros {
        date_or_time: begins(b"DATE__") || begins(b"TIME__"),
        timestamp: begins(b"TIMESTAMP__"),
    }
}

/// Where a word may be put by `##`, as an operand of it, as an argument or as a macro's value.
struct Place {
    is_before: bool,
    is_behind: bool,
}

impl Place {
    /// Of the word that begins at `at`; `behind` is where the next token is.
    fn of(text: Text<'_>, at: usize, behind: usize) -> Self {
        let before = text.before(at);
        let blanks = before.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let before = before.get(..before.len() - blanks).unwrap_or_default();
        let joins_before = [&b"#"[..], b"%:", b"??="]
            .iter()
            .any(|hash| before.ends_with(hash));
        let next = text.peek(behind);
        let joins_behind = may_paste(text, behind);
        let is_alone = !joins_before && ends_value(text, behind);
        let is_first = before.ends_with(b"(") && next == Some(b',');
        let is_last = before.ends_with(b",") && next == Some(b')');
        Self {
            is_before: joins_behind || (is_alone && !is_last),
            is_behind: joins_before || (is_alone && !is_first),
        }
    }
}
