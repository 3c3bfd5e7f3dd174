//! Rules that neither compiler nor clippy checks: the layers, no import cycles, what runs as root on a host, what
//! starts processes, what sees plaintext, and that docs/architecture.md lists every folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The layers; each may use those before it.
const LAYERS: [&str; 4] = ["domain", "adapters", "commands", "cli"];

/// The files that expose a value, each with the reason. Adding one must be a decision, not an accident.
const EXPOSE: &[(&str, &str)] = &[
    ("domain/secret/plaintext.rs", "the type itself"),
    ("adapters/age/mod.rs", "into the encrypting writer"),
    ("adapters/age/generate.rs", "`KEY=` before a made value"),
    ("adapters/host/generation.rs", "into the delivered file; the status, which is no secret"),
    (
        "adapters/host/host_key.rs",
        "a host's own key into the root of a machine that was not booted yet; its public half",
    ),
    ("adapters/host/unit_log.rs", "whether a line of a journal holds it, which is then not told"),
    ("adapters/age/identity.rs", "the text of a private key, to parse it"),
    ("adapters/age/identity_file.rs", "the text of a private key, into its file and back"),
    ("adapters/age/plugin.rs", "the key of a file, to wrap it by a plugin"),
    ("adapters/age/ssh_ed25519.rs", "the key of a file, to wrap it for an SSH key"),
    ("adapters/age/keyring.rs", "a private key into the keyring, and back"),
    ("adapters/process/call.rs", "into a child's standard input"),
    ("adapters/editor/scratch.rs", "into the file that an editor has in memory"),
    ("adapters/terminal.rs", "whether an answer is yes"),
    ("cli/input.rs", "a passphrase, into the type that age takes"),
    ("cli/ui.rs", "a value, to standard output"),
    ("cli/verbs/agent/host_run.rs", "a request, which is no secret, read by the same safe reader"),
    ("cli/verbs/secrets/show.rs", "whether a terminal can take it"),
    ("domain/scan/variants.rs", "into the texts that are looked for, which are wiped"),
    ("domain/scan/index.rs", "the index itself, as it comes out of its sealed file"),
    ("commands/adopt/git_key.rs", "the shape of a key's file, and its digest"),
    ("commands/adopt/mod.rs", "to look for it in the history, in memory"),
    ("commands/adopt/nix.rs", "its shape, and whether an environment file takes it plainly"),
    ("commands/secrets/edit.rs", "whether it changed, and its shape"),
    ("commands/install/compare.rs", "its digest against that of the status"),
    ("commands/install/open.rs", "its shape"),
    ("commands/install/place.rs", "its digest against the live one"),
    ("commands/secrets/seal.rs", "its shape, and the help that was asked for"),
];

/// Everything reachable from here runs as root on a host, and has to be audited.
const ON_A_HOST: &str = "cli/host.rs";
/// The only files of the verbs and the command line that may be reachable.
const ITS_VERBS: [&str; 10] = [
    "cli/args.rs",
    "cli/environment.rs",
    "cli/host.rs",
    "cli/input.rs",
    "cli/layout.rs",
    "cli/print.rs",
    "cli/run.rs",
    "cli/verbs/agent/",
    "commands/agent/",
    "commands/install/",
];
/// Files of the other layers that must not be reachable.
const NOT_ON_A_HOST: [&str; 18] = [
    "adapters/age/discovery.rs",
    "adapters/age/keyring.rs",
    "adapters/age/generate.rs",
    "adapters/archive.rs",
    "adapters/editor/",
    "adapters/flake.rs",
    "adapters/git/",
    "adapters/nix/build.rs",
    "adapters/repository.rs",
    "adapters/ssh/",
    "adapters/terminal.rs",
    "adapters/user_config.rs",
    "domain/migrate/",
    "domain/nix/",
    "domain/policy/parse.rs",
    "domain/policy/parse_secret.rs",
    "domain/policy/syntax.rs",
    "domain/scan/",
];

/// The maximum number of files in a folder.
const MOST_FILES: usize = 20;

/// Every file of src/ with its content, by path.
fn sources() -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut places = vec![top.clone()];
    let mut found = Vec::new();
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).expect("src is read").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                places.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let name = entry.strip_prefix(&top).expect("below src").display().to_string();
                found.push((name, std::fs::read_to_string(&entry).expect("it is text")));
            }
        }
    }
    assert!(found.len() > 60, "the sources are found");
    found.sort();
    found
}

/// The numbered lines of a file outside its tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
    text.lines()
        .enumerate()
        .take(end)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

/// Whether a file contains only tests.
fn is_test(name: &str) -> bool {
    name.ends_with("_tests.rs") || name.ends_with("/tests.rs")
}

/// Parses a path or a tree of paths at the start of a text: `a::b`, `a::{b, c::d}`. Returns its length.
fn paths(text: &str, before: &str, found: &mut Vec<String>) -> usize {
    let letters = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let path = if letters == 0 { before.to_owned() } else { format!("{before}/{}", &text[..letters]) };
    match text[letters..].strip_prefix("::") {
        Some(rest) if rest.starts_with('{') => {
            let mut at = letters + 3;
            while text.as_bytes().get(at).is_some_and(|byte| *byte != b'}') {
                at += paths(&text[at..], &path, found).max(1);
            }
            at + 1
        }
        Some(rest) if rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') => {
            letters + 2 + paths(rest, &path, found)
        }
        _ => {
            found.extend((letters > 0).then_some(path));
            letters
        }
    }
}

/// Every import of one file of src/ by another, through crate paths and within a folder.
fn imports() -> BTreeSet<(String, String)> {
    let sources = sources();
    let files: BTreeSet<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    // The file of a path: the longest prefix that is a file; the rest is an item in it.
    let file = |path: &str| {
        let tops = std::iter::successors(Some(path), |path| Some(path.rsplit_once('/')?.0));
        tops.flat_map(|top| [format!("{top}.rs"), format!("{top}/mod.rs")]).find(|file| files.contains(file.as_str()))
    };
    let mut found = BTreeSet::new();
    for (name, text) in sources.iter().filter(|(name, _)| !is_test(name) && name.contains('/')) {
        let code: Vec<&str> = code(text).map(|(_, line)| line).collect();
        let text = code.join("\n");
        let mut used = Vec::new();
        for (at, top) in text.match_indices("crate::").filter(|(at, _)| !text[..*at].ends_with("(in ")) {
            paths(&text[at + top.len() - "::".len()..], "", &mut used);
        }
        let folder = name.strip_suffix("/mod.rs").or_else(|| name.strip_suffix(".rs")).unwrap_or(name);
        let children = code.iter().filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
        for child in children {
            let word =
                |at: usize| !text[..at].ends_with(|letter: char| letter.is_alphanumeric() || "_:".contains(letter));
            if text.match_indices(&format!("{child}::")).any(|(at, _)| word(at)) {
                used.push(format!("/{folder}/{child}"));
            }
        }
        let others = used.iter().filter_map(|path| file(path.strip_prefix('/')?)).filter(|other| other != name);
        found.extend(others.map(|other| (name.clone(), other)));
    }
    found
}

/// The edges in cycles or between cycles: those whose nodes have both incoming and outgoing edges.
fn circles(mut edges: BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    loop {
        let (from, to): (BTreeSet<String>, BTreeSet<String>) = edges.iter().cloned().unzip();
        let before = edges.len();
        edges.retain(|(a, b)| to.contains(a) && from.contains(b));
        if edges.len() == before {
            return edges;
        }
    }
}

/// Reduces an import to the two entries, files or folders, of the innermost folder that contains both files.
fn between_neighbours((a, b): &(String, String)) -> (String, String) {
    let common = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).count();
    let top = |path: &str| path.split('/').take(common + 1).collect::<Vec<_>>().join("/");
    (top(a), top(b))
}

#[test]
fn imports_are_read() {
    let mut found = Vec::new();
    let text = "::a::{\n    self, B,\n    c::{D, e},\n};";
    paths(text, "", &mut found);
    assert_eq!(found, ["/a/self", "/a/B", "/a/c/D", "/a/c/e"]);
    let edge = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    let all = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")].map(edge);
    assert_eq!(circles(all.into()), [("b", "c"), ("c", "b")].map(edge).into());
    let imports = imports();
    assert!(imports.len() > 800, "{}", imports.len());
    let known = [
        ("commands/agent/program.rs", "commands/agent/rollback.rs"),
        ("commands/install/open.rs", "adapters/age/identity.rs"),
        ("cli/verbs/mod.rs", "cli/verbs/manual.rs"),
        ("cli/host.rs", "cli/verbs/agent/install.rs"),
    ];
    for known in known.map(edge) {
        assert!(imports.contains(&known), "{known:?}");
    }
}

#[test]
fn data_flows_one_way() {
    let rank = |file: &str| LAYERS.iter().position(|layer| file.split('/').next() == Some(*layer));
    let back: Vec<_> = imports().into_iter().filter(|(a, b)| rank(a).is_some() && rank(a) < rank(b)).collect();
    assert!(back.is_empty(), "{back:#?}");
}

#[test]
fn nothing_goes_in_circles() {
    let imports = imports();
    let folders = imports.iter().map(between_neighbours).collect();
    let found: Vec<_> = circles(imports).into_iter().chain(circles(folders)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_runs_as_root_on_a_host_needs_little() {
    let (imports, sources) = (imports(), sources());
    let is_of = |file: &str, places: &[&str]| places.iter().any(|place| file.starts_with(place));
    for place in ITS_VERBS.iter().chain(&NOT_ON_A_HOST) {
        assert!(sources.iter().any(|(name, _)| name.starts_with(place)), "there is no {place}");
    }
    let holds = |file: &str, code: &str| sources.iter().any(|(name, text)| name == file && text.contains(code));
    assert!(holds("bin/sealift-host.rs", "sealift::host()") && holds("lib.rs", "crate::cli::host::main as host;"));
    // For each reached file, the one that imports it.
    let mut reached = BTreeMap::from([(ON_A_HOST.to_owned(), String::new())]);
    let mut last = vec![ON_A_HOST.to_owned()];
    while let Some(file) = last.pop() {
        for (_, next) in imports.iter().filter(|(from, _)| *from == file) {
            if reached.insert(next.clone(), file.clone()).is_none() {
                last.push(next.clone());
            }
        }
    }
    assert!(reached.contains_key("commands/agent/transaction.rs") && reached.contains_key("commands/install/open.rs"));
    let is_apart = |file: &str| {
        let of_verbs = is_of(file, &["cli/", "commands/"]) && file != "commands/talk.rs" && !is_of(file, &ITS_VERBS);
        of_verbs || is_of(file, &NOT_ON_A_HOST)
    };
    let found: Vec<_> = reached.iter().filter(|(file, _)| is_apart(file)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_folder_can_be_taken_in_at_a_glance() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in sources() {
        *folders.entry(name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()).or_default() += 1;
    }
    let crowded: Vec<_> = folders.into_iter().filter(|(_, files)| *files > MOST_FILES).collect();
    assert!(crowded.is_empty(), "{crowded:?}");
}

#[test]
fn a_file_says_first_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}

#[test]
fn one_file_starts_processes() {
    let starts =
        |text: &str| code(text).any(|(_, line)| line.contains("Command::new(") || line.contains("process::Command"));
    let found: Vec<_> = sources().into_iter().filter(|(_, text)| starts(text)).map(|(name, _)| name).collect();
    assert_eq!(found, ["adapters/process/mod.rs"]);
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn few_files_look_into_a_value() {
    // In any form: `value.expose(…)`, `Plaintext::expose(value, …)`, `.map(Plaintext::expose)`.
    let exposes = |line: &str| words(line).any(|word| word == "expose" || word.starts_with("expose_"));
    assert!(
        exposes("Plaintext::expose(value, f)") && exposes("f(secret.expose_secret())") && !exposes("exposed: true")
    );
    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(name, text)| !is_test(name) && code(text).any(|(_, line)| exposes(line)))
        .map(|(name, _)| name)
        .collect();
    let known = EXPOSE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let others: Vec<_> = found.symmetric_difference(&known).collect();
    assert!(others.is_empty(), "these look into values too, or no longer: {others:?}");
}

/// What code uses of a crate: `std::{env, fs::File}` and `std::env::args()` give `env`, `fs/File` and `env/args`.
fn reached(text: &str, top: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&format!("{top}::")) {
        if !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            paths(&text[at + top.len()..], "", &mut found);
        }
    }
    found.iter().map(|path| path.trim_start_matches('/').to_owned()).collect()
}

/// The modules of std without I/O.
const PURE: [&str; 24] = [
    "array",
    "ascii",
    "borrow",
    "cell",
    "char",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "io",
    "iter",
    "mem",
    "num",
    "ops",
    "panic",
    "path",
    "rc",
    "slice",
    "str",
    "string",
    "sync",
    "time/Duration",
];

/// What domain code uses outside of itself.
fn outside(text: &str) -> Vec<String> {
    let pure = |path: &String| PURE.iter().any(|pure| path == pure || path.starts_with(&format!("{pure}/")));
    let mut found: Vec<String> = reached(text, "std").into_iter().filter(|path| !pure(path)).collect();
    let calls = [
        "io::stdin",
        "io::stdout",
        "io::stderr",
        "print!",
        "println!",
        "dbg!",
        "rustix::",
        "::now(",
        ".exists()",
        ".is_file()",
        ".is_dir()",
        ".is_symlink()",
        ".metadata()",
        ".symlink_metadata()",
        ".canonicalize()",
        ".read_dir()",
        ".read_link()",
    ];
    found.extend(calls.iter().filter(|call| text.contains(**call)).map(|call| (*call).to_owned()));
    found
}

#[test]
fn the_domain_touches_nothing_outside() {
    let pure = "use std::{fmt::{self, Write}, io::{self, Read}, time::Duration};\nlet a = std::mem::take(b);";
    assert_eq!(outside(pure), Vec::<String>::new());
    for (text, what) in [
        ("use std::{\n    collections::BTreeMap,\n    env,\n};", "env"),
        ("use std::fs;", "fs"),
        ("use std::net::{IpAddr, UdpSocket};", "net/IpAddr"),
        ("use std::time::SystemTime;", "time/SystemTime"),
        ("use std::time;", "time"),
        ("let t = jiff::Timestamp::now();", "::now("),
        ("f(std::env::args())", "env/args"),
        ("std::thread::sleep(time);", "thread/sleep"),
        ("io::stdout().lock()", "io::stdout"),
    ] {
        assert_eq!(outside(text).first().map(String::as_str), Some(what), "{text}");
    }
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("domain/") && !is_test(name)) {
        let code: Vec<&str> = code(&text).map(|(_, line)| line).collect();
        faults.extend(outside(&code.join("\n")).iter().map(|what| format!("src/{name}: {what}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn only_the_command_line_knows_arguments_environment_and_printing() {
    let faults_of = |name: &str, text: &str| -> Vec<String> {
        let mut faults = Vec::new();
        if !name.starts_with("cli/") && words(text).any(|word| ["clap", "clap_complete", "clap_mangen"].contains(&word))
        {
            faults.push("clap".to_owned());
        }
        if name.starts_with("commands/") {
            let prints = ["io::stdin", "io::stdout", "io::stderr", "print!", "println!", "dbg!"];
            faults.extend(prints.iter().filter(|call| text.contains(**call)).map(|call| (*call).to_owned()));
            let environment = |path: &String| path.starts_with("env") && !path.starts_with("env/consts");
            faults.extend(reached(text, "std").into_iter().filter(environment));
        }
        faults
    };
    assert_eq!(faults_of("commands/a.rs", "use clap::Args;\nuse std::{env, fs};"), ["clap", "env"]);
    assert_eq!(faults_of("adapters/a.rs", "#[derive(clap::Args)]"), ["clap"]);
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.contains('/') && !is_test(name)) {
        if LAYERS[..3].iter().any(|layer| name.starts_with(&format!("{layer}/"))) {
            let code: Vec<&str> = code(&text).map(|(_, line)| line).collect();
            faults.extend(faults_of(&name, &code.join("\n")).iter().map(|what| format!("src/{name}: {what}")));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn imports_are_named() {
    let relative = |line: &str| ["super::", "self::"].iter().any(|word| line.contains(word));
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !is_test(name)) {
        faults.extend(code(&text).filter(|(_, line)| relative(line)).map(|(line, _)| format!("src/{name}:{line}")));
    }
    assert!(faults.is_empty(), "outside tests an import is a whole path, `crate::…`: {faults:?}");
}

#[test]
fn the_map_shows_every_folder_and_no_other() {
    let map = include_str!("../docs/architecture.md");
    let drawn: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("/` |"))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    let folder = |name: &str| Some(name.rsplit_once('/')?.0.to_owned());
    // The folders in cli/verbs/ correspond to those in commands/ and share a row with them; so do the rules of scan.
    let real: BTreeSet<String> = sources()
        .iter()
        .filter_map(|(name, _)| folder(name))
        .filter(|name| !name.starts_with("cli/verbs/") && name != "domain/scan/rules")
        .collect();
    assert_eq!(drawn, real);
}
