//! The thread that removes evicted blobs and abandoned files, so that nobody who serves a peer waits for it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use quicc_protocol::BlobDigest;

use super::shelf::{self, Shelf};

/// What is to be removed. Each names a file that stands: the disk bounds how many wait.
#[derive(Debug)]
enum Waste {
    Evicted(BlobDigest),
    Abandoned(PathBuf),
}

/// The thread. Dropping it waits until all is removed.
#[derive(Debug)]
pub(super) struct Remover {
    queue: Option<mpsc::Sender<Waste>>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// Starts the thread.
    pub(super) fn start(shelf: Arc<Shelf>) -> io::Result<Self> {
        let (queue, waste) = mpsc::channel();
        let remove_all = move || {
            for waste in waste {
                match waste {
                    Waste::Evicted(digest) => shelf.remove_evicted(&digest),
                    Waste::Abandoned(path) => shelf::remove(&path),
                }
            }
        };
        let thread = thread::Builder::new()
            .name("cas-remover".to_owned())
            .spawn(remove_all)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Removes soon what the account has as evicted. Never blocks.
    pub(super) fn evicted(&self, digests: Vec<BlobDigest>) {
        digests
            .into_iter()
            .map(Waste::Evicted)
            .for_each(|waste| self.send(waste));
    }

    /// Removes a temporary file soon, if it is there. Never blocks.
    pub(super) fn abandoned(&self, path: PathBuf) {
        self.send(Waste::Abandoned(path));
    }

    fn send(&self, waste: Waste) {
        if let Some(queue) = &self.queue {
            // Fails only without the thread, which ends after this.
            let _ = queue.send(waste);
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that removes blobs panicked");
        }
    }
}
