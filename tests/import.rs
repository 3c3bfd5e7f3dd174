//! import: an agenix repository is imported without a key, ciphertext byte for byte, and rekey seals it.

use crate::harness::Sandbox;

/// An agenix repository with two people, two machines and three secrets, sealed by stock age; returns the values.
fn agenix(folder: &str, rules: &str) -> (Sandbox, Vec<(String, String)>) {
    let sandbox = Sandbox::new();
    sandbox.tool("git", &["init", "-q", "-b", "main"]);
    let keys = [
        ("JAY", sandbox.age_key("jay")),
        ("KIM", sandbox.ssh_key("kim").replace("root@", "")),
        ("WEB", sandbox.ssh_key("web")),
        ("DB", sandbox.ssh_key("db")),
    ];
    let mut text = rules.to_owned();
    for (name, key) in &keys {
        text = text.replace(&format!("{name}_KEY"), key);
    }
    sandbox.write(&format!("{folder}secrets.nix"), text);
    let mut values = Vec::new();
    for (file, readers) in [("token.age", vec![0, 2]), ("Sub/DB_pass.age", vec![0, 1, 3]), ("mine.age", vec![0])] {
        let value = sandbox.value(file);
        let plain = sandbox.path("plain");
        std::fs::write(&plain, &value).expect("written");
        let target = sandbox.fleet().join(format!("{folder}{file}"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a directory");
        let mut arguments = vec!["-o", target.to_str().expect("UTF-8")];
        readers.iter().for_each(|at: &usize| arguments.extend(["-r", keys[*at].1.as_str()]));
        arguments.push(plain.to_str().expect("UTF-8"));
        sandbox.tool("age", &arguments);
        std::fs::remove_file(&plain).expect("removed");
        values.push((file.to_owned(), value));
    }
    sandbox.tool("git", &["add", "."]);
    sandbox.tool("git", &["commit", "-q", "-m", "agenix"]);
    sandbox.sealift(&["init"]).exits(0);
    (sandbox, values)
}

const RULES: &str = "let
  jay = \"JAY_KEY\";
  users = [ jay \"KIM_KEY\" ];
  web = \"WEB_KEY\";
  db = \"DB_KEY\";
  systems = [ web db ];
in
{
  \"token.age\".publicKeys = [ jay web ];
  \"Sub/DB_pass.age\" = { publicKeys = users ++ [ db ]; armor = false; };
  \"mine.age\".publicKeys = [ jay ];
  \"gone.age\".publicKeys = users ++ systems;
}
";

#[test]
fn names_of_machines_that_are_no_labels_become_configurations() {
    for (flake, comment, host, configuration) in [
        // The flake's name takes precedence, then the machine's own host name if it is the same name, then the rules.
        ("web_1 = 1; web-1 = 2;", "x", "web-1", Some("web_1")),
        ("web-1 = 2;", "x", "web-1", None),
        ("", "root@Web-1", "web-1", Some("Web-1")),
        ("", "root@web-1", "web-1", None),
        ("", "root@localhost", "web-1", Some("web_1")),
        ("\"web.lan\" = 1;", "root@web.lan", "web-lan", Some("web.lan")),
    ] {
        let rules =
            RULES.replace("jay \"KIM_KEY\"", "jay kim").replace("web = \"WEB", "kim = \"KIM_KEY\";\n  web = \"WEB");
        let (sandbox, _) = agenix("", &rules);
        let text = sandbox
            .read("secrets.nix")
            .replace("root@web", comment)
            .replace("web =", "web_1 =")
            .replace(" web ", " web_1 ");
        sandbox.write("secrets.nix", text);
        sandbox.write("flake.nix", format!("{{ outputs = _: {{ nixosConfigurations = {{ {flake} }}; }}; }}\n"));
        let run = sandbox.sealift(&["import", "agenix", "--dry-run"]).exits(0);
        let line = configuration.map_or(String::new(), |name| format!(", which is {name} in the flake"));
        let run = run.prints(&format!("host {host}{line}\n"));
        assert!(run.text().contains(&format!("secret token for {host}\n")), "{}", run.text());
        sandbox.sealift(&["import", "agenix", "--yes"]).exits(0);
        let policy = sandbox.read("recipients.toml");
        assert_eq!(policy.matches("configuration = ").count(), usize::from(configuration.is_some()), "{policy}");
        if let Some(name) = configuration {
            assert!(policy.contains(&format!("configuration = \"{name}\"")), "{policy}");
        }
    }
}

#[test]
fn agenix_is_taken_over_without_a_key_and_rekeyed_with_one() {
    for folder in ["secrets/", "", "nix/"] {
        let rules =
            RULES.replace("jay \"KIM_KEY\"", "jay kim").replace("web = \"WEB", "kim = \"KIM_KEY\";\n  web = \"WEB");
        let (sandbox, values) = agenix(folder, &rules);
        let before = std::fs::read(sandbox.fleet().join(format!("{folder}token.age"))).expect("a file");
        let option = format!("{folder}secrets.nix");
        let arguments =
            if folder == "nix/" { vec!["import", "agenix", "--rules", &option] } else { vec!["import", "agenix"] };
        let policy = sandbox.read("recipients.toml");
        sandbox
            .sealift(&[arguments.as_slice(), &["--dry-run"]].concat())
            .exits(0)
            .prints("secret")
            .prints("host web\n");
        sandbox.sealift(&arguments).exits(1).says("nothing was taken over");
        assert_eq!(sandbox.read("recipients.toml"), policy);
        let run = sandbox.sealift(&[arguments.as_slice(), &["--yes"]].concat()).exits(0);
        let run = run.says("gone.age was left: there is no such file").says("kim could not open it");
        let place = if folder == "nix/" { "nix/" } else { "" };
        assert_eq!(std::fs::read(sandbox.fleet().join(format!("secrets/{place}token.age"))).expect("a file"), before);
        let staged = String::from_utf8(sandbox.tool("git", &["status", "--porcelain"])).expect("UTF-8");
        assert!(staged.lines().all(|line| !line.starts_with(' ') && !line.starts_with('?')), "{staged}");
        sandbox.sealift(&["check"]).exits(3);
        let names = ["token", "sub/db_pass", "mine"].map(|name| format!("{place}{name}"));
        let adopt: Vec<&str> = names.iter().flat_map(|name| ["--adopt", name.as_str()]).collect();
        run.says(&format!("--adopt {}", names[0]));
        let jay = sandbox.key("jay");
        sandbox.sealift(&["rekey", "--identity", &jay]).exits(1).says("has no seal and stays as it is");
        sandbox.sealift(&[&["rekey", "--identity", &jay], adopt.as_slice()].concat()).exits(0);
        sandbox.sealift(&["check"]).exits(0);
        for (file, readers) in
            [("token", ["jay", "web", "kim"]), ("sub/db_pass", ["jay", "db", "kim"]), ("mine", ["jay", "kim", "jay"])]
        {
            let value = &values.iter().find(|(name, _)| name.to_lowercase() == format!("{file}.age")).expect("it").1;
            for reader in readers {
                assert_eq!(sandbox.show(&format!("{place}{file}"), reader), value.as_bytes());
            }
        }
        sandbox.sealift(&["show", &format!("{place}token"), "--identity", &sandbox.key("db")]).exits(5);
    }
}

#[test]
fn check_says_how_files_of_agenix_are_taken_over() {
    let (sandbox, _) = agenix("secrets/", RULES);
    let import = "if secrets/secrets.nix names it, `sealift import agenix` declares it";
    let run = sandbox.sealift(&["check"]).exits(3).prints("secrets/token.age: no secret in the policy").prints(import);
    assert!(!run.text().contains("sealift rm"), "{}", run.text());
    std::fs::remove_file(sandbox.fleet().join("secrets/secrets.nix")).expect("removed");
    let run = sandbox.sealift(&["check"]).exits(3).prints("delete it: `sealift rm token`");
    assert!(!run.text().contains("import agenix"), "{}", run.text());
}

#[test]
fn what_is_not_told_is_asked_for() {
    let (sandbox, _) = agenix("secrets/", RULES);
    let before = sandbox.read("recipients.toml");
    let run = sandbox.sealift(&["import", "agenix", "--yes"]).exits(2);
    run.says("a key without a name").says("--admin NAME");
    for (from, to, why) in [
        ("\"KIM_KEY\"", "(import ./kim.nix)", "which is not read here"),
        ("jay = \"JAY_KEY\"", "jay = \"ssh-ed25519 nonsense\"", "a key of token.age"),
        ("in\n", "in x:\n", "needs Nix"),
    ] {
        sandbox.write("other/secrets.nix", RULES.replace(from, to).replace("\"KIM_KEY\"", "jay"));
        sandbox.sealift(&["import", "agenix", "--rules", "other/secrets.nix", "--yes"]).exits(2).says(why);
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
    sandbox.sealift(&["import", "sops"]).exits(2).says("sops decrypt --extract");
}

#[test]
fn a_rule_cannot_lead_out_of_the_fleet() {
    let (sandbox, _) = agenix("secrets/", RULES);
    let outside = sandbox.path("home/outside.age");
    std::fs::write(&outside, "theirs").expect("written");
    let key = sandbox.age_key("other");
    for file in ["../../home/outside.age", "/etc/passwd", "./a.age", "-x/../../y.age"] {
        let rules = format!("let users = [ jay ]; jay = \"{key}\"; in {{ \"{file}\".publicKeys = users; }}");
        sandbox.write("secrets/secrets.nix", rules);
        sandbox.sealift(&["import", "agenix", "--dry-run"]).exits(0).says("leads out of the folder");
    }
    std::os::unix::fs::symlink(&outside, sandbox.fleet().join("secrets/Link.age")).expect("a link");
    let rules = format!("let users = [ jay ]; jay = \"{key}\"; in {{ \"Link.age\".publicKeys = users; }}");
    sandbox.write("secrets/secrets.nix", rules);
    sandbox.sealift(&["import", "agenix", "--yes"]).exits(1).says("a symbolic link");
    assert_eq!(std::fs::read(&outside).expect("there"), b"theirs");
}

/// The rules with each key in a file of its own.
fn in_files() -> String {
    named()
        .replace("jay = \"JAY_KEY\"", "jay = builtins.readFile ../keys/jay.pub")
        .replace("kim = \"KIM_KEY\"", "kim = builtins.readFile ./kim.pub")
        .replace("web = \"WEB_KEY\"", "web = lib.fileContents ../keys/web.pub")
        .replace("db = \"DB_KEY\"", "db = lib.readFile ../keys/db.pub")
}

#[test]
fn keys_that_lie_in_files_are_read_and_nothing_else_is() {
    let (sandbox, values) = agenix("secrets/", &in_files());
    let public = |name: &str| std::fs::read_to_string(format!("{}.pub", sandbox.key(name))).expect("a public key");
    sandbox.write("keys/jay.pub", sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")]));
    sandbox.write("secrets/kim.pub", public("kim").replace("root@", ""));
    sandbox.write("keys/web.pub", public("web"));
    sandbox.write("keys/db.pub", public("db"));

    // Outside, or by a link, it may be anybody's; and what is no public key is not shown.
    let (web, folder) = (sandbox.fleet().join("keys/web.pub"), sandbox.fleet().join("keys"));
    let (outside, moved) = (sandbox.path("home/web.pub"), sandbox.fleet().join("moved"));
    let before = sandbox.read("recipients.toml");
    let refused = |why: &str| {
        let run = sandbox.sealift(&["import", "agenix", "--yes"]).exits(2).says("secrets/secrets.nix: line ").says(why);
        assert!(!run.stderr.contains("not to be shown") && !run.stderr.contains("AGE-SECRET"), "{}", run.stderr);
        assert_eq!(sandbox.read("recipients.toml"), before);
    };
    std::fs::rename(&web, &outside).expect("moved");
    refused("keys/web.pub\n  | No such file");
    std::os::unix::fs::symlink(&outside, &web).expect("a link");
    refused("keys/web.pub is a symbolic link, or lies behind one");
    std::fs::remove_file(&web).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, &web, rustix::fs::Mode::from_raw_mode(0o600)).expect("a pipe");
    refused("keys/web.pub is not a regular file");
    std::fs::remove_file(&web).expect("removed");
    sandbox.write("keys/web.pub", "no key, and not to be shown");
    refused("../keys/web.pub is no public key");
    sandbox.write("keys/web.pub", std::fs::read(sandbox.key("jay")).expect("read"));
    refused("../keys/web.pub is no public key");
    std::fs::remove_file(&web).expect("removed");
    sandbox.write("keys/web.pub", "#".repeat(20_000));
    refused("more than 16384 are not read");
    std::fs::copy(&outside, &web).expect("copied");
    std::fs::rename(&folder, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &folder).expect("a link");
    refused("is a symbolic link, or lies behind one");
    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&moved, &folder).expect("moved");
    let rules = sandbox.read("secrets/secrets.nix");
    for (path, why) in [
        ("../../home/web.pub", "../../home/web.pub is not in the fleet"),
        (outside.to_str().expect("UTF-8"), "named by a plain path"),
    ] {
        sandbox.write("secrets/secrets.nix", rules.replace("../keys/web.pub", path));
        refused(why);
    }
    sandbox.write("secrets/secrets.nix", rules);

    let plan = sandbox.sealift(&["import", "agenix", "--dry-run"]).exits(0);
    for line in ["admin jay", "admin kim", "host web", "host db", "secret sub/db_pass for db"] {
        assert!(plan.text().lines().any(|other| other == line), "{line}: {}", plan.text());
    }
    sandbox.sealift(&["import", "agenix", "--yes"]).exits(0);
    assert_eq!(sandbox.show("token", "web"), values[0].1.as_bytes());
}

/// The rules with a name for every key.
fn named() -> String {
    RULES.replace("jay \"KIM_KEY\"", "jay kim").replace("web = \"WEB", "kim = \"KIM_KEY\";\n  web = \"WEB")
}

#[test]
fn with_a_key_the_files_get_their_seals_in_the_same_step() {
    for folder in ["secrets/", "", "nix/"] {
        let (sandbox, values) = agenix(folder, &named());
        let rules = format!("{folder}secrets.nix");
        let jay = sandbox.key("jay");
        let import = ["import", "agenix", "--rules", &rules, "--adopt", "--yes"];
        let policy = sandbox.read("recipients.toml");
        sandbox.sealift(&import).exits(5);
        assert_eq!(sandbox.read("recipients.toml"), policy, "neither rules nor files");
        let run = sandbox.sealift(&[&import[..], &["--identity", &jay]].concat()).exits(0);
        run.says("kim (admin) gains access");
        sandbox.sealift(&["check"]).exits(0);
        let place = if folder == "nix/" { "nix/" } else { "" };
        for (file, reader) in [("token", "web"), ("sub/db_pass", "db"), ("mine", "kim")] {
            let value = &values.iter().find(|(name, _)| name.to_lowercase() == format!("{file}.age")).expect("it").1;
            assert_eq!(sandbox.show(&format!("{place}{file}"), reader), value.as_bytes());
        }
    }
}

#[test]
fn a_rule_does_not_make_a_file_what_it_says() {
    // A file of one rule under a rule for somebody else; and a file with a reader that no rule names.
    let (sandbox, _) = agenix("secrets/", &named());
    let evil = sandbox.ssh_key("evil");
    let rules = sandbox.read("secrets/secrets.nix");
    let rules = rules.replace("  db = ", &format!("  evil = \"{evil}\";\n  db = "));
    let rules = rules.replace("systems = [ web db ]", "systems = [ web db evil ]");
    sandbox.write(
        "secrets/secrets.nix",
        rules.replace("\"gone.age\".publicKeys = users ++ systems", "\"gone.age\".publicKeys = [ evil ]"),
    );
    std::fs::copy(sandbox.fleet().join("secrets/token.age"), sandbox.fleet().join("secrets/gone.age")).expect("copied");
    let plain = sandbox.path("plain");
    std::fs::write(&plain, sandbox.value("mine")).expect("written");
    let (db, jay) = (format!("{}.pub", sandbox.key("db")), sandbox.key("jay"));
    let public = String::from_utf8(sandbox.tool("age-keygen", &["-y", &jay])).expect("UTF-8");
    sandbox.tool("age", &["-r", public.trim(), "-R", &db, "-o", "secrets/mine.age", plain.to_str().expect("UTF-8")]);
    std::fs::remove_file(&plain).expect("removed");
    let run = sandbox.sealift(&["import", "agenix", "--adopt", "--yes", "--identity", &jay]).exits(4);
    let run = run.says("gone gets no seal: another rule has this very file").says("token gets no seal");
    run.says("mine gets no seal: its rule does not name db, who can read it");
    for name in ["gone", "token"] {
        sandbox.sealift(&["rekey", "--adopt", name, "--remove", "web", "--identity", &jay]).exits(8);
    }
    sandbox.sealift(&["show", "gone", "--identity", &sandbox.key("evil")]).exits(5);
    assert_eq!(sandbox.show("sub/db_pass", "db"), sandbox.value("Sub/DB_pass.age").as_bytes());
}
