//! One compile made ready to travel: its files, its action, and one attempt on a builder.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quicc_protocol::BlobDigest;
use quicc_protocol::message::run::{DeclaredOutput, StandardStreams};
use quicc_protocol::message::wrapper::CompileRequest;

use super::compilers::{Compilers, KnownToolchain, installation_places};
use super::farm::Slot;
use super::link::{Action, Link, Returned, RunError, Traffic};
use super::loader_path;
use super::native::Resolved;
use super::outputs::{self, Located};
use super::quotes::quoted_files;
use super::reason::LocalReason;
use super::refusal::{self, COMPUTED_INCBIN, COMPUTED_PROBE};
use super::sources::Sources;
use super::specs_path;
use super::table::{Object, State, Table, TableError};
use super::telling::Told;
use crate::compile::{self, Cause, Dialect, Invocation, Plan, Surroundings, TimeMacro, Verdict};
use crate::inputs::closure::{self, Closure, IncludeGraphs, Item, Request};
use crate::inputs::kept::Kept;
use crate::inputs::scan::has_assembler_name;
use crate::inputs::tree::{ContentDigest, Mark, StatTuple, Tree, join};
use crate::inputs::validate::{
    Validity, is_looked_at_in_no_time, prove, still_holds, still_holds_if, validate,
};
use crate::toolchain::terminal;

/// How long what was found is taken for what is, until a builder is told of it anew or has compiled it: then it is looked
/// at.
pub const FRESH: Duration = Duration::from_millis(100);
/// What a closure may have to be told on a thread that others wait for; more is told on another.
const TOLD_AT_ONCE: usize = 512;
/// The same of the names in its directories that the builder may not know yet.
const NAMES_AT_ONCE: usize = 2048;

/// How inputs are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// By our own scanner alone, unless a file computes an include.
    Scan,
    /// By the scanner and the compiler's `-M` together.
    Dependencies,
}

/// A compile that may travel, as far as its command line tells.
#[derive(Debug)]
pub struct Candidate {
    /// From the verdict.
    pub plan: Plan,
    /// Its compiler.
    pub toolchain: Arc<KnownToolchain>,
    /// Whether the verdict hangs on files that exist or do not, beyond those the closure holds.
    pub asked_of_files: bool,
    /// The response files it was read from, and their bytes' digests.
    response_files: Vec<(PathBuf, ContentDigest)>,
}

/// How far the messages of a compile are to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Caveats {
    /// Diagnostics may quote files the closure lacks: gcc does not look at those a precompiled header was made of, and
    /// leaves out the lines it cannot quote.
    pub may_quote_unseen: bool,
    /// The driver's programs run in its place. They speak for it only when they succeed, and only to a file: it is the
    /// driver that knows of a terminal and of what a failure means.
    pub is_resolved: bool,
    /// Messages may come out in another language than English.
    pub translated: bool,
}

/// A compile ready to travel.
#[derive(Debug)]
pub struct Prepared {
    /// What to run.
    pub action: Action,
    /// All it may read.
    pub kept: Arc<Kept>,
    /// What proves that it held when last looked at.
    pub proof: Option<Mark>,
    /// When its inputs were found, or brought up to date from an earlier compile.
    pub looked: Instant,
    /// Where its outputs go.
    pub outputs: Vec<Located>,
    /// How its inputs were found.
    pub tier: Tier,
    /// How far its messages are to be believed.
    pub caveats: Caveats,
    /// Identifies the toolchain's bytes.
    pub toolchain: BlobDigest,
}

/// What a command line means. `Err(None)`: no compile at all.
pub fn judge(
    compilers: &Compilers,
    tree: &Tree,
    request: &CompileRequest,
) -> Result<Candidate, Option<LocalReason>> {
    let compiler = compiler_of(request);
    let toolchain = compilers
        .toolchain(tree, compiler, &request.env)
        .map_err(|problem| {
            tracing::info!(compiler = %compiler.display(), problem, "this compiler stays here");
            Some(LocalReason::because("unknown-compiler", &problem))
        })?;
    let cwd = Path::new(OsStr::from_bytes(&request.cwd));
    let mut env = request.env.clone();
    let mut asked = false;
    env.retain(|(name, value)| match name.as_slice() {
        b"LD_LIBRARY_PATH" => !loader_path::is_harmless(tree, value, &toolchain.files),
        b"LIBRARY_PATH" => {
            asked |= specs_path::is_relative(value);
            !specs_path::is_harmless(value, cwd, &toolchain.toolchain.paths)
        }
        _ => true,
    });
    let invocation = Invocation {
        argv: request.argv.clone(),
        cwd: request.cwd.clone(),
        env,
    };
    let mut files = ClientFiles {
        cwd,
        asked,
        response_files: Vec::new(),
    };
    match compile::judge(&invocation, toolchain.toolchain.dialect, &mut files) {
        Verdict::Distribute(plan) if plan.native_arguments.is_none() && toolchain.is_configured_native() => {
            Err(Some(Cause::NativeTarget.code().into()))
        }
        Verdict::Distribute(plan) => Ok(Candidate {
            plan: *plan,
            toolchain,
            asked_of_files: files.asked,
            response_files: files.response_files,
        }),
        Verdict::Local(reason) => Err(Some(reason.into())),
        Verdict::NotACompile => Err(None),
    }
}

/// The compiler that was called.
pub fn compiler_of(request: &CompileRequest) -> &Path {
    Path::new(OsStr::from_bytes(&request.compiler))
}

/// The client's files, for questions of a verdict.
struct ClientFiles<'a> {
    cwd: &'a Path,
    /// Whether a question was asked whose answer no closure holds.
    asked: bool,
    response_files: Vec<(PathBuf, ContentDigest)>,
}

impl Surroundings for ClientFiles<'_> {
    fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let path = self.cwd.join(OsStr::from_bytes(path));
        let bytes = read_regular(&path);
        match &bytes {
            Some(bytes) => self.response_files.push((path, *blake3::hash(bytes).as_bytes())),
            // One that cannot be read is a word like any other.
            None => self.asked = true,
        }
        bytes
    }

    fn exists(&mut self, path: &[u8]) -> bool {
        self.asked = true;
        self.cwd.join(OsStr::from_bytes(path)).symlink_metadata().is_ok()
    }

    fn is_file(&mut self, path: &[u8]) -> bool {
        // The closure holds it if it is one, and is judged again when it is another thing.
        self.cwd.join(OsStr::from_bytes(path)).is_file()
    }
}

/// The bytes of a regular file of bounded size; a FIFO is left to the compiler, whose reading of it is the only one.
fn read_regular(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    let file = options
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .ok()?;
    let limit = compile::MAX_EXPANDED_BYTES as u64;
    if !file
        .metadata()
        .is_ok_and(|data| data.is_file() && data.len() <= limit)
    {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Finds all a candidate may read. Blocking.
pub fn prepare(
    compilers: &Compilers,
    tree: &Tree,
    graphs: &IncludeGraphs,
    request: &CompileRequest,
    candidate: &Candidate,
    tier: Tier,
) -> Result<Prepared, LocalReason> {
    let begun = Instant::now();
    let Candidate { plan, toolchain, .. } = candidate;
    let compiler = compiler_of(request);
    let outputs = outputs::locate(&request.cwd, &plan.outputs).map_err(|odd| odd.code())?;
    let search = compilers
        .search_list(toolchain, plan, &request.cwd, &request.env)
        .map_err(|problem| said("search-list", &problem))?;
    if search.frameworks {
        return Err("frameworks".into());
    }
    refusal::refuse_foreign_installation(plan, toolchain, &search)?;
    let locale_files = compilers.locale_files(&toolchain.toolchain, &request.env);
    let terminal_files = terminal_files(request)?;
    let mut directories = toolchain.directories.clone();
    directories.extend(outputs.iter().map(|output| output.directory.clone()));
    directories.extend(logical_cwd(request)?);
    directories.extend(installation_places(
        toolchain,
        &plan.search_arguments,
        &request.cwd,
    ));
    let mut inputs = Request {
        cwd: &request.cwd,
        source: &plan.source,
        precompiles: plan.language.is_header(),
        search: &search,
        definitions: (!plan.loads_precompiled).then_some(&plan.definitions),
        forced_includes: &plan.forced_includes,
        include_directories: &plan.include_directories,
        dependencies: &[],
        further_files: &plan.input_files,
        optional_files: &[&toolchain.files[..], &locale_files[..], &terminal_files[..]].concat(),
        further_directories: &directories,
    };
    let resolved = resolve_native(compilers, request, candidate)?;
    let mark = tree.refresh();
    let discover = |inputs: &Request<'_>| {
        closure::discover(tree, graphs, inputs).map_err(|error| said("inputs", &error.to_string()))
    };
    let mut closure = discover(&inputs)?;
    if closure.computed_probe || plan.mentions_probe {
        return Err(COMPUTED_PROBE.into());
    }
    if plan.definitions.iter().any(|given| has_assembler_name(given)) {
        return Err(COMPUTED_INCBIN.into());
    }
    let mut used = Tier::Scan;
    // clang examines every file a precompiled header was made of, and its `-M` names them.
    let examines = plan.loads_precompiled || closure.precompiled;
    let is_clang = toolchain.toolchain.dialect == Dialect::Clang;
    if tier == Tier::Dependencies || closure.computed || (is_clang && examines) {
        let dependencies = compilers
            .dependencies(compiler, plan, &request.cwd, &request.env)
            .ok_or("dependencies-failed")?;
        inputs.dependencies = &dependencies;
        closure = discover(&inputs)?;
        used = Tier::Dependencies;
    }
    let is_used = |found: bool, given: TimeMacro| match given {
        TimeMacro::AsBuiltIn => found,
        TimeMacro::Redefined => false,
        TimeMacro::Mentioned => true,
    };
    let found = &mut closure.time_macros;
    found.date_or_time = is_used(found.date_or_time, plan.clock_macros);
    found.timestamp = is_used(found.timestamp, plan.file_time_macro);
    // Asked only where it matters: it runs the compiler once.
    let reads_clock = closure.time_macros.date_or_time && !compilers.heeds_epoch(compiler, &request.env);
    refusal::refuse_untravelled(&closure, reads_clock)?;
    // One that is made of another records more of it than its bytes.
    if plan.language.is_header() && closure.precompiled {
        return Err("precompiled-header".into());
    }
    refusal::require_read_alike(&closure, &candidate.response_files)?;
    refusal::refuse_overwritten(&closure, &outputs)?;
    let caveats = Caveats {
        may_quote_unseen: closure.precompiled && !is_clang,
        is_resolved: resolved.is_some(),
        translated: locale_files.iter().any(|file| file.ends_with(b".mo")),
    };
    let toolchain = fingerprint(toolchain, plan, &closure);
    // What `-M` told may depend on any byte and any name.
    closure.computed |= used == Tier::Dependencies;
    let kept = Arc::new(Kept::new(tree, closure));
    Ok(Prepared {
        action: action(request, &outputs, resolved),
        looked: begun,
        proof: mark.and_then(|mark| prove(tree, &kept, mark)),
        kept,
        caveats,
        outputs,
        tier: used,
        toolchain,
    })
}

/// The programs that the driver here would run, where the arguments name this machine's own processor.
pub fn resolve_native(
    compilers: &Compilers,
    request: &CompileRequest,
    candidate: &Candidate,
) -> Result<Option<Resolved>, LocalReason> {
    let Some(arguments) = &candidate.plan.native_arguments else {
        return Ok(None);
    };
    super::native::resolve(compilers, request, candidate, arguments)
        .map(Some)
        .map_err(|problem| said(Cause::NativeTarget.code(), &problem))
}

fn said(code: &'static str, problem: &str) -> LocalReason {
    tracing::info!(code, problem, "a unit stays here");
    LocalReason::because(code, problem)
}

/// The terminals a compile can tell: those it writes to, and how wide one on its standard input is if it writes to any.
pub fn observed(streams: StandardStreams) -> StandardStreams {
    if streams.stdout.is_some() || streams.stderr.is_some() {
        streams
    } else {
        StandardStreams::default()
    }
}

/// What clang reads of the terminal it writes to. A description in the user's home is found by `HOME`, which does not
/// travel.
fn terminal_files(request: &CompileRequest) -> Result<Vec<Vec<u8>>, LocalReason> {
    if observed(request.streams) == StandardStreams::default() {
        return Ok(Vec::new());
    }
    let home = request.env.iter().find(|(name, _)| name == b"HOME");
    let own = home.map(|(_, home)| Path::new(OsStr::from_bytes(home)).join(".terminfo"));
    let files = terminal::terminal_files(&request.env);
    if own.is_some_and(|own| files.iter().any(|file| file.starts_with(&own))) {
        return Err("own-terminal-description".into());
    }
    Ok(files
        .into_iter()
        .map(|file| file.into_os_string().into_vec())
        .collect())
}

/// `$PWD` where it names the working directory: compilers record it, links and all. A bind mount cannot be told to
/// a builder: there the two would be two directories.
fn logical_cwd(request: &CompileRequest) -> Result<Option<Vec<u8>>, LocalReason> {
    let Some((_, pwd)) = request.env.iter().find(|(name, _)| name == b"PWD") else {
        return Ok(None);
    };
    if *pwd == request.cwd {
        return Ok(Some(pwd.clone()));
    }
    let path = |path| Path::new(OsStr::from_bytes(path));
    let identity = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.dev(), data.ino()))
    };
    let (pwd_path, cwd) = (path(pwd), path(&request.cwd));
    if !pwd_path.is_absolute() {
        return Ok(None);
    }
    let is_same = identity(pwd_path).is_some_and(|inode| identity(cwd) == Some(inode));
    if is_same && pwd_path.canonicalize().ok() != cwd.canonicalize().ok() {
        return Err("bind-mounted-directory".into());
    }
    Ok(Some(pwd.clone()))
}

/// What a builder is to run: the driver, or what it `resolved` to.
pub fn action(request: &CompileRequest, outputs: &[Located], resolved: Option<Resolved>) -> Action {
    let Resolved { steps, variables } = resolved.unwrap_or_else(|| Resolved::driver(request));
    let mut env = compile::remote_environment(&request.env);
    env.extend(variables);
    env.sort_unstable();
    Action {
        steps,
        cwd: request.cwd.clone(),
        env,
        umask: request.umask,
        streams: observed(request.streams),
        outputs: outputs
            .iter()
            .map(|output| (output.directory.clone(), output.declared.clone()))
            .collect(),
    }
}

/// Over the bytes of every tool, so that a tool replaced behind an unchanged driver is another toolchain.
fn fingerprint(toolchain: &KnownToolchain, plan: &Plan, closure: &Closure) -> BlobDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(plan.language.name().as_bytes());
    for (path, real) in toolchain.files.iter().zip(&toolchain.real_files) {
        hasher.update(path).update(&[0]);
        if let Some(closure::Object::File { digest, .. }) = closure.get(real) {
            hasher.update(digest);
        }
    }
    BlobDigest::from_bytes(*hasher.finalize().as_bytes())
}

/// What an action names of a table: entries, as they travel, and outputs.
pub type ToldAction = Told<(Arc<[u8]>, Vec<DeclaredOutput>)>;

/// What proves that a prepared compile would still read the same files, or which of them changed. Blocking.
pub fn look_again(tree: &Tree, prepared: &Prepared) -> Result<Option<Mark>, TableError> {
    let proof = prepared.proof;
    if let Some(newer) = proof.and_then(|proof| still_holds(tree, &prepared.kept, proof)) {
        return Ok(Some(newer));
    }
    match validate(tree, &prepared.kept) {
        Validity::Unchanged { proof } => Ok(proof),
        Validity::Changed { path } => Err(TableError::Changed { path }),
    }
}

/// Makes a builder know all that a prepared compile may read, and gives what proves that it is so still. What is no
/// longer as it was found is not told: a unit whose own scan missed that file would read it as it was. Blocking.
pub fn tell(
    tree: &Tree,
    prepared: &Prepared,
    link: &Link,
    is_ours: &(dyn Fn(&[u8], &[u8]) -> bool + Sync),
) -> Result<(ToldAction, Option<Mark>), TableError> {
    let proof = look_again(tree, prepared)?;
    let told = link.tell(|table| tell_in(table, tree, prepared, is_ours))?;
    Ok((told, proof))
}

/// The same, for a thread that others wait for: `None` where watches prove too little, or there is much to tell.
pub fn tell_at_once(
    tree: &Tree,
    prepared: &Prepared,
    link: &Link,
    is_ours: &(dyn Fn(&[u8], &[u8]) -> bool + Sync),
) -> Option<Result<(ToldAction, Option<Mark>), TableError>> {
    let kept = &prepared.kept;
    if kept.items.len() > TOLD_AT_ONCE || !is_looked_at_in_no_time(kept) {
        return None;
    }
    let doubtful = untold(prepared, link);
    let proof = still_holds_if(tree, kept, prepared.proof?, &doubtful)?;
    let told = link.tell_at_once(|table| {
        let unjudged = kept
            .listed
            .iter()
            .filter(|(path, listed)| !table.is_judged_by(path, listed))
            .map(|(_, listed)| listed.listing.names.len());
        if unjudged.sum::<usize>() > NAMES_AT_ONCE {
            return Ok(None);
        }
        tell_in(table, tree, prepared, is_ours).map(Some)
    })?;
    let told = told.map(Told::transposed).transpose()?;
    Some(told.map(|told| (told, Some(proof))))
}

/// The files of a compile that may have changed without a word to their watches and are not to be taken for what they
/// were a moment ago: a builder that is told of one anew, as it was, would have it for others too. Who was told so before
/// learns nothing.
fn untold<'a>(prepared: &'a Prepared, link: &Link) -> Vec<&'a Item> {
    let all = || prepared.kept.mapped();
    let is_told = |table: &Table, item: &Item| match &item.object {
        closure::Object::File { stat, settled, .. } => *settled && table.stat(&item.path) == Some(stat),
        closure::Object::Directory { .. } | closure::Object::Symlink { .. } => true,
    };
    let untold = (prepared.looked.elapsed() <= FRESH)
        .then(|| link.ask(|table| all().filter(|item| !is_told(table, item)).collect()))
        .flatten();
    untold.map_or_else(|| all().collect(), |told: Told<Vec<_>>| told.value)
}

fn tell_in(
    table: &mut Table,
    tree: &Tree,
    prepared: &Prepared,
    is_ours: &(dyn Fn(&[u8], &[u8]) -> bool + Sync),
) -> Result<(Arc<[u8]>, Vec<DeclaredOutput>), TableError> {
    let entries = match table.recall(&prepared.kept) {
        Some(entries) => entries,
        None => cover(table, tree, &prepared.kept, is_ours)?,
    };
    Ok((entries, declare(table, &prepared.action)?))
}

/// The same without a look, if the builder has it all from before. Never waits.
pub fn told_before(prepared: &Prepared, link: &Link) -> Option<ToldAction> {
    let told = link.ask(|table| {
        let entries = table.recall(&prepared.kept)?;
        Some((entries, declare(table, &prepared.action).ok()?))
    });
    told?.transposed()
}

/// Runs a prepared compile on the slot's builder, which was told of it.
pub async fn attempt(
    prepared: &Prepared,
    slot: &Slot,
    told: ToldAction,
    traffic: &Arc<Traffic>,
) -> Result<Returned, RunError> {
    let sources = Sources::new(&prepared.kept);
    slot.link
        .run(slot.lease, &prepared.action, told, &sources, traffic)
        .await
}

/// Makes the table hold a closure.
fn cover(
    table: &mut Table,
    tree: &Tree,
    kept: &Arc<Kept>,
    is_ours: &(dyn Fn(&[u8], &[u8]) -> bool + Sync),
) -> Result<Arc<[u8]>, TableError> {
    forget_absent(table, tree, kept);
    let states: Vec<_> = kept.items.iter().map(|item| state_of(&item.object)).collect();
    let objects = kept
        .items
        .iter()
        .zip(&states)
        .map(|(item, (state, stat))| Object {
            path: &item.path,
            state,
            stat,
        });
    let listed = kept.listed.iter().map(|(path, listed)| (&**path, listed));
    let entries = table.cover(objects, listed, is_ours)?;
    Ok(table.remember(kept, &entries))
}

fn state_of(object: &closure::Object) -> (State, StatTuple) {
    match object {
        closure::Object::Directory { stat } => (State::Directory, *stat),
        closure::Object::Symlink { target, stat } => (State::Symlink(target.clone()), *stat),
        closure::Object::File { stat, digest, .. } => (State::File(BlobDigest::from_bytes(*digest)), *stat),
    }
}

/// Takes back files that a lookup of the closure missed since they were told: also a lookup by absolute path, in a
/// directory that is not listed, must miss them.
fn forget_absent(table: &mut Table, tree: &Tree, kept: &Kept) {
    for (directory, names) in &kept.absent {
        let mut path = join(directory, b"");
        let length = path.len();
        for name in names.iter() {
            path.truncate(length);
            path.extend_from_slice(name);
            if table.id(&path).is_some() && matches!(tree.stat(&path), Ok(None)) {
                table.forget(&path, None);
            }
        }
    }
}

/// Where the outputs go; a directory that the closure lacks is gone since it was looked at.
fn declare(table: &Table, action: &Action) -> Result<Vec<DeclaredOutput>, TableError> {
    let declare = |(directory, declared): &(Vec<u8>, DeclaredOutput)| {
        let gone = || TableError::Changed {
            path: directory.clone(),
        };
        let directory = table.id(directory).ok_or_else(gone)?;
        Ok(DeclaredOutput {
            directory,
            ..declared.clone()
        })
    };
    action.outputs.iter().map(declare).collect()
}

/// Whether every file that `diagnostics` quote, of a compile run in `cwd`, is in the closure. Blocking.
pub fn quotes_only_inputs(prepared: &Prepared, cwd: &[u8], diagnostics: &[u8]) -> bool {
    let at = Path::new(OsStr::from_bytes(cwd));
    let is_input = |name: &[u8]| {
        let real = at.join(OsStr::from_bytes(name)).canonicalize();
        real.is_ok_and(|real| prepared.kept.get(real.as_os_str().as_bytes()).is_some())
    };
    quoted_files(diagnostics).is_some_and(|names| names.into_iter().all(is_input))
}
