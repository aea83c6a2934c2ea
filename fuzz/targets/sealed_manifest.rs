#![no_main]
//! A manifest whose digest is right, whatever its content: so the digest keeps nothing out.

libfuzzer_sys::fuzz_target!(
    init: factory::fuzzing::write_seed("sealed_manifest"),
    |bytes: &[u8]| factory::fuzzing::sealed_manifest(bytes)
);
