//! What a builder tells of its machine. Everything here is advice to the scheduler: what cannot be read is 0.

use std::fs;

/// One-minute load average in thousandths (proc_loadavg(5)).
pub(super) fn load_permille() -> u32 {
    parse_load(&fs::read_to_string("/proc/loadavg").unwrap_or_default())
}

/// Bytes available for new processes without swapping (proc_meminfo(5)).
pub(super) fn memory_available() -> u64 {
    parse_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_load(text: &str) -> u32 {
    let first = text.split_ascii_whitespace().next();
    let load: f64 = first.and_then(|load| load.parse().ok()).unwrap_or(0.0);
    // A cast from a float saturates.
    (load * 1000.0) as u32
}

fn parse_memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kibibytes
        .and_then(|number| number.trim().parse::<u64>().ok())
        .map_or(0, |number| number.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        for (text, expected) in [
            ("1.50 0.97 0.80 2/300 4242\n", 1500),
            ("", 0),
            ("-1 x", 0),
            ("nonsense", 0),
        ] {
            assert_eq!(parse_load(text), expected, "{text:?}");
        }
        let meminfo = "MemTotal:       24575876 kB\nMemFree: 1 kB\nMemAvailable:   20480000 kB\n";
        for (text, expected) in [
            (meminfo, 20_480_000 * 1024),
            ("", 0),
            ("MemAvailable: much kB", 0),
        ] {
            assert_eq!(parse_memory(text), expected, "{text:?}");
        }
        assert!(memory_available() > 0);
    }
}
