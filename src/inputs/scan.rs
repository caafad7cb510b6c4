//! What one file's text may make a compiler read: a scanner without context.
//!
//! It knows neither comments nor strings nor conditionals, so no mistake about them can hide a directive:
//! a literal name is collected wherever it stands, and a file too many does no harm. Linear in the text.
//!
//! Pure: never opens a file, never resolves a name, never evaluates a condition.

mod assembler;
mod bounds;
mod definition;
mod directive;
mod look_back;
mod mention;
mod module;
mod name;
mod probe;
#[cfg(test)]
mod tests;
mod text;
mod time;

use std::collections::BTreeSet;

use text::{CommentEnds, Text, TooMuchTrivia, is_word_byte};

/// How a name was delimited, which decides where it is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `"name"`: the includer's directory first.
    Quote,
    /// `<name>`: the search list only.
    Angle,
}

/// What names the file, which decides how it is searched and whether it is scanned itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// `#include`, and `#pragma GCC dependency`, which searches alike.
    Include,
    /// `#include_next`.
    Next,
    /// `#import`.
    Import,
    /// `#embed` (C23).
    Embed,
    /// `__has_include`.
    HasInclude,
    /// `__has_include_next`.
    HasIncludeNext,
    /// `__has_embed` (C23).
    HasEmbed,
    /// `#line 3 "name"` and `# 3 "name"`: gcc opens it to quote source lines in diagnostics. It need not
    /// exist.
    Line,
    /// The assembler's `.incbin`.
    Incbin,
    /// The assembler's `.include`.
    AssemblerInclude,
}

/// A name found in the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The name between its delimiters, splices removed.
    pub spelling: Vec<u8>,
    /// Its delimiters.
    pub form: Form,
    /// What it is an operand of.
    pub kind: ReferenceKind,
}

/// A macro that stands for the name in an include or a question for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operand {
    /// What it is an operand of.
    pub kind: ReferenceKind,
    /// Letters, digits and underscores.
    pub name: Box<[u8]>,
}

/// Everything in one file's text that can make a compiler read another file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// The literal names, sorted, each once.
    pub includes: Vec<Reference>,
    /// Operands of includes, embeds and their probes that are one macro without parameters, sorted, each once.
    pub operands: Vec<Operand>,
    /// The macros defined, by names that may be such operands.
    pub defined: DefinedNames,
    /// An operand of an include, embed or their probes is neither a literal nor one of `operands`, or could not be
    /// read within the scanner's bounds: only a preprocessor knows the name.
    pub computed: bool,
    /// The same of a probe like `__has_include`. gcc's `-M` does not tell which files these ask for.
    pub computed_probe: bool,
    /// Macros that stand for `__has_include`, sorted: [`Alias::mentions`] says what a text asks for through one.
    pub probe_aliases: Vec<Vec<u8>>,
    /// The operand of an `.incbin` or `.include` is not one literal string, or macros may make one that is not seen.
    pub macro_incbin: bool,
    /// A `#line` takes its file name from a macro: gcc opens that file to quote source lines in diagnostics.
    pub computed_line: bool,
    /// Macros that make the output depend on time.
    pub time_macros: TimeMacros,
    /// Pieces that other texts may make such macros of.
    pub time_pieces: TimePieces,
    /// The text imports or declares a module. In C, `import` and `module` are ordinary names.
    pub modules: bool,
    /// `#pragma GCC pch_preprocess`, which loads a precompiled header.
    pub pch_pragma: bool,
}

impl References {
    /// Whether two texts refer to the same, whatever macros they define.
    pub fn refers_as(&self, other: &Self) -> bool {
        let Self {
            includes,
            operands,
            defined: _,
            computed,
            computed_probe,
            probe_aliases,
            macro_incbin,
            computed_line,
            time_macros,
            time_pieces,
            modules,
            pch_pragma,
        } = self;
        *includes == other.includes
            && *operands == other.operands
            && *probe_aliases == other.probe_aliases
            && (*time_macros, *time_pieces) == (other.time_macros, other.time_pieces)
            && (*computed, *computed_probe, *computed_line)
                == (other.computed, other.computed_probe, other.computed_line)
            && (*macro_incbin, *modules, *pch_pragma) == (other.macro_incbin, other.modules, other.pch_pragma)
    }
}

pub use definition::{DefinedNames, Definition, definitions};
pub use mention::{Alias, Mentions};
pub use time::{TimeMacros, TimePieces};

/// Whether the value of a macro given on a command line has a name for an assembler, or may have part of one.
pub fn has_assembler_name(given: &[u8]) -> bool {
    let found = scan(given);
    let is_for_assembler =
        |name: &Reference| matches!(name.kind, ReferenceKind::Incbin | ReferenceKind::AssemblerInclude);
    found.macro_incbin || found.includes.iter().any(is_for_assembler)
}

/// Collects what `content` refers to.
pub fn scan(content: &[u8]) -> References {
    let mut scanner = Scanner::new(content);
    if text::has_unclear_splice(content) {
        scanner.not_understood();
    }
    for_each_beginning(content, |at| scanner.judge(at));
    scanner.finish()
}

/// Bytes that are asked at a time whether a rule begins with them.
const BLOCK: usize = 64;

/// Calls `judge` for every position where any rule may begin, ascending.
fn for_each_beginning(content: &[u8], mut judge: impl FnMut(usize)) {
    let mut start = 0;
    while let Some(firsts) = content.get(start..start + BLOCK)
        && let Some(seconds) = content.get(start + 1..start + 1 + BLOCK)
    {
        let mut marks = [0; BLOCK];
        for ((mark, first), second) in marks.iter_mut().zip(firsts).zip(seconds) {
            *mark = u8::from(begins_rule(*first, *second));
        }
        let (words, _) = marks.as_chunks::<8>();
        for (word, at) in words.iter().zip((start..).step_by(8)) {
            let mut marked = u64::from_le_bytes(*word);
            while marked != 0 {
                judge(at + marked.trailing_zeros() as usize / 8);
                marked &= marked - 1;
            }
        }
        start += BLOCK;
    }
    let rest = content.get(start..).unwrap_or_default();
    for (offset, pair) in rest.windows(2).enumerate() {
        if matches!(pair, [first, second] if begins_rule(*first, *second)) {
            judge(start + offset);
        }
    }
}

/// Whether any rule begins with these two bytes. A splice may stand within any word, so a backslash or trigraph may
/// follow as well; a lone `#` is followed by anything. Nearly all of a text is asked this and no more: without branches
/// and tables, compilers ask it of many bytes at a time.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a call for each byte would be all that a scan takes"
)]
const fn begins_rule(first: u8, second: u8) -> bool {
    let splice = (second == b'\\') | (second == b'?');
    (first == b'#')
        | ((first == b'%') & ((second == b':') | splice))
        | ((first == b'?') & (second == b'?'))
        | ((first == b'_') & ((second == b'_') | (second == b'P') | splice))
        | ((first == b'.') & ((second == b'i') | (second == b'I') | (second == b'"') | splice))
        | ((first == b'i') & ((second == b'm') | splice))
        | ((first == b'm') & ((second == b'o') | splice))
}

struct Scanner<'a> {
    text: Text<'a>,
    comment_ends: CommentEnds,
    names: BTreeSet<Reference>,
    operands: BTreeSet<Operand>,
    /// Hashes of the macros defined.
    defined: Vec<u32>,
    /// The `import` of an `#import` just read, which imports no module.
    directive_word: Option<usize>,
    /// A directive of the assembler's, and one that its macros may make of pieces, or into another.
    names_assembler: bool,
    is_pieced: bool,
    references: References,
}

impl<'a> Scanner<'a> {
    fn new(content: &'a [u8]) -> Self {
        Self {
            text: Text::new(content),
            comment_ends: CommentEnds::default(),
            names: BTreeSet::new(),
            operands: BTreeSet::new(),
            defined: Vec::new(),
            directive_word: None,
            names_assembler: false,
            is_pieced: false,
            references: References::default(),
        }
    }

    /// Tries every rule that can begin with the byte at `at`.
    fn judge(&mut self, at: usize) {
        let rest = self.text.from(at);
        let outcome = match rest {
            [b'#', ..] => self.directive(at, at + 1),
            [b'?', b'?', b'=', ..] => self.directive(at, at + 3),
            [b'%', ..] => match self.text.next(at + 1) {
                Some((b':', after)) => self.directive(at, after),
                _ => Ok(()),
            },
            // Most words in system headers begin or end like this and few of them matter.
            [b'_', b'_', word @ ..] if !self.may_matter(at, word) => Ok(()),
            [b'_', ..] => self.probe(at),
            [b'.', ..] => self.assembler(at),
            [b'i', ..] => self.import(at),
            [b'm', ..] => self.module(at),
            _ => Ok(()),
        };
        if outcome.is_err() {
            self.not_understood();
        }
    }

    /// Whether a rule may know the word that goes on with `word` behind the two underscores at `at`.
    fn may_matter(&self, at: usize, word: &[u8]) -> bool {
        match word {
            [b'D' | b'T' | b'\\' | b'?', ..] => true,
            // `__has_include` and `__pragma`; much else begins with one of their letters.
            [b'h', next, ..] => matches!(next, b'a' | b'\\' | b'?'),
            [b'p', next, ..] => matches!(next, b'r' | b'\\' | b'?'),
            [next, ..] => !is_word_byte(*next) && look_back::begins_word(self.text, at),
            [] => true,
        }
    }

    /// Any name may be meant.
    fn not_understood(&mut self) {
        self.references.computed = true;
        self.references.computed_probe = true;
        self.references.computed_line = true;
    }

    fn skip_trivia(&mut self, position: usize) -> Result<usize, TooMuchTrivia> {
        self.text.skip_trivia(position, &mut self.comment_ends)
    }

    fn add(&mut self, kind: ReferenceKind, form: Form, spelling: Vec<u8>) {
        if spelling.is_empty() {
            return;
        }
        if let Some(translated) = name::without_trigraphs(&spelling) {
            self.names.insert(Reference {
                spelling: translated,
                form,
                kind,
            });
        }
        self.names.insert(Reference { spelling, form, kind });
    }

    fn finish(mut self) -> References {
        self.references.macro_incbin |= self.hides_assembler_names();
        self.time_words();
        References {
            includes: self.names.into_iter().collect(),
            operands: self.operands.into_iter().collect(),
            defined: DefinedNames::new(self.defined),
            ..self.references
        }
    }
}
