//! The examples in README and guides work: each block marked `<!-- test -->` is run, in order, in one empty home per
//! document, and its output must match in that order. `…` in a shown line stands for any text, a line of only `…` for
//! any lines. A block marked `<!-- test: root -->` mounts, and runs only if mounts are private.

use crate::harness::{Sandbox, not_run};

/// A command as typed, and the output shown below it.
struct Typed {
    command: String,
    shown: Vec<String>,
}

/// The marked blocks of a document: whether each needs root, and its commands.
fn blocks(text: &str) -> Vec<(bool, Vec<Typed>)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let root = match line {
            "<!-- test -->" => false,
            "<!-- test: root -->" => true,
            _ => continue,
        };
        assert_eq!(lines.next(), Some("```console"), "a mark stands before a console block");
        let mut typed: Vec<Typed> = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (Some(command), _) => typed.push(Typed { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(last)) => last.shown.push(line.to_owned()),
                (None, None) => panic!("a block begins with a command, not `{line}`"),
            }
        }
        blocks.push((root, typed));
    }
    blocks
}

/// Whether a printed line matches a shown one.
fn fits(shown: &str, printed: &str) -> bool {
    match shown.split_once('…') {
        None => shown == printed,
        Some((start, end)) => printed.starts_with(start) && printed.ends_with(end),
    }
}

/// Whether the printed lines match the shown ones.
fn all_fit(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "…" => (0..=printed.len()).any(|skip| all_fit(rest, &printed[skip..])),
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, left)| fits(first, line) && all_fit(rest, left))
        }
    }
}

#[test]
fn the_readme_does_what_it_shows() {
    does_what_it_shows("README", include_str!("../README.md"), 5);
}

#[test]
fn the_quick_start_does_what_it_shows() {
    does_what_it_shows("quick start", include_str!("../docs/quick-start.md"), 7);
}

#[test]
fn the_way_out_of_a_lost_laptop_does_what_it_shows() {
    does_what_it_shows("lost laptop", include_str!("../docs/lost-laptop.md"), 6);
}

/// Runs the marked blocks of a document, and checks their number.
fn does_what_it_shows(name: &str, text: &str, count: usize) {
    let blocks = blocks(text);
    assert_eq!(blocks.len(), count, "the marks are found");
    let sandbox = Sandbox::new();
    let namespace = std::env::var("SEALIFT_TEST_NAMESPACE").is_ok_and(|value| value == "1");
    sandbox.allow(sandbox.path("home/root/run"));
    let program =
        std::path::Path::new(env!("CARGO_BIN_EXE_sealift")).parent().expect("a directory").display().to_string();
    let mut script = format!("set -o pipefail\nPATH={program}:$PATH\ncd ~\n");
    let mut all = Vec::new();
    for (root, typed) in blocks {
        if root && !namespace {
            not_run(&format!("{name}: the block that mounts"), "this is not a mount namespace of its own");
            continue;
        }
        for one in typed {
            // Both streams in the order that a terminal shows; then a separator line that no program prints.
            script += &format!("{{ {}; }} 2>&1\nprintf '\\036%d\\n' $?\n", one.command);
            all.push(one);
        }
    }
    script += "umount ~/root/run/sealift.d 2>/dev/null || true\n";
    let mut bash = sandbox.command("bash");
    bash.args(["-c", &script]);
    let run = sandbox.run(bash, b"").exits(0);
    let text = run.text();
    let mut parts =
        text.split_inclusive('\n').fold(vec![(Vec::new(), None)], |mut parts: Vec<(Vec<&str>, Option<&str>)>, line| {
            let line = line.trim_end_matches('\n');
            if let Some(last) = parts.last_mut() {
                match line.split_once('\u{1e}') {
                    Some((_, code)) => {
                        last.1 = Some(code);
                        parts.push((Vec::new(), None));
                    }
                    None => last.0.push(line),
                }
            }
            parts
        });
    parts.pop();
    assert_eq!(parts.len(), all.len(), "{text}");
    for (typed, (printed, code)) in all.iter().zip(&parts) {
        let seen = format!("$ {}\n{}\nexit {}", typed.command, printed.join("\n"), code.unwrap_or("?"));
        assert_eq!(*code, Some("0"), "{seen}");
        // A command without shown output may print anything.
        assert!(typed.shown.is_empty() || all_fit(&typed.shown, printed), "{seen}");
    }
}
