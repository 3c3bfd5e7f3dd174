//! `list`: who reads what, at a glance; and how it is displayed.

use std::os::unix::fs::PermissionsExt;

use crate::harness::Sandbox;
use crate::identity::on_terminal;

/// Three hosts, two of them with a tag, and secrets with every kind of reader.
fn fleet() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["db", "web-1@web", "web-2@web"]);
    sandbox.seal("everywhere", &["--hosts", "*"]);
    sandbox.seal("front", &["--hosts", "@web"]);
    sandbox.seal("one", &["--hosts", "web-1"]);
    sandbox
}

#[test]
fn the_matrix_has_one_sign_a_cell() {
    let sandbox = fleet();
    let lines = |words: &[&str]| {
        let words = [&["list"], words].concat();
        sandbox.sealift(&words).exits(0).text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&["--matrix"]),
        [
            "secret      db  web-1  web-2",
            "everywhere  *   *      *",
            "front       ·   ●      ●",
            "one         ·   ●      ·",
            "",
            "* reads it, as every host does · ● reads it · · nothing"
        ]
    );
    assert_eq!(
        lines(&["--by-tag"])[..4],
        ["secret      @web  db", "everywhere  *     *", "front       ●     ·", "one         ◐     ·"]
    );
    let of_db = lines(&["--matrix", "--host", "db"]);
    assert_eq!(of_db[..2], ["secret      db", "everywhere  *"]);
    assert_eq!(of_db.last().unwrap(), "2 more files of no concern to these hosts");
    assert_eq!(lines(&["--matrix", "--host", "@web"])[0], "secret      web-1  web-2");
    sandbox.sealift(&["list", "--host", "@wbe"]).exits(2).says("did you mean @web?");

    // A fault of one host is not hidden by the others of its tag.
    let policy = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", policy.replace("hosts = [\"web-1\"]", "hosts = [\"web-2\"]"));
    assert_eq!(lines(&["--matrix"])[3], "one         ·   !      ○");
    assert_eq!(lines(&["--by-tag"])[3], "one         ○     ·");
}

#[test]
fn the_fields_of_the_matrix_stay() {
    let sandbox = fleet();
    let json = |words: &[&str]| sandbox.sealift(&[&["list", "--json"], words].concat()).exits(0).json();
    let matrix = json(&["--matrix"]);
    assert_eq!(matrix["hosts"], serde_json::json!(["db", "web-1", "web-2"]));
    assert_eq!(matrix["rows"][1], serde_json::json!(["front", ["none", "reads", "reads"]]));
    assert_eq!(matrix["selectors"]["everywhere"], serde_json::json!(["*"]));
    let tags = json(&["--by-tag"]);
    assert_eq!(
        (&tags["columns"], &tags["rows"][2]),
        (&serde_json::json!(["@web", "db"]), &serde_json::json!(["one", ["some", "none"]]))
    );
    let rows = json(&["--host", "db"]);
    assert_eq!(rows["files"].as_array().unwrap().len(), 1);
    assert_eq!(rows["files"][0]["hosts"], serde_json::json!(["db", "web-1", "web-2"]));
    assert_eq!(rows["files"][0]["selectors"], serde_json::json!(["*"]));
}

#[test]
fn what_each_host_has_for_itself_is_one_row() {
    let sandbox = fleet();
    let policy = sandbox.read("recipients.toml");
    let own = "\n[secrets.own]\nhosts = [\"*\"]\nper_host = true\ngenerate = { kind = \"hex\" }\n";
    sandbox.write("recipients.toml", policy + own);
    sandbox.sealift(&["rotate", "own"]).exits(0);
    let text = sandbox.sealift(&["list", "--matrix"]).exits(0).text();
    assert!(text.contains("own/‹host›  ●   ●      ●"), "{text}");
    // One that another host can read as well is listed separately.
    let fleet = sandbox.fleet();
    std::fs::remove_file(fleet.join("secrets/own/db.age")).unwrap();
    let text = sandbox.sealift(&["list", "--matrix"]).exits(0).text();
    assert!(text.contains("own/‹host›  ○   ●      ●"), "{text}");
}

#[test]
fn a_star_stays_a_star() {
    let sandbox = fleet();
    let text = sandbox.sealift(&["list"]).exits(0).text();
    let last = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().rsplit("  ").next().unwrap();
    assert_eq!((last("everywhere"), last("front"), last("one")), ("*", "@web", "web-1"), "{text}");
}

#[test]
fn no_word_breaks_at_sixty_columns() {
    let sandbox = fleet();
    let policy = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", policy.replace("hosts = [\"@web\"]", "hosts = [\"db\"]"));
    for verb in ["list", "list --matrix", "list --by-tag", "check", "status --help"] {
        let script = format!("set stty_init {{columns 60 rows 40}}\nspawn env SEALIFT_PAGER= $env(S) {verb}\nends\n");
        let shown = on_terminal(&sandbox, &script).text();
        let shown = shown.split_once("\r\n").expect("what expect says itself").1;
        let plain = shown.replace("\u{1b}[", "\u{1b}").replace('\r', "");
        let width = |line: &str| {
            line.split('\u{1b}')
                .enumerate()
                .map(|(at, part)| match (at, part.split_once('m')) {
                    (0, _) | (_, None) => part.chars().count(),
                    (_, Some((_, text))) => text.chars().count(),
                })
                .sum::<usize>()
        };
        let wide: Vec<&str> = plain.lines().filter(|line| width(line) > 60).collect();
        assert!(wide.is_empty() && plain.lines().count() > 3, "{verb}: {wide:#?}\n{plain}");
    }
}

#[test]
fn a_secret_has_one_line_at_eighty_columns() {
    let sandbox = Sandbox::with_fleet(&["framework-13", "db", "build-host@runner"]);
    let more = ["--description", "What the database asks for", "--rotate-every", "90d", "--expires", "2099-12-01"];
    sandbox.seal("gitea-runner-token", &[&["--hosts", "framework-13,db,build-host"][..], &more].concat());
    sandbox.seal("wifi", &["--hosts", "*"]);
    let lines = |width: usize| {
        let script =
            format!("set stty_init {{columns {width} rows 40}}\nspawn env SEALIFT_PAGER= $env(S) list\nends\n");
        let shown = on_terminal(&sandbox, &script).text().replace('\r', "");
        shown.lines().skip(1).filter(|line| !line.starts_with('<')).map(str::to_owned).collect::<Vec<_>>()
    };
    for width in [60, 80, 100, 120] {
        let lines = lines(width);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.chars().count() <= width), "{lines:#?}");
    }
    let at_eighty = lines(80);
    assert!(at_eighty[1].contains("2099-12-01"), "{at_eighty:#?}");
    assert!(at_eighty[1].ends_with("framework-13 db build-host"), "{at_eighty:#?}");
    assert!(lines(60)[1].ends_with("framework-13 db +1") && lines(100)[1].contains("What the "), "{at_eighty:#?}");
    assert!(!at_eighty[0].contains("shape") && at_eighty[0].contains("rotate by"), "{at_eighty:#?}");
    // Without a terminal nothing is left out.
    let all = sandbox.sealift(&["list"]).exits(0).text();
    assert!(all.contains("90d due ") && all.contains("framework-13 db build-host"), "{all}");
}

/// A pager that saves its input.
fn pager(sandbox: &Sandbox, name: &str) -> String {
    let program = sandbox.path(name);
    let script = format!("#!/bin/sh\necho \"LESS=$LESS $*\" > '{0}.got'\ncat >> '{0}.got'\n", program.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program.to_str().unwrap().to_owned()
}

#[test]
fn the_pager_is_for_a_terminal_and_never_for_a_value() {
    let sandbox = fleet();
    let (ours, others) = (pager(&sandbox, "ours"), pager(&sandbox, "others"));
    let got = |pager: &str| std::fs::read_to_string(format!("{pager}.got")).ok();
    let key = sandbox.key("jay");
    let run = |before: &str, verb: &str| {
        on_terminal(&sandbox, &format!("spawn env {before} PAGER={others} $env(S) {verb}\nends\n")).text()
    };
    // Not without a terminal.
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(["list", "--matrix"]).env("SEALIFT_PAGER", &ours);
    sandbox.run(command, b"").exits(0).prints("everywhere");
    assert_eq!(got(&ours), None);
    // Never for a value, wherever it is shown.
    let shown = run(&format!("SEALIFT_PAGER={ours}"), &format!("show one -i {key}"));
    assert!(shown.contains(&sandbox.value("one")), "{shown}");
    assert_eq!((got(&ours), got(&others)), (None, None));
    // An empty variable means no pager.
    assert!(run("SEALIFT_PAGER=", "list --matrix").contains("everywhere"));
    assert_eq!(got(&others), None);
    // Our own variable takes precedence; it is split into words, without a shell.
    let shown = run(&format!("{{SEALIFT_PAGER={ours} -x '$(id) ;'}} "), "list --matrix");
    assert!(!shown.contains("everywhere"), "{shown}");
    let text = got(&ours).expect("it ran");
    assert!(text.starts_with("LESS=FRX -x $(id) ;\n") && text.contains("everywhere"), "{text}");
    // If the user has set LESS, it is left alone.
    run("LESS=S", "list");
    assert!(got(&others).expect("it ran").starts_with("LESS=S \n"));
    // If the pager is missing, the output is shown without it.
    assert!(run("SEALIFT_PAGER=no-such-pager", "list --matrix").contains("everywhere"));
}

#[test]
fn where_nothing_is_there_yet_the_first_step_is_told() {
    let empty = Sandbox::new();
    empty.tool("git", &["init", "-q", "-b", "main"]);
    empty.sealift(&["init"]).exits(0);
    for verb in [&["list"][..], &["list", "--matrix"], &["host", "list"], &["status"], &["verify", "--all"]] {
        let run = empty.sealift(verb).exits(0).says("there are no hosts yet: `sealift host add NAME");
        assert!(!run.text().starts_with('\n'), "{verb:?} prints an empty picture");
        let json = empty.sealift(&[verb, &["--json"]].concat()).exits(0);
        assert!(json.stderr.is_empty(), "{verb:?}: {}", json.stderr);
    }
    // Before anything is looked at: there is no flake yet.
    for verb in [&["deploy", "--all"][..], &["deploy", "--all", "--dry-run"], &["plan", "--all"]] {
        let run =
            empty.sealift(verb).exits(0).says("there are no hosts yet: `sealift host add NAME --ssh USER@ADDRESS`");
        assert!(!run.stderr.contains("preconditions"), "{}", run.stderr);
    }
    // One wording of how a host is added.
    let run = empty.sealift_with(&["seal", "a", "--hosts", "*", "--generate"], b"").exits(2);
    run.says("a would be for no host").says("add one: `sealift host add NAME --ssh USER@ADDRESS`");
    empty.sealift(&["rekey"]).exits(0).says("nothing to re-encrypt");
    let hosts = Sandbox::with_fleet(&["web"]);
    hosts.sealift(&["list"]).exits(0).says("there are no secrets yet: `sealift seal NAME --hosts HOST,@TAG`");
    hosts.seal("a", &["--hosts", "web"]);
    assert!(!hosts.sealift(&["list"]).exits(0).stderr.contains("yet"));
}

#[test]
fn status_says_once_why_several_hosts_are_away() {
    let sandbox = Sandbox::with_fleet(&["db", "mail", "web"]);
    let policy = sandbox.read("recipients.toml");
    sandbox.write("recipients.toml", policy.replace("]\nkeys", "]\naddress = \"ssh://jay@127.0.0.1:1\"\nkeys"));
    let run = sandbox.sealift(&["status"]).exits(7);
    assert_eq!(
        run.stderr,
        "connections are refused: db, mail, web (3 hosts); is sshd running there, and on this port?\n"
    );
    // A single one is reported in full.
    sandbox.sealift(&["status", "db"]).exits(7).says("db: jay@127.0.0.1 port 1 refuses connections: ");
    let told = sandbox.sealift(&["status", "--json"]).exits(7).json();
    assert!(told["hosts"][2]["reason"].as_str().is_some_and(|why| why.starts_with("web: ")), "{told}");
}
