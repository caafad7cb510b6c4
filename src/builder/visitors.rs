//! How many connections clients of one name have. Never closes one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quicc_certs::Identity;

/// Connections counted by name, whatever the key.
#[derive(Debug)]
pub(super) struct Visitors {
    most: usize,
    /// Without the names that have none.
    by_name: Mutex<BTreeMap<Identity, usize>>,
}

/// One connection, counted while it lives.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    visitors: &'a Visitors,
    name: Identity,
}

impl Visitors {
    /// At most `most` of each name.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            by_name: Mutex::default(),
        }
    }

    /// Counts a connection; `None` where its name has as many as it may.
    pub(super) fn admit(&self, name: &Identity) -> Option<Visit<'_>> {
        let mut by_name = self.by_name();
        let count = by_name.entry(name.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Visit {
            visitors: self,
            name: name.clone(),
        })
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<Identity, usize>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut by_name = self.visitors.by_name();
        if let Some(count) = by_name.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                by_name.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_so_many_connections_and_others_have_theirs() {
        let visitors = Visitors::new(2);
        let [alice, bob]: [Identity; 2] =
            ["alice", "bob"].map(|name| format!("quicc://farm/client/{name}").parse().unwrap());
        let first = visitors.admit(&alice);
        let _second = visitors.admit(&alice).unwrap();
        assert!(visitors.admit(&alice).is_none());
        assert!(visitors.admit(&bob).is_some());
        drop(first);
        assert!(visitors.admit(&alice).is_some());
        assert_eq!(visitors.by_name().len(), 1, "who is gone is forgotten");
    }
}
