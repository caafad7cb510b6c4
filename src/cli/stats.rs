//! `quicc stats`: what the agent did since it started.

use super::report::Failure;
use super::run::bytes;
use super::{agent, say};
use crate::agent::status::Status;
use crate::config::paths::Paths;

/// `quicc stats`.
pub(crate) fn stats(json: bool) -> Result<u8, Failure> {
    let status = agent::query(&Paths::from_environment()?)?;
    if json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        say(&table(&status));
    }
    Ok(0)
}

fn table(status: &Status) -> String {
    let local: u64 = status.local.values().sum();
    let mut rows = vec![
        ("units remote".to_owned(), status.remote.to_string()),
        ("units local".to_owned(), local.to_string()),
    ];
    let reasons = status.local.iter();
    rows.extend(reasons.map(|(reason, count)| (format!("  {reason}"), count.to_string())));
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("because the farm failed", status.fallbacks.to_string());
    row("sent", bytes(status.bytes_up));
    row("received", bytes(status.bytes_down));
    row("inputs remembered", status.remembered.to_string());
    row("inputs scanned", status.scanned.to_string());
    row("inputs with -M", status.dependencies.to_string());
    row("repairs with -M", status.repairs.to_string());
    row("inputs changed meanwhile", status.inputs_changed.to_string());
    row("farm", status.farm.clone());
    if let Some(problem) = &status.problem {
        row("problem", problem.clone());
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<_> = rows
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_per_count() {
        let status = Status {
            remote: 3,
            local: [("linking".to_owned(), 2), ("no-farm".to_owned(), 1)].into(),
            fallbacks: 1,
            bytes_up: 1500,
            scanned: 4,
            farm: "embedded".to_owned(),
            ..Status::default()
        };
        let table = table(&status);
        for (line, row) in [
            ("units remote              3", 0),
            ("units local               3", 1),
            ("  linking                 2", 2),
            ("because the farm failed   1", 4),
            ("sent                      1.5 kB", 5),
            ("inputs scanned            4", 8),
        ] {
            assert_eq!(table.lines().nth(row), Some(line), "{table}");
        }
        assert!(!table.contains("problem"), "{table}");
    }
}
