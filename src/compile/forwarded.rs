//! Arguments that the driver hands on to another part: `-Wp,`, `-Wa,`, `-Xclang`, `-mllvm` and their like.
//! Known ones are read, any other keeps the compile local: a forwarded flag may always name a file.

use super::dialect::Meaning::{
    Defines, Dependency, Directory, EmitsPrecompiled, ForcedInclude, Forwards, Passes, Precompiled,
    Processor, Selects, Steers,
};
use super::dialect::Shape::{Exact, Joined, JoinedOrSeparate, Separate};
use super::dialect::{DependencyFlag, Flag, Meaning, Operand, Tool, find, flag};
use super::{Cause, Reason};

/// What the preprocessor proper takes. Its `-MD` and `-MMD` name their file (gcc manual, "Preprocessor
/// Options", on `-Wp,-MMD,file`), unlike the driver's.
pub(super) const PREPROCESSOR: &[Flag] = &[
    flag("-C", Exact, Passes),
    flag("-D", JoinedOrSeparate, Defines),
    flag("-I", JoinedOrSeparate, Directory),
    flag("-MD", Separate, Dependency(DependencyFlag::File)),
    flag("-MMD", Separate, Dependency(DependencyFlag::File)),
    flag("-MP", Exact, Dependency(DependencyFlag::Content)),
    flag("-MQ", JoinedOrSeparate, Dependency(DependencyFlag::Content)),
    flag("-MT", JoinedOrSeparate, Dependency(DependencyFlag::Content)),
    flag("-P", Exact, Passes),
    flag("-U", JoinedOrSeparate, Passes),
    flag("-W", Joined, Passes),
    flag("-fopenmp", Exact, Selects),
    flag("-idirafter", JoinedOrSeparate, Directory),
    flag("-imacros", JoinedOrSeparate, ForcedInclude),
    flag("-include", JoinedOrSeparate, ForcedInclude),
    flag("-iquote", JoinedOrSeparate, Directory),
    flag("-isystem", JoinedOrSeparate, Directory),
    flag("-pedantic", Exact, Passes),
    flag("-trigraphs", Exact, Passes),
    flag("-undef", Exact, Passes),
    flag("-w", Exact, Passes),
];

/// What GNU as and clang's own assembler take without a further file (binutils manual, "Command-Line
/// Options"). A listing (`-a…`), `--MD` and `-o` are not here.
pub(super) const ASSEMBLER: &[Flag] = &[
    flag("--32", Exact, Passes),
    flag("--64", Exact, Passes),
    flag("--break", Exact, Passes),
    flag("--compress-debug-sections", Joined, Passes),
    flag("--construct-floats", Exact, Passes),
    flag("--crel", Exact, Passes),
    flag("--debug-prefix-map", JoinedOrSeparate, Passes),
    flag("--defsym", JoinedOrSeparate, Passes),
    flag("--disable-multibyte-handling", Exact, Passes),
    flag("--divide", Exact, Passes),
    flag("--elf-stt-common=", Joined, Passes),
    flag("--execstack", Exact, Passes),
    flag("--fatal-warnings", Exact, Passes),
    flag("--gdwarf-", Joined, Passes),
    flag("--generate-missing-build-notes=", Joined, Passes),
    flag("--gstabs", Joined, Passes),
    flag("--hash-size=", Joined, Passes),
    flag("--keep-locals", Exact, Passes),
    flag("--multibyte-handling=", Joined, Passes),
    flag("--no-break", Exact, Passes),
    flag("--no-construct-floats", Exact, Passes),
    flag("--no-crel", Exact, Passes),
    flag("--no-pad-sections", Exact, Passes),
    flag("--no-trap", Exact, Passes),
    flag("--no-type-check", Exact, Passes),
    flag("--no-warn", Exact, Passes),
    flag("--nocompress-debug-sections", Exact, Passes),
    flag("--noexecstack", Exact, Passes),
    flag("--reduce-memory-overheads", Exact, Passes),
    flag("--sectname-subst", Exact, Passes),
    flag("--size-check=", Joined, Passes),
    flag("--strip-local-absolute", Exact, Passes),
    flag("--traditional-format", Exact, Passes),
    flag("--trap", Exact, Passes),
    flag("--warn", Exact, Passes),
    flag("--x32", Exact, Passes),
    flag("-EB", Exact, Passes),
    flag("-EL", Exact, Passes),
    flag("-I", JoinedOrSeparate, Directory),
    flag("-K", Joined, Passes),
    flag("-L", Exact, Passes),
    flag("-O", Joined, Passes),
    flag("-Qn", Exact, Passes),
    flag("-Qy", Exact, Passes),
    flag("-R", Exact, Passes),
    flag("-W", Exact, Passes),
    flag("-fdebug-compilation-dir", JoinedOrSeparate, Passes),
    flag("-g", Joined, Passes),
    flag("-k", Exact, Passes),
    flag("-m", Joined, Passes),
    flag("-n", Exact, Passes),
    flag("-no-pad-sections", Exact, Passes),
    flag("-q", Exact, Passes),
];

/// What clang's compiler proper takes without a further file.
pub(super) const FRONTEND: &[Flag] = &[
    flag("-W", Joined, Passes),
    flag("-debug-info-kind=", Joined, Passes),
    flag("-disable-O0-optnone", Exact, Passes),
    flag("-disable-lifetime-markers", Exact, Passes),
    flag("-disable-llvm-passes", Exact, Passes),
    flag("-disable-llvm-verifier", Exact, Passes),
    flag("-disable-noundef-analysis", Exact, Passes),
    flag("-discard-value-names", Exact, Passes),
    flag("-emit-pch", Exact, EmitsPrecompiled),
    flag("-enable-noundef-analysis", Exact, Passes),
    flag("-fallow-half-arguments-and-returns", Exact, Passes),
    flag("-fansi-escape-codes", Exact, Passes),
    flag("-fapply-global-visibility-to-externs", Exact, Passes),
    flag("-fcolor-diagnostics", Exact, Passes),
    flag("-fcxx-exceptions", Exact, Selects),
    flag("-fdebug-compilation-dir", Separate, Passes),
    flag("-fdenormal-fp-math=", Joined, Passes),
    flag("-fenable-matrix", Exact, Passes),
    flag("-fexceptions", Exact, Selects),
    flag("-fexperimental-assignment-tracking", Joined, Passes),
    flag("-fexperimental-max-bitint-width=", Joined, Passes),
    flag("-fexperimental-omit-vtable-rtti", Exact, Passes),
    flag("-ffinite-loops", Exact, Passes),
    flag("-finline-hint-functions", Exact, Passes),
    flag("-fmerge-functions", Exact, Passes),
    flag("-fnative-half-type", Exact, Passes),
    flag("-fno-dwarf2-cfi-asm", Exact, Passes),
    flag("-fno-experimental-omit-vtable-rtti", Exact, Passes),
    flag("-fno-finite-loops", Exact, Passes),
    flag("-fno-inline-hint-functions", Exact, Passes),
    flag("-fno-pch-timestamp", Exact, Passes),
    flag("-fno-rtti-data", Exact, Passes),
    flag("-fno-show-column", Exact, Passes),
    flag("-fno-use-ctor-homing", Exact, Passes),
    flag("-fsanitize-address-use-after-scope", Exact, Passes),
    flag("-funwind-tables=", Joined, Passes),
    flag("-fuse-ctor-homing", Exact, Passes),
    flag("-fvisibility-global-new-delete-hidden", Exact, Passes),
    flag("-gcodeview", Exact, Passes),
    flag("-gsimple-template-names=", Joined, Passes),
    flag("-include", Separate, ForcedInclude),
    flag("-include-pch", Separate, Precompiled),
    flag("-mconstructor-aliases", Exact, Passes),
    flag("-menable-no-infs", Exact, Passes),
    flag("-menable-no-nans", Exact, Passes),
    flag("-mframe-pointer=", Joined, Passes),
    flag("-mllvm", Separate, Forwards(Tool::Llvm)),
    flag("-no-enable-noundef-analysis", Exact, Passes),
    flag("-no-opaque-pointers", Exact, Passes),
    flag("-no-struct-path-tbaa", Exact, Passes),
    flag("-opaque-pointers", Exact, Passes),
    flag("-relaxed-aliasing", Exact, Passes),
    flag("-std=", Joined, Selects),
    flag("-target-cpu", Separate, Processor),
    flag("-target-feature", Separate, Selects),
    flag("-tune-cpu", Separate, Processor),
    flag("-vectorize-loops", Exact, Passes),
    flag("-vectorize-slp", Exact, Passes),
];

/// LLVM options that builds are seen to use and that only steer passes.
pub(super) const LLVM: &[Flag] = &[
    flag("-aarch64-", Joined, Steers),
    flag("-align-all-", Joined, Steers),
    flag("-amdgpu-", Joined, Steers),
    flag("-arm-", Joined, Steers),
    flag("-asan-", Joined, Passes),
    flag("-basic-aa-", Joined, Steers),
    flag("-cost-kind=", Joined, Passes),
    flag("-disable-", Joined, Steers),
    flag("-enable-", Joined, Steers),
    flag("-force-vector-", Joined, Steers),
    flag("-generate-arange-section", Joined, Passes),
    flag("-hwasan-", Joined, Passes),
    flag("-import-instr-limit=", Joined, Passes),
    flag("-inline-", Joined, Steers),
    flag("-inlinehint-threshold=", Joined, Passes),
    flag("-instcombine-", Joined, Passes),
    flag("-jump-threading-", Joined, Steers),
    flag("-kasan-", Joined, Steers),
    flag("-licm-", Joined, Steers),
    flag("-loop-", Joined, Steers),
    flag("-max-", Joined, Steers),
    flag("-memprof-", Joined, Steers),
    flag("-min-jump-table-entries=", Joined, Passes),
    flag("-msan-", Joined, Passes),
    flag("-no-discriminators", Exact, Passes),
    flag("-polly", Exact, Passes),
    flag("-polly-parallel", Exact, Passes),
    flag("-polly-vectorizer=", Joined, Passes),
    flag("-regalloc=", Joined, Passes),
    flag("-riscv-", Joined, Steers),
    flag("-sanitizer-coverage-", Joined, Steers),
    flag("-simplifycfg-", Joined, Steers),
    flag("-slp-", Joined, Steers),
    flag("-split-threshold-for-reg-with-hint=", Joined, Passes),
    flag("-tail-", Joined, Steers),
    flag("-treat-scalable-fixed-error-as-warning", Joined, Passes),
    flag("-tsan-", Joined, Passes),
    flag("-ubsan-", Joined, Steers),
    flag("-unroll-", Joined, Passes),
    flag("-vectorize-", Joined, Passes),
    flag("-vp-", Joined, Steers),
    flag("-x86-", Joined, Steers),
];

/// One forwarded flag with its operand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// What the flag means to the part that gets it.
    pub(super) meaning: Meaning,
    /// The arguments as forwarded: one, or two with a separate operand.
    pub(super) spelled: &'a [Vec<u8>],
    /// The operand; empty where the flag has none.
    pub(super) operand: &'a [u8],
}

/// Reads all that was forwarded to one part, in order, by its `table`.
pub(super) fn read<'a>(pieces: &'a [Vec<u8>], table: &'static [Flag]) -> Result<Vec<Piece<'a>>, Reason> {
    let mut read = Vec::with_capacity(pieces.len());
    let mut rest = pieces;
    while let Some(piece) = rest.first() {
        let unknown = || Reason::new(Cause::UnknownForwarded, piece);
        let (row, operand) = find(table, piece).ok_or_else(unknown)?;
        let (length, operand) = match operand {
            Operand::None => (1, &[][..]),
            // Only a directory may be a path in a joined operand: `-mabi=/x` is no known flag.
            Operand::Joined(joined) if row.shape == Joined && joined.contains(&b'/') => {
                return Err(Reason::new(Cause::UnknownForwarded, piece));
            }
            Operand::Joined(joined) if row.meaning == Steers && !steers(joined) => {
                return Err(Reason::new(Cause::UnknownForwarded, piece));
            }
            Operand::Joined(joined) => (1, joined),
            Operand::Next => {
                let next = rest
                    .get(1)
                    .ok_or_else(|| Reason::new(Cause::MissingOperand, piece))?;
                (2, next.as_slice())
            }
        };
        let (spelled, following) = rest.split_at(length);
        read.push(Piece {
            meaning: row.meaning,
            spelled,
            operand,
        });
        rest = following;
    }
    Ok(read)
}

/// Whether the rest of an LLVM option, its name's end and perhaps a value, cannot name a file: the value is a
/// number or a truth value.
fn steers(rest: &[u8]) -> bool {
    let Some(equals) = rest.iter().position(|&byte| byte == b'=') else {
        return true;
    };
    let value = &rest[equals + 1..];
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    matches!(value, b"true" | b"false") || (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for table in [PREPROCESSOR, ASSEMBLER, FRONTEND, LLVM] {
            assert!(
                table.windows(2).all(|pair| pair[0].spelling < pair[1].spelling),
                "{}",
                table[0].spelling
            );
        }
    }

    #[test]
    fn known_pieces_are_read_and_unknown_ones_refused() {
        let check = |table, pieces: &str, expect: Result<&str, (Cause, &str)>| {
            let given: Vec<Vec<u8>> = pieces.split(',').map(|piece| piece.as_bytes().to_vec()).collect();
            let operands = read(&given, table).map(|read| {
                let operands = read
                    .iter()
                    .map(|piece| String::from_utf8_lossy(piece.operand).into_owned());
                operands.collect::<Vec<_>>().join(" ")
            });
            let expect = expect
                .map(str::to_owned)
                .map_err(|(cause, text)| Reason::new(cause, text.as_bytes()));
            assert_eq!(operands, expect, "{pieces}");
        };
        let unknown = |piece| Err((Cause::UnknownForwarded, piece));
        check(PREPROCESSOR, "-MD,f.d,-DX=1,-I,d,-MTx", Ok("f.d X=1 d x"));
        check(PREPROCESSOR, "-MD", Err((Cause::MissingOperand, "-MD")));
        check(PREPROCESSOR, "-MF,x", unknown("-MF"));
        check(
            PREPROCESSOR,
            "-D_FORTIFY_SOURCE=2,-fplugin=x",
            unknown("-fplugin=x"),
        );
        check(
            ASSEMBLER,
            "--noexecstack,-I,d,-mrelax-relocations=no",
            Ok(" d relax-relocations=no"),
        );
        check(ASSEMBLER, "-adhln=x.lst", unknown("-adhln=x.lst"));
        check(ASSEMBLER, "-o,x", unknown("-o"));
        check(ASSEMBLER, "-mfoo=/x", unknown("-mfoo=/x"));
        check(FRONTEND, "-target-feature,+avx,-disable-O0-optnone", Ok("+avx "));
        check(FRONTEND, "-load,x.so", unknown("-load"));
        check(FRONTEND, "-include-pch,x,-include,y", Ok("x y"));
        check(FRONTEND, "-mllvm,-enable-gvn-hoist", Ok("-enable-gvn-hoist"));
        check(
            ASSEMBLER,
            "--defsym=X=1,--debug-prefix-map,/a=/b,--debug-prefix-map=/c=/d",
            Ok("=X=1 /a=/b =/c=/d"),
        );
        check(LLVM, "-asan-stack=0", Ok("stack=0"));
        check(
            LLVM,
            "-inline-threshold=-5,-enable-gvn-hoist,-disable-lsr=true",
            Ok("threshold=-5 gvn-hoist lsr=true"),
        );
        check(
            LLVM,
            "-x86-lvi-load-opt-plugin=x",
            unknown("-x86-lvi-load-opt-plugin=x"),
        );
        check(LLVM, "-time-passes", unknown("-time-passes"));
        check(LLVM, "-pass-remarks-output=x", unknown("-pass-remarks-output=x"));
    }
}
