//! Reads an expanded command line into facts, flag by flag, in one pass. Never concludes anything about the
//! compile as a whole; that is `judge`.

use super::dialect::{Action, DependencyFlag, Driver, Meaning, Operand, Tool};
use super::forwarded::{self, Piece};
use super::outputs::{DepFile, Request};
use super::{Cause, Dialect, Language, Reason, Role, Surroundings, TimeMacro, path};

/// A file on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) spelling: Vec<u8>,
    /// The language that a preceding `-x` gives it.
    pub(super) stated_language: Option<Language>,
}

/// All that a command line says. Lists have the meaning of their namesakes in [`super::Plan`].
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) driver: Driver,
    pub(super) files: Vec<File>,
    pub(super) action: Option<Action>,
    pub(super) request: Request,
    /// Whether assembly text gets comments.
    pub(super) comments_assembly: bool,
    /// Whether `-frandom-seed` is given.
    pub(super) has_random_seed: bool,
    /// Whether some flag may decide where the compiled program leaves its profile.
    pub(super) places_profile_data: bool,
    /// Whether something about the compiler is asked, so that it compiles nothing.
    pub(super) asks_question: bool,
    /// The first thing that keeps a compile of this command line local.
    pub(super) local: Option<Reason>,
    /// Whether one of `input_files` is a precompiled header.
    pub(super) loads_precompiled: bool,
    /// Whether clang's compiler proper is told to make a precompiled header.
    pub(super) emits_precompiled: bool,
    /// Whether an argument [`may_name_probe`].
    pub(super) mentions_probe: bool,
    /// Those of [`TIME_WORDS`] that some value mentions.
    mentioned: Vec<&'static [u8]>,
    /// Those of [`TIME_WORDS`] that are defined anew.
    redefined: Vec<&'static [u8]>,
    /// The first flag that names this machine's own processor.
    pub(super) native: Option<Vec<u8>>,
    pub(super) definitions: Vec<Vec<u8>>,
    pub(super) forced_includes: Vec<Vec<u8>>,
    pub(super) input_files: Vec<Vec<u8>>,
    /// Those of `input_files` that are profiles, and operands in the place of one.
    pub(super) profile_files: Vec<Vec<u8>>,
    pub(super) include_directories: Vec<Vec<u8>>,
    pub(super) search_arguments: Vec<Vec<u8>>,
    pub(super) dependency_arguments: Vec<Vec<u8>>,
}

/// Macros that tell the time.
const TIME_WORDS: [&[u8]; 3] = [b"__DATE__", b"__TIME__", b"__TIMESTAMP__"];

/// How `__has_include`, `__has_include_next` and `__has_embed` begin.
const PROBE_WORD: &[u8] = b"__has_";
/// The letters of [`PROBE_WORD`] that a word must have for us to think of one of them.
const PROBE_LETTERS: usize = 5;

/// Whether `argument` has one of those operators, or a word of which `##` may make one.
fn may_name_probe(argument: &[u8]) -> bool {
    let (begin, rest) = PROBE_WORD.split_at(PROBE_LETTERS);
    memchr::memmem::find_iter(argument, begin).any(|at| {
        let after = &argument[at + begin.len()..];
        let alike = rest.iter().zip(after).take_while(|(letter, byte)| letter == byte);
        let alike = alike.count();
        let goes_on = after
            .get(alike)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        alike == rest.len() || !goes_on
    })
}

/// Whether `argument` mentions `word` otherwise than as the macro it defines or takes back.
fn uses(argument: &[u8], word: &[u8]) -> bool {
    let definition = [&b"-D"[..], b"-U", b"--define-macro=", b"--undefine-macro="]
        .iter()
        .find_map(|flag| argument.strip_prefix(*flag))
        .unwrap_or(argument);
    path::mentions(definition.strip_prefix(word).unwrap_or(definition), word)
}

impl CommandLine {
    /// What the whole line makes of `words`, all of them in [`TIME_WORDS`].
    pub(super) fn time_macro(&self, words: &[&[u8]]) -> TimeMacro {
        if words.iter().any(|word| self.mentioned.contains(word)) {
            TimeMacro::Mentioned
        } else if words.iter().all(|word| self.redefined.contains(word)) {
            TimeMacro::Redefined
        } else {
            TimeMacro::AsBuiltIn
        }
    }
}

/// Reads `arguments`, expanded and without argv\[0\], of the driver called `argv0`.
pub(super) fn read(
    argv0: &[u8],
    arguments: &[Vec<u8>],
    dialect: Dialect,
    cwd: &[u8],
    surroundings: &mut dyn Surroundings,
) -> CommandLine {
    let mut reader = Reader::new(argv0, dialect);
    for word in TIME_WORDS {
        if arguments.iter().any(|argument| uses(argument, word)) {
            reader.line.mentioned.push(word);
        }
    }
    reader.line.mentions_probe = arguments.iter().any(|argument| may_name_probe(argument));
    let mut rest = arguments;
    while let Some((argument, following)) = rest.split_first() {
        rest = following;
        if reader.flags_ended || !argument.starts_with(b"-") || argument == b"-" {
            reader.file(argument);
            continue;
        }
        match dialect.find(argument) {
            Some((row, Operand::None)) => reader.flag(row.meaning, &[argument], b""),
            Some((row, Operand::Joined(operand))) => reader.flag(row.meaning, &[argument], operand),
            Some((row, Operand::Next)) => match rest.split_first() {
                Some((operand, following)) => {
                    rest = following;
                    reader.flag(row.meaning, &[argument, operand], operand);
                }
                None => reader.keep_local(Cause::MissingOperand, argument),
            },
            None => reader.unlisted(argument, cwd, surroundings),
        }
    }
    reader.finish()
}

/// The state of one pass.
struct Reader {
    dialect: Dialect,
    line: CommandLine,
    stated_language: Option<Language>,
    flags_ended: bool,
    dep_file_requested: bool,
    /// The operand of the last `-MF`.
    dep_file: Option<Vec<u8>>,
    /// The dep file asked for behind `-Wp,`.
    forwarded_dep_file: Option<Vec<u8>>,
    /// What was forwarded, in order, to be read together: an operand may come in a later argument.
    to_preprocessor: Vec<Vec<u8>>,
    to_assembler: Vec<Vec<u8>>,
    to_frontend: Vec<Vec<u8>>,
    to_llvm: Vec<Vec<u8>>,
}

impl Reader {
    fn new(argv0: &[u8], dialect: Dialect) -> Self {
        let line = CommandLine {
            driver: Driver::from_name(argv0),
            files: Vec::new(),
            action: None,
            request: Request::default(),
            comments_assembly: false,
            has_random_seed: false,
            places_profile_data: false,
            asks_question: false,
            local: None,
            loads_precompiled: false,
            emits_precompiled: false,
            mentions_probe: false,
            mentioned: Vec::new(),
            redefined: Vec::new(),
            native: None,
            definitions: Vec::new(),
            forced_includes: Vec::new(),
            input_files: Vec::new(),
            profile_files: Vec::new(),
            include_directories: Vec::new(),
            search_arguments: Vec::new(),
            dependency_arguments: Vec::new(),
        };
        Self {
            dialect,
            line,
            stated_language: None,
            flags_ended: false,
            dep_file_requested: false,
            dep_file: None,
            forwarded_dep_file: None,
            to_preprocessor: Vec::new(),
            to_assembler: Vec::new(),
            to_frontend: Vec::new(),
            to_llvm: Vec::new(),
        }
    }

    fn keep_local(&mut self, cause: Cause, subject: &[u8]) {
        self.line.local.get_or_insert_with(|| Reason::new(cause, subject));
    }

    fn keep_for_dependencies(&mut self, spelled: &[&Vec<u8>]) {
        self.line
            .dependency_arguments
            .extend(spelled.iter().copied().cloned());
    }

    fn keep_for_search(&mut self, spelled: &[&Vec<u8>]) {
        self.line
            .search_arguments
            .extend(spelled.iter().copied().cloned());
        self.keep_for_dependencies(spelled);
    }

    fn file(&mut self, argument: &Vec<u8>) {
        // Behind `--` only: in a `-M` run, where flags follow the files, it would be a flag.
        if argument.starts_with(b"-") && argument != b"-" {
            self.keep_local(Cause::UnknownFlag, argument);
        }
        self.line.files.push(File {
            spelling: argument.clone(),
            stated_language: self.stated_language,
        });
        self.keep_for_dependencies(&[argument]);
    }

    /// Takes in a flag of the tables; `spelled` are its one or two arguments.
    fn flag(&mut self, meaning: Meaning, spelled: &[&Vec<u8>], operand: &[u8]) {
        match meaning {
            Meaning::Passes => self.keep_for_dependencies(spelled),
            Meaning::Selects => self.keep_for_search(spelled),
            Meaning::Defines => {
                self.define(operand);
                self.keep_for_dependencies(spelled);
            }
            Meaning::Processor => {
                if is_native(operand) {
                    self.line.native.get_or_insert_with(|| spelled[0].clone());
                }
                self.keep_for_search(spelled);
            }
            Meaning::Directory => {
                self.line.include_directories.push(operand.to_vec());
                self.keep_for_search(spelled);
            }
            Meaning::ForcedInclude => {
                self.force_include(operand);
                self.keep_for_dependencies(spelled);
            }
            Meaning::InputFile => {
                self.input_file(operand);
                self.keep_for_dependencies(spelled);
            }
            Meaning::ProfileFile => {
                self.input_file(operand);
                self.line.profile_files.push(operand.to_vec());
                self.keep_for_dependencies(spelled);
            }
            Meaning::Precompiled => {
                self.load_precompiled(operand);
                self.keep_for_dependencies(spelled);
            }
            Meaning::Language => {
                self.stated_language = (operand != b"none").then(|| Language::from_name(operand));
                self.keep_for_dependencies(spelled);
            }
            Meaning::Charset => {
                if !operand.eq_ignore_ascii_case(b"utf-8") {
                    self.keep_local(Cause::CharacterSet, spelled[0]);
                }
                self.keep_for_search(spelled);
            }
            Meaning::DriverMode => {
                self.line.driver = Driver::from_mode(operand);
                self.keep_for_search(spelled);
            }
            Meaning::Forwards(tool) => self.forward(tool, spelled, operand),
            Meaning::Makes(action) => self.line.action = self.line.action.max(Some(action)),
            Meaning::MainOutput => self.line.request.main = Some(operand.to_vec()),
            Meaning::Writes(role) => self.write(role, operand),
            Meaning::WritesNo(role) => self.write_no(role),
            Meaning::WritesTo(role) => self.write_to(role, operand),
            Meaning::RandomSeed => {
                self.line.has_random_seed = true;
                self.keep_for_dependencies(spelled);
            }
            Meaning::ProfileData => {
                self.line.places_profile_data = true;
                self.keep_for_dependencies(spelled);
            }
            Meaning::Dependency(DependencyFlag::Requested) => self.dep_file_requested = true,
            Meaning::Dependency(DependencyFlag::File) => self.dep_file = Some(operand.to_vec()),
            Meaning::Dependency(DependencyFlag::Content) => {}
            Meaning::VerboseAssembly => self.line.comments_assembly = true,
            // Only LLVM's own options and clang's compiler proper, which are read apart.
            Meaning::Steers | Meaning::EmitsPrecompiled => {
                self.keep_local(Cause::UnknownForwarded, spelled[0])
            }
            Meaning::EndOfFlags => self.flags_ended = true,
            Meaning::Question => self.line.asks_question = true,
            Meaning::Local(cause) => self.keep_local(cause, spelled[0]),
        }
    }

    fn define(&mut self, definition: &[u8]) {
        let name = definition.split(|&byte| byte == b'=').next();
        let word = TIME_WORDS.into_iter().find(|word| Some(*word) == name);
        self.line.redefined.extend(word);
        self.line.definitions.push(definition.to_vec());
    }

    fn load_precompiled(&mut self, operand: &[u8]) {
        self.line.loads_precompiled = true;
        self.input_file(operand);
    }

    fn force_include(&mut self, operand: &[u8]) {
        if path::is_special(operand) && operand != b"/dev/null" {
            self.keep_local(Cause::SpecialFile, operand);
        }
        self.line.forced_includes.push(operand.to_vec());
    }

    fn input_file(&mut self, operand: &[u8]) {
        if path::is_special(operand) {
            self.keep_local(Cause::SpecialFile, operand);
        }
        // An empty list takes back the lists before it.
        if !operand.is_empty() {
            self.line.input_files.push(operand.to_vec());
        }
    }

    fn write(&mut self, role: Role, operand: &[u8]) {
        let request = &mut self.line.request;
        match role {
            Role::SplitDwarf => request.split_dwarf = true,
            Role::StackUsage => request.stack_usage = true,
            Role::CallGraph => request.call_graph = true,
            Role::CoverageNotes => request.coverage_notes = true,
            Role::OptimizationRecord => request.optimization_record.format(operand),
            Role::Object | Role::Assembly | Role::DepFile | Role::Diagnostics => {}
        }
    }

    /// Only for flags of which the last one counts in both compilers: a file declared too much does no harm.
    fn write_no(&mut self, role: Role) {
        if role == Role::SplitDwarf {
            self.line.request.split_dwarf = false;
        }
    }

    fn write_to(&mut self, role: Role, operand: &[u8]) {
        let request = &mut self.line.request;
        match role {
            Role::OptimizationRecord => request.optimization_record.name(operand),
            Role::Diagnostics => request.diagnostics = Some(operand.to_vec()),
            _ => {}
        }
    }

    fn forward(&mut self, tool: Tool, spelled: &[&Vec<u8>], operand: &[u8]) {
        match tool {
            Tool::Preprocessor => self.to_preprocessor.push(operand.to_vec()),
            Tool::PreprocessorList => self.forward_list(spelled[0], operand),
            Tool::Assembler => self.to_assembler.push(operand.to_vec()),
            Tool::AssemblerList => self.to_assembler.extend(split_list(operand)),
            Tool::Frontend => self.to_frontend.push(operand.to_vec()),
            Tool::Llvm => self.to_llvm.push(operand.to_vec()),
        }
    }

    /// Takes in `-Wp,`. clang turns `-Wp,-MD,file` into flags of the driver and drops whatever follows the
    /// file; gcc hands all on.
    fn forward_list(&mut self, argument: &[u8], list: &[u8]) {
        let pieces: Vec<Vec<u8>> = split_list(list).collect();
        let is_clang_dependency = matches!(self.dialect, Dialect::Clang)
            && pieces
                .first()
                .is_some_and(|first| first == b"-MD" || first == b"-MMD");
        if is_clang_dependency && pieces.len() != 2 {
            self.keep_local(Cause::OddDependencyFlags, argument);
        } else {
            self.to_preprocessor.extend(pieces);
        }
    }

    /// Takes in a flag that no table lists: code generation and warnings pass unless a file may be meant.
    fn unlisted(&mut self, argument: &Vec<u8>, cwd: &[u8], surroundings: &mut dyn Surroundings) {
        match argument.get(1) {
            Some(b'W') if !argument.contains(&b'/') => self.keep_for_dependencies(&[argument]),
            Some(b'g') if !may_name_file(argument, cwd, surroundings) => {
                self.keep_for_dependencies(&[argument]);
            }
            Some(b'f' | b'm' | b'O') if !may_name_file(argument, cwd, surroundings) => {
                self.keep_for_search(&[argument]);
            }
            Some(b'W' | b'f' | b'm' | b'O' | b'g') => self.keep_local(Cause::UnknownPath, argument),
            _ => self.keep_local(Cause::UnknownFlag, argument),
        }
    }

    fn finish(mut self) -> CommandLine {
        if let Err(reason) = self.read_forwarded() {
            self.line.local.get_or_insert(reason);
        }
        self.line.request.dep_file = match (
            self.dep_file_requested,
            self.dep_file.take(),
            self.forwarded_dep_file.take(),
        ) {
            (false, None, None) => DepFile::None,
            (true, None, None) => DepFile::Derived,
            (true, Some(file), None) | (false, None, Some(file)) => DepFile::Named(file),
            (_, Some(file), _) | (_, _, Some(file)) => {
                self.keep_local(Cause::OddDependencyFlags, &file);
                DepFile::None
            }
        };
        self.line
    }

    fn read_forwarded(&mut self) -> Result<(), Reason> {
        let to_preprocessor = std::mem::take(&mut self.to_preprocessor);
        for piece in forwarded::read(&to_preprocessor, forwarded::PREPROCESSOR)? {
            self.preprocessor_piece(&piece);
        }
        let to_assembler = std::mem::take(&mut self.to_assembler);
        for piece in forwarded::read(&to_assembler, forwarded::ASSEMBLER)? {
            if piece.meaning == Meaning::Directory {
                self.line.include_directories.push(piece.operand.to_vec());
            }
        }
        let to_frontend = std::mem::take(&mut self.to_frontend);
        for piece in forwarded::read(&to_frontend, forwarded::FRONTEND)? {
            self.frontend_piece(&piece);
        }
        forwarded::read(&self.to_llvm, forwarded::LLVM).map(|_| ())
    }

    fn frontend_piece(&mut self, piece: &Piece<'_>) {
        match piece.meaning {
            // The driver does not resolve what it hands on.
            Meaning::Processor if is_native(piece.operand) => {
                self.keep_local(Cause::NativeTarget, &piece.spelled[0]);
            }
            Meaning::ForcedInclude => self.force_include(piece.operand),
            Meaning::Precompiled => self.load_precompiled(piece.operand),
            _ => {}
        }
        // It would make one of what is only to be preprocessed.
        if piece.meaning == Meaning::EmitsPrecompiled {
            self.line.emits_precompiled = true;
            return;
        }
        if piece.meaning == Meaning::Forwards(Tool::Llvm) {
            self.to_llvm.push(piece.operand.to_vec());
            return;
        }
        let reads = matches!(piece.meaning, Meaning::ForcedInclude | Meaning::Precompiled);
        for argument in piece.spelled {
            let spelled = [&b"-Xclang".to_vec(), argument];
            if reads {
                self.keep_for_dependencies(&spelled);
            } else {
                self.keep_for_search(&spelled);
            }
        }
    }

    fn preprocessor_piece(&mut self, piece: &Piece<'_>) {
        match piece.meaning {
            Meaning::Dependency(DependencyFlag::File) => {
                self.forwarded_dep_file = Some(piece.operand.to_vec());
                return;
            }
            Meaning::Dependency(_) => return,
            Meaning::Directory => self.line.include_directories.push(piece.operand.to_vec()),
            Meaning::ForcedInclude => self.force_include(piece.operand),
            Meaning::Defines => self.line.definitions.push(piece.operand.to_vec()),
            _ => {}
        }
        let selects = matches!(piece.meaning, Meaning::Directory | Meaning::Selects);
        for argument in piece.spelled {
            let spelled = [&b"-Xpreprocessor".to_vec(), argument];
            if selects {
                self.keep_for_search(&spelled);
            } else {
                self.keep_for_dependencies(&spelled);
            }
        }
    }
}

/// clang also takes extensions: `-mcpu=native+crypto`.
fn is_native(processor: &[u8]) -> bool {
    processor.starts_with(b"native")
}

fn split_list(list: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    list.split(|&byte| byte == b',').map(<[u8]>::to_vec)
}

/// Whether an unlisted flag may name a file: by a slash, by a value with a dot that is no version number, or
/// by a value that exists.
fn may_name_file(argument: &[u8], cwd: &[u8], surroundings: &mut dyn Surroundings) -> bool {
    if argument.contains(&b'/') {
        return true;
    }
    let values = [
        argument.iter().position(|&byte| byte == b'='),
        argument.iter().rposition(|&byte| byte == b'='),
    ];
    values
        .into_iter()
        .flatten()
        .map(|position| &argument[position + 1..])
        .any(|value| {
            let is_number = value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
            !is_number && (value.contains(&b'.') || surroundings.exists(&path::absolute(cwd, value)))
        })
}
