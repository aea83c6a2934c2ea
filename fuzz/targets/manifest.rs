#![no_main]
//! A manifest of any bytes ends in a reason, or in a manifest that is written back the same.

libfuzzer_sys::fuzz_target!(
    init: factory::fuzzing::write_seed("manifest"),
    |bytes: &[u8]| factory::fuzzing::manifest(bytes)
);
