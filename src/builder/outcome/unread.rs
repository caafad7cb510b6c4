//! How many outcomes may be in memory that their client has not read yet: counted for each client, so that one that
//! does not read holds up its own actions and nobody else's; and for all of them, so that many clients that do not
//! read cannot fill the memory together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::builder::slots::ClientKey;

/// The clients with outcomes in memory. All connections of one client count together.
#[derive(Debug)]
pub(in crate::builder) struct Unread {
    most: usize,
    all: Arc<Semaphore>,
    /// Without the clients that have none: a permit keeps what it is from.
    clients: Mutex<BTreeMap<ClientKey, Weak<Semaphore>>>,
}

/// The right to hold one outcome in memory.
#[derive(Debug)]
pub(in crate::builder) struct MayHold {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Unread {
    /// At most `most` for each client, and `of_all` together.
    pub(in crate::builder) fn new(most: usize, of_all: usize) -> Self {
        Self {
            most,
            all: Arc::new(Semaphore::new(of_all)),
            clients: Mutex::default(),
        }
    }

    /// Waits until `client` has read enough, and then until all have.
    pub(in crate::builder) async fn admit(&self, client: ClientKey) -> MayHold {
        // No semaphore here is ever closed. A client's own turn comes first: its waiting takes nothing from others.
        let own = self.semaphore(client).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        MayHold {
            _permits: [own, of_all],
        }
    }

    fn semaphore(&self, client: ClientKey) -> Arc<Semaphore> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = clients.get(&client).and_then(Weak::upgrade) {
            return semaphore;
        }
        clients.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.most));
        clients.insert(client, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    const ALICE: ClientKey = [1; 32];
    const BOB: ClientKey = [2; 32];

    /// Whether the client may hold one more right now.
    async fn admitted(unread: &Unread, client: ClientKey) -> Option<MayHold> {
        let mut admission = Box::pin(unread.admit(client));
        std::future::poll_fn(|context| {
            Poll::Ready(match admission.as_mut().poll(context) {
                Poll::Ready(held) => Some(held),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn who_does_not_read_holds_up_nobody_else() {
        let unread = Unread::new(2, 9);
        let first = admitted(&unread, ALICE).await;
        let second = admitted(&unread, ALICE).await;
        assert!(first.is_some() && second.is_some());
        assert!(admitted(&unread, ALICE).await.is_none());
        assert!(admitted(&unread, BOB).await.is_some());
        drop(first);
        assert!(admitted(&unread, ALICE).await.is_some());
    }

    #[tokio::test]
    async fn all_clients_together_are_bounded() {
        let unread = Unread::new(2, 3);
        let mut held = Vec::new();
        for client in [ALICE, ALICE, BOB] {
            held.push(admitted(&unread, client).await.unwrap());
        }
        assert!(admitted(&unread, BOB).await.is_none());
        held.pop();
        assert!(admitted(&unread, BOB).await.is_some());
    }

    #[tokio::test]
    async fn clients_without_outcomes_are_forgotten() {
        let unread = Unread::new(1, 9);
        let held = unread.admit(ALICE).await;
        for number in 10..50 {
            drop(unread.admit([number; 32]).await);
        }
        assert_eq!(unread.clients.lock().unwrap().len(), 2, "one held, one just gone");
        assert!(admitted(&unread, ALICE).await.is_none());
        drop(held);
    }
}
