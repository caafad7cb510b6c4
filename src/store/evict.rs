//! PURE: which of many sized things give way when a limit in bytes is reached: the least recently used that
//! nobody holds. Never touches a file.

use std::collections::BTreeMap;

/// Sizes, uses and holders of what is kept. One instance keeps blobs, another whole mirrors.
#[derive(Debug)]
pub struct Ledger<K> {
    limit: u64,
    /// Bytes of all items.
    total: u64,
    /// Bytes of the items with pins.
    pinned: u64,
    /// Bytes promised to items that are being made.
    reserved: u64,
    /// Counts uses; the order of eviction.
    uses: u64,
    items: BTreeMap<K, Item>,
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Item {
    size: u64,
    used: u64,
    pins: u32,
}

/// Too little can be evicted to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes do not fit: {held} of {limit} are in use")]
pub struct NoRoom {
    /// Bytes asked for.
    pub needed: u64,
    /// Bytes that cannot be evicted now: pinned items and reservations.
    pub held: u64,
    /// The limit in bytes.
    pub limit: u64,
}

impl<K: Copy + Ord> Ledger<K> {
    /// A ledger of nothing, bounded by `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            total: 0,
            pinned: 0,
            reserved: 0,
            uses: 0,
            items: BTreeMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Adds an item or changes its size; either way it is the one used last. It may take the ledger above its
    /// limit: [`Self::overflow`] then names what has to go.
    pub fn insert(&mut self, key: K, size: u64) {
        let pins = self.items.get(&key).map_or(0, |item| item.pins);
        self.remove(&key);
        self.uses += 1;
        self.total += size;
        self.pinned += if pins > 0 { size } else { 0 };
        self.order.insert(self.uses, key);
        self.items.insert(
            key,
            Item {
                size,
                used: self.uses,
                pins,
            },
        );
    }

    /// Forgets an item, pinned or not, and gives its size.
    pub fn remove(&mut self, key: &K) -> Option<u64> {
        let item = self.items.remove(key)?;
        self.order.remove(&item.used);
        self.total -= item.size;
        self.pinned -= if item.pins > 0 { item.size } else { 0 };
        Some(item.size)
    }

    /// Makes an item the one used last.
    pub fn touch(&mut self, key: &K) {
        if let Some(item) = self.items.get_mut(key) {
            self.uses += 1;
            self.order.remove(&item.used);
            item.used = self.uses;
            self.order.insert(self.uses, *key);
        }
    }

    /// Keeps an item from eviction until [`Self::unpin`], and counts as a use. Pins add up. `false` when there is
    /// no such item.
    pub fn pin(&mut self, key: &K) -> bool {
        self.touch(key);
        let Some(item) = self.items.get_mut(key) else {
            return false;
        };
        item.pins += 1;
        self.pinned += if item.pins == 1 { item.size } else { 0 };
        true
    }

    /// Takes one pin back.
    pub fn unpin(&mut self, key: &K) {
        if let Some(item) = self.items.get_mut(key).filter(|item| item.pins > 0) {
            item.pins -= 1;
            self.pinned -= if item.pins == 0 { item.size } else { 0 };
        }
    }

    /// Whether the item is kept.
    pub fn contains(&self, key: &K) -> bool {
        self.items.contains_key(key)
    }

    /// The item's size in bytes.
    pub fn size(&self, key: &K) -> Option<u64> {
        self.items.get(key).map(|item| item.size)
    }

    /// Bytes of all items and reservations.
    pub fn total(&self) -> u64 {
        self.total + self.reserved
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Promises `bytes` to an item being made and forgets the least recently used items that stand in the way;
    /// their keys are returned, for the caller to remove what they name. Without enough of them nothing changes.
    pub fn reserve(&mut self, bytes: u64) -> Result<Vec<K>, NoRoom> {
        self.could_reserve(bytes)?;
        self.reserved += bytes;
        Ok(self.overflow())
    }

    /// Whether [`Self::reserve`] could promise that much now. Changes nothing.
    pub fn could_reserve(&self, bytes: u64) -> Result<(), NoRoom> {
        let held = self.pinned + self.reserved;
        if held.saturating_add(bytes) > self.limit {
            return Err(NoRoom {
                needed: bytes,
                held,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// Takes a promise of [`Self::reserve`] back.
    pub fn release(&mut self, bytes: u64) {
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Forgets the least recently used items nobody holds until the limit is kept or only held ones are left.
    pub fn overflow(&mut self) -> Vec<K> {
        let mut victims = Vec::new();
        if self.total() <= self.limit {
            return victims;
        }
        let mut surplus = self.total() - self.limit;
        for key in self.order.values() {
            let Some(item) = self.items.get(key).filter(|item| item.pins == 0) else {
                continue;
            };
            victims.push(*key);
            surplus = surplus.saturating_sub(item.size);
            if surplus == 0 {
                break;
            }
        }
        for key in &victims {
            self.remove(key);
        }
        victims
    }

    /// Of the items that may give way, the one nobody holds that was used longest ago.
    pub fn oldest_idle(&self, may_give_way: impl Fn(&K) -> bool) -> Option<K> {
        let idle = |key: &&K| self.items.get(key).is_some_and(|item| item.pins == 0) && may_give_way(key);
        self.order.values().find(idle).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_least_recently_used_gives_way() {
        let mut ledger = Ledger::new(30);
        for key in [1, 2, 3] {
            ledger.insert(key, 10);
        }
        ledger.touch(&1);
        assert_eq!(ledger.reserve(10), Ok(vec![2]));
        assert_eq!(ledger.total(), 30);
        ledger.release(10);
        ledger.insert(4, 10);
        assert_eq!(ledger.reserve(20), Ok(vec![3, 1]));
    }

    #[test]
    fn what_is_pinned_stays_and_is_named_as_held() {
        let mut ledger = Ledger::new(30);
        ledger.insert('a', 10);
        ledger.insert('b', 10);
        assert!(ledger.pin(&'a') && ledger.pin(&'a') && !ledger.pin(&'x'));
        ledger.unpin(&'a');
        assert_eq!(
            ledger.reserve(25),
            Err(NoRoom {
                needed: 25,
                held: 10,
                limit: 30
            })
        );
        assert!(ledger.contains(&'b'), "a refusal evicts nothing");
        assert_eq!(ledger.reserve(20), Ok(vec!['b']));
        ledger.unpin(&'a');
        ledger.release(20);
        assert_eq!(ledger.reserve(25), Ok(vec!['a']));
    }

    #[test]
    fn a_new_size_replaces_the_old_and_keeps_the_pins() {
        let mut ledger = Ledger::new(10);
        ledger.insert(1, 4);
        ledger.pin(&1);
        ledger.insert(1, 12);
        assert_eq!((ledger.total(), ledger.len()), (12, 1));
        assert_eq!(ledger.overflow(), Vec::<i32>::new());
        ledger.unpin(&1);
        assert_eq!(ledger.overflow(), vec![1]);
        assert!(ledger.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u64),
        Pin(u8),
        Unpin(u8),
        Touch(u8),
        Reserve(u64),
        Release(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u8..12, 0_u64..40).prop_map(|(key, size)| Step::Insert(key, size)),
            (0_u8..12).prop_map(Step::Pin),
            (0_u8..12).prop_map(Step::Unpin),
            (0_u8..12).prop_map(Step::Touch),
            (0_u64..80).prop_map(Step::Reserve),
            (0_u64..80).prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn pinned_items_stay_and_the_limit_holds_where_it_can(steps in proptest::collection::vec(step(), 0..80)) {
            let mut ledger = Ledger::new(100);
            for step in steps {
                let pinned: Vec<u8> =
                    ledger.items.iter().filter(|(_, item)| item.pins > 0).map(|(key, _)| *key).collect();
                match step {
                    Step::Insert(key, size) => {
                        ledger.insert(key, size);
                        ledger.overflow();
                        let held = ledger.pinned + ledger.reserved;
                        prop_assert!(ledger.total() <= ledger.limit.max(held));
                    }
                    Step::Pin(key) => { ledger.pin(&key); }
                    Step::Unpin(key) => ledger.unpin(&key),
                    Step::Touch(key) => ledger.touch(&key),
                    Step::Reserve(bytes) => {
                        if ledger.reserve(bytes).is_ok() {
                            prop_assert!(ledger.total() <= ledger.limit);
                        }
                    }
                    Step::Release(bytes) => ledger.release(bytes),
                }
                for key in pinned {
                    prop_assert!(ledger.contains(&key));
                }
                prop_assert_eq!(ledger.total, ledger.items.values().map(|item| item.size).sum::<u64>());
                let pinned = ledger.items.values().filter(|item| item.pins > 0);
                prop_assert_eq!(ledger.pinned, pinned.map(|item| item.size).sum::<u64>());
                prop_assert_eq!(ledger.order.len(), ledger.items.len());
            }
        }
    }
}
