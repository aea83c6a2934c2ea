//! vCPUs and memory that are hot-plugged.
//!
//! QEMU is asked each time how large the VM is, so nothing here can drift from it. That QEMU has a
//! device says nothing about the guest: what counts is the guest's own report (the ACPI method
//! `_OST`, which QEMU passes on as the event `ACPI_DEVICE_OST`).

use std::time::Duration;

use tokio::sync::Mutex;

use super::{
    launch::Vmm,
    qmp::{
        Command, Event,
        command::{
            AddCpu, AddDimm, CpuPlace, Empty, ObjectAdd, ObjectDel, QueryCpusFast,
            QueryHotpluggableCpus, QueryMemoryDevices, QueryMemorySizeSummary,
        },
    },
};
use crate::{Error, Result, VmSpec};

/// How long a guest may take to report on a device: 0.2 s on an idle machine, emulated.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);
/// Guests take memory in blocks of this size (x86-64 guests of less than 64 GiB,
/// `memory_block_size_bytes`).
const BLOCK_MIB: u32 = 128;
/// New memory at once, in multiples of what the guest has: a quarter of it goes for the account.
const LEAP: u32 = 16;
const MIB: u64 = 1 << 20;

/// How far a VM may grow. One resize at a time.
#[derive(Debug)]
pub struct Growth {
    max_vcpus: u32,
    max_mib: u32,
    slots: u32,
    resizing: Mutex<()>,
}

impl Growth {
    /// The limits that `spec` set when the VM was started, with `slots` for memory.
    pub fn new(spec: &VmSpec, slots: u32) -> Self {
        Self {
            max_vcpus: spec.max_vcpus,
            max_mib: spec.memory.max_mib,
            slots,
            resizing: Mutex::new(()),
        }
    }

    /// Hot-plugs vCPUs until there are `wanted`.
    pub async fn resize_vcpus(&self, vmm: &Vmm, wanted: u32) -> Result<()> {
        let refused = |reason: String| refused(format!("resize to {wanted} vCPUs"), reason);
        let _resizing = self.resizing.lock().await;
        let (present, mut free) = sort(vmm.execute(&QueryHotpluggableCpus {}).await?);
        if wanted < present {
            return Err(refused(format!(
                "the VM has {present}, and a VM does not shrink"
            )));
        }
        if wanted > self.max_vcpus {
            let most = self.max_vcpus;
            return Err(refused(format!(
                "the VM was started with a limit of {most}"
            )));
        }
        for number in present..wanted {
            let Some(place) = free.pop() else {
                return Err(refused(format!(
                    "the VM has {number}, and no place for another"
                )));
            };
            let id = format!("cpu-{number}");
            let device = AddCpu {
                driver: place.kind,
                id: id.clone(),
                place: place.props,
            };
            add(vmm, &device, &id).await?;
        }
        Ok(())
    }

    /// Hot-plugs memory until there are at least `wanted` MiB; returns how much there is.
    pub async fn resize_memory(&self, vmm: &Vmm, wanted: u32) -> Result<u32> {
        let refused = |reason: String| refused(format!("resize to {wanted} MiB"), reason);
        let _resizing = self.resizing.lock().await;
        let now = vmm.execute(&QueryMemorySizeSummary {}).await?.mib();
        if wanted < now {
            return Err(refused(format!(
                "the VM has {now} MiB, and a VM does not shrink"
            )));
        }
        let whole = (wanted - now).next_multiple_of(BLOCK_MIB);
        if now.saturating_add(whole) > self.max_mib {
            let most = self.max_mib;
            return Err(refused(format!(
                "the VM has {now} MiB, grows in blocks of {BLOCK_MIB} MiB, and was started with a \
                 limit of {most} MiB"
            )));
        }
        let mut has = now;
        for step in steps(now, whole) {
            let used = vmm.execute(&QueryMemoryDevices {}).await?.len();
            if u32::try_from(used).is_ok_and(|used| used >= self.slots) {
                let slots = self.slots;
                return Err(refused(format!(
                    "the VM has {has} MiB, and all {slots} memory slots are taken"
                )));
            }
            add_memory(vmm, used, step).await?;
            has += step;
        }
        Ok(has)
    }
}

/// What is hot-plugged one after the other. A guest keeps account of new memory in the memory it
/// has, one byte for 64, so it cannot take much more at once than that lets it.
fn steps(now: u32, whole: u32) -> Vec<u32> {
    let (mut has, mut left) = (now, whole);
    let mut steps = Vec::new();
    while left > 0 {
        let most = has.saturating_mul(LEAP) / BLOCK_MIB * BLOCK_MIB;
        let step = left.min(most.max(BLOCK_MIB));
        steps.push(step);
        has = has.saturating_add(step);
        left -= step;
    }
    steps
}

/// The host's thread behind each vCPU.
pub async fn vcpu_threads(vmm: &Vmm) -> Result<Vec<u32>> {
    let cpus = vmm.execute(&QueryCpusFast {}).await?;
    Ok(cpus.into_iter().map(|cpu| cpu.thread_id).collect())
}

async fn add_memory(vmm: &Vmm, number: usize, mib: u32) -> Result<()> {
    let (memory, id) = (format!("memory-{number}"), format!("dimm-{number}"));
    let backend = ObjectAdd {
        kind: "memory-backend-ram",
        id: &memory,
        size: u64::from(mib) * MIB,
    };
    vmm.execute(&backend).await?;
    let device = AddDimm {
        driver: "pc-dimm",
        id: &id,
        memory: &memory,
    };
    let added = add(vmm, &device, &id).await;
    if let Err(Error::Refused { .. }) = added {
        // A device that is there keeps its memory, and QEMU refuses this.
        let _ = vmm.execute(&ObjectDel { id: &memory }).await;
    }
    added
}

/// Hot-plugs a device and waits for the guest's report on it. A device that the guest does not take
/// stays attached: only the guest could release it.
async fn add(vmm: &Vmm, device: &impl Command<Reply = Empty>, id: &str) -> Result<()> {
    let name = id.to_owned();
    let reported = vmm.wait_for(move |event| Report::about(event, &name).is_some());
    vmm.execute(device).await?;
    let what = format!("the guest to take {id}");
    let event = vmm
        .event(reported, &what, REPORT_TIMEOUT, "a hot-plug")
        .await?;
    match Report::about(&event, id) {
        Some(Report { status: 0 }) => Ok(()),
        other => {
            let status = other.map_or(0, |report| report.status);
            Err(refused(
                format!("hot-plug {id}"),
                format!("the guest reports status {status:#x}, and {id} stays attached unused"),
            ))
        }
    }
}

fn refused(request: String, reason: String) -> Error {
    Error::Refused { request, reason }
}

/// How many vCPUs there are, and the places of further ones, the last first.
fn sort(places: Vec<CpuPlace>) -> (u32, Vec<CpuPlace>) {
    let (present, free): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|place| place.path.is_some());
    let present = present.iter().map(|place| place.vcpus).sum();
    // QEMU lists the highest first.
    (present, free)
}

/// What a guest says of a device: 0 is success (ACPI specification, `_OST`).
struct Report {
    status: u64,
}

impl Report {
    /// The report in `event`, if it is one about device `id`.
    fn about(event: &Event, id: &str) -> Option<Self> {
        let info = event.data.get("info")?;
        let about = event.name == "ACPI_DEVICE_OST" && info.get("device")?.as_str()? == id;
        let status = info.get("status")?.as_u64()?;
        about.then_some(Self { status })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn free_places_are_told_from_taken_ones() {
        let places = json!([
            {"type": "max-x86_64-cpu", "vcpus-count": 1,
             "props": {"socket-id": 1, "core-id": 0, "thread-id": 0}},
            {"type": "max-x86_64-cpu", "vcpus-count": 1,
             "qom-path": "/machine/unattached/device[0]",
             "props": {"socket-id": 0, "core-id": 0, "thread-id": 0}},
        ]);
        let (present, free) = sort(serde_json::from_value(places).unwrap());
        assert_eq!((present, free.len()), (1, 1));
        let command = AddCpu {
            driver: free[0].kind.clone(),
            id: "cpu-1".into(),
            place: free[0].props.clone(),
        };
        let expected = json!({
            "driver": "max-x86_64-cpu", "id": "cpu-1",
            "socket-id": 1, "core-id": 0, "thread-id": 0,
        });
        assert_eq!(serde_json::to_value(command).unwrap(), expected);
    }

    #[test]
    fn much_memory_comes_in_steps() {
        assert_eq!(steps(256, 0), [] as [u32; 0]);
        assert_eq!(steps(256, 4096), [4096]);
        assert_eq!(steps(256, 16384), [4096, 12288]);
        assert_eq!(steps(4, 256), [128, 128]);
    }

    #[test]
    fn a_report_is_about_one_device() {
        let event = Event {
            name: "ACPI_DEVICE_OST".into(),
            data: json!({"info": {"device": "dimm-0", "source": 1, "status": 3, "slot": "0"}}),
        };
        assert_eq!(Report::about(&event, "dimm-0").map(|r| r.status), Some(3));
        assert!(Report::about(&event, "dimm-1").is_none());
        let other = Event {
            name: "DEVICE_DELETED".into(),
            data: json!({"device": "dimm-0"}),
        };
        assert!(Report::about(&other, "dimm-0").is_none());
    }
}
