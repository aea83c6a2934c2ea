#![no_main]
//! A record of failed restores of any bytes.

libfuzzer_sys::fuzz_target!(
    init: factory::fuzzing::write_seed("failures"),
    |bytes: &[u8]| factory::fuzzing::failures(bytes)
);
