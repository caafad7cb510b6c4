//! `.incbin` and `.include`, in assembler files and in the strings of inline assembler. The compilers' own
//! dependency output names neither, and no assembler says that it could not read a file of a search path while a later
//! directory has another: a name that is not known here for certain has to keep the unit here.

use super::bounds::NAME;
use super::text::{TooMuchTrivia, Word, is_word_byte, starts_identifier};
use super::{Form, ReferenceKind, Scanner, look_back, name};

/// What makes pieces of text into statements: the arguments of these.
const MACROS: [&[u8]; 2] = [b".macro", b".irp"];
/// Lets them stand without a backslash.
const ALTERNATE: &[u8] = b".altmacro";
/// Line ends passed over between two strings of C that are one.
const LINES_BETWEEN: usize = 8;
/// Letters of a directive that are next to never the beginning of anything else.
const TELLING: usize = 3;

impl Scanner<'_> {
    /// Reads the pseudo-operation whose dot is at `at`. gas takes either case.
    pub(super) fn assembler(&mut self, at: usize) -> Result<(), TooMuchTrivia> {
        let word = self.text.word(at + 1);
        let kind = match word.as_bytes().to_ascii_lowercase().as_slice() {
            b"incbin" => ReferenceKind::Incbin,
            b"include" => ReferenceKind::AssemblerInclude,
            piece if begins_directive(piece) => return self.piece(at, &word),
            _ => return Ok(()),
        };
        self.names_assembler = true;
        // Whatever stands before it on the line may make another statement of it.
        self.is_pieced |= look_back::is_behind_word(self.text, at);
        let mut operand = self.skip_trivia(word.end)?;
        // A tab within a string of C is often written as an escape.
        while let Some((b'\\', after)) = self.text.next(operand)
            && let Some((b't', after)) = self.text.next(after)
        {
            operand = self.skip_trivia(after)?;
        }
        if !self.assembler_operand(kind, at, operand) {
            self.references.macro_incbin = true;
        }
        Ok(())
    }

    /// Whether the operand at `position` is one literal string, or there is none.
    fn assembler_operand(&mut self, kind: ReferenceKind, at: usize, position: usize) -> bool {
        match self.text.next(position) {
            Some((b'"', start)) => {
                let Some((spelling, _)) = name::string(self.text, start, NAME) else {
                    return false;
                };
                let is_literal = is_literal(&spelling);
                self.add(kind, Form::Quote, spelling);
                // Inside a string of C this quote closes it, and the operand goes on behind.
                is_literal && !look_back::is_in_string(self.text, at)
            }
            Some((b'\\', escaped)) => {
                let Some((b'"', start)) = self.text.next(escaped) else {
                    return false;
                };
                let Some(spelling) = name::until_escaped_quote(self.text, start) else {
                    return false;
                };
                let is_literal = is_literal(&spelling);
                self.add(kind, Form::Quote, spelling);
                is_literal
            }
            _ if kind == ReferenceKind::Incbin => false,
            // `.include` is a member's name as well.
            None | Some((b'\n' | b'\r' | b',' | b';' | b'/' | b'#' | b'@' | b'|', _)) => {
                look_back::is_behind_operand(self.text, at)
            }
            Some((byte, _)) => !starts_identifier(byte) && byte != b'%',
        }
    }

    /// Reads what a directive may begin with, at `at`, if more text is put behind it: a macro's argument, another
    /// string of C, an escape, or whatever the preprocessor or an operand of inline assembler puts there.
    fn piece(&mut self, at: usize, word: &Word) -> Result<(), TooMuchTrivia> {
        let letters = word.as_bytes().len();
        let is_argument = |position: usize| {
            let begins = |byte: u8| is_word_byte(byte) || matches!(byte, b'(' | b'@');
            self.text.peek(position).is_some_and(begins)
        };
        let begins_statement = look_back::may_begin_statement(self.text, at);
        match self.text.next(word.end) {
            Some((b'\\', after)) => {
                let escaped = name::numeric_escape(self.text, after).map(|byte| byte.to_ascii_lowercase());
                self.references.macro_incbin |=
                    escaped.is_some_and(|byte| begins_directive(&[&lower(word), &[byte][..]].concat()));
                // In a string of C a backslash is two.
                let argument = match self.text.next(after) {
                    Some((b'\\', after)) => Some(after),
                    _ => (!look_back::is_in_string(self.text, at)).then_some(after),
                };
                let is_macro = argument.is_some_and(is_argument);
                self.is_pieced |= is_macro;
                self.references.macro_incbin |= is_macro && letters >= TELLING && begins_statement;
            }
            Some((b'"', after)) if look_back::is_in_string(self.text, at) => {
                let goes_on = self.goes_on_in_string(word, after)?;
                let is_telling = letters >= TELLING && begins_statement;
                self.references.macro_incbin |= goes_on || (is_telling && self.may_go_on(at, after)?);
            }
            Some((b'&', _)) => self.is_pieced = true,
            Some((b'%' | b'{', _)) if letters > 0 && begins_statement => self.references.macro_incbin = true,
            Some((b',' | b')' | b'#', _)) if letters >= TELLING && begins_statement => {
                self.references.macro_incbin = true;
            }
            _ => self.is_pieced |= letters > 0 && !look_back::is_behind_operand(self.text, at),
        }
        Ok(())
    }

    /// Whether the string that ends before `after` with the piece `word` goes on in another with the rest of a directive,
    /// or in a macro on its line.
    fn goes_on_in_string(&mut self, word: &Word, after: usize) -> Result<bool, TooMuchTrivia> {
        let is_empty = word.as_bytes().is_empty();
        let same_line = self.skip_trivia(after)?;
        let next = self.skip_lines(same_line)?;
        Ok(match self.text.next(next) {
            Some((b'"', inside)) => {
                let more = self.text.word(inside);
                let whole = [lower(word), lower(&more)].concat();
                let is_directive = matches!(whole.as_slice(), b"incbin" | b"include");
                (is_directive || begins_directive(&whole)) && !(is_empty && more.as_bytes().is_empty())
            }
            // A macro, if not the line behind an `#include`.
            Some((byte, _)) => !is_empty && next == same_line && starts_identifier(byte),
            None => false,
        })
    }

    /// Whether anything may be put behind the string that ends before `after`, whose piece is at `at`: the next string, a
    /// macro, or, where it is a macro's value itself, whatever follows that.
    fn may_go_on(&mut self, at: usize, after: usize) -> Result<bool, TooMuchTrivia> {
        let Some(line) = look_back::physical_line_before(self.text, at) else {
            return Ok(true);
        };
        if let Some(directive) = line.trim_ascii_start().strip_prefix(b"#") {
            return Ok(directive.trim_ascii_start().starts_with(b"define"));
        }
        let same_line = self.skip_trivia(after)?;
        let next = self.skip_lines(same_line)?;
        let goes_on =
            |byte: u8| starts_identifier(byte) || matches!(byte, b'"' | b'#' | b'/' | b'\n' | b'\r');
        Ok(self.text.peek(next).is_some_and(goes_on))
    }

    /// Passes over some line ends and what is blank between.
    fn skip_lines(&mut self, position: usize) -> Result<usize, TooMuchTrivia> {
        let mut next = position;
        for _ in 0..LINES_BETWEEN {
            match self.text.next(next) {
                Some((b'\n' | b'\r', after)) => next = self.skip_trivia(after)?,
                _ => break,
            }
        }
        Ok(next)
    }

    /// Whether statements of this text may name files that no rule has found.
    pub(super) fn hides_assembler_names(&self) -> bool {
        let text = self.text.from(0);
        let has = |word: &[u8]| {
            text.windows(word.len())
                .any(|part| part.eq_ignore_ascii_case(word))
        };
        self.is_pieced && MACROS.into_iter().any(has)
            || self.names_assembler && has(ALTERNATE)
            || self.has_word_without_dot()
    }

    /// Whether the word of a directive stands where its dot may come from elsewhere: from an escape, another string or a
    /// macro. `include` is a word of prose and paths as well.
    fn has_word_without_dot(&self) -> bool {
        let text = self.text.from(0);
        let places =
            |word: &'static [u8]| memchr::memmem::find_iter(text, word).map(move |at| (at, at + word.len()));
        let stands_alone = |at: usize, end: usize| {
            let before = text.get(..at).unwrap_or_default();
            let is_file = |after: &u8| is_word_byte(*after) || matches!(after, b'.' | b'/' | b'-');
            !before.ends_with(b".")
                && (!before.last().is_some_and(|byte| is_word_byte(*byte))
                    || look_back::is_behind_escape(self.text, at))
                && !text.get(end).is_some_and(is_file)
        };
        let mut incbins = places(b"incbin").chain(places(b"INCBIN"));
        let mut includes = places(b"include").chain(places(b"INCLUDE"));
        incbins.any(|(at, end)| stands_alone(at, end))
            || self.has_escaped_dot()
            || includes.any(|(at, end)| {
                look_back::may_follow_dot(self.text, at)
                    || look_back::is_behind_escape_or_quote(self.text, at)
                        && text
                            .get(end..)
                            .unwrap_or_default()
                            .trim_ascii_start()
                            .starts_with(b"\\\"")
            })
    }

    /// Whether a dot that is spelled as an escape stands before the word of a directive, in any case.
    fn has_escaped_dot(&self) -> bool {
        memchr::memchr_iter(b'\\', self.text.from(0)).any(|backslash| {
            let escape = name::escape(self.text, backslash + 1).filter(|(byte, _)| *byte == b'.');
            let word = escape.map(|(_, end)| lower(&self.text.word(end)));
            matches!(word.as_deref(), Some(b"incbin" | b"include"))
        })
    }
}

/// The letters of `word` in lower case.
fn lower(word: &Word) -> Vec<u8> {
    word.as_bytes().to_ascii_lowercase()
}

/// Whether `piece`, in lower case, is less than the name of a directive, and its beginning.
fn begins_directive(piece: &[u8]) -> bool {
    [&b"incbin"[..], b"include"]
        .iter()
        .any(|whole| whole.starts_with(piece) && *whole != piece)
}

/// Whether an assembler takes a name as it stands: a backslash begins an escape or a macro's argument, `&` ends one, and
/// the others are an operand's or an alternative's in inline assembler.
fn is_literal(name: &[u8]) -> bool {
    !name
        .iter()
        .any(|byte| matches!(byte, b'\\' | b'&' | b'%' | b'{' | b'|' | b'}'))
}
