//! Peers that share what they should not, lie, or are not who they say they are.

mod changing;
mod fake;
mod restarted;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;

use quicc::agent::link::Traffic;
use quicc::agent::unit::Decision;
use quicc::scheduler::service::{self, SchedulerConfig};
use quicc::transport::{Endpoint, Pace, When, frame};
use quicc_certs::Credentials;
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{BlobsWanted, Body, Encoding};
use quicc_protocol::message::lease::{LeaseDemand, LeaseGrant};
use quicc_protocol::message::offer::{BuilderOffer, LeaseEnd};
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{After, Exit, Outcome};
use quicc_protocol::version::Hello;
use quicc_protocol::{BlobDigest, close, limits};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{FarmFiles, LONG, QUICC, World};
use crate::versions::scheduler_endpoint;
use fake::{
    Grants, Part, Reply, SOURCE, Scene, Stage, certificates, endpoint, grant, outcome, outcome_saying,
};

/// A shell in a mount namespace of its own, in which a directory stands at a path that others have too.
struct Room {
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Room {
    fn new(world: &World, shared: &std::path::Path) -> Self {
        let mut command = world.command("unshare");
        command
            .args(["--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let (input, output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut room = Self {
            shell,
            input,
            output: BufReader::new(output),
        };
        let (own, shared) = (world.source(), shared.display());
        room.begin(&format!("mount --bind {} {shared} && cd {shared}", own.display()));
        assert_eq!(room.end(), 0);
        room
    }

    /// Begins a script.
    fn begin(&mut self, script: &str) {
        writeln!(self.input, "{script}\necho $?").unwrap();
    }

    /// The exit code of the script begun; its output must go elsewhere.
    fn end(&mut self) -> i32 {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn two_agents_with_one_certificate_see_each_their_own_files() {
    let files = FarmFiles::new();
    let _roles = [files.start("scheduler"), files.start("builder")];
    let shared = tempfile::tempdir().unwrap();
    let worlds = [World::new(), World::new()];
    for world in &worlds {
        files.join(world);
    }
    let mut rooms: Vec<_> = worlds
        .iter()
        .map(|world| Room::new(world, shared.path()))
        .collect();
    let units = "for n in 1 2 3 4; do gcc -g -DN=$n -c use.c -o $n.o || exit; done";
    let same = "for n in 1 2 3 4; do gcc -g -DN=$n -c use.c -o local.o && cmp local.o $n.o || exit; done";
    for round in 0..4 {
        for (number, world) in worlds.iter().enumerate() {
            // Sizes and often times are equal in both; only the bytes differ.
            let value = 10 + 2 * round + number;
            world.write("value.h", &format!("#define VALUE {value}\n"));
            world.write(
                "use.c",
                &format!("#include \"value.h\"\nint value{value}[N] = {{ VALUE }};\n"),
            );
        }
        for (room, world) in rooms.iter_mut().zip(&worlds) {
            let root = world.root().display();
            room.begin(&format!(
                "{QUICC} run --summary {root}/summary -- sh -c '{units}' >{root}/said 2>&1"
            ));
        }
        for (room, world) in rooms.iter_mut().zip(&worlds) {
            let code = room.end();
            let read = |name: &str| std::fs::read_to_string(world.root().join(name)).unwrap();
            assert_eq!(code, 0, "round {round}: {} {}", read("said"), world.agent_log());
            let summary: serde_json::Value = serde_json::from_str(&read("summary")).unwrap();
            assert_eq!(
                summary["remote"],
                4,
                "round {round}: {summary} {}",
                world.agent_log()
            );
            room.begin(&format!("({same}) >{}/said 2>&1", world.root().display()));
            assert_eq!(room.end(), 0, "round {round}: {}", read("said"));
        }
    }
}

fn good_grant(builder: std::net::SocketAddr) -> Vec<u8> {
    grant(builder).to_frame()
}

/// What a builder may do wrong, and whether the unit then counts as failed by the farm.
type Misdeed = (&'static str, bool, Reply);

/// Answers that are no outcome.
fn broken_answers() -> Vec<Misdeed> {
    let honest = outcome(&[7; 1000], |_| ());
    let wanted = |digest| {
        let digests = vec![digest];
        BlobsWanted {
            digests,
            extensions: Vec::new(),
        }
        .to_frame()
    };
    let noise = (0..4096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let quarter = honest[..honest.len() / 4].to_vec();
    [
        ("garbage", Reply::Say(noise)),
        ("endless garbage", Reply::Repeat(vec![0xff; 4096])),
        ("nothing", Reply::Say(Vec::new())),
        (
            "another message",
            Reply::Say(good_grant(([127, 0, 0, 1], 1).into())),
        ),
        ("a cut outcome", Reply::Say(quarter)),
        ("a cut body", Reply::Say(honest[..honest.len() - 1].to_vec())),
        ("a reset", Reply::Reset),
        ("a closed connection", Reply::Disconnect),
        ("silence", Reply::FallSilent),
        (
            "another action's blob",
            Reply::Say(wanted(BlobDigest::of(b"/etc/shadow"))),
        ),
        (
            "a blob wanted for ever",
            Reply::Repeat(wanted(BlobDigest::of(SOURCE.as_bytes()))),
        ),
    ]
    .map(|(what, reply)| (what, true, reply))
    .to_vec()
}

/// Outcomes that contradict themselves, or that no honest compile has.
fn lies() -> Vec<Misdeed> {
    type Change = fn(&mut Outcome);
    let lies: [(&str, bool, Change); 10] = [
        ("another digest", true, |outcome| {
            outcome.bodies[2].digest = BlobDigest::of(b"other")
        }),
        ("more than announced", true, |outcome| outcome.bodies[2].size = 10),
        ("less than announced", true, |outcome| {
            outcome.bodies[2].size = 1 << 20
        }),
        ("beyond all bounds", true, |outcome| {
            outcome.bodies[2].size = u64::MAX
        }),
        ("plain bytes called zstd", true, |outcome| {
            outcome.bodies[0] = Body {
                encoding: Encoding::Zstd,
                wire_size: 4,
                ..outcome.bodies[0]
            };
        }),
        ("too few bodies", true, |outcome| outcome.bodies.truncate(2)),
        ("too many outputs", true, |outcome| {
            outcome.outputs.push(After::Absent)
        }),
        ("a file nobody declared", false, |outcome| {
            outcome.unexpected.push(b"extra".to_vec())
        }),
        ("a failed compile", false, |outcome| outcome.exit = Exit::Code(1)),
        ("a crashed compile", false, |outcome| {
            outcome.exit = Exit::Signal(11)
        }),
    ];
    lies.map(|(what, fails, change)| (what, fails, Reply::Say(outcome(&[7; 1000], change))))
        .to_vec()
}

fn refusals() -> Vec<Misdeed> {
    let refusals = [
        ("busy", RefusalCode::Busy),
        ("stale", RefusalCode::Stale),
        ("unknown table", RefusalCode::UnknownTable),
        ("not allowed", RefusalCode::NotAllowed),
        ("malformed", RefusalCode::Malformed),
        ("unsupported", RefusalCode::Unsupported),
        ("limit exceeded", RefusalCode::LimitExceeded),
        ("internal", RefusalCode::Internal),
        ("draining", RefusalCode::Draining),
    ];
    refusals
        .map(|(what, code)| (what, true, Reply::Say(Refusal::new(code, "so it is").to_frame())))
        .to_vec()
}

/// The reason to compile here, which must come within [`LONG`].
async fn local_reason(scene: &Scene, what: &str) -> (String, bool) {
    let decision = tokio::time::timeout(LONG, scene.decide()).await;
    match decision.unwrap_or_else(|_| panic!("{what}: no decision")) {
        Decision::Local { reason, fallback } => (reason.code.to_owned(), fallback),
        other => panic!("{what}: {other:?}"),
    }
}

async fn all(mut cases: JoinSet<()>) {
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_fake_is_believed() {
    // Without this the tests below could pass for the wrong reason.
    let mut scene = Scene::new(Part {
        grants: good_grant,
        stage: Stage::Unit,
        reply: Reply::Hang,
    })
    .await;
    let object = scene.local_object();
    drop(scene);
    let reply = Reply::Say(outcome(&object, |_| ()));
    scene = Scene::new(Part {
        grants: good_grant,
        stage: Stage::Unit,
        reply,
    })
    .await;
    match scene.decide().await {
        Decision::Done(done, bodies) => assert!(done.exit == Exit::Code(0) && bodies[2] == object),
        other => panic!("{other:?}"),
    }
}

/// Gains from vectors where the processor has any.
#[cfg(target_arch = "x86_64")]
const LOOP: &str = "float sum(const float *a, const float *b, int n) {\n\
float s = 0;\nfor (int i = 0; i < n; i++) s += a[i] * b[i];\nreturn s;\n}\n";

/// `native` means the client's processor, whatever the builder's is.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_of_another_processor_compiles_for_the_clients() {
    for compiler in ["gcc", "clang"] {
        let mut scene = Scene::new(Part {
            grants: good_grant,
            stage: Stage::Unit,
            reply: Reply::CompileOnOldProcessor,
        })
        .await;
        let flags = ["-O3", "-ffast-math", "-g", "-march=x86-64"];
        scene.compile(compiler, &flags, LOOP);
        let there = scene.local_object();
        let flags = ["-O3", "-ffast-math", "-g", "-march=native"];
        scene.compile(compiler, &flags, LOOP);
        let here = scene.local_object();
        assert!(here != there, "{compiler}: the processor makes no difference");
        tokio::time::timeout(LONG, scene.granted()).await.unwrap();
        match scene.decide().await {
            Decision::Done(_, bodies) => assert!(bodies[2] == here, "{compiler}"),
            other => panic!("{compiler}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_builder_does_the_unit_is_compiled_here() {
    let mut cases = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(8));
    for stage in [Stage::Trial, Stage::Unit] {
        for (what, fails, reply) in [broken_answers(), lies(), refusals()].concat() {
            let at_once = Arc::clone(&at_once);
            cases.spawn(async move {
                let _permit = at_once.acquire().await;
                let what = format!("{what} at {stage:?}");
                let mut scene = Scene::new(Part {
                    grants: good_grant,
                    stage,
                    reply,
                })
                .await;
                tokio::time::timeout(LONG, scene.granted()).await.expect(&what);
                let (reason, fallback) = local_reason(&scene, &what).await;
                assert!(
                    scene.reached.try_recv().is_ok(),
                    "{what}: not even tried, {reason}"
                );
                if stage == Stage::Unit || fails {
                    assert_eq!(fallback, fails, "{what}: {reason}");
                }
            });
        }
    }
    all(cases).await;
}

/// What becomes of two units at once whose trial gets this answer once both of them were answered.
async fn two_units_before_their_trial(reply: Reply) -> [Decision; 2] {
    let scene = Scene::new(Part {
        grants: good_grant,
        stage: Stage::Trial,
        reply,
    })
    .await;
    tokio::time::timeout(LONG, scene.granted()).await.unwrap();
    let both = async { tokio::join!(scene.decide(), scene.decide()) };
    let both = tokio::time::timeout(LONG, both).await;
    both.expect("the units wait for their trial").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn units_travel_beside_the_trial_of_their_toolchain() {
    for decision in two_units_before_their_trial(Reply::CompileAfter(2)).await {
        match decision {
            Decision::Done(done, _) => assert_eq!(done.exit, Exit::Code(0)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_object_of_a_builder_whose_trial_is_bad_is_thrown_away() {
    let wrong = Reply::SayAfter(2, outcome(b"another object", |_| ()));
    for decision in two_units_before_their_trial(wrong).await {
        match decision {
            Decision::Local { reason, fallback } => {
                assert_eq!((reason.code, fallback), ("toolchain-untrusted", false));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_believed_only_where_it_is_the_sources() {
    type Change = fn(&mut Outcome);
    const OWN: &str = "a.c:1:1: error: no\n";
    let fails: Change = |outcome| outcome.exit = Exit::Code(1);
    let cases: [(&str, Change, Option<&str>); 8] = [
        (OWN, fails, None),
        ("", fails, Some("compile-failed")),
        (
            "a.c:1:1: fatal error: b.h: Permission denied\n",
            fails,
            Some("compile-failed"),
        ),
        (
            "gcc: fatal error: Killed signal terminated program cc1\n",
            fails,
            Some("compile-failed"),
        ),
        (
            OWN,
            |outcome| outcome.exit = Exit::Code(4),
            Some("compile-failed"),
        ),
        (
            OWN,
            |outcome| outcome.exit = Exit::Signal(6),
            Some("compile-failed"),
        ),
        (
            OWN,
            |outcome| {
                outcome.exit = Exit::Code(1);
                outcome.unexpected.push(b"core".to_vec());
            },
            Some("compile-failed"),
        ),
        (
            "/.quicc-scratch/a.s: Warning: no\n",
            |_| (),
            Some("temporary-file-named"),
        ),
    ];
    for (stderr, change, expected) in cases {
        let scene = Scene::new(Part {
            grants: good_grant,
            stage: Stage::Unit,
            reply: Reply::Say(outcome_saying(stderr.as_bytes(), b"partial", change)),
        })
        .await;
        let decision = tokio::time::timeout(LONG, scene.decide()).await.expect(stderr);
        match (decision, expected) {
            (Decision::Done(done, bodies), None) => {
                let said = (done.exit, bodies[1].as_slice(), bodies[2].as_slice());
                assert_eq!(said, (Exit::Code(1), stderr.as_bytes(), &b"partial"[..]));
            }
            (Decision::Local { reason, fallback }, Some(expected)) => {
                assert_eq!((reason.code, fallback), (expected, false), "{stderr}");
            }
            (other, _) => panic!("{stderr}: {other:?}"),
        }
    }
}

/// What its table tells an agent is enough where it knows every name that a unit asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_where_something_changed_is_doubted_only_where_names_are_computed() {
    const COMPUTED: &str = "#define TEXT(name) #name\n#include TEXT(stddef.h)\n";
    const ALIASED: &str = "#define HAS __has_include\n#if HAS(<stddef.h>)\n#endif\n";
    for (source, is_doubted) in [(SOURCE, false), (COMPUTED, true), (ALIASED, true)] {
        let fails = |outcome: &mut Outcome| {
            outcome.exit = Exit::Code(1);
            outcome.mirror_changed = true;
        };
        let mut scene = Scene::new(Part {
            grants: good_grant,
            stage: Stage::Unit,
            reply: Reply::Say(outcome_saying(b"a.c:1:1: error: no\n", b"partial", fails)),
        })
        .await;
        scene.compile("gcc", &[], source);
        let decision = tokio::time::timeout(LONG, scene.decide()).await.expect(source);
        match decision {
            Decision::Done(done, _) => assert!(!is_doubted && done.exit == Exit::Code(1), "{source}"),
            Decision::Local { reason, fallback } => {
                assert_eq!(
                    (reason.code, fallback, is_doubted),
                    ("compile-failed", false, true)
                );
            }
            Decision::NotACompile => panic!("{source}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_wrote_a_file_nobody_declared_is_not_sent_again() {
    let mut scene = Scene::new(Part {
        grants: good_grant,
        stage: Stage::Unit,
        reply: Reply::Say(outcome(b"object", |outcome| {
            outcome.unexpected.push(b"extra.dwo".to_vec());
        })),
    })
    .await;
    tokio::time::timeout(LONG, scene.granted()).await.unwrap();
    let mut decide = async |flags: &[&str]| {
        scene.compile("gcc", flags, SOURCE);
        let decision = tokio::time::timeout(LONG, scene.decide()).await.unwrap();
        (decision, scene.reached.try_recv().is_ok())
    };
    for (flags, is_sent) in [(&[][..], true), (&[], false), (&["-O1"], true), (&["-O1"], false)] {
        let (decision, was_sent) = decide(flags).await;
        let Decision::Local { reason, fallback } = decision else {
            panic!("{flags:?}: {decision:?}")
        };
        assert_eq!(
            (reason.code, fallback),
            ("unexpected-output", false),
            "{flags:?}: {reason:?}"
        );
        assert_eq!(was_sent, is_sent, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_nobody_wants_any_more_is_taken_back_from_a_builder_that_hangs() {
    let mut scene = Scene::new(Part {
        grants: good_grant,
        stage: Stage::Unit,
        reply: Reply::Hang,
    })
    .await;
    let (units, traffic) = (Arc::clone(&scene.units), Arc::new(Traffic::default()));
    let request = scene.request();
    let deciding = tokio::spawn(async move { units.decide(request, &traffic, &Arc::default()).await });
    tokio::time::timeout(LONG, scene.reached.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(!deciding.is_finished());
    deciding.abort();
    tokio::time::timeout(LONG, scene.given_up.recv())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_scheduler_says_the_unit_is_compiled_here() {
    let cases: [(&str, Grants); 9] = [
        ("garbage", |_| vec![0xff; 4096]),
        ("a refusal", |_| {
            Refusal::new(RefusalCode::Internal, "no").to_frame()
        }),
        ("a message cut short", |builder| good_grant(builder)[..9].to_vec()),
        ("a name no builder has", |builder| {
            LeaseGrant {
                builder: "../../etc".to_owned(),
                ..grant(builder)
            }
            .to_frame()
        }),
        ("another builder's name", |builder| {
            LeaseGrant {
                builder: "other".to_owned(),
                ..grant(builder)
            }
            .to_frame()
        }),
        ("no address", |builder| {
            LeaseGrant {
                endpoint: "\0:nowhere".to_owned(),
                ..grant(builder)
            }
            .to_frame()
        }),
        ("a closed port, often", |builder| {
            let nowhere = LeaseGrant {
                endpoint: "127.0.0.1:9".to_owned(),
                ..grant(builder)
            };
            (0..100)
                .flat_map(|lease| {
                    LeaseGrant {
                        lease,
                        ..nowhere.clone()
                    }
                    .to_frame()
                })
                .collect()
        }),
        ("nothing to use", |builder| {
            LeaseGrant {
                slots: 0,
                ..grant(builder)
            }
            .to_frame()
        }),
        ("a lease that ended", |builder| {
            let end = LeaseEnd {
                lease: grant(builder).lease,
                extensions: Vec::new(),
            };
            [
                LeaseGrant {
                    slots: u32::MAX,
                    valid_for: 0,
                    ..grant(builder)
                }
                .to_frame(),
                end.to_frame(),
            ]
            .concat()
        }),
    ];
    let mut running = JoinSet::new();
    for (what, grants) in cases {
        running.spawn(async move {
            let part = Part {
                grants,
                stage: Stage::Unit,
                reply: Reply::Hang,
            };
            let mut scene = Scene::new(part).await;
            // On a loaded machine the first units may not wait until the scheduler is heard.
            let heard = async {
                while scene.asked.try_recv().is_err() {
                    let (reason, fallback) = local_reason(&scene, what).await;
                    assert!(fallback, "{what}: {reason}");
                }
            };
            tokio::time::timeout(LONG, heard).await.expect(what);
            let (reason, fallback) = local_reason(&scene, what).await;
            assert!(fallback, "{what}: {reason}");
        });
    }
    all(running).await;
}

/// A new agent would wait for slots that the one before it held, until its silence was noticed.
#[test]
fn an_agent_that_stops_takes_leave_of_its_scheduler() {
    let (files, world) = (FarmFiles::new(), World::new());
    files.join(&world);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scheduler = runtime.block_on(scheduler_endpoint(&files));
    assert!(world.quicc(&["agent", "start"]).status.success());
    let connection = runtime.block_on(async { scheduler.accept().await.unwrap().await.unwrap() });
    world.stop_agent();
    match runtime.block_on(connection.closed()) {
        quinn::ConnectionError::ApplicationClosed(end) => {
            assert_eq!(end.error_code, quinn::VarInt::from_u32(close::ENDING));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_role_is_no_farm() {
    let part = || Part {
        grants: good_grant,
        stage: Stage::Unit,
        reply: Reply::Hang,
    };
    let farm = certificates();
    let own = |credentials: &Credentials| endpoint(&farm, credentials);
    let cases = [
        ("a builder as scheduler", own(&farm.builder), own(&farm.builder)),
        ("a client as scheduler", own(&farm.client), own(&farm.builder)),
        ("a client as builder", own(&farm.scheduler), own(&farm.client)),
        (
            "a scheduler as builder",
            own(&farm.scheduler),
            own(&farm.scheduler),
        ),
    ];
    for (what, scheduler, builder) in cases {
        let mut scene = Scene::of(part(), &farm, scheduler, builder).await;
        let (reason, fallback) = local_reason(&scene, what).await;
        assert!(fallback, "{what}: {reason}");
        let problem = scene.units.farm.problem().unwrap_or_default();
        assert!(problem.contains("certificate"), "{what} is named: {problem}");
        assert!(scene.reached.try_recv().is_err(), "{what}: got an action");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_hears_each_role_only_about_its_own_affairs() {
    let farm = certificates();
    let scheduler = endpoint(&farm, &farm.scheduler);
    let address = scheduler.local_address().unwrap();
    let identity = farm.scheduler.identity().clone();
    let config = SchedulerConfig {
        cluster: identity.cluster.clone(),
        heartbeat: std::time::Duration::from_secs(1),
    };
    tokio::spawn(service::serve(config, scheduler, std::future::pending()));
    let offer = BuilderOffer {
        endpoint: "127.0.0.1:9".to_owned(),
        slots: 64,
        busy: 0,
        machine: std::env::consts::ARCH.to_owned(),
        load_permille: 0,
        memory_available: 1 << 40,
        software: "impostor".to_owned(),
        extensions: Vec::new(),
    };
    let demand = LeaseDemand {
        slots: 64,
        ahead: 0,
        machine: std::env::consts::ARCH.to_owned(),
        avoid: Vec::new(),
        extensions: Vec::new(),
    };
    let check = async |own: &Credentials, message: Vec<u8>, welcome: bool| {
        let client: Endpoint = endpoint(&farm, own);
        // The second connection resumes the session of the first, and speaks before it is answered.
        for is_early in [false, true] {
            let opened = client
                .open(
                    address,
                    &identity,
                    &Hello::ours(2, "test"),
                    Pace::Prompt,
                    When::AtOnce,
                )
                .await
                .unwrap();
            assert_eq!(opened.is_early(), is_early, "{}", own.identity());
            let connection = opened.connection.clone();
            let (mut send, unmet) = opened.part();
            send.write_all(&message).await.unwrap();
            if welcome {
                let answer = async {
                    let (_, mut receive) = unmet.meet().await.unwrap();
                    frame::receive(&mut receive, limits::CONTROL_PAYLOAD).await
                };
                let answered = tokio::time::timeout(LONG, answer).await.expect("no answer");
                assert!(matches!(answered, Ok(Some(_))), "{}", own.identity());
                connection.close(0_u32.into(), b"");
                continue;
            }
            let closed = tokio::time::timeout(LONG, connection.closed()).await;
            match closed.expect("heard as if it were another") {
                quinn::ConnectionError::ApplicationClosed(end) => {
                    assert_eq!(end.error_code, quinn::VarInt::from_u32(close::NOT_ALLOWED));
                }
                // RFC 9000 §10.2.3: before the handshake is over an application's reason does not travel.
                quinn::ConnectionError::ConnectionClosed(end) if is_early => {
                    assert_eq!(end.error_code, quinn::TransportErrorCode::APPLICATION_ERROR);
                }
                other => panic!("{}: not closed by the scheduler: {other}", own.identity()),
            }
        }
    };
    check(&farm.client, offer.to_frame(), false).await;
    check(&farm.builder, demand.to_frame(), false).await;
    check(&farm.builder, offer.to_frame(), true).await;
}
