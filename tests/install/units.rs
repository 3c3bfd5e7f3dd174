//! Which units are restarted or reloaded. No systemd runs here: `systemctl` is a stand-in that records its calls, and
//! the root is that of a mount namespace with an empty `/run`.

use std::os::unix::fs::PermissionsExt;

use super::{Machine, entry};
use serde_json::json;

const STAND_IN: &str = r#"#!/bin/sh
# A fake: no systemd runs here. It writes its arguments down, and knows which units are active from a file.
echo "$*" >> "$HOME/systemctl.log"
[ "$1" = is-active ] || exit "$(cat "$HOME/systemctl.code" 2>/dev/null || echo 0)"
shift 2
code=0
for unit; do
  if grep -qx "$unit" "$HOME/active"; then echo active; else echo inactive; code=3; fi
done
exit $code
"#;

#[test]
fn active_units_of_changed_values_are_told_once_and_together() {
    let Some(machine) = Machine::new() else { return };
    let sandbox = &machine.sandbox;
    for name in ["a", "b", "c"] {
        sandbox.seal(name, &["--hosts", "web"]);
    }
    let units = |manifest: &mut serde_json::Value| {
        entry(manifest, "a")["restart"] = json!(["one.service", "idle.service"]);
        entry(manifest, "a")["reload"] = json!(["web.service", "one.service"]);
        entry(manifest, "b")["restart"] = json!(["two.service", "one.service"]);
        entry(manifest, "c")["restart"] = json!(["never.service"]);
    };
    let bin = sandbox.path("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::fs::write(bin.join("systemctl"), STAND_IN).expect("written");
    std::fs::set_permissions(bin.join("systemctl"), PermissionsExt::from_mode(0o755)).expect("it runs");
    std::fs::write(sandbox.path("home/active"), "one.service\ntwo.service\nweb.service\nnever.service\n")
        .expect("written");
    let state = sandbox.path("run");
    for folder in ["run/systemd/system", "run/sealift.d"] {
        std::fs::create_dir_all(sandbox.path(folder)).expect("a directory");
    }
    sandbox.allow(sandbox.path("run/sealift.d"));
    // The same memory for every install, as within one boot: mounted here, visible there.
    let memory = sandbox.path("run/sealift.d");
    let memory = memory.to_str().expect("UTF-8");
    sandbox.tool("mount", &["-t", "ramfs", "-o", "mode=0751", "x", memory]);
    let install = |options: &str| {
        let manifest = machine.manifest(units);
        let script = format!(
            "mount --rbind {} /run && PATH={}:$PATH exec {} install {manifest} --identity {} {options}",
            state.display(),
            bin.display(),
            env!("CARGO_BIN_EXE_sealift"),
            sandbox.key("web"),
        );
        let mut command = sandbox.command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", &script]);
        let run = sandbox.run(command, b"");
        let log = std::fs::read_to_string(sandbox.path("home/systemctl.log")).unwrap_or_default();
        let _gone = std::fs::remove_file(sandbox.path("home/systemctl.log"));
        (run, log)
    };
    let seal = |name: &str, value: &str| {
        sandbox.sealift_with(&["seal", name, "--replace", "--stdin"], sandbox.value(value).as_bytes()).exits(0)
    };
    let (run, log) = install("--strict");
    run.exits(0);
    assert_eq!(log, "", "a boot restarts nothing");
    // A new seal of the same value, and a new value that is equal.
    seal("a", "a");
    let (run, log) = install("--strict");
    run.exits(0);
    assert_eq!(log, "");
    seal("a", "a2");
    seal("b", "b2");
    let (run, log) = install("--strict");
    run.exits(0).says("restarting one.service, two.service").says("reloading web.service");
    assert_eq!(
        log,
        "is-active -- idle.service one.service two.service web.service\n\
         --no-block try-restart -- one.service two.service\n\
         --no-block try-reload-or-restart -- web.service\n"
    );
    let status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("run/sealift/.status.json")).expect("a status"))
            .expect("JSON");
    assert_eq!(status["units"]["restarted"], json!(["one.service", "two.service"]));
    // Failing to restart a unit is an error, but the values are in place.
    std::fs::write(sandbox.path("home/systemctl.code"), "1").expect("written");
    seal("b", "b3");
    let (run, _) = install("--strict");
    run.exits(4).says("the new values are in place");
    assert_eq!(std::fs::read_to_string(sandbox.path("run/sealift/b")).expect("it is there"), sandbox.value("b3"));
    std::fs::remove_file(sandbox.path("home/systemctl.code")).expect("removed");
    // Below another root, no units are affected.
    seal("b", "b4");
    machine.install_from(&machine.manifest(units), &[]).exits(0);
    seal("b", "b5");
    machine.install_from(&machine.manifest(units), &[]).exits(0).says("no unit was restarted: no systemd runs");
    sandbox.tool("umount", &["-l", memory]);
}
