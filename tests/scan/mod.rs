//! scan: the real binary on real repositories. Every planted secret is generated at run time; none may ever be printed.

mod blind;
mod corpus;
mod history;
mod hook;
mod index;
mod values;

use std::path::Path;

use base64::Engine as _;
use sealift::domain::scan::sample::make;

use crate::harness::{Run, Sandbox};

fn repository() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    sandbox
}

/// A token in GitHub's format, different for each seed.
fn token(seed: u64) -> String {
    make("ghp_<a36>", seed)
}

/// Asserts that a run printed neither all nor the second half of a secret.
#[track_caller]
fn silent(run: Run, secret: &str) -> Run {
    for part in [secret, &secret[secret.len() / 2..]] {
        assert!(!run.text().contains(part) && !run.stderr.contains(part), "a secret is printed");
    }
    run
}

fn commit(sandbox: &Sandbox, message: &str) {
    sandbox.tool("git", &["add", "--all"]);
    sandbox.tool("git", &["commit", "-q", "-m", message]);
}

#[test]
fn a_token_in_the_tree_is_found_and_never_shown() {
    let sandbox = repository();
    let secret = token(1);
    sandbox.write("hosts/a.nix", format!("{{\n  x = \"{secret}\";\n}}\n"));
    commit(&sandbox, "x");
    let run = sandbox.sealift(&["scan"]).exits(10).prints("high: hosts/a.nix:2:8: a GitHub token (github-token)");
    silent(run.prints("help: make a new one"), &secret);
    let run = silent(sandbox.sealift(&["scan", "--json"]).exits(10), &secret);
    let found = &run.json()["findings"][0];
    assert_eq!(
        (found["rule"].as_str(), found["line"].as_u64(), found["in"].as_str()),
        (Some("github-token"), Some(2), Some("tree"))
    );
    let run = silent(sandbox.sealift(&["scan", "--sarif"]).exits(10), &secret);
    let sarif = run.json();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    let rule = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "hosts/a.nix");
}

#[test]
fn nix_is_read_as_nix() {
    let sandbox = repository();
    let value = "correct-horse-42";
    let source = format!(
        "{{\n  services.gitea-actions-runner.instances.main = {{\n    token =\n      \"{value}\";\n  }};\n}}\n"
    );
    sandbox.write("hosts/nixos/default.nix", source);
    let run = silent(sandbox.sealift(&["scan"]).exits(10), value);
    run.prints("hosts/nixos/default.nix:4")
        .prints("nix-inline-secret")
        .prints("services.gitea-actions-runner.instances.main.token is given a literal")
        .prints("help: run: sealift adopt hosts/nixos/default.nix:4 ");
    // An option's name can be any text: one that is itself a secret is not printed.
    let secret = token(9);
    sandbox.write("hosts/nixos/default.nix", format!("{{ services.\"{secret}\".password = \"{value}\"; }}\n"));
    silent(sandbox.sealift(&["scan"]).exits(10), &secret).prints("nix-secret-option");
}

#[test]
fn a_file_that_is_called_a_key_is_looked_at_first() {
    let sandbox = repository();
    sandbox.write("a.nix", "{ a = ./one-key; b = ./two-key; c = ./three-key; }\n");
    sandbox.write("one-key", "age-encryption.org/v1\n-> X25519 x\n");
    sandbox.write("two-key", "{ \"data\": \"ENC[AES256_GCM,data:x]\", \"sops\": {} }\n");
    sandbox.write("three-key", "ssh-ed25519 AAAA jay\n");
    sandbox.sealift(&["scan"]).exits(0);
    commit(&sandbox, "first");
    sandbox.sealift(&["scan", "--history"]).exits(0);
    sandbox.write("one-key", "0123\n");
    sandbox.sealift(&["scan"]).exits(10).prints("a.nix:1:7").prints("nix-key-path");
    // The next commit is what is staged: the index counts, whatever is in the work tree.
    sandbox.write("b.nix", "{ d = ./one-key; e = ./two-key; }\n");
    sandbox.tool("git", &["add", "--all"]);
    sandbox.sealift(&["scan", "--staged"]).exits(10).prints("b.nix:1:7");
    commit(&sandbox, "second");
    sandbox.sealift(&["scan", "--history"]).exits(10).prints("b.nix:1:7");
    std::fs::remove_file(sandbox.fleet().join("one-key")).expect("removed");
    sandbox.sealift(&["scan"]).exits(10).prints("a.nix:1:7");
}

#[test]
fn what_stands_for_a_value_is_none() {
    let sandbox = repository();
    let psk = |value: &str| format!("{{ networking.wireless.networks.home.psk = \"{value}\"; }}\n");
    for (number, value) in
        ["$WIFI_PSK", "$wifi_psk", "$PSK_5G", "$(cat /run/x)", "{env:PSK}", "$env(PSK)"].iter().enumerate()
    {
        sandbox.write(&format!("{number}.nix"), psk(value));
    }
    sandbox.write("etcd.nix", "{ services.etcd.initialClusterToken = \"my-cluster-1\"; }\n");
    sandbox.write(
        "b.yaml",
        "token: YourGitlabTokenHere1\npassword: \"####9a####\"\napi_key: ghp_xxxxA1b2xxxxC3d4xxxxE5f6xxxxG7h8xxxxI9\n",
    );
    sandbox.sealift(&["scan"]).exits(0);
    sandbox.write("0.nix", psk("$ecreT-77"));
    sandbox.sealift(&["scan"]).exits(10).prints("0.nix:1:");
}

#[test]
fn values_in_texts_of_nix_are_found() {
    let sandbox = repository();
    let value = make("4q<a16>Y2", 3);
    let sources = [
        format!(
            "{{ pkgs, ... }}: {{ services.nextcloud.config.adminpassFile = \"${{pkgs.writeText \"a\" \"{value}\"}}\"; }}"
        ),
        format!("{{ services.restic.backups.x.passwordFile = builtins.toFile \"p\" \"{value}\"; }}"),
        format!("{{ environment.etc.x.text = ''\n  password = {value}\n''; }}"),
        format!("{{ fileSystems.n.options = [ \"username=jay,password={value},uid=1000\" ]; }}"),
        format!("{{ s.script = ''\n  export AWS_SECRET_ACCESS_KEY={value}\n''; }}"),
        format!("{{ s.script = ''\n  curl -H 'Authorization: token {value}' x\n''; }}"),
        format!(
            "{{ s.x = \"Authorization: Basic {}\"; }}",
            base64::prelude::BASE64_STANDARD.encode(format!("jay:{value}"))
        ),
        format!("{{ pkgs, ... }}: let f = pkgs.writeText \"p\" \"{value}\"; in {{ services.x.passwordFile = f; }}"),
    ];
    for (number, source) in sources.iter().enumerate() {
        sandbox.write(&format!("{number}.nix"), source);
    }
    let run = silent(sandbox.sealift(&["scan"]).exits(10), &value);
    let missed: Vec<_> = (0..sources.len())
        .filter(|number| {
            !run.text().contains(&format!(" {number}.nix:1:")) && !run.text().contains(&format!(" {number}.nix:2:"))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:?}\n{}", run.text());
    // Outside strings and comments, unquoted text is Nix code.
    let sandbox = repository();
    sandbox.write("a.nix", format!("{{ password = x.{value}; }} # password={value}\n"));
    sandbox.sealift(&["scan"]).exits(0);
}

#[test]
fn what_is_encoded_is_found_three_times_deep() {
    let sandbox = repository();
    let code = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let secret = token(4);
    let config = format!("user: jay\ntoken: {secret}\n");
    let hex = config.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    // Broken within the token.
    let lines = code(&config);
    let texts = [
        format!("data:\n  config: {}\n", code(&config)),
        format!("data:\n  config: {}\n", code(&code(&code(&config)))),
        format!("data:\n  config: {hex}\n"),
        format!("url:\n  to: x?a=%20{}\n", secret.replace('_', "%5F")),
        format!("data: |\n  {}\n  {}\n", &lines[..40], &lines[40..]),
    ];
    for (number, text) in texts.iter().enumerate() {
        sandbox.write(&format!("{number}.yaml"), text);
    }
    let run = silent(sandbox.sealift(&["scan"]).exits(10), &secret);
    let missed: Vec<_> =
        (0..texts.len()).filter(|number| !run.text().contains(&format!(" {number}.yaml:2:"))).collect();
    assert!(missed.is_empty(), "{missed:?}\n{}", run.text());
    let sandbox = repository();
    sandbox.write("four.yaml", format!("data: {}\n", code(&code(&code(&code(&config))))));
    sandbox.sealift(&["scan"]).exits(0);
}

#[test]
fn what_is_untracked_is_looked_at_and_what_is_ignored_is_not() {
    let sandbox = repository();
    sandbox.write(".gitignore", "*.local\n");
    sandbox.write("a.local", token(1));
    sandbox.sealift(&["scan"]).exits(0).says("0 findings");
    sandbox.write("b.txt", token(2));
    sandbox.sealift(&["scan"]).exits(10).prints("b.txt:1:1");
}

#[test]
fn what_is_only_in_the_index_is_found() {
    let sandbox = repository();
    sandbox.write("a", "nothing\n");
    sandbox.write("b", "nothing\n");
    commit(&sandbox, "x");
    sandbox.write("a", token(1));
    sandbox.write("b", token(2));
    sandbox.tool("git", &["add", "a", "b"]);
    sandbox.write("a", "clean again, of another length\n");
    std::fs::remove_file(sandbox.fleet().join("b")).expect("removed");
    let run = sandbox.sealift(&["scan"]).exits(10).prints("a:1:1 (staged)").prints("b:1:1 (staged)");
    assert_eq!(run.text().matches("github-token").count(), 2, "each once: {}", run.text());
    // A lock on the index by another git does not matter.
    std::fs::write(sandbox.fleet().join(".git/index.lock"), "").expect("written");
    sandbox.sealift(&["scan"]).exits(10);
    sandbox.sealift(&["scan", "--staged"]).exits(10);
}

#[test]
fn staged_is_what_the_next_commit_adds() {
    let sandbox = repository();
    sandbox.write("a.txt", token(1));
    sandbox.sealift(&["scan", "--staged"]).exits(0);
    sandbox.tool("git", &["add", "a.txt"]);
    // Before the first commit.
    sandbox.sealift(&["scan", "--staged"]).exits(10).prints("a.txt:1:1 (staged)");
    commit(&sandbox, "x");
    sandbox.write("a.txt", format!("a line before\n{}\n", token(1)));
    sandbox.tool("git", &["add", "a.txt"]);
    sandbox.sealift(&["scan", "--staged"]).exits(0);
    sandbox.write("a.txt", format!("{}\n{}\n", token(1), token(2)));
    sandbox.tool("git", &["add", "a.txt"]);
    let run = sandbox.sealift(&["scan", "--staged"]).exits(10).prints("a.txt:2:1");
    assert!(!run.text().contains("a.txt:1:1"), "{}", run.text());
    // A rename without changes adds nothing.
    commit(&sandbox, "y");
    sandbox.tool("git", &["mv", "a.txt", "b.txt"]);
    sandbox.sealift(&["scan", "--staged"]).exits(0);
    // Unstaged changes do not count.
    sandbox.write("c.txt", token(3));
    sandbox.sealift(&["scan", "--staged"]).exits(0);
}

#[test]
fn an_entry_and_a_remark_allow_and_go_stale() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let remark = format!("# sealift{}allow github-token revoked in May", ':');
    sandbox.write("a.sh", format!("x={} {remark}\n", token(1)));
    sandbox.write("tests/b.txt", token(2));
    let policy = sandbox.read("recipients.toml");
    let with = |text: &str| sandbox.write("recipients.toml", format!("{policy}\n[scan]\nallow = [{{ {text} }}]\n"));
    with("rule = \"github-token\", path = \"tests/*.txt\", reason = \"made up\"");
    sandbox.sealift(&["scan"]).exits(0).says("2 allowed");
    sandbox.write("a.sh", format!("x=1 {remark}\n"));
    sandbox.write("tests/b.txt", "nothing");
    let run = sandbox.sealift(&["scan"]).exits(0);
    run.says("a.sh:1: the remark allows github-token")
        .says("it allows github-token in tests/*.txt, and nothing of that kind is there");
    for (text, what) in [
        ("rule = \"github-tokens\", path = \"a\", reason = \"b\"", "did you mean `github-token`?"),
        ("rule = \"jwt\", path = \"../a\", reason = \"b\"", "not a path inside the repository"),
        ("rule = \"jwt\", path = \"a\", reason = \" \"", "no reason is given"),
        ("rule = \"jwt\", path = \"a\"", "`reason` is missing"),
    ] {
        with(text);
        sandbox.sealift(&["scan"]).exits(2).says(what);
    }
}

#[test]
fn the_rules_are_listed() {
    let sandbox = repository();
    sandbox.sealift(&["scan", "--rules"]).exits(0).prints("openssh-private-key: an OpenSSH private key");
    let rules = sandbox.sealift(&["scan", "--rules", "--json"]).exits(0).json();
    assert!(rules["rules"].as_array().expect("an array").len() > 50);
    // The documents have a line for every rule.
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scan.md")).expect("the document");
    for rule in rules["rules"].as_array().expect("an array") {
        let id = rule["id"].as_str().expect("a name");
        assert!(text.contains(&format!("| `{id}` |")), "docs/scan.md does not list {id}");
    }
}

#[test]
fn a_directory_that_is_no_repository_is_said() {
    let sandbox = Sandbox::new();
    sandbox.sealift(&["scan"]).exits(2).says("is not in a git repository");
    sandbox.sealift(&["scan", "--values"]).exits(2).says("there is no fleet here");
}

#[test]
fn this_repository_has_no_findings() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !top.join(".git").exists() {
        crate::harness::not_run("scan of this repository", "it is no git work tree");
        return;
    }
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    // The checkout may belong to another user.
    command.args(["scan", "--fleet"]).arg(top);
    command.envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")]);
    sandbox.run(command, b"").exits(0).says("0 findings");
}

/// The environment of a nix store of the sandbox's own, at its real path.
fn own_store(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let place = |name: &str| sandbox.path("nix").join(name).display().to_string();
    vec![
        ("NIX_STORE_DIR", place("store")),
        ("NIX_STATE_DIR", place("var")),
        ("NIX_LOG_DIR", place("log")),
        ("NIX_CONF_DIR", place("etc")),
        ("NIX_REMOTE", "local".to_owned()),
        ("NIX_USER_CONF_FILES", "/dev/null".to_owned()),
        ("NIX_CONFIG", "build-users-group =\nsandbox = false\nsubstituters =\nflake-registry =".to_owned()),
    ]
}

#[test]
fn a_store_path_is_looked_at_whole() {
    let sandbox = repository();
    let nix = own_store(&sandbox);
    let secret = token(7);
    std::fs::create_dir_all(sandbox.path("system/etc/deep")).expect("made");
    std::fs::write(sandbox.path("system/etc/deep/unit.service"), format!("Environment=X={secret}\n")).expect("written");
    std::os::unix::fs::symlink(format!("/nowhere/{}", token(8)), sandbox.path("system/link")).expect("linked");
    let mut command = sandbox.command("nix");
    command.args([
        "--extra-experimental-features",
        "nix-command flakes",
        "store",
        "add-path",
        "--name",
        "system",
        "--",
    ]);
    command.arg(sandbox.path("system")).envs(nix.clone());
    let path = sandbox.run(command, b"").exits(0).text();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["scan", "--store", path.trim()]).envs(nix);
    let run = sandbox.run(command, b"").exits(10).prints("/etc/deep/unit.service:1:15").prints("/link:1:10");
    silent(silent(run, &secret), &token(8));
    sandbox.sealift(&["scan", "--store", "-x"]).exits(2);
    sandbox.sealift(&["scan", "--full"]).exits(2);
}

#[test]
fn a_hosts_closure_is_built_and_looked_at() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let secret = token(11);
    let flake = format!(
        "{{ outputs = _: {{ nixosConfigurations.web.config.system.build.toplevel = derivation {{ name = \"sys\"; \
         system = \"{}-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo 'x={secret}' > $out\" ]; }}; }}; }}\n",
        std::env::consts::ARCH
    );
    sandbox.write("flake.nix", flake);
    sandbox.tool("git", &["add", "flake.nix"]);
    let scan = |host: &str| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["scan", "--store", host]).envs(own_store(&sandbox));
        sandbox.run(command, b"")
    };
    silent(scan("web").exits(10).prints("-sys:1:3: a GitHub token"), &secret);
    // Under another name in the flake.
    let text = sandbox.read("flake.nix").replace("nixosConfigurations.web.", "nixosConfigurations.\"web.lan\".");
    sandbox.write("flake.nix", text);
    sandbox.write(
        "recipients.toml",
        sandbox.read("recipients.toml").replace("[hosts.web]", "[hosts.web]\nconfiguration = \"web.lan\""),
    );
    for name in ["web", "web.lan"] {
        silent(scan(name).exits(10).prints("-sys:1:3: a GitHub token"), &secret);
    }
    scan("no host").exits(2).says("neither a host's name nor a path of the store");
}
