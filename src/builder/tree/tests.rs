//! The table's rules, by example and against a model of flat paths.

use super::*;
use proptest::prelude::*;
use quicc_protocol::BlobDigest;
use quicc_protocol::message::table::FileTime;

const TIME: FileTime = FileTime {
    seconds: 7,
    nanoseconds: 9,
};

fn directory() -> EntryKind {
    EntryKind::Directory { modified: TIME }
}

fn file(bytes: &[u8], same_inode_as: Option<EntryId>) -> EntryKind {
    EntryKind::File {
        content: BlobDigest::of(bytes),
        size: bytes.len() as u64,
        executable: false,
        modified: TIME,
        same_inode_as,
    }
}

fn link(target: &str) -> EntryKind {
    EntryKind::Symlink {
        target: target.into(),
    }
}

fn define(id: EntryId, parent: EntryId, name: &str, kind: EntryKind) -> TableRecord {
    TableRecord::Define {
        id,
        parent,
        name: name.into(),
        kind,
    }
}

fn poison(parent: EntryId, names: &[(&str, PoisonKind)]) -> TableRecord {
    TableRecord::Poison {
        parent,
        names: names.iter().map(|(name, kind)| ((*name).into(), *kind)).collect(),
    }
}

fn cure(parent: EntryId, names: &[&str]) -> TableRecord {
    TableRecord::Cure {
        parent,
        names: names.iter().map(|name| (*name).into()).collect(),
    }
}

fn tree(records: &[TableRecord]) -> Tree {
    let mut tree = Tree::default();
    for record in records {
        tree.apply(record).unwrap();
    }
    tree
}

fn names(tree: &Tree, id: EntryId) -> Vec<(String, Child)> {
    let text = |name: &Vec<u8>| String::from_utf8(name.clone()).unwrap();
    let directory = tree.directory(id).unwrap();
    directory
        .names
        .iter()
        .map(|(name, child)| (text(name), *child))
        .collect()
}

#[test]
fn a_name_is_what_was_said_last() {
    use Child::{Entry, Poison};
    use PoisonKind::{Directory, Link};
    let steps = [
        (define(1, ROOT, "a", file(b"x", None)), Some(Entry(1))),
        (poison(ROOT, &[("a", Link)]), Some(Poison(Link))),
        (define(2, ROOT, "a", directory()), Some(Entry(2))),
        (poison(ROOT, &[("a", Directory)]), Some(Poison(Directory))),
        (poison(ROOT, &[("a", Directory)]), Some(Poison(Directory))),
        (cure(ROOT, &["a"]), None),
        (cure(ROOT, &["a"]), None),
        (define(3, ROOT, "a", link("b")), Some(Entry(3))),
        (cure(ROOT, &["a"]), Some(Entry(3))),
        (TableRecord::Remove { id: 2 }, Some(Entry(3))),
        (TableRecord::Remove { id: 3 }, None),
    ];
    let mut tree = Tree::default();
    for (record, expected) in steps {
        tree.apply(&record).unwrap();
        let found = tree.directory(ROOT).unwrap().names.get(&b"a"[..]).copied();
        assert_eq!(found, expected, "{record:?}");
    }
}

#[test]
fn what_is_superseded_goes_with_all_below_it() {
    let mut tree = tree(&[
        define(1, ROOT, "usr", directory()),
        define(2, 1, "include", directory()),
        define(3, 2, "a.h", file(b"a", None)),
        poison(2, &[("b.h", PoisonKind::Link)]),
    ]);
    assert_eq!(tree.path(3), PathBuf::from("usr/include/a.h"));
    assert_eq!(tree.find(b"//usr/include/a.h"), Some(3));
    assert_eq!(tree.find(b"/usr/include/b.h"), None);
    let applied = tree.apply(&define(4, ROOT, "usr", directory())).unwrap();
    assert_eq!(applied.gone.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3]);
    assert_eq!(names(&tree, ROOT), [("usr".to_owned(), Child::Entry(4))]);
    assert!((1..4).all(|id| tree.node(id).is_none()));
    assert_eq!((tree.names, tree.inodes.len()), (1, 0));
}

#[test]
fn broken_rules_change_nothing() {
    let mut tree = tree(&[
        define(5, ROOT, "f", file(b"x", None)),
        define(6, ROOT, "d", directory()),
    ]);
    let cases = [
        (
            define(6, ROOT, "g", directory()),
            TreeError::Reused { id: 6, highest: 6 },
        ),
        (define(7, 5, "g", directory()), TreeError::NoDirectory { id: 5 }),
        (define(7, 9, "g", directory()), TreeError::NoDirectory { id: 9 }),
        (
            define(7, 6, "g", file(b"x", Some(8))),
            TreeError::Undefined { id: 8 },
        ),
        (define(7, ROOT, "proc", link("x")), TreeError::Reserved),
        (
            define(7, ROOT, ".quicc-scratch", directory()),
            TreeError::Reserved,
        ),
        (TableRecord::Remove { id: 7 }, TreeError::Undefined { id: 7 }),
        (
            poison(5, &[("x", PoisonKind::Link)]),
            TreeError::NoDirectory { id: 5 },
        ),
        (cure(1, &["x"]), TreeError::NoDirectory { id: 1 }),
    ];
    let before = tree.clone();
    for (record, expected) in cases {
        assert_eq!(tree.apply(&record), Err(expected), "{record:?}");
        assert_eq!(tree, before, "{record:?}");
    }
}

#[test]
fn depth_and_names_are_bounded() {
    let mut deep = Tree::default();
    for id in 1..=limits::PATH_DEPTH as EntryId {
        deep.apply(&define(id, id - 1, "d", directory())).unwrap();
    }
    let parent = limits::PATH_DEPTH as EntryId;
    assert_eq!(
        deep.apply(&define(parent + 1, parent, "d", directory())),
        Err(TreeError::TooDeep { parent })
    );
    let mut wide = Tree {
        names: NAMES - 1,
        ..Tree::default()
    };
    assert_eq!(
        wide.apply(&poison(ROOT, &[("a", PoisonKind::Link), ("b", PoisonKind::Link)])),
        Err(TreeError::TooManyNames)
    );
    wide.apply(&poison(ROOT, &[("a", PoisonKind::Link)])).unwrap();
}

#[test]
fn mount_points_take_no_poison() {
    let tree = tree(&[poison(
        ROOT,
        &[("proc", PoisonKind::Link), ("x", PoisonKind::Link)],
    )]);
    assert_eq!(
        names(&tree, ROOT),
        [("x".to_owned(), Child::Poison(PoisonKind::Link))]
    );
}

#[test]
fn an_inode_outlives_its_first_entry() {
    let mut tree = tree(&[
        define(1, ROOT, "a", file(b"x", None)),
        define(2, ROOT, "b", file(b"x", Some(1))),
    ]);
    tree.apply(&TableRecord::Remove { id: 1 }).unwrap();
    tree.apply(&define(3, ROOT, "c", file(b"x", Some(2)))).unwrap();
    assert_eq!(tree.same_inode(1).collect::<Vec<_>>(), [2, 3]);
    tree.apply(&define(4, ROOT, "d", file(b"x", Some(1)))).unwrap();
    assert_eq!(
        tree.same_inode(4).collect::<Vec<_>>(),
        [4],
        "its name for the inode is gone"
    );
}

#[test]
fn changes_are_seen_where_an_action_looks() {
    let records = [
        define(1, ROOT, "a", directory()),
        define(2, ROOT, "b", directory()),
        define(3, 1, "x", file(b"x", None)),
    ];
    let check = |record: TableRecord, ids: &[EntryId], seen: bool| {
        let mut tree = tree(&records);
        let stamp = tree.stamp();
        assert!(!tree.changed_since(stamp, ids));
        tree.apply(&record).unwrap();
        assert_eq!(tree.changed_since(stamp, ids), seen, "{record:?} {ids:?}");
    };
    check(poison(1, &[("y", PoisonKind::Link)]), &[3], true);
    check(poison(2, &[("y", PoisonKind::Link)]), &[3], false);
    check(poison(2, &[("y", PoisonKind::Link)]), &[2], true);
    check(TableRecord::Remove { id: 1 }, &[3], true);
    check(define(4, 1, "x", file(b"x", None)), &[3], true);
}

/// One step of a random table; ids and parents are chosen among those that exist.
#[derive(Debug, Clone)]
struct Step {
    verb: u8,
    target: usize,
    name: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0_u8..7, any::<usize>(), 0_u8..4).prop_map(|(verb, target, name)| Step { verb, target, name });
    proptest::collection::vec(step, 0..60)
}

/// What a path is in the model: `Some(id)` for an entry, `None` for poison.
type Model = BTreeMap<Vec<u8>, Option<EntryId>>;

fn cut(model: &mut Model, path: &[u8]) {
    let below = [path, b"/"].concat();
    model.retain(|known, _| known != path && !known.starts_with(&below));
}

fn listed(tree: &Tree) -> Model {
    let mut model = Model::new();
    let mut directories = vec![(ROOT, Vec::new())];
    while let Some((id, path)) = directories.pop() {
        for (name, child) in &tree.directory(id).unwrap().names {
            let path = [&path[..], b"/", name].concat();
            match child {
                Child::Poison(_) => model.insert(path, None),
                Child::Entry(id) => {
                    if tree.directory(*id).is_some() {
                        directories.push((*id, path.clone()));
                    }
                    model.insert(path, Some(*id))
                }
            };
        }
    }
    model
}

proptest! {
    #[test]
    fn a_table_equals_its_model(steps in steps()) {
        let (mut tree, mut model, mut next) = (Tree::default(), Model::new(), 1);
        for Step { verb, target, name } in steps {
            let directories: Vec<(EntryId, Vec<u8>)> = std::iter::once((ROOT, Vec::new()))
                .chain(model.iter().filter_map(|(path, id)| Some(((*id)?, path.clone()))))
                .filter(|(id, _)| tree.directory(*id).is_some())
                .collect();
            let (parent, path) = &directories[target % directories.len()];
            let name = [b'a' + name];
            let path = [&path[..], b"/", &name].concat();
            let text = std::str::from_utf8(&name).unwrap();
            match verb {
                0..=2 => {
                    let kind = [directory(), file(b"x", None), link("x")][usize::from(verb)].clone();
                    tree.apply(&define(next, *parent, text, kind)).unwrap();
                    cut(&mut model, &path);
                    model.insert(path, Some(next));
                    next += 1;
                }
                3 | 4 => {
                    tree.apply(&poison(*parent, &[(text, PoisonKind::Link)])).unwrap();
                    cut(&mut model, &path);
                    model.insert(path, None);
                }
                5 => {
                    tree.apply(&cure(*parent, &[text])).unwrap();
                    if model.get(&path) == Some(&None) {
                        model.remove(&path);
                    }
                }
                _ if next > 1 => {
                    let id = 1 + target as EntryId % (next - 1);
                    tree.apply(&TableRecord::Remove { id }).unwrap();
                    if let Some(path) = model.iter().find(|(_, known)| **known == Some(id)).map(|(path, _)| path.clone()) {
                        cut(&mut model, &path);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(&listed(&tree), &model);
            prop_assert_eq!(tree.names, model.len());
            for (path, id) in &model {
                if let Some(id) = id {
                    let on_disk = tree.path(*id);
                    prop_assert_eq!(on_disk.as_os_str().as_bytes(), &path[1..]);
                    prop_assert_eq!(tree.find(path), Some(*id));
                }
            }
        }
    }
}
