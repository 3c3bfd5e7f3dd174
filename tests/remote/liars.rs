//! Hosts that tell what is not so: whoever deploys, and every other host, gets on without harm.

use crate::harness::rig::{Rig, cannot_rig};

/// What the login shell of jay on a host does before, or instead of, a call whose words are like these.
fn shell(rig: &Rig, host: &str, like: &str, text: &str) {
    let text = format!("case $BASH_EXECUTION_STRING in {like})\n{text}\n;; esac\n");
    std::fs::write(rig.disk(host, "/home/jay/.bashrc"), text).unwrap();
}

#[test]
fn nix_a_host_that_asks_for_endless_acknowledgements_harms_nobody() {
    if cannot_rig("remote: endless acknowledgements") {
        return;
    }
    let rig = Rig::deployed(&["web", "db"]);
    rig.change(&["web", "db"]);
    let told = format!("{{\"event\":\"awaits\",\"seconds\":{}}}", u64::MAX);
    shell(&rig, "web", "*sudo*", &format!("for n in $(seq 300); do echo '{told}'; done"));
    let run = rig.sealift(&["deploy", "--all", "--yes"]).exits(0);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert!(run.stderr.matches("acknowledging over a new connection").count() < 100, "{}", run.stderr);
    assert_eq!(rig.secret("db", "token"), Some(rig.sandbox.value("second")));
}

#[test]
fn nix_a_host_that_tells_without_end_does_not_fill_the_terminal() {
    if cannot_rig("remote: endless tales") {
        return;
    }
    let rig = Rig::deployed(&["web"]);
    rig.change(&["web"]);
    let line = "x".repeat(1000);
    shell(&rig, "web", "*sudo*", &format!("yes '{{\"event\":\"said\",\"text\":\"{line}\"}}' | head -n 10000"));
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert!(run.stderr.len() < 6 << 20, "{} bytes were shown", run.stderr.len());
    // What it said last, where nothing came of it, is quoted in part.
    let tale = format!("test -e gone && {{ yes '{line}' | tr -d '\\n' | head -c 3000000; exit 1; }}; touch gone");
    shell(&rig, "web", "*sudo*", &tale);
    rig.system("web", "{ }");
    rig.commit();
    let run = rig.sealift(&["deploy", "web", "--yes"]);
    assert!(run.code != 0 && run.stderr.len() < 1 << 20, "{}: {} bytes were shown", run.code, run.stderr.len());
}

#[test]
fn nix_what_a_host_calls_its_system_reaches_no_program_here() {
    if cannot_rig("remote: a system that is none") {
        return;
    }
    let rig = Rig::deployed(&["web"]);
    rig.change(&["web"]);
    // A flake of somebody else on this machine: nix would build whatever a host names.
    let (flake, marker) = (rig.sandbox.path("flake"), rig.sandbox.path("marker"));
    std::fs::create_dir(&flake).unwrap();
    let builds = format!(
        "derivation {{ name = \"x\"; system = \"{}-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo > {}\" ]; }}",
        std::env::consts::ARCH,
        marker.display()
    );
    let text = format!("{{ outputs = _: {{ packages.{}-linux.default = {builds}; }}; }}", std::env::consts::ARCH);
    std::fs::write(flake.join("flake.nix"), text).unwrap();
    let program = "/run/current-system/etc/sealift/host host-run";
    let lie = format!("s|\"former\":\"[^\"]*\"|\"former\":\"{}\"|", flake.display());
    shell(&rig, "web", &format!("'{program}'"), &format!("{program} | sed '{lie}'; exit"));
    let run = rig.sealift(&["plan", "web"]);
    assert!(!marker.exists(), "{}", run.stderr);
    assert!(run.code == 0 && run.stderr.contains("motd: ∅ → ε"), "it is compared by names: {run:?}");
}
