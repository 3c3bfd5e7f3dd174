//! Nothing hides: what cannot be read is named, with exit code 11; unusual files are searched like the rest.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::{commit, repository, silent, token};

#[test]
fn fifos_submodules_and_pointers_are_named() {
    let sandbox = repository();
    sandbox.write("a", "x\n");
    commit(&sandbox, "x");
    sandbox.write(
        "pointer.bin",
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 9\n", "0".repeat(64)),
    );
    sandbox.sealift(&["scan"]).exits(11).prints("not read: pointer.bin: a Git LFS pointer");
    std::fs::remove_file(sandbox.fleet().join("pointer.bin")).expect("removed");
    // A FIFO in place of a tracked file: opening it must not block.
    std::fs::remove_file(sandbox.fleet().join("a")).expect("removed");
    sandbox.tool("mkfifo", &["a"]);
    sandbox.sealift(&["scan"]).exits(11).prints("not read: a: it is a FIFO");
    std::fs::remove_file(sandbox.fleet().join("a")).expect("removed");
    sandbox.tool("git", &["checkout", "-q", "--", "a"]);
    sandbox.sealift(&["scan"]).exits(0);
    sandbox.tool("git", &["init", "-q", "inner"]);
    sandbox.write("inner/x", token(1));
    sandbox.sealift(&["scan"]).exits(11).prints("not read: inner: a repository of its own");
    let report = sandbox.sealift(&["scan", "--json"]).exits(11).json();
    assert_eq!(report["not_looked_at"][0]["path"], "inner");
    let sarif = sandbox.sealift(&["scan", "--sarif"]).exits(11).json();
    assert_eq!(sarif["runs"][0]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn names_of_any_bytes_and_links_are_looked_at() {
    let sandbox = repository();
    let fleet = sandbox.fleet();
    for (number, name) in
        [&b"new\nline"[..], b"esc\x1b[31m", b"not-utf8-\xff", b"-option", b"with space"].into_iter().enumerate()
    {
        std::fs::write(fleet.join(std::ffi::OsStr::from_bytes(name)), token(number as u64)).expect("written");
    }
    symlink("b", fleet.join("a")).expect("linked");
    symlink("a", fleet.join("b")).expect("linked");
    symlink("/etc", fleet.join("out")).expect("linked");
    symlink(token(9), fleet.join("secret-link")).expect("linked");
    sandbox.tool("git", &["add", "--all"]);
    let run = sandbox.sealift(&["scan"]).exits(10);
    for name in ["-option:1:1", "with space:1:1", "not-utf8-\\xff:1:1", "secret-link:1:1"] {
        assert!(run.text().contains(name), "{name} in {}", run.text());
    }
    assert!(!run.text().contains('\x1b') && !run.text().contains("out/"), "{}", run.text());
    assert_eq!(run.text().matches("github-token").count(), 6);
}

#[test]
fn a_secret_in_a_name_is_found_and_not_shown() {
    let sandbox = repository();
    let secret = token(3);
    sandbox.write(&format!("backup/{secret}.txt"), "x\n");
    for form in ["--json", "--sarif", "--quiet"] {
        silent(sandbox.sealift(&["scan", form]).exits(10), &secret);
    }
    sandbox.sealift(&["scan"]).exits(10).prints("backup/\u{2026}.txt:1:8");
}

#[test]
fn a_file_behind_a_link_is_the_files_of_git_alone() {
    let sandbox = repository();
    sandbox.write("dir/a", "x\n");
    commit(&sandbox, "x");
    std::fs::create_dir(sandbox.path("elsewhere")).expect("made");
    std::fs::write(sandbox.path("elsewhere/a"), token(1)).expect("written");
    std::fs::remove_dir_all(sandbox.fleet().join("dir")).expect("removed");
    symlink("../elsewhere", sandbox.fleet().join("dir")).expect("linked");
    sandbox.sealift(&["scan"]).exits(0);
}

#[test]
fn a_large_file_takes_little_memory() {
    let sandbox = repository();
    let large = std::fs::File::create(sandbox.fleet().join("large.bin")).expect("made");
    std::os::unix::fs::FileExt::write_all_at(&large, token(1).as_bytes(), 100 << 20).expect("written");
    let mut command = sandbox.command("prlimit");
    // The process's own memory limit: 64 MiB, stacks included.
    command.args(["--data=67108864", "--", env!("CARGO_BIN_EXE_sealift"), "scan"]);
    sandbox.run(command, b"").exits(10).prints("large.bin:1:104857601: a GitHub token");
}

#[test]
fn members_are_looked_at_and_bombs_are_named() {
    let sandbox = repository();
    let script = "\
import gzip, lzma, zipfile, sys
text = ('line\\nkey: ' + sys.argv[1] + '\\n').encode()
open('a.gz', 'wb').write(gzip.compress(b'x\\n') + gzip.compress(text))
open('a.xz', 'wb').write(lzma.compress(text))
with zipfile.ZipFile('a.zip', 'w') as z:
    z.writestr('stored.txt', text)
    z.writestr('dir/deflated.txt', text, zipfile.ZIP_DEFLATED)
    z.writestr('inner.gz', gzip.compress(text))
open('cut.gz', 'wb').write(gzip.compress(text * 100)[:-30])
open('bomb.gz', 'wb').write(gzip.compress(gzip.compress(gzip.compress(gzip.compress(b'x')))))
open('other.bz2', 'wb').write(__import__('bz2').compress(text))
";
    sandbox.tool("python3", &["-c", script, &token(4)]);
    let run = silent(sandbox.sealift(&["scan"]).exits(10), &token(4));
    let text = run.text();
    for place in [
        "a.gz:3:6 (gzip content)",
        "a.xz:2:6 (xz content)",
        "a.zip:2:6 (stored.txt)",
        "a.zip:2:6 (dir/deflated.txt)",
        "a.zip:2:6 (inner.gz/gzip content)",
        "not read: cut.gz: its gzip is damaged",
        "not read: bomb.gz: ",
        "not read: other.bz2: it is bzip2",
    ] {
        assert!(text.contains(place), "{place} in {text}");
    }
}

#[test]
fn nix_that_cannot_be_read_as_nix_is_named() {
    let sandbox = repository();
    let deep = format!("{{ password = {}1{}; }}", "(".repeat(5000), ")".repeat(5000));
    sandbox.write("deep.nix", deep);
    sandbox.tool("git", &["add", "-A"]);
    sandbox.sealift(&["scan"]).exits(11).prints("deep.nix").prints("not read as Nix: line 1 nests too deep");
    // A file that is not Nix can hide nothing from Nix.
    sandbox.write("deep.nix", "{ password = ");
    sandbox.tool("git", &["add", "-A"]);
    sandbox.sealift(&["scan"]).exits(0);
}

#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = repository();
    for name in ["closed.txt", "inside/file.txt", "open.txt"] {
        sandbox.write(name, "x\n");
    }
    commit(&sandbox, "x");
    sandbox.write("new/file.txt", token(1));
    let mode = |name: &str, mode| {
        let path = sandbox.fleet().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    for name in ["closed.txt", "inside", "new"] {
        mode(name, 0o000);
    }
    // Root can read everything, unless it has no capabilities.
    let mut command = sandbox.command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--", env!("CARGO_BIN_EXE_sealift"), "scan"]);
    let run = sandbox.run(command, b"").exits(11);
    for name in ["inside", "new"] {
        mode(name, 0o755);
    }
    run.prints("not read: closed.txt: ").prints("not read: inside/file.txt").prints("could not open directory 'new/'");
}
