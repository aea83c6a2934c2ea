#![no_main]
//! A manifest whose digest is right, whatever its content: what the digest keeps out is let in here.

libfuzzer_sys::fuzz_target!(
    init: factory::fuzzing::write_seed("sealed_manifest"),
    |bytes: &[u8]| factory::fuzzing::sealed_manifest(bytes)
);
