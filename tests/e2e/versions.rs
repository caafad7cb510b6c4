//! Parts of different versions that meet, and bytes that are no version's: no unit fails, and where the user has to
//! act he reads why.

use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use quicc::wrapper::channel;
use quicc_certs::{Credentials, KeyedFiles, load_trust};
use quicc_protocol::envelope::Header;
use quicc_protocol::message::Message;
use quicc_protocol::message::run::StandardStreams;
use quicc_protocol::message::wrapper::{
    AgentDrains, AgentQuestion, CompileRequest, ResourceLimits, StillWorking, VERSION,
};
use quicc_protocol::version::{ALPN, Hello};
use quinn::crypto::rustls::QuicServerConfig;

use crate::support::{FarmFiles, LONG, World, await_event};

/// A version nobody speaks yet.
const OTHER: u32 = VERSION + 1;

fn world() -> World {
    let world = World::new();
    world.write("a.c", "#include <stdio.h>\nint f(void) { return puts(\"a\"); }\n");
    world
}

fn compile(world: &World, object: &str) {
    let output = world.quicc(&["gcc", "-c", "a.c", "-o", object]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        world.explain(&output)
    );
    let local = world.local(&format!("gcc -c a.c -o local.o && cmp local.o {object}"));
    assert!(local.status.success(), "{}", world.explain(&local));
}

fn request(version: u32) -> CompileRequest {
    CompileRequest {
        version,
        compiler: b"/usr/bin/gcc".to_vec(),
        argv: vec![b"gcc".to_vec(), b"-v".to_vec()],
        cwd: b"/".to_vec(),
        env: Vec::new(),
        umask: 0o022,
        streams: StandardStreams::default(),
        mount_namespace: 0,
        inside_local_compile: false,
        resource_limits: ResourceLimits::default(),
    }
}

fn framed(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = u32::try_from(payload.len()).unwrap();
    Header {
        length,
        kind,
        flags: 0,
    }
    .push(&mut bytes);
    bytes.extend(payload);
    bytes
}

/// An agent of another version that gives up its socket's name and answers the one request it gets.
fn drain_once(listener: &UnixListener, world: &World) {
    let (mut stream, _) = listener.accept().unwrap();
    let asked = channel::receive(&mut stream).unwrap().open::<CompileRequest>();
    assert_eq!(asked.unwrap().unwrap().version, VERSION);
    std::fs::remove_file(world.socket()).unwrap();
    channel::send(&mut stream, &StillWorking {}).unwrap();
    channel::send(&mut stream, &AgentDrains { version: OTHER }).unwrap();
}

#[test]
fn a_wrapper_replaces_an_agent_that_drains() {
    let world = world();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(world.home().join("state"))
        .unwrap();
    let listener = UnixListener::bind(world.socket()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| drain_once(&listener, &world));
        compile(&world, "a.o");
    });
    let status = world.status();
    assert_eq!(
        (&status["remote"], &status["fallbacks"]),
        (&1.into(), &0.into()),
        "{status}"
    );
}

#[test]
fn an_agent_gives_way_to_another_version() {
    let world = world();
    let unreadable = [quicc_protocol::codec::encode(&OTHER), vec![0xff; 40]].concat();
    for (number, request) in [
        request(OTHER).to_frame(),
        framed(CompileRequest::KIND, &unreadable),
    ]
    .iter()
    .enumerate()
    {
        compile(&world, &format!("{number}.o"));
        let first = world.status()["pid"].clone();
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        stream.write_all(request).unwrap();
        let answer = channel::receive(&mut stream).unwrap().open::<AgentDrains>();
        assert_eq!(answer.unwrap(), Some(AgentDrains { version: VERSION }));
        assert!(!world.socket().exists(), "the name is given up before the answer");
        compile(&world, "next.o");
        let status = world.status();
        assert_ne!(status["pid"], first, "another agent serves");
        assert_eq!(
            (&status["remote"], &status["fallbacks"]),
            (&1.into(), &0.into()),
            "{status}"
        );
    }
}

#[test]
fn agents_replaced_in_the_middle_of_a_build_cost_no_unit() {
    let world = world();
    let summary = std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            let units = "seq 24 | xargs -P 3 -I% gcc -c a.c -o %.o";
            let (output, summary) = world.run(units);
            assert!(output.status.success(), "{}", world.explain(&output));
            summary
        });
        for built in [2, 6, 10] {
            await_event("an object", || {
                let done = (1..=24)
                    .filter(|number| world.exists(&format!("{number}.o")))
                    .count();
                (done >= built || build.is_finished()).then_some(())
            });
            if let Ok(mut stream) = UnixStream::connect(world.socket()) {
                stream.write_all(&request(OTHER).to_frame()).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
        build.join().unwrap()
    });
    assert_eq!(
        (summary.remote(), summary.local()),
        (24, 0),
        "{summary:?} {}",
        world.agent_log()
    );
    let local = world.local("gcc -c a.c -o local.o; for n in $(seq 24); do cmp local.o $n.o || exit; done");
    assert!(local.status.success(), "{}", world.explain(&local));
}

/// Where the scheduler of `files` would listen, with its certificate.
pub(crate) async fn scheduler_endpoint(files: &FarmFiles) -> quinn::Endpoint {
    let directory = files.world().source();
    let now = quicc::host::clock::unix_seconds();
    let ca = load_trust(&directory.join("ca.pem"), now).unwrap();
    let at = |extension: &str| directory.join("scheduler-scheduler").with_extension(extension);
    let own = KeyedFiles {
        certificate: at("pem"),
        key: at("key"),
    };
    let credentials = Credentials::load(&own, now).unwrap();
    let crypto = quicc_certs::server_config(&ca, &credentials, &[ALPN]).unwrap();
    let crypto = QuicServerConfig::try_from(crypto).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    quinn::Endpoint::server(config, files.scheduler()).unwrap()
}

/// A scheduler of the far future: its certificate is right, its `hello` has no version in common with ours.
async fn say_hello(endpoint: quinn::Endpoint, hello: Hello) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let Ok((mut send, _receive)) = connection.accept_bi().await else {
            continue;
        };
        let _ = send.write_all(&hello.encode()).await;
        connection.closed().await;
    }
}

#[test]
fn a_farm_without_a_common_version_is_named_and_not_used() {
    let (files, world) = (FarmFiles::new(), world());
    files.join(&world);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hello = Hello {
        minor_min: 7,
        minor_max: 9,
        ..Hello::ours(1, "quicc 9.9.9")
    };
    let endpoint = runtime.block_on(scheduler_endpoint(&files));
    runtime.spawn(say_hello(endpoint, hello));
    compile(&world, "a.o");
    let named = "the peer speaks protocol 1.7 to 1.9 (quicc 9.9.9), this side 1.0 to 1.0";
    let status = await_event("the reason", || {
        let status = world.status();
        status["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains(named))
            .then_some(status)
    });
    assert_eq!(
        (&status["remote"], &status["fallbacks"]),
        (&0.into(), &1.into()),
        "{status}"
    );
    assert!(world.agent_log().contains(named), "{}", world.agent_log());
    let (output, _) = world.run("gcc -c a.c -o b.o");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(named), "the build's last line says why: {said}");
}

#[test]
fn garbage_on_the_agents_socket_harms_nobody() {
    let world = world();
    compile(&world, "a.o");
    let pid = world.status()["pid"].clone();
    let half = request(VERSION).to_frame();
    let mut huge = Vec::new();
    Header {
        length: u32::MAX,
        kind: CompileRequest::KIND,
        flags: 0,
    }
    .push(&mut huge);
    let noise: Vec<u8> = (0..1_u32 << 16)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let same_version = [quicc_protocol::codec::encode(&VERSION), vec![0xfe; 60]].concat();
    let cases = [
        Vec::new(),
        vec![0xff; 64],
        noise,
        half[..half.len() / 2].to_vec(),
        half[..3].to_vec(),
        huge,
        framed(CompileRequest::KIND, &[]),
        framed(CompileRequest::KIND, &same_version),
        framed(AgentQuestion::KIND, &[9; 9]),
        framed(AgentDrains::KIND, &quicc_protocol::codec::encode(&VERSION)),
        framed(999, b"what is this"),
        b"GET / HTTP/1.1\r\nhost: agent\r\n\r\n".to_vec(),
    ];
    let mut open = Vec::new();
    for (number, bytes) in cases.iter().enumerate() {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        // The agent may have closed already.
        let _ = stream.write_all(bytes);
        let mut second = UnixStream::connect(world.socket()).unwrap();
        let _ = second.write_all(bytes);
        let _ = second.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = second.read_to_end(&mut answer);
        assert!(answer.is_empty(), "case {number} has no answer: {answer:?}");
        open.push(stream);
        compile(&world, &format!("{number}.o"));
    }
    let status = world.status();
    assert_eq!(status["pid"], pid);
    assert_eq!(
        (&status["remote"], &status["fallbacks"]),
        (&(1 + cases.len()).into(), &0.into()),
        "{status}"
    );
    drop(open);
}

/// A build of quicc alone leaves the wrapper of an earlier one beside it.
#[test]
fn a_wrapper_of_another_version_is_passed_over() {
    let world = world();
    let directory = world.root().join("bin");
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join("quicc");
    std::fs::copy(crate::support::QUICC, &program).unwrap();
    let installed = world.home().join("state/bin/quicc-wrapper");
    let build = |is_link: bool| {
        let output = world
            .command(&program)
            .args(["run", "--", "gcc", "-c", "a.c", "-o", "a.o"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("1 units remote, 0 local"),
            "{}",
            world.explain(&output)
        );
        assert_eq!(installed.is_symlink(), is_link);
    };
    build(true);
    let other = "printf '#!/bin/sh\\necho quicc 0.0.1 wrapper 0\\n' > ../bin/quicc-wrapper && chmod +x ../bin/quicc-wrapper";
    assert!(world.local(other).status.success());
    build(true);
    std::fs::remove_file(directory.join("quicc-wrapper")).unwrap();
    std::fs::copy(
        env!("CARGO_BIN_EXE_quicc-wrapper"),
        directory.join("quicc-wrapper"),
    )
    .unwrap();
    build(false);
    build(false);
}
