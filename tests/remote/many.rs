//! Many hosts at once, each with its own transaction.

use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_of_twelve_hosts_three_fail_and_the_others_are_well() {
    if cannot_rig("remote: twelve hosts") {
        return;
    }
    let hosts: Vec<String> = (1..=12).map(|number| format!("h{number}@all")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let names: Vec<&str> = hosts.iter().map(|host| host.split('@').next().unwrap()).collect();
    let rig = Rig::deployed(&hosts);
    let value = rig.change(&names);
    let bad = ["h2", "h7", "h11"];
    for host in bad {
        rig.fail(host, "test 4");
    }
    let run = rig.sealift(&["deploy", "@all", "--yes", "--jobs", "4"]).exits(4);
    let run = run.says("3 of 12 hosts are not as they should be").prints("rolled back");
    // A shared message is printed once, and names each host once.
    assert_eq!(run.stderr.matches("h11, h2, h7: units failed: asked-for.service").count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("the deploy failed and was rolled back"), "the table says so: {}", run.stderr);
    for host in &names {
        let wanted = if bad.contains(host) { rig.sandbox.value("first") } else { value.clone() };
        assert_eq!(rig.secret(host, "token"), Some(wanted), "{host}");
        rig.is_tidy(host);
        rig.forget_calls(host);
    }
    // Only the unfinished hosts are resumed.
    let run = rig.sealift(&["deploy", "--resume", "--yes"]).exits(0).says("for h11, h2, h7");
    assert!(!run.text().contains("h12"), "{}", run.text());
    for host in &names {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
        assert_eq!(rig.calls(host).is_empty(), !bad.contains(host), "{host}");
    }
    rig.sealift(&["deploy", "--resume", "--yes"]).exits(1).says("there is no deploy to resume");
}

#[test]
fn nix_status_asks_git_no_more_for_many_hosts_than_for_one() {
    let Some(rig) = Rig::try_deployed("remote: git of status", &["web", "db", "app"]) else { return };
    let (bin, asked) = (rig.sandbox.path("bin"), rig.sandbox.path("asked"));
    std::fs::create_dir(&bin).unwrap();
    let git = bin.join("git");
    let command = rig.command("git");
    let path = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap();
    let path = path.to_str().unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\nPATH='{path}' exec git \"$@\"\n", asked.display());
    std::fs::write(&git, script).unwrap();
    std::fs::set_permissions(&git, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let calls = |words: &[&str], hosts: usize| {
        std::fs::write(&asked, "").unwrap();
        let mut command = rig.sealift_command(&[&["status", "--json"], words].concat());
        command.env("PATH", format!("{}:{path}", bin.display()));
        let run = rig.sandbox.run(command, b"").exits(0);
        assert_eq!(run.text().matches("\"behind\":0").count() + run.text().matches("\"behind\": 0").count(), hosts);
        std::fs::read_to_string(&asked).unwrap().lines().count()
    };
    let one = calls(&["web"], 1);
    assert_eq!(calls(&[], 3), one);
}

#[test]
fn nix_nothing_begins_before_the_canary_is_well() {
    let Some(rig) = Rig::try_deployed("remote: canary", &["web", "db", "app"]) else { return };
    let value = rig.change(&["web", "db", "app"]);
    rig.fail("db", "test 4");
    let run = rig.sealift(&["deploy", "--all", "--yes", "--canary", "db"]).exits(4);
    run.prints("rolled back").prints("skipped").says("not begun: another host failed").says("--resume");
    assert!(rig.calls("web").is_empty() && rig.calls("app").is_empty());
    rig.sealift(&["deploy", "--resume", "--yes"]).exits(0);
    for host in ["web", "db", "app"] {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
    }
    rig.sealift(&["deploy", "web", "--yes", "--canary", "db"]).exits(2).says("db cannot go first");
}

#[test]
fn nix_a_canary_that_gets_worse_while_it_is_watched_goes_back_and_stops_the_rest() {
    let Some(rig) = Rig::try_deployed("remote: --soak", &["web", "db", "app"]) else { return };
    rig.declare("\n[checks.marker]\nexists = \"/home/jay/marker\"\n\n[checks.never]\nexists = \"/home/jay/never\"\n");
    let marker = rig.disk("db", "/home/jay/marker");
    for host in ["web", "db", "app"] {
        std::fs::write(rig.disk(host, "/home/jay/marker"), "").unwrap();
    }
    let value = rig.change(&["web", "db", "app"]);
    // Checked every second; `never` failed before, and is no reason.
    let words = ["deploy", "--all", "--yes", "--canary", "db", "--settle", "0", "--json"];
    let deploying = rig.start(&[&words[..], &["--soak", "20s"]].concat());
    rig.wait_until("that it is watched", || deploying.said().contains("db: watching it for 20 s"));
    assert_eq!(rig.secret("db", "token"), Some(value.clone()));
    std::fs::remove_file(&marker).unwrap();
    let run = deploying.ends(&rig);
    let run = run.exits(4).says("db: its checks got worse: going back");
    let run = run.says("check marker: ").says("not begun: another host failed");
    assert!(!run.stderr.contains("| check never"), "{}", run.stderr);
    let text = run.text();
    let result = text.lines().find(|line| line.contains("\"result\"") && line.contains("\"db\"")).expect("a result");
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    assert_eq!((&result["outcome"], &result["generation"]), (&"rolled-back".into(), &result["before"]));
    assert_eq!(rig.secret("db", "token"), Some(rig.sandbox.value("first")), "with its own secrets");
    assert_eq!(rig.calls("db"), ["test 0", "boot 0", "test 0", "boot 0"]);
    assert!(rig.calls("web").is_empty() && rig.calls("app").is_empty());
    rig.is_tidy("db");
    rig.sealift(&["deploy", "--all", "--home", "--soak", "1s"]).exits(2).says("a home is not watched");
    // The unfinished hosts are resumed, and watched again.
    std::fs::write(&marker, "").unwrap();
    let run = rig.sealift(&["deploy", "--resume", "--yes", "--soak", "1s"]).exits(0).says("db: well for 1 s");
    assert!(!run.stderr.contains("web: watching"), "only the first is: {}", run.stderr);
    for host in ["web", "db", "app"] {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
    }
}

#[test]
fn nix_of_a_tag_only_so_many_hosts_are_at_work_at_once() {
    let Some(rig) = Rig::try_deployed("remote: at_most", &["a@web", "b@web", "c@web", "db"]) else { return };
    rig.declare("\n[deploy]\nat_most = { \"@web\" = 1 }\n");
    let value = rig.change(&["a", "b", "c", "db"]);
    rig.fail("a", "test hang");
    let deploying = rig.start(&["deploy", "--all", "--yes", "--jobs", "4", "--soak", "1s"]);
    rig.wait_until_it_hangs("a");
    rig.wait_until("the end of the one without the tag", || rig.last_record("db")["outcome"] == "done");
    assert!(rig.calls("b").is_empty() && rig.calls("c").is_empty(), "{}", deploying.said());
    rig.go_on("a");
    let run = deploying.ends(&rig).exits(0);
    for host in ["a", "b", "c", "db"] {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
        // Only hosts that others wait for are watched.
        assert_eq!(run.stderr.contains(&format!("{host}: well for 1 s")), host != "db", "{host}: {}", run.stderr);
    }
}

#[test]
fn nix_a_host_that_is_off_is_skipped_or_fails_as_it_was_asked_for() {
    let Some(rig) = Rig::try_deployed("remote: offline", &["web@all", "db@all"]) else { return };
    let value = rig.change(&["web", "db"]);
    rig.rig(&["off", "db"]);
    rig.sealift(&["deploy", "@all", "--yes", "--require-all"]).exits(7).says("db");
    assert!(rig.calls("web").is_empty());
    // Selected by name it fails; by tag it is skipped and reported.
    rig.sealift(&["deploy", "db", "--yes"]).exits(7).says("db");
    rig.sealift(&["status"]).exits(4).prints("unreachable").says("db");
    rig.sealift(&["deploy", "@all", "--yes"]).exits(0).says("db is skipped").prints("deploy it once it is up");
    assert_eq!(rig.secret("web", "token"), Some(value.clone()));
    rig.rig(&["on", "db"]);
    rig.sealift(&["deploy", "@all", "--yes"]).exits(0);
    assert_eq!(rig.secret("db", "token"), Some(value));
}

#[test]
fn nix_few_files_are_open_for_a_host_and_none_for_one_that_waits() {
    if cannot_rig("remote: open files") {
        return;
    }
    let hosts: Vec<String> = (1..=12).map(|number| format!("h{number}@all")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let names: Vec<&str> = hosts.iter().map(|host| host.split('@').next().unwrap()).collect();
    let rig = Rig::deployed(&hosts);
    let value = rig.change(&names);
    // Four files per host, if all are active, plus those of the program itself.
    let limited = |limit: &str, arguments: &[&str]| {
        let mut command = rig.command("prlimit");
        command.arg(format!("--nofile={limit}")).arg(env!("CARGO_BIN_EXE_sealift")).args(arguments);
        let run = rig.sandbox.run(command, b"");
        rig.sandbox.remember(&run);
        run
    };
    limited("64:64", &["deploy", "@all", "--yes", "--jobs", "4"]).exits(0);
    for host in &names {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
    }
    limited("64:64", &["status", "--jobs", "4"]).exits(0);
    limited("64:64", &["verify", "@all", "--jobs", "4"]).exits(0);
    // A low soft limit is raised.
    limited("16:4096", &["verify", "@all", "--jobs", "12"]).exits(0);
}

#[test]
fn nix_hosts_that_say_nothing_keep_no_other_waiting() {
    let Some(rig) = Rig::try_deployed("remote: silent hosts", &["a@all", "b@all", "c@all", "d@all"]) else { return };
    // The first two accept the connection and hang; `--jobs 1` works on one host at a time.
    for host in ["a", "b"] {
        std::fs::write(rig.disk(host, "/home/jay/.bashrc"), "kill -STOP $$\n").unwrap();
    }
    let logins = || rig.sshd_log("d").matches("Accepted publickey").count();
    let before = logins();
    let looking = rig.start(&["status", "--jobs", "1"]);
    rig.wait_until("the last host's turn", || logins() > before);
    looking.interrupt();
    looking.ends(&rig);
}

#[test]
fn nix_no_connection_outlives_the_run() {
    let Some(rig) = Rig::try_deployed("remote: connections that end", &["web"]) else { return };
    let logs = |what: &str| rig.sshd_log("web").matches(what).count();
    let (came, went) = (logs("Accepted publickey"), logs("Disconnected from user"));
    rig.sealift(&["status", "web"]).exits(0);
    // Connections that nobody ends stay for a minute.
    let since = std::time::Instant::now();
    let more = logs("Accepted publickey") - came;
    rig.wait_until("the end of it", || logs("Disconnected from user") == went + more);
    assert!(more > 0 && since.elapsed().as_secs() < 30);
}

#[test]
fn nix_what_is_left_of_every_deploy_is_taken_up() {
    let Some(rig) = Rig::try_deployed("remote: left of two deploys", &["web", "db", "app"]) else { return };
    let value = rig.change(&["web", "db", "app"]);
    rig.fail("db", "test 4");
    rig.sealift(&["deploy", "--all", "--yes", "--canary", "db"]).exits(4);
    // A second deploy to one of the hosts fails too.
    rig.fail("db", "test 4");
    rig.sealift(&["deploy", "db", "--yes"]).exits(6);
    // Declined hosts are left, and so are unreachable ones.
    rig.sealift(&["deploy", "--resume"]).exits(1).says("declined");
    rig.rig(&["off", "app"]);
    let run = rig.sealift(&["deploy", "--resume", "--yes"]).exits(4);
    // Which one the kernel reports depends on timing.
    let reasons = ["app: jay@app does not answer", "app: there is no route to jay@app"];
    assert!(reasons.iter().any(|reason| run.stderr.contains(reason)), "{run:?}");
    for host in ["web", "db"] {
        assert_eq!(rig.secret(host, "token"), Some(value.clone()), "{host}");
    }
    rig.rig(&["on", "app"]);
    rig.sealift(&["deploy", "--resume", "--yes"]).exits(0).says("for app");
    assert_eq!(rig.secret("app", "token"), Some(value));
    rig.sealift(&["deploy", "--resume", "--yes"]).exits(1).says("there is no deploy to resume");
}

#[test]
fn nix_the_way_back_that_is_told_names_the_host() {
    let Some(rig) = Rig::try_deployed("remote: undo", &["web", "db"]) else { return };
    let value = rig.change(&["web", "db"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    let told = run.stderr.lines().find_map(|line| line.strip_prefix("undo: sealift ")).expect("a way back").to_owned();
    assert!(told.starts_with("rollback web --to "), "{told}");
    assert_eq!(rig.secret("web", "token"), Some(value.clone()));
    // The suggested command works, and suggests its own undo; with `--fleet`, if that was given.
    let mut words = vec!["--fleet", "."];
    words.extend(told.split(' '));
    let run = rig.sealift(&words).exits(0).says("undo: sealift --fleet . rollback web --to ");
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")), "{}", run.stderr);
    rig.is_tidy("db");
}
