//! The keyed index of values: the same findings where no secret can be opened.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{commit, silent};
use crate::harness::{Run, Sandbox};

/// A fleet with a value and its index; returns the value.
fn indexed() -> (Sandbox, String) {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("forge/token", &["--hosts", "web"]);
    let run = sandbox.sealift(&["scan", "--write-index", "-i", &sandbox.key("jay")]).exits(0);
    run.prints("wrote scan-index.json: 1 value").says("generated its key: the secret scan-index-key");
    commit(&sandbox, "indexed");
    (sandbox, value)
}

/// The current index key, in a file.
fn key(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.path(name);
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).expect("new");
    std::io::Write::write_all(&mut file, &sandbox.show("scan-index-key", "jay")).expect("written");
    path
}

fn scan(sandbox: &Sandbox, key: &str, more: &[&str]) -> Run {
    sandbox.sealift(&[&["scan", "--index-key", key], more].concat())
}

#[test]
fn the_index_finds_what_the_values_find() {
    let (sandbox, value) = indexed();
    let (jay, key) = (sandbox.key("jay"), key(&sandbox, "index.key"));
    let key = key.to_str().expect("UTF-8");
    scan(&sandbox, key, &[]).exits(0).says("1 value of the fleet looked for by the index");
    sandbox.allow(sandbox.fleet());
    for (name, text) in [
        ("plain.txt", value.clone()),
        ("encoded.txt", BASE64_STANDARD.encode(format!("user:{value}:more"))),
        ("hex.txt", value.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("far.txt", format!("{}\n{value}\n", "a line of text\n".repeat(100_000))),
    ] {
        sandbox.write(name, format!("one\n{text}\n"));
        sandbox.sealift(&["scan"]).exits(0).says("no key of scan-index.json");
        let found = |run: Run| silent(run.exits(10), &value).json()["findings"].clone();
        let by_values = found(sandbox.sealift(&["scan", "-i", &jay, "--json"]));
        assert_eq!(found(scan(&sandbox, key, &["--json"])), by_values, "{name}");
        sandbox.tool("git", &["add", name]);
        scan(&sandbox, key, &["--staged"]).exits(10).prints("the value of forge/token (sealed-value)");
        sandbox.tool("git", &["commit", "-q", "-m", name]);
        sandbox.tool("git", &["rm", "-q", name]);
        sandbox.tool("git", &["commit", "-q", "-m", "gone"]);
        scan(&sandbox, key, &[]).exits(0);
        scan(&sandbox, key, &["--history"]).exits(10).prints(&format!("{name}:"));
    }
    // The file, and a unit's credential, are found without an argument.
    sandbox.write("again.txt", &value);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    sandbox
        .run(
            {
                command.arg("scan").env("SEALIFT_INDEX_KEY", key);
                command
            },
            b"",
        )
        .exits(10);
    let credentials = sandbox.path("credentials");
    std::fs::create_dir(&credentials).expect("a folder");
    std::fs::rename(key, credentials.join("sealift-index-key")).expect("moved");
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_sealift"));
    sandbox
        .run(
            {
                command.arg("scan").env("CREDENTIALS_DIRECTORY", &credentials);
                command
            },
            b"",
        )
        .exits(10);
}

#[test]
fn an_index_that_is_behind_is_said_everywhere() {
    let (sandbox, _) = indexed();
    let jay = sandbox.key("jay");
    let in_line = || {
        let run = sandbox.sealift(&["check"]).exits(0);
        assert!(!run.text().contains("scan-index"), "{}", run.text());
    };
    in_line();
    let first = key(&sandbox, "first.key");
    let first = first.to_str().expect("UTF-8");
    sandbox.seal("second", &["--hosts", "web"]);
    let value = sandbox.value("another");
    sandbox
        .sealift_with(&["seal", "forge/token", "--replace", "--stdin"], value.as_bytes())
        .exits(0)
        .says("scan-index.json does not know the new value yet: `sealift scan --write-index`");
    let run = scan(&sandbox, first, &[]).exits(11);
    run.prints("secrets/forge/token.age: the index does not know its current value").prints("secrets/second.age");
    sandbox.sealift(&["check"]).exits(0).prints("scan-index.json: it does not know the value of forge/token, second");
    sandbox.sealift(&["scan", "--write-index", "-i", &jay]).exits(0).prints("2 values");
    scan(&sandbox, first, &[]).exits(0).says("2 values of the fleet looked for by the index");
    in_line();
    // A key that should be revoked.
    sandbox.sealift(&["rotate", "scan-index-key"]).exits(0);
    sandbox.sealift(&["check"]).exits(0).prints("it is not sealed to the current scan-index-key");
    let second = key(&sandbox, "second.key");
    let second = second.to_str().expect("UTF-8");
    scan(&sandbox, second, &[]).exits(5).says("your key does not open scan-index.json");
    sandbox.sealift(&["scan", "--write-index", "-i", &jay]).exits(0);
    scan(&sandbox, second, &[]).exits(0);
    scan(&sandbox, first, &[]).exits(5);
}

#[test]
fn a_key_that_was_named_must_open_an_index() {
    let (sandbox, value) = indexed();
    let key = key(&sandbox, "index.key");
    let key = key.to_str().expect("UTF-8");
    scan(&sandbox, "/nowhere", &[]).exits(5);
    scan(&sandbox, &sandbox.key("jay"), &[]).exits(5).says("`sealift show scan-index-key` prints the current key");
    // The plaintext part shows only names and serials.
    let text = sandbox.read("scan-index.json");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(index["values"], serde_json::json!({ "forge/token": 1 }));
    let sealed = BASE64_STANDARD.decode(index["index"].as_str().expect("text")).expect("base64");
    for part in [value.as_bytes(), &value.as_bytes()[..8]] {
        assert!(!sealed.windows(part.len()).any(|there| there == part));
    }
    let half = sealed.len() - 40;
    index["index"] = BASE64_STANDARD.encode(&sealed[..half]).into();
    sandbox.write("scan-index.json", index.to_string());
    scan(&sandbox, key, &[]).exits(8);
    sandbox.sealift(&["scan"]).exits(0);
    for (damaged, code) in [("{", 8), ("{\"version\": 9, \"sealed\": \"\"}", 2)] {
        sandbox.write("scan-index.json", damaged);
        scan(&sandbox, key, &[]).exits(code).says("sealift scan --write-index");
        sandbox.sealift(&["check"]).exits(code);
    }
    // Someone with write access to the repository cannot make it be sealed to their own key.
    let other = sandbox.age_key("other");
    sandbox.write("secrets/scan-index-key.pub", format!("{other}\n"));
    sandbox.sealift(&["scan", "--write-index", "-i", &sandbox.key("jay")]).exits(0);
    scan(&sandbox, &sandbox.key("other"), &[]).exits(5);
    scan(&sandbox, key, &[]).exits(0);
    sandbox.tool("git", &["rm", "-q", "-f", "scan-index.json"]);
    scan(&sandbox, key, &[]).exits(2).says("there is no scan-index.json");
    sandbox.sealift(&["scan"]).exits(0);
    // A key that opens only some secrets indexes those, and says so.
    sandbox.seal("other", &["--hosts", "web"]);
    sandbox.sealift(&["scan", "--write-index", "-i", &sandbox.key("web")]).exits(5);
}

#[test]
fn a_name_that_is_taken_out_of_the_index_does_not_take_its_findings_along() {
    let (sandbox, value) = indexed();
    let key = key(&sandbox, "index.key");
    sandbox.allow(sandbox.fleet());
    sandbox.write("plain.txt", format!("{value}\n"));
    let path = sandbox.fleet().join("scan-index.json");
    let text = std::fs::read_to_string(&path).expect("the index");
    let mut index: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    index["values"].as_object_mut().expect("the names").remove("forge/token").expect("it is covered");
    std::fs::write(&path, index.to_string()).expect("written");
    scan(&sandbox, key.to_str().expect("UTF-8"), &[]).exits(8).says("names fewer secrets than it covers");
}

#[test]
fn a_key_of_the_index_that_hosts_receive_is_refused() {
    let (sandbox, _) = indexed();
    let policy = sandbox.read("recipients.toml");
    let given = policy.replace("[secrets.scan-index-key]\nhosts = []", "[secrets.scan-index-key]\nhosts = [\"web\"]");
    assert_ne!(policy, given, "the policy declares the key");
    sandbox.write("recipients.toml", given);
    let run = sandbox.sealift(&["scan", "--write-index", "-i", &sandbox.key("jay")]);
    run.exits(2).says("scan-index-key is given to hosts");
}

/// Seals an index of these entries to the current key, as anyone with write access can: each with the tag of eight
/// blanks, and a length.
fn seal_index(sandbox: &Sandbox, entries: impl Iterator<Item = u16>) {
    use sealift::adapters::age::Sealer;
    use sealift::adapters::age::identity::Plugins;
    use sealift::adapters::prompt::Ask;
    use sealift::domain::secret::plaintext::Plaintext;
    use sealift::domain::secret::recipient::Recipient;
    use sealift::domain::secret::seal::Seal;

    const BITS: u32 = 20;
    let tag = u32::try_from(u64::from_le_bytes([b' '; 8]) >> (64 - BITS)).expect("few bits");
    let head = [&[u8::try_from(BITS).expect("few")][..], &1u64.to_le_bytes(), &[7; 64]].concat();
    let entry = |length: u16| [&tag.to_le_bytes()[..], &[0; 4], &[0; 2], &length.to_le_bytes(), &[9; 16]].concat();
    let content = Plaintext::take([head, entries.flat_map(entry).collect()].concat());
    let mut index: serde_json::Value = serde_json::from_str(&sandbox.read("scan-index.json")).expect("JSON");
    let recipient = Recipient::parse(index["recipient"].as_str().expect("text")).expect("a key");
    let talk: std::sync::Arc<dyn Ask> = crate::install::Silence::talk();
    let sealer = Sealer::new([&recipient], &Plugins::default(), &talk).expect("a key");
    let name = "scan-index-key/index".parse().expect("a name");
    let seal = Seal::first(name, jiff::civil::date(2026, 1, 1), [recipient.fingerprint()].into());
    index["index"] = BASE64_STANDARD.encode(sealer.seal(&content, &seal).expect("sealed")).into();
    sandbox.write("scan-index.json", index.to_string());
}

#[test]
fn an_index_that_was_made_to_take_long_does_not() {
    let (sandbox, _) = indexed();
    let key = key(&sandbox, "index.key");
    let key = key.to_str().expect("UTF-8");
    // A text that matches it: eight blanks, and something else, repeatedly.
    let text: String = (0..100_000).map(|number| format!("        {number:08x}\n")).collect();
    sandbox.write("fits.txt", text);
    sandbox.tool("git", &["add", "fits.txt"]);
    let scan = |more: &[&str]| {
        let mut command = sandbox.command("timeout");
        command.args(["120", env!("CARGO_BIN_EXE_sealift"), "scan", "--index-key", key]).args(more);
        let run = sandbox.run(command, b"");
        sandbox.remember(&run);
        run
    };
    // 38 KB: a thousand entries with the same tag.
    seal_index(&sandbox, (0..1000).map(|number| 3000 + number));
    for more in [&[][..], &["--staged"]] {
        scan(more).exits(8).says("scan-index.json is damaged").says("sealift scan --write-index");
    }
    // The maximum number of entries with one tag: matching files are listed, and searched by every other rule.
    seal_index(&sandbox, (0..32).map(|number| 4000 + number));
    for more in [&[][..], &["--staged"]] {
        scan(more).exits(11).prints("fits.txt: nearly all of it looks like values of the index");
    }
}
