//! A compiler call as the wrapper received it, and what a verdict may ask about the place it was made in.
//! Never interprets either.

/// One call of a compiler: bytes as the kernel passed them, nothing normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The arguments, the compiler's own name first.
    pub argv: Vec<Vec<u8>>,
    /// The absolute directory the compiler was started in.
    pub cwd: Vec<u8>,
    /// Name and value of each environment variable, in the order received; names may repeat.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The client's files, as far as a verdict depends on them. Paths handed over are absolute unless the
/// invocation's cwd was not.
pub trait Surroundings {
    /// The content of a response file; `None` when it cannot be read, which leaves the `@file` argument
    /// literal, as both compilers do.
    fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>>;

    /// Whether anything exists at `path`, links followed.
    fn exists(&mut self, path: &[u8]) -> bool;

    /// Whether a regular file is at `path`, links followed. Asked only of files that a plan names as inputs.
    fn is_file(&mut self, path: &[u8]) -> bool;
}
