//! Where files are delivered, with which access, and what happens if something fails.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sealift::adapters::fs::root::Root;
use sealift::commands::agent::secrets;
use sealift::commands::install::{self, Owners};
use sealift::domain::manifest::install_status::Tree;
use serde_json::json;

use super::{Machine, Silence, entry, names};
use crate::harness::Sandbox;

#[test]
fn a_value_is_delivered_byte_for_byte_to_its_owner() {
    let Some(machine) = Machine::new() else { return };
    let token = machine.sandbox.seal("token", &["--hosts", "web"]);
    machine.sandbox.seal("nested/one", &["--hosts", "web", "--owner", "web", "--group", "web", "--mode", "0640"]);
    machine.sandbox.seal("numbered", &["--hosts", "web", "--owner", "77", "--group", "78"]);
    machine.sandbox.seal("elsewhere", &["--hosts", "db"]);
    machine.install(&[]).exits(0).says("generation 1 is live; 3 new or changed");
    assert_eq!(machine.delivered("token"), Some(token));
    assert_eq!(machine.access("token"), (0, 0, 0o400));
    assert_eq!(machine.access("nested/one"), (1234, 1234, 0o640));
    assert_eq!(machine.access("numbered"), (77, 78, 0o400));
    assert_eq!(machine.delivered("elsewhere"), None);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let at = format!(" {}/run/sealift.d ", machine.root.shown());
    let line = mounts.lines().find(|line| line.contains(&at)).expect("it is mounted");
    for option in ["nodev", "nosuid", "noexec", "mode=751"] {
        assert!(line.contains(option), "{option}: {line}");
    }
    assert!(line.contains("noswap") || line.contains("ramfs"), "{line}");
    let status = machine.status();
    assert_eq!(status["secrets"]["token"]["outcome"], json!("installed"));
    assert_eq!(status["secrets"]["token"]["serial"], json!(1));
    assert!(!status.to_string().contains(&machine.sandbox.canary));
}

#[test]
fn a_second_install_keeps_one_former_generation_and_tells_what_changed() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web"]);
    machine.install(&[]).exits(0);
    let mut held = std::fs::File::open(machine.root.path("run/sealift/b")).expect("it opens");
    let digest = machine.status()["secrets"]["a"]["value"].clone();
    machine
        .sandbox
        .sealift_with(&["seal", "b", "--replace", "--stdin"], machine.sandbox.value("b2").as_bytes())
        .exits(0);
    for number in 2..=20 {
        machine.install(&["--strict"]).exits(0);
        assert_eq!(machine.live(), Some(number));
        let changed = if number == 2 { "installed" } else { "unchanged" };
        assert_eq!(machine.status()["secrets"]["b"]["outcome"], json!(changed));
        assert_eq!(machine.status()["secrets"]["a"]["outcome"], json!("unchanged"));
    }
    assert_eq!(machine.generations(), [".key", "19", "20", "status.json"]);
    assert_eq!(machine.status()["secrets"]["a"]["value"], digest, "the key lasts as long as the boot");
    // A service that has the old file open is not affected.
    let mut text = String::new();
    held.read_to_string(&mut text).expect("it is read");
    assert_eq!(text, machine.sandbox.value("b"));
}

#[test]
fn as_many_generations_are_kept_as_the_manifest_says() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    for (keep, kept) in [(3, vec!["1", "2", "3", "4"]), (0, vec!["5"]), (1, vec!["5", "6"])] {
        let manifest = machine.manifest(|manifest| manifest["keep_generations"] = json!(keep));
        while machine.live().map(|live| live.to_string()).as_deref() != kept.last().copied() {
            machine.install_from(&manifest, &[]).exits(0);
        }
        assert_eq!(machine.generations()[1..machine.generations().len() - 1], kept, "{keep}");
    }
}

#[test]
fn the_umask_decides_nothing() {
    for umask in ["000", "777"] {
        let Some(machine) = Machine::new() else { return };
        machine.sandbox.seal("a/b", &["--hosts", "web", "--owner", "web", "--mode", "0640"]);
        machine.sandbox.seal("linked", &["--hosts", "web", "--path", "/opt/app/token"]);
        let manifest = machine.manifest(|_| {});
        let script = format!(
            "umask {umask} && exec {} install {manifest} --root {} --identity {}",
            env!("CARGO_BIN_EXE_sealift"),
            machine.root.shown(),
            machine.sandbox.key("web")
        );
        machine.sandbox.tool("sh", &["-c", &script]);
        assert_eq!(machine.access("a/b"), (1234, 0, 0o640));
        let mode = |path: &str| machine.root.path(path).metadata().expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode("run/sealift.d"), 0o751);
        assert_eq!(mode("run/sealift.d/1"), 0o751);
        assert_eq!(mode("run/sealift.d/1/a"), 0o751);
        assert_eq!(mode("run/sealift.d/1/.status.json"), 0o600);
        assert_eq!(mode("run/sealift.d/.key"), 0o400);
        assert_eq!(mode("run/sealift.lock"), 0o600);
        assert_eq!((mode("run"), mode("opt/app")), (0o755, 0o755));
    }
}

#[test]
fn one_command_is_strict_in_a_switch_and_not_in_a_boot() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web"]);
    let good = std::fs::read(machine.sandbox.fleet().join("secrets/b.age")).expect("a sealed file");
    machine.damage("b");
    // At boot, what opens is delivered, and the unit reports what does not.
    machine.install(&["--strict=live"]).exits(4).says("secrets/b.age: its content is damaged");
    assert_eq!((machine.delivered("a").is_some(), machine.delivered("b")), (true, None));
    // On a switch, nothing changes.
    machine
        .sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], machine.sandbox.value("a2").as_bytes())
        .exits(0);
    machine.install(&["--strict=live"]).exits(1).says("secrets/b.age");
    assert_eq!((machine.live(), machine.delivered("a")), (Some(1), Some(machine.sandbox.value("a"))));
    std::fs::write(machine.sandbox.fleet().join("secrets/b.age"), good).expect("it is fixed");
    machine.install(&["--strict=live"]).exits(0);
    assert_eq!(machine.live(), Some(2));
    // A symlink to unmounted memory is no live generation.
    machine.sandbox.tool("umount", &[machine.root.path("run/sealift.d").to_str().expect("UTF-8")]);
    machine.damage("b");
    machine.install(&["--strict=live"]).exits(4);
    machine.install(&["--strict=never"]).exits(2).says("possible values: always, live");
}

#[test]
fn with_strict_any_failure_changes_nothing_and_all_are_named() {
    let Some(machine) = Machine::new() else { return };
    for name in ["a", "b", "c"] {
        machine.sandbox.seal(name, &["--hosts", "web"]);
    }
    machine.install(&["--strict"]).exits(0);
    machine
        .sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], machine.sandbox.value("new").as_bytes())
        .exits(0);
    machine.damage("b");
    let manifest = machine.manifest(|manifest| entry(manifest, "c")["owner"] = json!("ghost"));
    let before = names(machine.root.path("run/sealift.d"));
    machine
        .install_from(&manifest, &["--strict"])
        .exits(1)
        .says("2 of 3 secrets cannot be installed; nothing was changed")
        .says("secrets/b.age: its content is damaged")
        .says("c: there is no user ghost on this host");
    assert_eq!((machine.live(), machine.delivered("a")), (Some(1), Some(machine.sandbox.value("a"))));
    assert_eq!(names(machine.root.path("run/sealift.d")), before);
}

#[test]
fn at_boot_what_opens_is_installed_and_the_last_good_bytes_stay() {
    let Some(machine) = Machine::new() else { return };
    for name in ["a", "b"] {
        machine.sandbox.seal(name, &["--hosts", "web"]);
    }
    machine.install(&[]).exits(0);
    machine
        .sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], machine.sandbox.value("new").as_bytes())
        .exits(0);
    machine
        .sandbox
        .sealift_with(&["seal", "b", "--replace", "--stdin"], machine.sandbox.value("lost").as_bytes())
        .exits(0);
    machine.damage("b");
    machine.sandbox.seal("late", &["--hosts", "web"]);
    machine.damage("late");
    for _ in 0..2 {
        machine
            .install(&[])
            .exits(4)
            .says("secrets/b.age")
            .says("secrets/late.age")
            .says("1 kept from before, 1 missing");
        assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("new")));
        assert_eq!(machine.delivered("b"), Some(machine.sandbox.value("b")));
        assert_eq!(machine.delivered("late"), None);
    }
    let status = machine.status();
    assert_eq!(
        (status["secrets"]["b"]["outcome"].clone(), status["secrets"]["b"]["serial"].clone()),
        (json!("stale"), json!(1))
    );
    assert!(status["secrets"]["b"]["reason"].as_str().expect("a reason").contains("damaged"));
    assert_eq!(status["secrets"]["late"]["outcome"], json!("failed"));
}

#[test]
fn without_a_key_that_opens_nothing_is_delivered() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web"]);
    let manifest = machine.manifest(|_| {});
    let install = |options: &[&str]| {
        let mut arguments = vec!["install", manifest.as_str(), "--root", machine.root.shown()];
        arguments.extend(options);
        machine.sandbox.sealift(&arguments)
    };
    let wrong = machine.sandbox.key("db");
    install(&["--identity", &wrong]).exits(5).says("a.age: none of these identities opens it").says("b.age: none of");
    install(&["--identity", &wrong, "--strict"]).exits(1).says("a.age").says("b.age");
    install(&[])
        .exits(5)
        .says("no usable identity")
        .says("/R/etc/ssh/ssh_host_ed25519_key")
        .says("/R/var/lib/sealift/identity");
    install(&["--strict"]).exits(5).says("no usable identity");
    assert_eq!((machine.delivered("a"), machine.delivered("b")), (None, None));
    // The manifest's own paths are looked up below the root.
    std::fs::copy(machine.sandbox.key("web"), machine.root.path("etc/ssh/ssh_host_ed25519_key")).expect("copied");
    install(&["--strict"]).exits(0);
    assert!(machine.delivered("a").is_some());
    // And the previous values stay if the key is gone.
    install(&["--identity", &wrong]).exits(4).says("2 kept from before");
    assert!(machine.delivered("a").is_some());
}

#[test]
fn a_secret_that_is_gone_leaves_no_file_and_no_link() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/etc/app/a"]);
    machine.sandbox.seal("b", &["--hosts", "web", "--owner", "web", "--path", "/home/web/b"]);
    machine.sandbox.seal("c", &["--hosts", "web"]);
    machine.write("home/web/.profile", "");
    std::os::unix::fs::chown(machine.root.path("home/web"), Some(1234), Some(1234)).expect("it is the owner's");
    machine.install(&["--strict"]).exits(0);
    let target =
        |path: &str| std::fs::read_link(machine.root.path(path)).ok().and_then(|path| path.to_str().map(str::to_owned));
    assert_eq!(target("etc/app/a").as_deref(), Some("/run/sealift/a"));
    assert_eq!(target("home/web/b").as_deref(), Some("/run/sealift/b"));
    let manifest = machine.manifest(|manifest| {
        let secrets = manifest["secrets"].as_array_mut().expect("secrets");
        secrets.retain(|entry| entry["name"] == json!("c"));
    });
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!((target("etc/app/a"), target("home/web/b")), (None, None));
    assert_eq!(names(machine.root.path("run/sealift")), [".status.json", "c"]);
}

#[test]
fn missing_directories_are_made_like_those_that_they_lie_in() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("gh", &["--hosts", "web", "--owner", "web", "--path", "/home/web/.config/gh/hosts.yml"]);
    machine.sandbox.seal("new", &["--hosts", "web", "--owner", "late", "--path", "/home/late/.ssh/key"]);
    machine.sandbox.seal("app", &["--hosts", "web", "--owner", "web", "--path", "/srv/app/token"]);
    machine.write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nweb:x:1234:1234::/home/web:/bin/sh\nlate:x:1235:100::/home/late/:/bin/sh\n",
    );
    let home = machine.root.path("home/web");
    std::fs::create_dir_all(&home).expect("a directory");
    std::fs::set_permissions(&home, PermissionsExt::from_mode(0o2750)).expect("changed");
    std::os::unix::fs::chown(&home, Some(1234), Some(77)).expect("it is the owner's");
    machine.install(&["--strict"]).exits(0);
    let is = |path: &str| {
        let stat = machine.root.path(path).symlink_metadata().expect("it is there");
        (stat.uid(), stat.gid(), stat.permissions().mode() & 0o777)
    };
    assert_eq!((is("home/web/.config"), is("home/web/.config/gh")), ((1234, 77, 0o750), (1234, 77, 0o750)));
    // A home that does not exist yet is created for its user, not for root.
    assert_eq!(
        (is("home"), is("home/late"), is("home/late/.ssh")),
        ((0, 0, 0o755), (1235, 100, 0o700), (1235, 100, 0o700))
    );
    assert_eq!((is("srv"), is("srv/app")), ((0, 0, 0o755), (0, 0, 0o755)));
    for (folder, names_there) in [("home/web", vec![".config"]), ("home/late", vec![".ssh"]), ("srv", vec!["app"])] {
        assert_eq!(names(machine.root.path(folder)), names_there);
    }
    assert!(std::fs::read_link(machine.root.path("home/late/.ssh/key")).is_ok());
}

#[test]
fn one_bad_record_fails_one_secret() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("roots", &["--hosts", "web"]);
    machine.sandbox.seal("theirs", &["--hosts", "web", "--owner", "web", "--group", "web"]);
    let write = |file: &str, bytes: &[u8]| std::fs::write(machine.root.path(file), bytes).expect("written");
    // A comment in another encoding does not matter.
    write("etc/passwd", b"m:x:1001:100:M\xfcller:/:/bin/sh\nweb:x:1234:1234::/:/bin/sh\n");
    write("etc/group", b"m\xfcller:x:7:\nweb:x:1234:\n");
    machine.install(&["--strict"]).exits(0);
    assert_eq!(machine.access("theirs"), (1234, 1234, 0o400));
    let records: [(&str, &[u8], &str); 6] = [
        ("etc/passwd", b"web:x:12x4:1234::/:/bin/sh\n", "the line of web in "),
        ("etc/passwd", b"web:x:4294967295:1234::/:/bin/sh\n", "the line of web in "),
        ("etc/passwd", b"web\n", "the line of web in "),
        ("etc/passwd", b"", "there is no user web on this host"),
        ("etc/group", b"web:x:\n", "the line of web in "),
        ("etc/group", b"", "there is no group web on this host"),
    ];
    for (file, bytes, why) in records {
        machine.write("etc/passwd", "web:x:1234:1234::/:/bin/sh\n");
        machine.write("etc/group", "web:x:1234:\n");
        write(file, bytes);
        let value = machine.sandbox.value(&format!("{file}{}", bytes.len()));
        machine.sandbox.sealift_with(&["seal", "roots", "--replace", "--stdin"], value.as_bytes()).exits(0);
        machine.install(&["--strict"]).exits(1).says("theirs: ").says(why);
        assert_ne!(machine.delivered("roots").as_deref(), Some(value.as_str()));
        machine.install(&[]).exits(4).says("theirs: ").says(why).says("1 new or changed, 1 kept from before");
        assert_eq!(machine.delivered("roots"), Some(value));
    }
    // An unreadable file affects every name that it could contain.
    std::fs::remove_file(machine.root.path("etc/passwd")).expect("removed");
    std::fs::create_dir(machine.root.path("etc/passwd")).expect("a directory");
    machine
        .install(&[])
        .exits(4)
        .says("theirs: the user web cannot be looked up")
        .says("etc/passwd is not a regular file")
        .says("1 unchanged, 1 kept from before");
}

#[test]
fn a_file_may_become_a_folder() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b/c", &["--hosts", "web"]);
    machine.install(&[]).exits(0);
    let manifest = machine.manifest(|manifest| {
        for (from, to) in [("a", "a/x"), ("b/c", "b")] {
            let entry = entry(manifest, from);
            entry["name"] = json!(to);
            entry["path"] = json!(format!("/run/sealift/{to}"));
        }
    });
    machine.install_from(&manifest, &["--strict"]).exits(0);
    assert_eq!(machine.delivered("a/x"), Some(machine.sandbox.value("a")));
    assert_eq!(machine.delivered("b"), Some(machine.sandbox.value("b/c")));
}

#[test]
fn what_users_are_made_with_is_in_a_tree_of_its_own() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("hash", &["--hosts", "web", "--needed-for-users"]);
    machine.sandbox.seal("token", &["--hosts", "web", "--owner", "web"]);
    // No user exists yet.
    std::fs::remove_file(machine.root.path("etc/passwd")).expect("removed");
    machine.install(&["--users", "--strict"]).exits(0);
    let tree = machine.root.path("run/sealift-users");
    assert_eq!(names(tree.clone()), [".status.json", "hash"]);
    assert_eq!(std::fs::read_to_string(tree.join("hash")).expect("it is there"), machine.sandbox.value("hash"));
    for path in ["run/sealift-users.d", "run/sealift-users.d/1"] {
        assert_eq!(machine.root.path(path).metadata().expect("it is there").permissions().mode() & 0o7777, 0o700);
    }
    assert_eq!(machine.live(), None);
    machine.install(&["--strict"]).exits(1).says("token: there is no user web on this host");
    machine.write("etc/passwd", "web:x:1234:1234::/:/bin/sh\n");
    machine.install(&["--strict"]).exits(0);
    assert_eq!(names(machine.root.path("run/sealift")), [".status.json", "token"]);
    let manifest = machine.manifest(|manifest| entry(manifest, "hash")["owner"] = json!("web"));
    machine.install_from(&manifest, &["--users", "--strict"]).exits(2).says("hash: owner, group: what is needed");
}

#[test]
fn staging_opens_everything_and_changes_nothing() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    machine.sandbox.seal("b", &["--hosts", "web", "--owner", "ghost", "--path", "/opt/b"]);
    let manifest = machine.manifest(|_| {});
    let staged = install::stage(&machine.request(&manifest), &Silence::talk(), Owners::MayCome).expect("it opens");
    assert_eq!(staged.unknown_owners, ["user ghost"]);
    // Before a switch that could create them, a missing owner is an error at staging.
    let error = install::stage(&machine.request(&manifest), &Silence::talk(), Owners::MustExist).expect_err("no owner");
    assert!(error.in_one_line().contains("b: there is no user ghost on this host"), "{}", error.in_one_line());
    assert!(staged.secrets.iter().all(|secret| secret.changed && secret.serial == Some(1)));
    assert!(!machine.root.path("run").exists() && !machine.root.path("opt").exists());
    let manifest = machine.manifest(|manifest| entry(manifest, "b")["owner"] = json!("root"));
    machine.install_from(&manifest, &["--strict"]).exits(0);
    machine
        .sandbox
        .sealift_with(&["seal", "b", "--replace", "--stdin"], machine.sandbox.value("b2").as_bytes())
        .exits(0);
    let staged = install::stage(&machine.request(&manifest), &Silence::talk(), Owners::MayCome).expect("it opens");
    assert_eq!(staged.secrets.iter().map(|secret| secret.changed).collect::<Vec<_>>(), [false, true]);
    machine.damage("a");
    let error =
        install::stage(&machine.request(&manifest), &Silence::talk(), Owners::MayCome).expect_err("it does not open");
    assert_eq!(error.kind().code(), 8);
    assert_eq!(machine.live(), Some(1));
}

#[test]
fn an_install_is_taken_back_as_if_it_had_never_been() {
    let Some(machine) = Machine::new() else { return };
    let undo = |generation| install::undo(&machine.root.path(""), Tree::Ordinary, generation);
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/opt/a"]);
    let first = install::run(&machine.request(&machine.manifest(|_| {})), &Silence::talk()).expect("it is installed");
    machine
        .sandbox
        .sealift_with(&["seal", "a", "--replace", "--stdin"], machine.sandbox.value("a2").as_bytes())
        .exits(0);
    machine.sandbox.seal("b", &["--hosts", "web", "--path", "/opt/b"]);
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/opt/moved"));
    let second = install::run(&machine.request(&manifest), &Silence::talk()).expect("it is installed");
    assert_eq!(names(machine.root.path("opt")), ["b", "moved"]);
    assert!(undo(first.status.generation).is_err(), "it is not live any more");
    assert!(undo(second.status.generation).expect("it is taken back").is_empty());
    assert_eq!((machine.delivered("a"), machine.delivered("b")), (Some(machine.sandbox.value("a")), None));
    assert_eq!(names(machine.root.path("opt")), ["a"]);
    assert_eq!(machine.status()["generation"], json!(1));
    assert!(undo(second.status.generation).is_err(), "once is enough");
    assert!(undo(1).expect("it is taken back").is_empty());
    assert_eq!((machine.live(), names(machine.root.path("opt"))), (None, vec![]));
    assert_eq!(machine.generations(), [".key", "status.json"]);
    assert!(!machine.root.path("run/sealift").exists());
    machine.install(&["--strict"]).exits(0);
}

#[test]
fn what_was_not_kept_cannot_come_back() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web"]);
    let manifest = machine.manifest(|manifest| manifest["keep_generations"] = json!(0));
    machine.install_from(&manifest, &[]).exits(0);
    machine.install_from(&manifest, &[]).exits(0);
    let error = install::undo(&machine.root.path(""), Tree::Ordinary, 2).expect_err("it is gone");
    assert!(error.message().contains("was not kept"), "{error:?}");
    assert_eq!(machine.live(), Some(2));
}

#[test]
fn a_manifest_names_the_fleets_own_files() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("other", &["--hosts", "db"]);
    let manifest = sandbox.sealift(&["manifest", "web"]).exits(0).json();
    let fleet = std::fs::canonicalize(sandbox.fleet()).expect("a path");
    assert_eq!(manifest["secrets"][0]["file"], json!(fleet.join("secrets/a.age")));
    assert_eq!(manifest["secrets"].as_array().map(Vec::len), Some(1));
    sandbox.sealift(&["manifest", "wbe"]).exits(2).says("did you mean web?");
    std::fs::remove_file(fleet.join("secrets/a.age")).expect("removed");
    sandbox.sealift(&["manifest", "web"]).exits(0).says("a has no value yet");
}

#[test]
fn what_cannot_be_put_back_is_said() {
    let Some(machine) = Machine::new() else { return };
    machine.sandbox.seal("a", &["--hosts", "web", "--path", "/opt/a"]);
    install::run(&machine.request(&machine.manifest(|_| {})), &Silence::talk()).expect("it is installed");
    let root = Root::open(&machine.root.path("")).expect("a root");
    let saved = secrets::Live::of(&root).expect("a status");
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["path"] = json!("/opt/moved"));
    install::run(&machine.request(&manifest), &Silence::talk()).expect("it is installed");
    std::fs::write(machine.root.path("opt/a"), "of somebody else").expect("written");
    let error = secrets::take_back(&root, saved).expect_err("its link is in nobody's way");
    assert!(error.message().contains("/opt/a"), "{error:?}");
    assert_eq!(machine.delivered("a"), Some(machine.sandbox.value("a")));
}
