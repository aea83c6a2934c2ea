//! The VM grows with the limits of its containers, or says that it cannot.

use std::error::Error as _;

use config::Sizing;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder,
    SpecBuilder,
};

use super::{Fixture, SIZING, init, new_container};
use crate::{container::NewContainer, io::Stdio, sandbox::Error};

fn limits(millis: i64, mib: i64) -> LinuxResources {
    let cpu = LinuxCpuBuilder::default()
        .quota(millis * 100)
        .period(100_000u64)
        .build();
    let memory = LinuxMemoryBuilder::default().limit(mib << 20).build();
    LinuxResourcesBuilder::default()
        .cpu(cpu.unwrap())
        .memory(memory.unwrap())
        .build()
        .unwrap()
}

fn limited(id: &str, millis: i64, mib: i64) -> NewContainer {
    let mut new = new_container(id, Stdio::default());
    let linux = LinuxBuilder::default()
        .resources(limits(millis, mib))
        .build()
        .unwrap();
    new.bundle.spec = SpecBuilder::default().linux(linux).build().unwrap();
    new
}

impl Fixture {
    fn growth(&self) -> Vec<String> {
        std::mem::take(&mut self.vm.growth.lock())
    }
}

#[tokio::test]
async fn containers_beside_each_other_add_up() {
    let fixture = Fixture::new().await;
    fixture
        .sandbox
        .create(limited("a", 800, 100))
        .await
        .unwrap();
    assert_eq!(fixture.growth(), [] as [&str; 0]);
    assert_eq!(fixture.guest.calls("online_cpu_mem"), 0);
    fixture
        .sandbox
        .create(limited("b", 800, 100))
        .await
        .unwrap();
    assert_eq!(fixture.growth(), ["384 MiB", "2 vCPUs"]);
    assert_eq!(fixture.guest.calls("online_cpu_mem 2"), 1);
}

#[tokio::test]
async fn what_ended_asks_for_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .sandbox
        .create(limited("a", 1000, 100))
        .await
        .unwrap();
    fixture.sandbox.start(init("a")).await.unwrap();
    fixture.guest.process("a").exit(0);
    fixture.sandbox.wait(init("a")).await.unwrap();
    fixture
        .sandbox
        .create(limited("b", 1000, 100))
        .await
        .unwrap();
    assert_eq!(fixture.growth(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_update_lets_the_vm_grow_before_the_container_may_use_more() {
    let fixture = Fixture::with_running("a").await;
    fixture
        .sandbox
        .update("a".into(), limits(3000, 400))
        .await
        .unwrap();
    assert_eq!(fixture.growth(), ["512 MiB", "3 vCPUs"]);
    assert_eq!(fixture.guest.calls("update_container"), 1);
    // Less is the guest's business, and more again up to what there is.
    for (millis, mib) in [(100, 10), (3000, 400)] {
        fixture
            .sandbox
            .update("a".into(), limits(millis, mib))
            .await
            .unwrap();
    }
    assert_eq!(fixture.growth(), [] as [&str; 0]);
    assert_eq!(fixture.guest.calls("update_container"), 3);
}

#[tokio::test]
async fn a_vm_that_cannot_grow_says_so_and_the_limits_stand() {
    let fixture = Fixture::with_running("a").await;
    *fixture.vm.stiff.lock() = true;
    let update = fixture.sandbox.update("a".into(), limits(2000, 0));
    let error = update.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The VM cannot grow from 1 vCPU, 256 MiB to 2 vCPUs, 256 MiB"
    );
    let source = error.source().unwrap().to_string();
    assert!(source.contains("it is stiff"), "{source}");
    assert_eq!(fixture.guest.calls("update_container"), 0);
    let too_much = fixture.sandbox.update("a".into(), limits(5000, 0)).await;
    let error = too_much.unwrap_err().to_string();
    assert!(error.contains("cannot grow beyond 4 vCPUs"), "{error}");

    let made = fixture.sandbox.create(limited("b", 2000, 0)).await;
    assert!(matches!(made, Err(Error::Resize(_))), "{made:?}");
    assert_eq!(fixture.vm.disks().len(), 1);
    // A limit that no VM can have promises nothing: the container gets what there is.
    *fixture.vm.stiff.lock() = false;
    fixture
        .sandbox
        .create(limited("b", 64_000, 0))
        .await
        .unwrap();
    assert_eq!(fixture.growth(), ["4 vCPUs"]);
}

#[tokio::test]
async fn a_vm_of_fixed_size_is_not_asked_to_grow() {
    let fixture = Fixture::sized(Sizing {
        fixed: true,
        ..SIZING
    });
    let fixture = fixture.await;
    fixture
        .sandbox
        .create(limited("a", 1000, 100))
        .await
        .unwrap();
    let update = fixture.sandbox.update("a".into(), limits(1001, 100));
    let error = update.await.unwrap_err().to_string();
    assert!(error.contains("static_sandbox_resource_mgmt"), "{error}");
    assert_eq!(fixture.growth(), [] as [&str; 0]);
    assert_eq!(fixture.guest.calls("update_container"), 0);
}
