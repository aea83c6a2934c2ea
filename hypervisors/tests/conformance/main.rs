//! One suite for the contract, run on every VMM that this machine has.
//!
//! `IMPRINT_TEST_CLH` names a Cloud Hypervisor; without it, the one on the `PATH` is taken. With
//! `IMPRINT_TEST_KVM` set, KVM is said to run guests. A VMM that is missing is skipped, and so is
//! what needs a guest that runs, where none does: each says so on a line that begins with
//! `SKIPPED`.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod devices;
mod endings;
mod lifecycle;
mod nic;
mod refusals;
mod saving;
mod slots;
mod subject;
#[path = "../common/tap.rs"]
mod tap;

/// Every case, once for each VMM.
macro_rules! suite {
    ($($module:ident :: $case:ident)*) => {
        suite!(@of qemu, $($module::$case)*);
        suite!(@of clh, $($module::$case)*);
    };
    (@of $vmm:ident, $($module:ident :: $case:ident)*) => {
        mod $vmm {
            $(#[tokio::test]
            async fn $case() {
                let Some(subject) = crate::subject::$vmm().await else { return };
                crate::$module::$case(&subject).await;
                subject.assert_nothing_left();
            })*
        }
    };
}

suite! {
    lifecycle::a_vm_is_booted_and_ends
    lifecycle::a_vm_is_paused_and_resumed
    lifecycle::dropping_the_last_handle_ends_the_vm
    lifecycle::a_guest_that_resets_ends_its_vm
    saving::a_vm_is_restored_more_than_once_and_its_memory_file_stays
    saving::memory_in_no_file_is_saved_too
    saving::a_running_vm_is_not_saved
    saving::a_directory_with_a_saved_vm_gets_no_second
    saving::damaged_files_are_refused
    devices::a_disk_comes_and_goes
    devices::a_disk_comes_and_goes_in_a_clone
    devices::a_network_interface_comes
    nic::a_vm_has_a_network_interface_from_its_start
    nic::each_clone_has_a_tap_of_its_own
    slots::what_is_in_a_slot_is_exchanged
    slots::each_clone_has_slots_of_its_own
    devices::what_cannot_be_attached_leaves_nothing_in_its_way
    devices::a_vm_grows
    devices::a_clone_grows_or_says_why_not
    refusals::impossible_vms_are_refused
    refusals::a_missing_kernel_is_named
    refusals::a_memory_file_has_exactly_the_memorys_size
    endings::a_killed_vmm_is_told_at_every_step
    endings::a_failed_start_leaves_nothing
}
