//! See [`quicc_fuzz::messages`].

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quicc_fuzz::messages::check(bytes));
