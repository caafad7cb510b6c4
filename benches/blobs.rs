//! What bytes cost: their digest, their place in the store, their packing for the wire.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends when its ground is missing"
)]

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use quicc::host::process;
use quicc::store::Cas;
use quicc::transport::frame;
use quicc_protocol::BlobDigest;

const MEGABYTE: usize = 1 << 20;
/// A project's headers: their number and usual size.
const BLOBS: usize = 1000;
const BLOB_SIZE: usize = 10_000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .sample_size(20)
        .configure_from_args();
    digests(&mut criterion);
    packing(&mut criterion);
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
