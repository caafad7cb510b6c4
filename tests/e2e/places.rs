//! Where outputs go, and what was there before: modes, links and contents afterwards are those of a local compile.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use crate::support::{QUICC, Summary, World, without_summary};

/// Some user without rights.
const ORDINARY: u32 = 61_234;
/// Brings the sources back to what they were.
const CLEAN: &str = "chmod -f 755 shut; find . -mindepth 1 ! -name '[ab].c' -delete";
const UNIT: &str = "-MD -c a.c -o a.o";
const MANY: &str = "-O2 -g -gsplit-dwarf --coverage -fstack-usage -frandom-seed=x -MD -c a.c -o a.o";

/// What was there, the umask, the compile, and the reason to compile here if there is one.
type Place = (&'static str, &'static str, &'static str, &'static str);

const PLACES: &[Place] = &[
    ("true", "077", UNIT, ""),
    ("true", "002", UNIT, ""),
    ("echo old >real.o; ln -s real.o a.o", "022", UNIT, "odd-output"),
    ("ln -s none.o a.o", "022", UNIT, "odd-output"),
    ("echo old >real.d; ln -s real.d a.d", "022", UNIT, "odd-output"),
    ("echo old >a.o; ln a.o linked.o", "022", UNIT, ""),
    ("echo old >a.o; chmod 444 a.o", "022", UNIT, ""),
    ("echo old >a.o; ln a.o linked.o; chmod 400 a.o", "002", UNIT, ""),
    ("echo old >a.d; ln a.d linked.d", "022", UNIT, ""),
    ("echo old >a.d; chmod 600 a.d", "022", UNIT, ""),
    ("touch a.o a.d; chmod 666 a.o a.d", "077", UNIT, ""),
    ("touch a.o a.d; chmod 755 a.o a.d", "022", UNIT, ""),
    (
        "echo old >a.o; echo old >a.d; ln a.o linked.o; ln a.d linked.d; chmod 640 a.o a.d",
        "022",
        "-MD -c b.c -o a.o",
        "",
    ),
    // Written over what the compile reads.
    (
        "echo 'int k;' >k.h",
        "022",
        "-include k.h -c a.c -o k.h",
        "odd-output",
    ),
    (
        "echo 'int k;' >k.h",
        "022",
        "-include k.h -MD -MF k.h -c a.c -o a.o",
        "odd-output",
    ),
    // The dep file's name is too long for one.
    ("true", "022", "-MD -c a.c -o $(printf %0254d 0)", "odd-output"),
    ("touch a.s; ln a.s linked.s", "022", "-S a.c -o a.s", ""),
    ("touch a.s; chmod 640 a.s", "022", "-S a.c -o a.s", ""),
    (
        "for f in o d dwo su gcno; do echo a long old file >a.$f; ln a.$f linked.$f; chmod 640 a.$f; done",
        "022",
        MANY,
        "",
    ),
    (
        "for f in o d dwo su gcno; do echo old >a.$f; done",
        "002",
        MANY,
        "",
    ),
];

/// The same for an ordinary user, with both compilers.
const SHUT_PLACES: &[Place] = &[
    (
        "mkdir shut; chmod 555 shut",
        "022",
        "-MD -c a.c -o shut/a.o",
        "output-directory",
    ),
    (
        "mkdir shut; echo old >shut/a.o; chmod 555 shut",
        "022",
        "-c a.c -o shut/a.o",
        "output-directory",
    ),
    ("echo old >a.d; ln a.d linked.d; chmod 600 a.d", "022", UNIT, ""),
];

/// Files that must not be written, as gcc takes them.
const GCC_READ_ONLY: &[Place] = &[
    ("echo old >a.o; chmod 444 a.o", "022", UNIT, ""),
    ("echo old >a.o; ln a.o linked.o; chmod 444 a.o", "077", UNIT, ""),
    ("echo old >a.d; chmod 444 a.d", "022", UNIT, "compile-failed"),
];

/// The same, where clang fails.
const CLANG_READ_ONLY: &[Place] = &[
    ("echo old >a.o; chmod 444 a.o", "022", UNIT, "compile-failed"),
    ("echo old >a.d; chmod 444 a.d", "022", UNIT, "compile-failed"),
];

/// What is at a path.
#[derive(PartialEq, Eq)]
struct Found {
    mode: u32,
    links: u64,
    owner: (u32, u32),
    /// The first name of the same file.
    file: String,
    target: Option<String>,
    bytes: Vec<u8>,
}

impl std::fmt::Display for Found {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            mode,
            links,
            owner,
            file,
            target,
            bytes,
        } = self;
        let size = bytes.len();
        write!(to, "{mode:o} {links} {owner:?} {file} {target:?} {size} bytes")
    }
}

fn found(world: &World) -> BTreeMap<String, Found> {
    let mut first = BTreeMap::new();
    let mut found = BTreeMap::new();
    let output = world.local("find . -mindepth 1 | sort");
    for name in String::from_utf8(output.stdout).unwrap().lines() {
        let path = world.at(name);
        let data = path.symlink_metadata().unwrap();
        let file = first.entry(data.ino()).or_insert_with(|| name.to_owned()).clone();
        let target = std::fs::read_link(&path).ok();
        let what = Found {
            mode: data.mode(),
            links: data.nlink(),
            owner: (data.uid(), data.gid()),
            file,
            target: target.map(|target| target.display().to_string()),
            bytes: if data.is_file() {
                world.read(name)
            } else {
                Vec::new()
            },
        };
        found.insert(name.to_owned(), what);
    }
    found
}

/// Compiles here and through the farm, each time where `before` was done.
fn both_ways(world: &World, before: &str, script: &str) -> Summary {
    let prepare = format!("{CLEAN}; {before}");
    assert!(world.local(&prepare).status.success(), "{prepare}");
    let local = world.local(script);
    let expected = found(world);
    assert!(world.local(&prepare).status.success(), "{prepare}");
    let (remote, summary) = world.run(script);
    let case = format!("{before}; {script}");
    assert_eq!(
        local.status.code(),
        remote.status.code(),
        "{case} {}",
        world.explain(&remote)
    );
    assert_eq!(
        String::from_utf8_lossy(&local.stderr),
        without_summary(&remote.stderr),
        "{case}"
    );
    let left = found(world);
    for (name, was) in &expected {
        assert!(
            Some(was) == left.get(name),
            "{name} after {case}: {was}, not {}",
            left[name]
        );
    }
    assert_eq!(expected.len(), left.len(), "{case}: {:?}", left.keys());
    summary
}

fn check(world: &World, compilers: &[&str], places: &[Place]) {
    for (before, umask, unit, reason) in places {
        for compiler in compilers {
            let summary = both_ways(world, before, &format!("umask {umask}; {compiler} {unit}"));
            let expect = (!reason.is_empty()).then(|| ((*reason).to_owned(), 1));
            assert_eq!(
                (summary.local_reasons(), summary.fallbacks()),
                (expect.into_iter().collect(), 0),
                "{compiler} {before} {}",
                world.agent_log()
            );
        }
    }
}

fn fill(world: World) -> World {
    // Without a call: where there is one, no two compiles of gcc give the same .dwo.
    world.write("a.c", "int f(int x) { return x + 1; }\n");
    world.write("b.c", "int f(int x) { return undeclared; }\n");
    world
}

#[test]
fn outputs_are_where_and_what_the_compiler_makes_them() {
    check(&fill(World::new()), &["gcc", "clang"], PLACES);
}

#[test]
fn an_ordinary_users_outputs_are_what_the_compiler_makes_them() {
    let world = fill(World::of_user(ORDINARY));
    check(&world, &["gcc", "clang"], SHUT_PLACES);
    check(&world, &["gcc"], GCC_READ_ONLY);
    check(&world, &["clang"], CLANG_READ_ONLY);
}

/// A script whose compile has a pipe without a reader as `stream`.
fn unread(stream: u8, compile: &str) -> String {
    format!("mkfifo pipe; exec 3<>pipe 4>pipe 3<&-; rm pipe; {compile} {stream}>&4 4>&-")
}

#[test]
fn a_compiler_whose_messages_nobody_reads_ends_as_it_would_here() {
    let world = World::new();
    world.write("a.c", "#warning unread\nint f(int x) { return x + 1; }\n");
    world.write("b.c", "int f(int x) { return undeclared; }\n");
    for compiler in ["gcc", "clang"] {
        for unit in ["a", "b"] {
            let summary = both_ways(
                &world,
                "true",
                &unread(2, &format!("{compiler} -c {unit}.c -o {unit}.o")),
            );
            assert_eq!(
                (
                    summary.remote(),
                    summary.reason("unread-messages"),
                    summary.fallbacks()
                ),
                (0, 1, 0),
                "{compiler} {unit}"
            );
        }
        let summary = both_ways(&world, "true", &unread(1, &format!("{compiler} -c a.c -o a.o")));
        assert_eq!(summary.remote(), 1, "{compiler} says nothing there");
    }
}

#[test]
fn an_output_without_room_is_no_failure_of_the_farm() {
    let world = fill(World::new());
    // The root of this file system is its one inode.
    let script = format!(
        "mkdir small && mount -t tmpfs -o nr_inodes=1 none small && {QUICC} run -- gcc -c a.c -o small/a.o; \
         {QUICC} agent stop >&2; ls -A small"
    );
    let output = world
        .command("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let counts = "0 units remote, 1 local (cannot-write-output 1), 0 of them because the farm failed";
    assert!(said.contains(counts), "{}", world.explain(&output));
    assert!(!said.contains("no usable slot"), "{said}");
    assert!(output.stdout.is_empty(), "nothing is left: {output:?}");
}
