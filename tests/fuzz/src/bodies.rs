//! Bodies: what `pack` makes arrives; bytes that are not what their description says never do, and a body never
//! decodes to more than it announced.

use quicc::transport::frame::{FrameError, pack, receive_body};
use quicc_protocol::BlobDigest;
use quicc_protocol::message::blob::{Body, Encoding};

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
