use super::*;

/// Text as headers are: much of it in all of them.
fn header(number: u32) -> Vec<u8> {
    let licence =
        "/* You may copy this file under the terms of a licence that takes thirty lines to say so. */\n";
    let own = (0..60).map(|line| {
        format!(
            "int function_{}(struct s{line} *);\n",
            line * 7919 + number * 104_729
        )
    });
    [licence.repeat(3), own.collect()].concat().into_bytes()
}

/// Bytes no compressor makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn pack(blobs: &[Vec<u8>]) -> (BlobBatch, Vec<u8>) {
    let size = blobs.iter().map(|blob| blob.len() as u64).sum();
    let mut packer = Packer::new(size, 1).unwrap();
    for blob in blobs {
        packer.add(BlobDigest::of(blob), blob).unwrap();
    }
    packer.finish().unwrap()
}

/// What arrives, blob by blob, until the first error.
async fn unpack(batch: &BlobBatch, mut wire: &[u8]) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut blobs = Vec::new();
    let all = async {
        let mut unpacker = Unpacker::new(&mut wire, batch)?;
        for blob in &batch.blobs {
            let mut sink = Vec::new();
            let next = unpacker.next(blob, &mut sink).await;
            blobs.push(sink);
            next?;
        }
        unpacker.finish(batch.blobs.last().unwrap()).await
    };
    let end = all.await;
    (blobs, end)
}

fn is_corrupt(result: &Result<(), FrameError>) -> bool {
    matches!(result, Err(FrameError::Corrupt { .. }))
}

#[tokio::test]
async fn what_is_packed_arrives_blob_by_blob() {
    let empty = Vec::new();
    for blobs in [
        vec![empty.clone()],
        vec![
            empty.clone(),
            b"short".to_vec(),
            empty.clone(),
            b"short".to_vec(),
            empty,
        ],
        (0..500).map(header).collect(),
        vec![header(1), noise(3 * CHUNK + 1), vec![0; 2 << 20], header(2)],
        vec![noise(9 << 20)],
    ] {
        let (batch, wire) = pack(&blobs);
        assert_eq!(quicc_protocol::message::Message::broken_rule(&batch), None);
        assert_eq!(batch.wire_size, wire.len() as u64);
        let (arrived, end) = unpack(&batch, &wire).await;
        assert!(end.is_ok() && arrived == blobs, "{end:?}");
    }
}

#[test]
fn what_headers_have_in_common_travels_once_and_noise_costs_little() {
    let blobs: Vec<_> = (0..300).map(header).collect();
    let alone: u64 = blobs
        .iter()
        .map(|blob| pack(std::slice::from_ref(blob)).0.wire_size)
        .sum();
    let solid = pack(&blobs).0.wire_size;
    assert!(solid * 3 < alone * 2, "{solid} bytes, {alone} one by one");
    let (batch, _) = pack(&[noise(5 << 20)]);
    assert!(batch.wire_size < (5 << 20) + 1024, "{}", batch.wire_size);
}

#[tokio::test]
async fn a_blob_passed_over_leaves_the_next_one_whole() {
    let blobs = [header(1), noise(CHUNK + 1), header(2)];
    let (mut batch, wire) = pack(&blobs);
    // Nobody looks at the digest of what nobody wants.
    batch.blobs[1].digest = BlobDigest::of(b"other");
    let (mut wire, passed) = (&wire[..], std::cell::Cell::new(0));
    let mut unpacker = Unpacker::new(&mut wire, &batch).unwrap();
    unpacker.next(&batch.blobs[0], &mut io::sink()).await.unwrap();
    let count = |length| passed.set(passed.get() + length);
    unpacker.skip(&batch.blobs[1], count).await.unwrap();
    let mut last = Vec::new();
    unpacker.next(&batch.blobs[2], &mut last).await.unwrap();
    unpacker.finish(&batch.blobs[2]).await.unwrap();
    assert_eq!((last, passed.get()), (header(2), CHUNK + 1));
}

#[tokio::test]
async fn a_batch_that_lies_is_corrupt_and_gives_no_more_than_it_announced() {
    let blobs = [header(1), vec![0; 1 << 20], header(2)];
    let (batch, wire) = pack(&blobs);
    let check = async |change: &dyn Fn(&mut Vec<Blob>), whole: usize| {
        let mut lie = batch.clone();
        change(&mut lie.blobs);
        let (arrived, end) = unpack(&lie, &wire).await;
        assert!(is_corrupt(&end), "{end:?}");
        assert!(
            arrived
                .iter()
                .zip(&blobs)
                .take(whole)
                .all(|(one, other)| one == other)
        );
        for (bytes, blob) in arrived.iter().zip(&lie.blobs) {
            assert!(bytes.len() as u64 <= blob.size);
        }
    };
    check(&|blobs| blobs[1].digest = BlobDigest::of(b"other"), 1).await;
    check(&|blobs| blobs[1].size -= 1, 1).await;
    check(&|blobs| blobs[2].size -= 1, 2).await;
    check(&|blobs| blobs[2].size += 1, 2).await;
    check(&|blobs| blobs[0].size = 1 << 30, 0).await;
    check(&|blobs| blobs.truncate(2), 2).await;
    check(&|blobs| blobs.push(Blob { size: 1, ..blobs[0] }), 3).await;
    check(&|blobs| blobs.swap(0, 2), 0).await;
    // A bomb: what is announced is all that is decoded.
    let (mut bomb, wire) = pack(&[vec![0; 32 << 20]]);
    assert!(wire.len() < 10_000);
    bomb.blobs[0].size = 10;
    let (arrived, end) = unpack(&bomb, &wire).await;
    assert!(is_corrupt(&end) && arrived[0].len() <= 10);
}

#[tokio::test]
async fn a_frame_is_whole_and_alone_and_of_a_bounded_window() {
    let blobs = [header(1), noise(10_000)];
    let (batch, wire) = pack(&blobs);
    let check = async |wire: &[u8], announced: usize| {
        let batch = BlobBatch {
            wire_size: announced as u64,
            ..batch.clone()
        };
        unpack(&batch, wire).await.1
    };
    assert!(check(&wire, wire.len()).await.is_ok());
    for length in [0, 1, 5, wire.len() / 2, wire.len() - 1] {
        let cut = check(&wire[..length], wire.len()).await;
        assert!(matches!(cut, Err(FrameError::CutShort)), "{length}: {cut:?}");
        assert!(is_corrupt(&check(&wire, length).await), "{length}");
    }
    let twice = wire.repeat(2);
    assert!(is_corrupt(&check(&twice, twice.len()).await));
    let longer = [&wire[..], b"x"].concat();
    assert!(is_corrupt(&check(&longer, longer.len()).await));
    assert!(is_corrupt(&check(&noise(wire.len()), wire.len()).await));
    let windows = [
        (limits::ZSTD_WINDOW_LOG, true),
        (limits::ZSTD_WINDOW_LOG + 1, false),
    ];
    for (window, is_allowed) in windows {
        let mut encoder = Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(&blobs.concat()).unwrap();
        let wire = encoder.finish().unwrap();
        let end = check(&wire, wire.len()).await;
        assert!(
            end.is_ok() == is_allowed && is_corrupt(&end) != is_allowed,
            "{end:?}"
        );
    }
}

#[test]
fn blobs_of_another_size_than_was_said_are_not_packed() {
    let mut packer = Packer::new(3, 1).unwrap();
    let added = packer.add(BlobDigest::of(b"four"), b"four");
    assert!(added.is_err() || packer.finish().is_err());
}
