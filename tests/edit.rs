//! edit: with real editors, with and without a terminal. The edited text is only ever in memory.

use std::path::PathBuf;

use crate::harness::{Run, Sandbox};
use crate::identity::on_terminal;

const SEALIFT: &str = env!("CARGO_BIN_EXE_sealift");

/// Runs `edit` with this editor and environment.
fn edit(sandbox: &Sandbox, editor: &str, more: &[(&str, &str)], options: &[&str]) -> Run {
    let mut command = sandbox.command(SEALIFT);
    command
        .args(["edit", "a", "--identity", &sandbox.key("jay")])
        .args(options)
        .env("EDITOR", editor)
        .envs(more.iter().copied());
    sandbox.run(command, b"")
}

/// A fleet with a value in `a`; returns the value.
fn fleet(shape: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = match shape {
        "env:TOKEN" => format!("TOKEN={}", sandbox.value("a")),
        _ => sandbox.value("a"),
    };
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--shape", shape, "--stdin"], value.as_bytes()).exits(0);
    (sandbox, value)
}

/// Installs a program of the test under this name.
fn program(sandbox: &Sandbox, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = sandbox.path("bin").join(name);
    std::fs::create_dir_all(sandbox.path("bin")).expect("a directory");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

fn left_in_shared_memory() -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("sealift-edit-"))
        .collect()
}

#[test]
fn what_an_editor_leaves_is_sealed_as_the_next_value() {
    let (sandbox, value) = fleet("raw");
    let changed = edit(&sandbox, "sed -i s/canary/changed-canary/", &[], &[]).exits(0).says("sealed a (version 2)");
    assert!(!changed.stderr.contains(&sandbox.canary));
    assert_eq!(sandbox.show("a", "web"), value.replace("canary", "changed-canary").as_bytes());
    // Any bytes, written by rename, with leftover files around.
    let script = program(
        &sandbox,
        "binary",
        "printf '\\000\\377\\r\\n' > new && echo copy > \"$1~\" && mkdir below && cp \"$1\" below/.a.swp && mv new \"$1\"",
    );
    edit(&sandbox, script.to_str().expect("UTF-8"), &[], &[]).exits(0);
    assert_eq!(sandbox.show("a", "jay"), b"\0\xff\r\n");
    // Git tracks it, so Nix sees it.
    assert!(
        String::from_utf8_lossy(&sandbox.tool("git", &["diff", "--cached", "--name-only"])).contains("secrets/a.age")
    );
}

#[test]
fn an_editor_that_fails_or_changes_nothing_changes_nothing() {
    let (sandbox, value) = fleet("raw");
    let sealed = std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("a file");
    for (editor, code, said) in [
        ("false", 1, "false failed (exit code 1); nothing changed"),
        ("sh -c 'kill -9 $$'", 1, "ended by signal 9"),
        ("sh -c 'echo x >> \"$1\"; exit 3' -", 1, "exit code 3"),
        ("sh -c ': > \"$1\"' -", 1, "the value is empty"),
        ("rm -f", 1, "removed the file"),
        ("sh -c 'ln -sf /etc/passwd \"$1\"' -", 1, "is a symbolic link"),
        ("sh -c 'head -c 2000000 /dev/zero > \"$1\"' -", 1, "more than 1048576 are not read"),
        ("true", 1, "returned and left the file as it was; nothing changed"),
        ("grep -q .", 0, "nothing changed"),
        ("sh -c 'echo >> \"$1\"' -", 0, "nothing changed"),
        ("no-such-editor --wait", 1, "no-such-editor is not installed"),
        ("'vim", 2, "EDITOR has a quote that is not closed"),
    ] {
        edit(&sandbox, editor, &[], &[]).exits(code).says(said);
        assert!(std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("a file") == sealed, "{editor}");
    }
    sandbox.sealift(&["edit", "a"]).exits(2).says("EDITOR is not set");
    sandbox.sealift(&["edit", "aa"]).exits(2).says("there is no secret aa").says("did you mean a?");
    edit(&sandbox, "   ", &[], &[]).exits(2).says("EDITOR names no program");
    let mut unknown = sandbox.command(SEALIFT);
    unknown.args(["edit", "aa", "-i", &sandbox.key("jay")]).env("EDITOR", "true");
    sandbox.run(unknown, b"").exits(2).says("did you mean a?");
    let mut nobody = sandbox.command(SEALIFT);
    nobody.args(["edit", "a"]).env("EDITOR", "touch ../ran");
    sandbox.run(nobody, b"").exits(5);
    assert!(!sandbox.path("ran").exists());
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
}

#[test]
fn the_value_is_in_memory_only_and_gone_with_the_editor() {
    let (sandbox, _) = fleet("raw");
    let report = sandbox.path("report");
    let look = program(
        &sandbox,
        "look",
        &format!(
            "printf x >> \"$1\"; {{ stat -f -c %T . ; stat -c %a . \"$1\"; pwd; printf '%s\\n' \"$TMPDIR\" \"$1\"; tr '\\0' ' ' < /proc/$$/cmdline; env; }} > {}",
            report.display()
        ),
    );
    let look = look.to_str().expect("UTF-8");
    // On its own ramfs; or, if that is not permitted, on an existing tmpfs.
    edit(&sandbox, look, &[], &[]).exits(0);
    let alone = std::fs::read_to_string(&report).expect("a report");
    assert!(alone.starts_with("ramfs\n700\n600\n") || alone.starts_with("tmpfs\n700\n600\n"), "{alone}");
    let unshare = program(&sandbox, "unshare", "exit 1");
    let without = format!("{}:/usr/bin:/bin", unshare.parent().expect("a directory").display());
    edit(&sandbox, look, &[("PATH", &without)], &[]).exits(0);
    let shared = std::fs::read_to_string(&report).expect("a report");
    assert!(shared.starts_with("tmpfs\n700\n600\n"), "{shared}");
    // A running program would not see a private mount: its client gets the tmpfs at once.
    let client = program(&sandbox, "emacsclient", &format!("exec {look} \"$1\""));
    edit(&sandbox, client.to_str().expect("UTF-8"), &[], &[]).exits(0);
    assert!(std::fs::read_to_string(&report).expect("a report").starts_with("tmpfs\n"));
    // Without a place in memory it fails before the editor is started.
    std::fs::remove_file(&report).expect("removed");
    let script = format!("mount -t proc none /dev/shm || exit 99; exec '{SEALIFT}' edit a -i '{}'", sandbox.key("jay"));
    let mut command = sandbox.command("/usr/bin/unshare");
    command
        .args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", &script])
        .env("EDITOR", look)
        .env("PATH", &without);
    let run = sandbox.run(command, b"");
    if run.stderr.contains("unshare") || run.code == 99 {
        crate::harness::not_run("the_value_is_in_memory_only: without a tmpfs", "this user may not mount");
        return;
    }
    run.exits(1).says("there is no place in memory");
    assert!(!report.exists());
}

#[test]
fn what_a_killed_run_left_is_wiped_by_the_next() {
    let (sandbox, value) = fleet("raw");
    let unshare = program(&sandbox, "unshare", "exit 1");
    let path = format!("{}:/usr/bin:/bin", unshare.parent().expect("a directory").display());
    // The editor kills its parent, which then cannot wipe anything.
    let killer = program(&sandbox, "killer", "pwd > \"$HOME/place\"; kill -9 $PPID");
    edit(&sandbox, killer.to_str().expect("UTF-8"), &[("PATH", &path)], &[]).exits(128 + 9);
    let place = std::fs::read_to_string(sandbox.path("home/place")).expect("a place");
    let place = PathBuf::from(place.trim());
    assert!(place.starts_with("/dev/shm/") && place.join("a").exists(), "{}", place.display());
    edit(&sandbox, "grep -q .", &[], &[]).exits(0);
    assert!(!place.exists());
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    // In a private mount there is nothing to wipe: it vanishes with the process.
    edit(&sandbox, killer.to_str().expect("UTF-8"), &[], &[]);
    let place = PathBuf::from(std::fs::read_to_string(sandbox.path("home/place")).expect("a place").trim());
    assert!(!place.join("a").exists());
    edit(&sandbox, "grep -q .", &[], &[]).exits(0);
    assert!(!left_in_shared_memory().contains(&place.file_name().expect("a name").to_string_lossy().into_owned()));
}

#[test]
fn a_value_out_of_shape_is_not_sealed() {
    let (sandbox, value) = fleet("env:TOKEN");
    edit(&sandbox, "sh -c 'printf bare > \"$1\"' -", &[], &[]).exits(1).says("--fix");
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    edit(&sandbox, "sh -c 'printf bare > \"$1\"' -", &[], &["--fix"]).exits(0);
    assert_eq!(sandbox.show("a", "jay"), b"TOKEN=bare\n");
    // On a terminal: asked, edited again, and sealed.
    let editor = program(
        &sandbox,
        "second-thoughts",
        "[ -e \"$HOME/once\" ] && printf 'TOKEN=good\\n' > \"$1\" || printf 'A=1\\nB=2\\n' > \"$1\"; touch \"$HOME/once\"",
    );
    let shown = on_terminal(
        &sandbox,
        &format!(
            "set env(EDITOR) {}\nspawn $env(S) edit a --identity {}\nsays \"Edit it again?\"\nsend \"y\\r\"\nends\n",
            editor.display(),
            sandbox.key("jay")
        ),
    );
    assert!(shown.text().contains("<0>"), "{}", shown.text());
    assert_eq!(sandbox.show("a", "jay"), b"TOKEN=good\n");
}

#[test]
fn a_file_that_changed_meanwhile_is_not_overwritten_unasked() {
    let (sandbox, _) = fleet("raw");
    let other = sandbox.value("other");
    let editor = program(
        &sandbox,
        "slow",
        &format!(
            "printf {other} | (cd {} && {SEALIFT} rotate a --stdin) && echo mine > \"$1\"",
            sandbox.fleet().display()
        ),
    );
    edit(&sandbox, editor.to_str().expect("UTF-8"), &[], &[]).exits(1).says("was changed by someone else meanwhile");
    assert_eq!(sandbox.show("a", "jay"), other.as_bytes());
    sandbox.allow(editor);
}

#[test]
fn vim_leaves_nothing_behind_whatever_its_settings_say() {
    if std::process::Command::new("vim").arg("--version").output().is_err() {
        crate::harness::not_run("vim_leaves_nothing_behind", "vim is not installed");
        return;
    }
    let (sandbox, value) = fleet("env:TOKEN");
    // Settings that would copy the text to disk, and a trap in the repository for an editor started there.
    let settings = "set undofile undodir=~/keep backup writebackup backupdir=~/keep swapfile directory=~/keep exrc viminfo='10,n~/keep/info\n";
    std::fs::create_dir(sandbox.path("home/keep")).expect("a directory");
    std::fs::write(sandbox.path("home/.vimrc"), settings).expect("settings");
    sandbox.write(".vimrc", "silent !touch $HOME/trapped\n");
    let edit = |keys: &str| {
        let script = format!(
            "set env(EDITOR) vim\nspawn $env(S) edit a --identity {}\nsays \"{}\"\nsend \"{keys}\"\nends\n",
            sandbox.key("jay"),
            sandbox.canary
        );
        let run = on_terminal(&sandbox, &script);
        assert!(run.text().contains("<0>"), "{}", run.text());
    };
    edit(":wq\\r");
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    edit("A-more\\033:w\\r:wq\\r");
    assert_eq!(sandbox.show("a", "jay"), format!("{value}-more").as_bytes());
    edit("Ajunk\\033:q!\\r");
    assert_eq!(sandbox.show("a", "jay"), format!("{value}-more").as_bytes());
    assert_eq!(std::fs::read_dir(sandbox.path("home/keep")).expect("a directory").count(), 0);
    assert!(!sandbox.path("home/trapped").exists());
}

/// An editor that passes the file on and returns at once, whatever its name.
const HANDS_OVER: &str = "printf %s \"$1\" > \"$HOME/handed\"";

#[test]
fn an_editor_that_hands_over_loses_nothing() {
    let (sandbox, value) = fleet("raw");
    let handed = sandbox.path("home/handed");
    for name in ["nvr", "any-other"] {
        let editor = program(&sandbox, name, HANDS_OVER);
        // Without a terminal nobody can say when the file is saved.
        edit(&sandbox, editor.to_str().expect("UTF-8"), &[], &[])
            .exits(1)
            .says(&format!("{name} returned and left the file as it was; nothing changed"))
            .says("nvr --remote-wait");
        assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
        let path = std::fs::read_to_string(&handed).expect("it was handed over");
        assert!(path.starts_with("/dev/shm/sealift-edit-") && !PathBuf::from(path).exists());
    }
    // With a terminal the file stays where the running program sees it until the user has saved it.
    let at_the_terminal = |answers: &str| {
        let editor = sandbox.path("bin/nvr");
        let script = format!(
            "set env(EDITOR) {}\nspawn $env(S) edit a --identity {}\n{answers}ends\n",
            editor.display(),
            sandbox.key("jay")
        );
        on_terminal(&sandbox, &script).text()
    };
    let save = format!(
        "says \"Take the file as it is now?\"\nset at [open {}]\nset path [read $at]\nclose $at\n",
        handed.display()
    );
    let typed = format!("{value}-typed");
    let shown = at_the_terminal(&format!(
        "{save}set file [open $path w]\nputs -nonewline $file {typed}\nclose $file\nsend \"y\\r\"\n"
    ));
    assert!(shown.contains("<0>") && shown.contains("sealed a (version 2)"), "{shown}");
    assert_eq!(sandbox.show("a", "jay"), typed.as_bytes());
    // Not saved, wait; not saved, give up.
    let shown = at_the_terminal(&format!(
        "{save}send \"n\\r\"\nsays \"Keep waiting?\"\nsend \"y\\r\"\nsays \"Take the file as it is now?\"\nif {{![file exists $path]}} {{ puts GONE }}\nsend \"n\\r\"\nsays \"Keep waiting?\"\nsend \"n\\r\"\n"
    ));
    assert!(shown.contains("<1>") && !shown.contains("GONE"), "{shown}");
    assert_eq!(sandbox.show("a", "jay"), typed.as_bytes());
}

#[test]
fn an_editor_that_goes_to_the_background_is_not_believed() {
    let (sandbox, value) = fleet("raw");
    let gate = sandbox.path("home/gate");
    sandbox.tool("mkfifo", &[gate.to_str().expect("UTF-8")]);
    // Its window opens, and stays until the FIFO is opened.
    let editor =
        program(&sandbox, "forks", "cat \"$1\" >/dev/null; (read _ < \"$HOME/gate\") >/dev/null 2>&1 </dev/null &");
    edit(&sandbox, editor.to_str().expect("UTF-8"), &[], &[]).exits(1).says("returned and left the file as it was");
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    // Lets its child process end.
    drop(std::fs::File::options().write(true).open(gate).expect("somebody reads it"));
}
