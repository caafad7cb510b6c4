//! Module imports and declarations of C++20 and Objective-C, known by their shape alone.

use super::bounds::NAME;
use super::text::{TooMuchTrivia, is_word_byte};
use super::{Scanner, look_back, name};

impl Scanner<'_> {
    /// Reads the word at `at` as `import <header>;`, `import "header";`, `import name;` or `@import name;`.
    pub(super) fn import(&mut self, at: usize) -> Result<(), TooMuchTrivia> {
        let word = self.text.word(at);
        if word.as_bytes() != b"import"
            || self.directive_word == Some(at)
            || !look_back::begins_word(self.text, at)
        {
            return Ok(());
        }
        let operand = self.skip_trivia(word.end)?;
        let end = match self.text.next(operand) {
            Some((b'<', start)) => name::until(self.text, start, b'>').map(|(_, end)| end),
            Some((b'"', start)) => name::until(self.text, start, b'"').map(|(_, end)| end),
            _ => self.module_name(operand),
        };
        self.note_module(end)
    }

    /// Reads the word at `at` as `module name;`. A lone `module;` only precedes one.
    pub(super) fn module(&mut self, at: usize) -> Result<(), TooMuchTrivia> {
        let word = self.text.word(at);
        if word.as_bytes() != b"module" {
            return Ok(());
        }
        let declares =
            look_back::follows(self.text, at, b"export") || look_back::is_first_on_line(self.text, at);
        if !declares {
            return Ok(());
        }
        let operand = self.skip_trivia(word.end)?;
        let end = self.module_name(operand);
        self.note_module(end)
    }

    /// Modules are in use if the name that ends at `end` is followed by `;` or attributes.
    fn note_module(&mut self, end: Option<usize>) -> Result<(), TooMuchTrivia> {
        let Some(end) = end else {
            return Ok(());
        };
        let at = self.skip_trivia(end)?;
        if matches!(self.text.peek(at), Some(b';' | b'[')) {
            self.references.modules = true;
        }
        Ok(())
    }

    /// The position after a dotted name with an optional partition.
    fn module_name(&self, position: usize) -> Option<usize> {
        let mut at = position;
        for length in 0..NAME {
            match self.text.next(at) {
                Some((byte, after)) if is_word_byte(byte) || matches!(byte, b'.' | b':') || byte >= 0x80 => {
                    at = after;
                }
                _ => return (length > 0).then_some(at),
            }
        }
        None
    }
}
