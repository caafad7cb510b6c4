//! The first bytes of a connection: read or refused, never more than their bound, and understood alike by both
//! sides.

use quicc_protocol::limits;
use quicc_protocol::version::{Hello, HelloError, PREFIX};

/// Reads `bytes` as a whole hello and as its body.
pub fn check(bytes: &[u8]) {
    if let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>()
        && let Ok(length) = Hello::body_length(*prefix)
    {
        assert!(length <= limits::HELLO);
        check_body(&rest[..length.min(rest.len())]);
    }
    check_body(bytes);
}

fn check_body(body: &[u8]) {
    let Ok(hello) = Hello::decode_body(body) else {
        return;
    };
    if body.len() > limits::HELLO {
        return;
    }
    let again = read(&hello.encode());
    assert_eq!(
        (again.minor_min, again.minor_max, again.role),
        (hello.minor_min, hello.minor_max, hello.role)
    );
    assert!(
        hello.capabilities.starts_with(&again.capabilities),
        "some capabilities travel"
    );
    assert!(
        hello.software.starts_with(&again.software),
        "some of the software travels"
    );
    assert_eq!(read(&again.encode()), again, "what travelled once travels whole");
    check_agreement(&hello);
}

fn read(bytes: &[u8]) -> Hello {
    let (prefix, body) = bytes.split_first_chunk().expect("a hello has a prefix");
    assert_eq!(Hello::body_length(*prefix), Ok(body.len()));
    Hello::decode_body(body).expect("our own hello")
}

/// Both sides find the same version or none.
fn check_agreement(theirs: &Hello) {
    let ours = Hello::ours(3, "quicc");
    match (ours.agree(theirs), theirs.agree(&ours)) {
        (Ok(near), Ok(far)) => {
            assert_eq!(near, far);
            assert!(
                (theirs.minor_min..=theirs.minor_max).contains(&near),
                "{theirs:?}"
            );
            assert!((ours.minor_min..=ours.minor_max).contains(&near), "{theirs:?}");
        }
        (Err(HelloError::NoCommonVersion { .. }), Err(HelloError::NoCommonVersion { .. })) => {}
        (near, far) => panic!("one side agrees alone: {near:?}, {far:?}"),
    }
}
