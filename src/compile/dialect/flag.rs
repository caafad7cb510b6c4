//! The form of a flag table and the search in it. Never knows a flag.

use crate::compile::{Cause, Role};

/// How a flag takes its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum Shape {
    /// No operand: the argument is the spelling.
    Exact,
    /// The rest of the argument, which may be empty.
    Joined,
    /// The next argument.
    Separate,
    /// The rest of the argument, or the next one where the rest is empty.
    JoinedOrSeparate,
}

/// What a flag means to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum Meaning {
    /// Decides neither target nor search list nor predefined macros; passes.
    Passes,
    /// May decide target, search list or predefined macros; passes.
    Selects,
    /// The operand defines a macro; passes.
    Defines,
    /// As `Selects`, unless the operand is `native`.
    Processor,
    /// The operand is a directory that is searched.
    Directory,
    /// The operand is a header read before the source.
    ForcedInclude,
    /// The operand is a precompiled header loaded before the source.
    Precompiled,
    /// The operand is a file that the compile reads.
    InputFile,
    /// The operand is a profile that the compile reads; anything but a regular file means something else to the
    /// driver, or nothing.
    ProfileFile,
    /// The operand is the language of the sources that follow.
    Language,
    /// What is made of the source.
    Makes(Action),
    /// Passes where its value, if any, is a number or a truth value.
    Steers,
    /// Makes a precompiled header of the source.
    EmitsPrecompiled,
    /// Comments the assembly text; passes.
    VerboseAssembly,
    /// The operand is the main output.
    MainOutput,
    /// About the dep file.
    Dependency(DependencyFlag),
    /// Switches a further output on.
    Writes(Role),
    /// Switches a further output off.
    WritesNo(Role),
    /// The operand is a further output.
    WritesTo(Role),
    /// The operand is the seed of what gcc else draws at random; passes.
    RandomSeed,
    /// The operand may be where the compiled program leaves its profile; passes.
    ProfileData,
    /// The operand is a charset.
    Charset,
    /// The operand is handed to a tool.
    Forwards(Tool),
    /// The operand says which driver to be (clang's `--driver-mode=`).
    DriverMode,
    /// What follows are files.
    EndOfFlags,
    /// A question about the compiler; nothing is compiled.
    Question,
    /// Keeps the compile local.
    Local(Cause),
}

/// What the driver makes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::compile) enum Action {
    /// `-c`: an object.
    Compile,
    /// `-S`: assembly text; wins over `-c` in any order.
    Assembly,
}

/// A flag about the dep file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum DependencyFlag {
    /// Asks for one beside the object.
    Requested,
    /// The operand is its path.
    File,
    /// Shapes its content.
    Content,
}

/// The program or part that a forwarded argument reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum Tool {
    /// The preprocessor, one argument.
    Preprocessor,
    /// The preprocessor, arguments separated by commas.
    PreprocessorList,
    /// The assembler, one argument.
    Assembler,
    /// The assembler, arguments separated by commas.
    AssemblerList,
    /// clang's compiler proper.
    Frontend,
    /// LLVM's own options.
    Llvm,
}

/// A row of a flag table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) struct Flag {
    pub(in crate::compile) spelling: &'static str,
    pub(in crate::compile) shape: Shape,
    pub(in crate::compile) meaning: Meaning,
}

/// A row in one line.
pub(in crate::compile) const fn flag(spelling: &'static str, shape: Shape, meaning: Meaning) -> Flag {
    Flag {
        spelling,
        shape,
        meaning,
    }
}

/// Where the operand of a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum Operand<'a> {
    None,
    Joined(&'a [u8]),
    Next,
}

impl Flag {
    /// The operand of this flag in `argument`, or `None` when the flag does not have this form.
    pub(in crate::compile) fn operand(self, argument: &[u8]) -> Option<Operand<'_>> {
        let rest = argument.strip_prefix(self.spelling.as_bytes())?;
        match self.shape {
            Shape::Exact => rest.is_empty().then_some(Operand::None),
            Shape::Joined => Some(Operand::Joined(rest)),
            Shape::Separate => rest.is_empty().then_some(Operand::Next),
            Shape::JoinedOrSeparate if rest.is_empty() => Some(Operand::Next),
            Shape::JoinedOrSeparate => Some(Operand::Joined(rest)),
        }
    }
}

/// The row of `table` with the longest spelling that fits `argument`. The table is sorted by spelling, each
/// spelling once.
pub(in crate::compile) fn find<'a>(
    table: &'static [Flag],
    argument: &'a [u8],
) -> Option<(Flag, Operand<'a>)> {
    let mut key = argument;
    loop {
        let position = table.partition_point(|row| row.spelling.as_bytes() <= key);
        let row = *table.get(position.checked_sub(1)?)?;
        let spelling = row.spelling.as_bytes();
        let shared = spelling
            .iter()
            .zip(key)
            .take_while(|(left, right)| left == right)
            .count();
        if shared < spelling.len() {
            // Any row that is a prefix of the key sorts at or before this one, so it is no longer than
            // what the two share.
            key = &key[..shared];
        } else if let Some(operand) = row.operand(argument) {
            return Some((row, operand));
        } else {
            key = &key[..shared.checked_sub(1)?];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[Flag] = &[
        flag("-I", Shape::JoinedOrSeparate, Meaning::Directory),
        flag("-I-", Shape::Exact, Meaning::Question),
        flag("-M", Shape::Exact, Meaning::Question),
        flag("-MD", Shape::Exact, Meaning::Question),
        flag("-f", Shape::Joined, Meaning::Passes),
        flag("-fab", Shape::Exact, Meaning::Passes),
        flag("-fabc", Shape::Separate, Meaning::Passes),
        flag("-fabcd=", Shape::Joined, Meaning::Passes),
    ];

    #[test]
    fn the_longest_fitting_row_wins() {
        let check = |argument: &str, expect: Option<(&str, Operand<'_>)>| {
            let found = find(TABLE, argument.as_bytes()).map(|(row, operand)| (row.spelling, operand));
            assert_eq!(found, expect, "{argument}");
        };
        check("-I", Some(("-I", Operand::Next)));
        check("-Idir", Some(("-I", Operand::Joined(b"dir"))));
        check("-I-", Some(("-I-", Operand::None)));
        check("-I-x", Some(("-I", Operand::Joined(b"-x"))));
        check("-MDx", None);
        check("-MD", Some(("-MD", Operand::None)));
        check("-fabc", Some(("-fabc", Operand::Next)));
        check("-fabcd=x", Some(("-fabcd=", Operand::Joined(b"x"))));
        check("-fabcd", Some(("-f", Operand::Joined(b"abcd"))));
        check("-g", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn search_agrees_with_trying_every_row(argument in "-[IMDfabcd=-]{0,7}") {
            let bytes = argument.as_bytes();
            let slow = TABLE
                .iter()
                .filter(|row| row.operand(bytes).is_some())
                .max_by_key(|row| row.spelling.len());
            prop_assert_eq!(find(TABLE, bytes).map(|(row, _)| row), slow.copied());
        }
    }
}
