//! What the messages of a warm compile cost: bytes on the wire, printed, and time to write and to read them.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use quicc_protocol::BlobDigest;
use quicc_protocol::envelope::Header;
use quicc_protocol::identifiers::{EntryId, ROOT, ViewId, decode_ascending, encode_ascending};
use quicc_protocol::limits;
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{Body, Encoding};
use quicc_protocol::message::run::{
    After, Before, DeclaredOutput, Exit, Outcome, RunRequest, StandardStreams, Step, Usage,
};
use quicc_protocol::message::table::{EntryKind, FileTime, TableRecord, TableRecords};

/// Files and directories a C++ unit with a few standard headers names.
const ENTRIES: usize = 600;
/// Files a first unit of a project tells a builder of.
const FILES: u32 = 800;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .sample_size(50)
        .configure_from_args();
    measure(&mut criterion, "RunRequest of 600 entries", &run_request());
    measure(&mut criterion, "TableRecords of 800 files", &table_records());
    measure(&mut criterion, "Outcome", &outcome());
    measure_entry_ids(&mut criterion);
    criterion.final_summary();
}

fn measure<M: Message>(criterion: &mut Criterion, name: &str, message: &M) {
    let frame = message.to_frame();
    let (_, start) = Header::take(&frame).unwrap().unwrap();
    let payload = &frame[start..];
    println!("{name}: {} bytes", frame.len());
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(message).to_frame());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| M::from_payload(black_box(payload)).unwrap());
    });
    group.finish();
}

fn measure_entry_ids(criterion: &mut Criterion) {
    let ids = entry_ids();
    let bytes = encode_ascending(&ids);
    println!("600 entry ids: {} bytes", bytes.len());
    let mut group = criterion.benchmark_group("600 entry ids");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode_ascending(black_box(&ids)));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_ascending(black_box(&bytes), limits::TABLE_ENTRIES as usize).unwrap());
    });
    group.finish();
}

/// A unit shares most of what it names with the units before it: runs of ids with gaps between them.
fn entry_ids() -> Vec<EntryId> {
    (0..ENTRIES as EntryId)
        .map(|index| 1 + index + index / 12 * 7)
        .collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// As CMake calls a compiler.
fn run_request() -> RunRequest {
    let argv = "c++ -DNDEBUG -I/home/user/project/include -I/home/user/project/build/generated -isystem \
                /opt/dependency/include -O2 -g -std=gnu++20 -fPIC -Wall -Wextra -MD -MT \
                src/CMakeFiles/project.dir/unit.cpp.o -MF src/CMakeFiles/project.dir/unit.cpp.o.d -o \
                src/CMakeFiles/project.dir/unit.cpp.o -c /home/user/project/src/unit.cpp";
    let output = |name: &str| DeclaredOutput {
        directory: 700,
        name: bytes(name),
        before: Before::Writable,
    };
    RunRequest {
        lease: 300,
        view: ViewId([3; 16]),
        epoch: 2,
        position: 5000,
        entries: encode_ascending(&entry_ids()),
        steps: vec![Step {
            program: bytes("/usr/bin/c++"),
            argv: argv.split_whitespace().map(bytes).collect(),
        }],
        cwd: bytes("/home/user/project/build"),
        env: [("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]
            .map(|(name, value)| (bytes(name), bytes(value)))
            .to_vec(),
        umask: 0o22,
        streams: StandardStreams::default(),
        outputs: vec![output("unit.cpp.o"), output("unit.cpp.o.d")],
        extensions: Vec::new(),
    }
}

fn table_records() -> TableRecords {
    let modified = FileTime {
        seconds: 1_750_000_000,
        nanoseconds: 123_456_789,
    };
    let record = |index: u32| TableRecord::Define {
        id: index + 1,
        parent: if index == 0 { ROOT } else { 1 },
        name: bytes(&format!("header_{index:04}.h")),
        kind: if index == 0 {
            EntryKind::Directory { modified }
        } else {
            EntryKind::File {
                content: BlobDigest::of(&index.to_le_bytes()),
                size: u64::from(index) * 37,
                executable: false,
                modified,
                same_inode_as: None,
            }
        },
    };
    TableRecords {
        records: (0..=FILES).map(record).collect(),
    }
}

/// An object and a dep file, and nothing printed.
fn outcome() -> Outcome {
    let body = |size: u64| Body {
        digest: BlobDigest::of(&size.to_le_bytes()),
        size,
        wire_size: size / 3,
        encoding: Encoding::Zstd,
    };
    let nothing = Body {
        wire_size: 0,
        encoding: Encoding::Plain,
        ..body(0)
    };
    Outcome {
        exit: Exit::Code(0),
        outputs: vec![After::Written { executable: false }; 2],
        bodies: vec![nothing, nothing, body(300_000), body(40_000)],
        unexpected: Vec::new(),
        mirror_changed: false,
        usage: Usage {
            wall: 800_000,
            cpu: 780_000,
            memory: 200 << 20,
        },
        extensions: Vec::new(),
    }
}
