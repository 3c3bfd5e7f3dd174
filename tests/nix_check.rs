//! `nix flake check` of this repository and of a fleet made from its template. nixpkgs is a stand-in, with its real
//! `lib` if `NIXPKGS_LIB` is set: nix itself checks the outputs of a flake, and each machine evaluates to its system.

use std::path::Path;

use crate::harness::nix::{FLEET, nixpkgs_lib, top};
use crate::harness::{Run, Sandbox, not_run};

/// A repository, and stand-ins for the inputs of its flake.
struct Flake {
    sandbox: Sandbox,
}

impl Flake {
    fn new(lib: &Path) -> Self {
        let sandbox = Sandbox::new();
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let fixtures = Path::new(top()).join("tests/fixtures/nix");
        let (nixpkgs, home_manager) = (sandbox.path("nixpkgs"), sandbox.path("home-manager"));
        // A flake must contain everything that it reads.
        sandbox.tool("cp", &["-R", &text(&fixtures.join("nixpkgs")), &text(&nixpkgs)]);
        sandbox.tool("cp", &["-RL", &text(lib), &text(&nixpkgs.join("lib"))]);
        sandbox.tool("chmod", &["-R", "u+w", &text(&nixpkgs)]);
        for name in ["nixos.nix", "installer"] {
            sandbox.tool("cp", &["-R", &text(&fixtures.join(name)), &text(&nixpkgs)]);
        }
        std::fs::create_dir(&home_manager).expect("a folder");
        for name in ["home-manager-alone.nix", "home-manager.nix", "home.nix"] {
            std::fs::copy(fixtures.join(name), home_manager.join(name)).expect("copied");
        }
        let flake = "{ inputs.nixpkgs.url = \"nixpkgs\";
            outputs = { nixpkgs, ... }: import ./home-manager-alone.nix { inherit (nixpkgs) lib; }; }";
        std::fs::write(home_manager.join("flake.nix"), flake).expect("written");
        Self { sandbox }
    }

    /// Copies the part of this repository that its flake reads.
    fn repository(&self) -> String {
        let place = self.sandbox.path("sealift");
        std::fs::create_dir(&place).expect("a folder");
        for name in FLEET.into_iter().chain(["Cargo.toml", "Cargo.lock", ".cargo", "src"]) {
            let from = Path::new(top()).join(name);
            self.sandbox.tool("cp", &["-R", from.to_str().expect("UTF-8"), place.to_str().expect("UTF-8")]);
        }
        place.to_str().expect("UTF-8").to_owned()
    }

    /// Checks the flake in a folder, with stand-ins for these inputs.
    fn check(&self, flake: &str, inputs: &[(&str, &str)]) -> Run {
        let mut command = self.sandbox.nix_command("nix");
        command.args(["flake", "check", "--no-build", "--no-write-lock-file", flake]);
        for (input, place) in inputs {
            command.args(["--override-input", input, &format!("path:{place}")]);
        }
        self.sandbox.run(command, b"")
    }

    /// The path of a stand-in.
    fn input(&self, name: &str) -> String {
        self.sandbox.path(name).to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn nix_flake_check_takes_this_repository() {
    const TEST: &str = "nix flake check of the repository";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let flake = Flake::new(&lib);
    if flake.sandbox.nix_value("builtins ? readFileType") == false {
        return not_run(TEST, "this nix is older than nixpkgs' lib.fileset wants");
    }
    let repository = flake.repository();
    let (nixpkgs, home_manager) = (flake.input("nixpkgs"), flake.input("home-manager"));
    let inputs = [("nixpkgs", &*nixpkgs), ("home-manager", &*home_manager)];
    let run = flake.check(&format!("path:{repository}"), &inputs).exits(0);
    for what in ["packages.", "checks.", "devShells.", "formatter.", "nixosConfigurations.framework-13"] {
        assert!(run.stderr.contains(what), "{what} was not looked at: {}", run.stderr);
    }
}

#[test]
fn nix_flake_check_takes_a_fleet_of_the_template_and_says_what_is_wrong_with_it() {
    const TEST: &str = "nix flake check of the template";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let flake = Flake::new(&lib);
    let sandbox = &flake.sandbox;
    let template = Path::new(top()).join("nix/template/.");
    sandbox.tool("cp", &["-R", template.to_str().expect("UTF-8"), "."]);
    sandbox.tool("git", &["init", "-q"]);
    sandbox.sealift(&["init"]).exits(0);
    let jay = sandbox.path("jay");
    sandbox.sealift(&["identity", "new", "--admin", "jay", "--plain", "--file", jay.to_str().expect("UTF-8")]).exits(0);
    sandbox.ssh_key("web");
    let key = sandbox.path("keys/web.pub");
    sandbox.sealift(&["host", "add", "web", "--key-file", key.to_str().expect("UTF-8")]).exits(0);
    sandbox.sealift_with(&["seal", "token", "--hosts", "web", "--stdin"], b"demo").exits(0);
    sandbox.write("hosts/web/default.nix", "{ sealift.secrets.token.mode = \"0440\"; }");
    sandbox.tool("git", &["add", "--all"]);
    let (repository, nixpkgs) = (flake.repository(), flake.input("nixpkgs"));
    let check = || flake.check(".", &[("nixpkgs", &nixpkgs), ("sealift", &repository)]);
    check().exits(0);
    // With every spelling of the fleet's path: the store here is below another root, as that of nixos-install is.
    let text = sandbox.read("flake.nix").replace("{ nixpkgs,", "{ self, nixpkgs,");
    for way in ["self", "\"${self}\"", "self + \"/.\""] {
        sandbox.write("flake.nix", text.replace("fleet = ./.;", &format!("fleet = {way};")));
        check().exits(0);
    }
    sandbox.write("hosts/web/default.nix", "{ sealift.secrets.ghost = { }; }");
    let run = check().exits(1);
    assert!(run.stderr.contains("recipients.toml declares no secret ghost"), "{}", run.stderr);
}
