//! Texts read a moment ago: whoever scanned a file soon has it sent, or looked through for more. A text is known by its
//! digest, whatever became of its file. Never reads one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;

use super::ContentDigest;

/// Bytes kept, of those that came last, with what it takes to keep them.
const RECENT_BYTES: usize = 4 << 20;
/// What a text takes beside its bytes.
const OVERHEAD: usize = 256;
/// Bytes of one text; to read a longer one again is the least that is done with it.
const RECENT_TEXT: usize = 128 << 10;

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    texts: HashMap<ContentDigest, Arc<Vec<u8>>>,
    /// In the order they came.
    order: VecDeque<ContentDigest>,
    bytes: usize,
}

impl Recent {
    /// Keeps a text of `digest`.
    pub(super) fn keep(&self, digest: &ContentDigest, text: Vec<u8>) {
        if text.len() > RECENT_TEXT {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.texts.contains_key(digest) {
            return;
        }
        state.bytes += OVERHEAD + text.len();
        state.order.push_back(*digest);
        state.texts.insert(*digest, Arc::new(text));
        while state.bytes > RECENT_BYTES
            && let Some(oldest) = state.order.pop_front()
        {
            let gone = state.texts.remove(&oldest);
            state.bytes -= gone.map_or(0, |text| OVERHEAD + text.len());
        }
    }

    /// The text of `digest`.
    pub(super) fn get(&self, digest: &ContentDigest) -> Option<Arc<Vec<u8>>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.texts.get(digest).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_texts_are_kept_up_to_a_bound() {
        let recent = Recent::default();
        let digest = |number: usize| *blake3::hash(&number.to_le_bytes()).as_bytes();
        recent.keep(&digest(0), vec![0; RECENT_TEXT + 1]);
        assert_eq!(recent.get(&digest(0)), None, "too long");
        let last = RECENT_BYTES / (OVERHEAD + RECENT_TEXT);
        for number in (0..=last).chain([last]) {
            recent.keep(&digest(number), vec![number as u8; RECENT_TEXT]);
        }
        assert_eq!(recent.get(&digest(0)), None);
        for number in 1..=last {
            let text = recent.get(&digest(number));
            assert_eq!(text.map(|text| text[0]), Some(number as u8));
        }
        let state = recent.0.lock().unwrap();
        assert_eq!(
            (state.bytes, state.order.len()),
            (last * (OVERHEAD + RECENT_TEXT), last)
        );
    }
}
