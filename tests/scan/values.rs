//! The fleet's own values, searched for exactly: in every encoding, in the tree and the history, without printing a
//! value.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::silent;
use crate::harness::Sandbox;

#[test]
fn a_sealed_value_is_found_however_it_is_written() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("forge/token", &["--hosts", "web"]);
    sandbox.tool("git", &["commit", "-q", "-m", "sealed"]);
    let key = sandbox.key("jay");
    sandbox.sealift(&["scan", "-i", &key]).exits(0).says("1 value of the fleet looked for");
    for (name, text) in [
        ("plain.txt", value.clone()),
        ("encoded.txt", BASE64_STANDARD.encode(format!("user:{value}:more"))),
        ("hex.txt", value.bytes().map(|byte| format!("{byte:02x}")).collect()),
    ] {
        sandbox.allow(sandbox.fleet().join(name));
        sandbox.write(name, format!("one\n{text}\n"));
        // Without the key it is text like any other.
        sandbox.sealift(&["scan"]).exits(0);
        let run = sandbox.sealift(&["scan", "-i", &key]).exits(10);
        let run =
            silent(run, &value).prints(&format!("severe: {name}:2:")).prints("the value of forge/token (sealed-value)");
        run.prints("sealift rotate forge/token");
        sandbox.tool("git", &["add", name]);
        sandbox.tool("git", &["commit", "-q", "-m", name]);
        sandbox.tool("git", &["rm", "-q", name]);
        sandbox.tool("git", &["commit", "-q", "-m", "gone"]);
        sandbox.sealift(&["scan", "-i", &key]).exits(0);
        sandbox.sealift(&["scan", "--history", "-i", &key]).exits(10).prints(&format!("{name}:2:"));
    }
}

#[test]
fn the_lines_of_a_key_are_found_and_its_public_half_is_not() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let key = sandbox.key("jay");
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048"), ("ecdsa", "256")] {
        let name = format!("key-{kind}");
        let path = sandbox.key(&name);
        sandbox.tool("ssh-keygen", &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "x", "-f", &path]);
        sandbox.sealift(&["seal", &name, "--hosts", "web", "--shape", "ssh-key", "--from-file", &path]).exits(0);
        let public = std::fs::read(format!("{path}.pub")).expect("read");
        sandbox.write(&format!("{name}.pub"), public);
    }
    sandbox.sealift(&["scan", "-i", &key]).exits(0).says("3 values of the fleet looked for");
    for kind in ["ed25519", "rsa", "ecdsa"] {
        // Indented, without its first and last lines, in another kind of file.
        let text = std::fs::read_to_string(sandbox.key(&format!("key-{kind}"))).expect("read");
        let body: Vec<String> =
            text.lines().filter(|line| !line.contains("-----")).map(|line| format!("    {line}")).collect();
        sandbox.write("part.nix", body.join("\n"));
        let run = sandbox.sealift(&["scan", "-i", &key, "--json"]).exits(10).json();
        let found = run["findings"].as_array().expect("an array");
        assert_eq!(found.len(), 1, "one key is one finding: {found:?}");
        assert_eq!(found[0]["secret"].as_str(), Some(format!("key-{kind}").as_str()));
    }
}

#[test]
fn what_cannot_be_looked_for_is_said() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let key = sandbox.key("jay");
    sandbox.sealift_with(&["seal", "pin", "--hosts", "web", "--stdin"], b"1234").exits(0);
    sandbox.write("a.txt", "1234\n");
    sandbox.sealift(&["scan", "-i", &key]).exits(0).says("too short to be looked for (less than 8 bytes): pin");
    // A host's key opens only its own secrets.
    sandbox.seal("web-only", &["--hosts", "web"]);
    let run = sandbox.sealift(&["scan", "-i", &sandbox.key("db")]).exits(11);
    run.prints("not read: secrets/web-only.age: its value is not looked for");
    sandbox.sealift(&["scan", "-i", "/nowhere"]).exits(5);
}

#[test]
fn a_value_that_is_sealed_while_it_stands_somewhere_is_said() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.allow(sandbox.fleet().join("hosts"));
    sandbox.write("hosts/web.nix", format!("{{\n  token = \"{}\";\n}}\n", sandbox.value("inline")));
    let value = sandbox.value("inline");
    let run = sandbox.sealift_with(&["seal", "inline", "--hosts", "web", "--stdin"], value.as_bytes()).exits(0);
    silent(run.says("the value of inline stands in the clear in hosts/web.nix:2"), &value);
}

#[test]
fn staged_plaintext_stops_a_deploy() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("flake.nix", "{ outputs = _: { }; }\n");
    sandbox.write("hosts/web.nix", super::token(5));
    sandbox.tool("git", &["add", "--all"]);
    let run = sandbox.sealift(&["deploy", "web", "--action", "build", "--yes"]);
    assert_ne!(run.code, 0);
    silent(run.says("hosts/web.nix:1: a GitHub token is staged"), &super::token(5));
}
