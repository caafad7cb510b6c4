//! Every file a compile reads, found without running a preprocessor.
//!
//! The closure is a *superset*: a tree that is part of the client's and holds all the compiler would find
//! gives the same compile, so a file too many costs bytes and a file too few is a defect. No `#if` is
//! evaluated, and a macro that stands for a header's name stands for every one it may be given anywhere; what cannot be
//! known that way is reported ([`closure::Closure::computed`] and its neighbours) and decided by the caller.
//!
//! Never runs a compiler, never talks to a peer, never decides whether a compile is distributed.

pub mod closure;
pub mod dependencies;
pub mod kept;
pub mod names;
pub mod scan;
pub mod search_list;
pub mod tree;
pub mod validate;
