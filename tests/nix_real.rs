//! The module together with NixOS' own modules, if `NIXPKGS_MODULES` names a nixpkgs or some of its files: the results
//! are recorded in tests/fixtures/nix/real.json.

use serde_json::Value;

use crate::harness::Sandbox;
use crate::harness::nix::{nixpkgs_lib, nixpkgs_modules, no_nix, quoted, top};

#[test]
fn nix_modules_of_nixos_and_ours_agree() {
    const TEST: &str = "the modules of NixOS";
    if no_nix(TEST) {
        return;
    }
    let (Some(nixpkgs), Some(lib)) = (nixpkgs_modules(TEST), nixpkgs_lib(TEST)) else { return };
    let sandbox = Sandbox::with_fleet(&["web", "db"]);
    for name in ["token", "hash", "key", "cert"] {
        sandbox.seal(name, &["--hosts", "web"]);
    }
    let policy = sandbox.read("recipients.toml").replace("[secrets.hash]", "[secrets.hash]\nneeded_for_users = true");
    sandbox.write("recipients.toml", policy);
    let seen = sandbox.nix_value(&format!(
        "import {} {{ libPath = {}; nixpkgs = {}; fleet = {}; }}",
        quoted(format!("{}/tests/fixtures/nix/real.nix", top())),
        quoted(lib),
        quoted(nixpkgs),
        quoted(sandbox.fleet()),
    ));
    let recorded = std::fs::read(format!("{}/tests/fixtures/nix/real.json", top())).expect("the record");
    let recorded: Value = serde_json::from_slice(&recorded).expect("JSON");
    let (seen, recorded) = (seen.as_object().expect("rows"), recorded.as_object().expect("rows"));
    assert_eq!(seen.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>());
    for (name, wanted) in recorded {
        assert_eq!(&seen[name], wanted, "{name}");
    }
}
