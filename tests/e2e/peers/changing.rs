//! Files that change while a builder compiles: what it made of the old ones is never published.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use quicc::agent::link::Traffic;
use quicc::agent::unit::Decision;
use quicc::inputs::tree::Tree;
use quicc_protocol::message::run::Exit;
use quicc_protocol::message::wrapper::CompileRequest;
use tokio::task::JoinHandle;

use super::fake::{Part, Reply, Scene, Stage};
use super::good_grant;
use crate::support::LONG;

struct Case {
    what: &'static str,
    source: &'static str,
    before: fn(&Path),
    change: fn(&Path),
    /// How the compile ends before and after the change.
    exits: [u8; 2],
}

const USE: &str = "#include \"value.h\"\nint value = VALUE;\n";
const PROBE: &str = "#if __has_include(\"value.h\")\nint there = 1;\n#endif\n";
const FLAGS: [&str; 2] = ["-Ifirst", "-Isecond"];

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

fn turn(directory: &Path, target: &str) {
    symlink(target, directory.join("new")).unwrap();
    std::fs::rename(directory.join("new"), directory.join("second/value.h")).unwrap();
}

fn cases() -> [Case; 8] {
    let case = |what, source, before, change| Case {
        what,
        source,
        before,
        change,
        exits: [0, 0],
    };
    let second: fn(&Path) = |at| write(at, "second/value.h", "#define VALUE 1\n");
    [
        case("a header is rewritten", USE, second, |at| {
            write(at, "second/value.h", "#define VALUE 2\n")
        }),
        case("a header appears earlier in the path", USE, second, |at| {
            write(at, "first/value.h", "#define VALUE 2\n")
        }),
        case(
            "a header goes and another is found",
            USE,
            |at| {
                write(at, "first/value.h", "#define VALUE 1\n");
                write(at, "second/value.h", "#define VALUE 2\n");
            },
            |at| std::fs::remove_file(at.join("first/value.h")).unwrap(),
        ),
        case(
            "a symlink turns",
            USE,
            |at| {
                write(at, "one.h", "#define VALUE 1\n");
                write(at, "two.h", "#define VALUE 2\n");
                turn(at, "../one.h");
            },
            |at| turn(at, "../two.h"),
        ),
        case("a directory is exchanged", USE, second, |at| {
            std::fs::rename(at.join("second"), at.join("old")).unwrap();
            std::fs::create_dir(at.join("second")).unwrap();
            write(at, "second/value.h", "#define VALUE 2\n");
        }),
        case(
            "a file asked for appears",
            PROBE,
            |_| (),
            |at| write(at, "second/value.h", ""),
        ),
        Case {
            exits: [1, 0],
            ..case(
                "a mistake in a header is mended",
                USE,
                |at| write(at, "second/value.h", "#define VALUE nothing\n"),
                |at| write(at, "second/value.h", "#define VALUE 2\n"),
            )
        },
        Case {
            exits: [0, 1],
            ..case("a mistake is made in a header", USE, second, |at| {
                write(at, "second/value.h", "#define VALUE nothing\n")
            })
        },
    ]
}

fn decide(scene: &Scene, request: Arc<CompileRequest>) -> JoinHandle<Decision> {
    let units = Arc::clone(&scene.units);
    tokio::spawn(async move {
        units
            .decide(request, &Arc::new(Traffic::default()), &Arc::default())
            .await
    })
}

/// A unit whose answers the builder holds.
struct Held {
    scene: Scene,
    deciding: JoinHandle<Decision>,
}

impl Held {
    async fn new(tree: Tree, source: &str, before: fn(&Path)) -> Self {
        let part = Part {
            grants: good_grant,
            stage: Stage::Unit,
            reply: Reply::CompileAndHold,
        };
        let mut scene = Scene::over(part, tree).await;
        for name in ["first", "second"] {
            std::fs::create_dir(scene.directory().join(name)).unwrap();
        }
        before(scene.directory());
        scene.compile("gcc", &FLAGS, source);
        scene.granted().await;
        let deciding = decide(&scene, scene.request());
        Self { scene, deciding }
    }

    /// Waits until the builder has compiled; the decision if it came first.
    async fn compiled(&mut self) -> Result<(), Decision> {
        let reached = async {
            tokio::select! {
                biased;
                Some(()) = self.scene.reached.recv() => Ok(()),
                decision = &mut self.deciding => Err(decision.unwrap()),
            }
        };
        tokio::time::timeout(LONG, reached).await.expect("no answer")
    }

    async fn decision(self) -> Decision {
        let decision = tokio::time::timeout(LONG, self.deciding).await;
        decision.expect("no decision").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_of_files_that_changed_meanwhile_is_made_anew() {
    for tree in [Tree::new, Tree::watching] {
        for case in cases() {
            let what = case.what;
            let mut held = Held::new(tree(), case.source, case.before).await;
            held.compiled().await.unwrap();
            (case.change)(held.scene.directory());
            held.scene.release();
            let again = held.compiled().await;
            assert!(again.is_ok(), "{what}: the first answer was taken");
            let expected = (case.exits[1] == 0).then(|| held.scene.local_object());
            held.scene.release();
            match held.decision().await {
                Decision::Done(done, bodies) => {
                    assert_eq!(done.exit, Exit::Code(case.exits[1]), "{what}");
                    assert!(
                        bodies.get(2) == expected.as_ref(),
                        "{what}: the old files' object"
                    );
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

/// The builder is told of their files while it runs; a directory of them may hide what failed loudly before.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_doubted_only_where_another_units_files_may_have_made_it() {
    let before: fn(&Path) = |at| {
        for directory in ["first", "third"] {
            std::fs::create_dir_all(at.join(directory)).unwrap();
            write(at, &format!("{directory}/other.h"), "");
            let source = format!("#include \"{directory}/other.h\"\n");
            write(at, &format!("{directory}.c"), &source);
        }
    };
    for (other, is_doubted) in [("first", false), ("third", true)] {
        let mut held = Held::new(Tree::watching(), "int value = nothing;\n", before).await;
        // The builder is told of the files of its trial too.
        while held.compiled().await.is_ok() {
            held.scene.release();
        }
        held.deciding = decide(&held.scene, held.scene.request());
        held.compiled().await.unwrap();
        let mut request = held.scene.request();
        let words = ["gcc", "-c", &format!("{other}.c"), "-o", &format!("{other}.o")];
        Arc::make_mut(&mut request).argv = words.map(|word| word.as_bytes().to_vec()).to_vec();
        let other_unit = decide(&held.scene, request);
        held.compiled().await.unwrap();
        held.scene.release();
        let again = held.compiled().await;
        assert_eq!(again.is_ok(), is_doubted, "{other}");
        held.scene.release();
        held.scene.release();
        let decision = match again {
            Ok(()) => held.decision().await,
            Err(decision) => decision,
        };
        match decision {
            Decision::Done(done, _) => assert_eq!(done.exit, Exit::Code(1), "{other}"),
            decision => panic!("{other}: {decision:?}"),
        }
        other_unit.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_during_every_attempt_is_compiled_here() {
    for tree in [Tree::new, Tree::watching] {
        let set = |at: &Path, value: u32| write(at, "second/value.h", &format!("#define VALUE {value}\n"));
        let before: fn(&Path) = |at| write(at, "second/value.h", "#define VALUE 0\n");
        let mut held = Held::new(tree(), USE, before).await;
        let mut attempts = 0;
        let decision = loop {
            if let Err(decision) = held.compiled().await {
                break decision;
            }
            attempts += 1;
            set(held.scene.directory(), attempts);
            held.scene.release();
        };
        match decision {
            Decision::Local { reason, fallback } => {
                assert_eq!((reason.code, fallback), ("inputs-changed", false));
            }
            other => panic!("{other:?}"),
        }
        assert!(attempts > 1, "{attempts}");
    }
}
