//! git runs no program that its configuration names: every such key is planted, in one's own repository and in another
//! user's, and every verb that does not build is run there. Each planted program leaves a mark.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use sealift::adapters::git::traps::TRAPS;

use crate::harness::{Run, Sandbox, not_run};

/// Another user.
const OTHER: u32 = 12_345;

/// Verbs that do not call git.
const READS: [&[&str]; 7] = [
    &["admin", "list"],
    &["list"],
    &["who", "a"],
    &["host", "list"],
    &["status"],
    &["verify"],
    &["generations", "web"],
];

/// The planted value of keys where a program's path alone would never be used: `PROGRAM` is replaced by the path.
const VALUES: &[(&str, &str)] = &[
    ("commit.gpgSign", "true"),
    ("diff.guitool", "t"),
    ("diff.tool", "t"),
    ("filter.*.required", "true"),
    ("gc.auto", "1"),
    ("log.showSignature", "true"),
    ("maintenance.auto", "true"),
    ("man.viewer", "t"),
    ("merge.guitool", "t"),
    ("merge.tool", "t"),
    ("merge.verifySignatures", "true"),
    ("protocol.allow", "always"),
    ("protocol.*.allow", "always"),
    ("push.gpgSign", "true"),
    ("receive.procReceiveRefs", "refs"),
    ("submodule.*.update", "!PROGRAM"),
    ("submodule.recurse", "true"),
    ("tag.forceSignAnnotated", "true"),
    ("tag.gpgSign", "true"),
    ("alias.*", "!PROGRAM"),
];

/// Names for the star of a key, if other than `x` is needed. One has an equals sign, which `-c` does not accept.
fn named(key: &str) -> String {
    let name = match key {
        "filter.*.clean" => "c=d.e",
        "filter.*.process" => "p",
        "filter.*.smudge" => "s",
        "gpg.*.program" => "ssh",
        "protocol.*.allow" => "ext",
        "remote.*.uploadpack" | "remote.*.receivepack" => "origin",
        "alias.*" | "pager.*" => "status",
        "credential.*.helper" => "https://example.org",
        _ => "x",
    };
    key.replace('*', name)
}

/// How much of a trapped fleet is accepted.
enum Taken {
    Whole,
    /// The fleet is ours, but git refuses its repository.
    Fleet,
    /// All of it is another user's.
    Not,
}

struct Trapped {
    sandbox: Sandbox,
}

impl Trapped {
    /// A fleet in a repository with every trap.
    fn new() -> Self {
        let sandbox = Sandbox::with_fleet(&["web"]);
        let trapped = Self { sandbox };
        let sandbox = &trapped.sandbox;
        // Nobody answers there, which is detected at once.
        let policy = sandbox.read("recipients.toml");
        sandbox.write(
            "recipients.toml",
            policy.replace("[hosts.web]\n", "[hosts.web]\naddress = \"ssh://root@127.0.0.1:1\"\n"),
        );
        for name in ["a", "b"] {
            sandbox.seal(name, &["--hosts", "web"]);
        }
        sandbox.write("hosts/web/default.nix", "{ config, ... }: { services.k3s.token = \"not-a-real-token-1\"; }\n");
        let kim = sandbox.age_key("kim");
        let rules = format!("let kim = \"{kim}\"; in {{ \"token.age\".publicKeys = [ kim ]; }}\n");
        sandbox.write("nix/secrets.nix", rules);
        sandbox.write("plain", sandbox.value("token"));
        sandbox.tool("age", &["-r", &kim, "-o", "nix/token.age", "plain"]);
        std::fs::remove_file(sandbox.fleet().join("plain")).expect("removed");
        sandbox.ssh_key("db");
        sandbox.ssh_key("other");
        std::fs::write(sandbox.path("manifest.json"), sandbox.sealift(&["manifest", "web"]).exits(0).stdout)
            .expect("written");
        sandbox.write("notes.md", "notes\n");
        sandbox.write("old.txt", "one\n");
        sandbox.write(
            ".gitattributes",
            "*.nix filter=c=d.e diff=x merge=x\n*.age filter=p diff=x\n*.md filter=s diff=x\n*.inc filter=inc\n",
        );
        sandbox.write("brought.inc", "one\n");
        sandbox.tool("git", &["add", "."]);
        sandbox.tool("git", &["commit", "-q", "-m", "all"]);
        trapped.submodule();
        trapped.signed();
        // An object of the history that this clone lacks and would fetch from a promisor.
        sandbox.write("old.txt", "two\n");
        sandbox.tool("git", &["commit", "-q", "-am", "two"]);
        let lost = String::from_utf8(sandbox.tool("git", &["rev-parse", "HEAD~1:old.txt"])).expect("UTF-8");
        let (folder, file) = lost.trim().split_at(2);
        std::fs::remove_file(sandbox.fleet().join(".git/objects").join(folder).join(file)).expect("removed");
        for (key, value) in [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.url", "ssh://example.invalid/x"),
            ("remote.origin.promisor", "true"),
            ("gpg.ssh.allowedSignersFile", "/dev/null"),
        ] {
            sandbox.tool("git", &["config", key, value]);
        }
        for (key, _) in TRAPS {
            let program = trapped.program(key);
            let value = VALUES.iter().find(|(trap, _)| *trap == key).map_or("PROGRAM", |(_, value)| value);
            sandbox.tool("git", &["config", &named(key), &value.replace("PROGRAM", &program)]);
        }
        let hooks = sandbox.path("bin/hooks");
        std::fs::create_dir(&hooks).expect("a directory");
        for hook in ["post-index-change", "pre-commit", "reference-transaction", "post-checkout"] {
            std::fs::copy(trapped.program("core.hooksPath"), hooks.join(hook)).expect("a hook");
        }
        sandbox.tool("git", &["config", "core.hooksPath", hooks.to_str().expect("UTF-8")]);
        // An included file adds keys too.
        let included = format!("[filter \"inc\"]\n\tclean = {}\n", trapped.program("include.path"));
        std::fs::write(sandbox.path("included"), included).expect("written");
        sandbox.tool("git", &["config", "include.path", sandbox.path("included").to_str().expect("UTF-8")]);
        // Files that differ from the index must be compared.
        for name in ["hosts/web/default.nix", "notes.md", "secrets/a.age", "brought.inc"] {
            let text = std::fs::read(sandbox.fleet().join(name)).expect("read");
            std::fs::remove_file(sandbox.fleet().join(name)).expect("removed");
            sandbox.write(name, text);
        }
        sandbox.write("notes.md", "other\n");
        sandbox.write("old.txt", "three\n");
        trapped.forget();
        trapped
    }

    /// A program that leaves the mark of this key.
    fn program(&self, key: &str) -> String {
        let name = key.replace(['*', '.'], "_");
        let (bin, marks) = (self.sandbox.path("bin"), self.sandbox.path("marks"));
        for folder in [&bin, &marks] {
            std::fs::create_dir_all(folder).expect("a directory");
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("for everybody");
        }
        let path = bin.join(&name);
        std::fs::write(&path, format!("#!/bin/sh\ntouch '{}/{name}'\n", marks.display())).expect("a program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Creates a repository in this one, with its own traps.
    fn submodule(&self) {
        let sandbox = &self.sandbox;
        sandbox.tool("git", &["init", "-q", "inner"]);
        sandbox.write("inner/a", "one\n");
        sandbox.write("inner/.gitattributes", "a filter=inner\n");
        sandbox.tool("git", &["-C", "inner", "add", "."]);
        sandbox.tool("git", &["-C", "inner", "commit", "-q", "-m", "inner"]);
        sandbox.tool("git", &["add", "inner"]);
        sandbox.tool("git", &["commit", "-q", "-m", "a submodule"]);
        for key in ["filter.inner.clean", "core.fsmonitor"] {
            sandbox.tool("git", &["-C", "inner", "config", key, &self.program(&format!("inner.{key}"))]);
        }
        sandbox.write("inner/a", "two\n");
    }

    /// Creates a commit that claims to be signed.
    fn signed(&self) {
        let sandbox = &self.sandbox;
        let commit = String::from_utf8(sandbox.tool("git", &["cat-file", "commit", "HEAD"])).expect("UTF-8");
        let signature = "gpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lHAAAAAQ==\n -----END SSH SIGNATURE-----\n\n";
        let commit = commit.replacen("\n\n", &format!("\n{signature}"), 1);
        let mut command = sandbox.command("git");
        command.args(["hash-object", "-t", "commit", "-w", "--stdin"]);
        let made = sandbox.run(command, commit.as_bytes()).exits(0).text();
        sandbox.tool("git", &["update-ref", "HEAD", made.trim()]);
    }

    fn marks(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.sandbox.path("marks")).expect("listed");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    fn forget(&self) {
        for mark in self.marks() {
            std::fs::remove_file(self.sandbox.path("marks").join(mark)).expect("removed");
        }
    }

    fn sealift(&self, arguments: &[&str]) -> Run {
        let mut command = self.sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(arguments).env("EDITOR", "sed -i s/canary/changed-canary/");
        let run = self.sandbox.run(command, b"");
        assert_eq!(self.marks(), BTreeSet::new(), "sealift {arguments:?} ran it: {}", run.stderr);
        run
    }

    /// Runs every verb that does not build. Each must end as without traps, or, if git refuses the repository or the
    /// fleet is another user's, as it does then. `doctor` is its exit code, since it may report a foreign repository.
    fn every_verb(&self, taken: &Taken, doctor: i32) {
        let key = self.sandbox.key("jay");
        let root = self.sandbox.path("root");
        std::fs::create_dir_all(&root).expect("a directory");
        let root = root.to_str().expect("UTF-8");
        let manifest = self.sandbox.path("manifest.json");
        let manifest = manifest.to_str().expect("UTF-8");
        let public = |name: &str| format!("{}.pub", self.sandbox.key(name));
        let (db, other) = (public("db"), public("other"));
        let rules = ["--rules", "nix/secrets.nix", "--admin", "kim", "--yes"];
        // The arguments, and the exit codes if the repository is accepted and if it is refused.
        let calls: &[(&[&str], i32, i32)] = &[
            (&["install", "--check", manifest], 0, 0),
            (&["check"], 0, 1),
            (&["check", "--history", "--against", "HEAD"], 0, 1),
            (&["doctor"], doctor, doctor),
            (&["doctor", "--fix"], doctor, doctor),
            (&["scan"], 10, 1),
            (&["scan", "--staged"], 0, 1),
            (&["scan", "--history"], 10, 1),
            (&["scan", "--values", "-i", &key], 10, 1),
            (&["scan", "--write-index", "-i", &key], 0, 1),
            // git says that the hooks are elsewhere.
            (&["hook", "install"], 1, 1),
            (&["hook", "remove"], 1, 1),
            (&["init"], 0, 1),
            (&["init", "--from", "hosts", "--host", "web"], 0, 1),
            (&[&["import", "agenix"][..], &rules].concat(), 0, 1),
            (&["identity", "show", "-i", &key], 0, 0),
            (&["identity", "new", "--admin", "ana", "--file", "ana.key", "--plain"], 0, 1),
            (&["identity", "import", &key], 0, 0),
            (&["identity", "forget", "--yes"], 1, 1),
            (&["list"], 0, 0),
            (&["who", "a"], 0, 0),
            (&["show", "a", "-i", &key], 0, 0),
            (&["seal", "c", "--hosts", "web", "--generate", "hex"], 0, 1),
            (&["edit", "a", "-i", &key], 0, 1),
            (&["adopt", "hosts/web/default.nix:1", "--yes"], 0, 1),
            (&["rekey", "-i", &key], 4, 1),
            (&["admin", "list"], 0, 0),
            (&["admin", "rm", "ana", "--yes", "-i", &key], 4, 1),
            (&["mv", "b", "d", "-i", &key], 0, 1),
            (&["rotate", "c"], 0, 1),
            (&["rm", "c", "--yes"], 0, 1),
            (&["host", "list"], 0, 0),
            (&["host", "add", "db", "--key-file", &db, "-i", &key], 0, 1),
            (&["host", "add", "box", "--generate", "-i", &key], 0, 1),
            (&["host", "provision", "box", "--root", root, "-i", &key], 0, 2),
            (&["host", "rekey", "db", "--key-file", &other, "-i", &key], 0, 2),
            (&["host", "rm", "db", "--yes", "-i", &key], 0, 2),
            (&["status"], 7, 7),
            (&["status", "--progress"], 4, 1),
            (&["cleanup", "--yes"], 7, 1),
            (&["verify", "--root", root], 0, 7),
            (&["rollback", "--root", root], 1, 1),
            (&["generations", "--root", root], 0, 0),
            (&["manifest", "web"], 0, 0),
            (&["completions", "bash"], 0, 0),
            (&["man"], 0, 0),
            (&["schema"], 0, 0),
        ];
        // Each verb has a help page, and subverbs have one named after both words.
        let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help")).expect("help pages");
        let pages = pages.map(|page| page.expect("a page").file_name().into_string().expect("UTF-8"));
        let groups = ["admin", "hook", "host", "identity"];
        let verb = |page: String| -> Option<String> {
            let name = page.strip_suffix(".txt")?.strip_prefix("sealift-")?.to_owned();
            let below =
                groups.iter().find_map(|group| Some(format!("{group} {}", name.strip_prefix(&format!("{group}-"))?)));
            Some(below.unwrap_or(name)).filter(|name| !groups.contains(&name.as_str()))
        };
        let verbs: BTreeSet<String> = pages.filter_map(verb).collect();
        let deep = |words: &[&str]| if groups.contains(&words[0]) { 2 } else { 1 };
        let run = calls.iter().map(|(words, ..)| words[..deep(words)].join(" "));
        // These build, and thus run what the flake says.
        let builds = ["deploy", "plan", "apply"].map(str::to_owned);
        assert_eq!(verbs, run.chain(builds).collect(), "a verb is not run here");
        let mut others = Vec::new();
        let reads = |words: &[&str]| {
            matches!(
                words,
                ["list" | "who" | "show" | "status" | "verify" | "manifest", ..]
                    | ["admin", "list", ..]
                    | ["host", "list" | "provision" | "rekey" | "rm", ..]
                    | ["identity", "import", ..]
            )
        };
        for (words, well, then) in calls {
            let code = match taken {
                Taken::Whole => *well,
                Taken::Not if reads(words) => 1,
                Taken::Fleet | Taken::Not => *then,
            };
            let run = self.sealift(words);
            if run.code != code {
                others.push(format!("{} ends with {}, not {code}: {}", words.join(" "), run.code, run.stderr));
            }
        }
        assert!(others.is_empty(), "{others:#?}");
        if matches!(taken, Taken::Whole) {
            self.sandbox.tool("git", &["config", "--unset", "core.hooksPath"]);
            self.sealift(&["hook", "install"]).exits(0);
            self.sealift(&["hook", "remove"]).exits(0);
        }
    }
}

fn give(place: &Path, to: u32) {
    chown(place, Some(to), Some(to)).expect("given away");
    if place.symlink_metadata().expect("there").is_dir() {
        for entry in std::fs::read_dir(place).expect("listed") {
            give(&entry.expect("an entry").path(), to);
        }
    }
}

fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        not_run(what, "this is not root, who alone can give files away");
    }
    root
}

#[test]
fn the_table_has_every_key_of_this_git_that_names_a_program() {
    let sandbox = Sandbox::new();
    let listed = String::from_utf8(sandbox.tool("git", &["help", "--config"])).expect("UTF-8");
    let ends = [
        "program",
        "command",
        "cmd",
        "hook",
        "editor",
        "pager",
        "helper",
        "driver",
        "clean",
        "smudge",
        "process",
        "textconv",
        "askpass",
        "gitproxy",
        "external",
        "uploadpack",
        "receivepack",
        "vcs",
        "fsmonitor",
        "viewer",
        "browser",
        "tunnel",
        "httpd",
        "tool",
        "difffilter",
        "hookspath",
        "smtpserver",
        "signature",
        "signatures",
        "gpgsign",
        "annotated",
        "procreceiverefs",
    ];
    // Message and colour settings, a cache, a file, a name; and settings of commands with that name only.
    let harmless = [
        "advice.ignoredHook",
        "advice.submodulesNotUpdated",
        "advice.waitingForEditor",
        "color.pager",
        "column.clean",
        "color.status.updated",
        "diff.<driver>.cachetextconv",
        "format.signature",
        "gitcvs.dbDriver",
        "notes.rewrite.<command>",
        "rerere.autoUpdate",
    ];
    let table: BTreeSet<String> = TRAPS.iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
    let mut missing = Vec::new();
    for key in listed.lines().filter(|key| key.contains('.') && !harmless.contains(key)) {
        let lower = key.to_ascii_lowercase();
        let starred = match (lower.find('<'), lower.find('>')) {
            (Some(start), Some(end)) => format!("{}*{}", &lower[..start], &lower[end + 1..]),
            _ => lower.clone(),
        };
        let last = lower.rsplit('.').next().unwrap_or_default();
        if ends.iter().any(|end| last.ends_with(end)) && !table.contains(&starred) {
            missing.push(key.to_owned());
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_traps_are_real() {
    let trapped = Trapped::new();
    let lost = String::from_utf8(trapped.sandbox.tool("git", &["rev-parse", "HEAD~1:old.txt"])).expect("UTF-8");
    // A filter that exits at once may end git with it: check the others without it.
    let without = "filter.p.process=";
    for arguments in [
        &["status"][..],
        &["-c", without, "status"],
        &["-c", without, "diff", "--", "old.txt"],
        &["-c", without, "diff", "--", "notes.md"],
        &["log", "-1", "HEAD~1"],
        &["tag", "--no-sign", "x"],
        &["cat-file", "-e", lost.trim()],
    ] {
        let mut command = trapped.sandbox.command("git");
        command.args(arguments);
        trapped.sandbox.run(command, b"");
    }
    let marks = trapped.marks();
    for mark in [
        "core_fsmonitor",
        "core_hooksPath",
        "core_sshCommand",
        "diff___command",
        "diff_external",
        "filter___clean",
        "filter___process",
        "gpg___program",
        "include_path",
        "inner_core_fsmonitor",
        "inner_filter_inner_clean",
    ] {
        assert!(marks.contains(mark), "{mark} is no trap: {marks:?}");
    }
}

#[test]
fn in_a_repository_of_ones_own_no_verb_runs_a_planted_program() {
    let trapped = Trapped::new();
    trapped.sealift(&["check"]).exits(0);
    trapped.every_verb(&Taken::Whole, 0);
}

#[test]
fn a_repository_of_somebody_else_is_refused_as_git_refuses_it() {
    if !is_root("a_repository_of_somebody_else_is_refused") {
        return;
    }
    let trapped = Trapped::new();
    give(&trapped.sandbox.fleet(), OTHER);
    trapped.sealift(&["check"]).exits(1).says("dubious ownership").says("config --global --add safe.directory");
    trapped.sealift(&["doctor"]).exits(3).prints("it belongs to user 12345");
    for verb in READS {
        trapped.sealift(verb).exits(1).says("dubious ownership");
    }
    trapped.every_verb(&Taken::Not, 3);
    // Each part counts.
    for part in ["", ".git"] {
        give(&trapped.sandbox.fleet(), 0);
        chown(trapped.sandbox.fleet().join(part), Some(OTHER), None).expect("given away");
        trapped.sealift(&["check"]).exits(1).says("dubious ownership");
    }
}

#[test]
fn one_that_git_is_told_to_trust_is_taken_and_runs_nothing() {
    if !is_root("one_that_git_is_told_to_trust") {
        return;
    }
    let trapped = Trapped::new();
    give(&trapped.sandbox.fleet(), OTHER);
    let fleet = trapped.sandbox.fleet();
    trapped.sandbox.tool("git", &["config", "--global", "safe.directory", fleet.to_str().expect("UTF-8")]);
    trapped.sealift(&["check"]).exits(0);
    trapped.every_verb(&Taken::Whole, 3);
}

#[test]
fn a_fleet_that_somebody_planted_above_is_not_used() {
    if !is_root("a_fleet_that_somebody_planted_above") {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    let (shared, mine) = (sandbox.path("shared"), sandbox.path("shared/mine"));
    std::fs::create_dir_all(&mine).expect("a directory");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).expect("for everybody");
    let policy = sandbox.read("recipients.toml");
    let policy = policy.replace("[hosts.web]\n", "[hosts.web]\naddress = \"ssh://root@127.0.0.1:1\"\n");
    std::fs::write(shared.join("recipients.toml"), policy).expect("written");
    let run = |words: &[&str]| {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(words).current_dir(&mine);
        sandbox.run(command, b"")
    };
    let offered = || {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(["--", "sealift", "deploy", ""]).env("SEALIFT_COMPLETE", "bash").current_dir(&mine);
        sandbox.run(command, b"").text()
    };
    // Our own fleet is used, even if others may write next to it.
    run(&["list"]).exits(0);
    assert!(offered().contains("web"));
    chown(shared.join("recipients.toml"), Some(OTHER), None).expect("given away");
    for verb in READS {
        run(verb).exits(1).says("belongs to user 12345");
    }
    assert!(!offered().contains("web"));
}

#[test]
fn a_repository_that_somebody_planted_above_is_not_used() {
    if !is_root("a_repository_that_somebody_planted_above") {
        return;
    }
    let trapped = Trapped::new();
    // The fleet is a folder of ours in a world-writable place.
    let top = trapped.sandbox.path("shared");
    std::fs::create_dir(&top).expect("a directory");
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o1777)).expect("for everybody");
    std::fs::rename(trapped.sandbox.fleet().join(".git"), top.join(".git")).expect("moved");
    give(&top.join(".git"), OTHER);
    std::fs::rename(trapped.sandbox.fleet(), top.join("fleet")).expect("moved");
    std::os::unix::fs::symlink(top.join("fleet"), trapped.sandbox.fleet()).expect("a link");
    trapped.sealift(&["check"]).exits(1).says("dubious ownership");
    trapped.every_verb(&Taken::Fleet, 3);
    // A broken repository is not skipped for the one above it.
    std::fs::create_dir_all(top.join("fleet/.git")).expect("a directory");
    std::fs::write(top.join("fleet/.git/HEAD"), "ref: refs/heads/main\n").expect("written");
    give(&top.join(".git"), 0);
    trapped.sealift(&["check"]).exits(1).says("not a git repository");
}
