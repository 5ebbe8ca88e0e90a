//! See the body of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nightlatch_fuzz_bodies::audit_export(input));
