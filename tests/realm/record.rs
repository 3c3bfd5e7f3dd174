//! The parts of sealift's modules that realm machines use are equal to what the real module system makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::Sandbox;
use crate::harness::nix::{nixpkgs_lib, no_nix, quoted, top};

#[test]
fn nix_the_recorded_units_are_those_of_the_modules() {
    let test = "the record of the realm's units";
    if no_nix(test) {
        return;
    }
    let Some(lib) = nixpkgs_lib(test) else { return };
    let sandbox = Sandbox::with_fleet(&["web"]);
    sandbox.seal("token", &["--hosts", "*"]);
    sandbox.seal("password", &["--hosts", "*", "--needed-for-users"]);
    let fixtures = Path::new(top()).join("tests/fixtures");
    let expression = format!(
        "import {} {{ libPath = {}; fleet = {}; }}",
        quoted(fixtures.join("nix/realm-units.nix")),
        quoted(lib),
        quoted(sandbox.fleet())
    );
    let fresh: BTreeMap<String, String> = serde_json::from_value(sandbox.nix_value(&expression)).expect("texts");
    let recorded: BTreeMap<String, String> = std::fs::read_dir(fixtures.join("realm/units"))
        .expect("the record")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let text = std::fs::read_to_string(entry.path()).expect("a text");
            (entry.file_name().into_string().expect("UTF-8"), text)
        })
        .collect();
    assert_eq!(recorded, fresh, "`scripts/realm record LIB` writes it anew");
}
