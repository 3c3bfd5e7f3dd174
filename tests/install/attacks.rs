//! What others on the machine, or another program, could try.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use super::{Machine, entry, names};

#[test]
fn others_can_neither_list_nor_read() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("folder/roots", &["--hosts", "web"]);
    machine.sandbox.seal("folder/theirs", &["--hosts", "web", "--owner", "nobody"]);
    machine.sandbox.seal("groups", &["--hosts", "web", "--group", "nogroup", "--mode", "0440"]);
    machine.sandbox.seal("users", &["--hosts", "web", "--needed-for-users"]);
    machine.install(&[]).exits(0);
    machine.install(&["--users"]).exits(0);
    std::fs::set_permissions(machine.sandbox.path(""), PermissionsExt::from_mode(0o755)).expect("they may come near");
    let nobody = |program: &str, path: &str| {
        let mut command = machine.sandbox.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", program])
            .arg(machine.root.path(path))
            .current_dir("/");
        machine.sandbox.run(command, b"").code == 0
    };
    assert!(nobody("cat", "run/sealift/folder/theirs") && nobody("cat", "run/sealift/groups"));
    for path in [
        "run/sealift/folder/roots",
        "run/sealift.d/1/folder/roots",
        "run/sealift.d/.key",
        "run/sealift.d/status.json",
        "run/sealift/.status.json",
        "run/sealift-users/users",
        "run/sealift.lock",
    ] {
        assert!(!nobody("cat", path), "{path} can be read");
    }
    for path in ["run/sealift/", "run/sealift/folder", "run/sealift.d/", "run/sealift-users/", "run/sealift-users.d/"] {
        assert!(!nobody("ls", path), "{path} can be listed");
    }
}

#[test]
fn what_another_program_keeps_at_our_place_is_left_alone() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let link = machine.root.path("run/sealift");
    std::fs::create_dir_all(&link).expect("a directory");
    machine.install(&[]).exits(1).says("run/sealift is no link");
    std::fs::remove_dir(&link).expect("removed");
    std::fs::write(&link, "theirs").expect("a file");
    machine.install(&[]).exits(1).says("run/sealift is no link");
    std::fs::remove_file(&link).expect("removed");
    for target in ["/run/secrets.d/1", "sealift.d/x", "/run/sealift.d/1", "sealift.d/../../etc"] {
        symlink(target, &link).expect("a link");
        machine.install(&[]).exits(1).says("a link of another program");
        assert_eq!(std::fs::read_link(&link).expect("it is there").to_str(), Some(target));
        std::fs::remove_file(&link).expect("removed");
    }
    assert_eq!(names(machine.root.path("run")), ["sealift.lock"]);
    symlink("/tmp", machine.root.path("run/sealift.d")).expect("a link");
    machine.install(&[]).exits(1).says("run/sealift.d is not a directory of its own");
    std::fs::remove_file(machine.root.path("run/sealift.d")).expect("removed");
    std::fs::set_permissions(machine.root.path("run"), PermissionsExt::from_mode(0o1777)).expect("everybody may write");
    machine.install(&[]).exits(1).says("others can change what lies in");
    std::fs::set_permissions(machine.root.path("run"), PermissionsExt::from_mode(0o755)).expect("only root again");
    machine.install(&[]).exits(0);
}

#[test]
fn a_link_that_leads_nowhere_any_more_is_a_fresh_start() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    std::fs::create_dir_all(machine.root.path("run")).expect("a directory");
    symlink("sealift.d/7", machine.root.path("run/sealift")).expect("a link");
    machine.install(&[]).exits(0);
    assert_eq!((machine.live(), machine.delivered("a").is_some()), (Some(1), true));
    assert_eq!(machine.status()["former"], json!(null));
}

#[test]
fn only_memory_that_cannot_swap_is_used() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let at = machine.root.path("run/sealift.d");
    std::fs::create_dir_all(&at).expect("a directory");
    let at = at.to_str().expect("UTF-8");
    let disk = machine.sandbox.path("disk");
    std::fs::create_dir(&disk).expect("a directory");
    let on_disk = !matches!(rustix::fs::statfs(&disk).expect("a file system").f_type, 0x0102_1994 | 0x8584_58f6);
    if on_disk {
        machine.sandbox.tool("mount", &["--bind", disk.to_str().expect("UTF-8"), at]);
        machine.install(&[]).exits(1).says("is on a disk: plaintext could reach a disk");
        machine.sandbox.tool("umount", &[at]);
    } else {
        crate::harness::not_run("a disk at the place of memory", "the temporary directory is in memory itself");
    }
    machine.sandbox.tool("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", at]);
    machine.install(&[]).exits(1).says("a tmpfs that may swap");
    machine.sandbox.tool("umount", &[at]);
    assert!(names(at.into()).is_empty() && names(disk).is_empty());
    for kind in [["ramfs", "mode=0700"], ["tmpfs", "mode=0700,noswap"]] {
        machine.sandbox.tool("mount", &["-t", kind[0], "-o", kind[1], "x", at]);
        machine.install(&[]).exits(0);
        assert_eq!(std::fs::metadata(at).expect("it is there").permissions().mode() & 0o7777, 0o751);
        machine.sandbox.tool("umount", &["-l", at]);
    }
    machine.sandbox.tool("mount", &["-t", "ramfs", "-o", "mode=0777", "x", at]);
    machine.install(&[]).exits(1).says("others can change what lies in");
}

#[test]
fn a_kernel_without_noswap_gives_a_ramfs() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let run = super::crash::traced(&machine, &["-e", "inject=fsconfig:error=EINVAL:when=1"], &machine.manifest(|_| {}));
    run.exits(0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let at = format!(" {}/run/sealift.d ", machine.root.shown());
    assert!(mounts.lines().any(|line| line.contains(&at) && line.contains(" - ramfs ")), "{mounts}");
    assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("a")));
}

#[test]
fn a_link_is_not_made_where_somebody_else_could_lead_it_astray() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web"]);
    let passwd = std::fs::read_to_string(machine.root.path("etc/passwd")).expect("it is there");
    for folder in ["srv/open", "srv/theirs", "srv/tree/.git", "srv/fine", "srv/outside"] {
        std::fs::create_dir_all(machine.root.path(folder)).expect("a directory");
    }
    std::fs::set_permissions(machine.root.path("srv/open"), PermissionsExt::from_mode(0o1777)).expect("changed");
    std::os::unix::fs::chown(machine.root.path("srv/theirs"), Some(1234), None).expect("changed");
    symlink(machine.root.path("srv/outside"), machine.root.path("srv/swapped")).expect("a link");
    symlink("/etc/passwd", machine.root.path("srv/fine/foreign")).expect("a link");
    machine.write("srv/fine/file", "theirs");
    for (path, why) in [
        ("/srv/open/a", "can be written to by everybody"),
        ("/srv/open/below/a", "can be written to by everybody"),
        ("/srv/theirs/a", "belongs to another user"),
        ("/srv/swapped/a", "is a link or a file"),
        ("/srv/tree/sub/a", "is a git tree"),
        ("/srv/fine/foreign", "a link of another program"),
        ("/srv/fine/file", "there already"),
        ("/etc", "there already"),
    ] {
        let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!(path));
        machine.install_from(&manifest, &["--strict"]).exits(1).says("a: ").says(why);
        assert_eq!(machine.live(), None, "{path}");
    }
    for path in ["/run/sealift.d/a", "/run/sealift/x/y"] {
        let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!(path));
        machine.install_from(&manifest, &["--strict"]).exits(2).says("a: path: ").says("its own files");
    }
    // The owner of the secret may own the directory.
    let manifest = machine.manifest(|manifest| {
        let entry = entry(manifest, "a");
        entry["path"] = json!("/srv/theirs/a");
        entry["owner"] = json!("web");
    });
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!(std::fs::read_link(machine.root.path("srv/theirs/a")).expect("a link").to_str(), Some("/run/sealift/a"));
    // At boot the value itself is delivered, and its link is what failed.
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/srv/open/a"));
    machine.install_from(&manifest, &[]).exits(4).says("can be written to by everybody");
    assert!(names(machine.root.path("srv/outside")).is_empty() && names(machine.root.path("srv/open")).is_empty());
    assert_eq!(std::fs::read_to_string(machine.root.path("etc/passwd")).expect("it is there"), passwd);
}

#[test]
fn several_at_once_come_one_after_another() {
    let Some(machine) = Machine::new() else { return };
    for name in ["a", "b", "c"] {
        machine.sandbox.seal(name, &["--hosts", "web"]);
    }
    let manifest = machine.manifest(|_| {});
    let start = |_| {
        let mut command = machine.sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args([
            "install",
            &manifest,
            "--strict",
            "--root",
            machine.root.shown(),
            "--identity",
            &machine.sandbox.key("web"),
        ]);
        command.stderr(std::process::Stdio::piped()).spawn().expect("it starts")
    };
    let running: Vec<_> = (0..12).map(start).collect();
    for child in running {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(machine.live(), Some(12));
    assert_eq!(machine.generations(), [".key", "11", "12", "status.json"]);
}

#[test]
fn who_holds_the_lock_is_waited_for() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.install(&[]).exits(0);
    let lock = std::fs::File::open(machine.root.path("run/sealift.lock")).expect("it is there");
    lock.lock().expect("it is locked");
    let mut command = machine.sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.arg("install").arg(machine.sandbox.path("m.json"));
    command.args(["--root", machine.root.shown(), "--identity", &machine.sandbox.key("web")]);
    let mut child = command.spawn().expect("it starts");
    // The kernel lists who waits for a lock, behind an arrow.
    let waits = || {
        let locks = std::fs::read_to_string("/proc/locks").expect("the kernel's list");
        locks.lines().any(|line| line.contains("->") && line.contains(&format!(" {} ", child.id())))
    };
    while !waits() {
        std::thread::yield_now();
    }
    drop(lock);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(machine.live(), Some(2));
}
