//! See [`quicc_fuzz::mirror`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::mirror::check(bytes));
