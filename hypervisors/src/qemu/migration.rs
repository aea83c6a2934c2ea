//! A VM's state out to a file and in from one. QEMU calls both a migration.
//!
//! The file is opened here and handed over as a descriptor: QEMU never sees a path it would have to
//! interpret, and its `exec:` URIs, which are shell commands, are not used.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    launch::Vmm,
    qmp::{
        Event,
        command::{
            Migrate, MigrateCancel, MigrateIncoming, MigrateSetCapabilities, MigrateSetParameters,
            MigrationCapability, QueryMigrate, QueryStatus,
        },
    },
};
use crate::{Error, Result};

/// Name of the file within a directory of a saved VM.
pub const STATE_FILE: &str = "state";
/// The migration capability that leaves shared, file-backed memory out of the state.
pub const IGNORE_SHARED: &str = "x-ignore-shared";

const LOAD: &str = "the load of a saved state";
const SAVE: &str = "the save of a state";
/// The name the state's descriptor has in QEMU.
const FD_NAME: &str = "state";
const FD_URI: &str = "fd:state";
/// A saved VM without its memory is loaded or written in 10 ms; one with it at disk speed.
const TIMEOUT: Duration = Duration::from_secs(120);
/// What QEMU calls the state between the last byte of a migration and its end.
const FINISHING: &str = "finish-migrate";
/// That takes microseconds, on a machine that has time for it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// QEMU's own limit would hold a state with memory back to 128 MiB/s.
const UNLIMITED: u64 = i64::MAX as u64;
/// A VM that is loaded is another one at another place, with an address that it has yet to be
/// given. QEMU would send the address that it was started with to the network, five times, to every
/// VM there.
const NOT_ANNOUNCED: MigrateSetParameters = MigrateSetParameters::AnnounceRounds(0);

/// Writes the state of a paused VM into a new file in `dir`.
///
/// # Errors
/// On any, the file is gone again.
pub async fn save(vmm: &Vmm, dir: &Path) -> Result<()> {
    let status = vmm.execute(&QueryStatus {}).await?;
    if status.running {
        let reason = format!("the VM is not paused but {}", status.status);
        return Err(Error::Refused {
            request: String::from("save"),
            reason,
        });
    }
    let path = dir.join(STATE_FILE);
    let file = system::file::make(&path).map_err(|source| Error::Io {
        action: "Creating",
        path: path.clone(),
        source,
    })?;
    let unfinished = Unfinished(Some(path));
    let written = write(vmm, file).await;
    match written {
        Ok(()) => {
            unfinished.keep();
            Ok(())
        }
        Err(error) => {
            // The error says why the state was not written; that cancelling it failed adds nothing.
            let _ = vmm.execute(&MigrateCancel {}).await;
            Err(error)
        }
    }
}

/// Loads the state in `dir` into a QEMU that waits for one, and says how many bytes it has. The VM
/// is paused then.
pub async fn load(vmm: &Vmm, dir: &Path) -> Result<u64> {
    let path = dir.join(STATE_FILE);
    let failed = |source| Error::Io {
        action: "Opening",
        path: path.clone(),
        source,
    };
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    ignore_shared(vmm).await?;
    vmm.execute(&NOT_ANNOUNCED).await?;
    vmm.pass(FD_NAME, file.into()).await?;
    let loaded = vmm.wait_for(has_ended);
    vmm.execute(&MigrateIncoming { uri: FD_URI }).await?;
    let what = "the end of the load of a saved state";
    let event = vmm.event(loaded, what, TIMEOUT, LOAD).await?;
    outcome(vmm, &event, LOAD).await?;
    Ok(metadata.len())
}

/// What QEMU says of the last migration into or out of it: `None` when there was none.
pub async fn status(vmm: &Vmm) -> Result<Option<String>> {
    Ok(vmm.execute(&QueryMigrate {}).await?.status)
}

async fn write(vmm: &Vmm, file: File) -> Result<()> {
    ignore_shared(vmm).await?;
    vmm.execute(&MigrateSetParameters::MaxBandwidth(UNLIMITED))
        .await?;
    vmm.pass(FD_NAME, file.into()).await?;
    let written = vmm.wait_for(has_ended);
    vmm.execute(&Migrate { uri: FD_URI }).await?;
    let what = "the end of the save of a state";
    let event = vmm.event(written, what, TIMEOUT, SAVE).await?;
    outcome(vmm, &event, SAVE).await?;
    settled(vmm).await
}

/// Waits until the saved VM can be resumed. QEMU tells that a migration has completed a moment
/// before it leaves the state `finish-migrate`, in which it refuses `cont`, and no event tells of
/// that. Each question gives its migration thread a turn at the lock that it needs for it.
async fn settled(vmm: &Vmm) -> Result<()> {
    let left = async {
        while vmm.execute(&QueryStatus {}).await?.status == FINISHING {}
        Ok(())
    };
    let waited = SETTLE_TIMEOUT;
    timeout(waited, left).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            waited_for: format!("the end of QEMU's state {FINISHING}"),
            waited,
        })
    })
}

async fn ignore_shared(vmm: &Vmm) -> Result<()> {
    let on = |name: &str| MigrationCapability {
        capability: name.to_owned(),
        state: true,
    };
    let capabilities = vec![on(IGNORE_SHARED), on("events")];
    vmm.execute(&MigrateSetCapabilities { capabilities })
        .await?;
    Ok(())
}

fn has_ended(event: &Event) -> bool {
    event.name == "MIGRATION"
        && matches!(
            event.text("status"),
            Some("completed" | "failed" | "cancelled")
        )
}

/// Says how a migration ended. A QEMU that could not load a state ends itself.
async fn outcome(vmm: &Vmm, event: &Event, during: &'static str) -> Result<()> {
    if event.text("status") == Some("completed") {
        return Ok(());
    }
    let info = vmm.execute_during(&QueryMigrate {}, during).await?;
    let reason = info.error_desc;
    Err(Error::Refused {
        request: during.to_owned(),
        reason: reason.unwrap_or_else(|| String::from("it gave no reason")),
    })
}

/// A file that is removed unless it was written to its end.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
