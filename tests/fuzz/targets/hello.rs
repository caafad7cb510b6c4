//! See [`quicc_fuzz::hello`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::hello::check(bytes));
