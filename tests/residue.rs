//! What is left of a value in memory when a verb ends: gdb stops it at its last system call and dumps its memory. A core
//! file, a swapped page or reused memory can reveal no more than that.

use std::path::Path;
use std::process::Command;

use crate::harness::rig::Rig;
use crate::harness::{Sandbox, not_run};
use crate::install::{Machine, entry};

const SEALIFT: &str = env!("CARGO_BIN_EXE_sealift");
/// The length of a value.
const LENGTH: usize = 1024;
/// The longest run of bytes that may be left: the last copy went through four registers of up to 64 bytes each, and
/// registers are part of the dump. Half of a copy is a fault.
const BOUND: usize = 256;

/// A unique value: the sandbox's canary, and random characters.
fn value(sandbox: &Sandbox) -> String {
    let mut random = vec![0; LENGTH];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("there"), &mut random).expect("read");
    let letters: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let value = format!("{}{letters}", sandbox.canary);
    value.get(..LENGTH).expect("long enough").to_owned()
}

/// Runs a command, which must succeed, and dumps its memory at its end; `None`, with a note, if gdb may not trace it.
fn image(sandbox: &Sandbox, command: &Command, input: &str, shown: &Path) -> Option<Vec<u8>> {
    let mut gdb = sandbox.command("gdb");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            gdb.env(name, value);
        }
    }
    let words: Vec<&str> = command.get_args().map(|word| word.to_str().expect("UTF-8")).collect();
    image_of(sandbox, gdb, &words, input, shown)
}

/// Like `image`, with these arguments and this gdb command.
fn image_of(sandbox: &Sandbox, mut gdb: Command, words: &[&str], input: &str, shown: &Path) -> Option<Vec<u8>> {
    let place = sandbox.path("residue");
    std::fs::create_dir_all(&place).expect("a folder");
    sandbox.allow(&place);
    std::fs::write(place.join("in"), input).expect("written");
    let letter = |at: usize| char::from(b'A' + u8::try_from((at * at + at / 7) % 26).expect("a letter"));
    let mark: String = (0..LENGTH).map(letter).collect();
    let words: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let image = place.join("image");
    gdb.env("MARK", &mark);
    gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "catch syscall exit_group"]);
    let run = format!("run {} < {} > {}", words.join(" "), place.join("in").display(), shown.display());
    let code = if cfg!(target_arch = "aarch64") { "$x0" } else { "$rdi" };
    let code = format!("printf \"\\nit ends with %d.\\n\", {code}");
    gdb.args(["-ex", &run, "-ex", &code, "-ex", &format!("gcore {}", image.display()), "-ex", "kill", SEALIFT]);
    let run = sandbox.run(gdb, b"");
    let Ok(bytes) = std::fs::read(&image) else {
        not_run("residue of values in memory", "gdb may not look at a process here");
        return None;
    };
    std::fs::remove_dir_all(&place).expect("removed");
    // A failed run would leave nothing either.
    let run = run.prints("\nit ends with 0.\n");
    // Check that the search works: an environment variable is certainly in memory.
    assert!(longest_run(&bytes, mark.as_bytes()) >= 512, "{}", run.stderr);
    Some(bytes)
}

/// An untouched page.
const ZERO: [u8; 4096] = [0; 4096];

/// The longest run of the value's bytes in the dump.
fn longest_run(image: &[u8], value: &[u8]) -> usize {
    // A run of 32 or more contains one of these pieces; its first two bytes are compared first, for speed.
    let pieces: Vec<usize> = (0..value.len() - 16).step_by(16).collect();
    let mut begins = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    pieces.iter().for_each(|start| begins[pair(&value[*start..])] = true);
    let mut longest = 0;
    for page in (0..image.len() - 16).step_by(4096) {
        // Most pages were never touched.
        if image[page..(page + 4096).min(image.len())] == ZERO[..4096.min(image.len() - page)] {
            continue;
        }
        for at in page..(page + 4096).min(image.len() - 16) {
            if !begins[pair(&image[at..])] {
                continue;
            }
            for start in pieces.iter().copied().filter(|start| image[at..at + 16] == value[*start..start + 16]) {
                let back = |back: &usize| image[at - back - 1] == value[start - back - 1];
                let before = (0..start.min(at)).take_while(back).count();
                let after = image[at..].iter().zip(&value[start..]).take_while(|(a, b)| a == b).count();
                longest = longest.max(before + after);
            }
        }
    }
    longest
}

/// Runs a verb and checks what is left of these values against the bound; returns its output.
#[track_caller]
fn leaves_nothing(sandbox: &Sandbox, command: &Command, input: &str, values: &[&str]) -> Option<Vec<u8>> {
    let shown = sandbox.path("shown");
    sandbox.allow(&shown);
    let image = image(sandbox, command, input, &shown)?;
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    for value in values {
        let longest = longest_run(&image, value.as_bytes());
        assert!(
            longest <= BOUND,
            "{longest} bytes in a row of the value are still in memory after {}",
            words.join(" ")
        );
    }
    Some(std::fs::read(shown).expect("what it printed"))
}

/// The program under test in the sandbox.
fn sealift(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(SEALIFT);
    command.args(arguments);
    command
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_sealed_shown_and_sealed_anew() {
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    let (first, second) = (value(&sandbox), value(&sandbox));
    let jay = sandbox.key("jay");
    let run = |arguments: &[&str], input: &str, values: &[&str]| {
        leaves_nothing(&sandbox, &sealift(&sandbox, arguments), input, values)
    };
    let Some(_) = run(&["seal", "a", "--hosts", "web", "--stdin"], &first, &[&first]) else { return };
    assert_eq!(run(&["show", "a", "-i", &jay], "", &[&first]), Some(first.clone().into_bytes()));
    let plain = sandbox.path("plain");
    sandbox.allow(&plain);
    std::fs::write(&plain, &first).expect("written");
    run(&["seal", "b", "--hosts", "web", "--from-file", plain.to_str().expect("UTF-8"), "--shred"], "", &[&first]);
    // One more reader: the file is re-encrypted.
    let policy = sandbox.read("recipients.toml").replacen("hosts = [\"web\"]", "hosts = [\"web\", \"db\"]", 1);
    sandbox.write("recipients.toml", policy);
    run(&["rekey", "-i", &jay], "", &[&first]);
    assert_eq!(sandbox.show("a", "db"), first.as_bytes());
    run(&["rotate", "a", "--stdin"], &second, &[&second]);
    assert_eq!(sandbox.show("a", "db"), second.as_bytes());
    // A generated value.
    run(&["seal", "made", "--hosts", "web", "--generate", "hex", "--length", "512"], "", &[]);
    let made = String::from_utf8(sandbox.show("made", "web")).expect("text");
    let policy = sandbox.read("recipients.toml");
    assert!(policy.contains("generate"), "{policy}");
    let shown = sandbox.path("shown");
    let image = image(&sandbox, &sealift(&sandbox, &["rotate", "made"]), "", &shown).expect("an image");
    let new = String::from_utf8(sandbox.show("made", "web")).expect("text");
    assert_ne!(made, new);
    assert!(longest_run(&image, new.as_bytes()) <= BOUND);
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_edited() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let (first, second) = (value(&sandbox), value(&sandbox));
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--stdin"], first.as_bytes()).exits(0);
    let (new, editor) = (sandbox.path("new"), sandbox.path("put"));
    sandbox.allow(&new);
    std::fs::write(&new, &second).expect("written");
    std::fs::write(&editor, format!("#!/bin/sh\nexec cp {} \"$1\"\n", new.display())).expect("written");
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a program");
    let mut command = sealift(&sandbox, &["edit", "a", "-i", &sandbox.key("jay")]);
    command.env("EDITOR", &editor);
    if leaves_nothing(&sandbox, &command, "", &[&first, &second]).is_some() {
        assert_eq!(sandbox.show("a", "web"), second.as_bytes());
    }
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_looked_for() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = value(&sandbox);
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--stdin"], value.as_bytes()).exits(0);
    let jay = sandbox.key("jay");
    let run = |arguments: &[&str]| leaves_nothing(&sandbox, &sealift(&sandbox, arguments), "", &[&value]);
    let Some(_) = run(&["scan", "-i", &jay]) else { return };
    run(&["scan", "--history", "-i", &jay]);
    run(&["scan", "--write-index", "-i", &jay]);
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_taken_over() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = value(&sandbox);
    let module = format!("{{ ... }}:\n{{\n  services.gitea-actions-runner.instances.main.token = \"{value}\";\n}}\n");
    sandbox.write("hosts/web/default.nix", module);
    let adopt = ["adopt", "hosts/web/default.nix:3", "--name", "token", "--yes"];
    let Some(_) = leaves_nothing(&sandbox, &sealift(&sandbox, &adopt), "", &[&value]) else { return };
    assert!(sandbox.show("token", "web").windows(LENGTH).any(|there| there == value.as_bytes()));
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_imported() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = value(&sandbox);
    let (plain, key) = (sandbox.path("plain"), sandbox.age_key("kim"));
    sandbox.allow(&plain);
    std::fs::write(&plain, &value).expect("written");
    sandbox.write("secrets/secrets.nix", format!("let kim = \"{key}\"; in {{ \"x.age\".publicKeys = [ kim ]; }}\n"));
    sandbox.tool("age", &["-r", &key, "-o", "secrets/x.age", plain.to_str().expect("UTF-8")]);
    sandbox.tool("git", &["add", "-A"]);
    // With --adopt it is decrypted, and re-encrypted with a seal.
    let import = ["import", "agenix", "--admin", "kim", "--adopt", "--yes", "--identity", &sandbox.key("kim")];
    if leaves_nothing(&sandbox, &sealift(&sandbox, &import), "", &[&value]).is_some() {
        assert_eq!(sandbox.show("x", "kim"), value.as_bytes());
        assert_eq!(sandbox.show("x", "jay"), value.as_bytes());
    }
}

#[test]
fn no_run_of_a_value_stays_in_memory_when_it_is_installed() {
    let Some(machine) = Machine::new() else { return };
    let sandbox = &machine.sandbox;
    let value = value(sandbox);
    sandbox.sealift_with(&["seal", "a", "--hosts", "web", "--stdin"], value.as_bytes()).exits(0);
    let manifest = machine.manifest(|manifest| entry(manifest, "a")["shape"] = serde_json::json!("token"));
    let key = sandbox.key("web");
    let install = ["install", &manifest, "--root", machine.root.shown(), "--identity", &key];
    // The second time, it is also compared with the live one.
    for _ in 0..2 {
        let Some(_) = leaves_nothing(sandbox, &sealift(sandbox, &install), "", &[&value]) else { return };
        assert_eq!(machine.delivered("a"), Some(value.clone()));
    }
}

#[test]
fn no_run_of_a_key_stays_in_memory_when_it_is_made_and_put_in_place() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let jay = sandbox.key("jay");
    let shown = sandbox.path("shown");
    let add = sealift(&sandbox, &["host", "add", "box", "--generate", "--identity", &jay]);
    let Some(made) = image(&sandbox, &add, "", &shown) else { return };
    let key = String::from_utf8(sandbox.show("host-keys/box", "jay")).expect("text");
    let text: String = key.lines().filter(|line| !line.starts_with("---")).collect::<Vec<_>>().join("\n");
    // The first lines are the same in all keys, and the public half is not secret.
    let private = text.get(text.len() - 200..).expect("a key");
    assert!(longest_run(&made, private.as_bytes()) <= 64, "{} bytes", longest_run(&made, private.as_bytes()));
    let root = sandbox.path("mnt");
    std::fs::create_dir(&root).expect("a folder");
    sandbox.allow(&root);
    let root = root.to_str().expect("UTF-8");
    let provision = sealift(&sandbox, &["host", "provision", "box", "--root", root, "--identity", &jay]);
    let put = image(&sandbox, &provision, "", &shown).expect("an image");
    assert!(longest_run(&put, private.as_bytes()) <= 64, "{} bytes", longest_run(&put, private.as_bytes()));
    assert!(std::fs::read_to_string(format!("{root}/etc/ssh/ssh_host_ed25519_key")).expect("a key").contains(private));
}

#[test]
fn nix_no_run_of_a_value_stays_in_memory_when_a_deploy_looks_for_it() {
    let Some(rig) = Rig::try_deployed("residue: deploy", &["web"]) else { return };
    let value = value(&rig.sandbox);
    rig.sandbox.sealift_with(&["rotate", "token", "--stdin"], value.as_bytes()).exits(0);
    rig.system("web", "{ etc.motd = \"second\"; }");
    rig.commit();
    let jay = rig.sandbox.key("jay");
    let deploy = ["deploy", "web", "--yes", "--identity", &jay];
    let (gdb, shown) = (rig.command("gdb"), rig.sandbox.path("shown"));
    rig.sandbox.allow(&shown);
    let Some(image) = image_of(&rig.sandbox, gdb, &deploy, "", &shown) else { return };
    let longest = longest_run(&image, value.as_bytes());
    assert!(longest <= BOUND, "{longest} bytes in a row of the value are still in memory");
    assert_eq!(rig.secret("web", "token"), Some(value));
}
