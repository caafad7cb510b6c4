//! The scanner: no text around a directive hides the name it includes, and what is found is what a file can be
//! called.

use quicc::inputs::scan::{Reference, ReferenceKind, scan};

use crate::script::Script;

/// Directives that a compiler reads wherever its lexer is not inside something else.
const DIRECTIVES: [(&[u8], ReferenceKind); 14] = [
    (b"#include <needle.h>", ReferenceKind::Include),
    (b"#include \"needle.h\"", ReferenceKind::Include),
    (b"%:  include \"needle.h\"", ReferenceKind::Include),
    (b"??=inc\\\nlude /*c*/ <needle.h>", ReferenceKind::Include),
    (b"#/* \n */include_next <needle.h>", ReferenceKind::Next),
    (b"# import <needle.h>", ReferenceKind::Import),
    (b"#embed \"needle.h\"", ReferenceKind::Embed),
    (b"#pragma GCC dependency \"needle.h\"", ReferenceKind::Include),
    (b"__has_include(<needle.h>)", ReferenceKind::HasInclude),
    (
        b"__has_include_next( \"needle.h\")",
        ReferenceKind::HasIncludeNext,
    ),
    (b"__has_embed(\"needle.h\")", ReferenceKind::HasEmbed),
    (b"#line 7 \"needle.h\"", ReferenceKind::Line),
    (b".incbin \"needle.h\"", ReferenceKind::Incbin),
    (b".include \"needle.h\"", ReferenceKind::AssemblerInclude),
];

/// Plants each directive somewhere in the text.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let (directive, kind) = *script.choose(&DIRECTIVES);
    let cut = usize::from(script.byte()) << 8 | usize::from(script.byte());
    let text = script.rest();
    let (before, after) = text.split_at(cut % (text.len() + 1));
    let planted = [before, directive, after].concat();
    let found = scan(&planted);
    let is_needle = |found: &Reference| found.kind == kind && found.spelling == b"needle.h";
    assert!(found.includes.iter().any(is_needle), "{}", planted.escape_ascii());
    assert!(
        found.includes.is_sorted() && !found.includes.iter().any(|found| found.spelling.is_empty()),
        "{:?}",
        found.includes
    );
    check_computed(before, after);
    check_growth(before, after);
}

/// An include of a macro on a line of its own is seen.
fn check_computed(before: &[u8], after: &[u8]) {
    let computed = [before, b"\n#include MACRO()\n", after].concat();
    assert!(scan(&computed).computed, "{}", computed.escape_ascii());
    let text = [before, b"\n#include MACRO\n", after].concat();
    let found = scan(&text);
    assert!(
        found.computed || !found.operands.is_empty(),
        "{}",
        text.escape_ascii()
    );
}

/// What a text refers to, it still refers to with a line before it.
fn check_growth(before: &[u8], after: &[u8]) {
    let alone = scan(after);
    let together = scan(&[before, b"\n", after].concat());
    for reference in &alone.includes {
        assert!(
            together.includes.contains(reference),
            "{reference:?} of {} is lost behind {}",
            after.escape_ascii(),
            before.escape_ascii()
        );
    }
}
