//! Plausible mistakes in configurations and their results: the evaluated rows of tests/fixtures/nix/mistakes.nix are
//! the table in docs/mistakes.md.

use std::fmt::Write as _;
use std::path::Path;

use crate::harness::Sandbox;
use crate::harness::nix::{nixpkgs_lib, quoted, top};

const HEAD: &str = "# Mistakes, and what is said of them

Configurations that somebody may well write, right and wrong, as a table that a test generates from
`tests/fixtures/nix/mistakes.nix`: what becomes of each, and in which words. *works*: nothing is said, and the whole system
evaluates. *failed*: an assertion, when a system is built. *warned*: a warning. *refused*: the evaluation ends with this message.
*nix*: it ends with one of Nix' own, which says where.

| configuration | verdict | message |
|---|---|---|
";

/// Our message in nix's output: the error, and the next line with the help.
fn ours(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.split_once("error: sealift: ")?;
    let mut lines = rest.lines().map(str::trim);
    Some(format!("{}<br>{}", lines.next()?, lines.next()?))
}

#[test]
fn nix_says_of_every_mistake_what_the_table_says() {
    const TEST: &str = "the table of mistakes";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::new();
    let rows = format!(
        "(import {} {{ libPath = {}; }})",
        quoted(Path::new(top()).join("tests/fixtures/nix/mistakes.nix")),
        quoted(lib)
    );
    let evaluated = sandbox.nix_value(&format!(
        "map (row: if row.verdict == \"refused\" || row.verdict == \"nix\" then removeAttrs row [ \"result\" ] else row) {rows}"
    ));
    let evaluated = evaluated.as_array().expect("rows");
    assert!(evaluated.len() >= 60, "{} rows", evaluated.len());
    let mut table = String::from(HEAD);
    for (at, row) in evaluated.iter().enumerate() {
        let text = |key: &str| row[key].as_str().expect("a text");
        let (what, verdict) = (text("what"), text("verdict"));
        let message = match verdict {
            "refused" | "nix" => {
                let run = sandbox.nix_eval(&format!("(builtins.elemAt {rows} {at}).result")).exits(1);
                if verdict == "nix" {
                    assert!(run.stderr.contains(text("names")), "{what}: {}", run.stderr);
                    format!("Nix' own, which names `{}`", text("names"))
                } else {
                    ours(&run.stderr).unwrap_or_else(|| panic!("{what}: not in our words: {}", run.stderr))
                }
            }
            _ => {
                let said = |key: &str| row["result"][key].as_array().expect("a list").clone();
                let (failed, warnings) = (said("failed"), said("warnings"));
                let found = match (failed.is_empty(), warnings.is_empty()) {
                    (false, _) => "failed",
                    (true, false) => "warned",
                    (true, true) => "works",
                };
                assert_eq!(found, verdict, "{what}: {failed:?} {warnings:?}");
                let said: Vec<String> = [failed, warnings]
                    .concat()
                    .iter()
                    .map(|one| one.as_str().expect("a text").trim_start_matches("sealift: ").replace("\n  ", "<br>"))
                    .collect();
                said.join("<br>")
            }
        };
        let cell = |text: &str| text.replace(top(), "…").replace('|', "\\|");
        writeln!(table, "| {} | {verdict} | {} |", cell(what), cell(&message)).expect("a text");
    }
    let there = std::fs::read_to_string(Path::new(top()).join("docs/mistakes.md")).unwrap_or_default();
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes.md");
    std::fs::write(&made, &table).expect("written");
    assert!(there == table, "docs/mistakes.md says otherwise: {} is what it should be", made.display());
}
