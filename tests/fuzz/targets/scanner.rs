//! See [`quicc_fuzz::scanner`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::scanner::check(bytes));
