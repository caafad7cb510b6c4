//! What a unit sends when its compiler and its headers are known to the builder: its own source, and little more.

use crate::support::World;

/// Headers each unit includes.
const HEADERS: usize = 60;
/// Bytes a unit may send beside its own source, compressed.
const BESIDE: u64 = 2000;

/// A source of some size that does not compress to nothing; another one for each `number`.
fn source(number: u32) -> String {
    let includes: String = (0..HEADERS).map(|n| format!("#include \"h{n}.h\"\n")).collect();
    let value = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(number);
    let table: String = (0..800)
        .map(|n| format!("0x{:x},\n", value(n + number)))
        .collect();
    format!("#include <stdio.h>\n{includes}unsigned table[] = {{\n{table}}};\n")
}

#[test]
fn a_unit_sends_its_own_source_and_little_more() {
    let world = World::new();
    for n in 0..HEADERS {
        world.write(&format!("h{n}.h"), &format!("struct s{n} {{ int a, b; }};\n"));
    }
    world.write("a.c", &source(0));
    assert_eq!(world.compare("rm a.o", "gcc -O1 -c a.c").remote(), 1);

    for (title, name, number) in [("edited", "a", 1), ("seen for the first time", "b", 2)] {
        let text = source(number);
        world.write(&format!("{name}.c"), &text);
        let summary = world.compare(&format!("rm {name}.o"), &format!("gcc -O1 -c {name}.c"));
        assert_eq!(summary.remote(), 1, "{title}: {summary:?}");
        let most = zstd::bulk::compress(text.as_bytes(), 3).unwrap().len() as u64 + BESIDE;
        let sent = summary.bytes_up();
        assert!(sent <= most, "{title}: {sent} bytes sent, {most} at most");
        assert!(sent > most / 2, "{title}: {sent} bytes cannot hold it");
    }
}
