//! An admin's identity: creating, finding and asking for it, and every way in which it can be unusable.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Run, Sandbox};

const SEALIFT: &str = env!("CARGO_BIN_EXE_sealift");

/// Runs an `expect` script, with the program under test as `$env(S)`. Its output is what the terminal showed.
pub fn on_terminal(sandbox: &Sandbox, script: &str) -> Run {
    let mut command = sandbox.command("expect");
    // `says` waits for text; `ends` waits for the end, and prints the exit code.
    // Unlimited width, unless the script sets one.
    let helpers = "set timeout 60\n\
        set stty_init {columns 0 rows 0}\n\
        proc says {text} { expect -ex $text {} timeout { puts \"NEVER SAID: $text\"; exit 1 } eof { puts \"ENDED BEFORE: $text\"; exit 1 } }\n\
        proc ends {} { expect eof {} timeout { puts \"NEVER ENDED\"; exit 1 }; catch wait result; puts \"<[lindex $result 3]>\" }\n";
    command.args(["-c", &format!("{helpers}{script}")]).env("S", SEALIFT).env("TERM", "xterm");
    sandbox.run(command, b"").exits(0)
}

/// Runs a shell script, with the program under test as `$S`.
fn shell(sandbox: &Sandbox, script: &str) -> Run {
    let mut command = sandbox.command("bash");
    command.args(["-c", script]).env("S", SEALIFT);
    sandbox.run(command, b"")
}

fn private(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("the directory");
    std::fs::write(path, content).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode");
}

fn secret_of(path: &str) -> String {
    let text = std::fs::read_to_string(path).expect("a key");
    text.lines().find(|line| line.starts_with("AGE-SECRET")).expect("a key").to_owned()
}

/// A fleet with a host, but no admin yet.
fn without_admin() -> Sandbox {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let policy = sandbox.read("recipients.toml");
    let rest = policy.find("[hosts").expect("hosts");
    sandbox.write("recipients.toml", format!("version = 1\n\n{}", &policy[rest..]));
    sandbox
}

#[test]
fn a_plain_key_is_kept_private_and_from_git() {
    let sandbox = without_admin();
    let new = ["identity", "new", "--admin", "jay", "--file", "jay.key", "--plain"];
    let made = sandbox.sealift(&new).exits(0).says("was added to .git/info/exclude");
    let recipient = made.text().trim().to_owned();
    assert!(
        recipient.starts_with("age1") && sandbox.read("recipients.toml").contains(&format!("jay = [\"{recipient}\"]"))
    );
    let file = sandbox.fleet().join("jay.key");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o7777, 0o600);
    let key = secret_of(file.to_str().expect("UTF-8"));
    assert!(!made.stderr.contains(&key) && !made.text().contains(&key));
    sandbox.tool("git", &["add", "-A"]);
    assert!(!String::from_utf8_lossy(&sandbox.tool("git", &["ls-files"])).contains("jay.key"));
    assert_eq!(String::from_utf8_lossy(&sandbox.tool("age-keygen", &["-y", "jay.key"])).trim(), recipient);

    let value = sandbox.seal("a", &["--hosts", "web"]);
    assert_eq!(sandbox.sealift(&["show", "a", "-i", "jay.key"]).exits(0).text(), value);
    assert_eq!(
        sandbox.sealift(&["identity", "show", "-i", "jay.key"]).exits(0).says("admin jay").text().trim(),
        recipient
    );

    // A second time nothing is overwritten, and nobody gets a second key by accident.
    let before = sandbox.read("recipients.toml");
    sandbox.sealift(&new).exits(2).says("jay has a key already").says("`sealift admin rm jay --key KEY`");
    let mut again = new.to_vec();
    again.push("--add");
    sandbox.sealift(&again).exits(1).says("is there already");
    assert_eq!((sandbox.read("recipients.toml"), secret_of(file.to_str().expect("UTF-8"))), (before, key));
    again[5] = "second.key";
    let more = sandbox.sealift(&again).exits(0).says("run `sealift rekey`").text();
    assert!(sandbox.read("recipients.toml").contains(&format!("jay = [\"{recipient}\", \"{}\"]", more.trim())));
}

#[test]
fn a_key_that_git_would_take_up_is_not_made() {
    let sandbox = without_admin();
    let before = sandbox.read("recipients.toml");
    sandbox.write(".gitignore", "!*.key\n");
    let new = |file: &str| sandbox.sealift(&["identity", "new", "--admin", "jay", "--file", file, "--plain"]);
    new("jay.key").exits(2).says("git would track jay.key");
    new("no/such/jay.key").exits(2).says("there is no directory");
    sandbox.write("tracked", "x");
    sandbox.tool("git", &["add", "tracked"]);
    std::fs::remove_file(sandbox.fleet().join("tracked")).expect("removed");
    new("tracked").exits(2).says("git tracks tracked");
    std::os::unix::fs::symlink("elsewhere", sandbox.fleet().join("link")).expect("a link");
    new("link").exits(1).says("is there already");
    assert_eq!(sandbox.read("recipients.toml"), before);
    assert!(!sandbox.fleet().join("jay.key").exists() && !sandbox.fleet().join("elsewhere").exists());
}

#[test]
fn a_policy_that_cannot_be_written_leaves_no_key() {
    let sandbox = without_admin();
    sandbox.write("recipients.toml", "version = 1\nadmins = {}\n");
    sandbox
        .sealift(&["identity", "new", "--admin", "jay", "--file", "../jay.key", "--plain"])
        .exits(2)
        .says("write it as a table");
    assert!(!sandbox.path("jay.key").exists());
}

#[test]
fn a_key_that_the_policy_names_is_kept() {
    let sandbox = without_admin();
    // Counting sealed files fails after the policy was written.
    std::os::unix::fs::symlink(sandbox.path("tmp"), sandbox.fleet().join("secrets")).expect("a link");
    let made = sandbox.sealift(&["identity", "new", "--admin", "jay", "--file", "../jay.key", "--plain"]);
    let recipient = made.exits(0).says("cannot find out which sealed files").text().trim().to_owned();
    assert!(sandbox.read("recipients.toml").contains(&recipient));
    let file = sandbox.path("jay.key");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(String::from_utf8_lossy(&sandbox.tool("age-keygen", &["-y", file])).trim(), recipient);
}

#[test]
fn a_passphrase_is_typed_twice_and_never_shown() {
    let sandbox = without_admin();
    let shown = on_terminal(
        &sandbox,
        r#"
        spawn $env(S) identity new --admin jay --file ../jay.age
        says "New passphrase for "
        send "horse battery\r"
        says "Repeat it: "
        send "horse batterie\r"
        ends
        spawn $env(S) identity new --admin jay --file ../jay.age
        says "New passphrase for "
        send "\r"
        says "Repeat it: "
        send "\r"
        ends
        spawn $env(S) identity new --admin jay --file ../jay.age
        says "New passphrase for "
        send "horse battery\r"
        says "Repeat it: "
        send "horse battery\r"
        ends
        spawn $env(S) identity show --identity ../jay.age
        says "Passphrase for "
        send "wrong\r"
        says "try again"
        says "Passphrase for "
        send "horse battery\r"
        says "age1"
        ends
        spawn sh -c "trap : INT; \"$env(S)\" identity show --identity ../jay.age; echo code $?; stty -a"
        says "Passphrase for "
        send "half\003"
        says "code 130"
        says " echo "
        ends
        "#,
    );
    let text = shown.text();
    assert!(
        text.contains("the two passphrases differ") && text.contains("an empty passphrase protects nothing"),
        "{text}"
    );
    assert!(!text.contains("horse") && !text.contains("wrong\r") && !text.contains("half"), "{text}");
    assert_eq!(text.matches("<0>").count(), 3, "{text}");
    let content = std::fs::read(sandbox.path("jay.age")).expect("the file");
    assert!(content.starts_with(b"age-encryption.org/v1\n-> scrypt "));
}

#[test]
fn one_passphrase_opens_all_files() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    // Two admins: one with an identity file and one with an SSH key, both behind passphrases.
    shell(&sandbox, "\"$S\" identity new --admin kim --file ../kim.age --passphrase-fd 3 3<<<'kims own'").exits(0);
    sandbox.ssh_key("lee");
    sandbox.tool("ssh-keygen", &["-q", "-p", "-P", "", "-N", "lees own", "-f", &sandbox.key("lee")]);
    let public = std::fs::read_to_string(format!("{}.pub", sandbox.key("lee"))).expect("a public key");
    let policy = sandbox
        .read("recipients.toml")
        .replace("\n[hosts.web]", &format!("lee = [\"{}\"]\n\n[hosts.web]", public.trim()));
    sandbox.write("recipients.toml", policy);
    let values: Vec<_> = ["a", "b", "c"].map(|name| sandbox.seal(name, &["--hosts", "*"])).into();
    sandbox.tool("git", &["commit", "-q", "-a", "-m", "sealed"]);
    for (host, file, passphrase) in [("new1", "../kim.age", "kims own"), ("new2", "../keys/lee", "lees own")] {
        let key = sandbox.ssh_key(host);
        let shown = on_terminal(
            &sandbox,
            &format!(
                "spawn $env(S) host add {host} --key \"{key}\" --identity {file}\nsays \"Passphrase for {file}\"\nsend \"{passphrase}\\r\"\nends\n"
            ),
        );
        let text = shown.text();
        assert!(text.contains("<0>") && text.matches("Passphrase").count() == 1, "{text}");
        for (name, value) in ["a", "b", "c"].iter().zip(&values) {
            assert_eq!(sandbox.show(name, host), value.as_bytes());
        }
    }
    // A script with a wrong passphrase.
    let rekey = |file: &str, passphrase: &str| {
        shell(&sandbox, &format!("\"$S\" show a -i {file} --passphrase-fd 3 3<<<'{passphrase}'"))
    };
    assert_eq!(rekey("../kim.age", "kims own").exits(0).text(), values[0]);
    assert_eq!(rekey("../keys/lee", "lees own").exits(0).text(), values[0]);
    for file in ["../kim.age", "../keys/lee"] {
        rekey(file, "kims oven").exits(5).says("the passphrase is wrong");
        rekey(file, "").exits(5).says("the passphrase is wrong");
        sandbox.sealift(&["show", "a", "-i", file]).exits(5).says("there is no terminal to ask");
        sandbox
            .sealift(&["show", "a", "-i", file, "--passphrase-fd", "77"])
            .exits(5)
            .says("descriptor 77 cannot be read");
    }
    // The passphrase of a key that cannot open the file is not asked for: its public half shows that.
    sandbox.sealift(&["seal", "d", "--hosts", "web", "--stdin"]).exits(1);
    let both = ["show", "a", "-i", "../keys/lee", "-i", &sandbox.key("jay")];
    assert_eq!(sandbox.sealift(&both).exits(0).text(), values[0]);
}

#[test]
fn a_value_is_typed_twice_and_never_shown() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.value("typed");
    let shown = on_terminal(
        &sandbox,
        &r#"
        spawn $env(S) seal a --hosts web
        says "Value of a: "
        send "VALUE\r"
        says "again: "
        send "VALUE\r"
        ends
        spawn $env(S) seal a --replace
        says "Value of a: "
        send "VALUE\r"
        says "again: "
        send "other\r"
        ends
        spawn $env(S) seal a --replace
        says "Value of a: "
        send "first line\rsecond line\recho leaked\r"
        ends
        spawn $env(S) seal a --replace
        says "Value of a: "
        send "\004"
        ends
        spawn $env(S) seal a --replace
        says "Value of a: "
        send "\003"
        ends
        "#
        .replace("VALUE", &value),
    );
    let text = shown.text();
    assert!(!text.contains(&sandbox.canary) && !text.contains("leaked") && !text.contains("second"), "{text}");
    for said in ["the two values differ", "more than one line", "nothing was typed", "<130>"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(sandbox.show("a", "jay"), value.as_bytes());
}

#[test]
fn an_identity_that_cannot_be_used_is_named_with_its_reason() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let good = std::fs::read(sandbox.key("jay")).expect("a key");
    let key = secret_of(&sandbox.key("jay"));
    let at = |name: &str| sandbox.path(&format!("bad/{name}"));
    private(&at("open"), &good, 0o644);
    private(&at("empty"), "", 0o600);
    private(&at("comment"), "# nothing\n\n", 0o600);
    private(&at("garbage"), format!("# one\n{key}\nAGE-SECRET-KEY-1NOT\n"), 0o600);
    private(&at("binary"), b"\xff\xfe\0", 0o600);
    private(&at("public"), std::fs::read(format!("{}.pub", sandbox.key("web"))).expect("a key"), 0o600);
    private(&at("sealed"), std::fs::read(sandbox.fleet().join("secrets/a.age")).expect("a file"), 0o600);
    private(&at("cut"), "age-encryption.org/v1\n-> scrypt ", 0o600);
    private(&at("armor"), "-----BEGIN AGE ENCRYPTED FILE-----\n????\n", 0o600);
    private(&at("large"), vec![b'#'; (1 << 20) + 1], 0o600);
    sandbox.tool("mkfifo", &["-m", "600", at("fifo").to_str().expect("UTF-8")]);
    std::fs::create_dir(at("directory")).expect("a directory");
    sandbox.tool("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", at("ecdsa").to_str().expect("UTF-8")]);
    for (name, reason) in [
        ("open", "can be read by others (mode 0644)"),
        ("empty", "there is no identity in it"),
        ("comment", "there is no identity in it"),
        ("garbage", "line 3 is not an identity"),
        ("binary", "it is not text"),
        ("public", "line 1 is not an identity"),
        ("sealed", "it is sealed to keys, not to a passphrase"),
        ("cut", "it is damaged"),
        ("armor", "its armor is damaged"),
        ("large", "more than 1048576 are not read"),
        ("fifo", "is not a regular file"),
        ("directory", "is not a regular file"),
        ("missing", "there is no such file"),
        ("ecdsa", "SSH"),
    ] {
        let path = at(name);
        let run = sandbox.sealift(&["show", "a", "--identity", path.to_str().expect("UTF-8")]).exits(5).says(reason);
        assert!(!run.stderr.contains(&key[20..]) && run.stdout.is_empty(), "{}", run.stderr);
        // Next to a usable one it does no harm.
        sandbox.sealift(&["show", "a", "-i", path.to_str().expect("UTF-8"), "-i", &sandbox.key("jay")]).exits(0);
    }
    // A wrong key alone, and two of which the second opens.
    sandbox.age_key("nobody");
    sandbox
        .sealift(&["show", "a", "-i", &sandbox.key("nobody")])
        .exits(5)
        .says("none of these identities opens it")
        .says("sealed to 2 keys")
        .says("if yours is new, somebody who has one of them runs `sealift rekey` first");
    sandbox.sealift(&["show", "a", "-i", &sandbox.key("nobody"), "-i", &sandbox.key("jay")]).exits(0);
}

#[test]
fn an_ssh_key_under_another_cipher_is_told_how_to_change_it() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let file = sandbox.key("odd");
    let cipher = "chacha20-poly1305@openssh.com";
    sandbox.tool("ssh-keygen", &["-q", "-t", "ed25519", "-Z", cipher, "-N", "odd one", "-f", &file]);
    let run = sandbox.sealift(&["show", "a", "-i", &file]).exits(5).says(cipher);
    // The suggested command fixes it.
    let command = run.stderr.split('`').find(|part| part.starts_with("ssh-keygen -p")).expect("a command").to_owned();
    let mut mend = sandbox.command("sh");
    mend.args(["-c", &format!("{command} -P 'odd one' -N 'odd one'")]);
    sandbox.run(mend, b"").exits(0);
    sandbox.sealift(&["show", "a", "-i", &file]).exits(5).says("none of these identities opens it");
}

#[test]
fn without_an_identity_every_place_is_named_at_once() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox
        .sealift(&["show", "a"])
        .exits(5)
        .says("no usable identity")
        .says("the OS keyring: ")
        .says(".config/sealift/identity.age: there is no such file");
    shell(&sandbox, "unset HOME; \"$S\" show a <&-").exits(5).says("no usable identity");
    shell(&sandbox, &format!("\"$S\" show a -i '{}' <&- 2>&-", sandbox.key("jay"))).exits(0);
}

#[test]
fn identities_are_looked_for_in_order_and_named_ones_alone() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let jay = sandbox.key("jay");
    sandbox.age_key("nobody");
    let key = std::fs::read(&jay).expect("a key");
    let shown = |script: &str| shell(&sandbox, &script.replace("KEYS", sandbox.path("keys").to_str().expect("UTF-8")));
    assert_eq!(shown("SEALIFT_IDENTITY=KEYS/jay \"$S\" show a").exits(0).text(), value);
    // Only named identities are tried.
    shown("SEALIFT_IDENTITY=KEYS/jay \"$S\" show a -i KEYS/nobody").exits(5);
    private(&sandbox.path("cred/sealift-identity"), &key, 0o400);
    assert_eq!(shown("CREDENTIALS_DIRECTORY=KEYS/../cred \"$S\" show a").exits(0).text(), value);
    shown("CREDENTIALS_DIRECTORY=KEYS/../cred SEALIFT_IDENTITY=KEYS/nobody \"$S\" show a").exits(5);
    private(&sandbox.path("home/.config/sealift/identity.age"), &key, 0o600);
    assert_eq!(shown("\"$S\" show a").exits(0).text(), value);
    shown("XDG_CONFIG_HOME=KEYS \"$S\" show a").exits(5).says("keys/sealift/identity.age: there is no such file");
    std::fs::remove_file(sandbox.path("home/.config/sealift/identity.age")).expect("removed");
    // The user's configuration names SSH keys; it must be valid and belong to the user.
    let config = sandbox.path("home/.config/sealift/config.toml");
    private(&sandbox.path("home/.ssh/id_ed25519"), std::fs::read(sandbox.key("web")).expect("a key"), 0o600);
    private(&config, "identities = [\"~/.ssh/id_ed25519\"]\n", 0o644);
    assert_eq!(shown("\"$S\" show a").exits(0).text(), value);
    private(&config, "identities = [\"~/.ssh/id_ed25519\"]\n", 0o666);
    shown("\"$S\" show a").exits(2).says("can be written by others");
    private(&config, "identitys = []\n", 0o644);
    shown("\"$S\" show a").exits(2).says("did you mean `identities`?");
}

#[test]
fn files_and_keys_of_stock_age_open_here() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    let recipient = String::from_utf8(sandbox.tool("age-keygen", &["-y", &sandbox.key("jay")])).expect("UTF-8");
    // Identity files that age itself encrypted with a passphrase, binary and armored.
    for (name, armor) in [("one", ""), ("two", "-a")] {
        on_terminal(
            &sandbox,
            // age prints its prompt before it is ready for the answer.
            &format!(
                "spawn age -p {armor} -o ../{name}.age ../keys/jay\nsays \"Enter passphrase\"\nsleep 0.5\nsend \"of age itself\\r\"\nsays \"Confirm passphrase\"\nsleep 0.5\nsend \"of age itself\\r\"\nends\n"
            ),
        );
        std::fs::set_permissions(sandbox.path(&format!("{name}.age")), std::fs::Permissions::from_mode(0o600))
            .expect("private");
        let run = shell(&sandbox, &format!("\"$S\" show a -i ../{name}.age --passphrase-fd 3 3<<<'of age itself'"));
        assert_eq!(run.exits(0).text(), value);
    }
    // Files that age sealed, binary and armored, to an age key and an SSH key.
    let web = format!("{}.pub", sandbox.key("web"));
    for armor in ["", "-a"] {
        let mut age = sandbox.command("sh");
        age.args(["-c", &format!("exec age {armor} -r {} -R '{web}' -o secrets/a.age", recipient.trim())]);
        sandbox.run(age, value.as_bytes()).exits(0);
        for key in ["jay", "web"] {
            assert_eq!(
                sandbox.sealift(&["show", "a", "-i", &sandbox.key(key)]).exits(0).says("has no seal").text(),
                value
            );
        }
    }
}

/// A session with a keyring: a real gnome-keyring on its own bus, unlocked.
fn with_keyring(sandbox: &Sandbox, script: &str) -> Run {
    std::fs::create_dir_all(sandbox.path("home/.local/share")).expect("a directory");
    let runtime = sandbox.path("run");
    if !runtime.exists() {
        std::fs::create_dir(&runtime).expect("a directory");
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o700)).expect("private");
    }
    let mut command = sandbox.command("dbus-run-session");
    let unlocked =
        format!("printf pw | gnome-keyring-daemon --unlock --components=secrets --daemonize >/dev/null 2>&1\n{script}");
    command
        .args(["--", "bash", "-c", &unlocked])
        .env("S", SEALIFT)
        .env("XDG_RUNTIME_DIR", &runtime)
        .env("XDG_DATA_HOME", sandbox.path("home/.local/share"));
    sandbox.run(command, b"")
}

#[test]
fn a_key_in_the_keyring_has_a_backup_and_opens_without_a_question() {
    let sandbox = without_admin();
    // Without a way to ask for the backup's passphrase, nothing is made.
    let before = sandbox.read("recipients.toml");
    with_keyring(&sandbox, "\"$S\" identity new --admin jay").exits(2).says("there is no terminal to ask");
    with_keyring(&sandbox, "\"$S\" identity new --admin jay --backup backup.age --passphrase-fd 3 3<<<x")
        .exits(2)
        .says("kept outside");
    assert_eq!(sandbox.read("recipients.toml"), before);

    let made = with_keyring(&sandbox, "\"$S\" identity new --admin jay --passphrase-fd 3 3<<<'of the backup'")
        .exits(0)
        .says("in the OS keyring")
        .says("its backup is ");
    let recipient = made.text().trim().to_owned();
    let backup = sandbox.path("home/.config/sealift/identity.age");
    assert_eq!(std::fs::metadata(&backup).expect("the backup").permissions().mode() & 0o7777, 0o600);
    let value = sandbox.seal("a", &["--hosts", "web"]);
    // A new session with a restarted keyring; the backup's passphrase is not needed.
    assert_eq!(with_keyring(&sandbox, "\"$S\" show a").exits(0).text(), value);
    let shown = with_keyring(&sandbox, "\"$S\" identity show")
        .exits(0)
        .says("in the OS keyring (admin jay)")
        .says("a locked one in");
    assert_eq!(shown.text().trim(), recipient);
    // The key of the value index goes there too, and scan finds it.
    with_keyring(&sandbox, "\"$S\" scan --write-index --values").exits(0).says("its key is in the OS keyring");
    with_keyring(&sandbox, "\"$S\" scan").exits(0).says("1 value of the fleet looked for by the index");
    // Without a keyring the backup is found, and its passphrase asked for.
    sandbox.sealift(&["show", "a"]).exits(5).says("the OS keyring: ").says("it is protected by a passphrase");
    assert_eq!(shell(&sandbox, "\"$S\" show a --passphrase-fd 3 3<<<'of the backup'").exits(0).text(), value);
    sandbox
        .sealift(&["identity", "forget", "--yes"])
        .exits(1)
        .says("the OS keyring cannot be used: it does not answer; it needs a desktop session")
        .says("help: without a keyring a key lies in a file, which you remove yourself");

    // The only way in is not removed; with the backup given it is.
    with_keyring(&sandbox, "\"$S\" identity forget --yes").exits(1).says("it is the only key");
    let forget =
        "\"$S\" identity forget --identity ~/.config/sealift/identity.age --passphrase-fd 3 3<<<'of the backup'";
    with_keyring(&sandbox, forget).exits(1).says("declined");
    with_keyring(&sandbox, &forget.replace("forget", "forget --yes")).exits(0).says(&format!("removed {recipient}"));
    with_keyring(&sandbox, "\"$S\" identity forget --yes").exits(0).says("nothing to do");
    with_keyring(&sandbox, "\"$S\" show a").exits(5).says("it holds no key of an admin of this fleet");
    // And imported again.
    let import = "\"$S\" identity import ~/.config/sealift/identity.age --passphrase-fd 3 3<<<'of the backup'";
    with_keyring(&sandbox, import).exits(0);
    assert_eq!(with_keyring(&sandbox, "\"$S\" show a").exits(0).text(), value);

    // A second admin needs no backup, and opens nothing before a rekey.
    with_keyring(&sandbox, "\"$S\" identity new --admin kim")
        .exits(0)
        .says("another admin of this fleet is the second way in")
        .says("run `sealift rekey`");
    with_keyring(&sandbox, "\"$S\" rekey").exits(0);
    with_keyring(&sandbox, "\"$S\" identity forget --admin jay --yes").exits(0);
    assert_eq!(with_keyring(&sandbox, "\"$S\" show a").exits(0).text(), value);
    let files = String::from_utf8_lossy(&std::fs::read(backup).expect("the backup")).into_owned();
    assert!(!files.contains("AGE-SECRET-KEY"));
}

#[test]
fn without_a_keyring_the_key_goes_into_a_file_behind_a_passphrase() {
    let sandbox = without_admin();
    let before = sandbox.read("recipients.toml");
    let file = sandbox.path("home/.config/sealift/identity.age");
    // Without a way to ask for its passphrase: no key, and no change of the policy.
    sandbox
        .sealift(&["identity", "new", "--admin", "jay"])
        .exits(2)
        .says("the OS keyring cannot be used: it does not answer; it needs a desktop session")
        .says("  | ")
        .says("/home/.config/sealift/identity.age instead, encrypted with a passphrase")
        .says("--passphrase-fd");
    assert!(!file.exists() && sandbox.read("recipients.toml") == before);
    sandbox.sealift(&["identity", "forget", "--yes"]).exits(0);

    // The missing folder is created, private to its owner.
    std::fs::remove_dir_all(sandbox.path("home/.config")).expect("removed");
    let shown = on_terminal(
        &sandbox,
        r#"
        spawn $env(S) identity new --admin jay
        says "the OS keyring cannot be used"
        says "New passphrase for "
        send "horse battery\r"
        says "Repeat it: "
        send "horse battery\r"
        says "jay is an admin; the key is in "
        ends
        "#,
    );
    assert!(shown.text().contains("<0>"), "{}", shown.text());
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    assert!(std::fs::read(&file).expect("the file").starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(!sandbox.path("home/.config/sealift/config.toml").exists(), "its place is the usual one");
    let value = sandbox.seal("a", &["--hosts", "web"]);
    assert_eq!(shell(&sandbox, "\"$S\" show a --passphrase-fd 3 3<<<'horse battery'").exits(0).text(), value);

    // The default path is taken: nothing is overwritten, and the alternative is named.
    let policy = sandbox.read("recipients.toml");
    shell(&sandbox, "\"$S\" identity new --admin kim --passphrase-fd 3 3<<<'another'")
        .exits(1)
        .says("is there already")
        .says("`--file FILE`");
    assert_eq!(sandbox.read("recipients.toml"), policy);
    let new = "\"$S\" identity new --admin kim --backup ~/kim.age --passphrase-fd 3 3<<<'another'";
    shell(&sandbox, new).exits(0).says("kim is an admin; the key is in ").says("config.toml lists it");
}

#[test]
fn a_bus_that_does_not_answer_is_waited_for_within_bounds() {
    let sandbox = without_admin();
    // A bus on which nobody answers: the wait is bounded, and Ctrl-C works meanwhile.
    let script = "mkfifo ../ready; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind(\"../bus\"); s.listen(9); open(\"../ready\",\"w\").close(); kept=[s.accept() for _ in range(9)]' & cat ../ready\n\
        trap \"kill $!\" EXIT; export DBUS_SESSION_BUS_ADDRESS=unix:path=$PWD/../bus; timeout --foreground -s INT 1 \"$S\" identity new --admin jay";
    shell(&sandbox, script).exits(124).says("interrupted");
}

#[test]
fn the_place_of_a_key_is_remembered() {
    let sandbox = without_admin();
    let config = sandbox.path("home/.config/sealift/config.toml");
    let new = |admin: &str, file: &str| {
        shell(&sandbox, &format!("\"$S\" identity new --admin {admin} --plain --file {file}"))
    };
    new("jay", "~/jay.key").exits(0).says("/.config/sealift/config.toml lists it");
    let value = sandbox.seal("a", &["--hosts", "web"]);
    // Found without any option or variable.
    assert_eq!(sandbox.sealift(&["show", "a"]).exits(0).text(), value);
    assert_eq!(std::fs::read_to_string(&config).expect("the configuration"), "identities = [\"~/jay.key\"]\n");
    assert_eq!(std::fs::metadata(&config).expect("it is there").permissions().mode() & 0o7777, 0o600);
    // A configuration that cannot be extended, such as one made by Nix, loses no key: the help says how to continue.
    std::fs::write(&config, "identitys = []\n").expect("written");
    new("kim", "~/kim.key").exits(2).says("did you mean `identities`?");
    std::fs::remove_file(&config).expect("removed");
    std::os::unix::fs::symlink("/proc/version", &config).expect("a link");
    sandbox.sealift(&["show", "a"]).exits(2);
    std::fs::remove_file(&config).expect("removed");
    shell(&sandbox, "env -u HOME \"$S\" identity new --admin lee --plain --file ../lee.key")
        .exits(0)
        .says("the key's place could not be remembered")
        .says("--identity ");
    assert!(sandbox.read("recipients.toml").contains("lee = "));

    // An imported key, without a keyring: it stays in its file, which is added to the configuration.
    std::fs::rename(sandbox.path("home/jay.key"), sandbox.path("home/moved.key")).expect("moved");
    sandbox.sealift(&["show", "a"]).exits(5);
    shell(&sandbox, "\"$S\" identity import ~/moved.key")
        .exits(0)
        .says("the key stays in its file alone")
        .says("config.toml lists it");
    assert_eq!(sandbox.sealift(&["show", "a"]).exits(0).text(), value);
}

#[test]
fn a_listed_admins_ssh_key_opens_without_being_named() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let ssh = sandbox.path("home/.ssh");
    std::fs::create_dir_all(&ssh).expect("a directory");
    let made = |name: &str, passphrase: &str| {
        let path = ssh.join(name);
        let path = path.to_str().expect("UTF-8");
        sandbox.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", passphrase, "-f", path]);
        std::fs::read_to_string(format!("{path}.pub")).expect("a public key").trim().to_owned()
    };
    let (listed, _other) = (made("id_work", ""), made("id_ed25519", "never asked for"));
    let locked = made("locked", "lees own");
    let policy = sandbox.read("recipients.toml");
    sandbox.write(
        "recipients.toml",
        policy.replace("\n[hosts.web]", &format!("kim = [\"{listed}\"]\nlee = [\"{locked}\"]\n\n[hosts.web]")),
    );
    let value = sandbox.seal("a", &["--hosts", "web"]);
    assert_eq!(sandbox.sealift(&["show", "a"]).exits(0).text(), value);
    sandbox.sealift(&["identity", "show"]).exits(0).says("id_work (admin kim)");
    let edit = "EDITOR=\"sed -i s/canary/Xcanary/\" \"$S\" edit a";
    shell(&sandbox, edit).exits(0);
    // Behind a passphrase: asked only for the key that the fleet lists.
    std::fs::remove_file(ssh.join("id_work")).expect("removed");
    let missing = sandbox.sealift(&["show", "a"]).exits(5).says("locked: it is protected by a passphrase");
    assert!(!missing.stderr.contains("id_ed25519"), "{}", missing.stderr);
    let opened = shell(&sandbox, "\"$S\" show a --passphrase-fd 3 3<<<'lees own'").exits(0).text();
    assert_eq!(opened, value.replace("canary", "Xcanary"));
    // A key that others can read is not used here either.
    std::fs::set_permissions(ssh.join("locked"), std::fs::Permissions::from_mode(0o644)).expect("the mode");
    shell(&sandbox, "\"$S\" show a --passphrase-fd 3 3<<<'lees own'").exits(5).says("can be read by others");
    // If no admin has an SSH key, the folder is not read; if a file is named, only that is.
    let named = shell(&sandbox, "\"$S\" show a -i ../keys/web").exits(0).text();
    assert_eq!(named, opened);
    sandbox.write("recipients.toml", policy);
    let none = sandbox.sealift(&["show", "a"]).exits(5);
    assert!(!none.stderr.contains(".ssh"), "{}", none.stderr);
}
