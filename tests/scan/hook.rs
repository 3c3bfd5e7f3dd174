//! The pre-commit hook: runs before an existing hook, and can be removed without a trace.

use std::os::unix::fs::PermissionsExt;

use super::{repository, silent, token};
use crate::harness::{Run, Sandbox};

fn commits(sandbox: &Sandbox) -> Run {
    let mut command = sandbox.command("git");
    command.args(["commit", "-q", "-m", "x"]);
    sandbox.run(command, b"")
}

fn hook(sandbox: &Sandbox, name: &str, text: &str) {
    sandbox.write(name, text);
    std::fs::set_permissions(sandbox.fleet().join(name), std::fs::Permissions::from_mode(0o755))
        .expect("made executable");
}

#[test]
fn a_commit_with_plaintext_is_refused() {
    let sandbox = repository();
    sandbox.sealift(&["hook", "install"]).exits(0).says("looks for plaintext now");
    sandbox.sealift(&["hook", "install"]).exits(0).says("nothing changed");
    sandbox.write("a.txt", token(1));
    sandbox.tool("git", &["add", "a.txt"]);
    let run = commits(&sandbox).exits(1);
    let said = format!("{}{}", run.text(), run.stderr);
    assert!(said.contains("a.txt:1:1 (staged)"), "{said}");
    // The message says who refuses, and the two ways to continue.
    assert!(said.contains("sealift: this commit adds plaintext\n"), "{said}");
    assert!(said.contains("sealift:allow RULE REASON") && said.contains("git commit --no-verify"), "{said}");
    silent(run, &token(1));
    sandbox.write("a.txt", "clean\n");
    sandbox.tool("git", &["add", "a.txt"]);
    commits(&sandbox).exits(0);
    // `commit -a` and `commit FILE` use a temporary index.
    sandbox.write("a.txt", token(2));
    for arguments in [["-a", "-m", "x"], ["a.txt", "-m", "x"]] {
        let mut command = sandbox.command("git");
        command.args(["commit", "-q"]).args(arguments);
        sandbox.run(command, b"").exits(1);
    }
    sandbox.sealift(&["hook", "remove"]).exits(0);
    assert!(!sandbox.fleet().join(".git/hooks/pre-commit").exists());
    sandbox.sealift(&["hook", "remove"]).exits(0).says("nothing changed");
}

#[test]
fn a_submodule_is_told_and_does_not_stop_a_commit() {
    let sandbox = repository();
    sandbox.sealift(&["hook", "install"]).exits(0);
    sandbox.tool("git", &["init", "-q", "inner"]);
    sandbox.tool("git", &["-C", "inner", "commit", "-q", "--allow-empty", "-m", "x"]);
    sandbox.tool("git", &["add", "inner"]);
    let run = commits(&sandbox).exits(0);
    assert!(format!("{}{}", run.text(), run.stderr).contains("not read: inner"));
}

#[test]
fn a_hook_that_is_there_is_called_too_and_comes_back() {
    let there =
        [("#!/bin/sh\ntouch was-called\n", "shell"), ("#!/usr/bin/env python3\nopen('was-called', 'w')\n", "python")];
    for (text, kind) in there {
        let sandbox = repository();
        hook(&sandbox, ".git/hooks/pre-commit", text);
        sandbox.sealift(&["hook", "install"]).exits(0).says("beside the hook that was there");
        sandbox.sealift(&["hook", "install"]).exits(0).says("nothing changed");
        sandbox.write("a.txt", token(1));
        sandbox.tool("git", &["add", "a.txt"]);
        commits(&sandbox).exits(1);
        assert!(!sandbox.fleet().join("was-called").exists(), "{kind}");
        sandbox.write("a.txt", "clean\n");
        sandbox.tool("git", &["add", "a.txt"]);
        commits(&sandbox).exits(0);
        assert!(sandbox.fleet().join("was-called").exists(), "{kind}");
        sandbox.sealift(&["hook", "remove"]).exits(0);
        assert_eq!(sandbox.read(".git/hooks/pre-commit"), text);
        let mode =
            std::fs::metadata(sandbox.fleet().join(".git/hooks/pre-commit")).expect("there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{kind}");
    }
}

#[test]
fn hooks_that_are_kept_elsewhere() {
    let sandbox = repository();
    sandbox.tool("git", &["config", "core.hooksPath", ".githooks"]);
    sandbox.sealift(&["hook", "install"]).exits(0);
    assert!(sandbox.fleet().join(".githooks/pre-commit").exists());
    sandbox.write("a.txt", token(1));
    sandbox.tool("git", &["add", "a.txt"]);
    commits(&sandbox).exits(1);
    // A hooks folder shared with other repositories is not changed for this one.
    let outside = sandbox.path("home/hooks");
    sandbox.tool("git", &["config", "core.hooksPath", outside.to_str().expect("UTF-8")]);
    sandbox
        .sealift(&["hook", "install"])
        .exits(1)
        .says("outside of this repository")
        .says("add this to its pre-commit");
    assert!(!outside.exists());
}

#[test]
fn a_linked_work_tree_has_the_same_hook() {
    let sandbox = repository();
    sandbox.write("a", "x\n");
    super::commit(&sandbox, "x");
    sandbox.tool("git", &["worktree", "add", "-q", "../linked"]);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["hook", "install"]).current_dir(sandbox.path("linked"));
    sandbox.run(command, b"").exits(0);
    assert!(sandbox.fleet().join(".git/hooks/pre-commit").exists());
    std::fs::write(sandbox.path("linked/b"), token(1)).expect("written");
    sandbox.tool("git", &["-C", "../linked", "add", "b"]);
    let mut command = sandbox.command("git");
    command.args(["-C", "../linked", "commit", "-q", "-m", "x"]);
    sandbox.run(command, b"").exits(1);
}

#[test]
fn init_puts_it_in_where_there_is_none() {
    let sandbox = repository();
    sandbox.sealift(&["init"]).exits(0).says("the pre-commit hook now refuses commits");
    assert!(sandbox.read(".git/hooks/pre-commit").contains("scan --staged"));
    sandbox.sealift(&["init"]).exits(0).says("there already; nothing changed");
    sandbox.sealift(&["hook", "remove"]).exits(0);
    let run = sandbox.sealift(&["init"]).exits(0).says("there already").says("the pre-commit hook now refuses commits");
    assert!(!run.stderr.contains("nothing changed"), "{}", run.stderr);
    let other = repository();
    hook(&other, ".git/hooks/pre-commit", "#!/bin/sh\n");
    other.sealift(&["init"]).exits(0);
    assert_eq!(other.read(".git/hooks/pre-commit"), "#!/bin/sh\n");
    other.sealift(&["hook", "install", "--print-entry"]).exits(0).prints("id: sealift");
}

/// A fleet in a folder of its repository, with the hook, and a branch without the fleet.
fn beside_a_branch(folder: &str) -> Sandbox {
    let sandbox = repository();
    sandbox.write("README", "x\n");
    super::commit(&sandbox, "x");
    sandbox.tool("git", &["branch", "old"]);
    let policy = format!(
        "version = 1\n\n[admins]\njay = [\"{}\"]\n\n[hosts.web]\nkeys = [\"{}\"]\n",
        sandbox.age_key("jay"),
        sandbox.ssh_key("web")
    );
    sandbox.write(&format!("{folder}recipients.toml"), policy);
    let fleet = sandbox.fleet().join(folder);
    sandbox
        .sealift(&["init", "--fleet", fleet.to_str().expect("UTF-8")])
        .exits(0)
        .says("the pre-commit hook now refuses commits");
    super::commit(&sandbox, "a fleet");
    sandbox
}

fn commits_with(sandbox: &Sandbox, variables: &[(&str, &str)]) -> Run {
    let mut command = sandbox.command("git");
    command.args(["commit", "-q", "-m", "x"]).envs(variables.iter().copied());
    sandbox.run(command, b"")
}

#[test]
fn a_branch_without_the_fleet_passes_with_one_line() {
    for folder in ["", "infra/nix/"] {
        let sandbox = beside_a_branch(folder);
        let elsewhere = Sandbox::with_fleet(&["db"]);
        let (key, other) = (sandbox.key("jay"), elsewhere.fleet());
        let exported = [("SEALIFT_IDENTITY", key.as_str()), ("SEALIFT_FLEET", other.to_str().expect("UTF-8"))];
        sandbox.tool("git", &["checkout", "-q", "old"]);
        sandbox.write("page.html", format!("{}\n", token(1)));
        sandbox.tool("git", &["add", "page.html"]);
        let run = commits_with(&sandbox, &exported).exits(0);
        let said = format!("{}{}", run.text(), run.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("sealift: not read: this commit: ") && said.contains("no fleet"), "{said}");
        assert!(said.contains(&format!("{folder}recipients.toml")), "{said}");
        // A branch that never contained the fleet.
        sandbox.tool("git", &["checkout", "-q", "--orphan", "pages"]);
        sandbox.tool("git", &["rm", "-rfq", "."]);
        sandbox.write("index.html", "hi\n");
        sandbox.tool("git", &["add", "index.html"]);
        commits_with(&sandbox, &exported).exits(0);
        // Back on its own branch, the hook checks again.
        sandbox.tool("git", &["checkout", "-q", "main"]);
        sandbox.write("a.txt", token(1));
        sandbox.tool("git", &["add", "a.txt"]);
        commits_with(&sandbox, &exported).exits(1);
        // Removing recipients.toml from the work tree alone does not disable it; a manual scan does not count as the
        // hook.
        std::fs::remove_file(sandbox.fleet().join(folder).join("recipients.toml")).expect("removed");
        commits_with(&sandbox, &exported).exits(1);
        sandbox.sealift(&["scan", "--staged", "--fleet", "no-such-folder"]).exits(11).prints("no fleet");
        sandbox.sealift(&["scan", "--fleet", "no-such-folder"]).exits(2);
    }
}

#[test]
fn an_identity_of_another_fleet_is_no_hindrance() {
    let (plain, fleet) = (repository(), Sandbox::with_fleet(&["web"]));
    let own = Sandbox::with_fleet(&["db"]);
    own.seal("a", &["--hosts", "db"]);
    let scan = |sandbox: &Sandbox, key: &str, options: &[&str]| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.arg("scan").args(options).env("SEALIFT_IDENTITY", key);
        sandbox.run(command, b"")
    };
    let key = fleet.key("jay");
    scan(&plain, &key, &[]).exits(0).says("were not looked for");
    scan(&plain, "/no/such/file", &["--staged"]).exits(0);
    scan(&own, &key, &[]).exits(0).says("SEALIFT_IDENTITY opens nothing of this fleet").says("were not looked for");
    scan(&own, &own.key("jay"), &[]).exits(0).says("1 value of the fleet looked for");
    // An unusable identity: everything else is searched, and this is reported.
    scan(&own, "/no/such/file", &[]).exits(11).prints("not read: the fleet's secrets");
    // An explicit request must be fulfilled.
    scan(&plain, &key, &["--values"]).exits(2).says("no fleet here");
    scan(&own, &key, &["--values"]).exits(11);
    scan(&own, "", &["--identity", &key]).exits(11);
}
