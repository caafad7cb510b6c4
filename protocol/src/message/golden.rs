//! The bytes of one value per message, both ways. A line of `golden.txt` never changes once released.

use proptest::prelude::*;

use super::blob::{Blob, BlobBatch, BlobsWanted, Body, Encoding};
use super::lease::{BuilderStatus, FarmStatus, FarmStatusRequest, LeaseDemand, LeaseGrant};
use super::offer::{BuilderOffer, LeaseEnd, SchedulerWelcome};
use super::refusal::{Refusal, RefusalCode};
use super::run::{
    After, Before, DeclaredOutput, Exit, LeasePresented, Outcome, RunRequest, StandardStreams, Step, Usage,
    WindowSize,
};
use super::table::{EntryKind, FileTime, PoisonKind, TableOpen, TableRecord, TableRecords};
use super::wrapper::{
    AgentDrains, AgentQuestion, AgentStatus, CompileDone, CompileRequest, ExplainQuestion, OutputFile,
    Predecessor, Published, Question, ResourceLimits, RunLocally, StillWorking,
};
use super::{Extensions, Message};
use crate::BlobDigest;
use crate::envelope::Header;
use crate::identifiers::{ViewId, encode_ascending};
use crate::limits;

const GOLDEN: &str = include_str!("golden.txt");

const WINDOW: WindowSize = WindowSize {
    rows: 24,
    columns: 300,
    width: 1,
    height: 2,
};

fn extensions() -> Extensions {
    vec![(9, vec![1, 2])]
}

fn body(size: u64) -> Body {
    Body {
        digest: BlobDigest::from_bytes([7; 32]),
        size,
        wire_size: size,
        encoding: Encoding::Plain,
    }
}

/// What a check does with the sample of each message type.
trait Visitor {
    fn visit<M: Message + PartialEq + std::fmt::Debug>(&mut self, sample: M);
}

fn visit_farm(visitor: &mut impl Visitor) {
    let text = |text: &str| text.to_owned();
    visitor.visit(BuilderOffer {
        endpoint: text("b1.example:10501"),
        slots: 8,
        busy: 3,
        machine: text("x86_64"),
        load_permille: 1500,
        memory_available: 1 << 33,
        software: text("quicc 0.1.0"),
        extensions: extensions(),
    });
    visitor.visit(SchedulerWelcome {
        ticket_key: vec![4, 5, 6],
        scheduler_time: 1_800_000_000,
        heartbeat: 1000,
        extensions: extensions(),
    });
    visitor.visit(LeaseEnd {
        lease: 300,
        extensions: extensions(),
    });
    visitor.visit(Refusal {
        code: RefusalCode::Stale,
        text: text("entry superseded"),
        retry_after: 250,
        extensions: extensions(),
    });
    let (machine, avoid) = (text("x86_64"), vec![text("b2")]);
    visitor.visit(LeaseDemand {
        slots: 16,
        ahead: 2,
        machine,
        avoid,
        extensions: extensions(),
    });
    visitor.visit(LeaseGrant {
        lease: 300,
        builder: text("b1"),
        endpoint: text("b1.example:10501"),
        slots: 4,
        valid_for: 60,
        ticket: text("e30.e30.c2ln"),
        extensions: extensions(),
    });
    visitor.visit(FarmStatusRequest {
        extensions: extensions(),
    });
    let builder = BuilderStatus {
        name: text("b1"),
        endpoint: text("b1.example:10501"),
        slots: 8,
        leased: 4,
        busy: 3,
        machine: text("x86_64"),
        software: text("quicc 0.1.0"),
    };
    visitor.visit(FarmStatus {
        builders: vec![builder],
        agents: 2,
        extensions: extensions(),
    });
}

fn visit_run(visitor: &mut impl Visitor) {
    let view = ViewId([3; 16]);
    visitor.visit(TableOpen {
        view,
        epoch: 2,
        extensions: extensions(),
    });
    visitor.visit(TableOpen::new(view, 2, Some(0x0102)));
    let modified = FileTime {
        seconds: -1,
        nanoseconds: 5,
    };
    let content = BlobDigest::from_bytes([8; 32]);
    let file = EntryKind::File {
        content,
        size: 70_000,
        executable: true,
        modified,
        same_inode_as: Some(2),
    };
    let define = |id, parent, name: &[u8], kind| TableRecord::Define {
        id,
        parent,
        name: name.to_vec(),
        kind,
    };
    visitor.visit(TableRecords {
        records: vec![
            define(1, 0, b"usr", EntryKind::Directory { modified }),
            define(2, 1, b"cc1", file),
            define(
                3,
                0,
                b"lib",
                EntryKind::Symlink {
                    target: b"usr/lib".to_vec(),
                },
            ),
            TableRecord::Remove { id: 3 },
            TableRecord::Poison {
                parent: 1,
                names: vec![
                    (b"a.h".to_vec(), PoisonKind::Link),
                    (b"d".to_vec(), PoisonKind::Directory),
                ],
            },
            TableRecord::Cure {
                parent: 1,
                names: vec![b"a.h".to_vec()],
            },
        ],
    });
    visit_action(visitor, view, content);
}

fn visit_action(visitor: &mut impl Visitor, view: ViewId, content: BlobDigest) {
    visitor.visit(BlobBatch {
        blobs: vec![
            Blob {
                digest: content,
                size: 3,
            },
            Blob {
                digest: BlobDigest::from_bytes([7; 32]),
                size: 4000,
            },
        ],
        wire_size: 900,
        extensions: extensions(),
    });
    visitor.visit(BlobsWanted {
        digests: vec![content],
        extensions: extensions(),
    });
    visitor.visit(LeasePresented {
        lease: 300,
        ticket: "e30.e30.c2ln".to_owned(),
        extensions: extensions(),
    });
    visitor.visit(RunRequest {
        lease: 300,
        view,
        epoch: 2,
        position: 70_000,
        entries: encode_ascending(&[1, 2, 300]),
        steps: vec![Step {
            program: b"/usr/bin/gcc".to_vec(),
            argv: vec![b"gcc".to_vec(), b"-c".to_vec(), b"\xff.c".to_vec()],
        }],
        cwd: b"/src".to_vec(),
        env: vec![(b"PATH".to_vec(), b"/usr/bin".to_vec())],
        umask: 0o22,
        streams: StandardStreams {
            stdin: Some(WINDOW),
            stdout: None,
            stderr: Some(WINDOW),
        },
        outputs: vec![DeclaredOutput {
            directory: 1,
            name: b"a.o".to_vec(),
            before: Before::Writable,
        }],
        extensions: extensions(),
    });
    visitor.visit(Outcome {
        exit: Exit::Code(1),
        outputs: vec![
            After::Unchanged,
            After::Absent,
            After::Written { executable: false },
        ],
        bodies: vec![body(0), body(1), body(2)],
        unexpected: vec![b"core".to_vec()],
        mirror_changed: true,
        usage: Usage {
            wall: 1,
            cpu: 70_000,
            memory: 1 << 30,
        },
        extensions: extensions(),
    });
}

fn visit_wrapper(visitor: &mut impl Visitor) {
    visitor.visit(CompileRequest {
        version: 3,
        compiler: b"/usr/bin/gcc".to_vec(),
        argv: vec![b"gcc".to_vec()],
        cwd: b"/src".to_vec(),
        env: vec![(b"PWD".to_vec(), b"/src".to_vec())],
        umask: 0o77,
        streams: StandardStreams {
            stdin: None,
            stdout: Some(WindowSize::default()),
            stderr: Some(WINDOW),
        },
        mount_namespace: 4_026_531_841,
        inside_local_compile: true,
        resource_limits: ResourceLimits {
            address_space: Some(1 << 32),
            data: Some(300),
            file_size: Some(0),
            processor_time: Some(3600),
            stack: Some(8 << 20),
            stack_ceiling: None,
        },
    });
    let reason = "stdin-source".to_owned();
    visitor.visit(RunLocally {
        reason,
        fallback: true,
        bytes_up: 10,
        bytes_down: 20,
    });
    visitor.visit(CompileDone {
        exit: Exit::Signal(6),
        outputs: vec![OutputFile {
            path: b"a.o".to_vec(),
            after: After::Written { executable: true },
            predecessor: Predecessor::Kept,
        }],
        bodies: vec![body(0), body(0), body(5)],
        bytes_up: 300,
        bytes_down: 70_000,
    });
    visitor.visit(AgentDrains { version: 3 });
    visitor.visit(Published { complete: true });
    visitor.visit(AgentQuestion {
        version: 1,
        question: Question::Stop,
    });
    visitor.visit(AgentStatus {
        json: "{}".to_owned(),
    });
    visitor.visit(StillWorking {});
    visitor.visit(ExplainQuestion {
        version: 3,
        source: b"/src/a.c".to_vec(),
    });
}

fn visit_all(visitor: &mut impl Visitor) {
    visit_farm(visitor);
    visit_run(visitor);
    visit_wrapper(visitor);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Visitor for Lines {
    fn visit<M: Message + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let frame = sample.to_frame();
        let (header, start) = Header::take(&frame).unwrap().unwrap();
        assert_eq!(header.kind, M::KIND);
        assert_eq!(
            M::from_payload(&frame[start..]).unwrap(),
            sample,
            "{} reads back",
            M::NAME
        );
        self.0.push(format!("{} {}", M::NAME, hex(&frame)));
    }
}

#[test]
fn the_wire_is_what_the_golden_file_says() {
    let mut lines = Lines::default();
    visit_all(&mut lines);
    assert_eq!(
        lines.0.join("\n"),
        GOLDEN.trim_end(),
        "released bytes never change"
    );
}

struct Garbage<'a>(&'a [u8], usize, u8);

impl Visitor for Garbage<'_> {
    fn visit<M: Message + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let _ = M::from_payload(self.0);
        let mut payload = crate::codec::encode(&sample);
        if payload.is_empty() {
            return;
        }
        let (index, length) = (self.1, payload.len());
        if length == 0 {
            return;
        }
        payload[index % length] ^= self.2;
        let _ = M::from_payload(&payload);
        let _ = M::from_payload(&payload[..index % length]);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, index: usize, flip: u8) {
        visit_all(&mut Garbage(&bytes, index, flip));
    }
}

#[test]
fn values_that_break_a_rule_are_refused() {
    let escape = TableRecord::Cure {
        parent: 1,
        names: vec![b"..".to_vec()],
    };
    assert!(refused(&TableRecords {
        records: vec![escape]
    }));
    for name in [&b""[..], b".", b"a/b", b"a\0", &[b'x'; 256]] {
        let kind = EntryKind::Symlink {
            target: b"x".to_vec(),
        };
        let record = TableRecord::Define {
            id: 1,
            parent: 0,
            name: name.to_vec(),
            kind,
        };
        assert!(
            refused(&TableRecords {
                records: vec![record]
            }),
            "{name:?}"
        );
    }
    assert!(refused(&TableRecords {
        records: vec![TableRecord::Remove { id: 0 }]
    }));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let lie = Body {
        wire_size: 1 << 40,
        encoding: Encoding::Zstd,
        ..body(1)
    };
    assert!(lie.broken_rule().is_some() && body(1).broken_rule().is_none());
    let check = |sizes: &[u64], wire_size: u64, good: bool| {
        let digest = BlobDigest::from_bytes([7; 32]);
        let batch = BlobBatch {
            blobs: sizes.iter().map(|&size| Blob { digest, size }).collect(),
            wire_size,
            extensions: Vec::new(),
        };
        assert_eq!(!refused(&batch), good, "{} blobs, {wire_size}", sizes.len());
    };
    check(&[1], 14, true);
    check(&[], 9, false);
    check(&[1], 1 << 40, false);
    check(&[limits::BLOB], 1, true);
    check(&[limits::BLOB + 1], 1, false);
    check(&[limits::BATCH - 1, 1], 1, true);
    check(&[limits::BATCH, 1], 1, false);
    check(&[u64::MAX, 2], 1, false);
    check(&[0; limits::BLOBS_PER_BATCH], 9, true);
    check(&[0; limits::BLOBS_PER_BATCH + 1], 9, false);
}

#[test]
fn an_action_runs_a_few_programs_by_absolute_paths() {
    let step = |program: &str, argv: &[&str]| Step {
        program: program.into(),
        argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
    };
    let good = step("/bin/cc", &["cc"]);
    let check = |steps: Vec<Step>, is_refused: bool| {
        let request = RunRequest {
            lease: 1,
            view: ViewId([3; 16]),
            epoch: 1,
            position: 0,
            entries: Vec::new(),
            steps: steps.clone(),
            cwd: b"/".to_vec(),
            env: Vec::new(),
            umask: 0,
            streams: StandardStreams::default(),
            outputs: Vec::new(),
            extensions: Vec::new(),
        };
        assert_eq!(refused(&request), is_refused, "{steps:?}");
    };
    check(vec![good.clone(); limits::STEPS], false);
    check(vec![good.clone(); limits::STEPS + 1], true);
    check(Vec::new(), true);
    check(vec![good.clone(), step("as", &["as"])], true);
    check(vec![good.clone(), step("/bin/as", &[])], true);
    check(vec![good, step("/bin/as", &["a\0"])], true);
}

#[test]
fn a_request_says_which_blobs_are_on_their_way() {
    let request = |extensions| RunRequest {
        lease: 1,
        view: ViewId([3; 16]),
        epoch: 1,
        position: 0,
        entries: Vec::new(),
        steps: Vec::new(),
        cwd: b"/".to_vec(),
        env: Vec::new(),
        umask: 0,
        streams: StandardStreams::default(),
        outputs: Vec::new(),
        extensions,
    };
    let digests = |count| -> Vec<_> {
        (0..count)
            .map(|n: usize| BlobDigest::of(&n.to_le_bytes()))
            .collect()
    };
    assert_eq!(request(vec![(9, vec![])]).on_their_way(), Ok(None));
    for (count, is_told) in [(0, true), (2, true), (256, true), (257, false)] {
        let mut request = request(vec![(9, vec![1])]);
        request.tell_on_their_way(&digests(count));
        assert_eq!(request.on_their_way(), Ok(is_told.then(|| digests(count))));
    }
    let written = request(vec![(1, [[7; 32], [8; 32]].concat())]);
    let expected = [[7; 32], [8; 32]].map(BlobDigest::from_bytes).to_vec();
    assert_eq!(written.on_their_way(), Ok(Some(expected)));
    for length in [1, 33, 257 * 32] {
        assert!(
            request(vec![(1, vec![0; length])]).on_their_way().is_err(),
            "{length}"
        );
    }
}

fn refused<M: Message>(message: &M) -> bool {
    matches!(
        M::from_payload(&crate::codec::encode(message)),
        Err(crate::codec::DecodeError::Invalid { .. })
    )
}
