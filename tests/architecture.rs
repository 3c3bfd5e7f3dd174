//! The house rules that neither compiler nor clippy holds: the layers, who starts processes, who sees plaintext, and that
//! docs/architecture.md shows every folder.

use std::collections::BTreeSet;
use std::path::Path;

/// The layers, each of which may use those before it.
const LAYERS: [&str; 4] = ["domain", "adapters", "commands", "cli"];

/// The files that look into a value, each with what it does there. A new one is a decision, not an accident.
const EXPOSE: &[(&str, &str)] = &[
    ("domain/secret/plaintext.rs", "the type itself"),
    ("adapters/age/mod.rs", "into the encrypting writer"),
    ("adapters/age/generate.rs", "`KEY=` before a made value"),
    ("adapters/host/generation.rs", "into the delivered file; the status, which is no secret"),
    (
        "adapters/host/host_key.rs",
        "a host's own key into the root of a machine that was not booted yet; its public half",
    ),
    ("adapters/age/identity.rs", "the text of a private key, to parse it"),
    ("adapters/age/keyring.rs", "a private key into the keyring, and back"),
    ("adapters/process/mod.rs", "into a child's standard input"),
    ("adapters/editor/scratch.rs", "into the file that an editor has in memory"),
    ("adapters/terminal.rs", "whether an answer is yes"),
    ("cli/ui.rs", "a typed passphrase, into the type that age takes; a value, to standard output"),
    ("cli/verbs/agent/host_run.rs", "an order, which is no secret, read by the same safe reader"),
    ("cli/verbs/secrets/show.rs", "whether a terminal can take it"),
    ("domain/scan/values.rs", "into the tables of the search, which are wiped"),
    ("domain/scan/index.rs", "the index itself, as it comes out of its sealed file"),
    ("commands/adopt/git_key.rs", "the shape of a key's file, and its digest"),
    ("commands/adopt/mod.rs", "to look for it in the history, in memory"),
    ("commands/adopt/nix.rs", "its shape, and whether an environment file takes it plainly"),
    ("commands/secrets/edit.rs", "whether it changed, and its shape"),
    ("commands/install/compare.rs", "its digest against that of the status"),
    ("commands/install/open.rs", "its shape"),
    ("commands/install/place.rs", "its digest against the live one"),
    ("commands/secrets/seal.rs", "its shape, and the mend that was asked for"),
];

/// Every file of src/, by its path from there, with its text.
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

/// The lines of a file that are code outside its tests, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
    text.lines()
        .enumerate()
        .take(end)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

/// A file that holds tests and nothing else.
fn is_test(name: &str) -> bool {
    name.ends_with("_tests.rs") || name.ends_with("/tests.rs")
}

#[test]
fn data_flows_one_way() {
    let rank = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    let mut faults = Vec::new();
    for (name, text) in sources() {
        let Some(own) = name.split('/').next().and_then(rank) else { continue };
        for (line, code) in code(&text) {
            for used in code.split("crate::").skip(1) {
                let layer: String =
                    used.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
                if rank(&layer).is_some_and(|used| used > own) {
                    faults.push(format!("src/{name}:{line} uses {layer}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
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

#[test]
fn few_files_look_into_a_value() {
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| code(text).any(|(_, line)| line.contains(".expose(")))
        .map(|(name, _)| name)
        .collect();
    let others: Vec<_> = found.iter().filter(|name| !EXPOSE.iter().any(|(known, _)| known == name)).collect();
    assert!(others.is_empty(), "these look into values too: {others:?}");
}

#[test]
fn the_domain_touches_nothing_outside() {
    let banned =
        ["std::fs", "std::process", "std::env", "std::net", "std::io::stdin", "println!", "rustix::", "Timestamp::now"];
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("domain/") && !is_test(name)) {
        for (line, code) in code(&text) {
            faults.extend(
                banned.iter().filter(|word| code.contains(**word)).map(|word| format!("src/{name}:{line}: {word}")),
            );
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn imports_are_named() {
    let mut faults = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !is_test(name)) {
        faults.extend(
            code(&text).filter(|(_, line)| line.contains("use super::*")).map(|(line, _)| format!("src/{name}:{line}")),
        );
    }
    assert!(faults.is_empty(), "`use super::*` outside tests: {faults:?}");
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
    // The folders of cli/verbs/ are those of commands/, and one row tells of them all; so are the rules of scan.
    let real: BTreeSet<String> = sources()
        .iter()
        .filter_map(|(name, _)| folder(name))
        .filter(|name| !name.starts_with("cli/verbs/") && name != "domain/scan/rules")
        .collect();
    assert_eq!(drawn, real);
}
