//! Answers are asked for again as soon as something they depend on changed.

use super::*;
use crate::compile::Dialect;

#[test]
fn only_plain_numbers_up_to_the_year_9999_are_epochs() {
    for value in ["0", "1700000000", "253402300799", "007"] {
        assert!(is_epoch(value.as_bytes()), "{value}");
    }
    for value in [
        "",
        "-1",
        "+1",
        "1x",
        " 1",
        "253402300800",
        "99999999999999999999999",
    ] {
        assert!(!is_epoch(value.as_bytes()), "{value}");
    }
}

/// Runs `script` in `directory`: a program written by another process is never open for writing here.
pub(super) fn shell(directory: &Path, script: &str) {
    let mut command = crate::host::process::command(Path::new("/bin/sh"), directory);
    assert!(command.args(["-c", script]).status().unwrap().success());
}

pub(super) fn toolchain(paths: Vec<PathBuf>, directories: Vec<PathBuf>) -> KnownToolchain {
    KnownToolchain::from(Toolchain {
        compiler: paths[0].clone(),
        dialect: Dialect::Gcc,
        version: String::new(),
        paths,
        directories,
        missing_directories: Vec::new(),
        catalogues: Vec::new(),
        machine: String::new(),
    })
}

#[test]
fn a_tool_that_appears_makes_another_toolchain() {
    let scratch = tempfile::tempdir().unwrap();
    let (program, tools) = (scratch.path().join("gcc"), scratch.path().join("tools"));
    std::fs::write(&program, "").unwrap();
    std::fs::create_dir(&tools).unwrap();
    let known = toolchain(vec![program], vec![tools.clone()]);
    assert!(known.directories_hold());
    std::fs::write(tools.join("as"), "").unwrap();
    assert!(!known.directories_hold());
    let (program, later) = (scratch.path().join("gcc"), scratch.path().join("later/bin"));
    let known = KnownToolchain::from(Toolchain {
        missing_directories: vec![later.clone()],
        ..toolchain(vec![program], Vec::new()).toolchain
    });
    let spelled = later.as_os_str().as_bytes().to_vec();
    assert!(known.directories.contains(&spelled), "every closure looks for it");
    assert!(known.directories_hold());
    std::fs::create_dir_all(later).unwrap();
    assert!(!known.directories_hold());
}

#[test]
fn a_configuration_file_may_make_every_compile_native() {
    let scratch = tempfile::tempdir().unwrap();
    let (program, configuration) = (scratch.path().join("clang"), scratch.path().join("clang.cfg"));
    std::fs::write(&program, "-march=native").unwrap();
    std::fs::write(&configuration, "-O1").unwrap();
    let known = toolchain(vec![program, configuration.clone()], Vec::new());
    assert!(!known.is_configured_native());
    std::fs::write(&configuration, "-O1\n-march=native\n").unwrap();
    assert!(known.is_configured_native());
}

/// No file but a source is ever asked for.
struct Nothing;

impl compile::Surroundings for Nothing {
    fn read_response_file(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn exists(&mut self, _: &[u8]) -> bool {
        false
    }

    fn is_file(&mut self, _: &[u8]) -> bool {
        false
    }
}

/// Of an ordinary compile with `words`.
pub(super) fn plan(compiler: &str, words: &[String], cwd: &[u8], env: &Environment) -> Box<Plan> {
    let dialect = if compiler.contains("clang") {
        Dialect::Clang
    } else {
        Dialect::Gcc
    };
    let argv = [compiler]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .chain(["-c", "a.c"]);
    let invocation = compile::Invocation {
        argv: argv.map(|word| word.as_bytes().to_vec()).collect(),
        cwd: cwd.to_vec(),
        env: env.to_vec(),
    };
    let compile::Verdict::Distribute(plan) = compile::judge(&invocation, dialect, &mut Nothing) else {
        panic!("an ordinary compile")
    };
    plan
}

#[test]
fn an_edited_specs_file_makes_another_search_list() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    shell(
        scratch.path(),
        "echo /one >specs; echo '#define linux 1' >macros\n\
         printf '%s\\n' '#!/bin/sh' 'cd $(dirname $0)' 'echo asked >>log' 'echo \"#include \\\"...\\\" search starts here:\" >&2' \
         'echo \"#include <...> search starts here:\" >&2' 'sed s/^/\\ / specs >&2' \
         'echo \"End of search list.\" >&2' 'cat macros' >driver; chmod +x driver",
    );
    let known = toolchain(vec![at("driver"), at("specs")], Vec::new());
    let compilers = Compilers::new(scratch.path().to_owned());
    let cwd = scratch.path().as_os_str().as_bytes();
    let env = [(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())];
    let plan = plan("gcc", &[], cwd, &env);
    let check = |expected: &str| {
        let list = compilers.search_list(&known, &plan, cwd, &env).unwrap();
        assert_eq!(list.angle, [expected.as_bytes()]);
        assert_eq!(list.predefined.as_deref(), Some(&b"#define linux 1\n"[..]));
    };
    check("/one");
    // In place, so that no directory's times change.
    shell(scratch.path(), "echo /two >specs");
    check("/two");
    let asked = || std::fs::read_to_string(at("log")).unwrap().lines().count();
    assert_eq!(asked(), 2);
    // Elsewhere it is the same, unless the flags or a configuration may name a relative place.
    let bare = toolchain(vec![at("driver")], Vec::new());
    let mut placed = plan.clone();
    placed.search_arguments = vec![b"-Ihere".to_vec()];
    for (toolchain, plan, questions) in [(&bare, &plan, 1), (&bare, &placed, 2), (&known, &plan, 1)] {
        let before = asked();
        for cwd in [cwd, b"/"] {
            compilers.search_list(toolchain, plan, cwd, &env).unwrap();
        }
        assert_eq!(asked() - before, questions);
    }
}

#[test]
fn a_search_list_of_directories_that_change_meanwhile_is_not_believed() {
    let scratch = tempfile::tempdir().unwrap();
    shell(
        scratch.path(),
        "mkdir one two; ln -s one turned\n\
         printf '%s\\n' '#!/bin/sh' 'cd $(dirname $0)' 'ln -sfn two turned' \
         'echo \"#include \\\"...\\\" search starts here:\" >&2' 'echo \"#include <...> search starts here:\" >&2' \
         'echo \"End of search list.\" >&2' >driver; chmod +x driver",
    );
    let known = toolchain(vec![scratch.path().join("driver")], Vec::new());
    let compilers = Compilers::new(scratch.path().to_owned());
    let cwd = scratch.path().as_os_str().as_bytes();
    let env = [(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())];
    let plan = plan(
        "gcc",
        &["-iquote", "two", "-isystem", "turned"].map(str::to_owned),
        cwd,
        &env,
    );
    let is_believed = || compilers.search_list(&known, &plan, cwd, &env).is_ok();
    assert!(!is_believed(), "turned while it was asked");
    assert!(is_believed(), "it stays so");
    shell(scratch.path(), "ln -sfn one turned");
    assert!(!is_believed(), "what was said of it was not remembered");
}

#[test]
fn a_driver_is_asked_for_its_steps_once_until_something_changes() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    shell(
        scratch.path(),
        "mkdir -p work lib; echo tool >tool\n\
         printf '#!/bin/sh\\necho \"$1 $2 $CPATH $LC_ALL\" | tee -a asked >&2\\n' >driver; chmod +x driver",
    );
    let known = toolchain(vec![at("driver"), at("tool")], vec![at("lib")]);
    let compilers = Compilers::new(scratch.path().to_owned());
    let work = at("work").into_os_string().into_vec();
    let mut expected = 0;
    let mut check = |argument: &str, variables: &str, is_new: bool| {
        let variables = format!("PATH=/usr/bin:/bin LANG=de_DE {variables}");
        let env: Vec<_> = variables
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let question = DriverQuestion {
            toolchain: &known,
            argv0: b"driver",
            arguments: &[argument.as_bytes().to_vec()],
            cwd: &work,
            env: &env,
            terminals: [None; 3],
        };
        let answer = compilers.driver_steps(&question).unwrap();
        let cpath = if variables.contains("CPATH") { "x" } else { "" };
        assert_eq!(
            String::from_utf8_lossy(&answer),
            format!("-### {argument} {cpath} C\n")
        );
        expected += usize::from(is_new);
        let asked = std::fs::read_to_string(at("work/asked")).unwrap();
        assert_eq!(asked.lines().count(), expected, "{argument} {variables}");
    };
    check("-O1", "", true);
    check("-O1", "MAKEFLAGS=-j2", false);
    check("-O2", "", true);
    check("-O1", "CPATH=x", true);
    shell(scratch.path(), "echo other >tool");
    check("-O1", "", true);
    shell(scratch.path(), "mkdir lib/13");
    check("-O1", "", true);
    check("-O1", "", false);
    let size = Terminal {
        rows: 24,
        columns: 80,
        width: 0,
        height: 0,
    };
    let steps = |columns: u16| {
        let question = DriverQuestion {
            toolchain: &known,
            argv0: b"driver",
            arguments: &[b"-O1".to_vec()],
            cwd: &work,
            env: &[(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())],
            terminals: [None, None, Some(Terminal { columns, ..size })],
        };
        compilers.driver_steps(&question).unwrap();
        let asked = std::fs::read_to_string(at("work/asked")).unwrap();
        asked.lines().count() - expected
    };
    assert_eq!(
        [80, 80, 81].map(steps),
        [1, 1, 2],
        "another width, another question"
    );
}

#[test]
fn a_toolchain_stands_until_something_changes_where_its_programs_are_looked_for() {
    let check = |what: &str, change: &dyn Fn(&Path), stands: bool| {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("bin")).unwrap();
        std::os::unix::fs::symlink("bin", root.join("link")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        let path = format!("{0}/link:{0}/later:/usr/bin:/bin", root.display());
        let env = [(b"PATH".to_vec(), path.into_bytes())];
        let (compilers, tree) = (Compilers::new(root.clone()), Tree::watching());
        let compiler = Path::new("/usr/bin/gcc");
        let known = compilers.toolchain(&tree, compiler, &env).unwrap();
        let standing = || compilers.toolchain_at_once(&tree, compiler, &env);
        assert!(Arc::ptr_eq(&standing().expect(what), &known), "{what}");
        change(&root);
        assert_eq!(standing().is_some(), stands, "{what}");
        assert!(compilers.toolchain(&tree, compiler, &env).is_ok(), "{what}");
    };
    let write = |root: &Path, name: &str| std::fs::write(root.join(name), "").unwrap();
    check("nothing", &|_| {}, true);
    check(
        "a file beside its directories",
        &|root| write(root, "other/as"),
        true,
    );
    check("a program in PATH", &|root| write(root, "bin/as"), false);
    let later = |root: &Path| std::fs::create_dir(root.join("later")).unwrap();
    check("a directory of PATH that appears", &later, false);
    let moved = |root: &Path| std::fs::rename(root.join("bin"), root.join("bin2")).unwrap();
    check("a directory of PATH that goes", &moved, false);
    let relinked = |root: &Path| {
        std::fs::remove_file(root.join("link")).unwrap();
        std::os::unix::fs::symlink("other", root.join("link")).unwrap();
    };
    check("a link to another directory", &relinked, false);
}

/// A directory named from where the compiler is called is another one for another call.
#[test]
fn nothing_is_learned_of_relative_directories() {
    let scratch = tempfile::tempdir().unwrap();
    let env = [(b"PATH".to_vec(), b"/usr/bin:/bin:".to_vec())];
    let (compilers, tree) = (Compilers::new(scratch.path().to_owned()), Tree::watching());
    let compiler = Path::new("/usr/bin/gcc");
    compilers.toolchain(&tree, compiler, &env).unwrap();
    let call = (compiler.to_owned(), env.to_vec());
    assert!(compilers.toolchain_at_once(&tree, compiler, &env).is_none());
    assert!(!compilers.standing.is_due(&call), "nor tried for every unit");
}
