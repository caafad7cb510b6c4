//! A whole build, the build tool included.

use std::process::Command;

use crate::client::Client;
use crate::measure::{AT_ONCE, Compile, Cost, account_for, succeed};
use crate::support::World;

/// Builds `compiles` with make.
pub fn build(client: &Client<'_>, compiles: &[Compile]) -> Result<Cost, String> {
    account_for(client, compiles, || {
        succeed(make(
            client.world(),
            client.program("make"),
            client.launcher(),
            compiles,
        ))
    })
}

/// The same build with `/bin/true` in place of each compile.
pub fn nothing(world: &World, compiles: &[Compile]) -> Command {
    make(world, world.command("make"), "/bin/true", compiles)
}

/// Makes every object, whether it exists or not.
fn make(world: &World, mut make: Command, launcher: &str, compiles: &[Compile]) -> Command {
    let objects: Vec<_> = compiles
        .iter()
        .map(|compile| compile.object.to_str().unwrap())
        .collect();
    let mut text = format!(".PHONY: all {0}\nall: {0}\n", objects.join(" "));
    for compile in compiles {
        let command = compile.command_line().join(" ");
        text += &format!("{}:\n\t{launcher} {command}\n", compile.object.display());
    }
    world.write("client.mk", &text);
    make.args(["-s", "-f", "client.mk"]).arg(format!("-j{AT_ONCE}"));
    make
}
