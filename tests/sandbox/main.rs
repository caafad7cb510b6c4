//! Real sandboxes around real processes. Each test runs as the user that started it and, if that is root,
//! once more as an unprivileged user.

mod confinement;
mod ends;
mod files;
mod limits;
mod obstacles;
mod world;
