//! The pre-commit hook: in front of whatever is there, and away without a trace.

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
    assert!(format!("{}{}", run.text(), run.stderr).contains("a.txt:1:1 (staged)"));
    silent(run, &token(1));
    sandbox.write("a.txt", "clean\n");
    sandbox.tool("git", &["add", "a.txt"]);
    commits(&sandbox).exits(0);
    // `commit -a` and `commit FILE` have an index of their own.
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
    assert!(format!("{}{}", run.text(), run.stderr).contains("not looked at: inner"));
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
    // A folder that other repositories share is not changed for this one.
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
    sandbox.sealift(&["init"]).exits(0).says("a commit with plaintext in it is refused from now on");
    assert!(sandbox.read(".git/hooks/pre-commit").contains("scan --staged"));
    sandbox.sealift(&["init"]).exits(0).says("there already; nothing changed");
    sandbox.sealift(&["hook", "remove"]).exits(0);
    let run = sandbox.sealift(&["init"]).exits(0).says("there already").says("is refused from now on");
    assert!(!run.stderr.contains("nothing changed"), "{}", run.stderr);
    let other = repository();
    hook(&other, ".git/hooks/pre-commit", "#!/bin/sh\n");
    other.sealift(&["init"]).exits(0);
    assert_eq!(other.read(".git/hooks/pre-commit"), "#!/bin/sh\n");
    other.sealift(&["hook", "install", "--print-entry"]).exits(0).prints("id: sealift");
}
