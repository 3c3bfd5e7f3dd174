//! What other users or programs on the machine could try.

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
    symlink("/srv/outside", machine.root.path("srv/swapped")).expect("a link");
    std::os::unix::fs::lchown(machine.root.path("srv/swapped"), Some(1234), None).expect("it is another user's");
    // Root's own symlink, but in a place that others control: they may have chosen its target.
    symlink("/srv/outside", machine.root.path("srv/theirs/led")).expect("a link");
    symlink("/etc/passwd", machine.root.path("srv/fine/foreign")).expect("a link");
    machine.write("srv/fine/file", "theirs");
    for (path, why) in [
        ("/srv/open/a", "can be written to by everybody"),
        ("/srv/open/below/a", "can be written to by everybody"),
        ("/srv/theirs/a", "belongs to another user"),
        ("/srv/swapped/a", "or a link that another user could have made"),
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
    let manifest = machine.manifest(|manifest| {
        let entry = entry(manifest, "a");
        entry["path"] = json!("/srv/theirs/led/a");
        entry["owner"] = json!("web");
    });
    machine.install_from(&manifest, &["--strict"]).exits(0).says("or a link that another user could have made");
    // At boot the value itself is delivered, and only its link fails.
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/srv/open/a"));
    machine.install_from(&manifest, &[]).exits(4).says("can be written to by everybody");
    assert!(names(machine.root.path("srv/outside")).is_empty() && names(machine.root.path("srv/open")).is_empty());
    assert_eq!(std::fs::read_to_string(machine.root.path("etc/passwd")).expect("it is there"), passwd);
}

#[test]
fn an_access_list_counts_as_others() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/srv/listed/a"]);
    std::fs::create_dir_all(machine.root.path("srv/listed")).expect("a directory");
    // An ACL in which root's group and another user may write: version 2, then tag, permissions and id of each entry.
    let entry = |tag: u16, permissions: u16, number: u32| {
        [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &number.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 7, none),
        entry(2, 7, 1234),
        entry(4, 5, none),
        entry(16, 7, none),
        entry(32, 5, none),
    ]
    .concat();
    let at = machine.root.path("srv/listed");
    let set = rustix::fs::setxattr(&at, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
    if set.is_err() {
        crate::harness::not_run("a directory with an access list", "the temporary directory's file system has none");
        return;
    }
    machine.install(&["--strict"]).exits(1).says("a: ").says("by others that an access list names");
    assert_eq!((machine.live(), names(at)), (None, vec![]));
}

#[test]
fn links_of_root_on_the_way_are_followed_inside_the_root() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/var/run/app/token"]);
    machine.sandbox.seal("b", &["--hosts", "web", "--owner", "web", "--path", "/home/web/.netrc"]);
    for folder in ["run", "var", "persist/home/web"] {
        std::fs::create_dir_all(machine.root.path(folder)).expect("a directory");
    }
    std::os::unix::fs::chown(machine.root.path("persist/home/web"), Some(1234), Some(1234)).expect("it is the owner's");
    symlink("/run", machine.root.path("var/run")).expect("a link");
    symlink("persist/home", machine.root.path("home")).expect("a link");
    machine.install(&["--strict"]).exits(0);
    let target = |path: &str| std::fs::read_link(machine.root.path(path)).ok();
    assert_eq!(target("run/app/token").as_deref(), Some("/run/sealift/a".as_ref()));
    assert_eq!(target("persist/home/web/.netrc").as_deref(), Some("/run/sealift/b".as_ref()));
    // Another path to the same place is the same link: it is not removed as obsolete.
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/run/app/token"));
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!(target("run/app/token").as_deref(), Some("/run/sealift/a".as_ref()));
    // Two secrets may not share it, nor lie where sealift keeps its own files.
    let manifest = machine.manifest(|manifest| entry(manifest, "b")["path"] = json!("/run/app/token"));
    machine.install_from(&manifest, &["--strict"]).exits(1).says("b: its path /run/app/token is that of a too");
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/var/run/sealift.d/x"));
    machine.install_from(&manifest, &["--strict"]).exits(1).says("where sealift keeps its own files");
    let manifest = machine.manifest(|manifest| {
        manifest["secrets"].as_array_mut().expect("secrets").retain(|entry| entry["name"] == json!("b"));
    });
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!((target("run/app/token"), target("persist/home/web/.netrc").is_some()), (None, true));
}

#[test]
fn what_an_owner_puts_in_the_way_costs_only_his_own_link() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("theirs", &["--hosts", "web", "--owner", "web", "--path", "/home/web/app/token"]);
    let home = machine.root.path("home/web");
    let place = home.join("app/token");
    let outside = machine.root.path("etc/outside");
    std::fs::create_dir_all(&outside).expect("a directory");
    let shown = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let fresh = || {
        std::fs::remove_dir_all(machine.root.path("home")).unwrap_or_default();
        std::fs::create_dir_all(home.join("app")).expect("a directory");
    };
    let obstacles: [(&str, &dyn Fn(), &str); 9] = [
        ("a file", &|| std::fs::write(&place, "kept").expect("a file"), "there already, and is no link"),
        ("a directory", &|| std::fs::create_dir(&place).expect("a directory"), "there already, and is no link"),
        ("a FIFO", &|| drop(machine.sandbox.tool("mkfifo", &[&shown(&place)])), "there already, and is no link"),
        ("a link", &|| symlink("/etc/outside", &place).expect("a link"), "a link of another program"),
        (
            "a link on the way",
            &|| {
                std::fs::remove_dir(home.join("app")).expect("removed");
                symlink("/etc/outside", home.join("app")).expect("a link");
            },
            "or a link that another user could have made",
        ),
        (
            "a file on the way",
            &|| {
                std::fs::remove_dir(home.join("app")).expect("removed");
                std::fs::write(home.join("app"), "kept").expect("a file");
            },
            "is a file",
        ),
        ("git", &|| std::fs::create_dir(home.join(".git")).expect("a directory"), "is a git tree"),
        (
            "an open door",
            &|| std::fs::set_permissions(&home, PermissionsExt::from_mode(0o777)).expect("changed"),
            "can be written to by everybody",
        ),
        (
            "a full disk",
            &|| {
                machine
                    .sandbox
                    .tool("mount", &["-t", "tmpfs", "-o", "mode=0755,nr_inodes=1", "x", &shown(&home.join("app"))]);
            },
            "No space left on device",
        ),
    ];
    for (serial, (what, obstacle, why)) in (2..).zip(obstacles) {
        fresh();
        machine.install(&["--strict"]).exits(0);
        std::fs::remove_file(&place).unwrap_or_default();
        obstacle();
        machine.sandbox.tool("chown", &["-hR", "1234:1234", &shown(&home)]);
        let value = machine.sandbox.value(what);
        machine.sandbox.sealift_with(&["seal", "a", "--replace", "--stdin"], value.as_bytes()).exits(0);
        // A switch continues, and reports what is missing.
        machine
            .install(&["--strict"])
            .exits(0)
            .says("theirs: ")
            .says(why)
            .says("the value itself is at /run/sealift/theirs");
        assert_eq!(machine.delivered("a").as_deref(), Some(value.as_str()), "{what}");
        assert_eq!(machine.delivered("theirs"), Some(machine.sandbox.value("theirs")), "{what}");
        let status = machine.status();
        assert_eq!(status["secrets"]["a"]["serial"], json!(serial), "{what}");
        assert!(status["secrets"]["theirs"]["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{status}");
        // A boot continues too, and ends with an error.
        machine.install(&[]).exits(4).says("theirs: ").says(why);
        assert_eq!(machine.delivered("theirs"), Some(machine.sandbox.value("theirs")), "{what}");
        if what == "a full disk" {
            machine.sandbox.tool("umount", &[&shown(&home.join("app"))]);
        }
        assert!(names(outside.clone()).is_empty(), "{what}");
    }
    // What was there is unchanged.
    fresh();
    std::fs::write(&place, "kept").expect("a file");
    machine.sandbox.tool("chown", &["-hR", "1234:1234", &shown(&home)]);
    machine.install(&["--strict"]).exits(0);
    assert_eq!(std::fs::read_to_string(&place).expect("a file"), "kept");
    // The same for a delivered file that its owner made huge.
    let delivered = std::fs::OpenOptions::new().write(true).open(machine.root.path("run/sealift/theirs"));
    delivered.expect("it is there").set_len(1 << 30).expect("it grows");
    std::fs::remove_file(&place).expect("removed");
    machine.install(&["--strict"]).exits(0).says("1 new or changed, 1 unchanged");
    assert_eq!(machine.delivered("theirs"), Some(machine.sandbox.value("theirs")));
}

/// Directories that an owner swaps while a link is created in the home lead root nowhere, and gain nothing of root's.
#[test]
fn exchanges_during_an_install_gain_nothing() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::os::unix::fs::{MetadataExt, lchown};
    use std::sync::atomic::{AtomicBool, Ordering};
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--owner", "web", "--path", "/home/web/app/new/token"]);
    let home = machine.root.path("home/web");
    let roots = home.join("roots");
    for folder in [&home.join("app"), &roots, &machine.root.path("etc/outside")] {
        std::fs::create_dir_all(folder).expect("a directory");
    }
    for theirs in [&home, &home.join("app")] {
        lchown(theirs, Some(1234), Some(1234)).expect("it is the owner's");
    }
    std::fs::write(roots.join("mark"), "").expect("a file");
    symlink("/etc/outside", home.join("led")).expect("a link");
    lchown(home.join("led"), Some(1234), Some(1234)).expect("it is the owner's");
    let manifest = machine.manifest(|_| {});
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (one, other) in [("app", "led"), ("app/.sealift-tmp-new", "roots"), ("app/new", "roots")] {
            let (one, other, stop) = (home.join(one), home.join(other), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // If one is missing at the moment, try again.
                    let _missing = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                }
            });
        }
        let failed = (0..20).map(|_| machine.install_from(&manifest, &["--strict"])).find(|run| run.code != 0);
        stop.store(true, Ordering::Relaxed);
        assert!(failed.is_none(), "{failed:?}");
    });
    assert!(names(machine.root.path("etc/outside")).is_empty());
    // Wherever it is now, root's directory still belongs to root.
    let found = machine.sandbox.tool("find", &[home.to_str().expect("UTF-8"), "-name", "mark", "-printf", "%h"]);
    let found = std::fs::metadata(String::from_utf8(found).expect("UTF-8")).expect("it is there");
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o755));
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
    // The kernel lists waiters for a lock with an arrow.
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
