//! deploy when things go wrong: the exact previous state is restored, or the operator is informed.

use std::process::{Child, Stdio};

use crate::harness::machine::{Machine, cannot_deploy};
use crate::harness::not_run;

/// A machine that runs a first system of this variant, with a second one with another value ready to deploy.
fn about_to_change(variant: &str) -> (Machine, Vec<String>) {
    let machine = Machine::running(&format!("{{ variant = \"{variant}\"; }}"));
    if variant == "plain" {
        machine.deploy(&[]).exits(0);
        machine.forget_calls();
    }
    machine.seal("token", "second");
    machine.system(&format!("{{ variant = \"{variant}\"; etc.motd = \"2\"; }}"));
    let state = machine.state();
    (machine, state)
}

/// Starts a deploy that hangs where this line of `stc-fail` says.
fn hanging(machine: &Machine, line: &str) -> Child {
    machine.fail(line);
    let child = machine
        .sealift_command(&machine.arguments(&[]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    machine.wait_until_it_hangs();
    child
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn nix_every_failure_of_a_switch_brings_the_former_state_back() {
    if cannot_deploy("deploy: way back") {
        return;
    }
    for variant in ["unit", "plain"] {
        let (machine, before) = about_to_change(variant);
        for (line, calls, says) in [
            ("test 2", &["test 2", "test 0"][..], "its activation script failed"),
            ("test 4", &["test 4", "test 0"], "units failed"),
            ("test 1", &["test 1", "test 0"], "its pre-switch checks failed"),
            ("test 100", &["test 100", "test 0"], "cannot be activated without a reboot"),
            ("test 7", &["test 7", "test 0"], "exit code 7"),
            ("test kill", &["test", "test 0"], "signal 9"),
            ("boot 1", &["test 0", "boot 1", "test 0", "boot 0"], "cannot be made the boot default"),
        ] {
            machine.forget_calls();
            machine.fail(line);
            let run = machine.deploy(&["--json"]).exits(6).says("the deploy failed and was rolled back").says(says);
            assert_eq!(run.result()["outcome"], "rolled-back", "{variant} {line}");
            assert_eq!(machine.calls(), calls, "{variant} {line}");
            assert_eq!(machine.state(), before, "{variant} {line}");
            machine.is_tidy();
        }
        // After the fix it succeeds.
        machine.deploy(&[]).exits(0);
        assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
    }
}

#[test]
fn nix_a_delivery_that_fails_brings_the_former_state_back() {
    if cannot_deploy("deploy: failing delivery") {
        return;
    }
    for (variant, code, calls) in [("unit", 6, &["test 4", "test 0"][..]), ("plain", 1, &[])] {
        let (machine, before) = about_to_change(variant);
        // The switch could create this user, so staging accepts it; but it does not.
        let value = machine.sandbox.value("ghost");
        machine
            .sandbox
            .sealift_with(&["seal", "ghost", "--hosts", "web", "--owner", "ghost", "--stdin"], value.as_bytes())
            .exits(0);
        machine.deploy(&[]).exits(code).says("ghost");
        assert_eq!(machine.calls(), calls, "{variant}");
        assert_eq!(machine.state(), before, "{variant}");
        machine.is_tidy();
    }
}

#[test]
fn nix_between_systems_with_and_without_the_unit_the_way_back_is_exact() {
    if cannot_deploy("deploy: way back between variants") {
        return;
    }
    for (former, coming) in [("unit", "plain"), ("plain", "unit")] {
        for line in ["test 1", "test 4", "boot 1"] {
            let (machine, before) = about_to_change(former);
            machine.system(&format!("{{ variant = \"{coming}\"; etc.motd = \"2\"; }}"));
            machine.fail(line);
            machine.deploy(&[]).exits(6);
            assert_eq!(machine.state(), before, "{former} → {coming}, {line}");
            machine.is_tidy();
        }
    }
}

#[test]
fn nix_another_switch_at_work_is_not_waited_for() {
    if cannot_deploy("deploy: busy") {
        return;
    }
    for variant in ["unit", "plain"] {
        let (machine, before) = about_to_change(variant);
        machine.fail("test 11");
        machine.deploy(&[]).exits(1).says("another switch is running on the host").says("wait until it is done");
        assert_eq!((machine.calls(), machine.state()), (vec!["test 11".to_owned()], before));
        machine.is_tidy();
    }
}

#[test]
fn nix_a_first_deploy_that_fails_leaves_nothing() {
    if cannot_deploy("deploy: first deploy that fails") {
        return;
    }
    let machine = Machine::new("{ }");
    machine.seal("token", "first");
    machine.fail("boot 1 bootloader");
    machine.deploy(&[]).exits(6).says("what it had installed is removed");
    assert_eq!(machine.state(), ["", "", "", "", ""]);
    machine.is_tidy();
}

#[test]
fn nix_an_unchanged_system_never_goes_back_past_itself() {
    if cannot_deploy("deploy: unchanged system that fails") {
        return;
    }
    let machine = Machine::running("{ }");
    machine.seal("token", "second");
    machine.deploy(&[]).exits(0);
    let before = machine.state();
    machine.forget_calls();
    machine.fail("test 4");
    machine.deploy(&[]).exits(6).says("the system is the one that ran before, and stays");
    assert_eq!((machine.calls(), machine.state()), (vec!["test 4".to_owned()], before));
}

#[test]
fn nix_only_a_check_that_got_worse_fails() {
    if cannot_deploy("deploy: checks") {
        return;
    }
    let machine = Machine::running(r#"{ etc.marker = "x"; }"#);
    let policy = machine.sandbox.read("recipients.toml");
    machine.sandbox.write("recipients.toml", policy + "\n[checks.marker]\nexists = \"/etc/marker\"\n\n[checks.never]\nexists = \"/etc/never\"\n\n[checks.shell]\nlogin_shell = \"bin\"\n\n[checks.command]\ncommand = [\"true\"]\n\n[checks.name]\nhost_name = true\n\n[checks.link]\nstore_link = \"/etc/hostname\"\n");
    machine.system(r#"{ etc.marker = "x"; etc.motd = "2"; }"#);
    machine.deploy(&[]).exits(0).says("check never fails already");
    machine.forget_calls();
    let before = machine.state();
    machine.system(r#"{ etc.motd = "3"; }"#);
    let run = machine.deploy(&[]).exits(6).says("check marker: /etc/marker does not exist");
    assert!(!run.stderr.contains("check never: "), "{}", run.stderr);
    assert_eq!((machine.calls(), machine.state()), (vec!["test 0".to_owned(), "test 0".to_owned()], before));
}

/// Writes a policy with a check whose command creates a file, and returns a system that contains such a command too.
fn check_command(machine: &Machine, words: &str) {
    let policy = machine.sandbox.read("recipients.toml");
    let above = policy.split("\n[checks.mark]").next().unwrap_or(&policy).to_owned();
    machine.sandbox.write("recipients.toml", format!("{above}\n[checks.mark]\ncommand = [{words}]\n"));
}

#[test]
fn nix_the_command_of_a_check_is_the_one_that_was_deployed() {
    if cannot_deploy("verify: commands of checks") {
        return;
    }
    let carried = |words: &str, motd: &str| {
        let checks = format!(r#"{{\"version\":1,\"commands\":{{\"mark\":[{}]}}}}"#, words.replace('"', "\\\""));
        format!("{{ etc.\"sealift/checks.json\" = \"{checks}\"; etc.motd = \"{motd}\"; }}")
    };
    let machine = Machine::running("{ }");
    let ran = |name: &str| machine.root.join(name).exists();
    // Nothing of it is deployed: a clone of someone's fleet runs nothing without consent.
    check_command(&machine, r#""touch", "/from-the-tree""#);
    let run = machine.on("verify", &[]).exits(3);
    run.says("check mark: touch /from-the-tree").says(" --yes` runs them without asking").prints("deploy it first");
    assert!(!ran("from-the-tree"));
    machine.on("verify", &["--yes"]).exits(0);
    assert!(ran("from-the-tree"));
    std::fs::remove_file(machine.root.join("from-the-tree")).unwrap();
    // The deployed command counts, whatever the work tree says now and no matter who agrees.
    machine.system(&carried(r#""touch", "/deployed""#, "1"));
    machine.deploy(&[]).exits(0);
    assert!(ran("deployed") && !ran("from-the-tree"));
    std::fs::remove_file(machine.root.join("deployed")).unwrap();
    machine.on("verify", &["--yes"]).exits(0);
    assert!(ran("deployed") && !ran("from-the-tree"));
    // A new command has no previous result, so its failure is the deploy's.
    let before = machine.state();
    machine.system(&carried(r#""false""#, "2"));
    machine.deploy(&[]).exits(6).says("check mark: ");
    assert_eq!(machine.state(), before);
    // For a system without commands of its own, the plan shows what will run.
    machine.system(r#"{ etc.motd = "3"; }"#);
    machine.deploy(&[]).exits(0).says("mark: touch /from-the-tree");
    assert!(ran("from-the-tree"));
}

#[test]
fn nix_failed_units_are_held_against_those_before() {
    if cannot_deploy("deploy: failed units") {
        return;
    }
    let (machine, before) = about_to_change("unit");
    // The stand-in for systemctl prints these files.
    std::fs::create_dir_all(machine.root.join("run/systemd/system")).unwrap();
    std::fs::create_dir_all(machine.root.join("etc/systemctl")).unwrap();
    let failing = |unit: &str| {
        let line = format!("{unit} loaded failed failed An old fault\n");
        std::fs::write(machine.root.join("etc/systemctl/list-units"), line).unwrap();
    };
    // Only units that switch-to-configuration names count: an old failure elsewhere is no excuse.
    failing("old.service");
    machine.fail("test 4");
    machine.deploy(&[]).exits(6).says("units failed: asked-for.service");
    assert_eq!(machine.state(), before);
    failing("asked-for.service");
    machine.fail("test 4");
    machine.deploy(&[]).exits(0).says("some units are failing, as they were before");
    assert_ne!(machine.state(), before);
    machine.is_tidy();
}

#[test]
fn nix_a_way_back_that_fails_needs_a_person() {
    if cannot_deploy("deploy: way back that fails") {
        return;
    }
    let (machine, _) = about_to_change("unit");
    machine.fail("test 2\ntest 2");
    let run = machine
        .deploy(&["--json"])
        .exits(9)
        .says("its activation script failed")
        .says("the way back failed too")
        .says(&format!("`sealift rollback web --root {} --to N`", machine.root.display()));
    assert_eq!(run.result()["outcome"], "person");
    assert_eq!(machine.calls(), ["test 2", "test 2"]);
    // After a manual fix, the next deploy is not blocked.
    machine.deploy(&[]).exits(0);
    machine.is_tidy();
}

#[test]
fn nix_of_two_deploys_one_is_told_who_the_other_is() {
    if cannot_deploy("deploy: two at once") {
        return;
    }
    let (machine, _) = about_to_change("unit");
    let mut first = hanging(&machine, "test hang");
    machine.deploy(&[]).exits(1).says("another deploy is running").says(", process ").says(", since 20");
    machine.on("rollback", &[]).exits(1).says(", process ");
    machine.go_on();
    assert!(first.wait().unwrap().success());
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
    assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
}

#[test]
fn nix_a_deployer_that_is_killed_does_not_end_the_part_on_the_host() {
    if cannot_deploy("deploy: killed deployer") {
        return;
    }
    let (machine, _) = about_to_change("unit");
    let mut deployer = hanging(&machine, "test hang");
    deployer.kill().unwrap();
    deployer.wait().unwrap();
    machine.go_on();
    machine.wait_until_it_is_over();
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
    assert_eq!(machine.link("nix/var/nix/profiles/system"), "system-2-link");
    // The next run removes the garbage collector roots that the killed one left.
    machine.deploy(&["--action", "build"]).exits(0);
    machine.is_tidy();
}

#[test]
fn nix_killed_before_it_is_known_to_be_well_the_next_run_goes_back() {
    if cannot_deploy("deploy: killed on the host") {
        return;
    }
    for variant in ["unit", "plain"] {
        for point in ["lock", "check", "activate", "units"] {
            let (machine, before) = about_to_change(variant);
            let mut deployer = hanging(&machine, &format!("test hang {point}"));
            kill(machine.holder().expect("somebody holds the lock"));
            assert_eq!(deployer.wait().unwrap().code(), Some(9), "no verdict came");
            // The system's own switch continues; a rollback waits for it.
            machine.go_on();
            machine
                .on("rollback", &[])
                .exits(1)
                .says("an interrupted deploy was found")
                .says("rolled back")
                .says("again to go back further");
            assert_eq!(machine.state(), before, "{variant} {point}: {}", machine.log());
            machine.is_tidy();
            machine.deploy(&[]).exits(0);
            assert_eq!(machine.secret("token"), Some(machine.sandbox.value("second")));
        }
    }
}

#[test]
fn nix_killed_when_it_was_all_but_done_the_next_run_finishes() {
    if cannot_deploy("deploy: killed at the end") {
        return;
    }
    let (machine, before) = about_to_change("unit");
    let mut deployer = hanging(&machine, "boot hang bootloader");
    kill(machine.holder().expect("somebody holds the lock"));
    deployer.wait().unwrap();
    machine.go_on();
    machine
        .deploy(&[])
        .exits(0)
        .says("an interrupted deploy was found")
        .says("the interrupted deploy was finished")
        .says("runs already");
    let after = machine.state();
    assert_eq!((after[1].as_str(), after[3].trim()), ("system-2-link", after[0].as_str()));
    assert_ne!(after[0], before[0]);
    machine.is_tidy();
}

#[test]
fn nix_killed_after_any_write_the_next_run_finishes_or_goes_back() {
    if cannot_deploy("deploy: killed at every step") {
        return;
    }
    // The last one is killed during its rollback.
    for (variant, failure) in [("unit", ""), ("plain", ""), ("unit", "boot 1")] {
        let (mut machine, mut before) = about_to_change(variant);
        if machine
            .command("strace")
            .args(["-f", "-o", "/dev/null", "true"])
            .status()
            .map_or(true, |status| !status.success())
        {
            not_run("deploy: killed at every step", "strace is not installed, or may not trace here");
            return;
        }
        let mut ends = std::collections::BTreeSet::new();
        for write in 1.. {
            machine.fail(failure);
            let former = machine.newest_run();
            let kill = format!("inject=renameat:signal=SIGKILL:when={write}");
            let mut command = machine.command("strace");
            command.args(["-f", "-o", "/dev/null", "-e", "trace=renameat", "-e", &kill, env!("CARGO_BIN_EXE_sealift")]);
            command.args(machine.arguments(&[]));
            let run = machine.sandbox.run(command, b"");
            if run.code == 0 || run.code == 6 {
                break;
            }
            assert!(write < 60, "{run:?}");
            machine.ask(&"recover".into());
            assert!(!machine.root.join("var/lib/sealift/deploy/journal.json").exists(), "{variant}, write {write}");
            let state = machine.state();
            let new = state[1] == "system-2-link"
                && state[3].trim() == state[0]
                && state[4] == machine.sandbox.value("second");
            assert!(
                state == before || new,
                "{variant}, write {write}: {state:?}, before {before:?}\n{}",
                machine.log()
            );
            // A later client gets the result of the run.
            if machine.newest_run() != former {
                let told = machine.ask(&serde_json::json!({ "follow": machine.newest_run() }));
                let outcomes: &[&str] = if new { &["done"] } else { &["failed", "rolled-back"] };
                assert!(outcomes.iter().any(|outcome| told["outcome"] == *outcome), "{variant}, write {write}: {told}");
            }
            ends.insert(new);
            if new {
                (machine, before) = about_to_change(variant);
            }
        }
        if failure.is_empty() {
            assert_eq!(ends.len(), 2, "{variant}: killed early it goes back, killed late it finishes");
        }
        machine.is_tidy();
    }
}

#[test]
fn nix_a_disk_that_is_full_takes_nothing_from_how_a_run_ends() {
    if cannot_deploy("deploy: full disk") {
        return;
    }
    // During the switch, so that the next step cannot be recorded; and at the last step, so that the result cannot.
    for (line, code, outcome) in [("test hang", 6, "rolled-back"), ("boot hang bootloader", 0, "done")] {
        let (machine, before) = about_to_change("unit");
        let kept = machine.root.join("var/lib/sealift");
        let at = kept.to_str().expect("UTF-8");
        machine.sandbox.tool("mount", &["-t", "tmpfs", "-o", "mode=0755,size=64k", "tmpfs", at]);
        machine.fail(line);
        let deployer = machine
            .sealift_command(&machine.arguments(&["--json"]))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        machine.wait_until_it_hangs();
        let full = std::fs::write(kept.join("fill"), vec![b'x'; 1 << 20]);
        assert_eq!(full.expect_err("it is full").kind(), std::io::ErrorKind::StorageFull);
        machine.go_on();
        let output = deployer.wait_with_output().expect("it ends");
        let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}: {text}{said}");
        assert!(text.contains(&format!("\"outcome\":\"{outcome}\"")), "{line}: {text}");
        assert!(said.contains("cannot write"), "{line}: {said}");
        assert_eq!(machine.state() == before, code == 6, "{line}: {:?}", machine.state());
        machine.is_tidy();
        machine.ask(&"recover".into());
        assert_eq!(machine.state() == before, code == 6, "{line}, after it: {:?}", machine.state());
        machine.sandbox.tool("umount", &[at]);
    }
}

#[test]
fn nix_another_users_repository_is_not_evaluated_as_root() {
    if cannot_deploy("deploy: another user's repository") {
        return;
    }
    let (machine, before) = about_to_change("unit");
    std::os::unix::fs::chown(machine.sandbox.fleet(), Some(1), Some(1)).unwrap();
    machine.deploy(&[]).says("git refuses this repository").says("work as that user");
    // Nix would evaluate it, whatever git is configured to trust.
    let fleet = machine.sandbox.fleet();
    machine.sandbox.tool("git", &["config", "--global", "safe.directory", fleet.to_str().unwrap()]);
    machine.deploy(&[]).says("belongs to another user, and is not evaluated as root").says("run sealift as that user");
    assert_eq!((machine.calls(), machine.state()), (Vec::<String>::new(), before));
}

#[test]
fn nix_ctrl_c_does_not_stop_the_part_on_the_host() {
    if cannot_deploy("deploy: Ctrl-C") {
        return;
    }
    let (machine, _) = about_to_change("unit");
    let mut deployer = hanging(&machine, "test hang");
    let group = rustix::process::Pid::from_raw(deployer.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(group, rustix::process::Signal::INT).unwrap();
    let host = rustix::process::Pid::from_raw(machine.holder().unwrap().try_into().unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(host)).unwrap(), host, "a session of its own");
    machine.go_on();
    assert!(deployer.wait().unwrap().success());
    assert_eq!(machine.calls(), ["test 0", "boot 0"]);
}
