//! Words that begin with an underscore: `__has_include` and its kin, the time macros, `_Pragma`.

use super::bounds::ALIASES;
use super::text::{TooMuchTrivia, starts_identifier};
use super::{Operand, ReferenceKind, Scanner, definition, look_back, mention};

impl Scanner<'_> {
    /// Reads the word whose first underscore is at `at`.
    pub(super) fn probe(&mut self, at: usize) -> Result<(), TooMuchTrivia> {
        let word = self.text.word(at);
        let kind = match word.as_bytes() {
            b"__DATE__" | b"__TIME__" => {
                self.references.time_macros.date_or_time = true;
                return Ok(());
            }
            b"__TIMESTAMP__" => {
                self.references.time_macros.timestamp = true;
                return Ok(());
            }
            b"_Pragma" => return self.pragma_operator(word.end),
            b"__pragma" => {
                let open = self.skip_trivia(word.end)?;
                return match self.text.next(open) {
                    Some((b'(', inside)) => self.pragma(inside),
                    _ => Ok(()),
                };
            }
            // gcc 5 to 9 define the first name as a macro for the second.
            b"__has_include" | b"__has_include__" => ReferenceKind::HasInclude,
            b"__has_include_next" | b"__has_include_next__" => ReferenceKind::HasIncludeNext,
            b"__has_embed" => ReferenceKind::HasEmbed,
            part => {
                self.pasted_probe(at, part);
                return self.time_piece(at, part, word.end);
            }
        };
        self.probe_operand(kind, at, word.end)
    }

    /// Notes that the word `part` at `at` may become an operator by `##`, unless it names a type, as in the
    /// `struct __has_##NAME` of libstdc++.
    fn pasted_probe(&mut self, at: usize, part: &[u8]) {
        const OPERATORS: [&[u8]; 2] = [b"__has_include_next__", b"__has_embed"];
        const TYPES: [&[u8]; 4] = [b"struct", b"class", b"union", b"enum"];
        // Less is a name in many a header.
        let begins =
            part.starts_with(b"__has") && OPERATORS.iter().any(|operator| operator.starts_with(part));
        if begins
            && look_back::begins_word(self.text, at)
            && !TYPES
                .iter()
                .any(|word| look_back::follows_word(self.text, at, word))
            && look_back::may_be_in_directive(self.text, at)
        {
            self.references.computed = true;
            self.references.computed_probe = true;
        }
    }

    fn probe_operand(&mut self, kind: ReferenceKind, at: usize, end: usize) -> Result<(), TooMuchTrivia> {
        let after_word = self.skip_trivia(end)?;
        let (operand, parenthesised) = match self.text.next(after_word) {
            Some((b'(', inside)) => (self.skip_trivia(inside)?, true),
            _ => (after_word, false),
        };
        if self.literal(kind, operand) {
            return Ok(());
        }
        let computed = if parenthesised {
            // `#define __has_include(x) 0` makes the word an ordinary macro.
            self.text.peek(operand).is_some_and(starts_identifier) && !look_back::is_defined(self.text, at)
        } else {
            // A macro that stands for the operator, or is handed it, hides the operands it is used with.
            !look_back::is_only_named(self.text, at) && look_back::may_be_in_directive(self.text, at)
        };
        if !computed {
            return Ok(());
        }
        if parenthesised
            // Elsewhere it may be a parameter.
            && look_back::is_in_condition(self.text, at)
            && let Some((name, end)) = definition::identifier(self.text, operand)
        {
            let end = self.skip_trivia(end)?;
            if self.text.peek(end) == Some(b')') {
                self.operands.insert(Operand { kind, name });
                return Ok(());
            }
        }
        let is_include = matches!(kind, ReferenceKind::HasInclude | ReferenceKind::HasIncludeNext);
        let aliases = &mut self.references.probe_aliases;
        if let Some(alias) = mention::alias_of(self.text, at, end).filter(|_| is_include) {
            match aliases.binary_search(&alias) {
                Ok(_) => return Ok(()),
                Err(place) if aliases.len() < ALIASES => {
                    aliases.insert(place, alias);
                    return Ok(());
                }
                Err(_) => {}
            }
        }
        self.references.computed = true;
        self.references.computed_probe = true;
        Ok(())
    }
}
