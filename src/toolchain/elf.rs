//! Reads the two facts an ELF program states about itself: the machine it runs on and its loader.
//!
//! Pure: bytes come from the caller's reader. Never follows sections, dynamic entries or needed libraries;
//! those are the loader's business (see [`super::loader`]).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Bytes of the longest ELF header (class 64).
const HEADER_SIZE: usize = 64;
/// Bytes of the shorter ELF header (class 32); nothing shorter is an ELF file.
const SHORT_HEADER_SIZE: usize = 52;
/// Program headers looked at; linkers write about a dozen.
const MAX_PROGRAM_HEADERS: u16 = 256;
/// Bytes of one program header entry looked at; the ELF specification has 32 and 56.
const MAX_PROGRAM_HEADER_SIZE: u16 = 256;
/// Bytes of a loader's path: Linux refuses a longer `PT_INTERP` (`PATH_MAX`, fs/binfmt_elf.c).
const MAX_INTERPRETER_SIZE: u64 = 4096;

/// `e_type` of a program at fixed addresses.
const TYPE_EXECUTABLE: u64 = 2;
/// `e_type` of a position-independent program or a shared library.
const TYPE_SHARED: u64 = 3;
/// `p_type` of the segment that names the loader.
const SEGMENT_INTERPRETER: u64 = 3;

/// What an ELF file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ElfFile {
    /// The machine in `uname -m` terms: `x86_64`, `aarch64`; `elf-<number>` for one without a name here.
    pub(super) machine: String,
    /// The loader as the kernel will open it (`PT_INTERP`); `None` for static programs and libraries.
    pub(super) interpreter: Option<PathBuf>,
}

/// Why bytes are not an ELF program or library.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The reader failed.
    #[error("cannot read the file")]
    Read {
        /// What the reader answered.
        source: io::Error,
    },
    /// The first bytes are not those of ELF: a script, a text, an empty file.
    #[error("no ELF magic number")]
    Magic,
    /// A field has a value the ELF specification does not define, or beyond a bound of this reader.
    #[error("unsupported {field} {value}")]
    Unsupported {
        /// The field in the ELF specification's terms.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file ends inside the named part.
    #[error("file ends inside its {part}")]
    Truncated {
        /// The part that was being read.
        part: &'static str,
    },
    /// The loader's path is not absolute or not terminated by NUL.
    #[error("malformed interpreter path")]
    Interpreter,
}

/// Reads an ELF file through `read`, which returns up to the asked number of bytes at an offset (fewer only
/// at the end of the file). At most four reads, each within the named bounds.
pub(super) fn parse(read: &mut dyn FnMut(u64, usize) -> io::Result<Vec<u8>>) -> Result<ElfFile, ElfError> {
    let header = read(0, HEADER_SIZE).map_err(|source| ElfError::Read { source })?;
    let layout = Layout::of(&header)?;
    let file_type = layout.field(&header, 16, 2);
    if file_type != TYPE_EXECUTABLE && file_type != TYPE_SHARED {
        return Err(ElfError::Unsupported {
            field: "e_type",
            value: file_type,
        });
    }
    let interpreter = match interpreter_segment(&layout, &header, read)? {
        Some((offset, size)) => Some(interpreter_path(offset, size, read)?),
        None => None,
    };
    Ok(ElfFile {
        machine: machine_name(&layout, layout.field(&header, 18, 2)),
        interpreter,
    })
}

/// Width and byte order of a file's fields.
struct Layout {
    wide: bool,
    big_endian: bool,
}

impl Layout {
    fn of(header: &[u8]) -> Result<Self, ElfError> {
        if !header.starts_with(b"\x7fELF") {
            return Err(ElfError::Magic);
        }
        if header.len() < SHORT_HEADER_SIZE {
            return Err(ElfError::Truncated { part: "header" });
        }
        let wide = choice("e_ident[EI_CLASS]", header[4])?;
        let big_endian = choice("e_ident[EI_DATA]", header[5])?;
        if wide && header.len() < HEADER_SIZE {
            return Err(ElfError::Truncated { part: "header" });
        }
        Ok(Self { wide, big_endian })
    }

    /// The unsigned number of `size` bytes at `offset`; bytes beyond the end count as zero.
    fn field(&self, bytes: &[u8], offset: usize, size: usize) -> u64 {
        let at = |index: usize| u64::from(bytes.get(offset + index).copied().unwrap_or_default());
        (0..size).fold(0, |value, step| {
            let index = if self.big_endian { step } else { size - 1 - step };
            (value << 8) | at(index)
        })
    }

    /// A field whose place and size depend on the class, given as (offset, size) for 64 and for 32 bits.
    fn either(&self, bytes: &[u8], wide: (usize, usize), narrow: (usize, usize)) -> u64 {
        let (offset, size) = if self.wide { wide } else { narrow };
        self.field(bytes, offset, size)
    }
}

/// Whether an identification byte that must be 1 or 2 is 2.
fn choice(field: &'static str, value: u8) -> Result<bool, ElfError> {
    match value {
        1 => Ok(false),
        2 => Ok(true),
        other => Err(ElfError::Unsupported {
            field,
            value: u64::from(other),
        }),
    }
}

/// Offset and size of the segment that holds the loader's path.
fn interpreter_segment(
    layout: &Layout,
    header: &[u8],
    read: &mut dyn FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> Result<Option<(u64, u64)>, ElfError> {
    let table_offset = layout.either(header, (32, 8), (28, 4));
    let entry_size = layout.either(header, (54, 2), (42, 2));
    let count = layout.either(header, (56, 2), (44, 2));
    if count == 0 {
        return Ok(None);
    }
    if count > u64::from(MAX_PROGRAM_HEADERS) {
        return Err(ElfError::Unsupported {
            field: "e_phnum",
            value: count,
        });
    }
    let smallest = if layout.wide { 56 } else { 32 };
    if entry_size < smallest || entry_size > u64::from(MAX_PROGRAM_HEADER_SIZE) {
        return Err(ElfError::Unsupported {
            field: "e_phentsize",
            value: entry_size,
        });
    }
    let size = (count * entry_size) as usize;
    let table = read(table_offset, size).map_err(|source| ElfError::Read { source })?;
    if table.len() != size {
        return Err(ElfError::Truncated {
            part: "program headers",
        });
    }
    let entry = table
        .chunks_exact(entry_size as usize)
        .find(|entry| layout.field(entry, 0, 4) == SEGMENT_INTERPRETER);
    Ok(entry.map(|entry| {
        (
            layout.either(entry, (8, 8), (4, 4)),
            layout.either(entry, (32, 8), (16, 4)),
        )
    }))
}

fn interpreter_path(
    offset: u64,
    size: u64,
    read: &mut dyn FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> Result<PathBuf, ElfError> {
    if size > MAX_INTERPRETER_SIZE {
        return Err(ElfError::Unsupported {
            field: "p_filesz",
            value: size,
        });
    }
    let mut bytes = read(offset, size as usize).map_err(|source| ElfError::Read { source })?;
    if bytes.len() as u64 != size {
        return Err(ElfError::Truncated { part: "interpreter" });
    }
    // The kernel opens the string up to its first NUL and refuses a segment that does not end with one.
    if bytes.last() != Some(&0) || bytes.first() != Some(&b'/') {
        return Err(ElfError::Interpreter);
    }
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// The name of an `e_machine` value (System V ABI registry) as `uname -m` spells it.
fn machine_name(layout: &Layout, machine: u64) -> String {
    let name = match (machine, layout.wide, layout.big_endian) {
        (62, true, _) => "x86_64",
        (62, false, _) => "x32",
        (3, ..) => "i386",
        (183, _, false) => "aarch64",
        (183, _, true) => "aarch64_be",
        (40, _, false) => "arm",
        (40, _, true) => "armeb",
        (243, true, _) => "riscv64",
        (243, false, _) => "riscv32",
        (21, _, false) => "ppc64le",
        (21, _, true) => "ppc64",
        (22, true, _) => "s390x",
        (258, true, _) => "loongarch64",
        (8, true, false) => "mips64el",
        (8, true, true) => "mips64",
        (8, false, false) => "mipsel",
        (8, false, true) => "mips",
        _ => return format!("elf-{machine}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

    /// An ELF program with one unrelated segment and, if `loader` is not empty, one that names it.
    fn image(wide: bool, big_endian: bool, machine: u16, loader: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; if wide { 64 } else { 52 }];
        bytes[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            1 + u8::from(wide),
            1 + u8::from(big_endian),
        ]);
        let entry = if wide { 56 } else { 32 };
        let table = bytes.len();
        let count = 1 + usize::from(!loader.is_empty());
        bytes.resize(table + count * entry, 0);
        let mut put = |offset: usize, size: usize, value: usize| {
            let raw = (value as u64).to_be_bytes();
            let mut field = raw[8 - size..].to_vec();
            if !big_endian {
                field.reverse();
            }
            bytes[offset..offset + size].copy_from_slice(&field);
        };
        put(16, 2, 3);
        put(18, 2, usize::from(machine));
        let (place, entry_size, number) = if wide {
            ((32, 8), 54, 56)
        } else {
            ((28, 4), 42, 44)
        };
        put(place.0, place.1, table);
        put(entry_size, 2, entry);
        put(number, 2, count);
        put(table, 4, 1);
        if !loader.is_empty() {
            let segment = table + entry;
            put(segment, 4, 3);
            let (offset, size) = if wide {
                ((8, 8), (32, 8))
            } else {
                ((4, 4), (16, 4))
            };
            put(segment + offset.0, offset.1, table + 2 * entry);
            put(segment + size.0, size.1, loader.len());
            bytes.extend_from_slice(loader);
        }
        bytes
    }

    fn parse_bytes(bytes: &[u8]) -> Result<ElfFile, ElfError> {
        parse(&mut |offset, size| {
            assert!(size <= usize::from(MAX_PROGRAM_HEADERS) * usize::from(MAX_PROGRAM_HEADER_SIZE));
            let tail = usize::try_from(offset)
                .ok()
                .and_then(|start| bytes.get(start..))
                .unwrap_or_default();
            Ok(tail[..size.min(tail.len())].to_vec())
        })
    }

    #[test]
    fn every_class_and_byte_order_is_read() {
        for (wide, big_endian, machine, name) in [
            (true, false, 62, "x86_64"),
            (false, false, 62, "x32"),
            (false, false, 3, "i386"),
            (true, false, 183, "aarch64"),
            (true, true, 21, "ppc64"),
            (true, false, 21, "ppc64le"),
            (true, true, 22, "s390x"),
            (false, true, 8, "mips"),
            (true, false, 999, "elf-999"),
        ] {
            let dynamic = parse_bytes(&image(wide, big_endian, machine, LOADER)).unwrap();
            let interpreter = Some(PathBuf::from("/lib64/ld-linux-x86-64.so.2"));
            assert_eq!(
                dynamic,
                ElfFile {
                    machine: name.to_owned(),
                    interpreter
                }
            );
            let fixed = parse_bytes(&image(wide, big_endian, machine, b"")).unwrap();
            assert_eq!(
                fixed,
                ElfFile {
                    machine: name.to_owned(),
                    interpreter: None
                }
            );
        }
    }

    #[test]
    fn malformed_files_are_refused_with_the_reason() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(parse_bytes(bytes).unwrap_err().to_string(), expected);
        };
        let whole = image(true, false, 62, LOADER);
        let patched = |offset: usize, value: u8| {
            let mut bytes = whole.clone();
            bytes[offset] = value;
            bytes
        };
        check(b"", "no ELF magic number");
        check(b"#!/bin/sh\nexec gcc \"$@\"\n", "no ELF magic number");
        check(&whole[..10], "file ends inside its header");
        check(&whole[..100], "file ends inside its program headers");
        check(&whole[..whole.len() - 1], "file ends inside its interpreter");
        check(&patched(4, 3), "unsupported e_ident[EI_CLASS] 3");
        check(&patched(5, 0), "unsupported e_ident[EI_DATA] 0");
        check(&patched(16, 1), "unsupported e_type 1");
        check(&patched(57, 0xff), "unsupported e_phnum 65282");
        check(&patched(54, 8), "unsupported e_phentsize 8");
        check(&patched(whole.len() - 1, b'x'), "malformed interpreter path");
        check(&image(true, false, 62, b"ld.so\0"), "malformed interpreter path");
        check(
            &image(true, false, 62, &[b'/'; 5000]),
            "unsupported p_filesz 5000",
        );
    }

    #[test]
    fn this_very_program_is_understood() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = parse_bytes(&bytes).unwrap();
        assert_eq!(file.machine, std::env::consts::ARCH);
        assert!(file.interpreter.is_none_or(|loader| Path::new(&loader).exists()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            let _ = parse_bytes(&bytes);
            bytes.splice(0..0, *b"\x7fELF\x02\x01");
            let _ = parse_bytes(&bytes);
        }

        #[test]
        fn one_changed_byte_is_answered(offset in 0usize..200, value in any::<u8>()) {
            let mut bytes = image(true, false, 62, LOADER);
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = value;
            }
            let _ = parse_bytes(&bytes);
        }
    }
}
