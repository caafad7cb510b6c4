//! What became of the last units, for `quicc explain`. Pure bookkeeping: it decides nothing, looks at no file and
//! forgets when the agent ends. It holds command lines, so it is shown to the agent's own user alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quicc_protocol::message::run::Exit;
use quicc_protocol::message::wrapper::CompileRequest;
use serde::{Deserialize, Serialize};

use super::reason::LocalReason;
use super::remote::{Prepared, Tier};
use crate::compile::{Language, Plan};
use crate::inputs::kept::Kept;

/// Units remembered; the oldest gives way. A record takes 20 kB at most, mostly less than one.
const RECORDS: usize = 8192;
/// Bytes of a command line, a file's name, an explanation or an error that a record tells.
const TEXT: usize = 1024;
/// Bytes of the names that one call is remembered under; further sources are left out.
const NAMES: usize = 4096;
/// Units shown of one source: the last of each command line.
const SHOWN: usize = 4;
/// Files named that a repair brought in.
const LEARNED: usize = 8;
/// Options whose operand is a file and not the source.
const OPERANDS: [&[u8]; 6] = [b"-include", b"-imacros", b"-o", b"-MF", b"-MT", b"-MQ"];

/// How a unit's inputs were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Remembered of an earlier compile, and examined.
    Remembered,
    /// By our own scanner.
    Scanned,
    /// By the scanner and the compiler's `-M`.
    Dependencies,
}

/// A unit's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// How they were found, the last time.
    pub found: Found,
    /// Files it may read, those of the compiler included.
    pub files: u64,
    /// Directories searched or passed through.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Names looked up in vain.
    pub absent: u64,
}

/// A unit that failed for want of a file and was prepared again with the compiler's `-M`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// Paths that the scan had missed; 0 also where preparing anew failed.
    pub learned: u64,
    /// The first of them.
    pub paths: Vec<String>,
}

/// Where a unit was compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On a builder.
    Remote,
    /// Here.
    #[default]
    Local,
}

/// What became of one unit. Fields are only added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was decided, in seconds since the Unix epoch.
    pub when: u64,
    /// The command line, words separated by spaces, cut short.
    pub command: String,
    /// The main output as the compiler was told, where the command line was understood.
    pub output: Option<String>,
    /// Where it was compiled.
    pub verdict: Place,
    /// Whether it is here because the farm failed.
    pub fallback: bool,
    /// Why it is here, as a stable code.
    pub reason: Option<String>,
    /// Why it is here, in words, with what caused it.
    pub explanation: Option<String>,
    /// The exit code on the builder.
    pub exit_code: Option<u8>,
    /// The signal that ended the compiler on the builder.
    pub signal: Option<u8>,
    /// What it may read; none where it was not looked for.
    pub inputs: Option<Inputs>,
    /// How often it was sent.
    pub attempts: u32,
    /// The builder it was sent to last.
    pub builder: Option<String>,
    /// What went wrong with an attempt, the last time.
    pub trouble: Option<String>,
    /// What `-M` brought in after an attempt for want of a file.
    pub repaired: Option<Repair>,
    /// How often it was begun again because its files changed.
    pub inputs_changed: u32,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

/// The answer to a question about a source. Fields are only added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The source, absolute.
    pub file: String,
    /// The last units that compile it, the newest first, one per command line.
    pub units: Vec<Record>,
    /// When the agent started, in seconds since the Unix epoch: it knows nothing of earlier units.
    pub since: u64,
}

/// What is noted of a unit while it is under way.
#[derive(Debug, Default)]
struct Draft {
    source: Option<Vec<u8>>,
    record: Record,
    /// What the last attempt could read.
    kept: Option<Arc<Kept>>,
    /// The next preparation is a repair.
    repairing: bool,
}

/// The notes of one unit.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Draft>);

impl Notes {
    fn draft(&self) -> MutexGuard<'_, Draft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command line was understood.
    pub fn understood(&self, plan: &Plan) {
        let mut draft = self.draft();
        draft.source = Some(plan.source.clone());
        draft.record.output = plan.outputs.first().map(|output| cut(text(&output.path)));
    }

    /// Its inputs are known, remembered or not.
    pub fn prepared(&self, prepared: &Prepared, remembered: bool) {
        let mut draft = self.draft();
        let kept = &prepared.kept;
        let found = match prepared.tier {
            _ if remembered => Found::Remembered,
            Tier::Scan => Found::Scanned,
            Tier::Dependencies => Found::Dependencies,
        };
        draft.record.inputs = Some(Inputs {
            found,
            files: kept.extent.files,
            directories: kept.extent.directories,
            bytes: kept.extent.bytes,
            absent: kept.extent.absent,
        });
        let before = draft.kept.replace(Arc::clone(kept));
        if std::mem::take(&mut draft.repairing) {
            draft.record.repaired = before.map(|before| learned(&before, kept));
        }
    }

    /// It is sent to `builder`.
    pub fn sent(&self, builder: &str) {
        let mut draft = self.draft();
        draft.record.attempts += 1;
        draft.record.builder = Some(builder.to_owned());
    }

    /// An attempt came to nothing.
    pub fn trouble(&self, what: &str) {
        self.draft().record.trouble = Some(cut(what.to_owned()));
    }

    /// It is begun again because its files changed.
    pub fn inputs_changed(&self) {
        self.draft().record.inputs_changed += 1;
    }

    /// It is prepared again with the compiler's `-M`.
    pub fn repairing(&self) {
        let mut draft = self.draft();
        draft.repairing = true;
        draft.record.repaired = Some(Repair::default());
    }
}

/// What `now` holds that `before` did not.
fn learned(before: &Kept, now: &Kept) -> Repair {
    let mut new = now.items.iter().filter(|item| before.get(&item.path).is_none());
    let paths: Vec<_> = new
        .by_ref()
        .take(LEARNED)
        .map(|item| cut(text(&item.path)))
        .collect();
    Repair {
        learned: (paths.len() + new.count()) as u64,
        paths,
    }
}

/// How a unit ended.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// On a builder.
    Remote(Exit),
    /// Here.
    Local {
        /// Why.
        reason: &'a LocalReason,
        /// The farm failed.
        fallback: bool,
    },
}

/// The absolute names of the sources of one call.
type Sources = Box<[Box<[u8]>]>;

/// What is to be remembered of a unit that ended at `when` after `traffic` bytes up and down, and under which names.
pub fn record_of(
    request: &CompileRequest,
    notes: &Notes,
    end: End<'_>,
    traffic: (u64, u64),
    when: u64,
) -> (Sources, Record) {
    let Draft { source, record, .. } = std::mem::take(&mut *notes.draft());
    let sources = match source {
        Some(source) if source.len() <= NAMES => Box::new([absolute(&request.cwd, &source)]),
        _ => sources_of(request),
    };
    let mut record = Record {
        when,
        command: command_of(&request.argv),
        bytes_up: traffic.0,
        bytes_down: traffic.1,
        ..record
    };
    match end {
        End::Remote(exit) => {
            record.verdict = Place::Remote;
            match exit {
                Exit::Code(code) => record.exit_code = Some(code),
                Exit::Signal(signal) => record.signal = Some(signal),
            }
        }
        End::Local { reason, fallback } => {
            record.fallback = fallback;
            record.reason = Some(reason.code.to_owned());
            record.explanation = Some(cut(reason.explanation.clone().into_owned()));
        }
    }
    (sources, record)
}

/// The last units.
#[derive(Debug, Default)]
pub struct History(VecDeque<(Sources, Record)>);

impl History {
    /// Adds what [`record_of`] made.
    pub fn add(&mut self, unit: (Sources, Record)) {
        if self.0.len() >= RECORDS {
            self.0.pop_front();
        }
        self.0.push_back(unit);
    }

    /// The last units of the source at `path`, absolute: the newest first, one per command line.
    pub fn last_of(&self, path: &[u8]) -> Vec<Record> {
        let mut found: Vec<Record> = Vec::new();
        for (sources, record) in self.0.iter().rev() {
            // Command lines that were cut may differ in what is missing.
            let is_same =
                |other: &Record| (&other.command, &other.output) == (&record.command, &record.output);
            let is_other = || !found.iter().any(is_same);
            if sources.iter().any(|source| **source == *path) && is_other() {
                found.push(record.clone());
                if found.len() == SHOWN {
                    break;
                }
            }
        }
        found
    }

    /// The sources known that are called like the file at `path`, perhaps in other directories; each once.
    pub fn namesakes(&self, path: &[u8]) -> Vec<Box<[u8]>> {
        let name = file_name(path);
        let sources = self.0.iter().flat_map(|(sources, _)| sources.iter());
        let mut namesakes: Vec<_> = sources.filter(|source| file_name(source) == name).collect();
        namesakes.sort_unstable();
        namesakes.dedup();
        namesakes.into_iter().cloned().collect()
    }
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The words of a call that look like its sources, where nothing better is known.
fn sources_of(request: &CompileRequest) -> Sources {
    let previous = std::iter::once(&b""[..]).chain(request.argv.iter().map(Vec::as_slice));
    let words = request.argv.iter().zip(previous).skip(1);
    words
        .filter(|(word, previous)| {
            !word.starts_with(b"-") && !OPERANDS.contains(previous) && Language::is_source_name(word)
        })
        .map(|(word, _)| absolute(&request.cwd, word))
        .scan(0, |bytes, name| {
            *bytes += name.len();
            (*bytes <= NAMES).then_some(name)
        })
        .collect()
}

/// `path` seen from `cwd`, without `.`, `..` and double slashes. Links are not followed: it is a name, not a place.
pub fn absolute(cwd: &[u8], path: &[u8]) -> Box<[u8]> {
    let start = if path.starts_with(b"/") { &b""[..] } else { cwd };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [start, path]
        .into_iter()
        .flat_map(|text| text.split(|&byte| byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut whole = Vec::with_capacity(start.len() + path.len() + 1);
    for part in parts {
        whole.push(b'/');
        whole.extend_from_slice(part);
    }
    whole.into()
}

fn command_of(argv: &[Vec<u8>]) -> String {
    let mut line = Vec::with_capacity(TEXT.min(256));
    for (index, word) in argv.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(word.get(..TEXT).unwrap_or(word));
        if line.len() > TEXT {
            break;
        }
    }
    cut(text(&line))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// At most [`TEXT`] bytes, with a mark where something is missing.
fn cut(mut line: String) -> String {
    if line.len() > TEXT {
        let end = (0..=TEXT).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::closure::{Closure, Object};
    use crate::inputs::tree::{StatTuple, Tree};
    use quicc_protocol::message::run::StandardStreams;
    use quicc_protocol::message::wrapper::{ResourceLimits, VERSION};

    fn request(line: &str) -> CompileRequest {
        CompileRequest {
            version: VERSION,
            compiler: b"/usr/bin/gcc".to_vec(),
            argv: line.split(' ').map(|word| word.as_bytes().to_vec()).collect(),
            cwd: b"/src/build".to_vec(),
            env: Vec::new(),
            umask: 0o022,
            streams: StandardStreams::default(),
            mount_namespace: 0,
            inside_local_compile: false,
            resource_limits: ResourceLimits::default(),
        }
    }

    fn add(history: &mut History, line: &str, when: u64) {
        let reason = LocalReason::from("linking");
        let end = End::Local {
            reason: &reason,
            fallback: false,
        };
        history.add(record_of(&request(line), &Notes::default(), end, (0, 0), when));
    }

    fn times(history: &History, path: &str) -> Vec<u64> {
        let records = history.last_of(path.as_bytes());
        records.iter().map(|record| record.when).collect()
    }

    #[test]
    fn names_are_absolute() {
        let check = |cwd: &str, path: &str, whole: &str| {
            let found = absolute(cwd.as_bytes(), path.as_bytes());
            assert_eq!(text(&found), whole, "{cwd} {path}");
        };
        check("/src/build", "a.c", "/src/build/a.c");
        check("/src/build", "../lib/./a.c", "/src/lib/a.c");
        check("/src", "/x//a.c", "/x/a.c");
        check("/", "../../a.c", "/a.c");
    }

    #[test]
    fn the_last_of_each_command_line_is_shown() {
        let mut history = History::default();
        for (when, line) in ["gcc ../a.c", "gcc -O2 ../a.c", "gcc ../b.c", "gcc ../a.c"]
            .iter()
            .enumerate()
        {
            add(&mut history, line, when as u64);
        }
        assert_eq!(times(&history, "/src/a.c"), [3, 1]);
        assert_eq!(times(&history, "/src/b.c"), [2]);
        assert!(times(&history, "/src/build/a.c").is_empty());
        assert_eq!(history.namesakes(b"/other/a.c"), [Box::from(&b"/src/a.c"[..])]);
        for when in 0..9 {
            add(&mut history, &format!("gcc -D{when} /c.c"), when);
        }
        assert_eq!(times(&history, "/c.c"), [8, 7, 6, 5]);
        let long = format!("gcc -D{} /d.c -o ", "x".repeat(TEXT));
        for (when, output) in [(1, "d.o"), (2, "d.lo"), (3, "d.o")] {
            let notes = Notes::default();
            notes.draft().record.output = Some(output.to_owned());
            notes.draft().source = Some(b"/d.c".to_vec());
            let end = End::Remote(Exit::Code(0));
            history.add(record_of(
                &request(&(long.clone() + output)),
                &notes,
                end,
                (0, 0),
                when,
            ));
        }
        assert_eq!(times(&history, "/d.c"), [3, 2]);
    }

    #[test]
    fn a_call_is_found_under_every_word_that_looks_like_a_source() {
        let mut history = History::default();
        add(&mut history, "gcc -E -include p.h -o x.c a.c -DX=y.c b.cc z.o", 1);
        for (path, known) in [
            ("a.c", true),
            ("b.cc", true),
            ("p.h", false),
            ("x.c", false),
            ("z.o", false),
        ] {
            assert_eq!(
                times(&history, &format!("/src/build/{path}")).len(),
                usize::from(known),
                "{path}"
            );
        }
    }

    #[test]
    fn the_oldest_gives_way_and_texts_are_cut() {
        let mut history = History::default();
        add(&mut history, "gcc old.c", 1);
        for _ in 0..RECORDS {
            add(&mut history, "gcc new.c", 2);
        }
        assert_eq!(history.0.len(), RECORDS);
        assert!(times(&history, "/src/build/old.c").is_empty());
        add(
            &mut history,
            &format!("gcc -D{} {} a.c", "ä".repeat(TEXT), "x".repeat(9 * TEXT)),
            3,
        );
        let command = &history.last_of(b"/src/build/a.c")[0].command;
        assert!(command.starts_with("gcc -Dä") && command.ends_with('…'));
        assert!(command.len() <= TEXT + '…'.len_utf8());
    }
    #[test]
    fn a_repair_tells_what_was_missed() {
        let stat = StatTuple::from(&std::fs::metadata("/").unwrap());
        let tree = Tree::default();
        let kept = |paths: &[String]| {
            let mut closure = Closure::default();
            for path in paths {
                closure.put(path.as_bytes(), Object::Directory { stat });
            }
            Kept::new(&tree, closure)
        };
        let paths: Vec<_> = (0..20).map(|number| format!("/{number:02}")).collect();
        let repair = learned(&kept(&paths[2..5]), &kept(&paths[..6]));
        assert_eq!(
            (repair.learned, repair.paths),
            (3, ["/00", "/01", "/05"].map(str::to_owned).to_vec())
        );
        let repair = learned(&kept(&[]), &kept(&paths));
        assert_eq!((repair.learned, repair.paths.len()), (20, LEARNED));
    }
}
