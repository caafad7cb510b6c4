//! Languages that real users have: compiled locales and translated catalogues, in the places where the C library and
//! gcc look for them.

use std::process::{Child, ChildStdin, Command, Stdio};

use crate::support::{QUICC, World};
use crate::terminals::{XTERM, on_terminal};

const WARNED: &str = "int f(void) { int unused; return 0; }\n/* a /* b */\n";
const WRONG: &str = "int f(void) { int unused; return undeclared; }\n";

/// Some of gcc's messages and a translation that no charset but UTF-8 and Latin-1 has.
const GCC: [(&str, &str); 7] = [
    ("`", "»"),
    ("'", "«"),
    ("warning: ", "Warnung: "),
    ("error: ", "Fehler: "),
    ("unused variable %q+D", "überflüssige Variable %q+D"),
    ("In function %qs", "In der Funktion %qs"),
    (
        "%qE undeclared (first use in this function)",
        "%qE ist nicht deklariert (zuerst hier benötigt)",
    ),
];
const CPPLIB: [(&str, &str); 1] = [("\"/*\" within comment", "»/*« innerhalb eines Kommentars, äh")];
const GAS: [(&str, &str); 2] = [
    ("Assembler messages:\n", "Nachrichten des Übersetzers:\n"),
    ("Warning: ", "Wärnung: "),
];

/// The bytes of a catalogue (gettext manual, "The Format of GNU MO Files"), without a hash table.
fn catalogue(messages: &[(&str, &str)]) -> Vec<u8> {
    const HEADER_SIZE: usize = 28;
    const ROW_SIZE: usize = 8;
    let mut messages: Vec<_> = messages.to_vec();
    messages.push(("", "Content-Type: text/plain; charset=UTF-8\n"));
    messages.sort_unstable();
    let translations = HEADER_SIZE + ROW_SIZE * messages.len();
    let mut text = Vec::new();
    let mut rows = Vec::new();
    let originals = messages.iter().map(|message| message.0);
    for string in originals.chain(messages.iter().map(|message| message.1)) {
        let at = translations + ROW_SIZE * messages.len() + text.len();
        rows.extend([string.len(), at]);
        text.extend_from_slice(string.as_bytes());
        text.push(0);
    }
    let header = [0x9504_12de, 0, messages.len(), HEADER_SIZE, translations, 0, 0];
    let words = header.into_iter().chain(rows);
    let mut bytes: Vec<u8> = words
        .flat_map(|word| u32::try_from(word).unwrap().to_le_bytes())
        .collect();
    bytes.extend(text);
    bytes
}

/// A mount namespace in which this machine speaks German. Lives as long as its standard input is open.
struct Germany {
    world: World,
    namespace: Child,
    stay: Option<ChildStdin>,
}

impl Germany {
    fn new() -> Self {
        let world = World::new();
        let version = world.local("printf %s $(gcc -dumpversion)").stdout;
        let version = String::from_utf8(version).unwrap();
        for (domain, messages) in [("gcc", &GCC[..]), ("cpplib", &CPPLIB), ("gas", &GAS)] {
            // Debian puts the version behind those of gcc.
            for name in [domain.to_owned(), format!("{domain}-{version}")] {
                let path = format!("../share/de/LC_MESSAGES/{name}.mo");
                world.write(&path, "");
                std::fs::write(world.at(&path), catalogue(messages)).unwrap();
            }
        }
        world.write("../share/locale.alias", "");
        world.write("warned.c", WARNED);
        world.write("wrong.c", WRONG);
        world.write("warned.s", ".warning \"w\"\n");
        // Latin-1 in the archive, as most systems have theirs, UTF-8 in files of its own.
        let prepare = "mkdir -p ../root/usr/lib/locale && cp -r /usr/lib/locale/C.* ../root/usr/lib/locale && \
             localedef --prefix=$PWD/../root -i de_DE -f ISO-8859-1 de_DE && \
             localedef -i de_DE -f UTF-8 $PWD/../root/usr/lib/locale/de_DE.utf8 && \
             test -f ../root/usr/lib/locale/locale-archive";
        let prepared = world.local(prepare);
        assert!(prepared.status.success(), "{}", world.explain(&prepared));
        let enter = "mount --bind ../root/usr/lib/locale /usr/lib/locale && mount --bind ../share /usr/share/locale && \
                     echo in && read line";
        let mut namespace = world
            .command("unshare")
            .args(["--mount", "--", "sh", "-c", enter])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests run as root");
        let mut said = [0; 3];
        std::io::Read::read_exact(namespace.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(said, *b"in\n");
        let stay = namespace.stdin.take();
        Self {
            world,
            namespace,
            stay,
        }
    }

    /// A command in there.
    fn command(&self, locale: &str) -> Command {
        let mut command = self.world.command("nsenter");
        command
            .arg("--mount")
            .arg(format!("--target={}", self.namespace.id()));
        command.args(["--", "sh", "-c", "cd \"$0\" && exec \"$@\""]);
        command.arg(self.world.source());
        command.env("QUICC_LEDGER", self.world.root().join("ledger"));
        command.env("LC_ALL", locale);
        command
    }

    /// Compiles here and through the farm, on pipes or a terminal. Gives the text, which is the same, with odd bytes
    /// escaped, and what became of the unit.
    fn compile(&self, locale: &str, arguments: &str, terminal: bool) -> (String, String) {
        let ledger = self.world.root().join("ledger");
        let run = |programs: &[&str]| {
            let _ = std::fs::remove_file(self.world.at("out.o"));
            std::fs::write(&ledger, "").unwrap();
            let mut command = self.command(locale);
            command.args(programs).args(arguments.split(' '));
            command.args(["-o", "out.o"]);
            let (status, text) = if terminal {
                on_terminal(&mut command, XTERM)
            } else {
                let output = command.output().unwrap();
                assert!(output.stdout.is_empty(), "{output:?}");
                (output.status, output.stderr.escape_ascii().to_string())
            };
            (status, text, std::fs::read(self.world.at("out.o")).ok())
        };
        let (local, remote) = (run(&[]), run(&[QUICC]));
        let context = || format!("{locale} {arguments} {}", self.world.agent_log());
        assert_eq!((local.0, &local.1), (remote.0, &remote.1), "{}", context());
        assert!(local.2 == remote.2, "the same object {}", context());
        let fate = std::fs::read_to_string(ledger).unwrap();
        let fate: Vec<_> = fate.split(' ').take(2).collect();
        (local.1, fate.join(" "))
    }
}

impl Drop for Germany {
    fn drop(&mut self) {
        let _ = self.command("C").args([QUICC, "agent", "stop"]).output();
        drop(self.stay.take());
        let _ = self.namespace.wait();
    }
}

#[test]
fn a_compiler_speaks_the_language_of_its_user() {
    let germany = Germany::new();
    // The same words in Latin-1 and in UTF-8, and a locale that is not installed.
    for (locale, u, o, a) in [
        ("de_DE", r"\xfc", r"\xf6", r"\xe4"),
        ("de_DE.UTF-8", r"\xc3\xbc", r"\xc3\xb6", r"\xc3\xa4"),
        ("de_AT.UTF-8", "", "", ""),
    ] {
        let is_german = !u.is_empty();
        for terminal in [false, true] {
            for (arguments, expected, translated) in [
                (
                    "gcc -Wall -g -c warned.c",
                    "remote -",
                    [format!("{u}berfl{u}ssige Variable"), format!("Kommentars, {a}h")],
                ),
                (
                    "gcc -Wall -g -c warned.s",
                    "remote -",
                    [format!("W{a}rnung: w"), "Nachrichten".to_owned()],
                ),
                // In another language poison cannot be told from a mistake.
                (
                    "gcc -Wall -c wrong.c",
                    "local compile-failed",
                    [format!("ben{o}tigt"), "Fehler: ".to_owned()],
                ),
                (
                    "clang -Wall -c warned.c",
                    "remote -",
                    [String::new(), String::new()],
                ),
            ] {
                let (text, fate) = germany.compile(locale, arguments, terminal);
                assert_eq!(
                    fate,
                    expected,
                    "{locale} {arguments} {}",
                    germany.world.agent_log()
                );
                if is_german {
                    for words in translated {
                        assert!(text.contains(&words), "{locale} {arguments}: {text}");
                    }
                }
            }
        }
    }
}
