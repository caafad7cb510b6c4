//! `quicc explain FILE`: what became of the last units that compile a source. A line per fact.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use quicc_protocol::message::wrapper::{ExplainQuestion, VERSION};

use super::report::Failure;
use super::run::bytes;
use super::{FAILED, agent, say};
use crate::agent::history::{Explanation, Found, Inputs, Place, Record, Repair};
use crate::config::paths::Paths;
use crate::host::clock;

/// `quicc explain FILE`.
pub(crate) fn explain(file: &Path, json: bool) -> Result<u8, Failure> {
    let source = std::env::current_dir()?.join(file);
    let question = ExplainQuestion {
        version: VERSION,
        source: source.as_os_str().as_bytes().to_vec(),
    };
    let document = agent::document(&Paths::from_environment()?, &question)?;
    let explanation: Explanation = serde_json::from_str(&document)?;
    let now = clock::unix_seconds();
    if json {
        say(&serde_json::to_string_pretty(&explanation)?);
    }
    if explanation.units.is_empty() {
        let known = format!(
            "nothing is known of {}: this agent, started {} ago, met no compile of it",
            explanation.file,
            duration(now, explanation.since)
        );
        let hint = "compile it once more, through quicc; an agent knows its last units and forgets them when it ends";
        return if json {
            Ok(FAILED)
        } else {
            Err(Failure::new(known).with_hint(hint))
        };
    }
    if !json {
        say(&explanation.file);
        for (index, unit) in explanation.units.iter().enumerate() {
            if index > 0 {
                say("");
            }
            say(&lines(unit, now).join("\n"));
        }
    }
    Ok(0)
}

/// What is known of one unit.
fn lines(unit: &Record, now: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("  {:<13} {value}", format!("{name}:")));
    line("call", unit.command.clone());
    if let Some(output) = &unit.output {
        line("output", output.clone());
    }
    line("when", format!("{} ago", duration(now, unit.when)));
    line("verdict", verdict(unit));
    if let (Some(reason), Some(explanation)) = (&unit.reason, &unit.explanation) {
        line("reason", reason.clone());
        line("because", explanation.clone());
    }
    if let Some(code) = unit.exit_code {
        line("exit code", code.to_string());
    }
    if let Some(signal) = unit.signal {
        line("ended by", format!("signal {signal}"));
    }
    if let Some(inputs) = &unit.inputs {
        line("inputs", found(inputs));
        line(
            "closure",
            format!(
                "{} files with the compiler's own, {} directories, {}",
                inputs.files,
                inputs.directories,
                bytes(inputs.bytes)
            ),
        );
        line(
            "in vain",
            format!("{} names looked up and not found", inputs.absent),
        );
    }
    if let Some(repair) = &unit.repaired {
        line("repaired", repaired(repair));
    }
    if unit.inputs_changed > 0 {
        line(
            "begun again",
            format!("{} times, for changed inputs", unit.inputs_changed),
        );
    }
    if let Some(trouble) = &unit.trouble {
        line("trouble", trouble.clone());
    }
    if let Some(builder) = &unit.builder {
        line("builder", builder.clone());
        line("attempts", unit.attempts.to_string());
    }
    line("sent", bytes(unit.bytes_up));
    line("received", bytes(unit.bytes_down));
    lines
}

fn verdict(unit: &Record) -> String {
    let verdict = match (unit.verdict, unit.fallback) {
        (Place::Remote, _) => "remote",
        (Place::Local, false) => "local",
        (Place::Local, true) => "local, since the farm failed",
    };
    verdict.to_owned()
}

fn found(inputs: &Inputs) -> String {
    let found = match inputs.found {
        Found::Remembered => "remembered of an earlier compile",
        Found::Scanned => "scanned",
        Found::Dependencies => "scanned, and asked of the compiler (-M)",
    };
    found.to_owned()
}

fn repaired(repair: &Repair) -> String {
    let Repair { learned, paths } = repair;
    let more = learned.saturating_sub(paths.len() as u64);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    match paths.is_empty() {
        true => "a file was missing on the builder; -M named no further one".to_owned(),
        false => format!(
            "a file was missing on the builder; -M brought in {}{rest}",
            paths.join(", ")
        ),
    }
}

/// The time from `then` to `now` as people say it.
fn duration(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_told_fact_by_fact() {
        let unit = Record {
            when: 1000,
            command: "gcc -c a.c".to_owned(),
            output: Some("a.o".to_owned()),
            verdict: Place::Remote,
            exit_code: Some(1),
            inputs: Some(Inputs {
                found: Found::Dependencies,
                files: 12,
                directories: 3,
                bytes: 4500,
                absent: 7,
            }),
            attempts: 2,
            builder: Some("b1".to_owned()),
            repaired: Some(Repair {
                learned: 3,
                paths: vec!["/a.h".to_owned(), "/b.h".to_owned()],
            }),
            bytes_up: 100,
            bytes_down: 20,
            ..Record::default()
        };
        assert_eq!(
            lines(&unit, 1300),
            [
                "  call:         gcc -c a.c",
                "  output:       a.o",
                "  when:         5 min ago",
                "  verdict:      remote",
                "  exit code:    1",
                "  inputs:       scanned, and asked of the compiler (-M)",
                "  closure:      12 files with the compiler's own, 3 directories, 4.5 kB",
                "  in vain:      7 names looked up and not found",
                "  repaired:     a file was missing on the builder; -M brought in /a.h, /b.h and 1 more",
                "  builder:      b1",
                "  attempts:     2",
                "  sent:         100 B",
                "  received:     20 B",
            ]
        );
    }

    #[test]
    fn a_local_unit_says_why() {
        let unit = Record {
            command: "gcc a.c".to_owned(),
            fallback: true,
            reason: Some("no-farm".to_owned()),
            explanation: Some("there is no farm".to_owned()),
            ..Record::default()
        };
        let lines = lines(&unit, 0);
        for line in [
            "  verdict:      local, since the farm failed",
            "  reason:       no-farm",
            "  because:      there is no farm",
        ] {
            assert!(lines.iter().any(|other| other == line), "{lines:?}");
        }
    }
}
