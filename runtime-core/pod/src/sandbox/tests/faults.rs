//! What happens when something else fails: the guest refuses, the agent is lost, the VM ends.

use agent_client::{JOINS_PID_NAMESPACES, PID_NAMESPACE_OF};
use system::time::pause;

use super::*;
use crate::{container, process::STATUS_LOST};

#[tokio::test]
async fn a_container_that_cannot_be_made_leaves_nothing() {
    let mut f = Fixture::new().await;
    f.guest.fail("create_container");
    let error = f
        .sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap_err();
    assert!(error.of_agent().is_some(), "{error}");
    assert!(f.vm.disks().is_empty());
    assert_eq!(f.sandbox.count().await, 0);
    assert!(f.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_container_of_which_the_guest_says_nothing_is_removed_from_it() {
    let f = Fixture::new().await;
    f.guest.silence("create_container");
    let made = f.sandbox.create(new_container("web", Stdio::default()));
    assert!(made.await.unwrap_err().is_unanswered());
    assert_eq!(f.guest.calls("remove_container web"), 1);
    assert_eq!(f.sandbox.count().await, 0);
}

#[tokio::test]
async fn only_an_agent_that_can_lets_a_container_join_another() {
    let new = || {
        let mut new = new_container("debug", Stdio::default());
        let joins = [(PID_NAMESPACE_OF.to_owned(), "web".to_owned())];
        new.bundle.spec.set_annotations(Some(joins.into()));
        new
    };
    let stock = Fixture::new().await;
    let refused = stock.sandbox.create(new()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Container(container::Error::Unsupported(_))),
        "{refused}"
    );
    assert_eq!(stock.guest.calls("create_container"), 0);
    assert!(stock.vm.disks().is_empty());
    let guest = Guest::with_feature(JOINS_PID_NAMESPACES);
    let embedded = Fixture::of(SIZING, guest, &DiskSlots::default()).await;
    embedded.sandbox.create(new()).await.unwrap();
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

/// A container that was made and not started, in a sandbox whose main container runs.
async fn with_created(container: &str) -> Fixture {
    let f = Fixture::with_running(MAIN).await;
    f.sandbox
        .create(new_container(container, Stdio::default()))
        .await
        .unwrap();
    f
}

#[tokio::test]
async fn what_was_never_started_can_be_killed_and_deleted() {
    for signal in [9, 15] {
        let mut f = with_created("web").await;
        let waiting = tokio::spawn({
            let sandbox = f.sandbox.clone();
            async move { sandbox.wait(init("web")).await.unwrap().status }
        });
        f.sandbox.signal(init("web"), signal).await.unwrap();
        assert_eq!(soon(waiting).await.unwrap(), 128 + signal);
        let state = f.sandbox.state(init("web")).await.unwrap();
        assert_eq!(state.phase, Phase::Stopped);
        let refused = f.sandbox.start(init("web")).await;
        assert!(matches!(refused, Err(Error::WrongPhase { .. })));
        soon(f.sandbox.delete(init("web"))).await.unwrap();
        assert!(!f.vm.is_dead());
        let exits = f
            .events()
            .into_iter()
            .filter(|event| event.starts_with("exit"));
        assert_eq!(exits.count(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_killed_before_its_start_stays_created() {
    let f = with_created("web").await;
    f.guest.fail("signal_process");
    assert!(f.sandbox.signal(init("web"), 9).await.is_err());
    let state = f.sandbox.state(init("web")).await.unwrap();
    assert_eq!(state.phase, Phase::Created);
}

#[tokio::test]
async fn a_main_container_that_is_killed_before_its_start_ends_the_vm() {
    let f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    f.sandbox.signal(init(MAIN), 9).await.unwrap();
    soon(f.sandbox.ended()).await;
    assert_eq!(f.sandbox.wait(init(MAIN)).await.unwrap().status, 137);
}

/// Time is the clock of these tests: it moves on when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_killed_process_ends_though_the_guest_does_not_say_so() {
    let mut f = with_created("web").await;
    f.sandbox.start(init("web")).await.unwrap();
    f.guest.ignore_signals();
    f.sandbox.signal(init("web"), 9).await.unwrap();
    assert_eq!(f.sandbox.wait(init("web")).await.unwrap().status, 137);
    assert!(!f.vm.is_dead(), "the rest of the pod lives on");
    // The main container stands for the VM.
    f.sandbox.signal(init(MAIN), 9).await.unwrap();
    assert_eq!(f.sandbox.wait(init(MAIN)).await.unwrap().status, 137);
    f.sandbox.ended().await;
    assert!(f.vm.is_dead());
    let exits: Vec<_> = f
        .events()
        .into_iter()
        .filter(|event| event.starts_with("exit"))
        .collect();
    assert_eq!(exits, ["exit web 137", "exit main 137"]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_answer_does_not_keep_what_was_never_started() {
    let f = Fixture::new().await;
    f.sandbox
        .create(new_container(MAIN, Stdio::default()))
        .await
        .unwrap();
    f.guest.silence("signal_process");
    f.sandbox.signal(init(MAIN), 9).await.unwrap();
    assert_eq!(
        f.sandbox.wait(init(MAIN)).await.unwrap().status,
        STATUS_LOST
    );
    f.sandbox.ended().await;
    assert!(f.vm.is_dead());
}

#[tokio::test(start_paused = true)]
async fn a_start_without_an_answer_is_lost_and_killed() {
    let f = with_created("web").await;
    f.guest.silence("start_container");
    assert!(f.sandbox.start(init("web")).await.is_err());
    assert_eq!(
        f.sandbox.wait(init("web")).await.unwrap().status,
        STATUS_LOST
    );
    soon(f.sandbox.delete(init("web"))).await.unwrap();
    assert_eq!(f.guest.calls("signal_process web"), 1);
    assert!(!f.vm.is_dead());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_reports_without_end_does_not_fill_the_memory_of_its_host() {
    let mut f = Fixture::with_running(MAIN).await;
    f.guest.run_out_of_memory(MAIN);
    let long = Duration::from_secs(100);
    pause("nothing is to happen", long).await;
    let asked = f.guest.calls("get_oom_event");
    assert!(
        (EVENTS / 2..=1001).contains(&asked),
        "asked {asked} times in 100 s"
    );
    // What else happens is told all the same.
    f.guest.process(MAIN).exit(0);
    assert_eq!(f.sandbox.wait(init(MAIN)).await.unwrap().status, 0);
    let events = f.events();
    assert!(events.len() <= EVENTS / 2 + 1, "{} events", events.len());
    assert_eq!(events.last().unwrap(), "exit main 0");
}

#[tokio::test]
async fn in_a_vm_that_ends_there_is_nothing_to_signal() {
    let f = Fixture::with_running(MAIN).await;
    f.guest.silence("signal_process");
    let kill = tokio::spawn({
        let sandbox = f.sandbox.clone();
        async move { sandbox.signal(init(MAIN), 10).await }
    });
    while f.guest.calls("signal_process") == 0 {
        tokio::task::yield_now().await;
    }
    f.guest.hang_up();
    let error = soon(kill).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoProcess { .. }), "{error}");
}
