//! See [`quicc_fuzz::verdict`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::verdict::check(bytes));
