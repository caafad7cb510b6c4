//! Jobs whose streams are terminals.

use quicc::sandbox::{End, Terminal};

use crate::world::as_each_user;

/// More than a terminal holds at once.
const BYTES: usize = 300_000;

#[test]
fn a_job_finds_the_terminals_it_was_told_of() {
    as_each_user(
        "terminals::a_job_finds_the_terminals_it_was_told_of",
        async |world| {
            let terminal = Terminal {
                rows: 24,
                columns: 80,
                width: 0,
                height: 0,
            };
            let ask = "for n in 0 1 2; do [ -t $n ] && echo $n; done;";
            let mut plan = world.plan(&format!("{ask} head -c {BYTES} /dev/zero >&2; echo end >&2"));
            for terminals in [
                [None, None, None],
                [Some(terminal), None, Some(terminal)],
                [None, Some(terminal), None],
            ] {
                plan.terminals = terminals;
                let report = world.try_run(&plan).await.unwrap();
                assert_eq!(report.end, End::Exited(0));
                let expected: String = (0..3)
                    .filter(|number| terminals[*number].is_some())
                    .map(|number| format!("{number}\n"))
                    .collect();
                assert_eq!(String::from_utf8_lossy(&report.stdout), expected);
                assert_eq!(report.stderr.len(), BYTES + 4);
                assert!(report.stderr.ends_with(b"\0end\n"), "every byte, none added");
            }
        },
    );
}
