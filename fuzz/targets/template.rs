#![no_main]
//! A whole template directory: manifest, record and state of any bytes, opened as by a
//! pod's start.

libfuzzer_sys::fuzz_target!(
    init: factory::fuzzing::write_seed("template"),
    |bytes: &[u8]| factory::fuzzing::template(bytes)
);
