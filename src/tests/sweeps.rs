//! When a builder is believed to know a unit, and when what it was told is looked at again.

use std::path::Path;
use std::time::{Duration, Instant};

use super::world::World;
use crate::agent::remote::FRESH;
use crate::agent::table::TableError;
use crate::inputs::closure::Mapping;
use crate::inputs::tree::Tree;

#[tokio::test(start_paused = true)]
async fn what_was_told_is_looked_at_once_and_again_when_it_changed() {
    let world = World::over(1000.0, Tree::watching()).await;
    assert!(!world.is_swept().await, "nobody has looked yet");
    let mut units = Vec::new();
    for name in ["a", "b"] {
        world.write(name, "first", 100);
        let unit = world.unit(&format!("{name}.o"), &[name]);
        assert!(!world.is_told(&unit).await, "{name}");
        world.run(&unit).await;
        if units.is_empty() {
            assert!(!world.is_swept().await, "nobody has looked yet");
            world.sweep().await;
        }
        assert!(
            world.is_swept().await && world.is_told(&unit).await,
            "{name} is watched"
        );
        units.push(unit);
    }
    // An output that no builder was told of is none of theirs, whoever lists its directory.
    world.list();
    world.sweep().await;
    for number in 0..100 {
        world.write(&format!("{number}.o"), "output", 100);
        assert!(world.is_swept().await, "{number}");
    }
    world.write("a", "edited", 100);
    assert!(!world.is_swept().await);
    world.sweep().await;
    assert!(!world.is_told(&units[0]).await, "its file was taken back");
    // A name that comes back to what was told, by another file.
    world.write("c", "second", 100);
    world.rename("c", "b");
    assert!(!world.is_swept().await);
    world.sweep().await;
    assert!(!world.is_told(&units[1]).await, "its file was replaced");
    // What was doubtful then is looked for once more.
    world.sweep().await;
    assert!(world.is_swept().await);
    let edited = world.unit("a.o", &["a"]);
    assert!(!world.is_told(&edited).await);
    world.run(&edited).await;
    assert!(world.is_told(&edited).await && world.is_swept().await);
    world.write("d", "first", 100);
    let unit = world.unit("d.o", &["d"]);
    world.run(&unit).await;
    world.write("d", "edited", 100);
    assert!(!world.is_swept().await, "it changed before anybody looked");
    world.sweep().await;
    assert!(!world.is_told(&unit).await);
}

#[tokio::test(start_paused = true)]
async fn what_no_watch_proves_is_looked_at_after_it_was_told() {
    let world = World::over(1000.0, Tree::watching()).await;
    world.write("a", "first", 100);
    world.tell(&world.unit("a.o", &["a"])).await.unwrap();
    world.sweep().await;
    assert!(world.is_swept().await);
    let unit = world.unit_passing("b.o", &["a"], Path::new("/proc/sys"));
    world.tell(&unit).await.unwrap();
    assert!(!world.is_swept().await, "nothing watches it");
    world.sweep().await;
    assert!(!world.is_swept().await, "nor ever will");
}

/// Whoever removes it has his unit prepared again, which finds the compiler's own words about it; a farm has no part in
/// that.
#[tokio::test(start_paused = true)]
async fn an_output_directory_that_is_gone_is_a_change() {
    let world = World::over(1000.0, Tree::watching()).await;
    world.write("a", "first", 100);
    let gone = Path::new("/gone/out");
    let unit = world.unit("a.o", &["a"]).writing_to(gone);
    let changed = world.tell(&unit).await.err();
    let path = gone.as_os_str().as_encoded_bytes().to_vec();
    assert_eq!(changed, Some(TableError::Changed { path }));
}

/// A store through a mapping is told of by nobody. Only what the builder has anyhow is not looked at for it, and only a
/// moment after it was found.
#[tokio::test(start_paused = true)]
async fn what_may_be_mapped_is_looked_at_before_it_is_told_anew() {
    let now = Instant::now();
    let (fresh, old) = (
        now + Duration::from_secs(3600),
        now.checked_sub(2 * FRESH).unwrap(),
    );
    for (looked, is_told, expected) in [(fresh, false, false), (fresh, true, true), (old, true, false)] {
        let world = World::over(1000.0, Tree::watching()).await;
        world.write("a", "first", 100);
        if is_told {
            world.tell(&world.unit("a.o", &["a"])).await.unwrap();
        }
        let unit = world.unit("b.o", &["a"]).looked_at(looked);
        let mapping = Mapping::store(&world.path("a"), "X");
        assert_eq!(world.is_told_at_once(&unit).await, expected, "{is_told}");
        drop(mapping);
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_watched_is_told_at_once() {
    for (tree, is_watched) in [(Tree::watching(), true), (Tree::new(), false)] {
        let world = World::over(1000.0, tree).await;
        world.write("a", "first", 100);
        let found = world.unit("a.o", &["a"]);
        world.write("a", "edited", 100);
        assert!(!world.is_told_at_once(&found).await, "it changed");
        let anew = world.unit("a.o", &["a"]);
        assert_eq!(world.is_told_at_once(&anew).await, is_watched);
        assert_eq!(world.is_told(&anew).await, is_watched);
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_it_was_found_is_not_told() {
    for tree in [Tree::watching(), Tree::new()] {
        let world = World::over(1000.0, tree).await;
        world.write("a", "first", 100);
        let found = world.unit("a.o", &["a"]);
        world.write("a", "edited", 100);
        assert!(matches!(
            world.tell(&found).await,
            Err(TableError::Changed { .. })
        ));
        assert!(!world.is_told(&found).await);
        let anew = world.unit("a.o", &["a"]);
        world.tell(&anew).await.unwrap();
        assert!(world.is_told(&anew).await);
    }
}
