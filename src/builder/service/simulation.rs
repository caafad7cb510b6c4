//! A builder whose compiles are scripted: connections, leases, tables, mirrors, blobs, directories and answers are the
//! real ones, and a pause takes the place of a sandbox. Starts no process, so it can live in virtual time.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quicc_certs::Identity;
use quicc_protocol::{BlobDigest, close};
use quinn::VarInt;
use tokio::time::Instant;

use super::{Builder, JobDirectories, Shared, mirrors};
use crate::builder::BuilderConfig;
use crate::builder::connection::{self, Tasks};
use crate::host::task::{self, Task};
use crate::sandbox::{End, Plan, Report};
use crate::store::Cas;
use crate::store::discard::Discarder;
use crate::transport::Endpoint;

/// Bytes of blobs kept.
const CAS_LIMIT: u64 = 16 << 20;

/// What stands for a compiler: its second argument names the one output, in the first directory it may write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    /// How long it takes.
    pub(crate) compile: Duration,
    /// Bytes it writes.
    pub(crate) output: usize,
}

impl Script {
    /// What it writes under `name`: bytes that no compression makes smaller.
    pub(crate) fn output_of(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; self.output];
        let mut hasher = blake3::Hasher::new();
        hasher.update(name).finalize_xof().fill(&mut bytes);
        bytes
    }

    pub(in crate::builder) async fn run(&self, plan: &Plan) -> Report {
        tokio::time::sleep(self.compile).await;
        let name = &plan.steps[0].argv[1];
        let output = plan.output_directories[0]
            .source
            .join(std::ffi::OsStr::from_bytes(name));
        fs::write(output, self.output_of(name)).unwrap();
        Report {
            end: End::Exited(0),
            stdout: Vec::new(),
            stderr: Vec::new(),
            cpu: self.compile,
            wall: self.compile,
            peak_memory_bytes: 0,
        }
    }
}

type Connections = Arc<Mutex<Vec<quinn::Connection>>>;

/// A builder that serves. Dropping it ends it abruptly.
#[derive(Debug)]
pub(crate) struct ScriptedBuilder {
    shared: Arc<Shared>,
    connections: Connections,
    _serving: Task<()>,
}

impl ScriptedBuilder {
    /// Serves whoever connects to `endpoint`, with `slots`, its files below `directory` and tickets of `ticket_key`.
    pub(crate) fn start(
        (identity, slots): (&Identity, u32),
        directory: &Path,
        endpoint: Endpoint,
        (ticket_key, now): (&[u8], u64),
        script: Script,
    ) -> Self {
        let config = BuilderConfig {
            slots,
            cas_limit: CAS_LIMIT,
            ..BuilderConfig::embedded(
                identity.clone(),
                identity.clone(),
                String::new(),
                String::new(),
                directory.to_owned(),
            )
        };
        let cas = Cas::open(&config.cache_dir, config.cas_limit).unwrap();
        fs::create_dir_all(mirrors(&config)).unwrap();
        let discarder = Discarder::start_holding(cas.clone()).unwrap();
        let job_directories = JobDirectories::open(&config.build_dir, Arc::clone(&discarder)).unwrap();
        let builder = Builder {
            config,
            cas,
            job_directories,
            discarder,
        };
        let shared = Arc::new(Shared {
            script: Some(script),
            ..builder.share(endpoint)
        });
        let heard = Instant::now();
        let authority = &shared.admission.authority;
        authority.heard(ticket_key, now, heard, heard).unwrap();
        let connections = Connections::default();
        let serving = task::spawn("builder", serve(Arc::clone(&shared), Arc::clone(&connections)));
        Self {
            shared,
            connections,
            _serving: serving,
        }
    }

    /// Forgets every blob of its store. Files that are in place stay.
    pub(crate) fn lose_blobs(&self) {
        let filler = vec![1; CAS_LIMIT as usize];
        let digest = BlobDigest::of(&filler);
        let mut writer = self.shared.cas.insert_writer(digest, CAS_LIMIT).unwrap();
        writer.write_all(&filler).unwrap();
        writer.commit().unwrap();
    }

    /// Closes every connection, and goes on.
    pub(crate) fn disconnect(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.close(VarInt::from_u32(close::DONE), b"");
        }
    }
}

async fn serve(shared: Arc<Shared>, connections: Connections) {
    let mut clients = Tasks::default();
    while let Some(arriving) = shared.endpoint.accept().await {
        let (shared, connections) = (Arc::clone(&shared), Arc::clone(&connections));
        clients.keep(task::spawn("client", async move {
            if let Ok(peer) = arriving.finish_early(&shared.hello()).await {
                connections.lock().unwrap().push(peer.connection.clone());
                connection::serve(shared, peer).await;
            }
        }));
    }
}
