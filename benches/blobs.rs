//! What bytes cost: their digest, their place in the store, their packing for the wire.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use quicc::builder::mirror::{Lacking, Mirror, Needs};
use quicc::host::{clock, process};
use quicc::store::Cas;
use quicc::store::discard::Discarder;
use quicc::transport::frame;
use quicc::transport::solid::Packer;
use quicc_protocol::BlobDigest;
use quicc_protocol::identifiers::ROOT;
use quicc_protocol::message::table::{EntryKind, FileTime, TableRecord};

const MEGABYTE: usize = 1 << 20;
/// A project's headers: their number and usual size.
const BLOBS: usize = 1000;
const BLOB_SIZE: usize = 10_000;
const HEADERS_OF_A_UNIT: u32 = 600;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .sample_size(20)
        .configure_from_args();
    digests(&mut criterion);
    packing(&mut criterion);
    solid(Path::new("/usr/include/c++"));
    solid(Path::new("/usr/include/linux"));
    looking();
    storing(&mut criterion);
    criterion.final_summary();
}

fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("BLAKE3");
    for (name, size) in [("64 kB", 64 << 10), ("8 MB", 8 * MEGABYTE)] {
        let bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |bencher| bencher.iter(|| BlobDigest::of(black_box(&bytes))));
    }
    group.finish();
}

fn packing(criterion: &mut Criterion) {
    let object = object_of_gxx();
    let (body, _) = frame::pack(&object);
    println!(
        "an object of {} bytes is packed into {}",
        body.size, body.wire_size
    );
    let mut group = criterion.benchmark_group("frame::pack");
    group.throughput(Throughput::Bytes(object.len() as u64));
    group.bench_function("an object of 1 MB", |bencher| {
        bencher.iter(|| frame::pack(black_box(&object)).0);
    });
    group.finish();
}

/// A megabyte of what g++ writes with `-g` for a unit that includes `<regex>`.
fn object_of_gxx() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("a.cc"), "#include <regex>\nstd::regex expression(\"a\");\n").unwrap();
    let status = process::command(Path::new("/usr/bin/g++"), directory.path())
        .args(["-g", "-c", "a.cc", "-o", "a.o"])
        .env("PATH", "/usr/bin:/bin")
        .status()
        .unwrap_or_else(|error| panic!("cannot run /usr/bin/g++: {error}; apt-get install g++"));
    assert!(status.success(), "g++ {status}");
    let mut object = std::fs::read(at("a.o")).unwrap();
    assert!(object.len() >= MEGABYTE, "g++ writes {} bytes", object.len());
    object.truncate(MEGABYTE);
    object
}

/// What a directory's headers become on the wire, one by one and as batches of blobs, and what that takes.
fn solid(directory: &Path) {
    let mut files = Vec::new();
    collect(directory, &mut files);
    files.sort();
    let contents: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let total: usize = contents.iter().map(Vec::len).sum();
    let megabytes = total as f64 / 1e6;
    println!(
        "{}: {} files, {megabytes:.1} MB",
        directory.display(),
        files.len()
    );
    let row = |how: &str, level: i32, wire: u64, spent: Duration| {
        let spent = spent.as_secs_f64() * 1e3 / megabytes;
        let share = wire as f64 / total as f64;
        println!(
            "  {how} at level {level:>2}: {wire:>8} bytes, {share:.3} of them, {spent:>5.1} ms of CPU a MB"
        );
    };
    for level in [1, 3] {
        let begun = clock::of_this_thread();
        let wire = contents
            .iter()
            .map(|bytes| frame::pack_at(level, bytes).0.wire_size);
        let wire = wire.sum();
        row("one by one", level, wire, clock::of_this_thread() - begun);
    }
    let blobs: Vec<_> = contents
        .iter()
        .map(|bytes| (BlobDigest::of(bytes), bytes))
        .collect();
    for level in [-1, 1, 3, 6, 9] {
        let begun = clock::of_this_thread();
        let wire = batches(&blobs).map(|batch| {
            let size = batch.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            let mut packer = Packer::new(size, level).unwrap();
            for (digest, bytes) in batch {
                packer.add(*digest, bytes).unwrap();
            }
            packer.finish().unwrap().0.wire_size
        });
        let wire = wire.sum();
        row("in batches", level, wire, clock::of_this_thread() - begun);
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&path, files),
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}

/// Parts of `blobs` of four megabytes each, as an agent sends them.
fn batches<'a, 'b>(
    mut blobs: &'a [(BlobDigest, &'b Vec<u8>)],
) -> impl Iterator<Item = &'a [(BlobDigest, &'b Vec<u8>)]> {
    std::iter::from_fn(move || {
        let mut room = 4 * MEGABYTE;
        let fitting = blobs.iter().take_while(|(_, bytes)| {
            let fits = bytes.len() <= room;
            room = room.saturating_sub(bytes.len());
            fits
        });
        let (batch, rest) = blobs.split_at(fitting.count().max(1).min(blobs.len()));
        blobs = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// How many entries an action looks at that waits for its blobs and looks again when one came that was missing.
fn looking() {
    let directory = tempfile::tempdir().unwrap();
    let cas = Cas::open(directory.path(), 1 << 30).unwrap();
    let place = Discarder::start().unwrap();
    let place = place.create(directory.path().join("mirror")).unwrap();
    let mirror = Mirror::create(place, cas.clone(), 1 << 30).unwrap();
    let ids: Vec<u32> = (1..=HEADERS_OF_A_UNIT).collect();
    let bytes = |id: u32| id.to_le_bytes();
    let records: Vec<_> = ids
        .iter()
        .map(|id| TableRecord::Define {
            id: *id,
            parent: ROOT,
            name: id.to_string().into_bytes(),
            kind: EntryKind::File {
                content: BlobDigest::of(&bytes(*id)),
                size: 4,
                executable: false,
                modified: FileTime {
                    seconds: 0,
                    nanoseconds: 0,
                },
                same_inode_as: None,
            },
        })
        .collect();
    mirror.apply(0, &records).unwrap();
    let mut lacking = Lacking::new(ids.as_slice().into());
    let (mut looks, mut awaited) = (0, BlobDigest::of(&bytes(1)));
    for id in ids {
        let digest = BlobDigest::of(&bytes(id));
        let mut writer = cas.insert_writer(digest, 4).unwrap();
        writer.write_all(&bytes(id)).unwrap();
        writer.commit().unwrap();
        mirror.materialise(&digest);
        if digest == awaited {
            looks += 1;
            if let Needs::Blobs(blobs) = mirror.needs_still(&mut lacking) {
                awaited = *blobs.last_key_value().unwrap().0;
            }
        }
    }
    println!(
        "an action of {HEADERS_OF_A_UNIT} files that come one by one takes {looks} looks at {} entries, {} if it looked at all whenever one comes",
        lacking.checks(),
        HEADERS_OF_A_UNIT * HEADERS_OF_A_UNIT
    );
}

fn storing(criterion: &mut Criterion) {
    let blobs: Vec<_> = (0..BLOBS)
        .map(|number| {
            let bytes = number.to_le_bytes().repeat(BLOB_SIZE / size_of::<usize>());
            (BlobDigest::of(&bytes), bytes)
        })
        .collect();
    let total: usize = blobs.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut group = criterion.benchmark_group("store::Cas");
    group.sample_size(10).throughput(Throughput::Bytes(total as u64));
    group.bench_function("1000 blobs of 10 kB", |bencher| {
        bencher.iter_batched(
            || {
                let directory = tempfile::tempdir().unwrap();
                let cas = Cas::open(directory.path(), 1 << 30).unwrap();
                (directory, cas)
            },
            |(directory, cas)| {
                for (digest, bytes) in &blobs {
                    let mut writer = cas.insert_writer(*digest, bytes.len() as u64).unwrap();
                    writer.write_all(bytes).unwrap();
                    writer.commit().unwrap();
                }
                // Removing the files is not part of it.
                (directory, cas)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
