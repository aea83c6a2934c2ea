//! What happens when everything works, and what is refused.

use super::*;

#[tokio::test]
async fn a_container_lives_and_is_told_of_in_order() {
    let mut f = Fixture::with_running(MAIN).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let sandbox = f.sandbox.clone();
                async move { sandbox.wait(init(MAIN)).await.unwrap().status }
            })
        })
        .collect();
    f.guest.process(MAIN).exit(42);
    for waiter in waiting {
        assert_eq!(soon(waiter).await.unwrap(), 42);
    }
    assert_eq!(soon(f.sandbox.wait(init(MAIN))).await.unwrap().status, 42);
    assert_eq!(soon(f.sandbox.delete(init(MAIN))).await.unwrap().status, 42);
    assert_eq!(
        f.events(),
        [
            "create main",
            "start main",
            "exit main 42",
            "delete main 42"
        ]
    );
    assert_eq!(f.guest.calls("wait_process"), 1);
    assert!(f.vm.is_dead());
    assert_eq!(f.sandbox.count().await, 0);
}

#[tokio::test]
async fn a_pods_container_comes_and_goes_without_the_pod() {
    let mut f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    assert_eq!(f.vm.disks().len(), 2);
    f.sandbox.start(init("web")).await.unwrap();
    f.sandbox.signal(init("web"), 15).await.unwrap();
    assert_eq!(soon(f.sandbox.wait(init("web"))).await.unwrap().status, 143);
    soon(f.sandbox.delete(init("web"))).await.unwrap();
    assert_eq!(f.vm.disks().len(), 1);
    assert!(!f.vm.is_dead());
    assert_eq!(f.guest.calls("remove_container web"), 1);
    // The name is free again.
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    assert_eq!(f.events().last().unwrap(), "create web");
}

#[tokio::test]
async fn an_exec_runs_beside_the_init() {
    let mut f = Fixture::with_running(MAIN).await;
    let id = TaskId::new(MAIN, "e1");
    f.sandbox.add_exec(new_exec(MAIN, "e1")).await.unwrap();
    assert!(matches!(
        f.sandbox.add_exec(new_exec(MAIN, "e1")).await,
        Err(Error::AlreadyExists(_))
    ));
    assert!(matches!(
        f.sandbox.signal(id.clone(), 9).await,
        Err(Error::NoProcess { .. })
    ));
    f.sandbox.start(id.clone()).await.unwrap();
    f.guest.process("e1").exit(7);
    assert_eq!(soon(f.sandbox.wait(id.clone())).await.unwrap().status, 7);
    assert_eq!(soon(f.sandbox.delete(id.clone())).await.unwrap().status, 7);
    assert!(matches!(f.sandbox.state(id).await, Err(Error::NotFound(_))));
    assert_eq!(
        f.sandbox.state(init(MAIN)).await.unwrap().phase,
        Phase::Running
    );
    assert_eq!(
        f.events(),
        [
            "create main",
            "start main",
            "exec-added e1",
            "start e1",
            "exit e1 7"
        ]
    );
}

#[tokio::test]
async fn what_does_not_fit_the_phase_is_refused_and_changes_nothing() {
    let f = Fixture::with_running(MAIN).await;
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::WrongPhase { .. }));
    assert!(refused(f.sandbox.start(init(MAIN)).await));
    assert!(refused(f.sandbox.resume(MAIN.into()).await));
    assert!(refused(f.sandbox.delete(init(MAIN)).await.map(drop)));
    assert!(matches!(
        f.sandbox.start(init("other")).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        f.sandbox
            .create(new_container(MAIN, Stdio::default()))
            .await,
        Err(Error::AlreadyExists(_))
    ));
    assert_eq!(
        f.sandbox.state(init(MAIN)).await.unwrap().phase,
        Phase::Running
    );
}

#[tokio::test]
async fn an_exec_is_not_started_in_a_container_that_was_not() {
    let f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    f.sandbox.add_exec(new_exec(MAIN, "e1")).await.unwrap();
    let result = f.sandbox.start(TaskId::new(MAIN, "e1")).await;
    assert!(matches!(
        result,
        Err(Error::WrongPhase {
            phase: Phase::Created,
            ..
        })
    ));
    assert_eq!(f.guest.calls("exec_process"), 0);
}

#[tokio::test]
async fn requests_wait_for_the_call_in_progress() {
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
    let kill = tokio::spawn({
        let sandbox = f.sandbox.clone();
        async move { sandbox.signal(init(MAIN), 9).await }
    });
    // Reads are answered meanwhile.
    assert_eq!(
        f.sandbox.state(init(MAIN)).await.unwrap().phase,
        Phase::Starting
    );
    assert_eq!(f.guest.calls("signal_process"), 0);
    f.guest.hold_starts(false);
    soon(start).await.unwrap().unwrap();
    soon(kill).await.unwrap().unwrap();
    assert_eq!(soon(f.sandbox.wait(init(MAIN))).await.unwrap().status, 137);
}

#[tokio::test]
async fn sigkill_reaches_a_paused_container() {
    let mut f = Fixture::with_running(MAIN).await;
    f.sandbox.pause(MAIN.into()).await.unwrap();
    assert_eq!(
        f.sandbox.state(init(MAIN)).await.unwrap().phase,
        Phase::Paused
    );
    f.sandbox.signal(init(MAIN), 9).await.unwrap();
    assert_eq!(f.guest.calls("resume_container"), 1);
    assert_eq!(soon(f.sandbox.wait(init(MAIN))).await.unwrap().status, 137);
    assert_eq!(
        f.events(),
        ["create main", "start main", "paused main", "exit main 137"]
    );
}

#[tokio::test]
async fn ending_what_has_ended_is_fine() {
    let f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    f.sandbox.start(init("web")).await.unwrap();
    f.guest.process("web").exit(0);
    soon(f.sandbox.wait(init("web"))).await.unwrap();
    f.sandbox.signal(init("web"), 15).await.unwrap();
    f.sandbox.signal(init("web"), 9).await.unwrap();
    assert!(matches!(
        f.sandbox.signal(init("web"), 10).await,
        Err(Error::NoProcess { .. })
    ));
}

#[tokio::test]
async fn a_container_that_was_never_started_can_be_deleted() {
    let mut f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    assert_eq!(
        soon(f.sandbox.delete(init(MAIN))).await.unwrap().status,
        137
    );
    assert!(f.vm.is_dead());
    assert_eq!(f.events().first().unwrap(), "create main");
    assert_eq!(f.events().len(), 0);
}

#[tokio::test]
async fn a_signal_for_all_reaches_execs_that_run() {
    let f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container("web", Stdio::default()))
        .await
        .unwrap();
    f.sandbox.start(init("web")).await.unwrap();
    for exec in ["runs", "waits"] {
        f.sandbox.add_exec(new_exec("web", exec)).await.unwrap();
    }
    f.sandbox.start(TaskId::new("web", "runs")).await.unwrap();
    f.sandbox.signal_all("web".into(), 15).await.unwrap();
    for id in [TaskId::new("web", "runs"), init("web")] {
        assert_eq!(soon(f.sandbox.wait(id)).await.unwrap().status, 143);
    }
    assert_eq!(f.guest.calls("signal_process"), 2);
    assert!(matches!(
        f.sandbox.signal_all("none".into(), 15).await,
        Err(Error::NotFound(_))
    ));
}
