//! Where the bytes of an action's blobs can be read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use foldhash::HashMap;
use quicc_protocol::BlobDigest;

use crate::inputs::closure::Object;
use crate::inputs::kept::Kept;

/// The files of a closure as blobs.
#[derive(Debug, Clone)]
pub struct Sources(Arc<Kept>);

/// One blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its name.
    pub digest: BlobDigest,
    /// A file that holds it.
    pub path: &'a Path,
    /// Its length in bytes.
    pub size: u64,
}

impl Sources {
    /// The files of `kept`.
    pub fn new(kept: &Arc<Kept>) -> Self {
        Self(Arc::clone(kept))
    }

    /// Every file; equal ones give the same digest again.
    pub fn iter(&self) -> impl Iterator<Item = Source<'_>> {
        self.0.items.iter().filter_map(|item| {
            let Object::File { stat, digest, .. } = &item.object else {
                return None;
            };
            Some(Source {
                digest: BlobDigest::from_bytes(*digest),
                path: Path::new(OsStr::from_bytes(&item.path)),
                size: stat.size,
            })
        })
    }

    /// Where each of `digests` is, in their order; `None` if one is in no file.
    pub fn find(&self, digests: &[BlobDigest]) -> Option<Vec<Source<'_>>> {
        // Few are asked for of many files: only these are put in a map.
        let mut found: HashMap<_, Option<Source<'_>>> =
            digests.iter().map(|digest| (*digest, None)).collect();
        for source in self.iter() {
            if let Some(place) = found.get_mut(&source.digest) {
                *place = Some(source);
            }
        }
        digests.iter().map(|digest| *found.get(digest)?).collect()
    }
}
