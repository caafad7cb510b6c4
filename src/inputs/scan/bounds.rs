//! How far the scanner looks from any one byte. They keep it linear on hostile text; where one is hit
//! in a place that could hide an include, the scanner says `computed` instead of guessing.

/// Longest keyword any rule compares with.
pub(super) const WORD: usize = 24;
/// Blanks between a backslash and the line end that still make a splice.
pub(super) const SPLICE_BLANKS: usize = 64;
/// Splices in a row looked back over within a word.
pub(super) const SPLICES: usize = 16;
/// Comments in a row between two tokens of one directive.
pub(super) const COMMENTS_IN_TRIVIA: usize = 16;
/// Blanks in a row behind such a comment.
pub(super) const BLANKS_AFTER_COMMENT: usize = 256;
/// Bytes of a name: a longer one cannot be opened (`PATH_MAX`).
pub(super) const NAME: usize = 4096;
/// Bytes of a macro's name that stands for a header's.
pub(super) const MACRO: usize = 256;
/// Macros of one text that stand for `__has_include`: each has every text read once more.
pub(super) const ALIASES: usize = 32;
/// Different definitions of one macro in one text.
pub(super) const DEFINITIONS: usize = 64;
/// Bytes of a `_Pragma` string.
pub(super) const PRAGMA_STRING: usize = 4096;
/// Bytes looked back on a line.
pub(super) const LOOK_BACK: usize = 512;
/// Bytes looked back for the beginning of a comment.
pub(super) const COMMENT_LOOK_BACK: usize = 8192;
/// Words that `##` is taken to make a macro's name of, at most.
pub(super) const PASTED: usize = 4;
