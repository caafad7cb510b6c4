//! A builder whose process is another one before its clients know.

use quicc::agent::unit::Decision;
use quicc_protocol::message::Message;
use quicc_protocol::message::lease::LeaseGrant;
use quicc_protocol::message::offer::LeaseEnd;
use quicc_protocol::message::run::Exit;

use super::fake::{Part, Reply, Scene, Stage, certificates, endpoint, grant, successor};
use super::good_grant;
use crate::support::LONG;

/// After a sleep, say: the scheduler tells of a builder's slots before the agent hears that the builder it was connected
/// to is another process now.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_a_restarted_builder_is_used_though_its_old_connection_seemed_to_stand() {
    let certificates = certificates();
    let of = |own| endpoint(&certificates, own);
    let part = Part {
        grants: good_grant,
        // None has it: all are compiled.
        stage: Stage::Trial,
        reply: Reply::CompileAfter(0),
    };
    let roles = (of(&certificates.scheduler), of(&certificates.builder));
    let builder = roles.1.local_address().unwrap();
    let mut scene = Scene::of(part, &certificates, roles.0, roles.1).await;
    scene.granted().await;
    let is_done =
        |decision: &Decision| matches!(decision, Decision::Done(done, _) if done.exit == Exit::Code(0));
    let first = tokio::time::timeout(LONG, scene.decide()).await.unwrap();
    assert!(is_done(&first), "{first:?}");
    let restarted = successor(&certificates, &certificates.builder, builder);
    scene.restart_builder(restarted, |builder| {
        let former = grant(builder).lease;
        let end = LeaseEnd {
            lease: former,
            extensions: Vec::new(),
        };
        let next = LeaseGrant {
            lease: former + 1,
            ..grant(builder)
        };
        [end.to_frame(), next.to_frame()].concat()
    });
    // By then the agent knows that the connection is void.
    let given_back = tokio::time::timeout(LONG, scene.returned.recv()).await;
    assert!(given_back.unwrap().is_some());
    let second = tokio::time::timeout(LONG, scene.decide()).await.unwrap();
    assert!(is_done(&second), "{second:?}");
}
