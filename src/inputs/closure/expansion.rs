//! Includes whose name one macro stands for, followed to every header that macro may stand for.
//!
//! Why that is all a compiler may read: a macro without parameters has the value of one of its definitions, and each is
//! in a file the compile reads, on its command line, or predefined by its compiler. The names met here are looked for in
//! all of these, in every file as it is found, so the first header outside of the set would have to be named by a
//! definition outside of the closure, in a file read before it. What is not understood is computed: a macro with
//! parameters, one that the compiler makes up as it goes (`__FILE__`), a word of `<a/linux.h>` that is a macro itself.
//!
//! Pure. Never resolves a name.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashSet};

use super::discovery::NULL_DEVICE;
use super::places::DirectoryId;
use crate::inputs::scan::{Definition, Form, Operand, Reference, ReferenceKind, definitions};

/// Where a machine's files are of its own making: whether one is meant is left to a preprocessor, and nothing there is
/// looked up for being possible.
const MACHINE_MADE: [&[u8]; 3] = [b"/dev/", b"/proc/", b"/sys/"];
/// Names followed in one closure.
const NAMES: usize = 512;
/// Lookups made of them.
const LOOKUPS: usize = 8192;
/// What names begin with that only a compiler gives a meaning, one that may change from line to line.
const RESERVED: [&[u8]; 2] = [b"__", b"_Pragma"];

/// The name of a header and its delimiters.
type Header = (Form, Box<[u8]>);

/// Where an operand stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    /// Where the file was found.
    directory: DirectoryId,
    kind: ReferenceKind,
    /// An index of names.
    name: usize,
}

#[derive(Debug)]
struct Name {
    text: Box<[u8]>,
    /// How many files were searched for definitions.
    files_searched: usize,
    headers: BTreeSet<Header>,
    /// Other names it may stand for, as indices.
    names: BTreeSet<usize>,
    /// It may stand for a header: what is not understood of it matters.
    is_operand: bool,
    /// It is a word of a header's name: that it is a macro matters.
    is_word: bool,
    is_opaque: bool,
    /// Some definition takes no parameters.
    is_replaced: bool,
}

/// The macros met as operands and all that became of them.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    /// Definitions of the compiler and the command line; `None` where not all are known.
    given: Option<Vec<u8>>,
    places: BTreeSet<Place>,
    /// What they looked up.
    asked: HashSet<(Place, Header)>,
    names: Vec<Name>,
    index: HashMap<Box<[u8]>, usize>,
    has_probe: bool,
    has_failed: bool,
}

impl Expansion {
    /// Nothing met yet. `predefined` is a text, `defined` are operands of `-D`; where either is `None` nothing is
    /// understood.
    pub(super) fn new(predefined: Option<&[u8]>, defined: Option<&[Vec<u8>]>) -> Self {
        let given = predefined.zip(defined).map(|(predefined, defined)| {
            let mut text = predefined.to_vec();
            for definition in defined {
                text.extend(as_directive(definition));
            }
            text
        });
        Self {
            given,
            ..Self::default()
        }
    }

    /// The definitions that no file makes, as a text; `None` where not all are known.
    pub(super) fn given(&self) -> Option<&[u8]> {
        self.given.as_deref()
    }

    /// Notes an operand of a file found in `directory`.
    pub(super) fn meet(&mut self, directory: DirectoryId, operand: &Operand) {
        use ReferenceKind::{HasEmbed, HasInclude, HasIncludeNext};
        self.has_probe |= matches!(operand.kind, HasInclude | HasIncludeNext | HasEmbed);
        let Some(name) = self.name(&operand.name) else {
            return;
        };
        self.names[name].is_operand = true;
        let kind = operand.kind;
        let place = Place {
            directory,
            kind,
            name,
        };
        self.places.insert(place);
    }

    /// Whether anything is to be followed.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A name not all `files` were searched for, and how many were.
    pub(super) fn to_search(&self, files: usize) -> Option<(usize, &[u8], usize)> {
        let is_behind = |name: &Name| name.files_searched < files;
        let index = self.names.iter().position(is_behind)?;
        let name = &self.names[index];
        Some((index, &name.text, name.files_searched))
    }

    /// Notes that `files` were searched for the name at `index`, and what those not searched before make of it.
    pub(super) fn learn(&mut self, index: usize, files: usize, found: &[Definition]) {
        self.names[index].files_searched = files;
        self.take_in(index, found);
    }

    /// The lookups that what was learned adds.
    pub(super) fn lookups(&mut self) -> Vec<(DirectoryId, Reference)> {
        let mut lookups = Vec::new();
        for place in self.places.clone() {
            for (form, spelling) in self.headers(place.name) {
                if self.asked.len() >= LOOKUPS {
                    self.has_failed = true;
                    return lookups;
                }
                let is_below = |directory: &&[u8]| spelling.starts_with(directory);
                if *spelling != *NULL_DEVICE && MACHINE_MADE.iter().any(is_below) {
                    self.has_failed = true;
                    continue;
                }
                if self.asked.insert((place.clone(), (form, spelling.clone()))) {
                    let reference = Reference {
                        spelling: spelling.into_vec(),
                        form,
                        kind: place.kind,
                    };
                    lookups.push((place.directory, reference));
                }
            }
        }
        lookups
    }

    /// Whether some operand was met of which not all is understood.
    pub(super) fn is_computed(&self) -> bool {
        let is_hidden =
            |name: &Name| (name.is_operand && name.is_opaque) || (name.is_word && name.is_replaced);
        self.has_failed || self.names.iter().any(is_hidden)
    }

    /// Whether some operand was that of a probe.
    pub(super) fn has_probe(&self) -> bool {
        self.has_probe
    }

    /// Gives up: definitions may come from elsewhere.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Every name that decided something, or that would have if it were defined.
    pub(super) fn names(self) -> BTreeSet<Vec<u8>> {
        self.index.into_keys().map(<[u8]>::into_vec).collect()
    }

    /// All headers that the name at `start` may stand for, by way of others.
    fn headers(&self, start: usize) -> BTreeSet<Header> {
        let mut headers = BTreeSet::new();
        let mut reached = BTreeSet::from([start]);
        let mut pending = vec![start];
        while let Some(index) = pending.pop() {
            let name = &self.names[index];
            headers.extend(name.headers.iter().cloned());
            pending.extend(name.names.iter().filter(|next| reached.insert(**next)));
        }
        headers
    }

    fn take_in(&mut self, index: usize, found: &[Definition]) {
        for definition in found {
            self.names[index].is_replaced |= *definition != Definition::Function;
            match definition {
                Definition::Header(form, spelling) => {
                    if *form == Form::Angle {
                        self.meet_words(spelling);
                    }
                    self.names[index].headers.insert((*form, spelling.clone()));
                }
                Definition::Name(other) => {
                    if let Some(other) = self.name(other) {
                        self.names[other].is_operand = true;
                        self.names[index].names.insert(other);
                    }
                }
                Definition::Other => self.names[index].is_opaque = true,
                Definition::Nothing | Definition::Function => {}
            }
        }
    }

    /// A compiler replaces those of them that are macros.
    fn meet_words(&mut self, spelling: &[u8]) {
        let words = spelling.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        for word in words.filter(|word| word.first().is_some_and(|first| !first.is_ascii_digit())) {
            if let Some(name) = self.name(word) {
                self.names[name].is_word = true;
            }
        }
    }

    /// The index of a name, which is looked for among what is given when it is met first.
    fn name(&mut self, text: &[u8]) -> Option<usize> {
        if let Some(known) = self.index.get(text) {
            return Some(*known);
        }
        let is_reserved = RESERVED.iter().any(|prefix| text.starts_with(prefix));
        if is_reserved || self.names.len() >= NAMES {
            self.has_failed = true;
        }
        let given = self.given.as_deref().map(|given| definitions(given, text));
        let Some(given) = given.filter(|_| !self.has_failed) else {
            self.has_failed = true;
            return None;
        };
        let index = self.names.len();
        self.names.push(Name {
            text: text.into(),
            files_searched: 0,
            headers: BTreeSet::new(),
            names: BTreeSet::new(),
            is_operand: false,
            is_word: false,
            is_opaque: false,
            is_replaced: false,
        });
        self.index.insert(text.into(), index);
        self.take_in(index, &given);
        Some(index)
    }
}

/// What compilers make of an operand of `-D`: the first `=` ends the name, and without one the value is 1.
fn as_directive(definition: &[u8]) -> Vec<u8> {
    let (name, value) = match definition.iter().position(|byte| *byte == b'=') {
        Some(at) => (&definition[..at], &definition[at + 1..]),
        None => (definition, &b"1"[..]),
    };
    [b"#define ", name, b" ", value, b"\n"].concat()
}
