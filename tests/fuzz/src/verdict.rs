//! Verdicts: any command line gets one, the same each time; a compile that may be distributed has a source, its
//! own outputs and nothing that keeps a compile at home.

use std::collections::BTreeSet;

use quicc::compile::{Dialect, Invocation, Plan, Surroundings, Verdict, judge, remote_environment};

/// First arguments with which no compile may leave.
const AT_HOME: [&[u8]; 7] = [
    b"-E",
    b"-v",
    b"-###",
    b"-save-temps",
    b"-fplugin=x.so",
    b"-specs=x",
    b"-",
];

/// Variables with which no compile may leave.
const VARIABLES_AT_HOME: [(&[u8], &[u8]); 3] = [
    (b"LD_AUDIT", b"/x.so"),
    (b"GCC_EXEC_PREFIX", b"/x"),
    (b"DEPENDENCIES_OUTPUT", b"x.d"),
];

/// Judges the command line that `bytes` spells: arguments, one a line; behind an empty line variables, likewise;
/// behind another the content of every response file.
pub fn check(bytes: &[u8]) {
    let (invocation, mut files) = read(bytes);
    for dialect in [Dialect::Gcc, Dialect::Clang] {
        let verdict = judge(&invocation, dialect, &mut files);
        assert_eq!(verdict, judge(&invocation, dialect, &mut files), "twice alike");
        if let Verdict::Distribute(plan) = &verdict {
            check_plan(plan);
            check_stays_at_home(&invocation, dialect, &mut files);
        }
    }
    check_environment(&invocation.env);
}

/// The client's files: `.rsp` is a response file, and a file exists that the last section names.
struct Files<'a>(&'a [u8]);

impl Surroundings for Files<'_> {
    fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        path.ends_with(b".rsp").then(|| self.0.to_vec())
    }

    fn exists(&mut self, path: &[u8]) -> bool {
        self.0.split(|byte| *byte == b'\n').any(|line| line == path)
    }

    fn is_file(&mut self, path: &[u8]) -> bool {
        self.exists(path)
    }
}

fn read(bytes: &[u8]) -> (Invocation, Files<'_>) {
    let (arguments, rest) = section(bytes);
    let (variables, content) = section(rest);
    let invocation = Invocation {
        argv: arguments,
        cwd: b"/w".to_vec(),
        env: variables
            .iter()
            .filter_map(|line| {
                let equals = line.iter().position(|byte| *byte == b'=')?;
                Some((line[..equals].to_vec(), line[equals + 1..].to_vec()))
            })
            .collect(),
    };
    (invocation, Files(content))
}

/// The lines before the first empty one, and what follows it. As from the kernel, no line holds a NUL.
fn section(bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, tail) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &[][..]),
    };
    let lines = head.split(|byte| matches!(byte, b'\n' | 0));
    (lines.map(<[u8]>::to_vec).collect(), tail)
}

fn check_plan(plan: &Plan) {
    assert!(
        !plan.source.is_empty() && plan.source != b"-",
        "{plan:?} has no source"
    );
    assert!(!plan.outputs.is_empty(), "{plan:?} has no output");
    let mut paths = BTreeSet::from([plan.source.as_slice()]);
    for output in &plan.outputs {
        assert!(!output.path.is_empty() && !output.path.contains(&0), "{plan:?}");
        assert!(paths.insert(&output.path), "{plan:?} writes a file twice");
    }
    assert_eq!(
        plan.dependency_arguments.last().map(Vec::as_slice),
        Some(&b"-M"[..]),
        "{plan:?}"
    );
    assert!(
        plan.dependency_arguments.contains(&plan.source),
        "{plan:?} looks for the dependencies of something else"
    );
}

fn check_stays_at_home(invocation: &Invocation, dialect: Dialect, files: &mut Files<'_>) {
    for argument in AT_HOME {
        let mut changed = invocation.clone();
        changed.argv.insert(1, argument.to_vec());
        let verdict = judge(&changed, dialect, files);
        assert!(!matches!(verdict, Verdict::Distribute(_)), "{changed:?}");
    }
    for (name, value) in VARIABLES_AT_HOME {
        let mut changed = invocation.clone();
        changed.env.push((name.to_vec(), value.to_vec()));
        let verdict = judge(&changed, dialect, files);
        assert!(!matches!(verdict, Verdict::Distribute(_)), "{changed:?}");
    }
}

/// What travels is sorted by name, names each variable once and comes from the client.
fn check_environment(env: &[(Vec<u8>, Vec<u8>)]) {
    let remote = remote_environment(env);
    assert!(remote.windows(2).all(|pair| pair[0].0 < pair[1].0), "{remote:?}");
    for (name, value) in &remote {
        let first = env.iter().find(|(known, _)| known == name);
        assert_eq!(first.map(|(_, value)| value), Some(value), "as getenv reads it");
    }
    assert_eq!(remote_environment(&remote), remote);
}
