//! The host user that jobs run as.
//!
//! Never root of the host, whoever runs the builder.

use std::fs;

use nix::unistd::geteuid;

/// Host user and group id of jobs when the builder runs as root: far from the ranges that accounts,
/// containers and systemd's dynamic users are given.
pub const BUILD_UID: u32 = 1_903_520_099;

/// User and group id to which the caller gives output and scratch directories before [`run`](super::run), or
/// none when the builder is unprivileged and jobs run as its own user.
pub fn job_uid() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    Some((choose(&id_map("uid"))?, choose(&id_map("gid"))?))
}

/// Unreadable means without user namespaces, where every id is there.
fn id_map(kind: &str) -> String {
    fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_else(|_| format!("0 0 {}", u32::MAX))
}

/// Root of a container may have few ids to give away: [`BUILD_UID`] if it is one of them, else the highest
/// but 0. None if there is no other: then root here is the user who started the container.
fn choose(id_map: &str) -> Option<u32> {
    let extents = id_map.lines().filter_map(extent);
    let mut highest = None;
    for (first, count) in extents {
        if (first..first.saturating_add(count)).contains(&u64::from(BUILD_UID)) {
            return Some(BUILD_UID);
        }
        let last = u32::try_from((first.saturating_add(count)).saturating_sub(1)).ok();
        highest = highest.max(last.filter(|last| *last > 0));
    }
    highest
}

/// First id inside and number of ids of a line of user_namespaces(7).
fn extent(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace().map(|field| field.parse().ok());
    let first = fields.next()??;
    let _outside: u64 = fields.next()??;
    let count = fields.next()??;
    Some((first, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_user_is_one_that_exists_here() {
        let check = |id_map, expected| assert_eq!(choose(id_map), expected, "{id_map:?}");
        check("         0          0 4294967295\n", Some(BUILD_UID));
        check("0 1000 1\n1 100000 65536\n", Some(65536));
        check("0 1000 1\n", None);
        check("", None);
        check("not a map\n", None);
        check("1000 0 1\n", Some(1000));
        check("0 0 18446744073709551615\n", Some(BUILD_UID));
    }
}
