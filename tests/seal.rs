//! seal and show.

use crate::harness::Sandbox;
use crate::identity::on_terminal;

#[test]
fn what_is_sealed_is_shown_byte_for_byte() {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db"]);
    for (name, value) in [("a", &b"TOKEN=abc"[..]), ("b/c", b"\0\xff\r\n\n"), ("d", b" \n")] {
        sandbox.sealift_with(&["seal", name, "--hosts", "@runner", "--stdin"], value).exits(0);
        assert_eq!(sandbox.show(name, "jay"), value);
        assert_eq!(sandbox.show(name, "web"), value);
        sandbox
            .sealift(&["show", name, "--identity", &sandbox.key("db")])
            .exits(5)
            .says("none of these identities opens it");
    }
}

#[test]
fn a_file_that_is_called_like_standard_input_is_that() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.value("piped");
    let seal = |more: &[&str]| {
        let words = [&["seal", "a", "--hosts", "web", "--from-file", "-"], more].concat();
        sandbox.sealift_with(&words, value.as_bytes())
    };
    seal(&["--shred"]).exits(2).says("`--shred` is for a file");
    seal(&[]).exits(0);
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    let next = sandbox.value("next");
    sandbox.sealift_with(&["rotate", "a", "--from-file", "-"], next.as_bytes()).exits(0);
    assert_eq!(sandbox.show("a", "jay"), next.as_bytes());
}

#[test]
fn what_is_mistyped_is_answered_in_our_words() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let run = sandbox.sealift(&["version"]).exits(2).says("'sealift --version' prints it");
    assert!(!run.stderr.contains("verify"), "{}", run.stderr);
    for wrong in ["x", "-1", "2.5"] {
        sandbox
            .sealift(&["rollback", "web", &format!("--to={wrong}")])
            .exits(2)
            .says("`sealift generations` lists them");
    }
    let run = sandbox.sealift(&["status", "--jobs", "many"]).exits(2).says("not a number");
    assert!(!run.stderr.contains("invalid digit"), "{}", run.stderr);
}

#[test]
fn stock_age_opens_what_is_sealed_here() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("token", &["--hosts", "web"]);
    for key in ["jay", "web"] {
        assert_eq!(sandbox.tool("age", &["-d", "-i", &sandbox.key(key), "secrets/token.age"]), value.as_bytes());
    }
}

#[test]
fn a_leak_is_found_by_the_harness() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("leak.txt", format!("x{}x", sandbox.value("leak")));
    assert_eq!(sandbox.leaks().len(), 1);
    std::fs::remove_file(sandbox.fleet().join("leak.txt")).expect("removed");
}

#[test]
fn a_value_that_a_started_program_is_given_is_found_by_the_harness() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let log = sandbox.path("started/log");
    sandbox.sealift(&["check"]).exits(0);
    let calls = std::fs::read_to_string(&log).expect("what git was given");
    assert!(calls.contains("/started/git\n") && calls.contains("HOME="), "{calls}");
    let git = || {
        let mut git = sandbox.command("git");
        git.env("PATH", sandbox.path_of_sealift());
        git
    };
    let (mut argument, mut variable) = (git(), git());
    argument.args(["--version", &sandbox.value("leak")]);
    variable.arg("--version").env("GIT_LEAK", sandbox.value("leak"));
    for command in [argument, variable] {
        std::fs::remove_file(&log).expect("removed");
        sandbox.run(command, b"").prints("git version");
        assert_eq!(sandbox.leaks(), [log.display().to_string()]);
    }
    std::fs::remove_file(&log).expect("removed");
}

#[test]
fn ctrl_c_ends_a_seal_that_waits_for_its_input() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let before = sandbox.read("recipients.toml");
    for signal in ["INT", "TERM"] {
        // A FIFO with a writer that writes nothing.
        let script = format!(
            "mkfifo {signal}; exec 9<>{signal}; exec timeout --preserve-status -s {signal} 1 \"$S\" seal a --hosts web --stdin <&9"
        );
        let mut command = sandbox.command("bash");
        command.args(["-c", &script]);
        command.env("S", env!("CARGO_BIN_EXE_sealift"));
        let run = sandbox.run(command, b"");
        sandbox.remember(&run);
        run.exits(130).says("interrupted");
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
    assert!(!sandbox.fleet().join("secrets/a.age").exists());
}

#[test]
fn a_key_that_is_pasted_at_the_wrong_place_is_not_printed() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let file = std::fs::read_to_string(sandbox.key("jay")).expect("a key");
    let key = file.lines().find(|line| line.starts_with("AGE-SECRET")).expect("a key");
    let option = format!("--{key}");
    let given = format!("--generate={key}");
    let calls: [&[&str]; 11] = [
        &[key],
        &[&option],
        &["who", key],
        &["seal", key],
        &["seal", "a", key],
        &["seal", "a", &option],
        &["seal", "a", &given],
        &["seal", "a", "--generate", "hex", "--length", key],
        &["check", key],
        &["identity", key],
        &["check", "--passphrase-fd", key],
    ];
    for call in calls {
        let run = sandbox.sealift(call);
        assert!(run.code != 0 && !format!("{}{}", run.stderr, run.text()).contains("AGE-SECRET"), "{call:?}: {run:?}");
    }
    sandbox.sealift(calls[6]).exits(2).says("possible values: ").says("--generate");
    sandbox.sealift(calls[7]).exits(2).says("--length");
    sandbox.sealift(&["seal", "a", "--generate", "hex", "--length", "7"]).exits(2).says("not in 8..=1024");
    sandbox.sealift(&["check", "--jsno"]).exits(2).says("'--jsno'");
    let policy = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", format!("{policy}\nghp0123456789abcdefghijklmnopqrstuvwxyz1 = 1\n"));
    let run = sandbox.sealift(&["check"]).exits(2).says("an unknown key or word");
    assert!(!run.stderr.contains("ghp0"), "{}", run.stderr);
}

#[test]
fn init_makes_the_fleet_that_is_named_and_offers_hosts_alone() {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    for host in ["web", "$(touch marker)", "a;b"] {
        std::fs::create_dir_all(sandbox.fleet().join("hosts").join(host)).expect("a folder");
    }
    let mut init = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    init.arg("init").env("SEALIFT_FLEET", sandbox.fleet()).current_dir(sandbox.path("home"));
    let run = sandbox.run(init, b"").exits(0).says("host add web ");
    // An invalid name is reported, and never appears in a suggested command.
    let run = run.says("a;b is configured here, and is not a configuration name");
    let mut commands = run.stderr.lines().filter(|line| line.starts_with("next:"));
    assert!(commands.all(|line| !line.contains("marker") && !line.contains("a;b")), "{}", run.stderr);
}

#[test]
fn a_length_that_would_be_ignored_is_refused() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let seal = |words: &[&str]| sandbox.sealift(&[&["seal", "a", "--hosts", "web", "--length", "40"], words].concat());
    seal(&["--generate", "wireguard"]).exits(2).says("a kind that has a length");
    seal(&["--generate"]).exits(2).says("a kind that has a length").says("`--generate password|hex|base64`;");
    seal(&["--generate", "hex"]).exits(0);
}

#[test]
fn every_kind_of_key_opens_here_and_with_stock_age_both_ways() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let mut keys = vec!["jay", "web"];
    for (name, options) in
        [("rsa", ["-t", "rsa", "-b", "3072", "-N", ""]), ("locked", ["-t", "ed25519", "-b", "256", "-N", "pass"])]
    {
        sandbox.tool("ssh-keygen", &[&["-q", "-C", "", "-f", &sandbox.key(name)][..], &options].concat());
        sandbox.sealift(&["host", "add", name, "--key-file", &format!("{}.pub", sandbox.key(name))]).exits(0);
        keys.push(name);
    }
    let value = sandbox.seal("a", &["--hosts", "*"]);
    let opens = |how: &str| {
        for key in &keys {
            let run = if *key == "locked" {
                let script = format!("printf 'pass\\n' | \"$0\" show a -i {} --passphrase-fd 0", sandbox.key(key));
                let mut command = sandbox.command("sh");
                command.args(["-c", &script, env!("CARGO_BIN_EXE_sealift")]);
                sandbox.run(command, b"")
            } else {
                sandbox.sealift(&["show", "a", "-i", &sandbox.key(key)])
            };
            assert_eq!(run.exits(0).text(), value, "{how}, {key}");
        }
    };
    opens("sealed here");
    for key in ["jay", "web", "rsa"] {
        assert_eq!(sandbox.tool("age", &["-d", "-i", &sandbox.key(key), "secrets/a.age"]), value.as_bytes());
    }
    let plain = sandbox.path("plain");
    std::fs::write(&plain, &value).expect("written");
    sandbox.allow(&plain);
    let jay = String::from_utf8(sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")])).expect("UTF-8");
    for armor in [&[][..], &["--armor"]] {
        let files: Vec<String> = ["web", "rsa", "locked"].map(|name| format!("{}.pub", sandbox.key(name))).to_vec();
        let mut arguments = armor.to_vec();
        arguments.extend(["-r", jay.trim(), "-o", "secrets/a.age"]);
        files.iter().for_each(|file| arguments.extend(["-R", file]));
        arguments.push(plain.to_str().expect("UTF-8"));
        sandbox.tool("age", &arguments);
        opens("sealed by age");
    }
}

#[test]
fn a_value_that_is_there_is_replaced_only_if_somebody_says_so() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    sandbox.sealift(&["seal", "wg", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    let other = sandbox.value("other");
    let seal = |words: &[&str]| sandbox.sealift_with(&[&["seal"], words].concat(), other.as_bytes());
    seal(&["a", "--stdin"]).exits(2).says("a exists (version 1, sealed today)").says("`sealift rotate a`");
    seal(&["wg", "--generate"]).exits(2).says("wg/web exists");
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    seal(&["a", "--stdin", "--replace"]).exits(0).says("sealed a (version 2)");
    assert_eq!(sandbox.show("a", "jay"), other.as_bytes());
    // Any existing file: one that belongs to no secret, or one that cannot be opened.
    sandbox.write("recipients.toml", sandbox.read("recipients.toml").split("[secrets").next().expect("a start"));
    seal(&["a", "--hosts", "web", "--stdin"]).exits(2).says("a exists (version 2");
    sandbox.write("secrets/a.age", "<<<<<<< ours\n");
    seal(&["a", "--hosts", "web", "--stdin"]).exits(2).says("a exists (it cannot be opened as it is)");
    assert!(!sandbox.read("recipients.toml").contains("[secrets"));
    seal(&["a", "--hosts", "web", "--stdin", "--replace"]).exits(0);
}

#[test]
fn a_person_is_asked_before_a_value_is_replaced() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let new = sandbox.value("typed");
    let script = |answer: &str, then: &str| {
        format!(
            "spawn $env(S) seal a\nsays \"a exists (version 1, sealed today). Replace it? \"\nsend \"{answer}\\r\"\n{then}ends\n"
        )
    };
    assert!(on_terminal(&sandbox, &script("", "")).text().contains("nothing was replaced"));
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
    let typed = format!("says \"Value of a: \"\nsend \"{new}\\r\"\nsays \"again: \"\nsend \"{new}\\r\"\n");
    assert!(on_terminal(&sandbox, &script("y", &typed)).text().contains("<0>"));
    assert_eq!(sandbox.show("a", "jay"), new.as_bytes());
}

#[test]
fn options_that_contradict_the_declaration_are_refused() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let given = ["--hosts", "web,db", "--owner", "jay", "--restart", "a.service", "--rotate-every", "90d"];
    sandbox.seal("a", &given);
    sandbox.sealift(&["seal", "made", "--hosts", "web", "--generate", "password", "--length", "40"]).exits(0);
    let before = sandbox.read("recipients.toml");
    let value = sandbox.value("new");
    let seal = |words: &[&str]| {
        sandbox.sealift_with(&[&["seal", "a", "--stdin", "--replace"], words].concat(), value.as_bytes())
    };
    for words in [
        &["--hosts", "web"][..],
        &["--owner", "root"],
        &["--group", "wheel"],
        &["--mode", "0440"],
        &["--path", "/run/else"],
        &["--shape", "token"],
        &["--restart", "b.service"],
        &["--reload", "a.service"],
        &["--needed-for-users"],
        &["--per-host"],
        &["--rotate-every", "30d"],
        &["--expires", "2030-01-01"],
        &["--description", "x"],
    ] {
        seal(words).exits(2).says("a is declared otherwise in recipients.toml").says(words[0]);
    }
    let made = |words: &[&str]| sandbox.sealift(&[&["seal", "made", "--replace"], words].concat());
    made(&["--generate", "hex"]).exits(2).says("--generate");
    made(&["--generate", "password", "--length", "32"]).exits(2).says("--generate");
    made(&["--generate", "password"]).exits(0);
    assert_eq!(sandbox.show("made", "jay").len(), 40);
    seal(&["--hosts", "db,web", "--owner", "jay", "--restart", "a.service", "--mode", "0400"]).exits(0);
    assert_eq!(sandbox.read("recipients.toml"), before);
}

#[test]
fn what_was_typed_is_no_fault_of_a_line_of_the_file() {
    let sandbox = Sandbox::with_fleet(&["web", "db@other"]);
    let before = sandbox.read("recipients.toml");
    for (options, what, help) in [
        (&["--hosts", "wbe"][..], "error: --hosts: there is no host wbe in recipients.toml", "did you mean web?"),
        (&["--hosts", "web", "--expires", "tomorrow"], "error: secrets.a.expires: not a date", "write it as"),
        (&["--hosts", "web", "--rotate-every", "soon"], "error: secrets.a.rotate_every: ", "help: "),
    ] {
        let arguments = [&["seal", "a", "--stdin"][..], options].concat();
        sandbox.sealift_with(&arguments, sandbox.value("a").as_bytes()).exits(2).says(what).says(help);
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
}

#[test]
fn a_value_may_come_from_another_sealift() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.sealift(&["seal", "made", "--hosts", "web", "--generate", "hex"]).exits(0);
    for verb in ["seal piped --hosts web", "rotate piped"] {
        let rotate = "\"$S\" rotate -q made";
        let pipe = format!("{{ {rotate} && {rotate} && {rotate} && printf value; }} | \"$S\" {verb} --stdin");
        let mut shell = sandbox.command("sh");
        shell.args(["-c", &pipe]).env("S", env!("CARGO_BIN_EXE_sealift"));
        sandbox.run(shell, b"").exits(0);
        assert_eq!(sandbox.show("piped", "jay"), b"value");
    }
}

#[test]
fn a_name_is_looked_at_before_a_value_is_read() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    for words in ["rotate aa --stdin", "rotate aa --from-file -", "seal b --hosts wbe --stdin"] {
        let run = on_terminal(&sandbox, &format!("spawn -noecho $env(S) {words}\nends"));
        assert!(run.text().contains("did you mean") && !run.text().contains("is a terminal"), "{}", run.text());
    }
}
