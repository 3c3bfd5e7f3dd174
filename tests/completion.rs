//! Completion in real shells with real key presses, and in fleets with hostile content.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Sandbox, not_run};
use crate::identity::on_terminal;

/// The setup of one shell's completion, with Control-G bound to writing the command line to a file.
struct Shell {
    name: &'static str,
    start: &'static str,
    setup: &'static str,
    /// The keys that insert all candidates into the line.
    all: &'static str,
}

const SHELLS: [Shell; 3] = [
    Shell {
        name: "bash",
        start: "bash --norc --noprofile -i",
        setup: "source <(sealift completions bash)\nbind -x '\"\\C-g\": echo \"$READLINE_LINE\" >>lines'\n",
        all: "\\033*",
    },
    Shell {
        name: "zsh",
        start: "zsh -f -i",
        setup: "autoload -Uz compinit && compinit -u -D\nsource <(sealift completions zsh)\n\
                written() { print -r -- \"$BUFFER\" >>lines }\nzle -N written\nbindkey '^G' written\n\
                zle -C all-matches complete-word _generic\nbindkey '^Xa' all-matches\n\
                zstyle ':completion:all-matches:*' completer _all_matches _complete\n\
                zstyle ':completion:all-matches:*' insert yes\n",
        all: "\\030a",
    },
    Shell {
        name: "fish",
        start: "fish --no-config -i",
        setup: "sealift completions fish | source\nbind \\cg 'commandline >>lines'\n",
        all: "",
    },
];

/// A PATH with the program under test first.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_sealift")).parent().expect("a folder").display().to_string();
    format!("{program}:{}", std::env::var("PATH").unwrap_or_default())
}

fn is_there(program: &str) -> bool {
    let there = std::env::split_paths(&path()).any(|folder| folder.join(program).exists());
    if !there {
        not_run(&format!("completion in {program}"), "it is not installed");
    }
    there
}

impl Shell {
    /// Types each string, presses the keys, and returns the resulting command lines.
    fn lines(&self, sandbox: &Sandbox, typed: &[&str], keys: &str) -> Vec<String> {
        sandbox.write("setup", self.setup);
        let file = sandbox.fleet().join("lines");
        let _none = std::fs::remove_file(&file);
        let mut script = format!(
            "set stty_init {{rows 40 cols 200}}\nset env(PATH) {{{}}}\n\
             proc written {{}} {{ expr {{[file exists lines] ? [llength [split [exec cat lines] \\n]] : 0}} }}\n\
             spawn {}\nsleep 0.5\nsend {{source ./setup; echo is-\"\"set-up}}\nsend \"\\r\"\nsays \"is-set-up\"\nsleep 0.5\n",
            path(),
            self.start,
        );
        for (at, typed) in typed.iter().enumerate() {
            // Control-G writes the line to the file, Control-U clears it.
            script += &format!(
                "send {{{typed}}}\nsend \"{keys}\\007\"\n\
                 for {{set i 0}} {{$i < 400 && [written] <= {at}}} {{incr i}} {{ expect -timeout 0; after 50 }}\n\
                 send \"\\025\"\n"
            );
        }
        on_terminal(sandbox, &script);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(lines.len(), typed.len(), "{}: {lines:#?}", self.name);
        lines
    }
}

/// A fleet with several hosts, tags and secrets.
fn fleet() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db", "laptop"]);
    for (name, hosts) in [("db-password", "db"), ("ci/token", "@runner")] {
        sandbox.seal(name, &["--hosts", hosts]);
    }
    sandbox.write("a-file.txt", "");
    sandbox
}

#[test]
fn shells_complete_the_names_of_the_fleet() {
    let sandbox = fleet();
    for shell in SHELLS.iter().filter(|shell| is_there(shell.name)) {
        let wanted = [
            ("sealift depl", "sealift deploy"),
            ("sealift help rota", "sealift help rotate"),
            ("sealift deploy w", "sealift deploy web"),
            ("sealift deploy db la", "sealift deploy db laptop"),
            ("sealift deploy @", "sealift deploy @runner"),
            ("sealift deploy @ru", "sealift deploy @runner"),
            ("sealift deploy --canary=la", "sealift deploy --canary=laptop"),
            ("sealift deploy --require", "sealift deploy --require-all"),
            ("sealift deploy --action dry", "sealift deploy --action dry-activate"),
            ("sealift show db", "sealift show db-password"),
            ("sealift show ci/", "sealift show ci/token"),
            ("sealift seal new --hosts db,@", "sealift seal new --hosts db,@runner"),
            ("sealift seal new --shape js", "sealift seal new --shape json"),
            ("sealift host rm la", "sealift host rm laptop"),
            ("sealift host add new --tag ru", "sealift host add new --tag runner"),
            ("sealift identity forget --admin j", "sealift identity forget --admin jay"),
            ("sealift seal new --from-file a-f", "sealift seal new --from-file a-file.txt"),
        ];
        let (typed, completed): (Vec<&str>, Vec<&str>) = wanted.into_iter().unzip();
        assert_eq!(shell.lines(&sandbox, &typed, "\\t"), completed, "{}", shell.name);
    }
}

#[test]
fn shells_offer_all_that_fit_and_no_options_among_names() {
    let sandbox = fleet();
    for shell in SHELLS.iter().filter(|shell| !shell.all.is_empty() && is_there(shell.name)) {
        let lines = shell.lines(&sandbox, &["sealift deploy "], shell.all);
        let words: std::collections::BTreeSet<&str> = lines[0].split_whitespace().skip(2).collect();
        assert_eq!(words, std::collections::BTreeSet::from(["@runner", "db", "laptop", "web"]), "{}", shell.name);
    }
    if is_there("fish") {
        let mut fish = sandbox.command("fish");
        let script = "sealift completions fish | source; complete -C 'sealift deploy '";
        fish.args(["--no-config", "-c", script]).env("PATH", path());
        let shown = sandbox.run(fish, b"").exits(0).text();
        assert_eq!(shown.lines().collect::<Vec<_>>(), ["db", "laptop", "web", "@runner"]);
    }
}

#[test]
fn zsh_completes_at_the_first_key_from_a_file_of_fpath() {
    if !is_there("zsh") {
        return;
    }
    let sandbox = fleet();
    let script = sandbox.sealift(&["completions", "zsh"]).exits(0).text();
    sandbox.write("functions/_sealift", script);
    let shell = Shell {
        setup: "fpath=($PWD/functions $fpath)\nautoload -Uz compinit && compinit -u -D\n\
                written() { print -r -- \"$BUFFER\" >>lines }\nzle -N written\nbindkey '^G' written\n",
        ..SHELLS[1]
    };
    assert_eq!(shell.lines(&sandbox, &["sealift deploy la"], "\\t"), ["sealift deploy laptop"]);
}

/// The candidates that bash gets for these words.
fn offered(sandbox: &Sandbox, words: &[&str]) -> String {
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.arg("--").arg("sealift").args(words).env("SEALIFT_COMPLETE", "bash");
    let run = sandbox.run(command, b"").exits(0);
    assert_eq!(run.stderr, "", "{words:?}");
    run.text()
}

#[test]
fn a_fleet_that_cannot_be_read_has_no_names() {
    let sandbox = fleet();
    let whole = sandbox.read("recipients.toml");
    let is = |what: &str, hosts: &str| {
        assert_eq!(offered(&sandbox, &["deploy", ""]).replace('\n', " ").trim(), hosts, "{what}");
        // The program's own words are offered for any fleet.
        assert_eq!(offered(&sandbox, &["depl"]), "deploy\n", "{what}");
    };
    is("as it is", "db laptop web @runner");
    let configured = |name: &str| whole.replace("[hosts.web]", &format!("[hosts.web]\nconfiguration = \"{name}\""));
    sandbox.write("recipients.toml", configured("Web_1"));
    is("with a name of the flake", "db laptop web @runner");
    assert_eq!(
        (offered(&sandbox, &["deploy", "We"]), offered(&sandbox, &["deploy", "we"])),
        ("Web_1\n".into(), "web\n".into())
    );
    let options = offered(&sandbox, &["--fleet", "/nonexistent", "deploy", ""]);
    assert!(options.lines().all(|word| word.starts_with("--")) && options.contains("--all"), "{options}");
    let none = options.replace('\n', " ");
    let none = none.trim();
    for (what, text) in [
        ("empty", String::new()),
        ("no TOML", "[[[".to_owned()),
        ("half of it", whole[..whole.len() / 2].to_owned()),
        ("a name for the shell", format!("{whole}\n[hosts.\"$(touch ran)\"]\nkeys = []\n")),
        ("a configuration for the shell", configured("$(touch ran)")),
        ("a name for the terminal", format!("{whole}\n[hosts.\"a\\u001b]0;x\\u0007\"]\nkeys = []\n")),
        ("two lines in a name", format!("{whole}\n[secrets.\"a\\nrm -rf x\"]\nhosts = [\"web\"]\n")),
        ("an option as a name", format!("{whole}\n[secrets.\"--yes\"]\nhosts = [\"web\"]\n")),
        ("longer than is waited for", format!("{whole}\n#{}", "x".repeat(600 << 10))),
        ("longer than is read", format!("{whole}\n#{}", "x".repeat(5 << 20))),
        ("deep", format!("{whole}\nx = {}", "[".repeat(100_000))),
    ] {
        sandbox.write("recipients.toml", text);
        is(what, none);
    }
    let file = sandbox.fleet().join("recipients.toml");
    for make in [
        "mkfifo recipients.toml",
        "mkdir recipients.toml",
        "ln -s /dev/zero recipients.toml",
        "printf '\\377' >recipients.toml",
    ] {
        let _kind = std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir(&file));
        sandbox.tool("sh", &["-c", make]);
        let started = Instant::now();
        is(make, none);
        assert!(started.elapsed() < Duration::from_secs(10), "{make}");
    }
    assert!(!sandbox.fleet().join("ran").exists());
}

#[test]
fn files_whose_names_a_shell_would_act_on_are_not_offered() {
    let sandbox = fleet();
    for name in [
        "x-$(touch ran)",
        "x-`touch ran`",
        "x-;touch ran",
        "x-\u{1b}]0;x\u{7}",
        "x-a\nb",
        "x-a b",
        "x-'",
        "x-~",
        "x-*",
        "x-!",
        "x-plain",
    ] {
        sandbox.write(name, "");
    }
    assert_eq!(offered(&sandbox, &["seal", "new", "--from-file", "x-"]), "x-plain\n");
    // bash's own file completion quotes the name.
    std::fs::remove_file(sandbox.fleet().join("x-plain")).expect("removed");
    sandbox.write("y-$(touch ran)", "");
    let lines = SHELLS[0].lines(&sandbox, &["sealift seal new --from-file y-"], "\\t");
    assert_eq!(lines, [r"sealift seal new --from-file y-\$\(touch\ ran\)"]);
    assert!(!sandbox.fleet().join("ran").exists());
}

#[test]
fn no_process_is_started_and_no_key_is_opened() {
    if !is_there("strace") {
        return;
    }
    let sandbox = fleet();
    let mut command = sandbox.command("strace");
    command.args([
        "-f",
        "-o",
        "trace",
        "-e",
        "trace=execve,execveat,fork,vfork,clone,clone3,openat,open,connect,socket",
    ]);
    command.args([env!("CARGO_BIN_EXE_sealift"), "--", "sealift", "show", ""]).env("SEALIFT_COMPLETE", "zsh");
    command.env("_CLAP_COMPLETE_INDEX", "2").env("SEALIFT_IDENTITY", sandbox.key("jay"));
    let run = sandbox.run(command, b"").exits(0);
    run.prints("db-password");
    let trace = sandbox.read("trace");
    assert_eq!(trace.matches("execve").count(), 1, "{trace}");
    assert!(trace.contains("recipients.toml"), "{trace}");
    for word in ["keys/jay", ".age", ".ssh", "identity", "socket(", "connect(", "fork("] {
        assert!(!trace.contains(word), "{word}: {trace}");
    }
}

#[test]
fn a_variable_that_stayed_set_makes_no_verb_succeed() {
    let sandbox = fleet();
    for (shell, words) in
        [("bash", &["check"][..]), ("bash", &[]), ("nosuch", &["--", "sealift", ""]), ("1", &["check"])]
    {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(words).env("SEALIFT_COMPLETE", shell);
        let run = sandbox.run(command, b"").exits(2).says("SEALIFT_COMPLETE is set");
        assert!(run.stdout.is_empty());
    }
}
