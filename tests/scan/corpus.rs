//! Recall and false positives on the corpus: every planted secret is found in its file, and nothing in the others.
//! docs/scan.md has the same corpus through other scanners.

#[path = "corpus_files.rs"]
mod files;

use std::collections::BTreeSet;

use super::repository;

#[test]
fn every_planted_secret_is_found_and_nothing_else() {
    let sandbox = repository();
    let files = files::all(2);
    assert!(files.len() > 600, "{}", files.len());
    for file in &files {
        sandbox.write(&file.path, &file.text);
    }
    let report = sandbox.sealift(&["scan", "--json"]).exits(10).json();
    let found: BTreeSet<(&str, &str)> = report["findings"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|finding| (finding["path"].as_str().expect("a path"), finding["rule"].as_str().expect("a rule")))
        .collect();
    let missed: Vec<&str> = files
        .iter()
        .filter(|file| file.rule.is_some() && !found.iter().any(|(path, _)| *path == file.path))
        .map(|file| file.path.as_str())
        .collect();
    let wrong: Vec<_> =
        found.iter().filter(|(path, _)| files.iter().any(|file| file.path == *path && file.rule.is_none())).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "missed: {missed:#?}\nwrong: {wrong:#?}");
    // Each by its own rule, unless a stricter one wins.
    let planted = files.iter().filter_map(|file| Some((file.path.as_str(), file.rule?)));
    let other: BTreeSet<&str> = planted.filter(|both| !found.contains(both)).map(|(_, rule)| rule).collect();
    assert!(other.len() <= 3, "found by another rule: {other:?}");
}
