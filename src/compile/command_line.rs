//! Reads an expanded command line into facts, flag by flag, in one pass. Never concludes anything about the
//! compile as a whole; that is `judge`.

use super::dialect::{Action, DependencyFlag, Driver, Forced, Meaning, Operand, Tool};
use super::forwarded::{self, Piece};
use super::outputs::{DepFile, Request};
use super::{Cause, Dialect, Language, Reason, Role, Surroundings, path};

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
    /// Whether something about the compiler is asked, so that it compiles nothing.
    pub(super) asks_question: bool,
    /// The first thing that keeps a compile of this command line local.
    pub(super) local: Option<Reason>,
    /// The first flag that names this machine's own processor.
    pub(super) native: Option<Vec<u8>>,
    /// Operands of `-include`, which may have a precompiled header beside them.
    pub(super) precompilable: Vec<Vec<u8>>,
    pub(super) forced_includes: Vec<Vec<u8>>,
    pub(super) input_files: Vec<Vec<u8>>,
    pub(super) include_directories: Vec<Vec<u8>>,
    pub(super) search_arguments: Vec<Vec<u8>>,
    pub(super) dependency_arguments: Vec<Vec<u8>>,
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
            asks_question: false,
            local: None,
            native: None,
            precompilable: Vec::new(),
            forced_includes: Vec::new(),
            input_files: Vec::new(),
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
            Meaning::ForcedInclude(forced) => {
                self.force_include(forced, operand);
                self.keep_for_dependencies(spelled);
            }
            Meaning::InputFile => {
                self.input_file(operand);
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
            Meaning::Writes(role) => self.write(role, true),
            Meaning::WritesNo(role) => self.write(role, false),
            Meaning::Dependency(DependencyFlag::Requested) => self.dep_file_requested = true,
            Meaning::Dependency(DependencyFlag::File) => self.dep_file = Some(operand.to_vec()),
            Meaning::Dependency(DependencyFlag::Content) => {}
            Meaning::EndOfFlags => self.flags_ended = true,
            Meaning::Question => self.line.asks_question = true,
            Meaning::Local(cause) => self.keep_local(cause, spelled[0]),
        }
    }

    fn force_include(&mut self, forced: Forced, operand: &[u8]) {
        if path::is_special(operand) && operand != b"/dev/null" {
            self.keep_local(Cause::SpecialFile, operand);
        }
        if forced == Forced::Text {
            self.line.precompilable.push(operand.to_vec());
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

    fn write(&mut self, role: Role, wanted: bool) {
        let request = &mut self.line.request;
        match role {
            Role::SplitDwarf => request.split_dwarf = wanted,
            Role::StackUsage => request.stack_usage = wanted,
            Role::CallGraph => request.call_graph = wanted,
            Role::Object | Role::Assembly | Role::DepFile => {}
        }
    }

    fn forward(&mut self, tool: Tool, spelled: &[&Vec<u8>], operand: &[u8]) {
        match tool {
            Tool::Preprocessor => self.to_preprocessor.push(operand.to_vec()),
            Tool::PreprocessorList => self.forward_list(spelled[0], operand),
            Tool::Assembler => self.to_assembler.push(operand.to_vec()),
            Tool::AssemblerList => self.to_assembler.extend(split_list(operand)),
            Tool::Frontend => {
                self.to_frontend.push(operand.to_vec());
                self.keep_for_search(spelled);
            }
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
            // The driver does not resolve what it hands on.
            if piece.meaning == Meaning::Processor && is_native(piece.operand) {
                self.keep_local(Cause::NativeTarget, &piece.spelled[0]);
            }
        }
        forwarded::read(&self.to_llvm, forwarded::LLVM).map(|_| ())
    }

    fn preprocessor_piece(&mut self, piece: &Piece<'_>) {
        match piece.meaning {
            Meaning::Dependency(DependencyFlag::File) => {
                self.forwarded_dep_file = Some(piece.operand.to_vec());
                return;
            }
            Meaning::Dependency(_) => return,
            Meaning::Directory => self.line.include_directories.push(piece.operand.to_vec()),
            Meaning::ForcedInclude(forced) => self.force_include(forced, piece.operand),
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
