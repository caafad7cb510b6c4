//! What the scheduler believes of a peer's message, beyond its encoding. Pure.
//!
//! A message that breaks a rule here ends its connection; nothing of it reaches the ledger.

use quicc_protocol::codec;
use quicc_protocol::limits;
use quicc_protocol::message::lease::{BuilderStatus, FarmStatus, LeaseDemand};
use quicc_protocol::message::offer::BuilderOffer;

/// Bytes of `host:port`: the longest DNS name (RFC 1035 §2.3.4), a colon, five digits.
const ENDPOINT_LENGTH: usize = 253 + 1 + 5;
/// Bytes of an ELF machine's name; `loongarch64` is the longest of today.
const MACHINE_LENGTH: usize = 32;
/// Bytes of a software's name and version.
const SOFTWARE_LENGTH: usize = 255;
/// Builders an agent may avoid at once.
const AVOIDED: usize = 256;
/// Bytes of a status besides its builders, with room for the numbers' growth.
const STATUS_FRAME: usize = 64;

/// The rule an offer breaks.
pub(super) fn broken_by_offer(offer: &BuilderOffer) -> Option<&'static str> {
    if !is_endpoint(&offer.endpoint) {
        Some("an offer's endpoint is host:port")
    } else if !is_word(&offer.machine, MACHINE_LENGTH) {
        Some("an offer names its ELF machine")
    } else if offer.software.len() > SOFTWARE_LENGTH || offer.software.chars().any(char::is_control) {
        Some("an offer's software is one short line")
    } else {
        None
    }
}

/// The rule a demand breaks.
pub(super) fn broken_by_demand(demand: &LeaseDemand) -> Option<&'static str> {
    if !is_word(&demand.machine, MACHINE_LENGTH) && (demand.slots > 0 || demand.ahead > 0) {
        Some("a demand names the ELF machine it is for")
    } else if demand.avoid.len() > AVOIDED {
        Some("a demand avoids too many builders")
    } else {
        None
    }
}

/// The state of the farm as far as it fits one message: the first builders by name.
pub(super) fn status(builders: Vec<BuilderStatus>, agents: usize) -> FarmStatus {
    let mut room = limits::CONTROL_PAYLOAD - STATUS_FRAME;
    let fits = |builder: &BuilderStatus| {
        let length = codec::encode(builder).len();
        let fits = length <= room;
        room = room.saturating_sub(length);
        fits
    };
    FarmStatus {
        builders: builders.into_iter().take_while(fits).collect(),
        agents: u32::try_from(agents).unwrap_or(u32::MAX),
        extensions: Vec::new(),
    }
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    is_word(text, ENDPOINT_LENGTH) && !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_word(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quicc_protocol::message::Message;

    fn offer(endpoint: &str, machine: &str, software: &str) -> BuilderOffer {
        BuilderOffer {
            endpoint: endpoint.to_owned(),
            slots: 4,
            busy: 0,
            machine: machine.to_owned(),
            load_permille: 0,
            memory_available: 0,
            software: software.to_owned(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn offers_say_where_and_what() {
        let check = |endpoint: &str, machine: &str, software: &str, believed: bool| {
            let offer = offer(endpoint, machine, software);
            assert_eq!(broken_by_offer(&offer).is_none(), believed, "{offer:?}");
        };
        check("b1.example:10501", "x86_64", "quicc 0.1.0", true);
        check("[2001:db8::1]:10501", "aarch64", "", true);
        check("b1.example", "x86_64", "", false);
        check("b1.example:0", "x86_64", "", false);
        check("b1.example:99999", "x86_64", "", false);
        check(":10501", "x86_64", "", false);
        check("b 1:10501", "x86_64", "", false);
        check(&format!("{}:1", "x".repeat(300)), "x86_64", "", false);
        check("b1:1", "", "", false);
        check("b1:1", "x86\n64", "", false);
        check("b1:1", "x86_64", "quicc\u{1b}[2J", false);
        check("b1:1", "x86_64", &"x".repeat(256), false);
    }

    #[test]
    fn demands_are_for_a_machine_and_of_sensible_size() {
        let check = |slots: u32, machine: &str, avoided: usize, believed: bool| {
            let demand = LeaseDemand {
                slots,
                ahead: 0,
                machine: machine.to_owned(),
                avoid: vec!["b".to_owned(); avoided],
                extensions: Vec::new(),
            };
            assert_eq!(broken_by_demand(&demand).is_none(), believed, "{demand:?}");
        };
        check(4, "x86_64", AVOIDED, true);
        check(0, "", 0, true);
        check(4, "", 0, false);
        check(4, "x86_64", AVOIDED + 1, false);
    }

    #[test]
    fn a_status_of_any_farm_fits_one_message() {
        let builder = |number: u32| BuilderStatus {
            name: format!("{number:0>63}"),
            endpoint: "e".repeat(ENDPOINT_LENGTH),
            slots: u32::MAX,
            leased: u32::MAX,
            busy: u32::MAX,
            machine: "m".repeat(MACHINE_LENGTH),
            software: "s".repeat(SOFTWARE_LENGTH),
        };
        for count in [0, 3, 5000] {
            let status = status((0..count).map(builder).collect(), usize::MAX);
            assert!(FarmStatus::from_payload(&codec::encode(&status)).is_ok());
            assert!(status.builders.len() == count as usize || status.builders.len() > 90);
        }
    }
}
