//! Real sandboxes around real processes. Each test runs as the user that started it and, if that is root,
//! once more as an unprivileged user.

#![allow(clippy::unwrap_used, reason = "a test")]

mod confinement;
mod ends;
mod files;
mod limits;
mod obstacles;
mod terminals;
mod world;
