//! `.incbin` and `.include`, in assembler files and in the strings of inline assembler. The compilers' own
//! dependency output names neither.

use super::bounds::NAME;
use super::text::{TooMuchTrivia, starts_identifier};
use super::{Form, ReferenceKind, Scanner, look_back, name};

impl Scanner<'_> {
    /// Reads the pseudo-operation whose dot is at `at`. gas takes either case.
    pub(super) fn assembler(&mut self, at: usize) -> Result<(), TooMuchTrivia> {
        let word = self.text.word(at + 1);
        let kind = match word.as_bytes().to_ascii_lowercase().as_slice() {
            b"incbin" => ReferenceKind::Incbin,
            b"include" => ReferenceKind::AssemblerInclude,
            _ => return Ok(()),
        };
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
                self.add(kind, Form::Quote, spelling);
                // Inside a string of C this quote closes it, and the operand goes on behind.
                !look_back::is_in_string(self.text, at)
            }
            Some((b'\\', escaped)) => {
                let Some((b'"', start)) = self.text.next(escaped) else {
                    return false;
                };
                let Some(spelling) = name::until_escaped_quote(self.text, start) else {
                    return false;
                };
                self.add(kind, Form::Quote, spelling);
                true
            }
            None | Some((b'\n' | b'\r', _)) => true,
            Some((byte, _)) => match kind {
                ReferenceKind::Incbin => false,
                // `.include` is a member's name as well.
                _ => !starts_identifier(byte) && byte != b'%',
            },
        }
    }
}
