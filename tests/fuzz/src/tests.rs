//! Every seed and random input, without libFuzzer: what continuous integration runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::{bodies, hello, messages, mirror, scanner, table, verdict};

const GOLDEN: &str = include_str!("../../../protocol/src/message/golden.txt");

/// A property of bytes.
type Check = fn(&[u8]);

/// Every target's name and property.
const TARGETS: [(&str, Check); 7] = [
    ("bodies", bodies::check),
    ("hello", hello::check),
    ("messages", messages::check),
    ("mirror", mirror::check),
    ("scanner", scanner::check),
    ("table", table::check),
    ("verdict", verdict::check),
];

fn files_in(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_seed_holds() {
    for (target, check) in TARGETS {
        let seeds = files_in(&format!("seeds/{target}"));
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            check(&fs::read(seed).unwrap());
        }
    }
}

#[test]
fn every_target_is_tried_here() {
    let targets: Vec<_> = files_in("targets").iter().map(|path| name_of(path)).collect();
    assert_eq!(targets, TARGETS.map(|(target, _)| target));
}

/// The seeds of `messages` are the golden messages, and every golden message is read there.
#[test]
fn the_seeds_are_the_golden_messages() {
    let golden: BTreeSet<_> = GOLDEN
        .lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name.to_owned(), hex.to_owned())
        })
        .collect();
    let seeds = files_in("seeds/messages").into_iter().map(|path| {
        let hex = fs::read(&path)
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (name_of(&path), hex)
    });
    assert_eq!(
        seeds.collect::<BTreeSet<(String, String)>>(),
        golden,
        "see README.md for how seeds are made"
    );
    let read: BTreeSet<_> = messages::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let named: BTreeSet<_> = golden.into_iter().map(|(name, _)| name).collect();
    assert_eq!(read, named, "messages.rs reads every message");
}

/// Words of command lines, so that random ones are compiles now and then.
const WORDS: &[&str] = &[
    "gcc",
    "-c",
    "-S",
    "a.c",
    "b.cc",
    "-o",
    "x.o",
    "-I",
    "inc",
    "-MD",
    "-MF",
    "x.d",
    "-include",
    "x.h",
    "-O2",
    "-g",
    "@a.rsp",
    "-x",
    "c",
    "-",
    "--",
    "-Wp,-MD,y.d",
    "-gsplit-dwarf",
    "",
    "LD_PRELOAD=x.so",
    "PWD=/w",
    "-Xclang",
    "-E",
    "-arch",
];

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, check) in TARGETS {
            check(&bytes);
        }
    }

    #[test]
    fn any_small_numbers(bytes in prop::collection::vec(0_u8..9, 0..400)) {
        mirror::check(&bytes);
        table::check(&bytes);
    }

    #[test]
    fn any_change_of_a_golden_message(index in 0..messages::NAMES.len(), at: prop::sample::Index, byte: u8) {
        let mut bytes = fs::read(&files_in("seeds/messages")[index]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        messages::check(&bytes);
    }

    #[test]
    fn any_source_like_text(text in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,80}") {
        scanner::check(text.as_bytes());
    }

    #[test]
    fn any_command_line(words in prop::collection::vec(prop::sample::select(WORDS), 0..14)) {
        verdict::check(words.join("\n").as_bytes());
    }
}
