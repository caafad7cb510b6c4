//! Connections to a builder that are lost and made anew: what the builder still holds is not told again, and what it
//! does not hold is not relied on.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{FarmFiles, Role, World, await_event};

/// Two units, which find `value.h` in `second` unless it is in `first` too.
const BUILD: &str = "for n in 1 2; do gcc -g -DN=$n -Ifirst -Isecond -c use.c -o $n.o || exit; done";
/// Far fewer than tell a compiler and its headers.
const FEW: u64 = 30;

fn sources(world: &World) {
    world.write(
        "use.c",
        "#include <stdio.h>\n#include \"value.h\"\nint value[N] = { VALUE };\n",
    );
    world.write("first/other.h", "");
    world.write("second/value.h", "#define VALUE 1\n");
}

fn build(world: &World) {
    let summary = world.compare("rm [12].o", BUILD);
    assert_eq!(summary.remote(), 2, "{summary:?} {}", world.agent_log());
}

/// Table records sent to builders.
fn told(world: &World) -> u64 {
    world.status()["table_records"].as_u64().unwrap()
}

fn holds_leases(world: &World) -> bool {
    !world.status()["builders"].as_array().unwrap().is_empty()
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).unwrap();
}

fn await_leases(world: &World) {
    await_event("a lease", || holds_leases(world).then_some(()));
}

fn await_loss(world: &World) {
    await_event("the loss", || (!holds_leases(world)).then_some(()));
}

/// Nothing is heard of the builder until the agent has given it up; `meanwhile` things happen.
fn lose(world: &World, builder: &Role, meanwhile: impl FnOnce()) {
    signal(builder.id(), Signal::SIGSTOP);
    meanwhile();
    await_loss(world);
    signal(builder.id(), Signal::SIGCONT);
    await_leases(world);
}

#[test]
fn a_lost_connection_costs_its_successor_no_table_and_no_exactness() {
    let (files, world) = (FarmFiles::new(), World::new());
    let (_scheduler, builder) = (files.start("scheduler"), files.start("builder"));
    files.join(&world);
    sources(&world);
    build(&world);
    let first = told(&world);
    assert!(first > 3 * FEW, "{first}");
    // Another file is found from now on, and the source is another.
    lose(&world, &builder, || {
        world.write("first/value.h", "#define VALUE 2\n");
        world.write(
            "use.c",
            "#include <stdio.h>\n#include \"value.h\"\nlong value[N] = { VALUE };\n",
        );
    });
    build(&world);
    let second = told(&world);
    assert!(second - first < FEW, "{first} {second}\n{}", world.agent_log());
    lose(&world, &builder, || {
        std::fs::remove_file(world.at("first/value.h")).unwrap();
    });
    build(&world);
    let third = told(&world);
    assert!(third - second < FEW, "{second} {third}\n{}", world.agent_log());
}

#[test]
fn what_was_on_its_way_when_a_connection_was_lost_is_told_once_more_and_counts_once() {
    let (files, world) = (FarmFiles::new(), World::new());
    let (_scheduler, builder) = (files.start("scheduler"), files.start("builder"));
    files.join(&world);
    sources(&world);
    build(&world);
    let compile = "gcc -g -Ifirst -Isecond -c more.c -o more.o";
    for round in 1..=2 {
        let before = told(&world);
        world.write("more.c", "#include \"more.h\"\nint more[] = { MORE };\n");
        // The builder finds this on the lost connection when it goes on.
        lose(&world, &builder, || {
            world.write("first/more.h", &format!("#define MORE {round}\n"));
            let (output, summary) = world.run(compile);
            assert!(output.status.success() && summary.remote() == 0, "{summary:?}");
            std::fs::rename(world.at("first/more.h"), world.at("second/more.h")).unwrap();
            world.write("first/value.h", &format!("#define VALUE 1{round}\n"));
        });
        let summary = world.compare("rm more.o", compile);
        assert_eq!(summary.remote(), 1, "{summary:?} {}", world.agent_log());
        build(&world);
        let after = told(&world);
        assert!(after - before < FEW, "{before} {after}\n{}", world.agent_log());
    }
}

#[test]
fn a_builder_that_was_restarted_is_told_everything() {
    let (files, world) = (FarmFiles::new(), World::new());
    let (_scheduler, mut builder) = (files.start("scheduler"), files.start("builder"));
    files.join(&world);
    sources(&world);
    build(&world);
    let first = told(&world);
    builder.kill();
    await_loss(&world);
    world.write("second/value.h", "#define VALUE 3\n");
    let _builder = files.start("builder");
    await_leases(&world);
    build(&world);
    let second = told(&world);
    assert!(
        second - first > first / 2,
        "{first} {second}\n{}",
        world.agent_log()
    );
}

/// Bytes that the builder's mirrors take.
fn mirrors(files: &FarmFiles) -> u64 {
    let output = files
        .world()
        .command("du")
        .args(["-s", "-B1", "cache/mirrors"])
        .output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    said.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_builder_that_has_dropped_the_mirror_meanwhile_is_told_everything() {
    let files = FarmFiles::new();
    let (_scheduler, mut builder) = (files.start("scheduler"), files.start("builder"));
    let worlds = [World::new(), World::new()];
    for world in &worlds {
        files.join(world);
        sources(world);
    }
    let [first, second] = &worlds;
    build(first);
    let bytes = mirrors(&files);
    // Room for one mirror, not for two.
    builder.kill();
    await_loss(first);
    let text = String::from_utf8(files.world().read("builder.conf")).unwrap();
    let text = format!("{text}mirror_cache_size = '{}'\n", bytes + bytes / 2);
    files.world().write("builder.conf", &text);
    let builder = files.start("builder");
    await_leases(first);
    build(first);
    let before = told(first);
    lose(first, &builder, || {});
    build(second);
    first.write("second/value.h", "#define VALUE 4\n");
    build(first);
    let after = told(first);
    assert!(
        after - before > before / 4,
        "{before} {after}\n{}",
        first.agent_log()
    );
}
