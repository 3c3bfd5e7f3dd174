//! Every Nix file of this repository parses, and the flake has the outputs that need no inputs.

use std::path::{Path, PathBuf};

use crate::harness::Sandbox;
use crate::harness::nix::{no_nix, quoted, top};

/// The Nix files, by path.
fn files() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = ["home", "hosts", "modules", "nix", "overlays", "tests"]
        .iter()
        .map(|folder| Path::new(top()).join(folder))
        .collect();
    let mut files = vec![Path::new(top()).join("flake.nix")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                places.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "nix") {
                files.push(entry);
            }
        }
    }
    assert!(files.len() > 40, "the files are found");
    files
}

#[test]
fn every_nix_file_parses() {
    if no_nix("every Nix file parses") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut command = sandbox.nix_command("nix-instantiate");
    command.arg("--parse").args(files());
    sandbox.run(command, b"").exits(0);
}

#[test]
fn every_nix_file_says_first_what_it_is_for() {
    let silent: Vec<_> = files()
        .into_iter()
        .filter(|file| !std::fs::read_to_string(file).expect("it is text").starts_with("# "))
        .collect();
    assert!(silent.is_empty(), "no comment at the top of {silent:?}");
}

#[test]
fn the_flake_offers_what_needs_no_nixpkgs_without_its_inputs() {
    if no_nix("the flake without its inputs") {
        return;
    }
    let sandbox = Sandbox::new();
    let value = sandbox.nix_value(&format!(
        r#"let
             gone = name: throw "the input ${{name}} was looked at";
             flake = import {};
             out = flake.outputs {{ self = gone "self"; nixpkgs = gone "nixpkgs"; home-manager = gone "home-manager"; }};
           in {{
             inputs = builtins.attrNames flake.inputs;
             outputs = builtins.attrNames out;
             lib = builtins.attrNames out.lib;
             module = builtins.pathExists out.nixosModules.default;
             home = builtins.pathExists out.homeManagerModules.default;
             overlay = builtins.isFunction out.overlays.default;
             template = builtins.pathExists (out.templates.default.path + "/flake.nix");
             hosts = builtins.attrNames out.nixosConfigurations;
             systems = builtins.attrNames out.packages;
           }}"#,
        quoted(Path::new(top()).join("flake.nix"))
    ));
    let wanted = serde_json::json!({
        "inputs": ["home-manager", "nixpkgs"],
        "outputs": ["apps", "checks", "devShells", "formatter", "homeConfigurations", "homeManagerModules", "lib", "nixosConfigurations",
            "nixosModules", "overlays", "packages", "templates"],
        "lib": ["fileOf", "hostsIn", "manifestOf", "mkFleet", "mkHomes", "moduleFor", "publicOf", "readFleet", "secretsOf"],
        "module": true, "home": true, "overlay": true, "template": true,
        "hosts": ["framework-13", "framework-16", "nixos", "nixos-ripper"],
        "systems": ["aarch64-linux", "x86_64-linux"],
    });
    assert_eq!(value, wanted);
}

#[test]
fn the_flake_is_one_to_nix_itself() {
    if no_nix("the flake, evaluated as one") {
        return;
    }
    // A copy: nix sees only what git tracks. The inputs are stand-ins, because the real ones would be downloaded.
    let sandbox = Sandbox::new();
    for name in ["flake.nix", "nix", "hosts", "home", "modules", "overlays", "dotfiles", "recipients.toml", "secrets"] {
        sandbox.tool("cp", &["-R", Path::new(top()).join(name).to_str().expect("UTF-8"), "."]);
    }
    sandbox.tool("git", &["init", "-q"]);
    sandbox.tool("git", &["add", "--all"]);
    for (input, flake) in [
        ("nixpkgs", "{ outputs = _: { lib.nixosSystem = arguments: { inherit (arguments) modules; }; }; }"),
        ("home-manager", "{ outputs = _: { nixosModules.home-manager = { }; }; }"),
    ] {
        let place = sandbox.path(input);
        std::fs::create_dir(&place).expect("a folder");
        std::fs::write(place.join("flake.nix"), flake).expect("written");
    }
    let eval = |what: &str, apply: &str| {
        let mut command = sandbox.nix_command("nix");
        command.args(["eval", "--json", "--no-write-lock-file", &format!(".#{what}"), "--apply", apply]);
        for input in ["nixpkgs", "home-manager"] {
            command.args(["--override-input", input, &format!("path:{}", sandbox.path(input).display())]);
        }
        sandbox.run(command, b"").exits(0).json()
    };
    let hosts = serde_json::json!(["framework-13", "framework-16", "nixos", "nixos-ripper"]);
    assert_eq!(eval("nixosConfigurations", "builtins.attrNames"), hosts);
    let modules = eval("nixosConfigurations.nixos.modules", "builtins.length");
    assert!(modules.as_u64().expect("a number") > 5, "{modules}");
    // In pure evaluation, as for a flake: the policy is read from the tracked source.
    let manifest =
        eval("nixosConfigurations.nixos.modules", "modules: toString (builtins.head (builtins.head modules).imports)");
    assert!(manifest.as_str().expect("a path").ends_with("-source/nix/module.nix"), "{manifest}");
    assert_eq!(eval("templates.default.description", "builtins.isString"), serde_json::json!(true));
}
