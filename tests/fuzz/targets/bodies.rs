//! See [`quicc_fuzz::bodies`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::bodies::check(bytes));
