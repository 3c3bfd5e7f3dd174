//! scan --history: each blob is searched once, and reported with the commit that added it.

use super::{commit, repository, silent, token};
use crate::harness::Sandbox;

/// A repository with a token that was added and removed, at `old.txt`.
fn gone() -> (Sandbox, String) {
    let sandbox = repository();
    sandbox.write("readme", "a\n");
    commit(&sandbox, "first");
    sandbox.write("old.txt", format!("line\nkey: {}\n", token(1)));
    commit(&sandbox, "second");
    let brought = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD"])).expect("UTF-8");
    std::fs::remove_file(sandbox.fleet().join("old.txt")).expect("removed");
    commit(&sandbox, "third");
    (sandbox, brought.trim().to_owned())
}

#[test]
fn what_came_and_went_is_found_with_its_commit() {
    let (sandbox, brought) = gone();
    sandbox.sealift(&["scan"]).exits(0);
    let run = sandbox.sealift(&["scan", "--history"]).exits(10);
    let run = silent(run, &token(1)).prints(&format!("old.txt:2:6 (commit {})", &brought[..12]));
    run.prints("everyone with a clone has it, so it needs a new value, also where the file is clean by now");
    let found = sandbox.sealift(&["scan", "--history", "--json"]).exits(10).json();
    assert_eq!(found["findings"][0]["commit"], brought.as_str());
    // The same content in another file and commit: reported once per path, with its first commit.
    sandbox.write("new.txt", format!("line\nkey: {}\n", token(1)));
    commit(&sandbox, "fourth");
    let found = sandbox.sealift(&["scan", "--history", "--json"]).exits(10).json();
    assert_eq!(found["findings"].as_array().expect("an array").len(), 2);
}

#[test]
fn a_range_is_what_its_commits_brought() {
    let (sandbox, _) = gone();
    sandbox.sealift(&["scan", "--history", "HEAD~1..HEAD"]).exits(0);
    sandbox.sealift(&["scan", "--history", "HEAD~2..HEAD"]).exits(10);
    sandbox.sealift(&["scan", "--history", "HEAD~2..HEAD~1"]).exits(10);
    sandbox.sealift(&["scan", "--history", "nowhere..HEAD"]).exits(2).says("does not understand this range");
    sandbox.sealift(&["scan", "--history=--output=../x"]).exits(2);
    assert!(!sandbox.path("x").exists(), "a range is no option");
}

#[test]
fn branches_merges_and_tags_count_and_what_no_commit_reaches_is_counted() {
    let sandbox = repository();
    sandbox.write("a", "1\n");
    commit(&sandbox, "first");
    sandbox.tool("git", &["checkout", "-q", "-b", "side"]);
    sandbox.write("side.txt", token(2));
    commit(&sandbox, "side");
    sandbox.tool("git", &["checkout", "-q", "main"]);
    // Added by a merge commit only.
    sandbox.tool("git", &["merge", "-q", "--no-ff", "--no-commit", "side"]);
    sandbox.write("merge.txt", token(3));
    sandbox.tool("git", &["add", "merge.txt"]);
    sandbox.tool("git", &["commit", "-q", "-m", "merge"]);
    sandbox.sealift(&["scan", "--history"]).exits(10).prints("side.txt:1:1").prints("merge.txt:1:1");
    let other = repository();
    other.write("a", token(4));
    other.tool("git", &["add", "a"]);
    other.write("a", "clean\n");
    commit(&other, "clean");
    other.sealift(&["scan", "--history"]).exits(0).says("1 finding only in objects that no commit reaches");
}

#[test]
fn a_cut_history_and_a_partial_one_are_said() {
    let (sandbox, _) = gone();
    let url = format!("file://{}", sandbox.fleet().display());
    sandbox.tool("git", &["config", "uploadpack.allowFilter", "true"]);
    sandbox.tool("git", &["clone", "-q", "--depth", "1", &url, "../shallow"]);
    sandbox.tool("git", &["clone", "-q", "--no-checkout", "--filter=blob:none", &url, "../partial"]);
    let scan = |place: &str| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["scan", "--history"]).current_dir(sandbox.path(place));
        sandbox.run(command, b"")
    };
    scan("shallow").exits(11).prints("it is cut (a shallow clone)");
    scan("partial").exits(11).prints("objects are not in this clone");
}

#[test]
fn a_history_with_a_missing_file_is_said() {
    let (sandbox, _) = gone();
    sandbox.sealift(&["scan", "--history"]).exits(10);
    let object = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD~1:old.txt"])).expect("UTF-8");
    let (folder, file) = object.trim().split_at(2);
    std::fs::remove_file(sandbox.fleet().join(".git/objects").join(folder).join(file)).expect("removed");
    sandbox.sealift(&["scan", "--history"]).exits(11).prints("an object is not in this clone");
    sandbox.sealift(&["scan", "--history", "HEAD~2..HEAD"]).exits(11).prints("an object is not in this clone");
}

#[test]
fn grafts_and_replaced_commits_hide_nothing() {
    let (sandbox, _) = gone();
    let head = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD"])).expect("UTF-8");
    sandbox.tool("git", &["replace", "--graft", head.trim()]);
    sandbox.sealift(&["scan", "--history"]).exits(10).prints("old.txt:2:6");
    sandbox.tool("git", &["replace", "-d", head.trim()]);
    std::fs::create_dir_all(sandbox.fleet().join(".git/info")).expect("made");
    std::fs::write(sandbox.fleet().join(".git/info/grafts"), head).expect("written");
    sandbox.sealift(&["scan", "--history"]).exits(10).prints("old.txt:2:6");
}

#[test]
fn a_repository_without_commits_has_no_history() {
    let sandbox = repository();
    sandbox.sealift(&["scan", "--history"]).exits(0);
    sandbox.sealift(&["scan"]).exits(0);
    sandbox.sealift(&["scan", "--staged"]).exits(0);
}

#[test]
fn values_without_quotes_count_where_they_are_usual() {
    let sandbox = repository();
    let value = sealift::domain::scan::sample::make("4q<a24>Y2", 5);
    for name in ["a.env", "a.rs"] {
        sandbox.write(name, format!("x\napi_key={value}\n"));
        commit(&sandbox, name);
        std::fs::remove_file(sandbox.fleet().join(name)).expect("removed");
    }
    commit(&sandbox, "gone");
    // The same content under both names: reported for the one where it is a value.
    let run = silent(sandbox.sealift(&["scan", "--history"]).exits(10).prints("a.env:2:9"), &value);
    assert!(!run.text().contains("a.rs"), "{}", run.text());
}

#[test]
fn nix_that_came_and_went_was_nix_all_the_same() {
    let sandbox = repository();
    let value = "correct-horse-42";
    let source = format!("{{\n  services.gitea-actions-runner.instances.main.token = \"{value}\";\n}}\n");
    sandbox.write("hosts/nixos/default.nix", &source);
    // Its bytes alone are no secret.
    sandbox.write("notes.txt", format!("once more\n{source}"));
    commit(&sandbox, "first");
    let first = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD"])).expect("UTF-8");
    sandbox.tool("git", &["rm", "-q", "-r", "hosts"]);
    commit(&sandbox, "gone");
    sandbox.sealift(&["scan"]).exits(0);
    let run = sandbox.sealift(&["scan", "--history"]).exits(10);
    let place = format!("hosts/nixos/default.nix:2:56 (commit {})", &first[..12]);
    silent(run, value).prints(&place).prints("nix-inline-secret").says("1 finding");
    sandbox.sealift(&["scan", "--history", "HEAD~1..HEAD"]).exits(0);
    // Content that Nix itself would refuse is named by its object: it has no path yet.
    sandbox.write("deep.nix", format!("{{ password = {}1{}; }}", "(".repeat(5000), ")".repeat(5000)));
    commit(&sandbox, "deep");
    let object = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD:deep.nix"])).expect("UTF-8");
    sandbox.sealift(&["scan", "--history"]).exits(10).prints(&format!("not read: {}:", object.trim()));
}
