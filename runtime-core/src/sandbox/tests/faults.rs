//! What happens when something else fails: the guest refuses, the agent is lost, the VM ends.

use super::*;
use crate::process::STATUS_LOST;

#[tokio::test]
async fn a_container_that_cannot_be_made_leaves_nothing() {
    let mut f = Fixture::new().await;
    f.guest.fail("create_container");
    let error = f
        .sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Agent { .. }), "{error}");
    assert!(f.vm.plugged().is_empty());
    assert_eq!(f.sandbox.count().await, 0);
    assert!(f.events().is_empty());
}

#[tokio::test]
async fn an_exec_that_cannot_be_started_has_ended_with_255() {
    let mut f = Fixture::with_running(MAIN).await;
    f.guest.fail("exec_process");
    let id = TaskId::new(MAIN, "e1");
    f.sandbox.add_exec(new_exec(MAIN, "e1")).await.unwrap();
    assert!(f.sandbox.start(id.clone()).await.is_err());
    assert_eq!(
        soon(f.sandbox.wait(id.clone())).await.unwrap().status,
        STATUS_LOST
    );
    assert_eq!(
        soon(f.sandbox.delete(id)).await.unwrap().status,
        STATUS_LOST
    );
    assert_eq!(f.events().last().unwrap(), "exit e1 255");
}

#[tokio::test]
async fn a_failed_start_can_be_tried_again_or_given_up() {
    let f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    f.guest.fail("start_container");
    assert!(f.sandbox.start(init(MAIN)).await.is_err());
    assert_eq!(
        f.sandbox.state(init(MAIN)).await.unwrap().phase,
        Phase::Created
    );
    soon(f.sandbox.delete(init(MAIN))).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_vm_ends_every_process_once() {
    let mut f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    f.sandbox.start(init("web")).await.unwrap();
    f.sandbox.add_exec(new_exec("web", "e1")).await.unwrap();
    f.sandbox.start(TaskId::new("web", "e1")).await.unwrap();
    f.vm.die();
    f.guest.hang_up();
    for id in [init(MAIN), init("web"), TaskId::new("web", "e1")] {
        assert_eq!(soon(f.sandbox.wait(id)).await.unwrap().status, STATUS_LOST);
    }
    soon(f.sandbox.ended()).await;
    let mut exits: Vec<_> = f
        .events()
        .into_iter()
        .filter(|event| event.starts_with("exit"))
        .collect();
    exits.sort();
    assert_eq!(exits, ["exit e1 255", "exit main 255", "exit web 255"]);

    assert!(matches!(
        f.sandbox
            .create(new_container("new", Stdio::default()))
            .await,
        Err(Error::Ended(_))
    ));
    soon(f.sandbox.delete(init("web"))).await.unwrap();
    soon(f.sandbox.delete(init(MAIN))).await.unwrap();
    assert_eq!(f.sandbox.count().await, 0);
}

#[tokio::test]
async fn without_its_agent_the_vm_is_ended() {
    let f = Fixture::with_running(MAIN).await;
    f.guest.hang_up();
    assert_eq!(
        soon(f.sandbox.wait(init(MAIN))).await.unwrap().status,
        STATUS_LOST
    );
    soon(f.sandbox.ended()).await;
    assert!(f.vm.is_dead());
    soon(f.sandbox.delete(init(MAIN))).await.unwrap();
}

#[tokio::test]
async fn a_vm_that_ends_during_a_start_does_not_leave_it_hanging() {
    let f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    f.guest.hold_starts(true);
    let start = tokio::spawn({
        let sandbox = f.sandbox.clone();
        async move { sandbox.start(init(MAIN)).await }
    });
    while f.guest.calls("start_container") == 0 {
        tokio::task::yield_now().await;
    }
    f.vm.die();
    f.guest.hang_up();
    f.guest.hold_starts(false);
    let _ = soon(start).await.unwrap();
    assert_eq!(
        soon(f.sandbox.wait(init(MAIN))).await.unwrap().status,
        STATUS_LOST
    );
    soon(f.sandbox.delete(init(MAIN))).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_does_not_let_go_does_not_keep_a_container() {
    let f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    f.guest.fail("remove_container");
    soon(f.sandbox.delete(init("web"))).await.unwrap();
    assert_eq!(f.sandbox.count().await, 1);
}

#[tokio::test]
async fn stop_ends_the_vm_whatever_runs() {
    let f = Fixture::with_running(MAIN).await;
    soon(f.sandbox.stop()).await;
    assert!(f.vm.is_dead());
    assert_eq!(
        soon(f.sandbox.wait(init(MAIN))).await.unwrap().status,
        STATUS_LOST
    );
}
