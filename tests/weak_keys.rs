//! Keys that everybody can open, invalid keys, and keys in an unusual encoding: refused everywhere with the reason,
//! without crashing.

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::harness::{Run, Sandbox};

/// An ssh-ed25519 key with this point.
fn ed25519(point: [u8; 32]) -> String {
    let wire = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &point].concat();
    format!("ssh-ed25519 {}", BASE64_STANDARD.encode(wire))
}

/// The point with this lowest byte.
fn point(lowest: u8) -> [u8; 32] {
    std::array::from_fn(|at| if at == 0 { lowest } else { 0 })
}

const OPEN: &str = "everybody can open what is sealed to this key: it is a point of small order";
const STRANGE: &str = "this key is not written in its one valid form";

/// Refused keys with the reason. The age keys are the u-coordinates 0, 1, p and p + 2 (a common point, not reduced).
fn keys() -> Vec<(String, &'static str)> {
    let mut too_large = [0xff; 32];
    (too_large[0], too_large[31]) = (0xef, 0x7f);
    vec![
        (ed25519(point(1)), OPEN),
        (ed25519(point(0)), OPEN),
        (age1(point(0)), OPEN),
        (age1(point(1)), OPEN),
        (age1(std::array::from_fn(|at| [0xed, 0xff, 0x7f][usize::from(at > 0) + usize::from(at == 31)])), OPEN),
        (age1(too_large), STRANGE),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAABAA==".to_owned(), "a damaged SSH public key"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQA=".to_owned(), "a damaged SSH public key"),
    ]
}

/// An age recipient with these bytes, in Bech32 (BIP 173).
pub fn age1(bytes: [u8; 32]) -> String {
    const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let mut words: Vec<u8> = Vec::new();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    words.extend(bits.chunks(5).map(|five| (0..5).fold(0, |word, at| word << 1 | five.get(at).copied().unwrap_or(0))));
    let head = b"age".iter().map(|c| c >> 5).chain([0]).chain(b"age".iter().map(|c| c & 31));
    let sum = head.chain(words.iter().copied()).chain([0; 6]).fold(1u32, |sum, word| {
        let top = sum >> 25;
        let mut sum = (sum & 0x1ff_ffff) << 5 ^ u32::from(word);
        for (at, factor) in [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].into_iter().enumerate() {
            sum ^= if top >> at & 1 == 1 { factor } else { 0 };
        }
        sum
    }) ^ 1;
    words.extend((0..6).map(|at| u8::try_from(sum >> (5 * (5 - at)) & 31).expect("five bits")));
    let letters: String = words.iter().map(|word| char::from(LETTERS[usize::from(*word)])).collect();
    format!("age1{letters}")
}

#[track_caller]
fn refused(run: Run, why: &str) {
    let run = run.exits(2).says(why);
    assert!(!run.stderr.contains("defect") && !run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_key_of_the_policy_that_everybody_can_open_is_named_by_every_verb() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let policy = sandbox.read("recipients.toml");
    let line = policy.lines().position(|line| line.starts_with("keys = ")).expect("a key") + 1;
    let jay = sandbox.key("jay");
    for (key, why) in keys() {
        let evil = policy.replacen("keys = [", &format!("keys = [\"{key}\", "), 1);
        sandbox.write("recipients.toml", &evil);
        let verbs: [&[&str]; 9] = [
            &["check"],
            &["list"],
            &["who", "a"],
            &["rekey", "--dry-run"],
            &["rekey", "-i", &jay],
            &["show", "a", "-i", &jay],
            &["manifest", "web"],
            &["scan", "-i", &jay],
            &["host", "list"],
        ];
        for verb in verbs {
            refused(sandbox.sealift(verb), why);
        }
        let run = sandbox.sealift_with(&["seal", "b", "--hosts", "web", "--stdin"], sandbox.value("b").as_bytes());
        refused(run, &format!("recipients.toml:{line}: hosts.web.keys: {why}"));
        let admin = policy.replacen("jay = [", &format!("jay = [\"{key}\", "), 1);
        sandbox.write("recipients.toml", admin);
        refused(sandbox.sealift(&["check"]), &format!("recipients.toml:4: admins.jay: {why}"));
        let retired = format!("{policy}\n[retired.old]\nkeys = [\"{key}\"]\n");
        sandbox.write("recipients.toml", retired);
        refused(sandbox.sealift(&["check"]), &format!("retired.old: {why}"));
    }
    // A pin that anybody can sign for.
    let pinned = policy.replacen("[hosts.web]\n", &format!("[hosts.web]\nssh_keys = [\"{}\"]\n", ed25519(point(1))), 1);
    sandbox.write("recipients.toml", pinned);
    refused(sandbox.sealift(&["check"]), "hosts.web.ssh_keys: everybody can pass for a machine with this key");
}

#[test]
fn a_key_that_everybody_can_open_comes_in_by_no_door() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "*"]);
    let jay = sandbox.key("jay");
    sandbox.sealift(&["scan", "--write-index", "-i", &jay]).exits(0);
    let (policy, index) = (sandbox.read("recipients.toml"), sandbox.read("scan-index.json"));
    let recipient = serde_json::from_str::<serde_json::Value>(&index).expect("JSON")["recipient"].clone();
    for (key, why) in keys() {
        refused(sandbox.sealift(&["host", "add", "evil", "--key", &key, "-i", &jay]), why);
        let file = sandbox.path("evil.pub");
        std::fs::write(&file, format!("{key}\n")).expect("written");
        let file = file.to_str().expect("UTF-8");
        refused(sandbox.sealift(&["host", "add", "evil", "--key-file", file, "-i", &jay]), why);
        refused(sandbox.sealift(&["host", "rekey", "web", "--key-file", file, "-i", &jay]), why);
        sandbox.write("secrets.nix", format!("{{ \"x.age\".publicKeys = [ \"{key}\" ]; }}\n"));
        refused(sandbox.sealift(&["import", "agenix", "--admin", "jay"]), why);
        std::fs::remove_file(sandbox.fleet().join("secrets.nix")).expect("removed");
        // The plaintext part of the index names its recipients.
        sandbox.write("scan-index.json", index.replace(recipient.as_str().expect("text"), &key));
        sandbox.sealift(&["check"]).exits(8).says("scan-index.json is damaged").says(why);
        sandbox.sealift(&["scan"]).exits(8).says(why);
        sandbox.write("scan-index.json", &index);
        // And the public half next to the key of the index.
        let public = sandbox.read("secrets/scan-index-key.pub");
        sandbox.write("secrets/scan-index-key.pub", format!("{key}\n"));
        refused(sandbox.sealift(&["check"]), why);
        sandbox.write("secrets/scan-index-key.pub", public);
        assert_eq!(sandbox.read("recipients.toml"), policy);
    }
}

#[test]
fn an_identity_whose_public_half_is_no_key_opens_nothing_and_ends_nothing() {
    use std::os::unix::fs::OpenOptionsExt;
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("a", &["--hosts", "web"]);
    let whole = std::fs::read_to_string(sandbox.key("web")).expect("a key");
    let body: String = whole.lines().filter(|line| !line.starts_with("---")).collect();
    let bytes = BASE64_STANDARD.decode(body).expect("base64");
    let name = bytes.windows(11).position(|window| window == b"ssh-ed25519").expect("its public half");
    let mut open = bytes.clone();
    open[name + 15..name + 47].copy_from_slice(&point(1));
    // ssh-rsa with a number that is a single zero byte.
    let mut short = bytes.clone();
    short.splice(name - 4..name + 47, [&[0, 0, 0, 7][..], b"ssh-rsa", &[0, 0, 0, 1, 0], &[0, 0, 0, 1, 0]].concat());
    let length = u32::try_from(7 + 4 + 5 + 5).expect("short").to_be_bytes();
    short[name - 8..name - 4].copy_from_slice(&length);
    for (number, evil) in [open, short].iter().enumerate() {
        let path = sandbox.path(&format!("evil{number}"));
        let marks = |word: &str| format!("-----{word} OPENSSH PRIVATE KEY-----");
        let text = format!("{}\n{}\n{}\n", marks("BEGIN"), BASE64_STANDARD.encode(evil), marks("END"));
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path).expect("new");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        let run = sandbox.sealift(&["show", "a", "-i", path.to_str().expect("UTF-8")]).exits(5);
        assert!(!run.stderr.contains("defect"), "{}", run.stderr);
    }
}
