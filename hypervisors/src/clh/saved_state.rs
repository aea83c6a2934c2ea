//! The state that lies beside a saved configuration, and what of it no clone may do.
//!
//! From v53 on Cloud Hypervisor takes a VM that was restored for one that has moved here: it
//! broadcasts the address of its network interface five times, and has the guest announce itself.
//! The address is that of the template, which no VM uses, and nothing in its configuration stops
//! it. It does so by what guest and device have agreed on, which is part of the state.

use serde_json::Value;

use super::vm_config::NIC;

/// The longest state that is read; one has some 100 KiB.
const LIMIT: usize = 16 << 20;

/// Where the device's part is: as text, by the ids of the snapshots that lead to it.
const DEVICES: &str = "device-manager";

/// Features of a virtio network interface (virtio 1.2, 5.1.3).
const MAC: u64 = 1 << 5;
const GUEST_ANNOUNCE: u64 = 1 << 21;

/// A saved state is not of the form that is known.
#[derive(Debug, thiserror::Error)]
#[error("Saved state cannot be used: {0}")]
pub struct InvalidState(String);

/// The state of the same VM, whose network interface announces nothing when it is restored. None if
/// it is one already.
///
/// # Errors
/// The text is too long, no state, or has no network interface.
pub fn unannounced(text: &[u8]) -> Result<Option<Vec<u8>>, InvalidState> {
    let invalid = |error: serde_json::Error| InvalidState(error.to_string());
    if text.len() > LIMIT {
        return Err(InvalidState(format!("it has more than {LIMIT} bytes")));
    }
    let mut state: Value = serde_json::from_slice(text).map_err(invalid)?;
    let place = format!("/snapshots/{DEVICES}/snapshots/{NIC}/snapshot_data/state");
    let Some(Value::String(device)) = state.pointer_mut(&place) else {
        return Err(InvalidState(format!("it has no network interface {NIC:?}")));
    };
    let mut nic: Value = serde_json::from_str(device).map_err(invalid)?;
    let features = |name| nic.get(name).and_then(Value::as_u64);
    let (Some(offered), Some(agreed)) = (features("avail_features"), features("acked_features"))
    else {
        return Err(InvalidState(format!(
            "its network interface {NIC:?} has no features"
        )));
    };
    // One that cannot have its guest announce itself does not do so itself either. The address is
    // the guest's already; the bit only says that there is one to broadcast.
    let kept = agreed & !(GUEST_ANNOUNCE | MAC);
    if offered & GUEST_ANNOUNCE == 0 || kept == agreed {
        return Ok(None);
    }
    nic["acked_features"] = kept.into();
    *device = nic.to_string();
    serde_json::to_vec(&state).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What v53.0 offers, and Linux 6.1 takes of it.
    const OFFERED: u64 = 0x1_3063_ffab;
    const AGREED: u64 = 0x1_3063_ffab;

    fn nic(offered: u64, agreed: u64) -> Value {
        json!({
            "avail_features": offered, "acked_features": agreed,
            "config": {"mac": [2, 0, 0, 0, 0, 1], "status": 1}, "queue_size": [256, 256, 256],
        })
    }

    fn saved(nic: &str) -> Value {
        let leaf = |state: &str| json!({"snapshots": {}, "snapshot_data": {"state": state}});
        json!({
            "snapshots": {
                "cpu-manager": leaf("{}"),
                "device-manager": {
                    "snapshots": {"nic": leaf(nic), "_virtio-pci-nic": leaf("{\"x\":1}")},
                    "snapshot_data": {"state": "{}"},
                },
            },
            "snapshot_data": {"state": "{\"clock\":18446744073709551615}"},
        })
    }

    fn changed(saved: &Value) -> Result<Option<Value>, String> {
        let text = serde_json::to_vec(saved).unwrap();
        let changed = unannounced(&text).map_err(|error| error.to_string())?;
        Ok(changed.map(|text| serde_json::from_slice(&text).unwrap()))
    }

    #[test]
    fn an_interface_that_would_announce_itself_does_not() {
        let before = saved(&nic(OFFERED, AGREED).to_string());
        let after = changed(&before).unwrap().unwrap();
        let kept = AGREED & !(1 << 21) & !(1 << 5);
        assert_eq!(after, saved(&nic(OFFERED, kept).to_string()));
        assert_eq!(changed(&after), Ok(None));
    }

    #[test]
    fn one_of_a_version_that_announces_nothing_is_left_alone() {
        let (offered, agreed) = (OFFERED & !GUEST_ANNOUNCE, AGREED & !GUEST_ANNOUNCE);
        let before = saved(&nic(offered, agreed).to_string());
        assert_eq!(changed(&before), Ok(None));
    }

    #[test]
    fn another_form_is_refused_with_what_is_missing() {
        let mut without = saved("{}");
        without["snapshots"]["device-manager"]["snapshots"] = json!({});
        for (state, words) in [
            (json!([]), "no network interface \"nic\""),
            (without, "no network interface \"nic\""),
            (saved("{"), "EOF"),
            (saved("[]"), "has no features"),
            (saved("{\"avail_features\":1}"), "has no features"),
            (
                saved("{\"avail_features\":-1,\"acked_features\":0}"),
                "has no features",
            ),
        ] {
            let refusal = changed(&state).unwrap_err();
            assert!(refusal.contains(words), "{refusal}");
        }
        assert!(unannounced(b"{").is_err());
        assert!(unannounced(&vec![b' '; LIMIT + 1]).is_err());
    }
}
