//! What the kernel says of a file, and when that proves its bytes.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statfs::statfs;

/// Nanoseconds by which the clock that stamps files may lag behind the one we read: two ticks at 100 Hz.
pub(super) const LOCAL_GRANULE: i128 = 20_000_000;
/// The same where times may be kept in whole or even seconds: network file systems, FUSE, FAT.
pub(super) const REMOTE_GRANULE: i128 = 2_000_000_000;

/// What a time is a multiple of where whole seconds are kept.
const SECOND: i128 = 1_000_000_000;

/// Whether the granule is that of a file system others may change.
pub(super) const fn is_remote(granule: i128) -> bool {
    granule == REMOTE_GRANULE
}

/// Magic numbers (statfs(2)) of the file systems known to stamp with the local kernel's clock: ext, xfs,
/// btrfs, tmpfs, ramfs, overlayfs, f2fs, zfs, bcachefs, erofs, squashfs.
const LOCAL_FILE_SYSTEMS: [i64; 11] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0xe0f5_e1e2,
    0x7371_7368,
];

/// The same of those that keep no time at which an inode changed but what is written to them, as images are, or as what
/// stands behind them says: squashfs, erofs, ISO 9660, UDF, cramfs, romfs, FAT, exFAT, FUSE.
const FILE_SYSTEMS_WITHOUT_CHANGE_TIMES: [i64; 9] = [
    0x7371_7368,
    0xe0f5_e1e2,
    0x9660,
    0x1501_3346,
    0x28cd_3d45,
    0x7275,
    0x4d44,
    0x2011_bab0,
    0x6573_5546,
];

const TYPE: u32 = 0o170_000;

/// What tells one state of a file from another. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatTuple {
    /// The file system; where another may be mounted whose files have the same numbers and times, as it is mounted now
    /// (`FileSystem::as_mounted`).
    pub dev: u64,
    /// The inode in it.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, which a program can set.
    pub mtime_ns: i128,
    /// Last change of content or inode, which none can.
    pub ctime_ns: i128,
    /// Type and permissions.
    pub mode: u32,
    /// Names of the inode.
    pub nlink: u64,
    /// Of a file that somebody may have mapped: another number whenever its watch told of it, since later stores through
    /// one mapping leave its times as the first did.
    pub news: u64,
}

impl From<&Metadata> for StatTuple {
    fn from(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
            nlink: metadata.nlink(),
            news: 0,
        }
    }
}

impl StatTuple {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & TYPE == 0o100_000
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & TYPE == 0o040_000
    }

    /// Whether it is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.mode & TYPE == 0o120_000
    }

    /// Whether anyone may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether it is a directory like `/tmp`, where anybody may make names and nobody remove another's.
    pub fn is_sticky(&self) -> bool {
        self.mode & 0o1000 != 0
    }

    /// Whether both are the same inode with the same permissions, whatever happened inside it.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        (self.dev, self.ino, self.mode) == (other.dev, other.ino, other.mode)
    }

    /// Whether a later change would show, if the file was read at `read_at`: the rule of "racy git". A
    /// time ahead of ours (a clock set back) never settles, except an mtime, which can be set at will. Where inodes are
    /// small (`mkfs.ext4 -I 128`, and most of ext2 and ext3) a local file system keeps whole seconds too, as only the
    /// times themselves show.
    pub(super) fn is_settled(&self, read_at: i128, granule: i128) -> bool {
        let granule = match self.ctime_ns % SECOND {
            0 => granule.max(REMOTE_GRANULE),
            _ => granule,
        };
        let ctime_settled = read_at >= self.ctime_ns + granule;
        let mtime_settled = read_at >= self.mtime_ns + granule || self.mtime_ns > read_at;
        ctime_settled && mtime_settled
    }
}

/// What the times of a file system's files are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSystem {
    /// Its clock granule; the coarse one where that cannot be known.
    pub(super) granule: i128,
    has_change_times: bool,
}

impl FileSystem {
    /// The one that holds what `path` leads to; `None` if the kernel does not say.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = statfs(path).ok()?;
        Some(Self::of_kind(found.filesystem_type().0))
    }

    /// One of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self::of_kind(0)
    }

    fn of_kind(kind: i64) -> Self {
        let is_local = LOCAL_FILE_SYSTEMS.contains(&kind);
        Self {
            granule: if is_local { LOCAL_GRANULE } else { REMOTE_GRANULE },
            has_change_times: !FILE_SYSTEMS_WITHOUT_CHANGE_TIMES.contains(&kind),
        }
    }

    /// The number `dev` of this file system, for what is said of its files after mounts were last found changed in `epoch`.
    /// Two images made with the same times differ in nothing else, if one is mounted in place of the other.
    pub(super) fn as_mounted(self, dev: u64, epoch: u64) -> u64 {
        if self.has_change_times {
            return dev;
        }
        // The kernel's numbers of devices have 32 bits.
        dev ^ epoch.wrapping_add(1).rotate_right(16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_another_one_once_something_was_mounted() {
        let numbers =
            |kind: i64| [0, 1, 2, 1].map(|epoch| FileSystem::of_kind(kind).as_mounted(0x700, epoch));
        let [first, second, third, again] = numbers(0x7371_7368);
        assert!(first != second && second != third && first != third && again == second);
        assert_eq!(numbers(0xef53), [0x700; 4]);
        let other = FileSystem::of_kind(0x7371_7368).as_mounted(0x701, 1);
        assert_ne!(other, second);
    }

    #[test]
    fn settles_one_granule_after_the_last_change() {
        let check = |mtime_ns, ctime_ns, read_at, settled| {
            let stat = StatTuple {
                dev: 1,
                ino: 1,
                size: 1,
                mtime_ns,
                ctime_ns,
                mode: 0,
                nlink: 1,
                news: 0,
            };
            assert_eq!(
                stat.is_settled(read_at, 20),
                settled,
                "{mtime_ns} {ctime_ns} {read_at}"
            );
        };
        check(100, 100, 120, true);
        check(100, 100, 119, false);
        // `touch -r` sets an old mtime, never an old ctime.
        check(0, 100, 119, false);
        check(110, 100, 120, false);
        // The file system may keep whole seconds.
        check(0, 3 * SECOND, 3 * SECOND + 20, false);
        check(0, 3 * SECOND, 5 * SECOND - 1, false);
        check(0, 3 * SECOND, 5 * SECOND, true);
        check(3 * SECOND, 3 * SECOND + 1, 3 * SECOND + 21, true);
        // A source tree dated tomorrow is not read again for ever.
        check(900, 100, 120, true);
        check(100, 900, 120, false);
    }
}
