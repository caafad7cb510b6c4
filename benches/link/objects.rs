//! Whether what a client leaves is what the compiler at its end leaves.

use std::path::Path;

use crate::measure::{Compile, run_all};
use crate::support::World;

/// What the local compiler makes of units, in their order.
pub struct Objects(Vec<blake3::Hash>);

impl Objects {
    /// Compiles them here, and leaves no object.
    pub fn make(world: &World, compiles: &[Compile]) -> Result<Self, String> {
        remove(compiles)?;
        run_all(compiles.len(), &|turn| {
            let line = compiles[turn].command_line();
            let mut command = world.command(&line[0]);
            command.args(&line[1..]);
            command
        })?;
        let objects = compiles.iter().map(|compile| hash(&compile.object));
        let objects = objects.collect::<Result<_, _>>()?;
        remove(compiles)?;
        Ok(Self(objects))
    }

    /// How many of the same units' objects are others now; an error where there is none.
    pub fn differing(&self, compiles: &[Compile]) -> Result<usize, String> {
        let mut count = 0;
        for (compile, expected) in compiles.iter().zip(&self.0) {
            if hash(&compile.object)? != *expected {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Removes the objects of an earlier build, which would be as good as those of one that makes none.
pub fn remove(compiles: &[Compile]) -> Result<(), String> {
    for compile in compiles {
        match std::fs::remove_file(&compile.object) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", compile.object.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn hash(object: &Path) -> Result<blake3::Hash, String> {
    let bytes = std::fs::read(object).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(blake3::hash(&bytes))
}
