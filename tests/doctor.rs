//! `doctor`: a machine and a repository set up by the old plan have its faults; each is reported with help, and what
//! `--fix` does loses nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Run, Sandbox};

/// Scripts and files of the plan that the first fleet was set up by, with their faults.
const PLAN: [(&str, &str); 7] = [
    (
        "scripts/deploy.sh",
        "#!/usr/bin/env bash\nset -euo pipefail\nH=$(hostname)\nsudo ln -sfn ~/dotfiles/hosts/$H /etc/nixos\nsudo nixos-rebuild build --flake .#$H\nread -p 'Deploy? (y/n) ' answer\nsudo nixos-rebuild switch --flake .#$H\nhome-manager switch --flake .#$H --force\n",
    ),
    (
        "scripts/rollback.sh",
        "#!/usr/bin/env bash\nsudo nixos-rebuild switch ~/backup-$(date +%Y%m%d)/configuration.nix\nhome-manager switch --generation 3\n",
    ),
    (
        "home/web.nix",
        "{ config, ... }:\n{\n  home.file.\".gitconfig\".source = ../../dotfiles/gitconfig;\n  home.sessionVariables.HOST = config.networking.hostName;\n}\n",
    ),
    (
        "modules/common.nix",
        "{ pkgs, ... }:\n{\n  hardware.opengl.enable = true;\n  nixpkgs.config.permittedInsecurePackages = [ \"electron-25.9.0\" ];\n  environment.systemPackages = [ pkgs.exa ];\n}\n",
    ),
    ("flake.nix", "{\n  outputs = { ... }: { nixosConfigurations = { }; };\n}\n"),
    ("hosts/web/default.nix", "{\n  imports = [ ../../modules/common.nix ];\n}\n"),
    ("dotfiles/gitconfig", "[user]\n"),
];

fn put(place: &Path, path: &str, text: &str) {
    let path = place.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

/// The root of a machine set up by the plan.
fn machine(sandbox: &Sandbox) -> PathBuf {
    let root = sandbox.path("machine");
    for (path, text) in [
        ("etc/hostname", "web\n"),
        ("etc/passwd", "jay:x:1000:100::/home/jay:/bin/sh\n"),
        ("etc/nixos/configuration.nix", "{ }\n"),
        ("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAanother root@web\n"),
        ("home/jay/dotfiles/hosts/web/default.nix", "{ }\n"),
        ("home/jay/.gitconfig", "[user]\n"),
        ("proc/swaps", "Filename\tType\n/dev/sda2 partition 1 0 -2\n"),
        ("dev/sda2", ""),
        ("sys/class/block/sda2/partition", "2\n"),
        ("nix/store/abc-home-manager-generation/home-files/.gitconfig", "[user]\nname = x\n"),
        (
            "run/current-system/etc/systemd/system/home-manager-jay.service",
            "ExecStart=/nix/store/x-hm-setup-env /nix/store/abc-home-manager-generation\n",
        ),
    ] {
        put(&root, path, text);
    }
    symlink("/home/jay/dotfiles/hosts/web", root.join("etc/nixos/web")).expect("a link");
    root
}

/// The rules of the reported faults.
fn rules(run: &Run) -> BTreeSet<String> {
    let json = run.json();
    let faults = json["faults"].as_array().expect("an array");
    for fault in faults {
        assert!(fault["mend"].as_str().is_some_and(|help| !help.is_empty()), "{fault}");
    }
    faults.iter().map(|fault| fault["rule"].as_str().expect("a rule").to_owned()).collect()
}

fn set(rules: &[&str]) -> BTreeSet<String> {
    rules.iter().map(|rule| (*rule).to_owned()).collect()
}

#[test]
fn a_machine_that_followed_the_plan_has_its_faults() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("token", &["--hosts", "web"]);
    let policy = sandbox.read("recipients.toml");
    sandbox
        .write("recipients.toml", policy.replace("[secrets.token]\n", "[secrets.token]\nexpires = \"2020-01-01\"\n"));
    for (path, text) in PLAN {
        sandbox.write(path, text);
    }
    sandbox.tool("git", &["add", "."]);
    sandbox.write("modules/new.nix", "{ }\n");
    sandbox.write("notes.txt", "not for Nix\n");
    symlink("/nix/store/abc-nixos-system", sandbox.fleet().join("result")).expect("a link");
    let root = machine(&sandbox);
    let root_text = root.to_str().expect("UTF-8");
    let run = |more: &[&str]| sandbox.sealift(&[&["doctor", "--root", root_text], more].concat());

    let all = [
        "backup-by-date",
        "etc-nixos-nested",
        "gone-from-nixpkgs",
        "home-manager-clobber",
        "home-manager-flags",
        "home-manager-switch",
        "host-key-changed",
        "insecure-packages",
        "link-etc-nixos",
        "os-config",
        "path-outside-flake",
        "read-ends-script",
        "rebuild-of-a-file",
        "secret-overdue",
        "stale-result",
        "sudo-build",
        "swap-unencrypted",
        "untracked",
    ];
    let found = run(&["--json"]).exits(3);
    assert_eq!(rules(&found), set(&all));
    assert!(!found.text().contains("notes.txt"), "what Nix does not read is nobody's fault");
    let shown = run(&[]).exits(3).prints("scripts/deploy.sh:4: ").prints("  help: ").prints("/etc/nixos/web: ");
    shown.prints("home/web.nix:3: ../../dotfiles/gitconfig leads out").says("--fix` fixes 3 of them");

    // Only what loses nothing is fixed.
    let fixed = run(&["--fix", "--json"]).exits(3);
    assert_eq!(fixed.json()["fixed"].as_array().expect("an array").len(), 3);
    let left = rules(&run(&["--json"]).exits(3));
    let gone = set(&["etc-nixos-nested", "stale-result", "untracked"]);
    assert_eq!(left, set(&all).difference(&gone).cloned().collect());
    assert!(
        root.join("home/jay/dotfiles/hosts/web/default.nix").exists()
            && root.join("etc/nixos/configuration.nix").exists()
    );
    assert_eq!(std::fs::read_to_string(root.join("home/jay/.gitconfig")).expect("it stays"), "[user]\n");
    assert!(sandbox.fleet().join("result").symlink_metadata().is_err());
    let known = String::from_utf8(sandbox.tool("git", &["ls-files", "modules", "notes.txt"])).expect("UTF-8");
    assert_eq!(known, "modules/common.nix\nmodules/new.nix\n");
}

#[test]
fn every_rule_is_described() {
    let text = include_str!("../docs/doctor.md");
    let sources = [
        include_str!("../src/domain/doctor/machine.rs"),
        include_str!("../src/domain/doctor/repository.rs"),
        include_str!("../src/domain/doctor/text.rs"),
    ];
    let mut rules = set(&["secret-overdue"]);
    for source in sources {
        let list =
            source.split_once("const RULES").and_then(|(_, rest)| rest.split_once("];")).expect("a list of rules").0;
        rules
            .extend(list.split("(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(rule, _)| rule.to_owned()));
    }
    let described: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(rule, _)| rule.to_owned())
        .collect();
    assert_eq!(rules, described);
}

#[test]
fn it_works_without_a_fleet_and_says_when_all_is_well() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("machine");
    put(&root, "etc/hostname", "web\n");
    let root = root.to_str().expect("UTF-8");
    sandbox.sealift(&["doctor", "--root", root]).exits(0).says("web: no known fault");
    sandbox.sealift(&["doctor", "web", "--root", root]).exits(2).says("there is no fleet here");
    sandbox.sealift(&["doctor", "--fleet", "nowhere"]).exits(2);
    // Warnings count with `--strict`.
    sandbox.tool("git", &["init", "-q"]);
    sandbox.write("a.nix", "{ sound.enable = true; }\n");
    sandbox.tool("git", &["add", "."]);
    sandbox.sealift(&["doctor", "--root", root]).exits(0).prints("nixpkgs renamed or removed `sound.enable`");
    sandbox.sealift(&["doctor", "--root", root, "--strict"]).exits(3);
    // A file that is too large is reported as not read.
    sandbox.write("b.nix", "#".repeat(300 << 10));
    sandbox.sealift(&["doctor", "--root", root]).exits(3).prints("not read:").prints("b.nix: git does not track it");
    sandbox.tool("git", &["add", "."]);
    sandbox.sealift(&["doctor", "--root", root]).exits(11);
}

#[test]
fn another_host_is_looked_at_by_the_same_rules() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let root = machine(&sandbox);
    let root = root.to_str().expect("UTF-8");
    let found = sandbox.sealift(&["doctor", "db", "--root", root, "--json"]).exits(3);
    assert_eq!(
        rules(&found),
        set(&["etc-nixos-nested", "home-manager-clobber", "host-key-changed", "swap-unencrypted"])
    );
    sandbox.sealift(&["doctor", "dv", "--root", root]).exits(2).says("did you mean db?");
    // A host answers with what its own program found.
    let request = serde_json::json!({
        "version": 1, "run": "r", "who": "jay@here", "root": root, "host": null, "work": "examine",
    });
    let told = sandbox.sealift_with(&["host-run"], request.to_string().as_bytes()).exits(0).json();
    assert_eq!(told["event"], "examined");
    assert_eq!(told["clobbered"], serde_json::json!(["/home/jay/.gitconfig"]));
}

#[test]
fn a_machine_without_a_pinned_key_is_known_by_either_of_its_names() {
    let sandbox = Sandbox::with_fleet(&["db"]);
    let host = format!("\n[hosts.web]\nconfiguration = \"Web_1\"\nkeys = [\"{}\"]\n", sandbox.age_key("web"));
    sandbox.write("recipients.toml", sandbox.read("recipients.toml") + &host);
    let root = sandbox.path("machine");
    std::fs::create_dir_all(root.join("run")).expect("made");
    let root_text = root.to_str().expect("UTF-8");
    for (name, known) in [("Web_1", true), ("web", true), ("web_1", false), ("db", false), ("Web_1.lan", false)] {
        put(&root, "etc/hostname", &format!("{name}\n"));
        let here = sandbox.sealift(&["status", "--root", root_text, "--json"]);
        let named = sandbox.sealift(&["status", "Web_1", "--root", root_text, "--json"]);
        for run in [here, named] {
            if known {
                assert_eq!(run.exits(0).json()["hosts"][0]["host"], "web", "{name}");
            } else {
                assert_ne!(run.code, 0, "{name}");
            }
        }
    }
    // A machine with a pinned key is not identified by name.
    put(&root, "etc/hostname", "db\n");
    assert_ne!(sandbox.sealift(&["status", "db", "--root", root_text]).code, 0);
    // A machine without a pinned key is reported by its name in the fleet.
    put(&root, "etc/hostname", "Web_1\n");
    sandbox.sealift(&["doctor", "--root", root_text]).says("web: no known fault");
}

#[test]
fn a_hostile_repository_leads_no_mend_astray() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let root = sandbox.path("machine");
    put(&root, "etc/hostname", "web\n");
    let mark = sandbox.path("mark");
    // A filter that would run if git read the content, and names that look like options or patterns.
    sandbox.write(".gitattributes", "*.nix filter=evil\n");
    sandbox.tool("git", &["config", "filter.evil.clean", &format!("touch {}", mark.display())]);
    sandbox.write("--help.nix", "{ }\n");
    sandbox.write(":(exclude)x.nix", "{ }\n");
    sandbox.write("a\u{1b}[2Jb.nix", "{ }\n");
    symlink(&mark, sandbox.fleet().join("link.nix")).expect("a link");
    let fifo = sandbox.fleet().join("fifo.nix");
    sandbox.tool("mkfifo", &[fifo.to_str().expect("UTF-8")]);
    let run = sandbox.sealift(&["doctor", "--fix", "--root", root.to_str().expect("UTF-8")]);
    assert!(!run.text().contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{}", run.text());
    run.exits(0).prints("fixed: --help.nix: ");
    assert!(!mark.exists(), "nothing of the repository was run");
    let known = String::from_utf8(sandbox.tool("git", &["ls-files", "-z"])).expect("UTF-8");
    assert!(known.contains("--help.nix") && known.contains(":(exclude)x.nix"), "{known}");

    // The place now leads to someone's own files: only symlinks are removed.
    let elsewhere = sandbox.path("elsewhere");
    std::fs::create_dir_all(elsewhere.join("dir")).expect("made");
    put(&elsewhere, "keep", "x");
    symlink(&elsewhere, root.join("etc/nixos")).expect("a link that leads out");
    sandbox.sealift(&["doctor", "--fix", "--root", root.to_str().expect("UTF-8")]).exits(0);
    assert!(elsewhere.join("keep").exists() && elsewhere.join("dir").exists());
}
