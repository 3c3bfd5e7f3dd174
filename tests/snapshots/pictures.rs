//! The pictures of the documents: terminal output of real runs, as SVG with real text.

use std::path::Path;
use std::process::Command;

use snapbox::Data;
use snapbox::data::DataFormat;

use super::screen::{COLUMNS, screen};
use super::{folder, is_as_in};
use crate::harness::Sandbox;
use crate::harness::rig::Rig;
use crate::remote::wrong::{failing, journal};

/// Wide enough for the longest path.
const WIDE: usize = 8192;

/// Wraps a line as sealift does.
fn folded(line: &str) -> String {
    let (mut shown, mut column) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let width = word.trim_end().chars().count();
        // Escape sequences have no width, and lines with one are never long.
        if column + width > COLUMNS && !line.contains('\u{1b}') {
            shown.truncate(shown.trim_end().len());
            shown += "\n  ";
            column = 2;
        }
        shown += word;
        column += word.chars().count();
    }
    shown + "\n"
}

/// Types lines into a shell and returns the resulting screen. `command` makes a command in the fleet. Every question is
/// answered with no, and every passphrase prompt with the same passphrase.
fn typed(lines: &[&str], sandbox: &Sandbox, command: impl Fn(&str) -> Command) -> String {
    typed_at(COLUMNS, lines, sandbox, command)
}

/// Like `typed`, in a terminal of this width.
fn typed_at(columns: usize, lines: &[&str], sandbox: &Sandbox, command: impl Fn(&str) -> Command) -> String {
    let mut shown = String::new();
    for line in lines {
        let mut expect = command("expect");
        let script = format!(
            "set timeout 300\nset stty_init {{rows 60 cols {columns}}}\nspawn -noecho sh -c {{{line}}}\n\
             expect {{\n -ex {{[y/N]}} {{ send \"n\\r\"; exp_continue }}\n \
             -re {{(New passphrase for|Repeat it)[^\n]*: $}} {{ send \"horse battery\\r\"; exp_continue }}\n timeout {{ exit 1 }}\n eof\n}}"
        );
        expect.args(["-c", &script]).env("TERM", "xterm-256color").env("SEALIFT_PAGER", "");
        let program = Path::new(env!("CARGO_BIN_EXE_sealift")).parent().expect("a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        expect.env("PATH", format!("{program}:{path}"));
        let run = sandbox.run(expect, b"");
        sandbox.remember(&run);
        let printed = run.exits(0).text();
        // The picture ends with the question. Store path hashes are those of this build of sealift.
        let printed = without_hashes(printed.split_inclusive("[y/N]").next().unwrap_or_default());
        shown += &format!("\u{1b}[1m$ {line}\u{1b}[0m\n{}\n", screen(&printed, columns).trim_end());
    }
    shown
}

/// Replaces the hashes of store paths and the sizes with an ellipsis: those of sealed files differ between runs.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split("/nix/store/");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| text + "/nix/store/…" + part.get(32..).unwrap_or(part));
    let mut short = text.split("…-nixos-system").peekable();
    let mut shown = String::new();
    while let Some(part) = short.next() {
        // The text before it is the start of a hash, as a plan shows it.
        let hash = if short.peek().is_some() { 8 } else { 0 };
        shown += part.get(..part.len().saturating_sub(hash)).unwrap_or(part);
        shown += if short.peek().is_some() { "…-nixos-system" } else { "" };
    }
    shown
        .split_inclusive('\n')
        .map(|line| if line.contains("closure") { without_sizes(line) } else { line.to_owned() })
        .collect()
}

fn without_sizes(line: &str) -> String {
    let (mut rest, mut text) = (line, String::new());
    let sized = |rest: &str| [" B", " KiB", " MiB"].into_iter().filter_map(|unit| Some((rest.find(unit)?, unit))).min();
    while let Some((at, unit)) = sized(rest) {
        let before = rest[..at].trim_end_matches(|c: char| c.is_ascii_digit() || ".+-".contains(c));
        text += before;
        text += if before.len() < at { "…" } else { unit };
        rest = &rest[at + unit.len()..];
    }
    text + rest
}

/// Compares a picture with its file. `title` is the text for screen readers.
#[track_caller]
fn is_in_picture(name: &str, page: &str, title: &str, shown: &str) {
    let shown = shown.trim_end();
    let svg = Data::text(shown).coerce_to(DataFormat::TermSvg).to_string();
    let (head, rest) = svg.split_once("px\" xmlns").expect("an svg");
    let (width, height) =
        head.strip_prefix("<svg width=\"").expect("a width").split_once("px\" height=\"").expect("a height");
    // With a viewBox it scales down where there is less space.
    let svg = format!("{head}px\" viewBox=\"0 0 {width} {height}\" role=\"img\" xmlns{rest}");
    let (tag, rest) = svg.split_once('\n').expect("a tag");
    is_as_in(&folder("docs/pictures").join(name), &format!("{tag}\n  <title>{title}</title>\n{rest}"));
    let text = std::fs::read_to_string(folder(page)).expect("the page");
    let folder = if page.starts_with("docs/") { "pictures" } else { "docs/pictures" };
    assert!(text.contains(&format!("![{title}]({folder}/{name})")), "{page} has no picture {name}: {title}");
}

#[test]
fn who_reads_what() {
    let sandbox = Sandbox::with_fleet(&["web@web", "db", "ci@runner", "laptop"]);
    let backup = sandbox.age_key("backup");
    let policy = sandbox.read("recipients.toml").replace("[admins]\n", &format!("[admins]\nbackup = [\"{backup}\"]\n"));
    sandbox.write("recipients.toml", policy);
    for (name, hosts) in [
        ("acme-dns-key", "web"),
        ("backup-password", "web,db"),
        ("db-password", "db,web"),
        ("gitea-runner-token", "@runner"),
        ("wifi", "laptop"),
    ] {
        sandbox.seal(name, &["--hosts", hosts]);
    }
    let shown = typed(&["sealift list --matrix", "sealift check"], &sandbox, |program| sandbox.command(program));
    is_in_picture(
        "matrix.svg",
        "README.md",
        "The secrets of a fleet, which hosts read each, and the proof that the files say the same",
        &shown,
    );
}

#[test]
fn a_first_key_and_a_first_secret() {
    let sandbox = Sandbox::with_fleet(&["laptop"]);
    let policy = sandbox.read("recipients.toml");
    let hosts = policy.find("[hosts").expect("hosts");
    sandbox.write("recipients.toml", format!("version = 1\n\n{}", &policy[hosts..]));
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "no admin yet"]);
    let lines = [
        "sealift identity new --admin jay",
        "sealift seal wifi --hosts laptop --generate password",
        "git status --short",
    ];
    // Where lines with the home's path wrap depends on its length, so they are wrapped after it is shortened.
    let shown = typed_at(WIDE, &lines, &sandbox, |program| sandbox.command(program));
    let home = sandbox.path("home").display().to_string();
    let user = rustix::process::geteuid().as_raw();
    let policy = sandbox.read("recipients.toml");
    let key = policy.split('"').find(|text| text.starts_with("age1")).expect("a key");
    let shown = shown.replace(&home, "~").replace(key, "age1…").replace(&format!("/run/user/{user}/"), "/run/user/0/");
    let shown: String = shown.lines().map(folded).collect();
    is_in_picture(
        "first.svg",
        "docs/quick-start.md",
        "Without a keyring the first key goes into a file behind a passphrase, and what a secret changed is staged",
        &shown.replace("/run/user/0/", "/run/user/1000/"),
    );
}

#[test]
fn what_scan_finds() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    // Generated here, so that secret scanners find no token in this file.
    let token: String = sandbox.canary.chars().rev().filter(char::is_ascii_alphanumeric).cycle().take(36).collect();
    sandbox.write(
        "hosts/web/default.nix",
        format!("{{\n  services.gitea-actions-runner.instances.main = {{\n    enable = true;\n    token = \"ghp_{token}\";\n  }};\n}}\n"),
    );
    sandbox.tool("git", &["add", "."]);
    let shown = typed(&["sealift scan"], &sandbox, |program| sandbox.command(program));
    assert!(!shown.contains(&token[..8]), "a picture shows the token");
    is_in_picture("scan.svg", "README.md", "A token in a Nix file is found, with the command that seals it", &shown);
}

#[test]
fn nix_what_a_deploy_would_do() {
    let Some(rig) = Rig::try_deployed("pictures: a deploy", &["web", "db"]) else { return };
    for host in ["web", "db"] {
        rig.system(host, "{ etc.motd = \"\"; }");
    }
    rig.commit();
    rig.sealift(&["deploy", "--all", "--yes"]).exits(0);
    rig.change(&["web", "db"]);
    rig.seal("db-password", "new", &["--hosts", "db"]);
    // More than ciphertext lengths vary, which are random: the closures grow.
    let text = "x".repeat(4096);
    for host in ["web", "db"] {
        rig.system(host, &format!("{{ kernel = \"6.13\"; etc.motd = \"{text}\"; }}"));
    }
    rig.commit();
    // Build now, so that the picture does not show the build.
    rig.sealift(&["plan", "--all"]).exits(0);
    let shown = typed(&["sealift deploy --all"], &rig.sandbox, |program| rig.command(program));
    is_in_picture("deploy.svg", "README.md", "What a deploy would change on two hosts, before it asks", &shown);
}

#[test]
fn what_waits_and_who_reads_too_little() {
    let sandbox = Sandbox::with_fleet(&["web@web", "db", "laptop"]);
    let backup = sandbox.age_key("backup");
    let policy = sandbox.read("recipients.toml").replace("[admins]\n", &format!("[admins]\nbackup = [\"{backup}\"]\n"));
    sandbox.write("recipients.toml", policy);
    let of = |text| ["--description", text];
    for (name, more) in [
        ("acme-dns-key", [&["--hosts", "web"][..], &of("The zone of example.org")].concat()),
        ("backup-password", [&["--hosts", "web,db,laptop"][..], &of("restic, on all three")].concat()),
        ("db-password", [&["--hosts", "db"][..], &of("Of gitea's own user")].concat()),
        ("gitea-runner-token", [&["--hosts", "web", "--expires", "2099-11-30"][..], &of("Made in the forge")].concat()),
        ("vpn-key", [&["--hosts", "laptop", "--expires", "2098-01-31"][..], &of("Renewed once a year")].concat()),
    ] {
        sandbox.seal(name, &more);
    }
    // A machine that was given access without a `rekey`, and an expired value.
    let policy = sandbox.read("recipients.toml").replace("2098-01-31", "2024-01-31");
    sandbox.write("recipients.toml", policy.replace("hosts = [\"web\"]", "hosts = [\"web\", \"laptop\"]"));
    let shown = typed_at(80, &["sealift list", "sealift check", "sealift rekey --dry-run"], &sandbox, |program| {
        sandbox.command(program)
    });
    is_in_picture(
        "list.svg",
        "docs/commands.md",
        "The secrets, which of them have expired, who cannot read what they should, and what rekey would do",
        &shown,
    );
}

#[test]
fn nix_how_a_deploy_that_fails_ends() {
    let Some(rig) = Rig::try_deployed("pictures: a deploy that fails", &["web"]) else { return };
    rig.change(&["web"]);
    journal(
        &rig,
        "web",
        "bind to 0.0.0.0:80: Address already in use\nasked-for.service: Main process exited, status=1",
    );
    failing(&rig, "web", &["asked-for.service"]);
    rig.fail("web", "test 4");
    // Copy now: the order of copies in the picture would vary.
    rig.sealift(&["deploy", "web", "--action", "dry-activate"]).exits(0);
    let shown = typed(&["sealift deploy web --yes"], &rig.sandbox, |program| rig.command(program));
    is_in_picture(
        "failed.svg",
        "docs/deploy.md",
        "A unit fails, the previous system and its secrets come back, and the last lines of its journal say why",
        &shown,
    );
    rig.on("web", &["rm", "/usr/bin/journalctl", "/tmp/program"]);
}

#[test]
fn nix_what_is_done_on_each_host_now() {
    let Some(rig) = Rig::try_deployed("pictures: a deploy at work", &["db", "web"]) else { return };
    rig.change(&["db", "web"]);
    rig.sealift(&["plan", "--all"]).exits(0);
    rig.sealift(&["deploy", "--all", "--action", "dry-activate"]).exits(0);
    rig.fail("db", "test hang");
    let (line, log) = ("sealift deploy --all --yes", rig.sandbox.path("tmp/drawn"));
    let script = format!(
        "set timeout 300\nset stty_init {{rows 60 cols {COLUMNS}}}\nlog_user 0\nlog_file -a -noappend {{{}}}\n\
         spawn -noecho {line}\nexpect eof",
        log.display()
    );
    let mut expect = rig.command("expect");
    let program = Path::new(env!("CARGO_BIN_EXE_sealift")).parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    expect.args(["-c", &script]).env("TERM", "xterm-256color").env("PATH", format!("{program}:{path}"));
    let mut deploying = expect.stdin(std::process::Stdio::null()).spawn().expect("it starts");
    let drawn = || screen(&String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()), COLUMNS);
    rig.wait_until_it_hangs("db");
    // One host is done, the other still at work.
    let is_drawn = |text: &str| ["activating the configuration", " done"].iter().all(|step| text.contains(step));
    let shown = std::cell::RefCell::new(String::new());
    // The checked screen is the one in the picture, because it is redrawn all the time.
    rig.wait_until("the lines of the hosts", || {
        shown.replace(drawn());
        is_drawn(&shown.borrow())
    });
    let shown = without_clocks(&without_hashes(&shown.take()));
    rig.go_on("db");
    assert!(deploying.wait().expect("it ends").success());
    is_in_picture(
        "progress.svg",
        "docs/deploy.md",
        "A deploy to two hosts at work: each has a line that says what is done there now",
        &format!("\u{1b}[1m$ {line}\u{1b}[0m\n{shown}"),
    );
}

/// Replaces the spinner and the time in lines of hosts, which vary.
fn without_clocks(text: &str) -> String {
    let line = |line: &str| {
        let (Some(first), Some(message)) = (line.chars().next(), line.char_indices().nth(23)) else {
            return line.to_owned();
        };
        if !('\u{2800}'..='\u{28ff}').contains(&first) {
            return line.to_owned();
        }
        let host: String = line.chars().skip(1).take(17).collect();
        format!("⠙{host}   4s{}", &line[message.0..])
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn nix_what_runs_and_what_was_never_deployed() {
    let Some(rig) = Rig::try_up("pictures: status", &["db", "mail", "web"]) else { return };
    rig.sealift(&["deploy", "db", "web", "--yes"]).exits(0);
    let commit = String::from_utf8(rig.sandbox.tool("git", &["rev-parse", "--short=7", "HEAD"])).expect("UTF-8");
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let newer = String::from_utf8(rig.sandbox.tool("git", &["rev-parse", "--short=7", "HEAD"])).expect("UTF-8");
    let shown = typed(&["sealift status"], &rig.sandbox, |program| rig.command(program));
    let shown = shown.replace(commit.trim(), "1d6f0a2").replace(newer.trim(), "8c41e7b");
    is_in_picture(
        "status.svg",
        "docs/deploy.md",
        "The fleet at a glance: a host that is up to date, one that is behind, and one that was never deployed",
        &shown
            .lines()
            .map(|line| line.replace(deployed(line), "just now, done by jay@desk") + "\n")
            .collect::<String>(),
    );
}

/// The part of a line of `status` about the last deploy: when, and by which user of this machine.
fn deployed(line: &str) -> &str {
    let Some(end) = line.find(", done by ") else { return "\n" };
    let from = line[..end].rfind("  ").map_or(0, |at| at + 2);
    &line[from..]
}

#[test]
fn nix_what_there_is_to_go_back_to() {
    let Some(rig) = Rig::try_deployed("pictures: generations", &["web"]) else { return };
    rig.change(&["web"]);
    rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let shown = typed(&["sealift generations web"], &rig.sandbox, |program| rig.command(program));
    is_in_picture(
        "generations.svg",
        "docs/deploy.md",
        "The generations of a host, which of them runs, and which would bring back an older value",
        &without_times(&shown),
    );
}

/// Replaces all times by one: they differ between runs.
fn without_times(text: &str) -> String {
    const TIME: &str = "2026-11-29T09:30:00Z";
    let mut text = text.to_owned();
    let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
    let found = (0..text.len()).filter(|at| text.get(*at..at + TIME.len()).is_some_and(is_time)).collect::<Vec<_>>();
    found.into_iter().for_each(|at| text.replace_range(at..at + TIME.len(), TIME));
    text
}
