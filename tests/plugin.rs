//! Plugins: a real program speaking the age-plugin protocol, used by our binary and by stock age. It runs only if the
//! user's configuration lists it.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Run, Sandbox, not_run};

/// A plugin for tests. It protects nothing: its "recipient" is its key. It implements the protocol and, under the names
/// of three real plugins, the way each of them makes a key.
pub const PLUGIN: &str = r##"#!/usr/bin/python3
# Read for this in November 2026: age-plugin-yubikey (36290c7: src/main.rs, builder.rs, util.rs, i18n), age-plugin-tpm (1799512:
# cmd/age-plugin-tpm/main.go, README.md), age-plugin-fido2-hmac (e900059: cmd/…/main.go, pkg/plugin/cli.go, README.md). Options,
# questions, where each is asked and what is printed are theirs; PIN and touch are not checked.
# A test plugin with no security at all: the file key is XORed with a hash of what the recipient says in clear.
import base64, hashlib, os, sys, termios

NAME = os.path.basename(sys.argv[0]).removeprefix("age-plugin-")

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

def polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1ffffff) << 5 ^ value
        for i, part in enumerate((0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3)):
            check ^= part if top >> i & 1 else 0
    return check

def expand(prefix):
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]

def convert(data, have, want, pad):
    bits = number = 0
    out = []
    for value in data:
        number = number << have | value
        bits += have
        while bits >= want:
            bits -= want
            out.append(number >> bits & (1 << want) - 1)
    if pad and bits:
        out.append(number << want - bits & (1 << want) - 1)
    return out

def encode(prefix, data):
    words = convert(data, 8, 5, True)
    check = polymod(expand(prefix) + words + [0] * 6) ^ 1
    return prefix + "1" + "".join(LETTERS[w] for w in words + [check >> 5 * (5 - i) & 31 for i in range(6)])

def decode(text):
    text = text.lower()
    return bytes(convert([LETTERS.index(c) for c in text[text.rindex("1") + 1:-6]], 5, 8, False))

def receive():
    words = sys.stdin.readline().split()[1:]
    body = ""
    while True:
        line = sys.stdin.readline().rstrip("\n")
        body += line
        if len(line) < 64:
            return words, base64.b64decode(body + "=" * (-len(body) % 4))

def send(words, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[i:i + 64] for i in range(0, len(text), 64)] or [""]
    if len(lines[-1]) == 64:
        lines.append("")
    sys.stdout.write("-> " + " ".join(words) + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()

def ask(words, body=b""):
    send(words, body)
    return receive()

def mask(key, nonce):
    return hashlib.sha256(key + nonce).digest()[:16]

def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))

def phase():
    while True:
        words, body = receive()
        if words[0] == "done":
            return
        yield words, body

def say(text, end="\n"):
    sys.stderr.write(text + end)
    sys.stderr.flush()

def hidden(question, place):
    # As term.ReadPassword and dialoguer do it: without a terminal there is no answer.
    fd = os.open(place, os.O_RDWR) if isinstance(place, str) else place
    if not os.isatty(fd):
        say("not a terminal")
        sys.exit(1)
    before = termios.tcgetattr(fd)
    quiet = termios.tcgetattr(fd)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, quiet)
    say(question, end=" ")
    answer = os.read(fd, 100).decode().rstrip("\n")
    termios.tcsetattr(fd, termios.TCSANOW, before)
    say("")
    return answer

def answered(question):
    say(question, end=" ")
    with open("/dev/tty") as terminal:
        return terminal.readline().strip()

def generate(mode):
    key = os.urandom(16)
    recipient = encode("age1" + NAME, key)
    identity = encode("age-plugin-" + NAME + "-", os.urandom(16) if mode == "mismatch" else key).upper()
    remarks, label, options = [], "# Recipient: ", sys.argv[2:]
    if NAME == "yubikey":
        policies = {"--pin-policy": "once", "--touch-policy": "always"}
        if sys.argv[1] != "--generate" or len(options) % 2 or not set(options[::2]) <= set(policies):
            say("unrecognized option")
            sys.exit(2)
        policies.update(zip(options[::2], options[1::2]))
        say("\U0001F3B2 Generating key...")
        # Asked on the terminal that standard error is.
        hidden("Enter PIN for YubiKey with serial 15000000 (default is 123456)", 2)
        say("\n\U0001F50F Generating certificate...")
        if policies["--touch-policy"] != "never":
            say("\U0001F446 Please touch the YubiKey")
        say("Recipient: " + recipient)
        remarks = ["#       Serial: 15000000, Slot: 1", "#         Name: age identity 0a0b0c0d",
            "#   PIN policy: " + policies["--pin-policy"], "# Touch policy: " + policies["--touch-policy"]]
        label = "#    Recipient: "
    elif NAME == "tpm":
        if sys.argv[1] != "--generate" or options not in ([], ["--pin"]):
            say("unknown flag")
            sys.exit(1)
        if options and hidden("Enter pin for key:", 0) != hidden("Confirm pin:", 0):
            say("pins didn't match")
            sys.exit(1)
        remarks = ["# Created: 2026-11-28 12:00:00.0 +0000 UTC m=+0.011"]
    elif NAME == "fido2-hmac":
        if sys.argv[1:] != ["-g"]:
            sys.exit(1)
        say("[*] Please insert your token now...\n")
        hidden("Please enter your PIN:", "/dev/tty")
        say("[*] Please touch your token...\n")
        answered("[*] Do you want to require a PIN for decryption? [y/n]:")
        if answered("[*] Are you fine with having a separate identity (better privacy)? [y/n]:") != "y":
            identity = "# for decryption, use `age -d -j fido2-hmac` without any identity file."
        remarks, label = ["# created: 2026-11-28T12:00:00Z"], "# public key: "
    lines = remarks + [label + recipient] + ([""] if NAME == "tpm" else []) + [identity]
    if mode == "nothing":
        lines = []
    elif mode == "no-recipient":
        lines = [identity]
    elif mode == "several":
        lines += [label + encode("age1" + NAME, os.urandom(16))]
    elif mode == "two":
        lines += [encode("age-plugin-" + NAME + "-", os.urandom(16)).upper()]
    elif mode == "other":
        lines[-1] = encode("age-plugin-evil-", key).upper()
    elif mode == "native":
        lines[-1] = "AGE-SECRET-KEY-" + "1QQQQQQQ"
    elif mode == "binary":
        sys.stdout.buffer.write(b"\xff\xfe\n")
    elif mode == "endless":
        while True:
            print("# " + "x" * 1000)
    elif mode == "escapes":
        lines.insert(0, "# \x1b]0;owned\x07 \x1b[2J")
        say("\x1b[31mred")
    elif mode == "failing":
        say("Error: Please insert the YubiKey \x1b[31myou want to set up")
        sys.exit(1)
    print("\n".join(lines))

mode = os.environ.get("TEST_PLUGIN", "")
if "TEST_MARKER" in os.environ:
    open(os.environ["TEST_MARKER"], "w").close()
if sys.argv[1:] == ["keygen"]:
    key = os.urandom(16)
    print(encode("age1xor", key))
    print(encode("age-plugin-xor-", key).upper())
elif sys.argv[1:2] in (["--generate"], ["-g"]):
    generate(mode)
elif sys.argv[1:] == ["--age-plugin=recipient-v1"]:
    keys, file_keys = [], []
    for words, body in phase():
        if words[0] == "add-recipient":
            keys.append(decode(words[1]))
        elif words[0] == "wrap-file-key":
            file_keys.append(body)
    for at, file_key in enumerate(file_keys):
        for key in keys:
            nonce = os.urandom(8)
            ask(["recipient-stanza", str(at), NAME, nonce.hex()], xor(file_key, mask(key, nonce)))
    send(["done"])
elif sys.argv[1:] == ["--age-plugin=identity-v1"]:
    keys, stanzas = [], []
    for words, body in phase():
        if words[0] == "add-identity":
            keys.append(decode(words[1]))
        elif words[0] == "recipient-stanza" and words[2] == NAME:
            stanzas.append((words[1], bytes.fromhex(words[3]), body))
    if mode == "hang":
        sys.stdin.read()
        sys.exit(0)
    elif mode == "garbage":
        sys.stdout.write("no stanza at all\n" * 100)
        sys.stdout.flush()
        sys.exit(0)
    elif mode == "fail":
        ask(["error", "identity", "0"], b"the token is unplugged \x1b]0;x\x07")
        send(["done"])
        sys.exit(0)
    elif mode == "ask":
        words, pin = ask(["request-secret"], b"the PIN of the token")
        if words[0] != "ok" or pin != b"1234":
            ask(["error", "identity", "0"], b"wrong PIN")
            send(["done"])
            sys.exit(0)
    ask(["msg"], b"touch \x1b[31mthe token")
    for at, nonce, body in stanzas[:1]:
        file_key = os.urandom(16) if mode == "wrong" else xor(body, mask(keys[0], nonce))
        ask(["file-key", at], file_key)
    send(["done"])
"##;

/// A fleet whose second admin has the plugin's key, and the plugin's folder; `None` if it cannot run.
fn fleet() -> Option<(Sandbox, String)> {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        not_run("plugins", "there is no /usr/bin/python3 for the test's plugin");
        return None;
    }
    let sandbox = Sandbox::with_fleet(&["web"]);
    let program = sandbox.path("bin/age-plugin-xor");
    std::fs::create_dir(sandbox.path("bin")).expect("a directory");
    std::fs::write(&program, PLUGIN).expect("the plugin");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let made = String::from_utf8(sandbox.tool(program.to_str().expect("UTF-8"), &["keygen"])).expect("UTF-8");
    let (recipient, identity) = made.trim().split_once('\n').expect("two lines");
    std::fs::write(sandbox.path("keys/token"), identity).expect("an identity");
    std::fs::set_permissions(sandbox.path("keys/token"), std::fs::Permissions::from_mode(0o600)).expect("private");
    let policy = sandbox.read("recipients.toml").replace("\n[hosts", &format!("kim = [\"{recipient}\"]\n\n[hosts"));
    sandbox.write("recipients.toml", policy);
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").expect("PATH"));
    Some((sandbox, path))
}

fn allow(sandbox: &Sandbox) {
    std::fs::create_dir_all(sandbox.path("home/.config/sealift")).expect("a directory");
    let path = sandbox.path("home/.config/sealift/config.toml");
    std::fs::write(&path, "plugins = [\"xor\"]\n").expect("the configuration");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("private");
}

fn run(sandbox: &Sandbox, path: &str, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Run {
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    command.args(arguments).env("PATH", path).envs(environment.iter().copied());
    sandbox.run(command, input.as_bytes())
}

#[test]
fn a_plugin_that_the_user_did_not_list_never_runs() {
    let Some((sandbox, path)) = fleet() else { return };
    let marker = sandbox.path("marker");
    let trap = [("TEST_MARKER", marker.to_str().expect("UTF-8"))];
    let seal = ["seal", "a", "--hosts", "web", "--stdin"];
    run(&sandbox, &path, &trap, &seal, &sandbox.value("a"))
        .exits(2)
        .says("age-plugin-xor is not allowed to run")
        .says("plugins = [\"xor\"]");
    run(&sandbox, &path, &trap, &["show", "a", "--identity", &sandbox.key("token")], "").exits(2);
    assert!(!marker.exists() && !sandbox.fleet().join("secrets").exists());
    allow(&sandbox);
    run(&sandbox, &path, &trap, &seal, &sandbox.value("a")).exits(0);
    assert!(marker.exists(), "the trap works");
    std::fs::remove_file(&marker).expect("removed");
    // Listed, but the environment would print keys, or let a repository bring its own program.
    for (name, value) in [("AGEDEBUG", "plugin"), ("PATH", "bin:/usr/bin:/bin"), ("PATH", ":/usr/bin:/bin")] {
        let environment = [trap[0], (name, value)];
        run(&sandbox, &path, &environment, &["show", "a", "--identity", &sandbox.key("token")], "")
            .exits(5)
            .says("is not run");
    }
    assert!(!marker.exists());
}

#[test]
fn what_a_plugin_seals_opens_here_and_with_stock_age() {
    let Some((sandbox, path)) = fleet() else { return };
    allow(&sandbox);
    let value = sandbox.value("a");
    run(&sandbox, &path, &[], &["seal", "a", "--hosts", "web", "--stdin"], &value).exits(0);
    let token = sandbox.key("token");
    let shown =
        run(&sandbox, &path, &[], &["show", "a", "--identity", &token], "").exits(0).says("touch \\u{1b}[31mthe token");
    assert_eq!(shown.text(), value);
    for key in ["jay", "web"] {
        assert_eq!(
            run(&sandbox, &path, &[], &["show", "a", "--identity", &sandbox.key(key)], "").exits(0).text(),
            value
        );
    }
    let mut age = sandbox.command("age");
    age.args(["-d", "-i", &token, "secrets/a.age"]).env("PATH", &path);
    assert_eq!(sandbox.run(age, b"").exits(0).text(), value);
    // And what stock age seals with the plugin.
    let policy = sandbox.read("recipients.toml");
    let recipient = policy.split('"').find(|word| word.starts_with("age1xor1")).expect("the recipient");
    let mut age = sandbox.command("age");
    age.args(["-r", recipient, "-o", "secrets/a.age"]).env("PATH", &path);
    sandbox.run(age, value.as_bytes()).exits(0);
    assert_eq!(
        run(&sandbox, &path, &[], &["show", "a", "--identity", &token], "").exits(0).says("has no seal").text(),
        value
    );
}

#[test]
fn a_plugin_that_misbehaves_is_a_clear_failure() {
    let Some((sandbox, path)) = fleet() else { return };
    allow(&sandbox);
    run(&sandbox, &path, &[], &["seal", "a", "--hosts", "web", "--stdin"], &sandbox.value("a")).exits(0);
    let token = sandbox.key("token");
    let show = ["show", "a", "--identity", &token];
    run(&sandbox, &path, &[("TEST_PLUGIN", "garbage")], &show, "").exits(5).says("age-plugin-xor");
    let failed = run(&sandbox, &path, &[("TEST_PLUGIN", "fail")], &show, "").exits(5).says("the token is unplugged");
    assert!(!failed.stderr.contains('\u{1b}'), "{}", failed.stderr);
    run(&sandbox, &path, &[("TEST_PLUGIN", "wrong")], &show, "").exits(8);
    // It asks for a PIN: nobody can be asked, a script provides it, a script provides a wrong one.
    run(&sandbox, &path, &[("TEST_PLUGIN", "ask")], &show, "").exits(5);
    let with = |pin: &str| {
        let script = format!(
            "exec '{}' show a --identity '{token}' --passphrase-fd 3 3<<E\n{pin}\nE\n",
            env!("CARGO_BIN_EXE_sealift")
        );
        let mut command = sandbox.command("sh");
        command.args(["-c", &script]).env("PATH", &path).env("TEST_PLUGIN", "ask");
        sandbox.run(command, b"")
    };
    assert_eq!(with("1234").exits(0).text(), sandbox.value("a"));
    with("4321").exits(5).says("wrong PIN");
    std::fs::remove_file(sandbox.path("bin/age-plugin-xor")).expect("removed");
    run(&sandbox, &path, &[], &show, "").exits(5).says("age-plugin-xor is not installed");
}

#[test]
fn a_plugin_that_hangs_can_be_interrupted() {
    let Some((sandbox, path)) = fleet() else { return };
    allow(&sandbox);
    run(&sandbox, &path, &[], &["seal", "a", "--hosts", "web", "--stdin"], &sandbox.value("a")).exits(0);
    let mut command = sandbox.command("timeout");
    command.args([
        "--foreground",
        "-s",
        "INT",
        "1",
        env!("CARGO_BIN_EXE_sealift"),
        "show",
        "a",
        "--identity",
        &sandbox.key("token"),
    ]);
    command.env("PATH", &path).env("TEST_PLUGIN", "hang");
    let run = sandbox.run(command, b"");
    // `timeout` exits with 124 if it had to interrupt, whatever the program's exit code.
    assert_eq!(run.code, 124, "{}", run.stderr);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
}
