//! recipients.toml as read by Nix and by the program: both must agree.

use std::path::{Path, PathBuf};

use crate::harness::Sandbox;
use crate::harness::nix::{no_nix, quoted, top};

fn library() -> String {
    quoted(Path::new(top()).join("nix/lib.nix"))
}

/// The manifest of a host as made by Nix, with the sealed files' paths in the store.
fn of_nix(sandbox: &Sandbox, fleet: &Path, host: &str) -> Vec<u8> {
    let real = std::fs::canonicalize(fleet).expect("a path");
    let expression = format!(
        "(import {}).manifestOf {{ fleet = {}; host = \"{host}\"; fileOf = name: \"{}/secrets/${{name}}.age\"; }}",
        library(),
        quoted(fleet),
        real.display()
    );
    sandbox.nix_eval(&expression).exits(0).stdout
}

/// Asserts that both manifests of a host are equal, byte for byte.
#[track_caller]
fn agree(sandbox: &Sandbox, fleet: &Path, host: &str) -> String {
    let fleet_name = fleet.to_str().expect("UTF-8");
    let ours = sandbox.sealift(&["manifest", host, "--compact", "--fleet", fleet_name]).exits(0).text();
    let theirs = String::from_utf8(of_nix(sandbox, fleet, host)).expect("UTF-8");
    assert_eq!(ours.trim_end(), theirs.trim_end(), "{host}");
    ours
}

/// A copy of the reference fleet in the sandbox.
fn reference(sandbox: &Sandbox) -> PathBuf {
    for name in ["recipients.toml", "secrets", "hosts", ".gitattributes"] {
        sandbox.tool("cp", &["-R", Path::new(top()).join(name).to_str().expect("UTF-8"), "."]);
    }
    sandbox.tool("git", &["init", "-q"]);
    sandbox.tool("git", &["add", "--all"]);
    sandbox.fleet()
}

#[test]
fn manifests_of_nix_and_of_the_program_are_the_same_for_every_host() {
    if no_nix("manifests side by side") {
        return;
    }
    let sandbox = Sandbox::new();
    let fleet = reference(&sandbox);
    for host in ["framework-13", "framework-16", "nixos", "nixos-ripper"] {
        let manifest = agree(&sandbox, &fleet, host);
        assert!(manifest.contains(&format!("\"sealed_as\":\"wireguard-key/{host}\"")), "{manifest}");
    }
}

#[test]
fn manifests_are_the_same_for_hard_names_too() {
    if no_nix("manifests of hard names") {
        return;
    }
    let long = "x".repeat(63);
    let sandbox = Sandbox::with_fleet(&["a@t.1_x", "b-2", long.as_str(), "0"]);
    let declared = r#"
[secrets."a.b/c_d-e/0.9"]
hosts = ["@t.1_x", "b-2"]
mode = "640"
owner = "_svc.x"
group = "1000"
path = "/etc/app@v1:2/key+x"
restart = ["a@b.service", 'c\x2dd.socket']
reload = ["e:f.target"]
shape = "env:A_B"
description = "quotes \" and \\ and ü and \n"

[secrets.zz]
hosts = ["*"]
per_host = true
needed_for_users = true
rotate_every = "90d"
expires = "2027-03-01"
generate = { kind = "hex", bytes = 16 }

[secrets.nobody]
hosts = []

[secrets.foreign]
hosts = ["0", "b-2"]
allow_unsealed = true
path = "/run/sealift/foreign"

[checks.x]
host_name = true
"#;
    let text = sandbox.read("recipients.toml") + declared;
    sandbox.write("recipients.toml", text);
    for host in ["a", "b-2", "0", &long] {
        let manifest = agree(&sandbox, &sandbox.fleet(), host);
        assert!(!manifest.contains("nobody") && manifest.contains("/run/sealift-users/zz"), "{manifest}");
    }
    assert!(agree(&sandbox, &sandbox.fleet(), "a").contains("\"mode\":\"0640\""));
}

#[test]
fn a_repository_path_with_spaces_is_read_like_any_other() {
    if no_nix("a path with spaces") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a/b", &["--hosts", "web"]);
    let spaced = sandbox.path("my \"fleet\" ${x} ü");
    std::fs::rename(sandbox.fleet(), &spaced).expect("moved");
    std::fs::create_dir(sandbox.fleet()).expect("a folder to stand in");
    let expression = format!("(import {}).manifestOf {{ fleet = {}; host = \"web\"; }}", library(), quoted(&spaced));
    let manifest = sandbox.nix_value(&expression);
    let file = manifest["secrets"][0]["file"].as_str().expect("a path");
    // The store path of the file uses only valid characters, and contains nothing of the repository's path.
    assert!(file.starts_with("/nix/store/") && file.ends_with("-a-b.age"), "{file}");
    let stored = sandbox.path("nix/store").join(file.trim_start_matches('/'));
    assert_eq!(std::fs::read(stored).expect("a file"), std::fs::read(spaced.join("secrets/a/b.age")).expect("a file"));
}

#[test]
fn another_secret_changes_no_other_hosts_system() {
    if no_nix("files of other hosts") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("ours", &["--hosts", "web"]);
    sandbox.seal("theirs", &["--hosts", "db"]);
    let manifest = |host: &str| {
        let fleet = quoted(sandbox.fleet());
        sandbox.nix_value(&format!("(import {}).manifestOf {{ fleet = {fleet}; host = \"{host}\"; }}", library()))
    };
    let (web, db) = (manifest("web"), manifest("db"));
    let in_store = || {
        let entries = std::fs::read_dir(sandbox.path("nix/store/nix/store")).expect("a store").flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    // Only the sealed files, each separately: not recipients.toml, not the repository.
    assert_eq!(in_store().len(), 2, "{:?}", in_store());
    sandbox.sealift_with(&["seal", "theirs", "--replace", "--stdin"], sandbox.value("new").as_bytes()).exits(0);
    assert_eq!(manifest("web"), web);
    assert_ne!(manifest("db"), db);
    assert_eq!(in_store().len(), 3);
}

#[test]
fn what_nix_cannot_read_is_told_with_its_mend() {
    if no_nix("errors of the Nix side") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web@t"]);
    let good = sandbox.read("recipients.toml");
    let says = |text: &str, host: &str, words: &[&str]| {
        sandbox.write("recipients.toml", text);
        let fleet = quoted(sandbox.fleet());
        let run =
            sandbox.nix_eval(&format!("(import {}).manifestOf {{ fleet = {fleet}; host = \"{host}\"; }}", library()));
        let run = run.exits(1);
        for word in words {
            assert!(run.stderr.contains(word), "`{word}` is not in: {}", run.stderr);
        }
    };
    says(&good, "wbe", &["the fleet has no host wbe", "known: web"]);
    says(&good.replace("version = 1", "version = 2"), "web", &["is not of version 1", "update the flake input"]);
    says(&format!("{good}[secrets.a]\nhosts = [\"@tt\"]\n"), "web", &["secrets.a", "names @tt, which is no host"]);
    says(&format!("{good}[secrets.a]\nowner = \"x\"\n"), "web", &["secrets.a in recipients.toml has no `hosts`"]);
    says(&format!("{good}[secrets.\"../a\"]\nhosts = []\n"), "web", &["outside its alphabet", "sealift check"]);
    says(&format!("{good}[secrets.a]\nhosts = []\nexpires = 2027-03-01\n"), "web", &["recipients.toml", "as a string"]);
    says(
        &format!("{good}[secrets.a]\nhosts = [\"web\"]\n"),
        "web",
        &["secrets/a.age is not in the flake", "sealift seal a", "git add secrets/a.age"],
    );
    let empty = quoted(sandbox.path("home"));
    let run = sandbox.nix_eval(&format!("(import {}).manifestOf {{ fleet = {empty}; host = \"web\"; }}", library()));
    run.exits(1).says("there is no recipients.toml in").says("git add recipients.toml");
}

#[test]
fn nix_reads_what_check_takes() {
    if no_nix("TOML of Nix and of the program") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web@t"]);
    let good = sandbox.read("recipients.toml");
    for (more, taken) in [
        ("[secrets.a]\nhosts = []\ngenerate = { kind = \"hex\", bytes = 16 }\n", true),
        ("[secrets.a]\nhosts = [\n  \"web\", # {\n  \"@t\",\n]\ndescription = '\\e {'\n", true),
        ("[secrets.a]\nhosts = []\ndescription = \"\"\"\n{ \\u00e4 \\\\e\n\"\"\"\n", true),
        ("[secrets.a]\nhosts = []\ngenerate = {\n  kind = \"hex\", bytes = 16\n}\n", false),
        ("[secrets.a]\nhosts = []\ngenerate = { kind = \"hex\", bytes = 16, }\n", false),
        ("[secrets.a]\nhosts = []\ndescription = \"\\e\"\n", false),
        ("[secrets.a]\nhosts = []\ndescription = \"\\x41\"\n", false),
        ("[secrets.a]\nhosts = []\nexpires = 2027-03-01\n", false),
        ("[secrets.a]\nhosts = [\"web]\n", false),
        ("[secrets.a]\nhosts = \"web\"\n", false),
        ("[secrets.a]\nhosts = []\nmode = 400\n", false),
        ("[secrets.a]\nhosts = []\nneeded_for_users = \"yes\"\n", false),
    ] {
        sandbox.write("recipients.toml", format!("{good}{more}"));
        let ours = sandbox.sealift(&["manifest", "web", "--compact"]);
        let nix = sandbox.nix_eval(&format!(
            "let policy = (import {}).readFleet {}; in builtins.attrNames policy.secrets",
            library(),
            quoted(sandbox.fleet())
        ));
        assert_eq!((ours.code == 0, nix.code == 0), (taken, taken), "{more}{}{}", ours.stderr, nix.stderr);
    }
    sandbox.write("recipients.toml", format!("{good}[secrets.a]\nhosts = []\ngenerate = {{\n  kind = \"hex\"\n}}\n"));
    let line = good.lines().count() + 3;
    sandbox
        .sealift(&["check"])
        .exits(2)
        .says(&format!("recipients.toml:{line}: an inline table of several lines: Nix, which reads this file too"));
}

#[test]
fn a_flake_in_a_subdirectory_sees_tracked_files_only() {
    if no_nix("a flake in a subdirectory") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let key = sandbox.age_key("jay");
    let web = sandbox.ssh_key("web");
    sandbox.write(
        "infra/recipients.toml",
        format!("version = 1\n[admins]\njay = [\"{key}\"]\n[hosts.web]\nkeys = [\"{web}\"]\n"),
    );
    sandbox.tool("cp", &["-R", Path::new(top()).join("nix").to_str().expect("UTF-8"), "infra/nix"]);
    sandbox.write(
        "infra/flake.nix",
        "{ outputs = { self }: { m = (import ./nix/lib.nix).manifestOf { fleet = ./.; host = \"web\"; }; }; }",
    );
    sandbox.tool("git", &["add", "-A"]);
    let infra = sandbox.fleet().join("infra");
    let fleet = infra.to_str().expect("UTF-8").to_owned();
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--stdin", "--fleet", &fleet], b"one").exits(0);
    let eval = |what: &str| {
        let mut command = sandbox.nix_command("nix");
        command.args(["eval", "--json", "--no-write-lock-file", &format!(".#{what}")]).current_dir(&infra);
        sandbox.run(command, b"")
    };
    let by_path = eval("m").exits(0).json();
    let file = by_path["secrets"][0]["file"].as_str().expect("a path").to_owned();
    assert!(file.ends_with("-a.age"), "{file}");
    sandbox.tool("git", &["rm", "-q", "--cached", "infra/secrets/a.age"]);
    eval("m").exits(1).says("secrets/a.age is not in the flake").says("git add secrets/a.age");
}

#[test]
fn a_fleet_that_is_built_first_is_read_too() {
    if no_nix("a fleet that is built") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.builds();
    sandbox.seal("a", &["--hosts", "web"]);
    // As in a NixOS test; the string refers to a derivation.
    let expression = format!(
        r#"let built = derivation {{
             name = "fleet"; system = builtins.currentSystem; builder = "/bin/sh";
             args = [ "-c" "PATH=/usr/bin:/bin; mkdir $out; cp -R {0}/recipients.toml {0}/secrets $out/" ];
           }};
           in (import {1}).manifestOf {{ fleet = "${{built}}"; host = "web"; }}"#,
        sandbox.fleet().display(),
        library(),
    );
    let manifest = sandbox.nix_value(&expression);
    let file = manifest["secrets"][0]["file"].as_str().expect("a path");
    // A separate store path: a system's closure contains only this file of the fleet.
    assert!(file.ends_with("-a.age") && !file.contains("fleet/"), "{file}");
    let sealed = sandbox.fleet().join("secrets/a.age");
    assert_eq!(std::fs::read(file).expect("a file"), std::fs::read(sealed).expect("a file"));
}
