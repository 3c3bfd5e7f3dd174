//! manifest and install: on real mounts, as root, in a mount namespace private to the run.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use sealift::adapters::prompt::Ask;
use sealift::commands::talk::{Event, Talk};
use sealift::domain::secret::plaintext::Plaintext;
use sealift::error::{Error, Result};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::{Root, Run, Sandbox};

mod attacks;
mod crash;
mod placing;
mod templates;
mod units;
mod user;
mod verify;

pub struct Machine {
    pub root: Root,
    pub sandbox: Sandbox,
}

impl Machine {
    /// `None` if mounts are not permitted here.
    pub fn new() -> Option<Self> {
        let sandbox = Sandbox::with_fleet(&["web", "db"]);
        let root = sandbox.root("R")?;
        let machine = Self { root, sandbox };
        machine.write(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nweb:x:1234:1234::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        );
        machine.write("etc/group", "root:x:0:\nweb:x:1234:\nnogroup:x:65534:\n");
        Some(machine)
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.root.path(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("the directory is made");
        std::fs::write(path, content).expect("the file is written");
    }

    /// The manifest of `web` after this change, in a file.
    pub fn manifest(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut manifest = self.sandbox.sealift(&["manifest", "web"]).exits(0).json();
        change(&mut manifest);
        let path = self.sandbox.path("m.json");
        std::fs::write(&path, manifest.to_string()).expect("the manifest is written");
        path.to_str().expect("UTF-8").to_owned()
    }

    pub fn install_from(&self, manifest: &str, options: &[&str]) -> Run {
        let key = self.sandbox.key("web");
        let mut arguments = vec!["install", manifest, "--root", self.root.shown(), "--identity", &key];
        arguments.extend(options);
        self.sandbox.sealift(&arguments)
    }

    /// Installs the fleet's current manifest.
    pub fn install(&self, options: &[&str]) -> Run {
        self.install_from(&self.manifest(|_| {}), options)
    }

    pub fn delivered(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root.path("run/sealift").join(name)).ok()
    }

    /// Uid, gid and mode of a delivered file.
    pub fn access(&self, name: &str) -> (u32, u32, u32) {
        let stat = self.root.path("run/sealift").join(name).metadata().expect("it is there");
        (stat.uid(), stat.gid(), stat.permissions().mode() & 0o7777)
    }

    pub fn live(&self) -> Option<u64> {
        let target = std::fs::read_link(self.root.path("run/sealift")).ok()?;
        target.to_str()?.strip_prefix("sealift.d/")?.parse().ok()
    }

    /// The content of the status file.
    pub fn status(&self) -> Value {
        let text = std::fs::read(self.root.path("run/sealift.d/status.json")).expect("a status");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// The sorted entries of the directory of generations.
    pub fn generations(&self) -> Vec<String> {
        names(self.root.path("run/sealift.d"))
    }

    pub fn request(&self, manifest: &str) -> sealift::commands::install::Request {
        sealift::commands::install::Request {
            manifest: manifest.into(),
            root: self.root.path(""),
            identities: vec![self.sandbox.key("web").into()],
            tree: sealift::domain::manifest::install_status::Tree::Ordinary,
            user_dir: None,
            strict: sealift::commands::install::Strict::Always,
            plugins: sealift::adapters::age::identity::Plugins::default(),
        }
    }

    pub fn damage(&self, name: &str) {
        let path = self.sandbox.fleet().join(format!("secrets/{name}.age"));
        let mut bytes = std::fs::read(&path).expect("a sealed file");
        *bytes.last_mut().expect("a byte") ^= 1;
        std::fs::write(path, bytes).expect("it is damaged");
    }

    /// Swaps two sealed files.
    pub fn exchange(&self, one: &str, other: &str) {
        let path = |name: &str| self.sandbox.fleet().join(format!("secrets/{name}.age"));
        std::fs::rename(path(one), path("kept")).expect("renamed");
        std::fs::rename(path(other), path(one)).expect("renamed");
        std::fs::rename(path("kept"), path(other)).expect("renamed");
    }
}

/// The entry of a secret in a manifest.
pub fn entry<'a>(manifest: &'a mut Value, name: &str) -> &'a mut Value {
    let secrets = manifest["secrets"].as_array_mut().expect("secrets");
    secrets.iter_mut().find(|entry| entry["name"] == json!(name)).expect("the secret")
}

/// The sorted names in a directory.
pub fn names(directory: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A `Talk` that shows nothing.
pub struct Silence;

impl Silence {
    pub fn talk() -> Arc<dyn Talk> {
        Arc::new(Self)
    }
}

impl Ask for Silence {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("nobody answers for {what}")))
    }
    fn password(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("nobody answers for {what}")))
    }
    fn tell(&self, _message: &str) {}
    fn confirm(&self, _question: &str) -> Result<bool> {
        Ok(false)
    }
}

impl Talk for Silence {
    fn event(&self, _event: Event) {}
    fn new_value(&self, name: &str) -> Result<Plaintext> {
        Err(Error::failed(format!("nobody answers for {name}")))
    }
    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::failed(format!("nobody answers for {what}")))
    }
}
