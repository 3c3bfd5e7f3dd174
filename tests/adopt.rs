//! adopt: an inline secret becomes a sealed one, in one change or none, and its value is never shown.

use crate::crash::{can_inject, nothing_is_left, with_fault};
use crate::harness::{Run, Sandbox};

const FILE: &str = "hosts/nixos/default.nix";

/// A fleet whose host `nixos` has this module, committed; `VALUE` in it is replaced by a value with the canary.
fn fleet_with(module: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::with_fleet(&["nixos@runner", "web"]);
    let value = sandbox.value("token");
    sandbox.write(FILE, module.replace("VALUE", &value));
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "a module"]);
    (sandbox, value)
}

const RUNNER: &str = "{ config, pkgs, ... }:

{
  # The runner of this house.
  services.gitea-actions-runner.instances.main = {
    enable = true;
    url    = \"https://git.example.org\";
    token  = \"VALUE\"; # from the web page
    labels = [ ];
  };
}
";

/// The state of the work tree as git sees it: a refused command must not change it.
fn state(sandbox: &Sandbox) -> String {
    let text = |arguments: &[&str]| String::from_utf8_lossy(&sandbox.tool("git", arguments)).into_owned();
    text(&["status", "--porcelain", "--untracked-files=all"]) + &text(&["diff", "HEAD"])
}

/// Asserts that the command fails with this code, message and a help, and changes nothing.
#[track_caller]
fn refused(sandbox: &Sandbox, arguments: &[&str], code: i32, why: &str) -> Run {
    let before = state(sandbox);
    let run = sandbox.sealift(&[&["adopt"], arguments].concat()).exits(code).says(why);
    assert!(run.stderr.contains("help:"), "no way on: {}", run.stderr);
    assert_eq!(state(sandbox), before);
    run
}

/// Removes the module that still contains the value, so that the sandbox can search for leaks.
fn forget(sandbox: &Sandbox) {
    std::fs::remove_file(sandbox.fleet().join(FILE)).expect("removed");
}

#[test]
fn a_runner_token_becomes_a_sealed_environment_file() {
    let (sandbox, value) = fleet_with(RUNNER);
    let run = sandbox.sealift(&["adopt", &format!("{FILE}:8"), "--name", "gitea-runner-token", "--yes"]).exits(0);
    let new = "    tokenFile  = config.sealift.secrets.gitea-runner-token.path; # from the web page\n";
    let line = format!("    token  = \"{value}\"; # from the web page\n");
    assert_eq!(sandbox.read(FILE), RUNNER.replace("VALUE", &value).replace(&line, new));
    for key in ["jay", "nixos"] {
        assert_eq!(sandbox.show("gitea-runner-token", key), format!("TOKEN={value}\n").as_bytes());
    }
    sandbox.sealift(&["show", "gitea-runner-token", "--identity", &sandbox.key("web")]).exits(5);
    let policy = sandbox.read("recipients.toml");
    let declared = "[secrets.gitea-runner-token]\nhosts = [\"nixos\"]\nshape = \"env:TOKEN\"\nrestart = [\"gitea-runner-main.service\"]\n";
    assert!(policy.ends_with(declared), "{policy}");
    let staged = String::from_utf8(sandbox.tool("git", &["diff", "--cached", "--name-only"])).expect("UTF-8");
    assert_eq!(staged, format!("{FILE}\nrecipients.toml\nsecrets/gitea-runner-token.age\n"));
    assert!(sandbox.tool("git", &["diff", "--name-only"]).is_empty());
    // The plan shows the two lines without the value, the declaration and the new file.
    let shown = run.says("-    8     token  = \"…\"; # …").says("+      shape = \"env:TOKEN\"");
    let commit = String::from_utf8(sandbox.tool("git", &["log", "-1", "--format=%h"])).expect("UTF-8");
    shown.says(&format!("came or went with {}", commit.trim())).says("sealift rotate gitea-runner-token");
    sandbox.sealift(&["check"]).exits(0);
}

#[test]
fn what_is_written_means_the_delivered_path_to_nix() {
    let (sandbox, _) =
        fleet_with("{ lib, ... }: { services.gitea.database = lib.mkIf true { password = ''VALUE''; }; }\n");
    sandbox.sealift(&["adopt", &format!("{FILE}:1"), "--name", "gitea/db", "--yes"]).exits(0);
    let expression = format!(
        "let module = import ./{FILE} {{ lib.mkIf = _: set: set; config.sealift.secrets.\"gitea/db\".path = \"/run/x\"; }}; \
         in module.services.gitea.database.passwordFile"
    );
    let path = sandbox.tool("nix-instantiate", &["--eval", "--expr", &expression]);
    assert_eq!(String::from_utf8(path).expect("UTF-8").trim(), "\"/run/x\"");
}

#[test]
fn a_literal_is_sealed_as_nix_reads_it() {
    let sandbox = Sandbox::with_fleet(&["nixos"]);
    let secret = sandbox.value("x");
    let literals = [
        format!("\"{secret} \\\"q\\\" \\\\ \\t \\$ \\${{a}} $${{b}} $c ä\""),
        format!("''{secret}''"),
        format!("''\n      {secret}\n        two\n\n      three\n    ''"),
        format!("''  {secret}\n b''"),
        format!("''\n\n  {secret}''"),
        format!("''{secret}\n   ''"),
        format!("''\n   \n  {secret}\n     \n  ''"),
    ];
    for (at, literal) in literals.iter().enumerate() {
        let file = format!("hosts/nixos/{at}.nix");
        sandbox.write(&file, format!("{{ config, ... }}: {{\n  services.k3s.token = {literal};\n}}\n"));
        let script = format!("(import ./{file} {{ config = {{ }}; }}).services.k3s.token");
        let mut nix = sandbox.command("nix-instantiate");
        nix.args(["--eval", "--json", "--expr", &script]);
        let read = sandbox.run(nix, b"").exits(0).json();
        let name = format!("v{at}");
        sandbox.sealift(&["adopt", &format!("{file}:2"), "--name", &name, "--shape", "raw", "--yes"]).exits(0);
        assert_eq!(
            String::from_utf8(sandbox.show(&name, "jay")).expect("UTF-8"),
            read.as_str().expect("text"),
            "{literal}"
        );
    }
}

#[test]
fn the_value_is_in_no_argument_list() {
    let (sandbox, value) = fleet_with(RUNNER);
    let git = String::from_utf8(sandbox.tool("sh", &["-c", "command -v git"])).expect("UTF-8");
    let log = sandbox.path("calls");
    std::fs::create_dir(sandbox.path("bin")).expect("a directory");
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nexec {} \"$@\"\n", log.display(), git.trim());
    std::fs::write(sandbox.path("bin/git"), script).expect("written");
    sandbox.tool("chmod", &["+x", sandbox.path("bin/git").to_str().expect("UTF-8")]);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").expect("a path"));
    command.args(["adopt", &format!("{FILE}:8"), "--yes"]).env("PATH", path);
    let run = sandbox.run(command, b"");
    sandbox.remember(&run);
    run.exits(0);
    let calls = std::fs::read_to_string(&log).expect("the calls");
    assert!(calls.contains("cat-file") && calls.contains("diff-tree") && !calls.contains(&value), "{calls}");
}

#[test]
fn nothing_changes_until_it_is_agreed_to() {
    let (sandbox, value) = fleet_with(RUNNER);
    let place = format!("{FILE}:8");
    refused(&sandbox, &[&place], 1, "nothing was adopted");
    let before = state(&sandbox);
    let run = sandbox.sealift(&["adopt", &place, "--dry-run"]).exits(0);
    run.prints("-    8     token  = \"…\"; # …").prints("secrets/gitea-actions-runner-main-token.age (new)");
    let json = sandbox.sealift(&["adopt", &place, "--dry-run", "--json"]).exits(0).json();
    assert_eq!(json["secret"], "gitea-actions-runner-main-token");
    assert_eq!(json["twin"], "tokenFile");
    assert_eq!(state(&sandbox), before);
    assert!(sandbox.read(FILE).contains(&value));
    forget(&sandbox);
}

#[test]
fn a_change_that_cannot_be_written_leaves_everything() {
    let (sandbox, _) = fleet_with(RUNNER);
    std::os::unix::fs::symlink(sandbox.path("home"), sandbox.fleet().join("secrets")).expect("a link");
    let before = (state(&sandbox), sandbox.read(FILE), sandbox.read("recipients.toml"));
    sandbox.sealift(&["adopt", &format!("{FILE}:8"), "--yes"]).exits(2).says("not a directory of its own");
    assert_eq!((state(&sandbox), sandbox.read(FILE), sandbox.read("recipients.toml")), before);
    assert_eq!(std::fs::read_dir(sandbox.path("home")).expect("home").count(), 0);
    forget(&sandbox);
}

#[test]
fn killed_at_any_step_the_value_is_inline_or_sealed() {
    if !can_inject("killed_at_any_step_the_value_is_inline_or_sealed") {
        return;
    }
    for call in ["renameat", "syncfs", "unlinkat", "fsync"] {
        let mut faults = 0;
        for nth in 1..=12 {
            let (sandbox, value) = fleet_with("{ config, ... }: { services.k3s.token = \"VALUE\"; }\n");
            let place = format!("{FILE}:1");
            let (run, struck) = with_fault(&sandbox, call, "signal=KILL", nth, &["adopt", &place, "--yes"]);
            faults += usize::from(struck);
            // The value is always in at least one of them.
            let sealed = sandbox.fleet().join("secrets/k3s-token.age").exists();
            let inline = sandbox.read(FILE).contains(&value);
            assert!(sealed || inline, "{call} {nth}");
            sandbox.sealift(&["rekey"]).exits(0);
            nothing_is_left(&sandbox);
            let inline = sandbox.read(FILE).contains(&value);
            let declared = sandbox.read("recipients.toml").contains("[secrets.k3s-token]");
            assert_ne!(inline, declared, "{call} {nth}");
            if declared {
                assert_eq!(sandbox.show("k3s-token", "nixos"), value.as_bytes());
            } else {
                assert!(!sandbox.fleet().join("secrets/k3s-token.age").exists(), "{call} {nth}");
                forget(&sandbox);
            }
            if run.code == 0 {
                assert!(declared);
                break;
            }
        }
        assert!(faults > 0, "no fault at {call}");
    }
}

#[test]
fn hosts_come_from_the_place_of_the_file() {
    let (sandbox, value) = fleet_with("{ config, ... }: { services.k3s.token = \"VALUE\"; }\n");
    let module = sandbox.read(FILE);
    for file in ["modules/k3s.nix", "hosts/other/k3s.nix", "hosts/Web_1/k3s.nix"] {
        sandbox.write(file, &module);
    }
    let policy = sandbox.read("recipients.toml").replace("[hosts.web]", "[hosts.web]\nconfiguration = \"Web_1\"");
    sandbox.write("recipients.toml", policy);
    refused(&sandbox, &["modules/k3s.nix:1", "--yes"], 2, "does not say which hosts");
    refused(&sandbox, &["hosts/other/k3s.nix:1", "--yes"], 2, "of the host other");
    refused(&sandbox, &["modules/k3s.nix:1", "--hosts", "@nobody", "--yes"], 2, "--hosts: @nobody names no host");
    sandbox.sealift(&["adopt", "modules/k3s.nix:1", "--hosts", "@runner", "--yes"]).exits(0);
    assert_eq!(sandbox.show("k3s-token", "nixos"), value.as_bytes());
    // The second host has the same option: the secret's name includes the host.
    sandbox.sealift(&["adopt", "hosts/Web_1/k3s.nix:1", "--yes"]).exits(0);
    assert_eq!(sandbox.show("k3s-token-web", "web"), value.as_bytes());
    refused(&sandbox, &[&format!("{FILE}:1"), "--name", "k3s-token", "--yes"], 2, "a secret k3s-token already");
    // From a subdirectory, and with the same value elsewhere in the last commit.
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command
        .args(["adopt", "other/k3s.nix:1", "--hosts", "web", "--name", "third", "--yes"])
        .current_dir(sandbox.fleet().join("hosts"));
    let run = sandbox.run(command, b"").exits(0).says(&format!("{FILE} holds the same value in the last commit"));
    sandbox.remember(&run);
    forget(&sandbox);
}

#[test]
fn users_get_theirs_before_they_are_made() {
    let (sandbox, value) = fleet_with("{ config, ... }: { users.users.jay.hashedPassword = \"$y$j9T$VALUE\"; }\n");
    sandbox.sealift(&["adopt", &format!("{FILE}:1"), "--yes"]).exits(0);
    assert!(sandbox.read(FILE).contains("hashedPasswordFile = config.sealift.secrets.jay-hashed-password.path;"));
    assert!(sandbox.read("recipients.toml").contains("needed_for_users = true"));
    assert_eq!(sandbox.show("jay-hashed-password", "nixos"), format!("$y$j9T${value}").as_bytes());
}

#[test]
fn what_is_not_understood_is_refused_with_a_way_on() {
    let module = "{ config, pkgs, ... }:
{
  users.users.jay.password = \"VALUE\";
  services.frob.token = \"VALUE\";
  services.a.keyFile = ./server.key;
  services.k3s = { token = \"VALUE\"; agentToken = \"VALUE\"; };
  services.gitea-actions-runner.instances.x.token = \"VALUE with space\";
  services.nothing = true;
  services.rke2.token = ''VALUE '''q'' + \"\";
}
";
    let (sandbox, _) = fleet_with(module);
    let at = |line: usize| format!("{FILE}:{line}");
    refused(&sandbox, &[&at(3), "--yes"], 2, "no option beside it").says("mkpasswd");
    refused(&sandbox, &[&at(4), "--yes"], 2, "a module that sealift does not know").says("--twin");
    refused(&sandbox, &[&at(5), "--yes"], 2, "private key");
    refused(&sandbox, &[&at(6), "--yes"], 2, "more than one").says("services.k3s.agentToken");
    refused(&sandbox, &[&at(7), "--yes"], 2, "quoted");
    refused(&sandbox, &[&at(8), "--yes"], 2, "gives no secret inline").says("line 3 (users.users.jay.password)");
    refused(&sandbox, &[&at(4), "--twin", "x", "--shape", "pem", "--yes"], 1, "not of the shape pem");
    refused(&sandbox, &[&at(4), "--twin", "a b", "--yes"], 2, "not the name of one option");
    sandbox.sealift(&["adopt", FILE, "--yes"]).exits(2).says("a file and a line number");
    let column = sandbox.read(FILE).lines().nth(5).and_then(|line| line.find("agentToken")).expect("it is there") + 3;
    sandbox
        .sealift(&["adopt", &format!("{}:{column}", at(6)), "--yes"])
        .exits(0)
        .says("still holds the same value at another place");
    assert!(sandbox.read(FILE).contains("{ token = \"") && sandbox.read(FILE).contains("agentTokenFile = config."));
    sandbox.sealift(&["adopt", &at(4), "--twin", "secretFile", "--yes"]).exits(0);
    assert!(sandbox.read(FILE).contains("  services.frob.secretFile = config.sealift.secrets.frob-token.path;\n"));
    forget(&sandbox);
}

#[test]
fn files_that_are_not_the_fleets_are_left_alone() {
    let (sandbox, _) = fleet_with(RUNNER);
    let outside = sandbox.path("home/outside.nix");
    std::fs::copy(sandbox.fleet().join(FILE), &outside).expect("copied");
    std::os::unix::fs::symlink(&outside, sandbox.fleet().join("hosts/nixos/link.nix")).expect("a link");
    refused(&sandbox, &[&format!("{}:8", outside.display()), "--yes"], 2, "is not in the fleet");
    for (place, code, why) in [
        ("hosts/nixos/link.nix:8", 1, "a symbolic link"),
        ("hosts/nixos/none.nix:8", 1, "cannot open"),
        ("recipients.toml:1", 2, "not a file that holds a value inline"),
        ("hosts/nixos:1", 1, "not a regular file"),
    ] {
        let before = state(&sandbox);
        sandbox.sealift(&["adopt", place, "--yes"]).exits(code).says(why);
        assert_eq!(state(&sandbox), before);
    }
    sandbox.tool("mkfifo", &["hosts/nixos/fifo.nix"]);
    sandbox.sealift(&["adopt", "hosts/nixos/fifo.nix:1", "--yes"]).exits(1).says("not a regular file");
    std::fs::remove_file(sandbox.fleet().join("hosts/nixos/fifo.nix")).expect("removed");
    sandbox.write("hosts/nixos/deep.nix", format!("{{ token = {}", "[".repeat(100_000)));
    sandbox.sealift(&["adopt", "hosts/nixos/deep.nix:1", "--yes"]).exits(2).says("nests too deep");
    sandbox.write("hosts/nixos/crlf.nix", "{ config, ... }: {\r\n services.k3s.token = \"x\"; }\r\n");
    refused(&sandbox, &["hosts/nixos/crlf.nix:2", "--yes"], 2, "CRLF");
    sandbox.tool("chmod", &["+x", FILE]);
    refused(&sandbox, &[&format!("{FILE}:8"), "--yes"], 2, "executable");
    std::fs::remove_file(outside).expect("removed");
    forget(&sandbox);
}

#[test]
fn permissions_stay_and_unstaged_changes_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let (sandbox, _) = fleet_with(RUNNER);
    sandbox.tool("chmod", &["600", FILE]);
    sandbox.write("more.nix", "");
    sandbox.tool("git", &["update-index", "--chmod=+x", FILE]);
    let more = sandbox.read(FILE).replace("labels = [ ];", "labels = [ \"x\" ];");
    sandbox.write(FILE, more);
    sandbox.sealift(&["adopt", &format!("{FILE}:8"), "--yes"]).exits(0).says("other changes that were not staged");
    let mode = std::fs::metadata(sandbox.fleet().join(FILE)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let staged = String::from_utf8(sandbox.tool("git", &["ls-files", "--stage", FILE])).expect("UTF-8");
    assert!(staged.starts_with("100755 "), "{staged}");
}

#[test]
fn the_history_is_told_through_all_of_it() {
    let (sandbox, value) = fleet_with(RUNNER);
    sandbox.write("notes.txt", format!("the token is {value}\n"));
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "notes"]);
    sandbox.tool("git", &["rm", "-q", "notes.txt"]);
    sandbox.tool("git", &["commit", "-q", "-m", "no notes"]);
    sandbox.tool("git", &["switch", "-q", "-c", "other", "HEAD~2"]);
    sandbox.write("side.nix", format!("\"{value}\""));
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "aside"]);
    sandbox.tool("git", &["switch", "-q", "main"]);
    let json = sandbox.sealift(&["adopt", &format!("{FILE}:8"), "--yes", "--json"]).exits(0).json();
    let mut traces: Vec<String> = json["commits"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|trace| trace["path"].as_str().expect("text").to_owned())
        .collect();
    traces.sort();
    assert_eq!(traces, [FILE, "notes.txt", "notes.txt", "side.nix"]);
    assert_eq!(json["also_in"], serde_json::json!([]));
    assert_eq!(json["not_looked_at"], serde_json::json!([]));
}

#[test]
fn what_a_clone_does_not_have_is_said_and_not_fetched() {
    let (sandbox, value) = fleet_with(RUNNER);
    sandbox.write("notes.txt", format!("the token is {value}\n"));
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "notes"]);
    sandbox.tool("git", &["rm", "-q", "notes.txt"]);
    sandbox.tool("git", &["commit", "-q", "-m", "no notes"]);
    sandbox.tool("git", &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", sandbox.fleet().display());
    for (name, option, why) in [
        ("partial", "--filter=blob:none", "1 object of the history that this clone does not have"),
        ("shallow", "--depth=1", "the history is cut (a shallow clone): `git fetch --unshallow`"),
    ] {
        let clone = sandbox.path(name);
        sandbox.tool("git", &["clone", "-q", option, &url, clone.to_str().expect("UTF-8")]);
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["adopt", &format!("{FILE}:8"), "--yes"]).current_dir(&clone);
        let run = sandbox.run(command, b"");
        sandbox.remember(&run);
        run.exits(0).says(&format!("not read: {why}"));
    }
    forget(&sandbox);
}

#[test]
fn a_repository_without_a_commit_is_no_hindrance() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    let text = format!(
        "version = 1\n\n[admins]\njay = [\"{}\"]\n\n[hosts.nixos]\nkeys = [\"{}\"]\n",
        sandbox.age_key("jay"),
        sandbox.ssh_key("nixos")
    );
    sandbox.write("recipients.toml", text);
    sandbox.write(FILE, RUNNER.replace("VALUE", &sandbox.value("x")));
    let json = sandbox.sealift(&["adopt", &format!("{FILE}:8"), "--yes", "--json"]).exits(0).json();
    assert_eq!(json["commits"], serde_json::json!([]));
}

/// A new private SSH key at this path.
fn private_key(sandbox: &Sandbox, path: &std::path::Path) -> Vec<u8> {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
    sandbox.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path.to_str().expect("UTF-8")]);
    std::fs::read(path).expect("a key")
}

fn gitconfig(sandbox: &Sandbox, key: &str) -> String {
    let text = format!("[user]\n\tname = Jay\n\tsigningkey = {key} # signs\n[gpg]\n\tformat = ssh\n");
    sandbox.write("dotfiles/gitconfig", &text);
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "--allow-empty", "-m", "dotfiles"]);
    text
}

#[test]
fn a_signing_key_of_the_home_is_sealed_and_signs_from_where_it_is_delivered() {
    let sandbox = Sandbox::with_fleet(&["nixos", "web"]);
    let path = sandbox.path("home/.ssh/jay-signing");
    let key = private_key(&sandbox, &path);
    let text = gitconfig(&sandbox, "~/.ssh/jay-signing");
    let place = "dotfiles/gitconfig:3";
    refused(&sandbox, &[place, "--hosts", "*", "--yes"], 2, "/home/.ssh/jay-signing does not say whose key it is");
    refused(&sandbox, &[place, "--owner", "jay", "--yes"], 2, "does not say which hosts");
    let arguments = ["adopt", place, "--hosts", "*", "--owner", "jay", "--yes"];
    let run = sandbox.sealift(&arguments).exits(0).says("stays where it is");
    // Nobody else ever had it.
    assert!(!run.stderr.contains("give it a new value"), "{}", run.stderr);
    assert!(path.exists());
    assert_eq!(
        sandbox.read("dotfiles/gitconfig"),
        text.replace("~/.ssh/jay-signing", "/run/sealift/ssh-keys/jay-signing")
    );
    assert_eq!(sandbox.show("ssh-keys/jay-signing", "web"), key);
    let policy = sandbox.read("recipients.toml");
    assert!(
        policy.contains("[secrets.\"ssh-keys/jay-signing\"]\nhosts = [\"*\"]\nshape = \"ssh-key\"\nowner = \"jay\"\n"),
        "{policy}"
    );
    // Again, with the file destroyed.
    gitconfig(&sandbox, path.to_str().expect("UTF-8"));
    let arguments = ["adopt", place, "--hosts", "*", "--owner", "jay", "--name", "again", "--shred", "--yes"];
    sandbox.sealift(&arguments).exits(0).says("(destroyed)");
    assert!(!path.exists());
}

#[test]
fn a_signing_key_in_the_repository_goes_with_the_same_change() {
    let sandbox = Sandbox::with_fleet(&["nixos"]);
    let path = sandbox.fleet().join("dotfiles/keys/id_ed25519");
    let key = private_key(&sandbox, &path);
    gitconfig(&sandbox, "keys/id_ed25519");
    let run =
        sandbox.sealift(&["adopt", "dotfiles/gitconfig:3", "--hosts", "nixos", "--owner", "jay", "--yes"]).exits(0);
    let run = run.says("dotfiles/keys/id_ed25519 (removed)").says("the git history still holds the value");
    assert!(run.stderr.contains("\ngive it a new value: `sealift rotate "), "{}", run.stderr);
    assert!(!path.exists() && sandbox.fleet().join("dotfiles/keys/id_ed25519.pub").exists());
    assert_eq!(sandbox.show("ssh-keys/git-signing", "nixos"), key);
    let staged = String::from_utf8(sandbox.tool("git", &["diff", "--cached", "--name-status"])).expect("UTF-8");
    assert!(staged.contains("D\tdotfiles/keys/id_ed25519\n"), "{staged}");
}

#[test]
fn a_gitconfig_without_a_private_key_is_refused() {
    let sandbox = Sandbox::with_fleet(&["nixos"]);
    std::fs::write(sandbox.path("home/notes"), "no key").expect("written");
    for (key, line, why) in [
        ("~/.ssh/id_ed25519.pub", "3", "public key"),
        ("~/none", "3", "there is no file ~/none"),
        ("~/notes", "3", "not of the shape ssh-key"),
        ("~/notes", "2", "not the `signingkey`"),
    ] {
        gitconfig(&sandbox, key);
        let place = format!("dotfiles/gitconfig:{line}");
        refused(&sandbox, &[&place, "--hosts", "nixos", "--owner", "jay", "--yes"], 2, why);
    }
}

#[test]
fn a_leak_is_claimed_where_there_was_one() {
    const NIX: &str = "{ config, ... }: { services.k3s.token = \"VALUE\"; }\n";
    let adopted = |sandbox: &Sandbox, file: &str, host: &str| {
        let place = format!("{file}:1");
        let name = format!("of-{host}");
        let run = sandbox.sealift(&["adopt", &place, "--hosts", host, "--name", &name, "--yes", "--json"]).exits(0);
        run.json()["exposed"].as_str().map(str::to_owned)
    };
    // In a commit.
    let (sandbox, value) = fleet_with(NIX);
    sandbox.write("flake.nix", "{ outputs = _: { }; }");
    assert_eq!(adopted(&sandbox, FILE, "nixos").as_deref(), Some("the git history holds it"));
    // Untracked: a flake does not see it.
    sandbox.write("hosts/web.nix", NIX.replace("VALUE", &format!("{value}-other")));
    assert_eq!(adopted(&sandbox, "hosts/web.nix", "web"), None);
    // Staged but never committed: Nix sees it.
    let (sandbox, value) = fleet_with("{ }\n");
    sandbox.write("flake.nix", "{ outputs = _: { }; }");
    sandbox.write("hosts/web.nix", NIX.replace("VALUE", &value));
    sandbox.tool("git", &["add", "hosts/web.nix"]);
    let built = "a system that was built from it has it in its Nix store";
    assert_eq!(adopted(&sandbox, "hosts/web.nix", "web").as_deref(), Some(built));
    // Without a flake, Nix reads any file.
    let (sandbox, value) = fleet_with("{ }\n");
    sandbox.write("hosts/web.nix", NIX.replace("VALUE", &value));
    assert_eq!(adopted(&sandbox, "hosts/web.nix", "web").as_deref(), Some(built));
}

#[test]
fn as_many_findings_as_lines_are_no_hindrance() {
    let took = |many: usize| {
        let lines: String = (0..many).map(|n| format!("  services.k3s.i{n}.token = \"x{n:05}y\";\n")).collect();
        let (sandbox, _) = fleet_with(&format!("{{ config, ... }}: {{\n{lines}}}\n"));
        let place = format!("{FILE}:{many}");
        let started = std::time::Instant::now();
        sandbox.sealift(&["adopt", &place, "--twin", "tokenFile", "--name", "a", "--dry-run"]).exits(0);
        started.elapsed()
    };
    let (few, many) = (took(2_500), took(20_000));
    // Linear time takes eight times as long, quadratic time sixty-four times.
    assert!(many < few * 24, "{few:?}, {many:?}");
}
