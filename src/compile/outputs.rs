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
    /// `-ftest-coverage` and what implies it.
    pub(super) coverage_notes: bool,
    /// Whether and where clang's optimisation record is written.
    pub(super) optimization_record: OptimizationRecord,
    /// The operand of the last `--serialize-diagnostics`.
    pub(super) diagnostics: Option<Vec<u8>>,
}

/// The optimisation record asked for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct OptimizationRecord {
    /// The format where one is asked for; it is the suffix.
    format: Option<Vec<u8>>,
    /// Its path where it is named.
    named: Option<Vec<u8>>,
}

impl OptimizationRecord {
    /// Asks for one in `format`; where that is empty in the one of another flag, or in YAML.
    pub(super) fn format(&mut self, format: &[u8]) {
        if !format.is_empty() {
            self.format = Some(format.to_vec());
        }
        self.format.get_or_insert_with(|| b"yaml".to_vec());
    }

    /// Asks for one at `path`.
    pub(super) fn name(&mut self, path: &[u8]) {
        self.named = Some(path.to_vec());
    }
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
    if request.coverage_notes && !language.is_assembly() {
        outputs.push(Output {
            path: beside(b".gcno"),
            role: Role::CoverageNotes,
        });
    }
    if !language.is_assembly()
        && let Some(path) = optimization_record(source, request)
    {
        outputs.push(Output {
            path,
            role: Role::OptimizationRecord,
        });
    }
    outputs.extend(request.diagnostics.iter().map(|path| Output {
        path: path.clone(),
        role: Role::Diagnostics,
    }));
    outputs.insert(0, Output { path: main, role });
    outputs
}

/// clang puts the record beside an explicit main output; without one it takes two suffixes off the source's name.
fn optimization_record(source: &[u8], request: &Request) -> Option<Vec<u8>> {
    let record = &request.optimization_record;
    if record.named.is_some() {
        return record.named.clone();
    }
    let suffix = [b".opt.", record.format.as_deref()?].concat();
    let stem = match &request.main {
        Some(main) => main.clone(),
        None => with_suffix(file_name(source), b"", LeadingDot::IsSuffix),
    };
    Some(with_suffix(&stem, &suffix, LeadingDot::IsSuffix))
}

/// Where a program compiled by gcc leaves its counts, unless a flag decides otherwise.
pub(super) fn coverage_data(outputs: &[Output]) -> Option<Vec<u8>> {
    let notes = outputs.iter().find(|output| output.role == Role::CoverageNotes)?;
    Some(with_suffix(&notes.path, b".gcda", LeadingDot::IsSuffix))
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
    /// `-MD -fstack-usage -g -gsplit-dwarf --coverage -O2` and `-fcallgraph-info` (gcc) or
    /// `-fsave-optimization-record` (clang).
    fn everything(dialect: Dialect, main: Option<&str>) -> Request {
        Request {
            main: main.map(|path| path.as_bytes().to_vec()),
            dep_file: DepFile::Derived,
            split_dwarf: true,
            stack_usage: true,
            call_graph: matches!(dialect, Dialect::Gcc),
            coverage_notes: true,
            optimization_record: OptimizationRecord {
                format: matches!(dialect, Dialect::Clang).then(|| b"yaml".to_vec()),
                named: None,
            },
            diagnostics: None,
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
        check(
            "foo",
            "foo.d foo.dwo foo.su foo.ci foo.gcno",
            "foo.d foo.dwo foo.su foo.gcno foo.opt.yaml",
        );
        check(
            "x.y.o",
            "x.y.d x.y.dwo x.y.su x.y.ci x.y.gcno",
            "x.y.d x.y.dwo x.y.su x.y.gcno x.y.opt.yaml",
        );
        check(
            "out/x.y",
            "out/x.d out/x.dwo out/x.su out/x.ci out/x.gcno",
            "out/x.d out/x.dwo out/x.su out/x.gcno out/x.opt.yaml",
        );
        check(
            "a.c.o",
            "a.c.d a.c.dwo a.c.su a.c.ci a.c.gcno",
            "a.c.d a.c.dwo a.c.su a.c.gcno a.c.opt.yaml",
        );
        check(
            "a.obj",
            "a.d a.dwo a.su a.ci a.gcno",
            "a.d a.dwo a.su a.gcno a.opt.yaml",
        );
        check(
            "x.",
            "x.d x.dwo x.su x.ci x.gcno",
            "x.d x.dwo x.su x.gcno x.opt.yaml",
        );
        check(
            "..o",
            "..d ..dwo ..su ..ci ..gcno",
            "..d ..dwo ..su ..gcno ..opt.yaml",
        );
        check(
            ".o",
            ".d .o.dwo .o.su .o.ci .o.gcno",
            ".d .dwo .su .gcno .opt.yaml",
        );
        check(
            "out/.hid",
            "out/.d out/.hid.dwo out/.hid.su out/.hid.ci out/.hid.gcno",
            "out/.d out/.dwo out/.su out/.gcno out/.opt.yaml",
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
            "a.b.o a.b.d a.b.dwo a.b.su a.b.ci a.b.gcno",
            "a.b.o a.b.d a.b.dwo a.b.su a.b.gcno a.opt.yaml",
        );
        check(
            "sub/q.r.c",
            "q.r.o q.r.d q.r.dwo q.r.su q.r.ci q.r.gcno",
            "q.r.o q.r.d q.r.dwo q.r.su q.r.gcno q.opt.yaml",
        );
        check(
            "noext",
            "noext.o noext.d noext.dwo noext.su noext.ci noext.gcno",
            "noext.o noext.d noext.dwo noext.su noext.gcno noext.opt.yaml",
        );
        check(
            "sub/.c",
            ".c.o .c.d .c.dwo .c.su .c.ci .c.gcno",
            ".o .d .dwo .su .gcno .opt.yaml",
        );
        check(
            ".hid.c",
            ".hid.o .hid.d .hid.dwo .hid.su .hid.ci .hid.gcno",
            ".hid.o .hid.d .hid.dwo .hid.su .hid.gcno .opt.yaml",
        );
        check("s.S", "s.o s.d s.dwo", "s.o s.d s.dwo");
        check("s.s", "s.o s.dwo", "s.o s.dwo");
        check(
            "x.i",
            "x.o x.dwo x.su x.ci x.gcno",
            "x.o x.dwo x.su x.gcno x.opt.yaml",
        );
    }

    #[test]
    fn assembly_output() {
        let check = |main: Option<&str>, gcc: &str, clang: &str| {
            for (dialect, expect) in [(Dialect::Gcc, gcc), (Dialect::Clang, clang)] {
                let got = names(dialect, Action::Assembly, "sub/q.r.c", &everything(dialect, main));
                assert_eq!(got, expect, "{dialect:?} {main:?}");
            }
        };
        check(
            None,
            "q.r.s q.r.d q.r.su q.r.ci q.r.gcno",
            "q.r.s q.r.d q.r.dwo q.r.su q.r.gcno q.opt.yaml",
        );
        check(
            Some("foo.x"),
            "foo.x foo.d foo.su foo.ci foo.gcno",
            "foo.x foo.d q.r.dwo foo.su foo.gcno foo.opt.yaml",
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

    #[test]
    fn a_named_record_and_diagnostics_are_taken_as_spelled() {
        let mut request = Request {
            diagnostics: Some(b"d/a.dia".to_vec()),
            ..Request::default()
        };
        request.optimization_record.format(b"");
        request.optimization_record.name(b"r/a");
        let got = names(Dialect::Clang, Action::Compile, "a.c", &request);
        assert_eq!(got, "a.o r/a d/a.dia");
        assert_eq!(
            names(Dialect::Clang, Action::Compile, "a.s", &request),
            "a.o d/a.dia"
        );
    }
}
