//! The documents are true: exit codes, kinds and shapes, the worked example of a seal, the tests named in the threat
//! model, links between files and to headings, the book's table of contents, quoted messages, and the reference fleet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
use sealift::error::Kind;
use sha2::{Digest, Sha256};

use crate::harness::Sandbox;
use crate::words::literals;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(top().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents, by path from the top.
fn documents() -> Vec<String> {
    let of = |folder: &str| {
        let entries = std::fs::read_dir(top().join(folder))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        entries.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")).collect::<Vec<_>>()
    };
    ["./", "docs/", "tests/rig/", "tests/realm/", "tests/fixtures/flake/"].map(of).concat()
}

/// The link targets in a document.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn headings(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose
        .filter(|line| line.starts_with('#'))
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' '))
        .map(str::trim)
        .collect()
}

/// The anchors of a document's headings, as forges and mdBook make them; repeated names get a number.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for heading in headings(text) {
        let letter = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
            _ => None,
        };
        let name: String = heading.to_lowercase().chars().filter_map(letter).collect();
        let before = names.iter().filter(|other| **other == name).count();
        anchors.push(if before == 0 { name.clone() } else { format!("{name}-{before}") });
        names.push(name);
    }
    anchors
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    use Kind::*;
    // The match makes this fail to compile until a new kind is added to the list.
    let listed = |kind: Kind| match kind {
        Failed | Usage | Drift | Partial | NoIdentity | RolledBack | Unreachable | Integrity | NeedsOperator
        | Plaintext | Incomplete | Bug | Interrupted => Kind::ALL.contains(&kind),
    };
    assert!(Kind::ALL.into_iter().all(listed));
    let text = document("docs/exit-codes.md");
    let rows: Vec<(u8, String)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
        })
        .collect();
    let wanted: Vec<_> = Kind::ALL.into_iter().map(|kind| (kind.code(), format!("{kind:?}"))).collect();
    assert_eq!(rows.into_iter().filter(|(code, _)| *code != 0).collect::<Vec<_>>(), wanted);
    assert!(text.contains("\n| 0 | "));
}

/// Whether a table of a document has a row that starts with this word.
fn told(name: &str, word: &str) -> bool {
    document(name).lines().any(|line| {
        let first = line.strip_prefix("| `").and_then(|rest| rest.strip_prefix(word));
        first.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || "_-".contains(next)))
    })
}

#[test]
fn every_shape_generator_and_kind_of_check_is_told() {
    let schema: serde_json::Value = serde_json::from_str(&document("docs/recipients.schema.json")).expect("JSON");
    let checks = schema["$defs"]["RawCheck"]["properties"].as_object().expect("fields of a check");
    let kinds: Vec<&String> = checks.keys().filter(|field| !["on", "user"].contains(&field.as_str())).collect();
    assert!(kinds.len() > 9, "{kinds:?}");
    let generators = schema["$defs"]["Generate"]["oneOf"].as_array().expect("kinds of generators").iter();
    let generators = generators.map(|one| one["properties"]["kind"]["const"].as_str().expect("its name"));
    let shapes = schema["$defs"]["RawSecret"]["properties"]["shape"]["description"].as_str().expect("its shapes");
    let shapes = shapes.trim_end_matches('.').replace(" (the default)", "").replace(" or ", ", ");
    assert!(shapes.contains("raw, token"), "{shapes}");
    let checks = kinds.into_iter().map(|kind| ("docs/deploy.md", kind.as_str()));
    let values = generators.chain(shapes.split(", ")).map(|word| ("docs/format.md", word));
    let missing: Vec<_> = checks.chain(values).filter(|(document, word)| !told(document, word)).collect();
    assert!(missing.is_empty(), "these have no row: {missing:?}");
}

#[test]
fn the_worked_example_of_a_seal_is_right() {
    let text = document("docs/format.md");
    let after = |word: &str| text.lines().filter_map(|line| line.strip_prefix(word)).map(str::trim).collect::<Vec<_>>();
    let recipients = after("recipient ");
    assert_eq!(recipients.len(), 2);
    let mut fingerprints: Vec<Vec<u8>> =
        recipients.iter().map(|text| Sha256::digest(text.as_bytes())[..8].to_vec()).collect();
    let shown: Vec<String> =
        fingerprints.iter().map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    assert_eq!(after("fingerprint "), shown);
    fingerprints.sort();
    let body = BASE64_STANDARD_NO_PAD.encode(fingerprints.concat());
    assert!(
        text.contains(&format!("-> sealift 1 gitea-runner-token 1 2026-11-23 2 0\n{body}\n")),
        "the body is {body}"
    );
}

#[test]
fn the_tests_that_are_named_exist() {
    let text = document("docs/threat-model.md") + &document("docs/attacks.md");
    let named: Vec<(&str, &str)> =
        text.split('`').filter_map(|word| word.split_once("::")).filter(|(file, _)| file.ends_with(".rs")).collect();
    assert!(named.len() > 200);
    for (file, test) in named {
        assert!(document(file).contains(&format!("fn {test}(")), "{file} has no test {test}");
    }
}

#[test]
fn every_attack_has_its_test_or_its_reason() {
    let mut seen = std::collections::BTreeMap::<char, Vec<u32>>::new();
    for line in document("docs/attacks.md").lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [numbers, what, held] = cells[..] else { panic!("three cells: {line}") };
        assert!(!what.is_empty() && (held.starts_with('`') || held.ends_with('.')), "{line}");
        let (first, last) = numbers.split_once('\u{2013}').unwrap_or((numbers, numbers));
        let number = |text: &str| text.get(1..).and_then(|digits| digits.parse::<u32>().ok()).expect("a number");
        seen.entry(first.chars().next().expect("a letter")).or_default().extend(number(first)..=number(last));
    }
    let counts = [30, 24, 26, 12, 21, 33, 16, 15, 14, 17, 20];
    let all: Vec<(char, Vec<u32>)> =
        ('A'..='K').zip(counts).map(|(letter, count)| (letter, (1..=count).collect())).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for name in documents() {
        let text = document(&name);
        for target in links(&text).filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads = match file {
                "" => top().join(&name),
                file => top().join(&name).parent().expect("a folder").join(file),
            };
            let heading =
                || anchors(&std::fs::read_to_string(&leads).unwrap_or_default()).iter().any(|it| it == anchor);
            if !leads.exists() || (!anchor.is_empty() && !heading()) {
                broken.push(format!("{name}: {target}"));
            }
        }
        // Source files mentioned in passing.
        for word in text
            .split('`')
            .filter(|word| ["src/", "tests/", "scripts/", "docs/"].iter().any(|folder| word.starts_with(folder)))
        {
            let file = word.split([' ', ':']).next().unwrap_or_default();
            if !top().join(file).exists() {
                broken.push(format!("{name}: {file}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn anchors_are_those_of_the_headings() {
    let text = "# A b\n```sh\n# no heading\n```\n## `c` says: …, 1 - d_e\n### A b\n#not one\n";
    assert_eq!(anchors(text), ["a-b", "c-says--1---d_e", "a-b-1"]);
}

#[test]
fn the_book_has_every_document_and_leads_nowhere_else() {
    let summary = document("docs/SUMMARY.md");
    let pages: Vec<String> = links(&summary).map(|page| format!("docs/{page}")).collect();
    let listed: BTreeSet<String> = pages.iter().cloned().collect();
    assert_eq!(listed.len(), pages.len(), "a page stands once in docs/SUMMARY.md");
    let there: BTreeSet<String> =
        documents().into_iter().filter(|name| name.starts_with("docs/") && name != "docs/SUMMARY.md").collect();
    assert_eq!(listed, there);
    // The site has only the folder docs/.
    for page in there {
        for target in links(&document(&page)) {
            assert!(!target.starts_with(['.', '/']), "{page} leads out of the book: {target}");
        }
    }
}

/// Whether a string literal of the program can produce this message: an ellipsis stands for variable text, and the
/// parts between must occur in the literal in this order.
fn says(literal: &str, message: &str) -> bool {
    let mut rest = literal;
    message.split('…').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        let after = rest.split_once(part).map(|(_, after)| after);
        rest = after.unwrap_or_default();
        after.is_some()
    })
}

#[test]
fn messages_that_are_explained_are_those_of_the_program() {
    let mut source = Vec::new();
    let mut folders = vec![top().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.display().to_string().ends_with("tests.rs") {
                // Without comments and tests, which may quote other messages.
                source.extend(literals(&std::fs::read_to_string(path).expect("a file of Rust")));
            }
        }
    }
    assert!(source.len() > 4000, "{} texts", source.len());
    for literal in &mut source {
        *literal = literal.replace("\\\"", "\"");
    }
    let text = document("docs/troubleshooting.md");
    let messages: Vec<&str> = headings(&text).into_iter().flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    assert!(messages.len() > 30, "the messages are found");
    let short: Vec<&&str> = messages.iter().filter(|message| message.replace('…', "").trim().len() < 9).collect();
    assert!(short.is_empty(), "what stands beside the ellipses could be of any message: {short:#?}");
    assert!(says("{host}: cannot read {}: gone", "…: cannot read …: gone") && !says("in a, at b", "at … in"));
    let gone = |message: &&str| !source.iter().any(|literal| says(literal, message));
    let gone: Vec<&str> = messages.into_iter().filter(gone).collect();
    assert!(gone.is_empty(), "docs/troubleshooting.md explains what the program does not say: {gone:#?}");
}

#[test]
fn the_reference_fleet_is_in_line() {
    let sandbox = Sandbox::new();
    // A copy: the checkout may belong to another user, whose git settings do not apply here.
    for name in ["recipients.toml", "secrets", "hosts", ".gitattributes"] {
        sandbox.tool("cp", &["-R", top().join(name).to_str().expect("UTF-8"), "."]);
    }
    sandbox.tool("git", &["init", "-q"]);
    sandbox.tool("git", &["add", "--all"]);
    sandbox.sealift(&["check"]).exits(0).says("up to date");
    let listed = sandbox.sealift(&["host", "list", "--json"]).exits(0).json();
    let hosts: Vec<&str> =
        listed["hosts"].as_array().expect("an array").iter().map(|row| row["host"].as_str().expect("a name")).collect();
    assert_eq!(hosts, ["framework-13", "framework-16", "nixos", "nixos-ripper"]);
    for host in hosts {
        assert!(Path::new(&sandbox.fleet()).join("hosts").join(host).join("default.nix").exists(), "hosts/{host}");
    }
}

/// The sealift commands in shell text, each as the words after `sealift`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // A bar between words is a pipe, escaped in a table; within a word it separates alternatives.
    let ends = ["&&", "||", ";", " | ", " \\| ", " · ", "<(", "$(", ")", "\n"];
    let text = ends.iter().fold(format!("{} ", text.replace("\\\n", " ")), |text, end| text.replace(end, "\n"));
    for line in text.lines() {
        let line = line.split_once(" #").map_or(line, |(line, _)| line).trim_start_matches(['$', '(', ' ']);
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let before = words.iter().take_while(|word| ["sudo", "doas", "time"].contains(word) || word.contains('='));
        if let Some(("sealift", rest)) =
            words.get(before.count()..).and_then(|words| words.split_first()).map(|(first, rest)| (*first, rest))
        {
            found.push(rest.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    found
}

/// Whether the words after `sealift` are invalid: no such verb, or flags that its help does not list.
fn misunderstood(words: &[String], help: &mut impl FnMut(&[&str]) -> Option<String>) -> bool {
    let words = words.strip_prefix(&["help".to_owned()]).unwrap_or(words);
    let words = if words.first().is_some_and(|word| word == "--fleet") { &words[2.min(words.len())..] } else { words };
    let plain = |word: &&String| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || b"-|".contains(&byte))
    };
    let deep = words.first().is_some_and(|verb| ["admin", "hook", "host", "identity"].contains(&verb.as_str()));
    let verb: Vec<&String> = words.iter().take(if deep { 2 } else { 1 }).take_while(plain).collect();
    if verb.is_empty() && !words.first().is_some_and(|word| word.starts_with("--")) {
        // The package's own name and version.
        return false;
    }
    // The last word of a verb may list alternatives.
    let (last, above) = verb.split_last().map_or(("", &[][..]), |(last, above)| (last.as_str(), above));
    last.split('|').any(|last| {
        let verb: Vec<&str> =
            above.iter().map(|word| word.as_str()).chain([last]).filter(|word| !word.is_empty()).collect();
        let Some(help) = help(&verb) else { return true };
        let part = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        let known: BTreeSet<&str> = help.split(part).filter(|word| word.starts_with('-')).collect();
        let flags =
            words.iter().take_while(|word| *word != "--").flat_map(|word| word.split(['|', '[', ']', '(', ')']));
        let flags = flags.filter(|word| word.starts_with('-')).map(|word| word.split(part).next().unwrap_or_default());
        flags.filter(|flag| *flag != "-").any(|flag| !known.contains(flag))
    })
}

#[test]
fn commands_are_found_and_held_against_help() {
    let found = commands(
        "cd a && sudo sealift scan -i k | sealift hook install|remove; sealift c \\| d; X=1 sealift a \\\n  --b=c # sealift d\nnot sealift e",
    );
    assert_eq!(found, [vec!["scan", "-i", "k"], vec!["hook", "install|remove"], vec!["c"], vec!["a", "--b=c"]]);
    let mut help = |verb: &[&str]| {
        ["list", "hook install", ""]
            .contains(&verb.join(" ").as_str())
            .then(|| "  -i, --host-program <P>\n      --all".to_owned())
    };
    for (words, wrong) in [
        ("list --all -i", false),
        ("list --host", true),
        ("list --host-program=x", false),
        ("list -x", true),
        ("list --all|--none", true),
        ("hook install|remove", true),
        ("nosuch", true),
        ("--all", false),
        ("--version", true),
        ("list -- --host", false),
    ] {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(misunderstood(&words, &mut help), wrong, "{words:?}");
    }
}

#[test]
fn commands_that_are_named_are_understood() {
    let sandbox = Sandbox::new();
    let mut pages = std::collections::BTreeMap::new();
    let mut help = |verb: &[&str]| {
        let page = pages.entry(verb.join(" ")).or_insert_with(|| {
            let run = sandbox.sealift(&[verb, &["--help"]].concat());
            (run.code == 0).then(|| run.text())
        });
        page.clone()
    };
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for name in documents() {
        for (at, part) in document(&name).split("```").enumerate() {
            let texts: Vec<String> = if at % 2 == 0 {
                part.split('`').skip(1).step_by(2).map(|text| text.replace('\n', " ")).collect()
            } else if let Some(script) = part.strip_prefix("sh\n") {
                blocks += 1;
                vec![script.to_owned()]
            } else {
                part.lines().filter(|line| line.starts_with("$ ")).map(str::to_owned).collect()
            };
            for words in texts.iter().flat_map(|text| commands(text)) {
                if misunderstood(&words, &mut help) {
                    wrong.push(format!("{name}: sealift {}", words.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(blocks > 15 && pages.len() > 30, "{blocks} blocks, {} pages", pages.len());
}
