//! See [`quicc_fuzz::table`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::table::check(bytes));
