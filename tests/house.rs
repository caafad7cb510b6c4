//! The rules of the house a machine can check: layers, purity, one door per danger.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules by layer; a module may name those of lower layers, and of its own where listed as friends.
const LAYERS: [(&str, u8); 13] = [
    ("host", 0),
    ("config", 1),
    ("compile", 1),
    ("inputs", 2),
    ("toolchain", 2),
    ("transport", 2),
    ("sandbox", 2),
    ("store", 2),
    ("wrapper", 2),
    ("agent", 3),
    ("builder", 3),
    ("scheduler", 3),
    ("cli", 4),
];

/// Files that decide: no waiting, no files, no sockets, no clock.
const PURE: [&str; 22] = [
    "compile/",
    "agent/demand.rs",
    "agent/doubt.rs",
    "agent/failure.rs",
    "agent/history.rs",
    "agent/reason.rs",
    "agent/table.rs",
    "agent/unconfirmed.rs",
    "scheduler/ledger.rs",
    "scheduler/placement.rs",
    "builder/slots.rs",
    "builder/mirror/lacking.rs",
    "store/evict.rs",
    "inputs/scan",
    "inputs/closure/expansion.rs",
    "inputs/closure/lookups.rs",
    "inputs/closure/places.rs",
    "inputs/search_list.rs",
    "inputs/tree/known.rs",
    "sandbox/plan.rs",
    "transport/congestion/",
    "transport/level.rs",
];

const IMPURE_WORDS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "tokio",
    "quinn",
    "SystemTime",
    "Instant::now",
    "host::clock",
    "async fn",
];

/// Crates and calls that have one home.
const DOORS: [(&str, &[&str]); 8] = [
    ("bincode::", &["../protocol/"]),
    (
        "quinn_proto::",
        &["transport/congestion.rs", "transport/reset.rs"],
    ),
    (
        "quinn::",
        &[
            "transport/",
            "agent/link.rs",
            "agent/telling.rs",
            "agent/upload.rs",
            "builder/",
            "scheduler/",
        ],
    ),
    ("rcgen::", &["../certs/"]),
    ("jsonwebtoken::", &["../certs/"]),
    ("Command::new(", &["host/process.rs"]),
    ("tokio::spawn(", &["host/task.rs"]),
    ("env::var", &["config/env.rs"]),
];

fn sources(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(
                    path.strip_prefix(root).unwrap().to_owned(),
                    production(&path, &text),
                );
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", root.display());
    found
}

/// The text without comments and tests: rules are for code that ships.
fn production(path: &Path, text: &str) -> String {
    let is_test_file = path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part.ends_with("tests.rs") || part == "fixture.rs" || part == "simulation.rs"
    });
    if is_test_file {
        return String::new();
    }
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn root_package() -> BTreeMap<PathBuf, String> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn modules_depend_downwards() {
    let layer = |name: &str| {
        LAYERS
            .iter()
            .find(|(module, _)| *module == name)
            .map(|(_, layer)| *layer)
    };
    let mut offences = Vec::new();
    for (path, text) in root_package() {
        let own = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        let Some(own_layer) = layer(&own) else { continue };
        for (module, other) in LAYERS {
            let same_level = other == own_layer && own_layer >= 3;
            let names =
                text.contains(&format!("crate::{module}::")) || text.contains(&format!("crate::{module}}}"));
            if module != own && names && (other > own_layer || same_level) {
                offences.push(format!("{} names {module}", path.display()));
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn decisions_do_no_io() {
    let root = root_package();
    for pure in PURE {
        let files: Vec<_> = root
            .iter()
            .filter(|(path, _)| path.to_string_lossy().starts_with(pure))
            .collect();
        assert!(!files.is_empty(), "{pure} has moved");
        for (path, text) in files {
            for word in IMPURE_WORDS {
                assert!(
                    !text.contains(word),
                    "{} is pure and names {word}",
                    path.display()
                );
            }
        }
    }
    let protocol = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/src"));
    for (path, text) in protocol {
        for word in IMPURE_WORDS {
            assert!(!text.contains(word), "protocol/{} names {word}", path.display());
        }
    }
}

#[test]
fn every_danger_has_one_door() {
    for (path, text) in root_package() {
        for (call, homes) in DOORS {
            let at_home = homes.iter().any(|home| path.to_string_lossy().starts_with(home));
            assert!(at_home || !text.contains(call), "{} uses {call}", path.display());
        }
    }
}

#[test]
fn no_file_name_says_nothing() {
    for path in root_package().keys() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let empty = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
        assert!(!empty.contains(&stem.as_str()), "{}", path.display());
    }
}
