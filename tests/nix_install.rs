//! The NixOS module's output, used for real: nix builds the manifest and has the program check it, and the unit's own
//! command installs it, as root, with only the unit's privileges.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::{Run, not_run};
use crate::nix_module::Nixos;

/// The manifest as part of a system: built, with its sealed files, in the sandbox's store.
const MANIFEST: &str = "machine.config.environment.etc.\"sealift/manifest.json\".source";

/// The unit that installs: its commands and privileges, from its text.
struct Unit {
    text: String,
}

impl Unit {
    fn of(nixos: &Nixos, modules: &str, name: &str) -> Self {
        let seen = nixos.seen(modules);
        Self { text: seen["units"][name].as_str().expect("a unit").to_owned() }
    }

    fn all(&self, key: &str) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    }
}

/// A mount namespace with its own `/run`, held by a process that acts as PID 1 of a machine. Nothing of this machine is
/// mounted into the sandbox, so nothing of it can be removed with the sandbox.
struct Machine {
    nixos: Nixos,
    holder: Child,
}

impl Machine {
    fn new(test: &str) -> Option<Self> {
        let nixos = Nixos::new(test)?;
        nixos.sandbox.builds();
        if std::env::var_os("SEALIFT_TEST_NAMESPACE").is_none() || !rustix::process::geteuid().is_root() {
            not_run(test, "it mounts, as root, in a mount namespace of its own: scripts/test makes one");
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-ec"])
            .arg("mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run; echo ready; read -r end || true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut ready = [0; 6];
        holder.stdout.take().expect("a pipe").read_exact(&mut ready).expect("it is ready");
        Some(Self { nixos, holder })
    }

    /// A path in the holder's namespace.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// Builds the manifest of these modules, which the unit's command names.
    #[track_caller]
    fn build(&self, modules: &str) {
        self.nixos.sandbox.nix_build(&self.nixos.expression(modules, MANIFEST)).exits(0);
    }

    /// A command in the holder's namespace.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/bin");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--"]);
        command
    }

    /// Runs the command of a unit with the unit's privileges, prefixed by `before`.
    fn start(&self, unit: &Unit, before: &[&str]) -> Run {
        let capabilities: Vec<String> = unit
            .all("CapabilityBoundingSet")
            .iter()
            .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_ascii_lowercase()))
            .collect();
        assert!(!capabilities.is_empty());
        let commands = unit.all("ExecStart");
        assert_eq!(commands.len(), 1, "one command serves boot and switch");
        let mut command = self.enter();
        command
            .args(before)
            .args(["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set"])
            .arg(format!("-all,{}", capabilities.join(",")))
            .args(["--", "sh", "-c"])
            .arg(format!("umask {}; exec {}", unit.all("UMask")[0], commands[0]));
        let run = self.nixos.sandbox.run(command, b"");
        self.nixos.sandbox.remember(&run);
        run
    }

    fn delivered(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path("/run/sealift").join(name)).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().expect("the holder ends");
    }
}

/// The key of `web` in the sandbox: this machine's own keys are not used.
fn with_key(machine: &Machine, more: &str) -> String {
    let key = machine.nixos.sandbox.key("web");
    format!("({{ config, lib, ... }}: {{ sealift.identityPaths = lib.mkForce [ \"{key}\" ]; {more} }})")
}

#[test]
fn a_manifest_that_the_program_refuses_is_not_built() {
    let Some(nixos) = Nixos::new("manifests that are checked while they are built") else { return };
    nixos.sandbox.builds();
    nixos.sandbox.seal("a", &["--hosts", "web"]);
    let build = |modules: &str| nixos.sandbox.nix_build(&nixos.expression(modules, MANIFEST));
    let path = build("").exits(0).text();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.trim()).expect("a manifest")).expect("JSON");
    assert_eq!(manifest, nixos.seen("")["manifest"]);
    // The store contains only sealed files and the manifest: the sandbox is searched for the value on drop.
    build("{ sealift.secrets.a.restart = [ \"--now\" ]; }").exits(100).says("a: restart: ");
    build("{ sealift.secrets.a.path = \"/run/sealift.d/1/a\"; }").exits(100).says("where sealift keeps its own files");
    let sealed = nixos.sandbox.fleet().join("secrets/a.age");
    std::fs::write(&sealed, b"not sealed").expect("written");
    build("").exits(100).says("a: ");
}

#[test]
fn the_units_command_installs_with_the_units_privileges() {
    let Some(machine) = Machine::new("the unit, started by hand") else { return };
    let sandbox = &machine.nixos.sandbox;
    let token = sandbox.seal("token", &["--hosts", "@runner"]);
    let app = sandbox.seal("nested/app", &["--hosts", "web", "--owner", "1234", "--group", "1235", "--mode", "0440"]);
    let modules = with_key(
        &machine,
        r#"
          sealift.secrets."nested/app".path = "/run/app/secret";
          sealift.templates."app.ini" = {
            owner = "1234";
            content = "a=${config.sealift.placeholder.token}\n";
          };
        "#,
    );
    machine.build(&modules);
    let unit = Unit::of(&machine.nixos, &modules, "sealift-install");
    // A boot.
    machine.start(&unit, &[]).exits(0).says("generation 1 is live; 3 new or changed");
    assert_eq!(machine.delivered("token"), Some(token.clone()));
    assert_eq!(machine.delivered("nested/app"), Some(app));
    assert_eq!(machine.delivered("app.ini"), Some(format!("a={token}\n")));
    let stat = machine.path("/run/sealift/nested/app").metadata().expect("it is there");
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o440, 1234, 1235));
    let link = std::fs::read_link(machine.path("/run/app/secret")).expect("a link");
    assert_eq!(link.to_str(), Some("/run/sealift/nested/app"));
    // The memory is mounted in the namespace of PID 1, from which services are started: the command created no mount
    // namespace of its own.
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", machine.holder.id())).expect("a mount table");
    assert!(mounts.contains(" /run/sealift.d "), "{mounts}");
    // A successful switch to another value.
    sandbox.sealift_with(&["seal", "token", "--replace", "--stdin"], sandbox.value("second").as_bytes()).exits(0);
    machine.build(&modules);
    let second = Unit::of(&machine.nixos, &modules, "sealift-install");
    assert_ne!(second.text, unit.text, "another value is another unit, so that the switch starts it");
    machine.start(&second, &[]).exits(0).says("2 new or changed, 1 unchanged");
    // A switch that fails changes nothing. At boot, the same command installs the secrets that open.
    let ghost =
        with_key(&machine, "users.users.no-such-user = { }; sealift.secrets.\"nested/app\".owner = \"no-such-user\";");
    machine.build(&ghost);
    let ghost = Unit::of(&machine.nixos, &ghost, "sealift-install");
    machine.start(&ghost, &[]).exits(1).says("there is no user no-such-user on this host");
    assert_eq!(machine.delivered("token"), Some(sandbox.value("second")));
    let mut unmount = machine.enter();
    unmount.args(["umount", "/run/sealift.d"]);
    sandbox.run(unmount, b"").exits(0);
    machine.start(&ghost, &[]).exits(4).says("1 new or changed, 1 missing");
    assert_eq!(machine.delivered("token"), Some(sandbox.value("second")));
}

#[test]
fn what_users_are_made_with_is_installed_before_there_are_users() {
    let Some(machine) = Machine::new("the users' unit, started by hand") else { return };
    let sandbox = &machine.nixos.sandbox;
    let hash = sandbox.seal("hash", &["--hosts", "web"]);
    let toml = sandbox.read("recipients.toml").replace("[secrets.hash]", "[secrets.hash]\nneeded_for_users = true");
    sandbox.write("recipients.toml", toml);
    let modules = with_key(&machine, "systemd.sysusers.enable = true;");
    machine.build(&modules);
    machine.start(&Unit::of(&machine.nixos, &modules, "sealift-install-users"), &[]).exits(0);
    let there = std::fs::read_to_string(machine.path("/run/sealift-users/hash"));
    assert_eq!(there.expect("it is there"), hash);
    assert_eq!(machine.path("/run/sealift-users.d").metadata().expect("it is there").mode() & 0o7777, 0o700);
    assert_eq!(machine.delivered("hash"), None);
}

#[test]
fn the_units_filter_lets_every_system_call_through_that_an_install_makes() {
    const TEST: &str = "the system calls of the unit";
    let Some(machine) = Machine::new(TEST) else { return };
    let groups = |name: &str| -> Option<BTreeSet<String>> {
        let output = Command::new("systemd-analyze").args(["syscall-filter", name]).output().ok()?;
        // Groups contain others; an entry that is not a group is a system call.
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.lines().skip(1).map(|line| line.trim().to_owned()).collect())
    };
    if Command::new("strace").arg("--version").output().is_err() || groups("@mount").is_none() {
        not_run(TEST, "strace or systemd-analyze is not installed");
        return;
    }
    let sandbox = &machine.nixos.sandbox;
    sandbox.seal("a", &["--hosts", "web", "--owner", "nobody"]);
    sandbox.seal("b/c", &["--hosts", "web"]);
    let modules = with_key(&machine, "users.users.nobody = { }; sealift.secrets.a.path = \"/run/app/a\";");
    machine.build(&modules);
    let unit = Unit::of(&machine.nixos, &modules, "sealift-install");
    let trace = sandbox.path("trace");
    // Without strings: written values would be among them.
    let traced = ["strace", "-f", "-qq", "-s", "0", "-o", trace.to_str().expect("UTF-8")];
    machine.start(&unit, &traced).exits(0);
    let trace = std::fs::read_to_string(trace).expect("a trace");
    // What precedes the program is setpriv and the shell, which systemd replaces.
    let from = trace.find("bin/sealift-host\"").expect("the program starts");
    let made: BTreeSet<&str> = trace[from..]
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name)
        .filter(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
        .collect();
    assert!(made.contains("openat") && made.contains("fsmount") && made.contains("fchown"), "{made:?}");
    let mut allowed = BTreeSet::new();
    let mut wanted: Vec<String> = unit.all("SystemCallFilter").iter().map(|name| (*name).to_owned()).collect();
    assert!(wanted.iter().all(|name| name.starts_with('@')), "{wanted:?}");
    let mut looked = BTreeSet::new();
    while let Some(group) = wanted.pop() {
        if !looked.insert(group.clone()) {
            continue;
        }
        for entry in groups(&group).expect("a group") {
            if entry.starts_with('@') {
                wanted.push(entry);
            } else {
                allowed.insert(entry);
            }
        }
    }
    let refused: Vec<_> = made.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(refused.is_empty(), "not in {:?}: {refused:?}", unit.all("SystemCallFilter"));
}

#[test]
fn systemd_understands_the_units() {
    const TEST: &str = "the units, read by systemd";
    let Some(nixos) = Nixos::new(TEST) else { return };
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        not_run(TEST, "systemd-analyze is not installed");
        return;
    }
    nixos.sandbox.seal("hash", &["--hosts", "web"]);
    let toml =
        nixos.sandbox.read("recipients.toml").replace("[secrets.hash]", "[secrets.hash]\nneeded_for_users = true");
    nixos.sandbox.write("recipients.toml", toml);
    let seen = nixos.seen(
        "{ services.userborn.enable = true; systemd.services.userborn.serviceConfig.ExecStart = \"/bin/true\"; }",
    );
    let place = nixos.sandbox.path("units");
    std::fs::create_dir(&place).expect("a folder");
    let files: Vec<PathBuf> = seen["units"]
        .as_object()
        .expect("units")
        .iter()
        .map(|(name, text)| {
            let path = place.join(format!("{name}.service"));
            // As NixOS does: without the store, only the existence of the program can be checked.
            std::fs::write(&path, text.as_str().expect("text")).expect("written");
            path
        })
        .collect();
    assert!(files.len() >= 2, "{files:?}");
    let verify = |files: &[PathBuf]| {
        let mut command = nixos.sandbox.command("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]).args(files);
        nixos.sandbox.run(command, b"")
    };
    assert_eq!(verify(&files).exits(0).stderr, "");
    // Make sure that verification detects a fault.
    let broken = std::fs::read_to_string(&files[0]).expect("text").replace("KeyringMode", "KeyringMood");
    std::fs::write(&files[0], broken).expect("written");
    verify(&files).says("Unknown key");
}
