//! Other systems across the same link, to be measured beside quicc: which there are, and one door to start each.

use crate::client::Client;
use crate::icecream::{self, Icecream};
use crate::peers::{DistccClient, Distccd, Peer, Setting};
use crate::sccache::{self, Sccache};
use crate::support::World;
use crate::wire::Wire;

/// A system to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    Distcc(Peer),
    Icecream,
    Sccache,
}

const NAMES: &str = "distcc, pump, icecream, sccache-dist";

impl Rival {
    /// The systems of a list like `distcc,icecream`; those that are not installed are an error.
    pub fn parse(list: &str) -> Result<Vec<Self>, String> {
        let rivals = list.split(',').map(|name| match name {
            "distcc" | "pump" => Ok(Peer::parse(name)?.into_iter().map(Self::Distcc).collect()),
            "icecream" => icecream::require().map(|()| vec![Self::Icecream]),
            "sccache-dist" => sccache::require().map(|()| vec![Self::Sccache]),
            other => Err(format!("no peer is called {other}: {NAMES}")),
        });
        Ok(rivals.collect::<Result<Vec<Vec<_>>, String>>()?.concat())
    }

    /// Starts all of it: its servers at the farm's end, its client at the other.
    pub fn start<'a>(self, wire: &Wire, world: &'a World, setting: &Setting) -> Result<Started<'a>, String> {
        match self {
            Self::Distcc(peer) => {
                let server = wire.farm.within(|| Distccd::start(world, setting.clone()));
                let client = DistccClient::start(world, peer, &server)?;
                Ok(Started::Distcc {
                    client,
                    _server: server,
                })
            }
            Self::Icecream => Icecream::start(wire, world, setting).map(Started::Icecream),
            Self::Sccache => Sccache::start(wire, world, setting).map(Started::Sccache),
        }
    }
}

/// A system that runs until it is dropped.
pub enum Started<'a> {
    Distcc {
        client: DistccClient<'a>,
        _server: Distccd,
    },
    Icecream(Icecream<'a>),
    Sccache(Sccache<'a>),
}

impl<'a> Started<'a> {
    /// What is measured.
    pub fn client(&self) -> Client<'a> {
        match self {
            Self::Distcc { client, .. } => client.client(),
            Self::Icecream(started) => started.client(),
            Self::Sccache(started) => started.client(),
        }
    }
}
