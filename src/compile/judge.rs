//! From an invocation to its verdict. The last word on whether a compile may leave this machine; never
//! looks at a flag itself.

use std::collections::BTreeSet;

use super::command_line::{self, CommandLine, File};
use super::dialect::{Action, Driver};
use super::{
    Cause, Dialect, Invocation, Language, Output, Plan, Reason, Surroundings, Verdict, environment, outputs,
    path, response_file,
};

/// Parts of paths that only the configuration step of a build system uses: CMake's `try_compile` and
/// compiler identification, meson.
const PROBE_DIRECTORIES: &[&str] = &[
    "CMakeFiles/CMakeScratch",
    "CMakeFiles/CMakeTmp",
    "CompilerIdC",
    "TryCompile-",
    "meson-private/",
];

/// The base name that autoconf gives its probes.
const AUTOCONF_PROBE: &[u8] = b"conftest.";

/// What to do with `invocation` of a compiler that speaks `dialect`.
///
/// Total: any bytes give a verdict. Linear in the length of the expanded command line.
pub fn judge(invocation: &Invocation, dialect: Dialect, surroundings: &mut dyn Surroundings) -> Verdict {
    let Some((argv0, arguments)) = invocation.argv.split_first() else {
        return Verdict::NotACompile;
    };
    let expansion = match response_file::expand(arguments, &invocation.cwd, surroundings) {
        Ok(expansion) => expansion,
        Err(reason) => return Verdict::Local(reason),
    };
    let mut line = command_line::read(
        argv0,
        &expansion.arguments,
        dialect,
        &invocation.cwd,
        surroundings,
    );
    line.input_files.splice(0..0, expansion.files);
    let native_arguments = line.native.is_some().then_some(expansion.arguments);
    if line.asks_question || !has_source(&line, dialect) {
        return Verdict::NotACompile;
    }
    if let (Some(flag), Some(arguments)) = (&line.native, &native_arguments)
        && let Err(reason) = check_native(flag, arguments)
    {
        line.local.get_or_insert(reason);
    }
    match plan(line, invocation, dialect, surroundings) {
        Ok(plan) => Verdict::Distribute(Box::new(Plan {
            native_arguments,
            ..plan
        })),
        Err(reason) => Verdict::Local(reason),
    }
}

/// The language of `file`, or `None` for one left to the linker.
fn language(file: &File, driver: Driver, dialect: Dialect) -> Option<Language> {
    let by_suffix = || {
        let language = Language::from_path(&file.spelling, dialect)?;
        Some(if driver == Driver::Cxx {
            language.under_cxx_driver()
        } else {
            language
        })
    };
    file.stated_language.or_else(by_suffix)
}

fn has_source(line: &CommandLine, dialect: Dialect) -> bool {
    line.files
        .iter()
        .any(|file| file.spelling == b"-" || language(file, line.driver, dialect).is_some())
}

fn plan(
    line: CommandLine,
    invocation: &Invocation,
    dialect: Dialect,
    surroundings: &mut dyn Surroundings,
) -> Result<Plan, Reason> {
    // A flag first: the operand of one that is not known would be taken for a file below.
    if let Some(reason) = &line.local {
        return Err(reason.clone());
    }
    let (source, language) = only_source(&line, dialect)?;
    check_probe(&line, source, &invocation.cwd)?;
    match line.driver {
        Driver::C | Driver::Cxx => {}
        Driver::Preprocessor => return Err(Reason::new(Cause::PreprocessOnly, b"")),
        Driver::Foreign => return Err(Reason::new(Cause::ForeignDriver, b"")),
    }
    if let Some(cause) = language.local_cause(dialect) {
        return Err(Reason::new(cause, source));
    }
    check_precompilation(&line, source, language)?;
    let precompiles = language.is_header().then_some(Action::Compile);
    let action = line
        .action
        .or(precompiles)
        .ok_or_else(|| Reason::new(Cause::Linking, b""))?;
    // gcc's comments tell how much memory it allows itself, which depends on the machine's.
    if line.comments_assembly && action == Action::Assembly && dialect == Dialect::Gcc {
        return Err(Reason::new(Cause::CompilerReport, b"-fverbose-asm"));
    }
    if let Some(reason) = environment::local_reason(&invocation.env) {
        return Err(reason);
    }
    let source = source.to_vec();
    let outputs = outputs::derive(dialect, action, language, &source, &line.request);
    let mut taken = BTreeSet::from([source.as_slice()]);
    for output in &outputs {
        if path::is_odd_output(&output.path) || !taken.insert(&output.path) {
            return Err(Reason::new(Cause::OddOutput, &output.path));
        }
    }
    check_profile_files(&line, &invocation.cwd, surroundings)?;
    if dialect == Dialect::Gcc {
        check_coverage_data(&line, &outputs, &invocation.cwd, surroundings)?;
    }
    let clock_macros = line.time_macro(&[b"__DATE__", b"__TIME__"]);
    let file_time_macro = line.time_macro(&[b"__TIMESTAMP__"]);
    let mut dependency_arguments = line.dependency_arguments;
    dependency_arguments.push(b"-M".to_vec());
    Ok(Plan {
        language,
        source,
        outputs,
        definitions: line.definitions,
        forced_includes: line.forced_includes,
        input_files: line.input_files,
        loads_precompiled: line.loads_precompiled,
        clock_macros,
        file_time_macro,
        mentions_probe: line.mentions_probe,
        search_arguments: line.search_arguments,
        dependency_arguments,
        native_arguments: None,
        include_directories: line.include_directories,
    })
}

/// The one source among the files and its language.
fn only_source(line: &CommandLine, dialect: Dialect) -> Result<(&[u8], Language), Reason> {
    let mut only = None;
    for file in &line.files {
        let spelling = file.spelling.as_slice();
        if spelling == b"-" {
            return Err(Reason::new(Cause::StdinSource, b""));
        }
        match (language(file, line.driver, dialect), only) {
            (Some(_), Some(_)) => return Err(Reason::new(Cause::SeveralSources, spelling)),
            (Some(language), None) => only = Some((spelling, language)),
            (None, _) => {}
        }
    }
    let (source, language) = only.ok_or_else(|| Reason::new(Cause::Linking, b""))?;
    if path::is_special(source) {
        return Err(Reason::new(Cause::SpecialFile, source));
    }
    // The drivers check that such a file exists, and warn; a link is more likely meant.
    if line.action.is_some() && line.files.len() > 1 {
        let other = line.files.iter().find(|file| file.spelling != source);
        return Err(Reason::new(
            Cause::LinkerInput,
            other.map_or(b"", |file| &file.spelling),
        ));
    }
    Ok((source, language))
}

/// Refuses to precompile a header where the result has another name than it is given, is made of another one, or is none.
fn check_precompilation(line: &CommandLine, source: &[u8], language: Language) -> Result<(), Reason> {
    let is_plain = if language.is_header() {
        line.request.main.is_some() && line.action != Some(Action::Assembly) && !line.loads_precompiled
    } else {
        !line.emits_precompiled
    };
    if is_plain {
        Ok(())
    } else {
        Err(Reason::new(Cause::PrecompiledHeader, source))
    }
}

/// Probes ask what this machine's compiler does, are tiny, and often fail on purpose.
fn check_probe(line: &CommandLine, source: &[u8], cwd: &[u8]) -> Result<(), Reason> {
    let places = [source, cwd, line.request.main.as_deref().unwrap_or_default()];
    let is_in = |part: &str| places.iter().any(|place| path::mentions(place, part.as_bytes()));
    let is_autoconf = path::file_name(source).starts_with(AUTOCONF_PROBE);
    if is_autoconf || PROBE_DIRECTORIES.iter().any(|part| is_in(part)) {
        return Err(Reason::new(Cause::ConfigureProbe, source));
    }
    Ok(())
}

/// Refuses arguments that would come out of the driver's `-###` as something else: a newline makes lines of its own,
/// and what is left of response files after their expansion is no file's name.
fn check_native(flag: &[u8], arguments: &[Vec<u8>]) -> Result<(), Reason> {
    let is_odd = |argument: &Vec<u8>| argument.starts_with(b"@") || argument.contains(&b'\n');
    if arguments.iter().any(is_odd) {
        return Err(Reason::new(Cause::NativeTarget, flag));
    }
    Ok(())
}

/// Refuses a compile in which gcc deletes the counts of an earlier run: with a seed of its own a program could
/// not tell them from those of another version (tried with gcc 12.2; clang never does).
fn check_coverage_data(
    line: &CommandLine,
    outputs: &[Output],
    cwd: &[u8],
    surroundings: &mut dyn Surroundings,
) -> Result<(), Reason> {
    let Some(data) = outputs::coverage_data(outputs).filter(|_| line.has_random_seed) else {
        return Ok(());
    };
    if line.places_profile_data || surroundings.exists(&path::absolute(cwd, &data)) {
        return Err(Reason::new(Cause::Profile, &data));
    }
    Ok(())
}

/// Refuses a profile that is no regular file: clang reads `default.profdata` in a directory, and the words about a
/// missing one are the driver's or the compiler's by the flag (tried with clang 14.0.6).
fn check_profile_files(
    line: &CommandLine,
    cwd: &[u8],
    surroundings: &mut dyn Surroundings,
) -> Result<(), Reason> {
    let mut files = line.profile_files.iter();
    match files.find(|file| !surroundings.is_file(&path::absolute(cwd, file))) {
        Some(other) => Err(Reason::new(Cause::Profile, other)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
