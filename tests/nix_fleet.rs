//! The reference fleet at the top of this repository: every machine and home evaluates, also after a machine has joined
//! in each possible way, and jay's shells provide what the fleet promises. With `HOME_MANAGER`, a checkout of
//! home-manager, real homes are evaluated; the result is recorded for machines without it.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::nix::{FLEET, home_manager, nixpkgs_lib, no_nix, quoted, top};
use crate::harness::rig::{Rig, cannot_rig};
use crate::harness::{Sandbox, not_run};

const HOSTS: [&str; 4] = ["framework-13", "framework-16", "nixos", "nixos-ripper"];
/// The recorded result of home-manager, see `the_record_is_what_home_manager_makes`.
const RECORD: &str = "tests/fixtures/nix/homes.json";
/// Every machine and home of a flake like the one at the top, strictly evaluated.
#[track_caller]
fn evaluated(sandbox: &Sandbox, lib: &Path, flake: &Path, home_manager: Option<&Path>) -> Value {
    let fixtures = Path::new(top()).join("tests/fixtures/nix");
    let nixpkgs = sandbox.path("nixpkgs");
    if !nixpkgs.exists() {
        let from = fixtures.join("nixpkgs");
        sandbox.tool("cp", &["-R", from.to_str().expect("UTF-8"), nixpkgs.to_str().expect("UTF-8")]);
        std::os::unix::fs::symlink(lib, nixpkgs.join("lib")).expect("a link");
    }
    let real = home_manager.map(|path| format!("homeManager = {};", quoted(path))).unwrap_or_default();
    sandbox.nix_value(&format!(
        "import {} {{ nixpkgs = {}; sealift = \"{}\"; top = {}; {real} }}",
        quoted(fixtures.join("fleet.nix")),
        quoted(&nixpkgs),
        sandbox.package(),
        quoted(flake),
    ))
}

/// Asserts that no evaluated machine or home has a fault; returns the machines' names.
#[track_caller]
fn is_clean(fleet: &Value) -> Vec<String> {
    let names = |value: &Value| value.as_object().expect("names").keys().cloned().collect::<Vec<_>>();
    let hosts = names(&fleet["hosts"]);
    let homes: Vec<String> = hosts.iter().map(|host| format!("jay@{host}")).collect();
    assert_eq!(names(&fleet["homes"]), homes);
    for host in &hosts {
        let machine = &fleet["hosts"][host];
        assert_eq!((&machine["failed"], &machine["warnings"]), (&json!([]), &json!([])), "{host}");
        assert_eq!(machine["whole"], json!(true));
        let home = &fleet["homes"][format!("jay@{host}")];
        for home in machine["home"].as_object().expect("homes").values().chain([home]) {
            assert_eq!(home["failed"], json!([]), "{host}");
            assert!(home.get("warnings").is_none_or(|warnings| *warnings == json!([])), "{host}: {}", home["warnings"]);
        }
    }
    hosts
}

#[test]
fn every_machine_and_every_home_evaluates_to_the_last_value() {
    const TEST: &str = "the reference fleet, evaluated";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::new();
    let fleet = evaluated(&sandbox, &lib, Path::new(top()), home_manager("homes of home-manager itself").as_deref());
    assert_eq!(is_clean(&fleet), HOSTS);
    for host in HOSTS {
        let machine = &fleet["hosts"][host];
        assert_eq!(machine["jay"]["hashedPasswordFile"], json!("/run/sealift-users/jay-password"), "{host}");
        let keys = machine["jay"]["openssh"]["authorizedKeys"]["keys"].as_array().expect("keys");
        assert!(keys.len() == 1 && keys[0].as_str().expect("a key").starts_with("ssh-ed25519 "), "{keys:?}");
        let wg0 = &machine["wireguard"]["wg0"];
        assert_eq!(wg0["privateKeyFile"], json!("/run/sealift/wireguard-key"));
        assert_eq!(wg0["peers"].as_array().map(Vec::len), Some(3));
        let syncthing = json!({ "cert": "/run/sealift/syncthing-cert", "key": "/run/sealift/syncthing-key" });
        assert_eq!(machine["syncthing"], syncthing, "{host}: a key without its certificate is another device");
        for (name, sealed_as) in [("syncthing-key", true), ("syncthing-cert", true), ("jay-password", false)] {
            let secrets = machine["manifest"]["secrets"].as_array().expect("secrets");
            let secret = secrets.iter().find(|one| one["name"] == json!(name)).expect(name);
            let wanted = if sealed_as { format!("{name}/{host}") } else { name.to_owned() };
            assert_eq!(secret["sealed_as"], json!(wanted));
        }
        // The home comes with the system, unless the machine disables that.
        let with_system = machine["home"].as_object().expect("homes").contains_key("jay");
        assert_eq!(with_system, host != "framework-13", "{host}");
    }
    let ripper = &fleet["hosts"]["nixos-ripper"];
    assert_eq!(ripper["tokenFile"], json!("/run/sealift/gitea-runner-token"));
    assert_eq!((&ripper["services"]["sunshine"], &ripper["services"]["ollama"]), (&json!(true), &json!(false)));
    // The one unfree package is allowed by name; the stand-in for nixpkgs refuses others like nixpkgs.
    for package in ["libreoffice", "android-studio-stable"] {
        let with: Vec<_> = HOSTS
            .into_iter()
            .filter(|host| {
                let home = &fleet["homes"][format!("jay@{host}")];
                home["packages"].as_array().expect("a list").contains(&json!(package))
            })
            .collect();
        assert_eq!(with, ["nixos-ripper"], "{package}");
    }
    assert_eq!(fleet["hosts"]["framework-16"]["gfx"], json!("10.3.0"));
    assert_eq!(fleet["hosts"]["framework-13"]["gfx"], Value::Null);
    // Pinned, although nixpkgs has a newer one.
    assert_eq!(fleet["hosts"]["nixos"]["postgresql"], json!("17.0"));
    // Wallabag's password is in the text only as a placeholder.
    let template = &fleet["hosts"]["nixos"]["manifest"]["templates"][0];
    let content = template["content"].as_str().expect("text");
    assert!(content.contains("PASSWORD=<sealift:wallabag-password>\n"), "{template}");
    let database = fleet["hosts"]["nixos"]["units"]["wallabag-database"].as_str().expect("a unit");
    assert!(database.contains("LoadCredential=password:/run/sealift/wallabag-password"), "{database}");
    assert!(database.contains("Requires=postgresql.target"), "roles are made by a unit of its own: {database}");
}

/// The homes in recorded form, without what depends on the store.
fn recorded(homes: &Value) -> Value {
    fn plain(value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let mut parts = text.split("/nix/store/");
                let first = parts.next().unwrap_or_default().to_owned();
                // A store path continues with a 32-character hash and a dash.
                Value::String(parts.fold(first, |all, part| all + "/nix/store/" + part.get(33..).unwrap_or(part)))
            }
            Value::Array(all) => all.iter().map(plain).collect(),
            Value::Object(all) => all
                .iter()
                .filter(|(key, _)| *key != "activation")
                .map(|(key, value)| (key.clone(), plain(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }
    plain(homes)
}

/// A digest of the homes' source files, so that an outdated record is detected without home-manager.
fn sources(sandbox: &Sandbox) -> String {
    let script =
        "cd \"$1\" && find home dotfiles -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1";
    let digest = sandbox.tool("sh", &["-c", script, "sh", top()]);
    String::from_utf8(digest).expect("UTF-8").trim().to_owned()
}

fn record() -> Value {
    let text = std::fs::read_to_string(Path::new(top()).join(RECORD)).expect("the record");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_record_is_what_home_manager_makes() {
    const TEST: &str = "the record of homes, beside home-manager";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let Some(path) = home_manager(TEST) else { return };
    let sandbox = Sandbox::new();
    let fleet = evaluated(&sandbox, &lib, Path::new(top()), Some(&path));
    let homes = recorded(&fleet["homes"]);
    for (name, home) in homes.as_object().expect("homes") {
        looks_like_jays(name, home);
        let made = fleet["homes"][name]["activation"].as_str().expect("a derivation");
        assert!(made.ends_with("-home-manager-generation.drv"), "{made}");
        // A home that comes with its system is the same home.
        let host = name.strip_prefix("jay@").expect("a host");
        if let Some(with_system) = fleet["hosts"][host]["home"].get("jay") {
            for same in ["zshrc", "bashrc", "gitconfig", "path", "variables"] {
                assert_eq!(recorded(with_system)[same], home[same], "{name}: {same}");
            }
        }
    }
    let fresh = json!({ "sources": sources(&sandbox), "homes": homes });
    let release = |homes: &Value| homes["jay@nixos"]["release"].clone();
    // The generated files differ between releases; the record is of one.
    if release(&homes) == release(&record()["homes"]) || record()["homes"] == json!({}) {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("homes.json");
        std::fs::write(&place, serde_json::to_string_pretty(&fresh).expect("JSON") + "\n").expect("written");
        assert!(record() == fresh, "the homes are others than recorded: `cp {} {RECORD}`", place.display());
    } else {
        not_run(TEST, "HOME_MANAGER is of another release than the record");
    }
}

/// Asserts the contents of jay's shells.
#[track_caller]
fn looks_like_jays(name: &str, home: &Value) {
    let text = |key: &str| home[key].as_str().unwrap_or_else(|| panic!("{name}: no {key}"));
    for shell in ["zsh", "bash"] {
        let rc = text(&format!("{shell}rc"));
        for part in [
            "function y() {",
            "--cwd-file=",
            "export-esp() {",
            &format!("bin/starship init {shell}"),
            &format!("bin/direnv hook {shell}"),
            "alias -- gs='git status --short --branch'",
            "alias -- ll='ls -lh'",
        ] {
            assert!(rc.contains(part), "{name}: `{part}` is not in {shell}'s: {rc}");
        }
    }
    assert_eq!(home["path"], json!(["$HOME/.local/bin", "$HOME/.cargo/bin"]), "{name}");
    assert_eq!(home["variables"]["EDITOR"], json!("hx"), "{name}");
    for package in ["yazi", "starship", "direnv", "helix", "git", "espup"] {
        assert!(home["packages"].as_array().expect("a list").contains(&json!(package)), "{name}: {package}");
    }
    for link in [".zshrc", ".bashrc", ".config/git/config", ".config/helix/config.toml"] {
        assert!(home["links"].as_array().expect("a list").contains(&json!(link)), "{name}: {link}");
    }
    let git = text("gitconfig");
    assert!(git.contains("signingKey = \"/run/sealift/ssh-keys/jay-signing\"") && git.contains("[include]"), "{git}");
}

#[test]
fn the_recorded_homes_are_of_these_files_and_work_in_both_shells() {
    let sandbox = Sandbox::new();
    let record = record();
    assert_eq!(
        record["sources"],
        json!(sources(&sandbox)),
        "home/ or dotfiles/ have changed since: HOME_MANAGER=DIR NIXPKGS_LIB=DIR scripts/test nix -- the_record"
    );
    let homes = record["homes"].as_object().expect("homes");
    assert_eq!(homes.len(), HOSTS.len());
    for (name, home) in homes {
        looks_like_jays(name, home);
    }
    // The result in real shells, with a stand-in for yazi that changes directory, and without starship and direnv.
    let home = &homes["jay@nixos"];
    let place = sandbox.path("home");
    std::fs::create_dir_all(place.join("bin")).expect("a folder");
    std::fs::create_dir(place.join("gone to")).expect("a folder");
    let yazi = "#!/bin/sh\nfor word in \"$@\"; do case $word in --cwd-file=*) printf %s \"$HOME/gone to\" > \"${word#*=}\";; esac; done\n";
    std::fs::write(place.join("bin/yazi"), yazi).expect("written");
    std::fs::set_permissions(place.join("bin/yazi"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a mode");
    for shell in ["zsh", "bash"] {
        if std::process::Command::new(shell).arg("--version").output().is_err() {
            not_run("jay's functions", &format!("{shell} is not installed"));
            continue;
        }
        std::fs::write(place.join(format!(".{shell}rc")), home[format!("{shell}rc")].as_str().expect("text"))
            .expect("written");
        let run = |words: &str| {
            let mut command = sandbox.command(shell);
            command.args(["-ic", words]).current_dir(&place);
            command.env("PATH", format!("{}:{}", place.join("bin").display(), std::env::var("PATH").expect("a PATH")));
            sandbox.run(command, b"")
        };
        let went = run("y && pwd && alias gs > /dev/null").exits(0).text();
        assert_eq!(went.trim(), place.join("gone to").to_str().expect("UTF-8"), "{shell}");
        // The function that the fleet's check looks for.
        run("typeset -f y export-esp > /dev/null").exits(0);
        run("export-esp").exits(1).says("espup install");
        std::fs::write(place.join("export-esp.sh"), "export LIBCLANG_PATH=/esp\n").expect("written");
        assert_eq!(run("export-esp && echo $LIBCLANG_PATH").exits(0).text().trim(), "/esp", "{shell}");
        std::fs::remove_file(place.join("export-esp.sh")).expect("removed");
    }
}

#[test]
fn the_checks_of_the_fleet_are_of_these_kinds() {
    let text = std::fs::read_to_string(Path::new(top()).join("recipients.toml")).expect("recipients.toml");
    let policy: toml::Table = text.parse().expect("TOML");
    let mut kinds: Vec<&str> = policy["checks"]
        .as_table()
        .expect("checks")
        .values()
        .flat_map(|check| check.as_table().expect("a check").keys().map(String::as_str))
        .filter(|key| !["on", "user"].contains(key))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all = [
        "command",
        "default_route",
        "exists",
        "gpu",
        "host_name",
        "login_shell",
        "no_failed_units",
        "program",
        "store_link",
        "unit",
    ];
    assert_eq!(kinds, all);
}

/// A copy of the reference fleet with private keys, made by its own script; returns jay's key.
fn copied(sandbox: &Sandbox) -> String {
    for name in FLEET {
        sandbox.tool("cp", &["-R", Path::new(top()).join(name).to_str().expect("UTF-8"), "."]);
    }
    let keys = sandbox.path("fleet-keys");
    let mut command = sandbox.command("scripts/reference-fleet");
    command.args(["--keys", keys.to_str().expect("UTF-8")]).env("SEALIFT_BIN", env!("CARGO_BIN_EXE_sealift"));
    sandbox.run(command, b"").exits(0);
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    sandbox.tool("git", &["add", "--all"]);
    sandbox.tool("git", &["commit", "-q", "-m", "a fleet"]);
    keys.join("jay").to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_machine_that_joins_in_any_way_breaks_no_other() {
    const TEST: &str = "machines that join the reference fleet";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::new();
    let jay = copied(&sandbox);
    let add = |name: &str, more: &[&str]| {
        sandbox.sealift(&[&["host", "add", name, "--identity", &jay], more].concat()).exits(0);
    };
    let key = sandbox.ssh_key("by-key");
    sandbox.ssh_key("by-file");
    let file = sandbox.path("keys/by-file.pub");
    add("made", &["--generate", "--tag", "laptop"]);
    add("by-key", &["--key", &key, "--tag", "runner"]);
    add("by-file", &["--key-file", file.to_str().expect("UTF-8")]);
    sandbox.sealift(&["check"]).exits(0);
    let real = home_manager(TEST);
    // The fleet's machines are unchanged: a machine that joined has no address yet. If only the key of a machine was
    // given, nothing is known to put into a folder.
    let fleet = evaluated(&sandbox, &lib, &sandbox.fleet(), real.as_deref());
    let mut with_made = [&HOSTS[..], &["made"]].concat();
    with_made.sort_unstable();
    assert_eq!(is_clean(&fleet), with_made);
    assert_eq!(fleet["hosts"]["nixos"]["wireguard"]["wg0"]["peers"].as_array().map(Vec::len), Some(3));
    // With its folder, each is a machine and has a home.
    for name in ["by-key", "by-file"] {
        sandbox.write(&format!("hosts/{name}/default.nix"), "{ system.stateVersion = \"26.05\"; }\n");
    }
    let fleet = evaluated(&sandbox, &lib, &sandbox.fleet(), real.as_deref());
    let mut all = [&HOSTS[..], &["made", "by-key", "by-file"]].concat();
    all.sort_unstable();
    assert_eq!(is_clean(&fleet), all);
    assert_eq!(fleet["hosts"]["made"]["wireguard"], json!({}), "it has no address");
    // With an address, it is a peer of all others.
    let module = sandbox.read("modules/wireguard.nix");
    let with = module.replace("framework-16 = \"10.44.0.4\";", "framework-16 = \"10.44.0.4\"; made = \"10.44.0.5\";");
    sandbox.write("modules/wireguard.nix", with);
    let fleet = evaluated(&sandbox, &lib, &sandbox.fleet(), None);
    is_clean(&fleet);
    for host in ["nixos", "made"] {
        let peers = &fleet["hosts"][host]["wireguard"]["wg0"]["peers"];
        assert_eq!(peers.as_array().map(Vec::len), Some(4), "{host}: {peers}");
    }
}

#[test]
fn a_machine_that_joins_over_ssh_brings_a_system_and_a_home() {
    const TEST: &str = "a machine that joins the reference fleet over SSH";
    if no_nix(TEST) || cannot_rig(TEST) {
        return;
    }
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::new();
    let jay = copied(&sandbox);
    let hosts = Rig::beside(sandbox, &["one"]);
    let sandbox = &hosts.sandbox;
    let hardware = "#!/bin/sh\nprintf '# made here\\n{ lib, ... }:\\n{\\n  nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\";\\n}\\n'\n";
    hosts.install("one", "nixos-generate-config", hardware);
    hosts.install("one", "nixos-version", "#!/bin/sh\necho '25.11.20251101.abc (Xantusia)'\n");
    hosts.at_home(".ssh/known_hosts", &format!("one {}\n", hosts.public_key("one")));
    hosts.sealift(&["host", "add", "one", "--ssh", "jay@one", "--tag", "laptop", "--identity", &jay]).exits(0);
    assert!(sandbox.read("home/one.nix").contains("./common.nix"));
    let fleet = evaluated(sandbox, &lib, &sandbox.fleet(), home_manager(TEST).as_deref());
    let mut all = [&HOSTS[..], &["one"]].concat();
    all.sort_unstable();
    assert_eq!(is_clean(&fleet), all);
}

/// The Nix code blocks in a document, each with its line number.
fn snippets(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(top()).join(file)).expect("a document");
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```nix" {
            let block: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            found.push((format!("{file}:{}", number + 1), block.join("\n")));
        }
    }
    found
}

#[test]
fn the_nix_of_the_documents_evaluates() {
    const TEST: &str = "the Nix of the documents";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::with_fleet(&["web@runner", "jay-laptop"]);
    let documents: Vec<String> = std::fs::read_dir(Path::new(top()).join("docs"))
        .expect("docs")
        .map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".md") && name != "docs/options.md")
        .chain(["README.md".to_owned()])
        .collect();
    let blocks: Vec<(String, String)> = documents.iter().flat_map(|name| snippets(name)).collect();
    assert!(blocks.len() >= 9, "the blocks are found: {}", blocks.len());
    // Every secret that they mention exists.
    let mut named: Vec<String> = blocks
        .iter()
        .flat_map(|(_, text)| {
            text.split("sealift.secrets.").chain(text.split("sealift.placeholder.")).skip(1).collect::<Vec<_>>()
        })
        .map(|rest| match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
            None => rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect(),
        })
        .filter(|name: &String| !name.is_empty() && name.chars().all(|c| !c.is_whitespace()) && name != "NAME")
        .collect();
    named.sort();
    named.dedup();
    for name in &named {
        let users = name.ends_with("-password") && name.starts_with("jay");
        let more: &[&str] = if users { &["--needed-for-users"] } else { &[] };
        sandbox.sealift_with(&[&["seal", name, "--hosts", "*", "--stdin"], more].concat(), b"demo").exits(0);
    }
    sandbox.write("hosts/web/default.nix", "{ }");
    sandbox.write("home/common.nix", "{ }");
    for (number, (place, text)) in blocks.iter().enumerate() {
        // A whole flake, a module, or lines of one.
        let is_file = text.trim_start().starts_with('{');
        let whole = if is_file {
            text.clone()
        } else {
            format!("{{ config, lib, nixpkgs, osConfig, pkgs, sealift, self, system, ... }}: {{\n{text}\n}}")
        };
        sandbox.write(&format!("snippet-{number}.nix"), whole);
        let run = sandbox.nix_eval(&format!(
            "import {} {{ libPath = {}; sealift = \"{}\"; top = {}; fleet = {}; snippet = {}; }}",
            quoted(Path::new(top()).join("tests/fixtures/nix/snippet.nix")),
            quoted(&lib),
            sandbox.package(),
            quoted(top()),
            quoted(sandbox.fleet()),
            quoted(sandbox.fleet().join(format!("snippet-{number}.nix"))),
        ));
        assert_eq!(run.code, 0, "{place}: {}", run.stderr);
        let seen = run.json();
        assert_eq!(seen["failed"], json!([]), "{place}");
        if text.contains("mkHomes") {
            assert_eq!(seen["homes"], json!({ "jay@web": "/home/jay" }), "{place}");
        }
    }
}

#[test]
fn the_flake_that_init_writes_evaluates_with_the_module() {
    const TEST: &str = "the flake of init --from";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q"]);
    let from = sandbox.path("etc");
    std::fs::create_dir(&from).expect("a folder");
    let module = "{ lib, ... }: { nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\"; }\n";
    std::fs::write(from.join("hardware-configuration.nix"), module).expect("written");
    let module = "{ networking.hostName = \"web\"; system.stateVersion = \"24.05\"; }\n";
    std::fs::write(from.join("configuration.nix"), module).expect("written");
    sandbox.sealift(&["init", "--from", from.to_str().expect("UTF-8")]).exits(0);
    sandbox.ssh_key("web");
    let key = sandbox.path("keys/web.pub");
    let jay = sandbox.path("jay");
    sandbox.sealift(&["identity", "new", "--admin", "jay", "--plain", "--file", jay.to_str().expect("UTF-8")]).exits(0);
    sandbox.sealift(&["host", "add", "web", "--key-file", key.to_str().expect("UTF-8")]).exits(0);
    sandbox.sealift_with(&["seal", "token", "--hosts", "web", "--stdin"], b"demo").exits(0);
    let flake = sandbox.fleet().join("flake.nix");
    let seen = sandbox.nix_value(&format!(
        "import {} {{ libPath = {}; sealift = \"{}\"; top = {}; fleet = {}; snippet = {}; }}",
        quoted(Path::new(top()).join("tests/fixtures/nix/snippet.nix")),
        quoted(&lib),
        sandbox.package(),
        quoted(top()),
        quoted(sandbox.fleet()),
        quoted(flake),
    ));
    assert_eq!(seen["failed"], json!([]));
    assert_eq!(seen["secrets"], json!({ "web": ["token"] }), "its machine has the module, and reads recipients.toml");
}

#[test]
fn deploy_sh_links_etc_nixos_on_this_machine_only() {
    let sandbox = Sandbox::new();
    let bin = sandbox.path("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    std::fs::write(bin.join("sealift"), "#!/bin/sh\nprintf '%s|' \"$@\"\n").expect("written");
    std::fs::set_permissions(bin.join("sealift"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let deploy = |words: &[&str]| {
        let mut command = sandbox.command(Path::new(top()).join("scripts/deploy.sh"));
        command.args(words).env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH")));
        sandbox.run(command, b"").exits(0).text()
    };
    assert_eq!(deploy(&[]), "deploy|--link-etc-nixos|");
    assert_eq!(deploy(&["--yes"]), "deploy|--link-etc-nixos|--yes|");
    assert_eq!(deploy(&["framework-13", "--yes"]), "deploy|framework-13|--yes|");
    assert_eq!(deploy(&["--all"]), "deploy|--all|");
    assert_eq!(deploy(&["--link-etc-nixos=/x", "@laptop"]), "deploy|--link-etc-nixos=/x|@laptop|");
}
