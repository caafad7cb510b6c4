//! A client that says exactly what a test wants.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy sees tests only in test functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quicc::host::process;
use quicc::transport::solid::Packer;
use quicc::transport::{Peer, frame};
use quicc_certs::Credentials;
use quicc_protocol::identifiers::{EntryId, ROOT, ViewId, encode_ascending};
use quicc_protocol::message::Message;
use quicc_protocol::message::blob::{BlobBatch, BlobsWanted};
use quicc_protocol::message::refusal::{Refusal, RefusalCode};
use quicc_protocol::message::run::{
    Before, DeclaredOutput, LeasePresented, Outcome, RunRequest, StandardStreams, Step,
};
use quicc_protocol::message::table::{EntryKind, FileTime, TableOpen, TableRecord, TableRecords};
use quicc_protocol::{BlobDigest, limits};
use quinn::{RecvStream, SendStream};

use crate::world::{spki, within};

/// Tools beside the shell.
const TOOLS: [&str; 4] = ["sh", "cat", "rm", "sleep"];
const TIME: FileTime = FileTime {
    seconds: 1_000_000_000,
    nanoseconds: 0,
};

pub(crate) struct Client {
    pub(crate) peer: Peer,
    pub(crate) credentials: Credentials,
    pub(crate) spki: [u8; 32],
    pub(crate) view: ViewId,
    pub(crate) epoch: u64,
    pub(crate) table: Option<SendStream>,
    pub(crate) position: u64,
    next: EntryId,
    /// Every directory by path.
    directories: BTreeMap<String, EntryId>,
    /// Every entry told.
    pub(crate) entries: BTreeSet<EntryId>,
    /// What the builder may ask for.
    contents: BTreeMap<BlobDigest, Vec<u8>>,
}

/// What came of an action.
#[derive(Debug)]
pub(crate) enum Answer {
    Outcome(Outcome, Vec<Vec<u8>>),
    Refused(RefusalCode),
}

impl Answer {
    pub(crate) fn outcome(self) -> (Outcome, Vec<Vec<u8>>) {
        match self {
            Self::Outcome(outcome, bodies) => (outcome, bodies),
            Self::Refused(code) => panic!("refused: {code:?}"),
        }
    }

    pub(crate) fn refusal(self) -> RefusalCode {
        match self {
            Self::Outcome(outcome, _) => panic!("not refused: {outcome:?}"),
            Self::Refused(code) => code,
        }
    }
}

/// An action that was asked for.
pub(crate) struct Running {
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

impl Client {
    pub(crate) fn new(peer: Peer, credentials: Credentials) -> Self {
        Self {
            spki: spki(&credentials),
            credentials,
            peer,
            view: ViewId([7; 16]),
            epoch: 0,
            table: None,
            position: 0,
            next: ROOT + 1,
            directories: BTreeMap::from([(String::new(), ROOT)]),
            entries: BTreeSet::new(),
            contents: BTreeMap::new(),
        }
    }
    /// Sends a message on a unidirectional stream of its own and leaves that open.
    pub(crate) async fn say<M: Message>(&self, message: &M) -> SendStream {
        let mut stream = self.peer.connection.open_uni().await.unwrap();
        frame::send(&mut stream, message).await.unwrap();
        stream
    }

    pub(crate) async fn show(&self, lease: u64, ticket: String) {
        let shown = LeasePresented {
            lease,
            ticket,
            extensions: Vec::new(),
        };
        self.say(&shown).await.finish().unwrap();
    }

    pub(crate) async fn open_table(&mut self, epoch: u64) {
        self.epoch = epoch;
        let open = TableOpen {
            view: self.view,
            epoch,
            extensions: Vec::new(),
        };
        self.table = Some(self.say(&open).await);
    }

    /// Goes on with a table that was told on another connection as far as `position`.
    pub(crate) async fn resume_table(&mut self, position: u64) {
        let open = TableOpen::new(self.view, self.epoch, Some(position));
        self.table = Some(self.say(&open).await);
    }

    pub(crate) async fn tell(&mut self, records: Vec<TableRecord>) {
        self.position += records.len() as u64;
        let table = self.table.as_mut().unwrap();
        frame::send(table, &TableRecords { records }).await.unwrap();
    }

    /// The id of a new entry at `path`, with records for its directories where they are new.
    pub(crate) fn entry(&mut self, path: &str, kind: EntryKind) -> (EntryId, Vec<TableRecord>) {
        let (directory, name) = path.rsplit_once('/').unwrap();
        let mut records = Vec::new();
        let parent = match self.directories.get(directory) {
            Some(id) => *id,
            None => {
                let (id, above) = self.entry(directory, EntryKind::Directory { modified: TIME });
                self.directories.insert(directory.to_owned(), id);
                records = above;
                id
            }
        };
        let id = self.next;
        self.next += 1;
        self.entries.insert(id);
        records.push(TableRecord::Define {
            id,
            parent,
            name: name.into(),
            kind,
        });
        (id, records)
    }

    pub(crate) fn directory(&self, path: &str) -> EntryId {
        self.directories[path]
    }

    /// A file of these bytes, which are sent when the builder asks.
    pub(crate) fn file(&mut self, bytes: &[u8], executable: bool) -> EntryKind {
        EntryKind::File {
            content: self.content(bytes),
            size: bytes.len() as u64,
            executable,
            modified: TIME,
            same_inode_as: None,
        }
    }

    /// Tells a file; its bytes are sent when the builder asks.
    pub(crate) async fn tell_file(&mut self, path: &str, bytes: &[u8], executable: bool) -> EntryId {
        let kind = self.file(bytes, executable);
        let (id, records) = self.entry(path, kind);
        self.tell(records).await;
        id
    }

    /// Tells `/bin` with a shell, the libraries it needs, and an empty `/client`.
    pub(crate) async fn tell_shell(&mut self) {
        let programs = TOOLS.map(|tool| format!("/usr/bin/{tool}"));
        for (tool, program) in TOOLS.iter().zip(&programs) {
            let bytes = std::fs::read(program).unwrap();
            self.tell_file(&format!("/bin/{tool}"), &bytes, true).await;
        }
        let ldd = process::command(Path::new("/usr/bin/ldd"), Path::new("/"))
            .args(&programs)
            .output()
            .unwrap();
        let text = String::from_utf8(ldd.stdout).unwrap();
        let libraries: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.starts_with('\t'))
            .flat_map(str::split_whitespace)
            .filter(|word| word.starts_with('/'))
            .collect();
        assert!(!libraries.is_empty(), "ldd says nothing");
        for library in libraries {
            let bytes = std::fs::read(library).unwrap();
            self.tell_file(library, &bytes, true).await;
        }
        let (id, records) = self.entry("/client", EntryKind::Directory { modified: TIME });
        self.directories.insert("/client".to_owned(), id);
        self.tell(records).await;
    }

    /// The shell in `/client` under lease 1, with all that was told.
    pub(crate) fn request(&self, script: &str, outputs: &[(&str, Before)]) -> RunRequest {
        let entries: Vec<EntryId> = self.entries.iter().copied().collect();
        let directory = self.directories.get("/client").copied().unwrap_or(ROOT);
        RunRequest {
            lease: 1,
            view: self.view,
            epoch: self.epoch,
            position: self.position,
            entries: encode_ascending(&entries),
            steps: vec![shell(script)],
            cwd: b"/client".to_vec(),
            env: vec![(b"PATH".to_vec(), b"/bin".to_vec())],
            umask: 0o022,
            streams: StandardStreams::default(),
            outputs: outputs
                .iter()
                .map(|(name, before)| DeclaredOutput {
                    directory,
                    name: (*name).into(),
                    before: *before,
                })
                .collect(),
            extensions: Vec::new(),
        }
    }

    pub(crate) async fn start(&self, request: &RunRequest) -> Running {
        let (mut send, receive) = self.peer.connection.open_bi().await.unwrap();
        frame::send(&mut send, request).await.unwrap();
        Running { send, receive }
    }

    /// Runs an action to its end and gives what the builder asked for on the way.
    pub(crate) async fn run_counting(&self, request: &RunRequest) -> (Answer, Vec<BlobDigest>) {
        let running = self.start(request).await;
        self.follow(running).await
    }

    pub(crate) async fn run(&self, request: &RunRequest) -> Answer {
        self.run_counting(request).await.0
    }

    pub(crate) async fn follow(&self, mut running: Running) -> (Answer, Vec<BlobDigest>) {
        let mut asked = Vec::new();
        loop {
            let frame = within(frame::receive(&mut running.receive, limits::RUN_PAYLOAD)).await;
            let frame = frame.unwrap().expect("an answer");
            if frame.is::<BlobsWanted>() {
                let wanted: BlobsWanted = frame.open().unwrap();
                self.send_blobs(&wanted.digests).await.finish().unwrap();
                asked.extend(wanted.digests);
            } else if frame.is::<Refusal>() {
                let refusal: Refusal = frame.open().unwrap();
                return (Answer::Refused(refusal.code), asked);
            } else {
                let outcome: Outcome = frame.open().unwrap();
                let mut bodies = Vec::new();
                for body in &outcome.bodies {
                    let mut bytes = Vec::new();
                    frame::receive_body(&mut running.receive, body, &mut bytes)
                        .await
                        .unwrap();
                    bodies.push(bytes);
                }
                return (Answer::Outcome(outcome, bodies), asked);
            }
        }
    }

    /// Remembers bytes to send.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> BlobDigest {
        let digest = BlobDigest::of(bytes);
        self.contents.insert(digest, bytes.to_vec());
        digest
    }

    /// Sends a batch and gives its stream, which is not finished.
    pub(crate) async fn send_blobs(&self, digests: &[BlobDigest]) -> SendStream {
        let contents = digests.iter().map(|digest| (*digest, &self.contents[digest][..]));
        let (batch, wire) = pack(contents);
        let mut stream = self.say(&batch).await;
        stream.write_all(&wire).await.unwrap();
        stream
    }
}

/// A batch of these blobs, under these digests.
pub(crate) fn pack<'a>(
    blobs: impl IntoIterator<Item = (BlobDigest, &'a [u8]), IntoIter: Clone>,
) -> (BlobBatch, Vec<u8>) {
    let blobs = blobs.into_iter();
    let size = blobs.clone().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut packer = Packer::new(size, 1).unwrap();
    for (digest, bytes) in blobs {
        packer.add(digest, bytes).unwrap();
    }
    packer.finish().unwrap()
}

/// The shell with `script`.
pub(crate) fn shell(script: &str) -> Step {
    Step {
        program: b"/bin/sh".to_vec(),
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), script.into()],
    }
}
