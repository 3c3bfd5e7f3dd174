//! Hardware keys: a plugin makes one when the user asks for it, it is tested, and only then is it written to any file.
//! The plugins are the stand-in of `plugin.rs`, which asks and prints like the real ones; and YubiKey's real plugin, if
//! `AGE_PLUGIN_YUBIKEY` names it, with a card in software.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::harness::{Run, Sandbox, not_run};
use crate::identity::on_terminal;
use crate::plugin::PLUGIN;

const SEALIFT: &str = env!("CARGO_BIN_EXE_sealift");

/// A fleet, and a folder outside of it with the three plugins; `None` if they cannot run.
fn fleet() -> Option<Sandbox> {
    if !Path::new("/usr/bin/python3").exists() {
        not_run("keys in hardware", "there is no /usr/bin/python3 for the test's plugins");
        return None;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    for name in ["yubikey", "tpm", "fido2-hmac"] {
        install(&sandbox.path("bin").join(format!("age-plugin-{name}")));
    }
    Some(sandbox)
}

fn install(program: &Path) {
    std::fs::create_dir_all(program.parent().expect("a folder")).expect("a folder");
    std::fs::write(program, PLUGIN).expect("the plugin");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

fn run(sandbox: &Sandbox, environment: &[(&str, &str)], arguments: &[&str]) -> Run {
    run_in(sandbox, &path(sandbox, &[]), environment, arguments)
}

fn run_in(sandbox: &Sandbox, path: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = sandbox.command(SEALIFT);
    command.args(arguments).env("PATH", path).envs(environment.iter().copied());
    sandbox.run(command, b"")
}

/// A PATH with these folders before that of the plugins.
fn path(sandbox: &Sandbox, before: &[&Path]) -> String {
    let mut folders: Vec<String> = before.iter().map(|folder| folder.display().to_string()).collect();
    folders.push(sandbox.path("bin").display().to_string());
    folders.push(std::env::var("PATH").expect("PATH"));
    folders.join(":")
}

/// The state that must be unchanged if no key was made.
fn state(sandbox: &Sandbox) -> (String, Vec<String>) {
    let folder = sandbox.path("home/.config/sealift");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    (sandbox.read("recipients.toml"), files.map(|file| file.file_name().to_string_lossy().into_owned()).collect())
}

fn config(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path("home/.config/sealift/config.toml")).expect("the configuration")
}

const TPM: [&str; 5] = ["identity", "new", "--admin", "kim", "--tpm"];

#[test]
fn a_key_in_hardware_is_made_tried_and_named() {
    let Some(sandbox) = fleet() else { return };
    let made = run(&sandbox, &[], &TPM)
        .exits(0)
        .says("bin/age-plugin-tpm --generate: nothing is asked")
        .says("checking that the TPM of this machine opens")
        .says("touch \\u{1b}[31mthe token")
        .says("`plugins = [\"tpm\"]` in their configuration")
        .says("kim is an admin; the key is in the TPM of this machine; ")
        .says("a key in hardware has no copy: another admin");
    let recipient = made.text().trim().to_owned();
    assert!(recipient.starts_with("age1tpm1"), "{recipient}");
    assert!(sandbox.read("recipients.toml").contains(&format!("kim = [\"{recipient}\"]")));
    let file = sandbox.path("home/.config/sealift/tpm.txt");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o7777, 0o600);
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with("# Created: 2026-11-28") && text.contains("\nAGE-PLUGIN-TPM-1"), "{text}");
    let listed = config(&sandbox);
    assert!(listed.contains("plugins = [\"tpm\"]") && listed.contains("[\"~/.config/sealift/tpm.txt\"]"), "{listed}");

    // No further setup is needed: what is sealed now opens with it, and it is shown.
    let value = sandbox.value("a");
    let mut command = sandbox.command(SEALIFT);
    command.args(["seal", "a", "--hosts", "web", "--stdin"]).env("PATH", path(&sandbox, &[]));
    sandbox.run(command, value.as_bytes()).exits(0);
    assert_eq!(run(&sandbox, &[], &["show", "a"]).exits(0).text(), value);
    let shown = run(&sandbox, &[], &["identity", "show"]).exits(0).says("(admin kim)").says("age-plugin-tpm");
    assert_eq!(shown.text().trim(), recipient);
    let shown =
        run(&sandbox, &[], &["identity", "show", "-i", file.to_str().expect("UTF-8"), "--json"]).exits(0).json();
    assert_eq!(
        (&shown["identities"][0]["recipient"], &shown["identities"][0]["locked"]),
        (&recipient.into(), &false.into())
    );

    // A comment is no proof: naming another's key in it makes nobody the holder of that key.
    let jay =
        sandbox.read("recipients.toml").split('"').find(|word| word.starts_with("age1")).expect("jay's").to_owned();
    std::fs::write(&file, text.replace("# Recipient: ", &format!("# Recipient: {jay}\n# other: "))).expect("written");
    assert_eq!(run(&sandbox, &[], &["show", "a"]).exits(0).text(), value);
    // A key without that comment is reported, not skipped.
    std::fs::write(&file, text.lines().last().expect("the identity")).expect("written");
    run(&sandbox, &[], &["identity", "show"]).exits(0).says("whose recipient only the plugin knows");

    // A second key is not made by accident, and nothing is overwritten.
    run(&sandbox, &[], &TPM).exits(2).says("kim has a key already");
    let again = [&TPM[..], &["--add"]].concat();
    run(&sandbox, &[], &again).exits(1).says("is there already").says("--file FILE");
    let second = sandbox.path("home/second.txt");
    let again = [&again[..], &["--file", second.to_str().expect("UTF-8"), "--json"]].concat();
    let made = run(&sandbox, &[], &again).exits(0).json();
    assert_eq!(made["hardware"], "the TPM of this machine");
    assert!(sandbox.read("recipients.toml").contains(made["recipient"].as_str().expect("a recipient")));
    assert!(config(&sandbox).contains("second.txt"));
}

#[test]
fn the_plugin_asks_on_the_terminal() {
    let Some(sandbox) = fleet() else { return };
    let script = format!(
        r#"
        set env(PATH) {path}
        spawn $env(S) identity new --admin kim --yubikey
        says "age-plugin-yubikey --generate --pin-policy once --touch-policy cached"
        says "Enter PIN for YubiKey with serial 15000000"
        send "271828\r"
        says "Please touch the YubiKey"
        says "checking that the YubiKey opens"
        says "which holds for 15 seconds"
        says "kim is an admin"
        ends
        spawn $env(S) identity new --admin lea --tpm -- --pin
        says "Enter pin for key:"
        send "314159\r"
        says "Confirm pin:"
        send "314159\r"
        says "touch and PIN are as you chose them"
        ends
        spawn $env(S) identity new --admin ana --fido2
        says "Please enter your PIN:"
        send "161803\r"
        says "require a PIN for decryption"
        send "n\r"
        says "separate identity"
        send "n\r"
        says "printed no identity"
        says "answer y where a separate identity is asked for"
        ends
        spawn $env(S) identity new --admin ana --fido2
        says "Please enter your PIN:"
        send "161803\r"
        says "require a PIN for decryption"
        send "n\r"
        says "separate identity"
        send "y\r"
        says "ana is an admin"
        ends
    "#,
        path = path(&sandbox, &[])
    );
    let shown = on_terminal(&sandbox, &script).text();
    assert_eq!(shown.matches("<0>").count(), 3, "{shown}");
    assert_eq!(shown.matches("<1>").count(), 1, "{shown}");
    for pin in ["271828", "314159", "161803"] {
        assert!(!shown.contains(pin), "{shown}");
    }
    let listed = config(&sandbox);
    assert!(listed.contains("plugins = [\"yubikey\", \"tpm\", \"fido2-hmac\"]"), "{listed}");
    let policy = sandbox.read("recipients.toml");
    for start in ["kim = [\"age1yubikey1", "lea = [\"age1tpm1", "ana = [\"age1fido2-hmac1"] {
        assert!(policy.contains(start), "{policy}");
    }
    // The real plugins ask only on a terminal; without one they exit, which is reported.
    let elsewhere = sandbox.path("home/other.txt");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    run(&sandbox, &[], &["identity", "new", "--admin", "max", "--yubikey", "--file", elsewhere])
        .exits(1)
        .says("age-plugin-yubikey: not a terminal")
        .says("age-plugin-yubikey made no key: exit code 1")
        .says("services.pcscd.enable = true;");
}

#[test]
fn what_a_plugin_prints_is_taken_whole_or_not_at_all() {
    let Some(sandbox) = fleet() else { return };
    let before = state(&sandbox);
    for (mode, what) in [
        ("nothing", "printed no identity"),
        ("no-recipient", "printed no recipient"),
        ("several", "printed several recipients"),
        ("two", "printed several identities"),
        ("other", "printed a line that is no identity of its own"),
        ("native", "printed a line that is no identity of its own"),
        ("binary", "printed what is not text"),
        ("endless", "prints more than 65536 bytes"),
        ("failing", "made no key: exit code 1"),
        ("mismatch", "the new key does not open what is sealed to it"),
    ] {
        let failed = run(&sandbox, &[("TEST_PLUGIN", mode)], &TPM).exits(1).says(what);
        assert!(!failed.stderr.contains("AGE-") && !failed.stderr.contains('\u{1b}'), "{mode}: {}", failed.stderr);
        assert!(failed.stdout.is_empty(), "{mode}: {}", failed.text());
        assert_eq!(state(&sandbox), before, "{mode}");
    }
    let made = run(&sandbox, &[("TEST_PLUGIN", "escapes")], &TPM).exits(0).says("\\u{1b}[31mred");
    let text = std::fs::read_to_string(sandbox.path("home/.config/sealift/tpm.txt")).expect("the file");
    assert!(!made.stderr.contains('\u{1b}') && !text.contains('\u{1b}') && text.contains("owned"), "{text}");
}

#[test]
fn no_plugin_of_the_repository_runs() {
    let Some(sandbox) = fleet() else { return };
    install(&sandbox.fleet().join("bin/age-plugin-tpm"));
    std::fs::create_dir_all(sandbox.path("links")).expect("a folder");
    symlink(sandbox.fleet().join("bin/age-plugin-tpm"), sandbox.path("links/age-plugin-tpm")).expect("a link");
    symlink(sandbox.fleet().join("bin"), sandbox.path("folder")).expect("a link");
    let marker = sandbox.path("marker");
    let trap = ("TEST_MARKER", marker.to_str().expect("UTF-8"));
    let before = state(&sandbox);
    for folder in [sandbox.fleet().join("bin"), sandbox.path("links"), sandbox.path("folder")] {
        let path = path(&sandbox, &[&folder]);
        run(&sandbox, &[trap, ("PATH", &path)], &TPM).exits(2).says("lies in the repository");
    }
    for (name, value) in [("PATH", "bin:/usr/bin:/bin"), ("PATH", ":/usr/bin:/bin"), ("AGEDEBUG", "plugin")] {
        run(&sandbox, &[trap, (name, value)], &TPM).exits(2).says("is not run");
    }
    assert!(!marker.exists());
    assert_eq!(state(&sandbox), before);

    // The related attack: a plugin that was allowed long ago, and that PATH now finds in the repository.
    run(&sandbox, &[], &TPM).exits(0);
    let mut command = sandbox.command(SEALIFT);
    command.args(["seal", "a", "--hosts", "web", "--stdin"]).env("PATH", path(&sandbox, &[]));
    sandbox.run(command, sandbox.value("a").as_bytes()).exits(0);
    let path = path(&sandbox, &[&sandbox.fleet().join("bin")]);
    run(&sandbox, &[trap, ("PATH", &path)], &["show", "a"]).exits(5).says("lies in the repository");
    run(&sandbox, &[trap, ("PATH", &path)], &["seal", "b", "--hosts", "web", "--generate", "password"])
        .says("lies in the repository");
    assert!(!marker.exists());
}

#[test]
fn no_plugin_of_a_work_tree_beside_or_above_runs() {
    let Some(sandbox) = fleet() else { return };
    let marker = sandbox.path("marker");
    let (linked, above) = (sandbox.path("linked"), sandbox.path("above"));
    let shown = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    sandbox.tool("git", &["worktree", "add", "-q", "-b", "linked", &shown(&linked)]);
    sandbox.tool("git", &["init", "-q", &shown(&above)]);
    let words = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &shown(&sandbox.fleet()), "inner"];
    sandbox.tool("git", &[&["-C", &shown(&above)][..], &words].concat());
    // The work tree in use, and the one that contains the plugin.
    for (fleet, bin) in
        [(linked.clone(), sandbox.fleet()), (sandbox.fleet(), linked), (above.join("inner"), above.clone())]
    {
        install(&bin.join("bin/age-plugin-tpm"));
        let mut command = sandbox.command(SEALIFT);
        command.args(TPM).env("PATH", path(&sandbox, &[&bin.join("bin")])).current_dir(fleet);
        command.env("TEST_MARKER", &marker);
        sandbox.run(command, b"").exits(2).says("lies in the repository");
        assert!(!marker.exists());
    }
}

#[test]
fn what_cannot_be_kept_is_said_before_a_key_is_made() {
    let Some(sandbox) = fleet() else { return };
    let marker = sandbox.path("marker");
    let trap = ("TEST_MARKER", marker.to_str().expect("UTF-8"));
    let folder = sandbox.path("home/.config/sealift");
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("config.toml");
    let before = sandbox.read("recipients.toml");
    std::fs::write(&config, "plugins = [\"x\"]\n").expect("written");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o666)).expect("the mode");
    run(&sandbox, &[trap], &TPM).exits(2).says("can be written by others");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("the mode");
    std::fs::write(&config, "plugin = [\"x\"]\n").expect("written");
    run(&sandbox, &[trap], &TPM).exits(2).says("did you mean `plugins`?");
    std::fs::remove_file(&config).expect("removed");
    let inside = sandbox.fleet().join("tpm.txt");
    run(&sandbox, &[trap], &[&TPM[..], &["--file", inside.to_str().expect("UTF-8")]].concat())
        .exits(2)
        .says("lies in the repository");
    run(&sandbox, &[trap], &[&TPM[..], &["--plain"]].concat()).exits(2);
    run(&sandbox, &[trap], &[&TPM[..], &["--yubikey"]].concat()).exits(2);
    std::fs::remove_file(sandbox.path("bin/age-plugin-tpm")).expect("removed");
    run(&sandbox, &[trap], &TPM)
        .exits(5)
        .says("the program age-plugin-tpm is not installed")
        .says("environment.systemPackages = [ pkgs.age-plugin-tpm ];");
    assert!(!marker.exists() && !config.exists());
    assert_eq!(sandbox.read("recipients.toml"), before);
}

/// A smart-card service for this test, with a software YubiKey in its reader. Both end with the value.
struct Reader([std::process::Child; 2]);

impl Reader {
    fn new(sandbox: &Sandbox) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let drivers = sandbox.path("reader.conf");
        let text = format!(
            "FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:{port:#x}\nLIBPATH {VPCD}\nCHANNELID {port:#x}\n"
        );
        std::fs::write(&drivers, text).expect("written");
        let mut service = sandbox.command("pcscd");
        service.arg("--foreground").arg("--config").arg(drivers);
        let mut card = sandbox.command("python3");
        card.arg(format!("{}/tests/fixtures/piv_card.py", env!("CARGO_MANIFEST_DIR"))).arg(port.to_string());
        Self([service.spawn().expect("pcscd"), card.spawn().expect("the card")])
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}

/// The driver of a reader for software cards: Debian's vsmartcard-vpcd.
const VPCD: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";

/// The real age-plugin-yubikey, if it can run.
fn yubikey() -> Option<std::path::PathBuf> {
    const TEST: &str = "the real age-plugin-yubikey";
    let no = |why: &str| {
        not_run(TEST, why);
        None
    };
    let Some(program) = std::env::var_os("AGE_PLUGIN_YUBIKEY").filter(|program| !program.is_empty()) else {
        return no("AGE_PLUGIN_YUBIKEY does not name it");
    };
    if std::env::var_os("SEALIFT_TEST_NAMESPACE").is_none() {
        return no("this is not a mount namespace of its own, and pcscd has one socket for all");
    }
    let python = std::process::Command::new("python3").args(["-c", "import cryptography"]).output();
    if !Path::new(VPCD).exists()
        || !Path::new("/usr/sbin/pcscd").exists()
        || !python.is_ok_and(|run| run.status.success())
    {
        return no("pcscd, vsmartcard's vpcd or Python's cryptography is not installed");
    }
    Some(program.into())
}

#[test]
fn the_real_plugin_of_a_yubikey_makes_a_key() {
    let Some(program) = yubikey() else { return };
    let sandbox = Sandbox::with_fleet(&["web"]);
    let _reader = Reader::new(&sandbox);
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("PATH"));
    let value = sandbox.value("a");
    std::fs::write(sandbox.path("value"), &value).expect("written");
    sandbox.allow(sandbox.path("value"));
    let script = format!(
        r#"
        set env(PATH) {path}
        spawn $env(S) identity new --admin kim --yubikey
        says "Enter PIN for YubiKey with serial 15000000"
        send "111111\r"
        says "Invalid PIN"
        says "age-plugin-yubikey made no key: exit code 1"
        ends
        spawn $env(S) identity new --admin kim --yubikey
        says "Enter PIN for YubiKey with serial 15000000"
        send "123456\r"
        says "Enter current PUK"
        send "12345678\r"
        says "Choose a new PIN/PUK"
        send "654321\r"
        says "Repeat the PIN/PUK"
        send "654321\r"
        says "Please touch the YubiKey"
        says "checking that the YubiKey opens"
        says "Enter PIN for YubiKey with serial 15000000"
        send "654321\r"
        says "kim is an admin"
        ends
        spawn $env(S) seal a --hosts web --from-file ../value
        says "kim (admin)"
        ends
    "#
    );
    let shown = on_terminal(&sandbox, &script).text();
    assert_eq!((shown.matches("<0>").count(), shown.matches("<1>").count()), (2, 1), "{shown}");
    assert!(!shown.contains("654321"), "{shown}");
    let recipient = sandbox.read("recipients.toml");
    let recipient = recipient.split('"').find(|word| word.starts_with("age1yubikey1")).expect("the recipient");
    let shown = run_in(&sandbox, &path, &[], &["identity", "show"]).exits(0).says("(admin kim)");
    assert_eq!(shown.text().trim(), recipient);
    // The PIN stays verified until the card is reset.
    assert_eq!(run_in(&sandbox, &path, &[], &["show", "a"]).exits(0).text(), value);
}
