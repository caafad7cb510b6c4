//! Names of the files a compile writes. Every rule here was tried with gcc 12.2 and clang 14.0.6; the table
//! in the tests is what they did. Never decides whether a name is acceptable.

use super::dialect::Action;
use super::path::{LeadingDot, file_name, with_suffix};
use super::{Dialect, Language, Output, Role};

/// What the command line asks the compiler to write.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The operand of the last `-o`.
    pub(super) main: Option<Vec<u8>>,
    /// Whether and where a dep file is written.
    pub(super) dep_file: DepFile,
    /// `-gsplit-dwarf`, unless taken back.
    pub(super) split_dwarf: bool,
    /// `-fstack-usage`.
    pub(super) stack_usage: bool,
    /// `-fcallgraph-info`.
    pub(super) call_graph: bool,
}

/// The dep file asked for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum DepFile {
    /// None.
    #[default]
    None,
    /// Named after the main output.
    Derived,
    /// At this path.
    Named(Vec<u8>),
}

/// The outputs of compiling `source`, the main one first.
pub(super) fn derive(
    dialect: Dialect,
    action: Action,
    language: Language,
    source: &[u8],
    request: &Request,
) -> Vec<Output> {
    // gcc takes the whole of `.o` for a stem except for the dep file of an explicit `-o`.
    let leading_dot = match dialect {
        Dialect::Gcc => LeadingDot::IsName,
        Dialect::Clang => LeadingDot::IsSuffix,
    };
    let (suffix, role): (&[u8], _) = match action {
        Action::Compile => (b".o", Role::Object),
        Action::Assembly => (b".s", Role::Assembly),
    };
    let main = match &request.main {
        Some(path) => path.clone(),
        None => with_suffix(file_name(source), suffix, leading_dot),
    };
    let beside = |suffix| with_suffix(&main, suffix, leading_dot);
    let mut outputs = Vec::new();
    if language.is_preprocessed_by_compiler() {
        let dep_leading_dot = if request.main.is_some() {
            LeadingDot::IsSuffix
        } else {
            leading_dot
        };
        match &request.dep_file {
            DepFile::None => {}
            DepFile::Derived => {
                outputs.push(Output {
                    path: with_suffix(&main, b".d", dep_leading_dot),
                    role: Role::DepFile,
                });
            }
            DepFile::Named(path) => outputs.push(Output {
                path: path.clone(),
                role: Role::DepFile,
            }),
        }
    }
    if request.split_dwarf {
        let path = match (action, dialect) {
            (Action::Compile, _) => Some(beside(b".dwo")),
            // gcc extracts the file from an object.
            (Action::Assembly, Dialect::Gcc) => None,
            // clang heeds -o for this file only beside -c.
            (Action::Assembly, Dialect::Clang) => Some(with_suffix(file_name(source), b".dwo", leading_dot)),
        };
        outputs.extend(path.map(|path| Output {
            path,
            role: Role::SplitDwarf,
        }));
    }
    if request.stack_usage && !language.is_assembly() {
        outputs.push(Output {
            path: beside(b".su"),
            role: Role::StackUsage,
        });
    }
    if request.call_graph && !language.is_assembly() {
        outputs.push(Output {
            path: beside(b".ci"),
            role: Role::CallGraph,
        });
    }
    outputs.insert(0, Output { path: main, role });
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dialect: Dialect, action: Action, source: &str, request: &Request) -> String {
        let language = Language::from_path(source.as_bytes(), dialect).unwrap_or(Language::C);
        let outputs = derive(dialect, action, language, source.as_bytes(), request);
        let names: Vec<_> = outputs
            .iter()
            .map(|output| String::from_utf8_lossy(&output.path))
            .collect();
        names.join(" ")
    }

    /// Every side output at once, as tried with
    /// `-MD -fstack-usage -g -gsplit-dwarf -fcallgraph-info` (the last with gcc only).
    fn everything(dialect: Dialect, main: Option<&str>) -> Request {
        Request {
            main: main.map(|path| path.as_bytes().to_vec()),
            dep_file: DepFile::Derived,
            split_dwarf: true,
            stack_usage: true,
            call_graph: matches!(dialect, Dialect::Gcc),
        }
    }

    #[test]
    fn names_beside_an_explicit_output() {
        let check = |main: &str, gcc: &str, clang: &str| {
            for (dialect, expect) in [(Dialect::Gcc, gcc), (Dialect::Clang, clang)] {
                let request = everything(dialect, Some(main));
                let got = names(dialect, Action::Compile, "a.c", &request);
                assert_eq!(got, format!("{main} {expect}"), "{dialect:?} -o {main}");
            }
        };
        check("foo", "foo.d foo.dwo foo.su foo.ci", "foo.d foo.dwo foo.su");
        check("x.y.o", "x.y.d x.y.dwo x.y.su x.y.ci", "x.y.d x.y.dwo x.y.su");
        check(
            "out/x.y",
            "out/x.d out/x.dwo out/x.su out/x.ci",
            "out/x.d out/x.dwo out/x.su",
        );
        check("a.c.o", "a.c.d a.c.dwo a.c.su a.c.ci", "a.c.d a.c.dwo a.c.su");
        check("a.obj", "a.d a.dwo a.su a.ci", "a.d a.dwo a.su");
        check("x.", "x.d x.dwo x.su x.ci", "x.d x.dwo x.su");
        check("..o", "..d ..dwo ..su ..ci", "..d ..dwo ..su");
        check(".o", ".d .o.dwo .o.su .o.ci", ".d .dwo .su");
        check(
            "out/.hid",
            "out/.d out/.hid.dwo out/.hid.su out/.hid.ci",
            "out/.d out/.dwo out/.su",
        );
    }

    #[test]
    fn names_after_the_source() {
        let check = |source: &str, gcc: &str, clang: &str| {
            for (dialect, expect) in [(Dialect::Gcc, gcc), (Dialect::Clang, clang)] {
                let got = names(dialect, Action::Compile, source, &everything(dialect, None));
                assert_eq!(got, expect, "{dialect:?} {source}");
            }
        };
        check(
            "a.b.c",
            "a.b.o a.b.d a.b.dwo a.b.su a.b.ci",
            "a.b.o a.b.d a.b.dwo a.b.su",
        );
        check(
            "sub/q.r.c",
            "q.r.o q.r.d q.r.dwo q.r.su q.r.ci",
            "q.r.o q.r.d q.r.dwo q.r.su",
        );
        check(
            "noext",
            "noext.o noext.d noext.dwo noext.su noext.ci",
            "noext.o noext.d noext.dwo noext.su",
        );
        check("sub/.c", ".c.o .c.d .c.dwo .c.su .c.ci", ".o .d .dwo .su");
        check(
            ".hid.c",
            ".hid.o .hid.d .hid.dwo .hid.su .hid.ci",
            ".hid.o .hid.d .hid.dwo .hid.su",
        );
        check("s.S", "s.o s.d s.dwo", "s.o s.d s.dwo");
        check("s.s", "s.o s.dwo", "s.o s.dwo");
        check("x.i", "x.o x.dwo x.su x.ci", "x.o x.dwo x.su");
    }

    #[test]
    fn assembly_output() {
        let check = |main: Option<&str>, gcc: &str, clang: &str| {
            for (dialect, expect) in [(Dialect::Gcc, gcc), (Dialect::Clang, clang)] {
                let got = names(dialect, Action::Assembly, "sub/q.r.c", &everything(dialect, main));
                assert_eq!(got, expect, "{dialect:?} {main:?}");
            }
        };
        check(None, "q.r.s q.r.d q.r.su q.r.ci", "q.r.s q.r.d q.r.dwo q.r.su");
        check(
            Some("foo.x"),
            "foo.x foo.d foo.su foo.ci",
            "foo.x foo.d q.r.dwo foo.su",
        );
    }

    #[test]
    fn a_named_dep_file_is_taken_as_spelled() {
        let request = Request {
            main: Some(b"o/a.o".to_vec()),
            dep_file: DepFile::Named(b"o/.a.o.d".to_vec()),
            ..Request::default()
        };
        assert_eq!(
            names(Dialect::Gcc, Action::Compile, "a.c", &request),
            "o/a.o o/.a.o.d"
        );
        assert_eq!(names(Dialect::Gcc, Action::Compile, "a.s", &request), "o/a.o");
    }
}
