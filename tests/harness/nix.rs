//! The Nix files of this repository, evaluated and built by real nix, with a store per sandbox. Tests that need
//! nixpkgs' `lib` run only if `NIXPKGS_LIB` is set: to the lib/ directory of nixpkgs, or to a repository of lib alone.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::machine::nix_environment;
use super::{Run, Sandbox, not_run};

/// The files of the flake at the top, without the program's sources.
pub const FLEET: [&str; 11] = [
    "flake.nix",
    "data",
    "nix",
    "hosts",
    "home",
    "modules",
    "overlays",
    "dotfiles",
    "recipients.toml",
    "secrets",
    "scripts",
];

/// The top of this repository.
pub fn top() -> &'static str {
    env!("CARGO_MANIFEST_DIR")
}

/// Whether nix is missing, which is noted.
pub fn no_nix(test: &str) -> bool {
    let missing = std::process::Command::new("nix-instantiate").arg("--version").output().is_err();
    if missing {
        not_run(test, "nix is not installed");
    }
    missing
}

/// The lib/ directory of nixpkgs; `None`, with a note, if it is not set or nix is missing.
pub fn nixpkgs_lib(test: &str) -> Option<PathBuf> {
    if no_nix(test) {
        return None;
    }
    let given = std::env::var_os("NIXPKGS_LIB").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = given else {
        not_run(test, "NIXPKGS_LIB does not name the lib/ of a nixpkgs");
        return None;
    };
    // A repository of lib alone has it one directory deeper.
    let found = [path.join("lib"), path].into_iter().find(|path| path.join("modules.nix").exists());
    Some(found.expect("NIXPKGS_LIB holds nixpkgs' lib"))
}

/// A nixpkgs, or the files read from one; `None`, with a note, if it is not set.
pub fn nixpkgs_modules(test: &str) -> Option<PathBuf> {
    let given = std::env::var_os("NIXPKGS_MODULES").filter(|path| !path.is_empty()).map(PathBuf::from);
    if given.is_none() {
        not_run(test, "NIXPKGS_MODULES does not name a nixpkgs");
    }
    given
}

/// A checkout of home-manager; `None`, with a note, if it is not set.
pub fn home_manager(test: &str) -> Option<PathBuf> {
    let given = std::env::var_os("HOME_MANAGER").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(path) = given else {
        not_run(test, "HOME_MANAGER does not name a checkout of home-manager");
        return None;
    };
    assert!(path.join("modules/modules.nix").exists(), "HOME_MANAGER holds home-manager");
    Some(path)
}

/// A path as a Nix expression, with any characters.
pub fn quoted(path: impl AsRef<Path>) -> String {
    let text = path.as_ref().to_str().expect("UTF-8").replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("(/. + \"{text}\")")
}

impl Sandbox {
    /// A nix command with the sandbox's own store.
    pub fn nix_command(&self, program: &str) -> std::process::Command {
        let mut command = self.command(program);
        nix_environment(&mut command, &self.path("nix"));
        let own = self.path("own-nix");
        if own.exists() {
            // A store at its real paths, so that builds find the machine's /bin/sh.
            command.env("NIX_REMOTE", "local").env("NIX_STORE_DIR", own.join("store"));
            command.env("NIX_STATE_DIR", own.join("state")).env("NIX_LOG_DIR", own.join("log"));
        }
        command
    }

    /// Makes the sandbox's store one that can build.
    pub fn builds(&self) {
        std::fs::create_dir_all(self.path("own-nix")).expect("a folder");
    }

    /// Evaluates an expression strictly.
    pub fn nix_eval(&self, expression: &str) -> Run {
        let mut command = self.nix_command("nix-instantiate");
        command.args(["--eval", "--strict", "--json", "--read-write-mode", "--expr", expression]);
        self.run(command, b"")
    }

    /// The value of an expression.
    #[track_caller]
    pub fn nix_value(&self, expression: &str) -> Value {
        self.nix_eval(expression).exits(0).json()
    }

    /// Builds an expression, after `builds`; prints its path.
    pub fn nix_build(&self, expression: &str) -> Run {
        let mut command = self.nix_command("nix-build");
        command.args(["--no-out-link", "--expr", expression]);
        self.run(command, b"")
    }

    /// A package directory with the program under test, at a path that can exist in a machine's root too.
    pub fn package(&self) -> String {
        let place = self.path("package");
        if !place.exists() {
            std::fs::create_dir_all(place.join("bin")).expect("a folder");
            std::fs::copy(env!("CARGO_BIN_EXE_sealift-host"), place.join("bin/sealift-host")).expect("a copy");
        }
        place.to_str().expect("UTF-8").to_owned()
    }
}
