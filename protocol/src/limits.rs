//! Every maximum a peer may rely on. A value above its limit is an error of the sender.

/// Payload bytes of a message on a control stream (offers, leases, status).
pub const CONTROL_PAYLOAD: usize = 64 << 10;
/// Payload bytes of a message on a run, table or blob stream.
pub const RUN_PAYLOAD: usize = 4 << 20;
/// Payload bytes of a message between a wrapper and its agent. `execve` bounds argv and environment by the
/// stack limit's quarter (usually 2 MiB, 6 MiB at most by default); twice that is room enough.
pub const WRAPPER_PAYLOAD: usize = 16 << 20;
/// Memory one decoded message may claim, as a multiple of its payload: a `Vec<u64>` of one-byte varints takes
/// eight times its wire size, a `Vec<(Vec<u8>, Vec<u8>)>` of empty pairs 24 times.
pub const DECODED_PER_PAYLOAD_BYTE: usize = 32;
/// Size of one blob or output, bytes. Larger compile outputs exist only in theory; they are made locally.
pub const BLOB: u64 = 2 << 30;
/// Blobs announced by one batch.
pub const BLOBS_PER_BATCH: usize = 4096;
/// Bytes of all blobs of a batch together, once decoded, unless it holds a single one: what a receiver decodes to reach
/// the one it wants.
pub const BATCH: u64 = 16 << 20;
/// Logarithm of the largest window of a zstd frame: a receiver gives 8 MiB to each stream it decodes.
pub const ZSTD_WINDOW_LOG: u32 = 23;
/// Entries of one view's table. 5,000 headers are a large project; poison names do not count.
pub const TABLE_ENTRIES: u32 = 1 << 20;
/// Bytes of one path component (`NAME_MAX`).
pub const ENTRY_NAME: usize = 255;
/// Bytes of a symbolic link's target or of a path (`PATH_MAX`).
pub const PATH: usize = 4096;
/// Depth of an entry below the root of its view.
pub const PATH_DEPTH: usize = 256;
/// Programs one action may run: a preprocessor, a compiler, an assembler, and `objcopy` twice, with room to spare.
pub const STEPS: usize = 8;
/// Outputs one action may declare.
pub const OUTPUTS: usize = 32;
/// Bytes of standard output and standard error together that an outcome carries.
pub const OUTCOME_TEXT: u64 = 64 << 20;
/// Bytes of all written outputs of one outcome together: both ends hold them in memory.
pub const OUTCOME_OUTPUTS: u64 = 1 << 30;
/// Extensions one message may end with, and the bytes of each.
pub const EXTENSIONS: usize = 64;
/// Bytes of a hello after its length field.
pub const HELLO: usize = 1024;
