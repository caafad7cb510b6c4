//! What the long run compiles: the packages by their rules, a directory, its headers, or a list of commands.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::packages::packages;
use crate::sample;
use crate::unit::{Language, Unit, files_below};

/// One file a line: package, directory within it, flags.
const RULES: &str = include_str!("corpus/rules");
/// How packages are compiled unless flags are given: cheap, and `-g` shows paths and lines.
const PACKAGE_FLAGS: &str = "-O0 -g";

/// The value of the option `name` of `tests/foreign/all`.
fn given(name: &str) -> Option<String> {
    std::env::var(format!("QUICC_FOREIGN_{name}")).ok()
}

/// The number given for the option `name`.
pub fn option<T: FromStr>(name: &str, otherwise: T) -> T {
    given(name).map_or(otherwise, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value}"))
    })
}

/// The units asked for.
pub fn units() -> Vec<Unit> {
    let flags = given("FLAGS");
    let own = flags.as_deref().unwrap_or_default();
    let units = if let Some(file) = given("COMMANDS") {
        listed(Path::new(&file), own)
    } else if let Some(directory) = given("DIRECTORY") {
        of_directory(Path::new(&directory), own)
    } else if let Some(directory) = given("HEADERS") {
        of_headers(Path::new(&directory), own)
    } else {
        of_packages(flags.as_deref().unwrap_or(PACKAGE_FLAGS))
    };
    let chosen = units
        .into_iter()
        .step_by(option("EACH", 1))
        .skip(option("SKIP", 0));
    chosen.take(option("LIMIT", usize::MAX)).collect()
}

fn of_packages(flags: &str) -> Vec<Unit> {
    let wanted = given("PACKAGE");
    let is_wanted = |package: &str| wanted.as_deref().is_none_or(|wanted| wanted == package);
    let packages = packages("corpus");
    let mut units = Vec::new();
    for rule in RULES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let mut words = rule.split_whitespace();
        let (package, below) = (words.next().unwrap(), words.next().unwrap());
        if !is_wanted(package) {
            continue;
        }
        let root = packages[package].to_str().unwrap();
        let own: Vec<String> = words.map(|word| word.replace("{}", root)).collect();
        let sources = files_below(&Path::new(root).join(below), &|path| Language::of(path).is_some());
        units.extend(sources.iter().enumerate().map(|(turn, source)| {
            let flags = flags.split_whitespace().chain(own.iter().map(String::as_str));
            Unit::new(Path::new(root), turn, flags, source)
        }));
    }
    for part in sample::parts().iter().filter(|part| is_wanted(part.package)) {
        units.extend(part.units(flags));
    }
    units
}

fn of_directory(directory: &Path, flags: &str) -> Vec<Unit> {
    let testsuite = given("TESTSUITE").is_some();
    let sources = files_below(directory, &|path| Language::of(path).is_some());
    let units = sources.iter().enumerate().map(|(turn, source)| {
        let text = if testsuite {
            String::from_utf8_lossy(&std::fs::read(source).unwrap()).into_owned()
        } else {
            String::new()
        };
        let flags = flags.split_whitespace().chain(own_flags(&text));
        let spelled = source.strip_prefix(directory).unwrap();
        Unit::new(directory, turn, flags, spelled)
    });
    units.collect()
}

/// The flags that a file of gcc's testsuite asks for, whatever the target it asks them for.
fn own_flags(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.split("dg-options").skip(1).take(1);
    directives
        .filter_map(|rest| rest.split('"').nth(1))
        .flat_map(str::split_whitespace)
}

/// Sources of one line each. They lie in a directory that lives as long as this process.
fn of_headers(directory: &Path, flags: &str) -> Vec<Unit> {
    let is_header = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "h" || extension == "hpp")
    };
    let sources = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("headers-{}", std::process::id()));
    std::fs::create_dir_all(&sources).unwrap();
    let headers = files_below(directory, &is_header);
    let units = headers.iter().enumerate().map(|(turn, header)| {
        let name = header.strip_prefix(directory).unwrap().display().to_string();
        let source = sources.join(format!("{turn}.cc"));
        std::fs::write(&source, format!("#include <{name}>\n")).unwrap();
        let search = format!("-I{}", directory.display());
        let flags = flags.split_whitespace().chain([search.as_str()]);
        Unit::new(directory, turn, flags, &source)
    });
    units.collect()
}

/// The compiles a `compile_commands.json` lists, with `flags` behind their own.
fn listed(file: &Path, flags: &str) -> Vec<Unit> {
    let text = std::fs::read_to_string(file).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let units = list.iter().map(|entry| {
        let words = match entry["arguments"].as_array() {
            Some(words) => words
                .iter()
                .map(|word| word.as_str().unwrap().to_owned())
                .collect(),
            None => split(entry["command"].as_str().unwrap()),
        };
        let mut arguments = without_outputs(words);
        arguments.extend(flags.split_whitespace().map(str::to_owned));
        Unit {
            directory: PathBuf::from(entry["directory"].as_str().unwrap()),
            arguments,
        }
    });
    units.collect()
}

/// A command without what says where its outputs go.
fn without_outputs(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-o" | "-MF" => {
                words.next();
            }
            "-c" => {}
            _ if word.starts_with("-MF") => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// The words of a command as a shell splits them (POSIX, "Quoting"); nothing is expanded.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => word
                .get_or_insert_default()
                .extend(characters.by_ref().take_while(|c| *c != '\'')),
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(inside) = characters.next().filter(|c| *c != '"') {
                    match (inside, characters.clone().next()) {
                        ('\\', Some(escaped @ ('"' | '\\' | '$' | '`'))) => {
                            characters.next();
                            word.push(escaped);
                        }
                        _ => word.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[test]
fn a_listed_command_is_split_as_a_shell_does() {
    let words = split(r#"cc -DA='a b' -D"B=\"x\"" \"q\" '' -I"c d"/e -MD -MFx.d -o x.o -c x.c"#);
    assert_eq!(
        without_outputs(words),
        ["cc", "-DA=a b", "-DB=\"x\"", "\"q\"", "", "-Ic d/e", "-MD", "x.c"]
    );
}
