//! Bodies, and blobs in batches: what was packed arrives; bytes that are not what their description says never do, and
//! none decode to more than was announced.

use quicc::transport::frame::{FrameError, pack, receive_body};
use quicc_protocol::BlobDigest;
use quicc::transport::solid::{Packer, Unpacker};
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{Blob, BlobBatch, Body, Encoding};

use crate::messages::ready;

/// Most bytes a hostile body may decode to here.
const ANNOUNCED: u64 = 1 << 16;

/// Sends `bytes` packed, and as if they were packed already.
pub fn check(bytes: &[u8]) {
    let (body, wire) = pack(bytes);
    assert_eq!(body.broken_rule(), None);
    let (received, result) = receive(&body, &wire);
    assert!(result.is_ok() && received == bytes, "{result:?}");
    if let Some((_, shorter)) = wire.split_last() {
        let (_, result) = receive(&body, shorter);
        assert!(matches!(result, Err(FrameError::CutShort)), "{result:?}");
    }
    arrives_as_described(bytes, Encoding::Plain);
    arrives_as_described(bytes, Encoding::Zstd);
    blobs_arrive(bytes);
    blobs_are_bounded(bytes);
}

/// Sends `bytes` as a batch of blobs, and all but the last byte of it.
fn blobs_arrive(bytes: &[u8]) {
    let blobs: Vec<_> = if bytes.is_empty() {
        vec![bytes]
    } else {
        bytes.chunks(1 + bytes.len() / 3).collect()
    };
    let mut packer = Packer::new(bytes.len() as u64, 1).unwrap();
    for blob in &blobs {
        packer.add(BlobDigest::of(blob), blob).unwrap();
    }
    let (batch, wire) = packer.finish().unwrap();
    assert_eq!(batch.broken_rule(), None);
    let (received, result) = unpack(&batch, &wire);
    assert!(result.is_ok() && received == blobs, "{result:?}");
    let (_, result) = unpack(&batch, &wire[..wire.len() - 1]);
    assert!(matches!(result, Err(FrameError::CutShort)), "{result:?}");
}

/// Takes `wire` for a batch that announces two blobs.
fn blobs_are_bounded(wire: &[u8]) {
    let blob = Blob {
        digest: BlobDigest::of(&[0]),
        size: 1,
    };
    let other = Blob {
        digest: BlobDigest::from_bytes([0; 32]),
        size: ANNOUNCED,
    };
    let batch = BlobBatch {
        blobs: vec![blob, other],
        wire_size: wire.len() as u64,
        extensions: Vec::new(),
    };
    let (received, result) = unpack(&batch, wire);
    assert!(result.is_err(), "no bytes have this digest");
    for (bytes, blob) in received.iter().zip(&batch.blobs) {
        assert!(bytes.len() as u64 <= blob.size, "{} bytes decoded", bytes.len());
    }
}

fn unpack(batch: &BlobBatch, mut wire: &[u8]) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut received = Vec::new();
    let result = ready(async {
        let mut unpacker = Unpacker::new(&mut wire, batch)?;
        for blob in &batch.blobs {
            let mut sink = Vec::new();
            let next = unpacker.next(blob, &mut sink).await;
            received.push(sink);
            next?;
        }
        unpacker.finish(&batch.blobs[batch.blobs.len() - 1]).await
    });
    (received, result)
}

/// Learns from a lying description what `wire` decodes to, then describes that honestly.
fn arrives_as_described(wire: &[u8], encoding: Encoding) {
    let lie = Body {
        digest: BlobDigest::from_bytes([0; 32]),
        size: ANNOUNCED,
        wire_size: wire.len() as u64,
        encoding,
    };
    let (decoded, result) = receive(&lie, wire);
    assert!(result.is_err(), "no bytes have this digest");
    assert!(
        decoded.len() as u64 <= ANNOUNCED,
        "{} bytes decoded",
        decoded.len()
    );
    let honest = Body {
        digest: BlobDigest::of(&decoded),
        size: decoded.len() as u64,
        ..lie
    };
    let (again, result) = receive(&honest, wire);
    if result.is_ok() {
        assert_eq!(again, decoded);
    }
    let longer = Body {
        size: honest.size + 1,
        ..honest
    };
    let other = Body {
        digest: lie.digest,
        ..honest
    };
    for lie in [longer, other] {
        assert!(receive(&lie, wire).1.is_err(), "{lie:?}");
    }
}

fn receive(body: &Body, mut wire: &[u8]) -> (Vec<u8>, Result<(), FrameError>) {
    let mut sink = Vec::new();
    let result = ready(receive_body(&mut wire, body, &mut sink));
    (sink, result)
}
