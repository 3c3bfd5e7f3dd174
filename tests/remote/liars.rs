//! Hosts that send false data: the deployer and all other hosts are unharmed.

use crate::harness::rig::{Rig, cannot_rig};
use crate::hostile::forges_nothing;

/// Makes jay's login shell on a host run this before, or instead of, calls that match the pattern.
fn shell(rig: &Rig, host: &str, like: &str, text: &str) {
    let text = format!("case $BASH_EXECUTION_STRING in {like})\n{text}\n;; esac\n");
    std::fs::write(rig.disk(host, "/home/jay/.bashrc"), text).unwrap();
}

#[test]
fn nix_a_host_that_asks_for_endless_acknowledgements_harms_nobody() {
    let Some(rig) = Rig::try_deployed("remote: endless acknowledgements", &["web", "db"]) else { return };
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
    let Some(rig) = Rig::try_deployed("remote: endless tales", &["web"]) else { return };
    rig.change(&["web"]);
    let line = "x".repeat(1000);
    shell(&rig, "web", "*sudo*", &format!("yes '{{\"event\":\"said\",\"text\":\"{line}\"}}' | head -n 10000"));
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(0);
    assert!(run.stderr.len() < 6 << 20, "{} bytes were shown", run.stderr.len());
    // If it produced no result, its last output is quoted in part.
    let tale = format!("test -e gone && {{ yes '{line}' | tr -d '\\n' | head -c 3000000; exit 1; }}; touch gone");
    shell(&rig, "web", "*sudo*", &tale);
    rig.system("web", "{ }");
    rig.commit();
    let run = rig.sealift(&["deploy", "web", "--yes"]);
    assert!(run.code != 0 && run.stderr.len() < 1 << 20, "{}: {} bytes were shown", run.code, run.stderr.len());
}

#[test]
fn nix_what_a_host_calls_its_system_reaches_no_program_here() {
    let Some(rig) = Rig::try_deployed("remote: a system that is none", &["web"]) else { return };
    rig.change(&["web"]);
    // Somebody else's flake on this machine: nix would build any flake that a host names.
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
    assert!(run.code == 0 && run.stderr.contains("packages added: motd"), "it is compared by names: {run:?}");
}

/// Text from a host that would forge a line of output.
const FORGED: &str = "x\\ndb: forged\\r\\u2028db: forged\\u2029\\u0085\\u009b2J\\u061c\\u202e\\u007f";

#[test]
fn nix_a_host_that_lies_writes_no_line_of_another() {
    if cannot_rig("remote: forged lines") {
        return;
    }
    let acts = |text: &str| text.chars().any(|c| c != '\n' && sealift::domain::foreign::acts(c));
    let holds = |run: &crate::harness::Run| {
        for text in [run.text(), run.stderr.clone()] {
            assert!(!acts(&text), "{text:?}");
            for forged in ["db: forged", "forged"] {
                forges_nothing(&text, forged, "web");
            }
        }
    };
    let rig = Rig::deployed(&["web", "db"]);
    rig.change(&["web", "db"]);
    let told = ["step", "said", "warning"].map(|kind| format!("{{\"event\":\"{kind}\",\"text\":\"{FORGED}\"}}"));
    let lines = format!("{{\"event\":\"said\",\"text\":\"{}\"}}", "\\n".repeat(5000));
    let tale = format!(
        "printf '%s\\n' '{}' '{}' '{}'; printf 'db: forged\\nhelp: forged\\n\\302\\2332J' >&2; yes '{lines}' | head -n 100; yes '{}' | head -n 10000",
        told[0], told[1], told[2], told[1]
    );
    shell(&rig, "web", "*sudo*host-run*", &tale);
    let run = rig.sealift(&["deploy", "--all", "--yes"]).exits(0).says("it printed more than is shown here");
    holds(&run);
    assert!(run.stderr.lines().count() < 6000, "{} lines", run.stderr.lines().count());
    assert_eq!(rig.secret("db", "token"), Some(rig.sandbox.value("second")));
    // The same in JSON output: each line is an event with its host.
    rig.system("web", "{ etc.motd = \"third\"; }");
    rig.system("db", "{ etc.motd = \"third\"; }");
    rig.commit();
    let run = rig.sealift(&["deploy", "--all", "--yes", "--json"]).exits(0);
    holds(&run);
    for line in run.text().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    // The result and the failure.
    let end = format!(
        "{{\"event\":\"end\",\"outcome\":\"failed\",\"generation\":null,\"running\":null,\"until_reboot\":false,\"failure\":{{\"code\":1,\"message\":\"db: forged, and not web {FORGED}\",\"causes\":[\"c{FORGED}\",\"help: forged\",\"- db: forged\"],\"mend\":\"h{FORGED}\\nhelp: forged\",\"parts\":[]}}}}"
    );
    shell(
        &rig,
        "web",
        "*sudo*host-run*",
        &format!("test -e once && {{ printf '%s\\n' '{end}'; exit 1; }}; touch once"),
    );
    rig.system("web", "{ etc.motd = \"fourth\"; }");
    rig.commit();
    let run = rig.sealift(&["deploy", "web", "--yes"]);
    assert_ne!(run.code, 0, "{}", run.stderr);
    holds(&run);
    // The host's own status.
    let program = "/run/current-system/etc/sealift/host host-run";
    let lie = format!(
        "s|\"user\":\"[^\"]*\"|\"user\":\"{0}\"|; s|\"failed\":[^]]*]|\"failed\":[\"a{0}\"]|; s|\"failed\":null|\"failed\":[\"a{0}\"]|; s|\"busy\":null|\"busy\":\"b{0}\"|",
        FORGED.replace('\\', "\\\\")
    );
    shell(&rig, "web", &format!("'{program}'"), &format!("{program} | sed '{lie}'; exit"));
    for words in [&["status"][..], &["status", "--json"]] {
        let run = rig.sealift(words).exits(0);
        holds(&run);
        assert!(format!("{}{}", run.text(), run.stderr).contains("forged"), "it is shown, as its own: {run:?}");
    }
}
