//! Every way a ticket can be wrong, one at a time, beside the one way it is right.

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_900_000_000;
const SPKI: [u8; 32] = [0xa5; 32];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn claims() -> TicketClaims {
    TicketClaims {
        iss: name("farm"),
        aud: name("b17"),
        sub: name("alice"),
        lease: u64::MAX,
        slots: 8,
        nbf: NOW,
        exp: NOW + 600,
        cnf: SPKI,
    }
}

fn verifier(signer: &TicketSigner) -> TicketVerifier {
    TicketVerifier::new(&signer.public_key()).unwrap()
}

fn verify(verifier: &TicketVerifier, token: &str) -> Result<TicketClaims, TicketError> {
    verifier.verify(token, &name("b17"), &name("farm"), NOW + 1, &SPKI)
}

/// Verifies a ticket saying `claims`, signed as it should be.
fn verify_claims(claims: &impl Serialize) -> Result<TicketClaims, TicketError> {
    let signer = TicketSigner::generate().unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &signer.key).unwrap();
    verify(&verifier(&signer), &token)
}

macro_rules! refused {
    ($result:expr, $pattern:pat) => {
        let result = $result;
        assert!(matches!(result, Err($pattern)), "{result:?}");
    };
}

#[test]
fn a_ticket_says_what_was_signed() {
    assert_eq!(verify_claims(&claims()).unwrap(), claims());
}

#[test]
fn the_longest_ticket_is_read() {
    let longest = name(&"x".repeat(63));
    let claims = TicketClaims {
        iss: longest.clone(),
        aud: longest.clone(),
        sub: longest.clone(),
        slots: u32::MAX,
        nbf: 0,
        exp: u64::MAX,
        ..claims()
    };
    let signer = TicketSigner::generate().unwrap();
    let token = signer.sign(&claims).unwrap();
    assert!(token.len() < 700, "{}", token.len());
    let read = verifier(&signer)
        .verify(&token, &longest, &longest, NOW, &SPKI)
        .unwrap();
    assert_eq!(read, claims);
}

#[test]
fn another_builders_ticket_is_refused() {
    refused!(
        verify_claims(&TicketClaims {
            aud: name("b18"),
            ..claims()
        }),
        TicketError::Audience { .. }
    );
}

#[test]
fn another_clusters_ticket_is_refused() {
    refused!(
        verify_claims(&TicketClaims {
            iss: name("farm2"),
            ..claims()
        }),
        TicketError::Issuer { .. }
    );
}

#[test]
fn another_clients_ticket_is_refused() {
    let mut cnf = SPKI;
    cnf[31] ^= 1;
    refused!(
        verify_claims(&TicketClaims { cnf, ..claims() }),
        TicketError::Confirmation { .. }
    );
}

#[test]
fn another_schedulers_ticket_is_refused() {
    let (ours, theirs) = (
        TicketSigner::generate().unwrap(),
        TicketSigner::generate().unwrap(),
    );
    let token = theirs.sign(&claims()).unwrap();
    refused!(verify(&verifier(&ours), &token), TicketError::Signature);
}

#[test]
fn a_ticket_holds_from_nbf_to_exp_with_leeway() {
    let signer = TicketSigner::generate().unwrap();
    let verifier = verifier(&signer);
    let check = |nbf, exp, now| {
        let token = signer.sign(&TicketClaims { nbf, exp, ..claims() }).unwrap();
        verifier.verify(&token, &name("b17"), &name("farm"), now, &SPKI)
    };
    for (nbf, exp, now) in [
        (1000, 2000, 970),
        (1000, 2000, 1500),
        (1000, 2000, 2029),
        (0, u64::MAX, 5),
        (0, 1, 0),
    ] {
        assert!(check(nbf, exp, now).is_ok(), "{nbf}..{exp} at {now}");
    }
    for (nbf, exp, now) in [(1000, 2000, 2030), (1000, 2000, u64::MAX), (0, 0, 30)] {
        refused!(check(nbf, exp, now), TicketError::Expired { .. });
    }
    for (nbf, exp, now) in [(1000, 2000, 969), (1000, 2000, 0), (u64::MAX, u64::MAX, 5)] {
        refused!(check(nbf, exp, now), TicketError::NotYetValid { .. });
    }
}

#[test]
fn an_unsigned_ticket_is_refused() {
    let signer = TicketSigner::generate().unwrap();
    let token = signer.sign(&claims()).unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let verifier = verifier(&signer);
    // {"alg":"none"}, without and with a signature.
    refused!(
        verify(&verifier, &format!("eyJhbGciOiJub25lIn0.{payload}.")),
        TicketError::Malformed { .. }
    );
    let signature = token.split('.').nth(2).unwrap();
    let signed = format!("eyJhbGciOiJub25lIn0.{payload}.{signature}");
    refused!(verify(&verifier, &signed), TicketError::Malformed { .. });
    let header = token.split('.').next().unwrap();
    refused!(
        verify(&verifier, &format!("{header}.{payload}.")),
        TicketError::Signature
    );
}

#[test]
fn a_ticket_signed_with_the_public_key_as_secret_is_refused() {
    let signer = TicketSigner::generate().unwrap();
    let secret = EncodingKey::from_secret(&signer.public_key());
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims(), &secret).unwrap();
        refused!(verify(&verifier(&signer), &token), TicketError::Algorithm);
    }
}

#[test]
fn a_ticket_changed_in_any_place_is_refused() {
    let signer = TicketSigner::generate().unwrap();
    let verifier = verifier(&signer);
    let token = signer.sign(&claims()).unwrap();
    assert!(verify(&verifier, &token).is_ok());
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&verifier, &changed).is_err(), "byte {place}");
    }
    for length in 0..token.len() {
        assert!(verify(&verifier, &token[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn a_ticket_too_long_is_not_read() {
    let signer = TicketSigner::generate().unwrap();
    let long = "x".repeat(TICKET_LENGTH_MAX + 1);
    refused!(verify(&verifier(&signer), &long), TicketError::Length { .. });
    refused!(
        verify(&verifier(&signer), &long[1..]),
        TicketError::Malformed { .. }
    );
}

#[test]
fn no_claim_may_be_absent() {
    #[derive(Serialize)]
    struct Absent {
        #[serde(flatten)]
        claims: std::collections::BTreeMap<&'static str, Claim>,
    }
    #[derive(Clone, Serialize)]
    #[serde(untagged)]
    enum Claim {
        Number(u64),
        Text(String),
    }
    let all: std::collections::BTreeMap<_, _> = [
        ("iss", Claim::Text("farm".to_owned())),
        ("aud", Claim::Text("b17".to_owned())),
        ("sub", Claim::Text("alice".to_owned())),
        ("lease", Claim::Number(1)),
        ("slots", Claim::Number(8)),
        ("nbf", Claim::Number(NOW)),
        ("exp", Claim::Number(NOW + 600)),
        ("cnf", Claim::Text("a5".repeat(32))),
    ]
    .into();
    assert!(verify_claims(&Absent { claims: all.clone() }).is_ok());
    for absent in all.keys() {
        let mut claims = all.clone();
        claims.remove(absent);
        refused!(verify_claims(&Absent { claims }), TicketError::Malformed { .. });
    }
    for (claim, wrong) in [
        ("exp", Claim::Text((NOW + 600).to_string())),
        ("nbf", Claim::Text("now".to_owned())),
        ("slots", Claim::Number(1 << 32)),
        ("sub", Claim::Text("Alice".to_owned())),
        ("cnf", Claim::Text("a5".repeat(31))),
        ("cnf", Claim::Text("A5".repeat(32))),
        ("cnf", Claim::Text("ä".repeat(32))),
    ] {
        let mut claims = all.clone();
        claims.insert(claim, wrong);
        refused!(verify_claims(&Absent { claims }), TicketError::Malformed { .. });
    }
}

#[test]
fn bytes_off_the_curve_are_no_public_key() {
    let good = TicketSigner::generate().unwrap().public_key();
    assert_eq!((good.len(), good[0]), (65, 4));
    let mut off_curve = good.clone();
    off_curve[64] ^= 1;
    for bytes in [
        &[][..],
        &[4],
        &good[..64],
        &off_curve,
        &[&good[..], &[0]].concat(),
        &[4; 65],
    ] {
        refused!(TicketVerifier::new(bytes), TicketError::PublicKey);
    }
}

#[test]
fn debug_shows_no_private_key() {
    let signer = TicketSigner::generate().unwrap();
    let key = r#"EncodingKey { family: Ec, content: "[redacted]" }"#;
    let expected = format!(
        "TicketSigner {{ key: {key}, public_key: {:?} }}",
        signer.public_key()
    );
    assert_eq!(format!("{signer:?}"), expected);
}

proptest! {
    #[test]
    fn arbitrary_text_is_no_ticket(text in any::<String>(), parts in "([A-Za-z0-9_-]{0,40}\\.){2}[\\w-]{0,40}") {
        let verifier = verifier(&TicketSigner::generate().unwrap());
        prop_assert!(verify(&verifier, &text).is_err());
        prop_assert!(verify(&verifier, &parts).is_err());
    }

    #[test]
    fn arbitrary_bytes_make_no_verifier_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(TicketVerifier::new(&bytes).is_err());
    }
}
