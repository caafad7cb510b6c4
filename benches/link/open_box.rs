//! A builder that leaves out the sandbox's namespaces, for what is measured beside others that have none: all else of
//! it is the product's. It is this program once more, in the place of `quicc builder`.

use std::path::{Path, PathBuf};
use std::process::Command;

use quicc::builder::{BuilderConfig, prepare};
use quicc::config::BuilderFile;
use quicc::config::file::ConfigText;
use quicc::host::clock::unix_seconds;
use quicc::transport::{Endpoint, ResetSecret};
use quicc_certs::{Credentials, Identity, Role, client_config, load_trust, server_config};
use quicc_protocol::version::ALPN;

use crate::support::World;

const SOURCE: &str = include_str!("open_box.c");
/// Names the program that stands in for the sandbox, for the bench as a builder.
const PROGRAM: &str = "QUICC_LINK_BENCH_OPEN_BOX";

/// This program, wherever it lies.
const OURSELVES: &str = "/proc/self/exe";

/// Makes the program in `world` and gives the command of the builder that uses it.
pub fn builder(world: &World) -> Result<Command, String> {
    let (source, program) = (world.at("open_box.c"), world.at("open_box"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compile = world.command("gcc");
    compile.args(["-O2", "-static", "-o"]).args([&program, &source]);
    let output = compile.output().map_err(|error| format!("gcc: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("no stand-in for the sandbox: {stderr}"));
    }
    let mut command = world.command(OURSELVES);
    command.env(PROGRAM, program);
    Ok(command)
}

/// Whether this process is to be such a builder, and with which program.
pub fn program() -> Option<PathBuf> {
    std::env::var_os(PROGRAM).map(PathBuf::from)
}

/// Is the builder that `builder.conf` describes, until it is killed.
pub fn serve(program: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| quicc::host::text::chain(error);
    let path = Path::new("builder.conf")
        .canonicalize()
        .map_err(|error| failed(&error))?;
    let text = ConfigText::read(&path).map_err(|error| failed(&error))?;
    let file = BuilderFile::parse(&text).map_err(|error| failed(&error))?;
    let ca = load_trust(&file.certificates.ca, unix_seconds()).map_err(|error| failed(&error))?;
    let own = Credentials::load(&file.certificates.own, unix_seconds()).map_err(|error| failed(&error))?;
    let server = server_config(&ca, &own, &[ALPN]).map_err(|error| failed(&error))?;
    let client = client_config(&ca, &own, &[ALPN]).map_err(|error| failed(&error))?;
    let scheduler = Identity {
        cluster: own.identity().cluster.clone(),
        role: Role::Scheduler,
        name: file.scheduler_name.clone(),
    };
    let config = BuilderConfig {
        executable: program.to_owned(),
        ..BuilderConfig::from_file(&file, own.identity().clone(), scheduler)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| failed(&error))?.block_on(async {
        let endpoint = Endpoint::bind(file.bind, Some(server), client, ResetSecret::of(&own));
        let endpoint = endpoint.map_err(|error| failed(&error))?;
        let builder = prepare(config).await.map_err(|error| failed(&error))?;
        println!("ready");
        let served = builder.serve(endpoint, std::future::pending()).await;
        served.map_err(|error| failed(&error))
    })
}
