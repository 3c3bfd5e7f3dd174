//! seal and show.

use crate::harness::Sandbox;

#[test]
fn what_is_sealed_is_shown_byte_for_byte() {
    let sandbox = Sandbox::with_fleet(&["web@runner", "db"]);
    for (name, value) in [("a", &b"TOKEN=abc"[..]), ("b/c", b"\0\xff\r\n\n"), ("d", b" \n")] {
        sandbox.sealift_with(&["seal", name, "--hosts", "@runner", "--stdin"], value).exits(0);
        assert_eq!(sandbox.show(name, "jay"), value);
        assert_eq!(sandbox.show(name, "web"), value);
        sandbox
            .sealift(&["show", name, "--identity", &sandbox.key("db")])
            .exits(5)
            .says("none of these identities opens it");
    }
}

#[test]
fn stock_age_opens_what_is_sealed_here() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let value = sandbox.seal("token", &["--hosts", "web"]);
    for key in ["jay", "web"] {
        assert_eq!(sandbox.tool("age", &["-d", "-i", &sandbox.key(key), "secrets/token.age"]), value.as_bytes());
    }
}

#[test]
fn a_leak_is_found_by_the_harness() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.write("leak.txt", format!("x{}x", sandbox.value("leak")));
    assert_eq!(sandbox.leaks().len(), 1);
    std::fs::remove_file(sandbox.fleet().join("leak.txt")).expect("removed");
}

#[test]
fn ctrl_c_ends_a_seal_that_waits_for_its_input() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    let before = sandbox.read("recipients.toml");
    for signal in ["INT", "TERM"] {
        // A fifo with a writer that writes nothing.
        let script = format!(
            "mkfifo {signal}; exec 9<>{signal}; exec timeout --preserve-status -s {signal} 1 \"$S\" seal a --hosts web --stdin <&9"
        );
        let mut command = sandbox.command("bash");
        command.args(["-c", &script]);
        command.env("S", env!("CARGO_BIN_EXE_sealift"));
        let run = sandbox.run(command, b"");
        sandbox.remember(&run);
        run.exits(130).says("interrupted");
    }
    assert_eq!(sandbox.read("recipients.toml"), before);
    assert!(!sandbox.fleet().join("secrets/a.age").exists());
}
