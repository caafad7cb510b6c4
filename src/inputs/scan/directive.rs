//! What follows a `#` in any of its spellings: includes, line markers and pragmas.

use super::bounds::{NAME, PRAGMA_STRING};
use super::text::{TooMuchTrivia, starts_identifier, starts_odd_blank};
use super::{Form, Operand, ReferenceKind, Scanner, definition, look_back, name};

impl Scanner<'_> {
    /// Reads the directive whose `#` is at `hash` and ends before `position`.
    pub(super) fn directive(&mut self, hash: usize, position: usize) -> Result<(), TooMuchTrivia> {
        let at = self.skip_trivia(position)?;
        let word = self.text.word(at);
        self.note_odd_blank(hash, word.end);
        let kind = match word.as_bytes() {
            b"include" | b"__include_macros" => ReferenceKind::Include,
            b"include_next" => ReferenceKind::Next,
            b"import" => {
                self.directive_word = Some(at);
                ReferenceKind::Import
            }
            b"embed" => ReferenceKind::Embed,
            b"define" => {
                let name = self.skip_trivia(word.end)?;
                self.note_odd_blank(hash, name);
                return self.define(name);
            }
            b"line" => {
                let number = self.skip_trivia(word.end)?;
                return self.line_marker(hash, number, self.text.word(number).end);
            }
            b"pragma" => return self.pragma(word.end),
            [b'0'..=b'9', ..] => return self.line_marker(hash, at, word.end),
            _ => return Ok(()),
        };
        let operand = self.skip_trivia(word.end)?;
        if !self.literal(kind, operand)
            && self.text.peek(operand).is_some_and(starts_identifier)
            && look_back::is_first_on_line(self.text, hash)
        {
            self.macro_operand(kind, operand)?;
        }
        Ok(())
    }

    /// Notes white space beyond ASCII at `position`, behind the `#` at `hash` and perhaps a word: some compiler may read
    /// on there, and a directive be meant.
    fn note_odd_blank(&mut self, hash: usize, position: usize) {
        if starts_odd_blank(self.text.from(position)) && look_back::is_first_on_line(self.text, hash) {
            self.not_understood();
        }
    }

    /// Reads the macro in an include's place of a name. Only one that is alone on its line is understood.
    fn macro_operand(&mut self, kind: ReferenceKind, position: usize) -> Result<(), TooMuchTrivia> {
        if let Some((name, end)) = definition::identifier(self.text, position) {
            let end = self.skip_trivia(end)?;
            if definition::is_line_end(self.text, end) {
                self.operands.insert(Operand { kind, name });
                return Ok(());
            }
        }
        self.references.computed = true;
        Ok(())
    }

    /// Adds the name that begins at `position`, if there is one.
    pub(super) fn literal(&mut self, kind: ReferenceKind, position: usize) -> bool {
        let (form, close, start) = match self.text.next(position) {
            Some((b'"', start)) => (Form::Quote, b'"', start),
            Some((b'<', start)) => (Form::Angle, b'>', start),
            _ => return false,
        };
        let Some((spelling, end)) = name::until(self.text, start, close) else {
            return false;
        };
        // gcc ends a header name at the first quote, clang at the first that no backslash precedes.
        if form == Form::Quote
            && spelling.ends_with(b"\\")
            && let Some((tail, _)) = name::until(self.text, end, close)
        {
            self.add(kind, form, [spelling.as_slice(), b"\"", &tail].concat());
        }
        self.add(kind, form, spelling);
        true
    }

    /// `position` is after the line number, which begins at `number`; a marker without a name has nothing to add.
    fn line_marker(&mut self, hash: usize, number: usize, position: usize) -> Result<(), TooMuchTrivia> {
        let at = self.skip_trivia(position)?;
        if let Some((b'"', start)) = self.text.next(at) {
            if let Some((spelling, _)) = name::interpreted_string(self.text, start, NAME) {
                self.add(ReferenceKind::Line, Form::Quote, spelling);
            }
            return Ok(());
        }
        // A macro may stand for the name, or for number and name together.
        let is_macro = |at| self.text.peek(at).is_some_and(starts_identifier);
        if (is_macro(number) || is_macro(at)) && look_back::is_first_on_line(self.text, hash) {
            self.references.computed_line = true;
        }
        Ok(())
    }

    /// Reads the pragma whose text begins at `position`.
    pub(super) fn pragma(&mut self, position: usize) -> Result<(), TooMuchTrivia> {
        let at = self.skip_trivia(position)?;
        let space = self.text.word(at);
        if space.as_bytes() == b"include_alias" {
            self.references.computed = true;
        }
        if !matches!(space.as_bytes(), b"GCC" | b"clang") {
            return Ok(());
        }
        let at = self.skip_trivia(space.end)?;
        let pragma = self.text.word(at);
        match (space.as_bytes(), pragma.as_bytes()) {
            (b"clang", b"module") => self.references.modules = true,
            (_, b"pch_preprocess") => self.references.pch_pragma = true,
            (_, b"dependency") => {
                let operand = self.skip_trivia(pragma.end)?;
                if !self.literal(ReferenceKind::Include, operand) {
                    self.references.computed = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads `_Pragma("…")` from the position after the word. Its string is a pragma's text.
    pub(super) fn pragma_operator(&mut self, position: usize) -> Result<(), TooMuchTrivia> {
        let at = self.skip_trivia(position)?;
        let Some((b'(', inside)) = self.text.next(at) else {
            return Ok(());
        };
        let at = self.skip_trivia(inside)?;
        let Some((b'"', start)) = self.text.next(self.text.word(at).end) else {
            return Ok(());
        };
        let Some((content, _)) = name::string(self.text, start, PRAGMA_STRING) else {
            return Ok(());
        };
        let mut nested = Scanner::new(&content);
        nested.pragma(0)?;
        let found = nested.finish();
        self.names.extend(found.includes);
        self.operands.extend(found.operands);
        self.references.computed |= found.computed;
        self.references.computed_probe |= found.computed_probe;
        self.references.computed_line |= found.computed_line;
        self.references.modules |= found.modules;
        self.references.pch_pragma |= found.pch_pragma;
        Ok(())
    }
}
