//! A file system for tests that takes every byte and says at the close that it had no room, as NFS and quotas do.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::libc::{ENOENT, ENOSPC, ENOSYS};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// What the kernel asks, by the numbers of `linux/fuse.h`.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const UNLINK: u32 = 10;
const RENAME: u32 = 12;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const CREATE: u32 = 35;
const RENAME2: u32 = 45;
/// `fuse_in_header` and the offset of a write's length behind it.
const HEADER: usize = 40;
const WRITE_LENGTH: usize = HEADER + 16;

/// Runs `test` on a thread for which the file system is mounted at `at`. The tests run as root.
pub(super) fn within(at: &Path, test: impl FnOnce() + Send) {
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Other threads and the host do not see the mount.
            unshare(CloneFlags::CLONE_NEWNS).expect("the tests run as root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
            mount(Some("none"), at, Some("fuse"), MsFlags::empty(), Some(&*options)).unwrap();
            scope.spawn(|| serve(&device));
            let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
            // Ends the server.
            umount2(at, MntFlags::MNT_DETACH).unwrap();
            if let Err(panic) = tested {
                std::panic::resume_unwind(panic);
            }
        });
    });
}

fn serve(mut device: &File) {
    let mut request = vec![0; 1 << 20];
    // An unmounted file system answers ENODEV.
    while let Ok(length) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let body = match word(4) {
            FORGET => continue,
            INIT => {
                let words = [7, 31, 0, 0, 0, 128 << 10, 1];
                let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
                body.resize(64, 0);
                Ok(body)
            }
            GETATTR => Ok([vec![0; 16], attributes(1, 0o040_777)].concat()),
            LOOKUP => Err(ENOENT),
            CREATE => {
                let mut entry = vec![0; 40];
                entry[0] = 2;
                Ok([entry, attributes(2, 0o100_644), vec![0; 16]].concat())
            }
            WRITE => Ok([word(WRITE_LENGTH), 0]
                .into_iter()
                .flat_map(u32::to_ne_bytes)
                .collect()),
            FLUSH => Err(ENOSPC),
            RELEASE | UNLINK | RENAME | RENAME2 => Ok(Vec::new()),
            _ => Err(ENOSYS),
        };
        assert!(length >= HEADER);
        let (error, body) = match body {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut reply = [length.to_ne_bytes(), error.to_ne_bytes()].concat();
        reply.extend(&request[8..16]);
        reply.extend(body);
        let _ = device.write_all(&reply);
    }
}

/// `fuse_attr` of an inode.
fn attributes(inode: u64, mode: u32) -> Vec<u8> {
    let mut bytes = vec![0; 88];
    bytes[..8].copy_from_slice(&inode.to_ne_bytes());
    bytes[60..64].copy_from_slice(&mode.to_ne_bytes());
    bytes[64] = 1;
    bytes
}
