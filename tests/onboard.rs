//! Machines that join: over SSH, with a key that somebody vouches for and nothing else; and with a generated key, which
//! is installed before their first boot.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::harness::Sandbox;
use crate::harness::rig::{Rig, cannot_rig};
use crate::identity::on_terminal;

/// Prints what the real program prints on a freshly installed machine.
const GENERATE: &str = "#!/bin/sh
# Stands in for nixos-generate-config: the hosts of the rig are no NixOS.
[ \"$*\" = --show-hardware-config ] || exit 1
echo '# Do not modify this file!'
echo '{ lib, ... }:'
echo '{'
echo '  nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\";'
echo '}'
";

/// A fleet of one host, and these machines next to it; `None`, with a note, if that is not possible.
fn beside(test: &str, machines: &[&str]) -> Option<Rig> {
    (!cannot_rig(test)).then(|| Rig::beside(Sandbox::with_fleet(&["web"]), machines))
}

/// A machine's public key and its fingerprint.
fn key(rig: &Rig, machine: &str) -> (String, String) {
    let file = rig.disk(machine, "/etc/ssh/ssh_host_ed25519_key.pub");
    let print = rig.sandbox.tool("ssh-keygen", &["-lf", file.to_str().expect("UTF-8")]);
    let print = String::from_utf8(print).expect("UTF-8").split(' ').nth(1).expect("a fingerprint").to_owned();
    (rig.public_key(machine), print)
}

/// The state of the fleet as git sees it, with what is staged.
fn state(sandbox: &Sandbox) -> String {
    let status = String::from_utf8(sandbox.tool("git", &["status", "--porcelain", "-uall"])).expect("UTF-8");
    status + &sandbox.read("recipients.toml")
}

#[test]
fn a_key_file_is_read_as_openssh_reads_it() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let key = sandbox.ssh_key("db");
    let file = sandbox.path("db.pub");
    let add = |text: &str| {
        std::fs::write(&file, text).expect("written");
        sandbox.sealift(&["host", "add", "db", "--key-file", file.to_str().expect("UTF-8")])
    };
    for text in [
        format!("# my host\n\n{key}\n"),
        format!("{}\n", key.replacen(' ', "\t", 1)),
        format!("  {}  \r\n", key.replacen(' ', "   ", 1)),
    ] {
        add(&text).exits(0);
        assert!(sandbox.read("recipients.toml").contains(&format!("keys = [\"{key}\"]")), "{text}");
        sandbox.sealift(&["host", "rm", "db", "--yes"]).exits(0);
        sandbox.tool("git", &["checkout", "-q", "HEAD", "recipients.toml"]);
    }
    // Errors have file and line.
    add("# only a remark\n").exits(2).says("there is no public key in ").says("db.pub");
    add(&format!("# one\n{key}\nssh-ed25519 AAAA\n")).exits(2).says("db.pub:3: ");
}

#[test]
fn a_machine_joins_with_the_key_that_somebody_vouches_for() {
    let Some(hosts) = beside("onboarding over SSH", &["one"]) else { return };
    let sandbox = &hosts.sandbox;
    for file in ["hosts/web/default.nix", "home/common.nix", "modules/common.nix"] {
        sandbox.write(file, "{ }\n");
    }
    let everywhere = sandbox.seal("everywhere", &["--hosts", "*"]);
    sandbox.tool("git", &["add", "."]);
    hosts.install("one", "nixos-generate-config", GENERATE);
    hosts.install("one", "nixos-version", "#!/bin/sh\necho '25.11.20251101.abc (Xantusia)'\n");
    let (line, print) = key(&hosts, "one");
    let jay = sandbox.key("jay");
    let before = state(sandbox);
    let add = ["host", "add", "one", "--ssh", "jay@one", "--tag", "laptop", "--identity", &jay];

    // Nobody vouches: there is no terminal.
    hosts.sealift(&add).exits(7).says("is not confirmed").says(&print).says("--fingerprint SHA256:");
    let other = format!("SHA256:{}", "A".repeat(43));
    let wrong = hosts.sealift(&[&add[..], &["--fingerprint", &other]].concat());
    wrong.exits(7).says("another host key than the one given").says(&print).says(&other);
    assert_eq!(state(sandbox), before);
    assert!(!hosts.sshd_log("one").contains("Accepted"), "nobody has logged in: {}", hosts.sshd_log("one"));

    // The user's ssh configuration does not make an unknown key known.
    hosts.at_home(".ssh/config", "StrictHostKeyChecking no\nVerifyHostKeyDNS yes\nNoHostAuthenticationForLocalhost yes\nControlMaster auto\nControlPath /root/.ssh/mux-%h\nControlPersist 60\n");
    hosts.rig(&["deployer", "ssh", "-o", "BatchMode=yes", "jay@one", "true"]);
    hosts.at_home(".ssh/known_hosts", "");
    hosts.sealift(&add).exits(7).says("is not confirmed");
    // Another key in known_hosts is an error, not a question.
    hosts.at_home(".ssh/known_hosts", &format!("one,10.98.0.11 {}\n", sandbox.ssh_key("other")));
    hosts.sealift(&add).exits(7).says("another host key than your known_hosts says");
    assert_eq!(state(sandbox), before);

    hosts.sealift(&[&add[..], &["--fingerprint", &print]].concat()).exits(0).says("read them before you commit");
    let hardware = sandbox.read("hosts/one/hardware-configuration.nix");
    assert!(hardware.starts_with("# Do not modify this file!\n") && hardware.ends_with("}\n"), "{hardware}");
    let machine = sandbox.read("hosts/one/default.nix");
    for part in
        ["./hardware-configuration.nix", "../../modules/common.nix", "hostName = \"one\"", "stateVersion = \"25.11\""]
    {
        assert!(machine.contains(part), "{part} is not in {machine}");
    }
    assert!(sandbox.read("home/one.nix").contains("./common.nix"));
    let policy = sandbox.read("recipients.toml");
    for part in [line.as_str(), "address = \"jay@one\"", "tags = [\"laptop\"]"] {
        assert!(policy.contains(part), "{part} is not in {policy}");
    }
    let staged = String::from_utf8(sandbox.tool("git", &["diff", "--cached", "--name-only", "HEAD"])).expect("UTF-8");
    for file in ["hosts/one/default.nix", "hosts/one/hardware-configuration.nix", "home/one.nix", "recipients.toml"] {
        assert!(staged.lines().any(|line| line == file), "{file} is not staged: {staged}");
    }
    // What it may read is sealed to the key that it proved to have.
    let private = hosts.disk("one", "/etc/ssh/ssh_host_ed25519_key");
    let shown = sandbox.sealift(&["show", "everywhere", "--identity", private.to_str().expect("UTF-8")]).exits(0);
    assert_eq!(shown.stdout, everywhere.as_bytes());
    sandbox.sealift(&["check"]).exits(0);
    hosts.sealift(&add).exits(2).says("the host one is there already");
}

#[test]
fn what_known_hosts_knows_is_enough_and_what_is_there_stays() {
    let Some(hosts) = beside("onboarding by known_hosts", &["one", "two", "far"]) else { return };
    let sandbox = &hosts.sandbox;
    sandbox.write("hosts/one/default.nix", "{ mine = true; }\n");
    let jay = sandbox.key("jay");
    let (one, _) = key(&hosts, "one");
    let (two, print) = key(&hosts, "two");
    hosts.at_home(".ssh/known_hosts", &format!("one {one}\n[two]:2222 {two}\n"));
    let before = state(sandbox);

    // If its hardware cannot be detected, nothing is done.
    let add = |name: &str, address: &str, more: &[&str]| {
        let words = ["host", "add", name, "--ssh", address, "--identity", &jay];
        hosts.sealift(&[&words[..], more].concat())
    };
    add("one", "jay@one", &[]).exits(1).says("nixos-generate-config failed there").says("--no-hardware");
    hosts.install("one", "nixos-generate-config", "#!/bin/sh\nprintf '{ \\033[2K }'\n");
    add("one", "jay@one", &[]).exits(1).says("characters that are not shown");
    hosts.install("one", "nixos-generate-config", "#!/bin/sh\nyes\n");
    add("one", "jay@one", &[]).exits(1).says("more than 262144 bytes");
    assert_eq!(state(sandbox), before);
    hosts.install("one", "nixos-generate-config", GENERATE);
    add("one", "jay@one", &[]).exits(0).says("left as they are: hosts/one/default.nix");
    assert_eq!(sandbox.read("hosts/one/default.nix"), "{ mine = true; }\n");
    assert!(sandbox.read("hosts/one/hardware-configuration.nix").contains("hostPlatform"));

    // Reinstalled with another key: accepted with the fingerprint from its console, and its secrets are resealed.
    let secret = sandbox.seal("one-only", &["--hosts", "one"]);
    let place = hosts.disk("one", "/etc/ssh/ssh_host_ed25519_key");
    let private = place.to_str().expect("UTF-8");
    std::fs::remove_file(&place).expect("the former key is gone");
    sandbox.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "root@one", "-f", private]);
    hosts.rig(&["kill-sshd", "one"]);
    hosts.rig(&["sshd", "one"]);
    let rekey = |more: &[&str]| hosts.sealift(&[&["host", "rekey", "one", "--ssh", "--identity", &jay], more].concat());
    rekey(&[]).exits(7).says("another host key than your known_hosts says");
    rekey(&["--fingerprint", &key(&hosts, "one").1]).exits(0).says("one has its new key");
    let shown = sandbox.sealift(&["show", "one-only", "--identity", private]).exits(0);
    assert_eq!(shown.stdout, secret.as_bytes());
    // The jump host cannot resolve the other's name.
    let far = hosts.text("far/address");
    let far = far.trim();
    hosts.at_home(
        ".ssh/known_hosts",
        &format!("one {}\n[two]:2222 {two}\n{far} {}\n", key(&hosts, "one").0, key(&hosts, "far").0),
    );

    // Through a jump host in the user's ssh_config.
    let config = format!("Host behind\nHostName {far}\nProxyJump jay@one\n");
    hosts.at_home(".ssh/config", &config);
    add("far", "jay@behind", &["--no-hardware"]).exits(0);
    assert!(sandbox.read("recipients.toml").contains(&key(&hosts, "far").0));
    assert!(hosts.sshd_log("far").contains("Accepted publickey for jay from 10.98.0.11"), "{}", hosts.sshd_log("far"));

    // On another port; a key of the fleet cannot belong to another host.
    add("two", "ssh://jay@two:2222", &["--no-hardware", "--json"]).exits(0);
    assert!(!sandbox.fleet().join("hosts/two/hardware-configuration.nix").exists());
    assert!(sandbox.read("hosts/two/default.nix").contains("pathExists"));
    let before = state(sandbox);
    add("three", "jay@two", &["--no-hardware", "--fingerprint", &print]).exits(2).says("also the key of");
    add("four", "jay@nowhere", &[]).exits(7).says("does not resolve");
    add("four", "-oProxyCommand=touch /tmp/x", &[]).exits(2);
    assert_eq!(state(sandbox), before);
}

#[test]
fn a_person_at_the_terminal_may_vouch() {
    let Some(hosts) = beside("onboarding at a terminal", &["one"]) else { return };
    let sandbox = &hosts.sandbox;
    let (line, print) = key(&hosts, "one");
    // The program in a place that can reach the host.
    sandbox.write(
        "../there",
        format!(
            "#!/bin/sh\nexec env SEALIFT_RIG={} {}/tests/rig/rig deployer {} \"$@\"\n",
            sandbox.path("rig").display(),
            env!("CARGO_MANIFEST_DIR"),
            env!("CARGO_BIN_EXE_sealift")
        ),
    );
    let there = sandbox.path("there");
    std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let answer = |word: &str, code: i32| {
        let key = sandbox.key("jay");
        let words = "host add one --ssh jay@one --no-hardware --identity";
        let script = format!("spawn {} {words} {key}\nsays {{[y/N]}}\nsend \"{word}\\r\"\nends\n", there.display());
        on_terminal(sandbox, &script).prints(&print).prints(&format!("<{code}>"))
    };
    answer("n", 7).prints("is not confirmed");
    assert!(!sandbox.read("recipients.toml").contains("hosts.one"));
    answer("y", 0);
    assert!(sandbox.read("recipients.toml").contains(&line));
}

#[test]
fn a_made_key_is_for_the_admins_until_it_is_put_in_place() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let everywhere = sandbox.seal("everywhere", &["--hosts", "*"]);
    sandbox.write("hosts/web/default.nix", "{ }\n");
    let jay = sandbox.key("jay");
    let run = |words: &[&str]| sandbox.sealift(&[words, &["--identity", &jay]].concat());
    let before = state(&sandbox);
    // Without a key that opens what the machine should read, nothing is added.
    sandbox.sealift(&["host", "add", "newbox", "--generate"]).exits(5);
    assert_eq!(state(&sandbox), before);
    run(&["host", "add", "newbox", "--generate", "--tag", "laptop"]).exits(0).says("host provision newbox --root /mnt");
    assert!(sandbox.read("hosts/newbox/default.nix").contains("pathExists"));
    sandbox.sealift(&["who", "host-keys/newbox"]).exits(0).prints("reads jay (admin)\n");
    let text = sandbox.sealift(&["who", "host-keys/newbox"]).text();
    assert_eq!(text.lines().count(), 1, "the admins and nobody else: {text}");
    sandbox.sealift(&["check"]).exits(0);
    assert!(!sandbox.sealift(&["check"]).text().contains("host-keys"), "no warning about it either");
    run(&["host", "add", "newbox", "--generate"]).exits(2).says("is there already");

    let root = sandbox.path("mnt");
    std::fs::create_dir(&root).expect("a directory");
    sandbox.allow(&root);
    let shown = root.to_str().expect("UTF-8");
    let provision = |root: &str| run(&["host", "provision", "newbox", "--root", root]);
    provision(shown).exits(0).says("SHA256:");
    let private = root.join("etc/ssh/ssh_host_ed25519_key");
    let metadata = std::fs::metadata(&private).expect("the key");
    assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o600, 1));
    let public = std::fs::read_to_string(root.join("etc/ssh/ssh_host_ed25519_key.pub")).expect("its public half");
    assert!(sandbox.read("recipients.toml").contains(public.trim()), "{public}");
    // ssh-keygen accepts it, and it opens what the machine reads.
    let derived = sandbox.tool("ssh-keygen", &["-y", "-f", private.to_str().expect("UTF-8")]);
    assert_eq!(String::from_utf8(derived).expect("UTF-8").split(' ').nth(1), public.split(' ').nth(1));
    let read = sandbox.sealift(&["show", "everywhere", "--identity", private.to_str().expect("UTF-8")]).exits(0);
    assert_eq!(read.stdout, everywhere.as_bytes());
    provision(shown).exits(0).says("has its key already");
    // An installer without the fleet gets the key.
    let given = run(&["show", "host-keys/newbox"]).exits(0).stdout;
    let hand_over = |root: &std::path::Path, key: &[u8]| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift-host"));
        command.args(["provision", "--root"]).arg(root);
        sandbox.run(command, key)
    };
    hand_over(&root, &given).exits(0).says("has its key already");
    let other = sandbox.path("other");
    std::fs::create_dir(&other).expect("a directory");
    sandbox.allow(&other);
    hand_over(&other, b"no key").exits(8).says("not a private key");
    assert!(!other.join("etc").exists());
    hand_over(&other, &given).exits(0).says("SHA256:");
    assert_eq!(std::fs::read(other.join("etc/ssh/ssh_host_ed25519_key")).expect("the key"), given);
    hand_over(&sandbox.fleet(), &given).exits(2).says("lies in the repository");
    let listing: Vec<_> = std::fs::read_dir(root.join("etc/ssh")).expect("read").collect();
    assert_eq!(listing.len(), 2, "nothing else is left: {listing:?}");

    // It is removed with its machine.
    run(&["host", "rm", "newbox", "--yes"]).exits(0).says("removed host-keys/newbox");
    assert!(!sandbox.fleet().join("secrets/host-keys/newbox.age").exists());
    assert!(!sandbox.read("recipients.toml").contains("host-keys"));
}

#[test]
fn a_key_is_never_put_over_another_nor_where_git_or_a_link_leads() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let jay = sandbox.key("jay");
    let run = |words: &[&str]| sandbox.sealift(&[words, &["--identity", &jay]].concat());
    run(&["host", "add", "newbox", "--generate"]).exits(0);
    let provision =
        |root: &std::path::Path| run(&["host", "provision", "newbox", "--root", root.to_str().expect("UTF-8")]);
    let made = |name: &str| {
        let root = sandbox.path(name);
        std::fs::create_dir_all(root.join("etc/ssh")).expect("a directory");
        root
    };

    let taken = made("taken");
    sandbox.ssh_key("other");
    let private = taken.join("etc/ssh/ssh_host_ed25519_key");
    std::fs::copy(sandbox.key("other"), &private).expect("another key");
    let before = std::fs::read(&private).expect("read");
    provision(&taken).exits(1).says("another key (SHA256:").says("nothing was changed");
    assert_eq!(std::fs::read(&private).expect("read"), before);
    assert!(!taken.join("etc/ssh/ssh_host_ed25519_key.pub").exists());

    let half = made("half");
    std::fs::copy(format!("{}.pub", sandbox.key("other")), half.join("etc/ssh/ssh_host_ed25519_key.pub"))
        .expect("copied");
    provision(&half).exits(1).says("the public half of another key");
    assert!(!half.join("etc/ssh/ssh_host_ed25519_key").exists());

    // A symlink leads to a place that others can read.
    let linked = made("linked");
    let elsewhere = made("elsewhere");
    std::fs::remove_dir(linked.join("etc/ssh")).expect("removed");
    symlink(&elsewhere, linked.join("etc/ssh")).expect("a link");
    provision(&linked).exits(1);
    let dangling = made("dangling");
    symlink(elsewhere.join("key"), dangling.join("etc/ssh/ssh_host_ed25519_key")).expect("a link");
    provision(&dangling).exits(1);
    let found: Vec<_> = std::fs::read_dir(elsewhere.join("etc/ssh")).expect("read").collect();
    assert!(found.is_empty() && !elsewhere.join("key").exists(), "{found:?}");

    // Nor into the repository.
    let inside = sandbox.fleet().join("image");
    std::fs::create_dir(&inside).expect("a directory");
    provision(&inside).exits(2).says("lies in the repository");
    run(&["host", "provision", "web", "--root", taken.to_str().expect("UTF-8")])
        .exits(2)
        .says("no host key was generated");
    sandbox
        .sealift(&["host", "provision", "newbox", "--root", made("locked").to_str().expect("UTF-8")])
        .exits(5)
        .says("no usable identity");
}

#[test]
fn a_host_whose_name_is_no_label_is_added_under_the_one_derived_from_it() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("hosts/MyHost/default.nix", "{ }\n");
    sandbox.write("hosts/web/default.nix", "{ }\n");
    sandbox.sealift(&["init"]).exits(0).says("next: add the host: sealift host add MyHost --ssh MyHost");
    let add = |name: &str, more: &[&str]| {
        sandbox.ssh_key("new");
        let key = sandbox.path("keys/new.pub");
        let run = sandbox.sealift(&[&["host", "add", name, "--key-file", key.to_str().expect("UTF-8")], more].concat());
        for file in ["keys/new", "keys/new.pub"] {
            std::fs::remove_file(sandbox.path(file)).expect("removed");
        }
        run
    };
    for (name, label) in [("MyHost", "myhost"), ("my_host", "my-host"), ("web.example.org", "web-example-org")] {
        add(name, &[]).exits(0).says(&format!("added {label} to recipients.toml; in the flake it is {name}"));
        assert!(sandbox.read("recipients.toml").contains(&format!("configuration = \"{name}\"\n")));
    }
    sandbox.sealift(&["init"]).exits(0).says("the fleet is there already");
    add("db", &["--configuration", "DB_1"]).exits(0).says("added db to recipients.toml; in the flake it is DB_1");
    let json = add("Plain.1", &["--json"]).exits(0).json();
    assert_eq!((&json["host"], &json["configuration"]), (&json!("plain-1"), &json!("Plain.1")));
    assert!(add("plain", &["--configuration", "plain", "--json"]).exits(0).json().get("configuration").is_none());

    // A name that is taken, and invalid names.
    add("MY-HOST", &[]).exits(2).says("is my-host, and there is such a host").says("`--configuration MY-HOST`");
    add("MyHost", &[]).exits(2).says("the host myhost is there already");
    add("db-2", &["--configuration", "DB_1"]).exits(2).says("DB_1 is also what the host db is called");
    add("db-2", &["--configuration", "web"]).exits(2).says("web is also what the host web is called");
    add("DB_1.x", &["--configuration", "DB_2"]).exits(2).says("`--configuration DB_2`");
    add(&"x".repeat(64), &[]).exits(2).says("no name of a host can be derived");
    for bad in ["a\"b", "${x}", "../x", "a/b", "_x", "a b", "a\nb", "jay@web"] {
        add(bad, &[]).exits(2).says("not a host name");
        add("x", &["--configuration", bad]).exits(2).says("not a configuration name");
    }
    sandbox.sealift(&["host", "add", "--generate", "--", "-oProxyCommand=x"]).exits(2).says("not a host name");

    // Either name selects it, and files use the fleet's name.
    let seal =
        |hosts| sandbox.sealift(&["seal", "own", "--hosts", hosts, "--per-host", "--generate", "hex", "--replace"]);
    seal("DB_2").exits(2).says("--hosts: there is no host DB_2").says("did you mean db?");
    seal("DB_1").exits(0);
    seal("DB_1").exits(0);
    seal("web-example-org").exits(2).says("--hosts");
    assert!(sandbox.read("recipients.toml").contains("hosts = [\"db\"]\n"));
    sandbox.sealift(&["list", "--host", "DB_1"]).exits(0).prints("own/db");
    sandbox.sealift(&["who", "--host", "DB_1"]).exits(0).prints("reads own/db");
    for (word, host) in [("DB_1", "db"), ("db", "db"), ("DB_2", "db"), ("Plain.1", "plain-1")] {
        sandbox.sealift(&["who", word]).exits(2).says(&format!("`sealift who --host {host}`"));
    }
    sandbox.sealift(&["rekey", "--remove", "DB_1", "--yes"]).exits(2).says("db would lose no access");
    sandbox.sealift(&["rotate", "--exposed-to", "DB_2"]).exits(2).says("did you mean db?");
    sandbox.sealift(&["rotate", "--exposed-to", "DB_1"]).exits(0).prints("own/db: version 3");
    let manifest = sandbox.sealift(&["manifest", "DB_1"]).exits(0).json();
    assert_eq!((&manifest["host"], &manifest["secrets"][0]["sealed_as"]), (&json!("db"), &json!("own/db")));
    for verb in [&["deploy"][..], &["status"], &["generations"], &["rollback"], &["doctor"], &["host", "rm"]] {
        sandbox.sealift(&[verb, &["DB_2"]].concat()).exits(2).says("there is no host DB_2");
    }
    sandbox.sealift(&["deploy", "--canary", "db_1", "web"]).exits(2).says("did you mean db?");
    let listed = sandbox.sealift(&["host", "list", "--json"]).exits(0).json();
    assert_eq!((&listed["hosts"][0]["host"], &listed["hosts"][0]["configuration"]), (&json!("db"), &json!("DB_1")));
    sandbox.sealift(&["host", "list"]).exits(0).prints("db (DB_1)").prints("web-example-org (web.example.org)");
    sandbox.sealift(&["host", "rm", "DB_1", "--yes"]).exits(0).says("removed db");
    assert!(!sandbox.read("recipients.toml").contains("DB_1"));

    // The files of a new machine use the flake's name, with a host name without the domain.
    std::fs::create_dir(sandbox.fleet().join("home")).expect("a folder");
    let run = sandbox.sealift(&["host", "add", "new.example.org", "--generate"]).exits(0);
    run.says("wrote hosts/new.example.org/default.nix, home/new.example.org.nix");
    let machine = sandbox.read("hosts/new.example.org/default.nix");
    assert!(machine.contains("hostName = \"new\";\n  networking.domain = \"example.org\";\n"), "{machine}");
}
