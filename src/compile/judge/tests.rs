//! Whole command lines and their verdicts. What a row expects of a compiler was tried with gcc 12.2 and
//! clang 14.0.6.

mod local;
mod outputs;
mod plans;
mod properties;

use std::collections::BTreeMap;

use super::*;
use crate::compile::{Role, TimeMacro};

/// Files below `/w`, the directory all invocations here are made in.
struct World(BTreeMap<Vec<u8>, Vec<u8>>);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let entry =
            |(name, text): &(&str, &str)| (format!("/w/{name}").into_bytes(), text.as_bytes().to_vec());
        Self(files.iter().map(entry).collect())
    }
}

impl Surroundings for World {
    fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn exists(&mut self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }

    fn is_file(&mut self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn dialect_of(command: &str) -> Dialect {
    let driver = command.split(' ').next().unwrap();
    if driver.contains("clang") {
        Dialect::Clang
    } else {
        Dialect::Gcc
    }
}

fn verdict_in(world: &mut World, command: &str) -> Verdict {
    let invocation = Invocation {
        argv: words(command),
        cwd: b"/w".to_vec(),
        env: Vec::new(),
    };
    judge(&invocation, dialect_of(command), world)
}

fn verdict(command: &str) -> Verdict {
    verdict_in(&mut World::new(&[]), command)
}

#[track_caller]
fn planned(command: &str) -> Plan {
    match verdict(command) {
        Verdict::Distribute(plan) => *plan,
        other => panic!("{command}: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn joined(list: &[Vec<u8>]) -> String {
    text(&list.join(&b' '))
}

/// `language outputs` for a plan, the code of a reason, or `not a compile`.
fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Distribute(plan) => {
            let outputs: Vec<String> = plan.outputs.iter().map(|output| text(&output.path)).collect();
            format!("{} {}", plan.language.name(), outputs.join(" "))
        }
        Verdict::Local(reason) => reason.code().to_owned(),
        Verdict::NotACompile => "not a compile".to_owned(),
    }
}

#[track_caller]
fn check(command: &str, expect: &str) {
    assert_eq!(summary(&verdict(command)), expect, "{command}");
}

/// The same arguments under gcc and clang.
#[track_caller]
fn check_both(arguments: &str, expect: &str) {
    check(&format!("gcc {arguments}"), expect);
    check(&format!("clang {arguments}"), expect);
}
