//! Roles together over a simulated link, in one process and in virtual time: the agent's side of the farm, a scheduler
//! that grants what is asked for, and a builder whose compiles are scripted. What a unit costs is asserted in round
//! trips and bytes; no clock of this machine is involved.

#[path = "../../tests/wan/net.rs"]
#[expect(dead_code, reason = "tests/wan uses all of it")]
mod net;
mod round_trips;
mod sweeps;
mod world;
