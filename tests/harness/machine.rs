//! A machine to deploy to: a temporary root whose systems come from the stand-in flake (`tests/fixtures/flake`), real
//! nix with one store for all tests of a run, and the program under test inside the systems.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Run, Sandbox};

/// Shared by all machines of a run: a nix store, and the programs that their systems consist of.
struct Shared {
    place: PathBuf,
    programs: String,
}

impl Shared {
    fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let above = Path::new(env!("CARGO_TARGET_TMPDIR"));
            // A test program cannot clean up at its end, so the next run removes leftovers.
            for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.strip_prefix("nix-").is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                    std::fs::remove_dir_all(entry.path()).expect("the former store is removed");
                }
            }
            let place = above.join(format!("nix-{}", std::process::id()));
            let mut command = Command::new("sh");
            command.arg(fixture().join("programs.sh")).arg(place.join("programs")).arg(env!("CARGO_BIN_EXE_sealift"));
            nix_environment(&mut command, &place);
            let output = command.output().expect("sh starts");
            assert!(output.status.success(), "programs.sh: {}", String::from_utf8_lossy(&output.stderr));
            // Creating the store twice at once would conflict.
            let mut command = Command::new("nix-store");
            command.arg("--init");
            nix_environment(&mut command, &place);
            assert!(command.status().expect("nix-store starts").success());
            Shared { programs: String::from_utf8(output.stdout).expect("UTF-8"), place }
        })
    }
}

/// Isolates nix from the caller's configuration and the network. A store below another root would always build in a
/// sandbox, which the builds here do not need, so its paths from the machine are emptied.
pub(super) fn nix_environment(command: &mut Command, place: &Path) {
    command
        .env("NIX_CONFIG", "experimental-features = nix-command flakes\nbuild-users-group =\nsubstituters =\nsandbox = false\nflake-registry =\nwarn-dirty = false\nsandbox-paths =")
        .env("NIX_REMOTE", format!("local?root={}", place.join("store").display()))
        .env("NIX_USER_CONF_FILES", "/dev/null");
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flake")
}

/// A fleet with one machine, `web`, and its root.
pub struct Machine {
    /// The sandbox; its fleet contains the flake.
    pub sandbox: Sandbox,
    pub root: PathBuf,
}

impl Machine {
    /// A machine whose system is this Nix attribute set; see the fixture's README. Nothing runs on it yet.
    pub fn new(system: &str) -> Self {
        let sandbox = Sandbox::with_fleet(&["web", "db"]);
        let copied = sandbox.run(
            {
                let mut command = sandbox.command("cp");
                command.arg("-r").arg(fixture().join(".")).arg(sandbox.fleet());
                command
            },
            b"",
        );
        assert_eq!(copied.code, 0, "{}", copied.stderr);
        sandbox.write("programs.json", &Shared::get().programs);
        let root = sandbox.path("machine");
        for folder in ["etc/ssh", "root", "run", "proc"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        // `install` reads the mount table there.
        sandbox.tool("mount", &["-t", "proc", "proc", root.join("proc").to_str().expect("UTF-8")]);
        std::fs::write(root.join("etc/NIXOS"), "").expect("written");
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/:/bin/sh\n").expect("written");
        std::fs::write(root.join("etc/group"), "root:x:0:\nbin:x:1:\n").expect("written");
        for (from, to) in [("web", "ssh_host_ed25519_key"), ("web.pub", "ssh_host_ed25519_key.pub")] {
            std::fs::copy(sandbox.path("keys").join(from), root.join("etc/ssh").join(to)).expect("copied");
        }
        sandbox.allow(root.join("run"));
        // Checked by `stores_hold_no_value`: searching it byte by byte would take longer than everything else.
        sandbox.allow(root.join("nix/store"));
        let machine = Self { sandbox, root };
        machine.system(system);
        machine.sandbox.write("hosts/db/default.nix", "{ }");
        machine.sandbox.tool("git", &["add", "-A"]);
        machine.sandbox.tool("git", &["commit", "-q", "-m", "systems"]);
        machine
    }

    /// Like `new`, with one secret, `token`, deployed and running as generation 1.
    pub fn running(system: &str) -> Self {
        let machine = Self::new(system);
        machine.seal("token", "first");
        machine.deploy(&[]).exits(0);
        machine.boot();
        machine
    }

    /// Sets the machine's system.
    pub fn system(&self, system: &str) {
        self.sandbox.write("hosts/web/default.nix", system);
        self.sandbox.tool("git", &["add", "-A"]);
    }

    /// Seals a new value with the canary; returns the value.
    pub fn seal(&self, name: &str, value: &str) -> String {
        let value = self.sandbox.value(value);
        let there = self.sandbox.fleet().join(format!("secrets/{name}.age")).exists();
        let options: &[&str] = if there { &[] } else { &["--hosts", "web"] };
        let mut arguments = vec!["seal", name, "--replace", "--stdin"];
        arguments.extend(options);
        self.sandbox.sealift_with(&arguments, value.as_bytes()).exits(0);
        value
    }

    /// A command with the nix environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.sandbox.command(program);
        nix_environment(&mut command, &Shared::get().place);
        command
    }

    /// A command of the program under test, with the nix environment.
    pub fn sealift_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(arguments);
        command
    }

    /// A command of the program that hosts run.
    pub fn host_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_sealift-host"));
        command.args(arguments);
        command
    }

    /// Passes this work to the program on the host; returns its last event.
    pub fn ask(&self, work: &serde_json::Value) -> serde_json::Value {
        let request = serde_json::json!({
            "version": 1, "run": "20260101T000000Z-asked", "who": "test@here", "root": self.root, "host": "web",
            "work": work
        });
        let run = self.sandbox.run(self.host_command(&["host-run"]), request.to_string().as_bytes());
        let last = run.text().lines().last().map(|line| serde_json::from_str(line).expect("events are JSON"));
        last.unwrap_or_default()
    }

    /// Runs the program under test, with the nix environment.
    pub fn sealift(&self, arguments: &[&str]) -> Run {
        let run = self.sandbox.run(self.sealift_command(arguments), b"");
        self.sandbox.remember(&run);
        run
    }

    /// The arguments of an unattended deploy to this machine.
    pub fn arguments<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let mut arguments =
            vec!["deploy", "--root", self.root.to_str().expect("UTF-8"), "--host", "web", "--yes", "--settle", "1"];
        arguments.extend(options);
        arguments
    }

    /// Deploys to this machine.
    pub fn deploy(&self, options: &[&str]) -> Run {
        self.sealift(&self.arguments(options))
    }

    /// Runs a verb on this machine.
    pub fn on(&self, verb: &str, options: &[&str]) -> Run {
        let mut arguments = vec![verb, "--root", self.root.to_str().expect("UTF-8")];
        arguments.extend(options);
        self.sealift(&arguments)
    }

    /// Boots the boot loader's default: what was delivered before is gone, as after every boot.
    pub fn boot(&self) {
        // Unmount what `install` mounted. It fails if nothing could be mounted.
        for place in ["run/sealift.d", "run/sealift-users.d"] {
            let mut command = self.command("umount");
            command.arg(self.root.join(place));
            self.sandbox.run(command, b"");
        }
        std::fs::remove_dir_all(self.root.join("run")).expect("an empty /run");
        std::fs::create_dir(self.root.join("run")).expect("a new /run");
        let system = std::fs::read_to_string(self.root.join("boot/default")).expect("a boot loader");
        let mut command = self.command("chroot");
        command.arg(&self.root).arg(format!("{}/init", system.trim()));
        let run = self.sandbox.run(command, b"");
        assert_eq!(run.code, 0, "{}", run.stderr);
        self.forget_calls();
    }

    /// The delivered value of a secret.
    pub fn secret(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join("run/sealift").join(name)).ok()
    }

    /// The target of a symlink on the machine, such as the running, booted or profile's system.
    pub fn link(&self, link: &str) -> String {
        std::fs::read_link(self.root.join(link)).map_or_else(|_| String::new(), |target| target.display().to_string())
    }

    /// The state that a failed deploy must leave as it was.
    pub fn state(&self) -> Vec<String> {
        let profile = self.link("nix/var/nix/profiles/system");
        let mut links: Vec<String> = std::fs::read_dir(self.root.join("nix/var/nix/profiles"))
            .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        links.retain(|name| name.starts_with("system"));
        links.sort();
        let default = std::fs::read_to_string(self.root.join("boot/default")).unwrap_or_default();
        let token = self.secret("token").unwrap_or_default();
        vec![self.link("run/current-system"), profile, links.join(" "), default, token]
    }

    /// Asserts that nothing of a run is left: no journal, no garbage collector root, no held lock.
    #[track_caller]
    pub fn is_tidy(&self) {
        for path in [
            "var/lib/sealift/deploy/journal.json",
            "nix/var/nix/gcroots/sealift-run-new",
            "nix/var/nix/gcroots/sealift-run-former",
        ] {
            assert!(self.root.join(path).symlink_metadata().is_err(), "{path} is left");
        }
        let runs = self.sandbox.fleet().join(".git/sealift/runs");
        let runs = std::fs::read_dir(runs).into_iter().flatten().flatten();
        for run in runs.filter(|run| run.path().join("roots").exists()) {
            let text = std::fs::read_to_string(run.path().join("run.json")).unwrap_or_default();
            let left = ["begun", "failed", "rolled-back", "person", "pending"]
                .iter()
                .any(|state| text.contains(&format!("\"{state}\"")));
            assert!(left, "links to what was built are left: {text}");
        }
    }

    /// Sets the failures to inject, one per line; see the fixture's README.
    pub fn fail(&self, lines: &str) {
        std::fs::write(self.root.join("etc/stc-fail"), format!("{lines}\n")).expect("written");
    }

    /// The calls of switch-to-configuration so far: action and exit code of each, and whether it came from the running
    /// system.
    pub fn calls(&self) -> Vec<String> {
        super::calls(&self.log())
    }

    /// The log of switch-to-configuration.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("var/log/stc.log")).unwrap_or_default()
    }

    /// The name of the newest run with a log on this machine.
    pub fn newest_run(&self) -> String {
        let entries = std::fs::read_dir(self.root.join("var/lib/sealift/deploy")).expect("runs").flatten();
        let names = entries.map(|entry| entry.file_name().into_string().expect("UTF-8"));
        names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).max().expect("a run")
    }

    /// The process that holds the deploy lock: the program on the host.
    pub fn holder(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.root.join("run/sealift-deploy.lock")).ok()?;
        text.split("process ").nth(1)?.split(',').next()?.parse().ok()
    }

    /// Waits until switch-to-configuration hangs, as requested by `fail`.
    pub fn wait_until_it_hangs(&self) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !self.log().contains("outcome=hang") {
            assert!(std::time::Instant::now() < end, "it does not hang: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Releases what hangs.
    pub fn go_on(&self) {
        std::fs::write(self.root.join("etc/stc-go"), "").expect("written");
    }

    /// Waits until the deploy lock is free.
    pub fn wait_until_it_is_over(&self) {
        let lock = std::fs::File::open(self.root.join("run/sealift-deploy.lock")).expect("a lock");
        lock.lock().expect("the lock");
    }

    /// The log of the unit that delivers secrets.
    pub fn unit_log(&self) -> String {
        std::fs::read_to_string(self.root.join("var/log/sealift-install.service.log")).unwrap_or_default()
    }

    /// Resets `calls`.
    pub fn forget_calls(&self) {
        std::fs::write(self.root.join("var/log/stc.log"), "").expect("written");
    }

    /// Asserts that ciphertext and systems in both stores contain no value.
    #[track_caller]
    pub fn stores_hold_no_value(&self) {
        let mut command = self.command("grep");
        command
            .args(["-rlF", "--", &self.sandbox.canary])
            .arg(Shared::get().place.join("store/nix/store"))
            .arg(self.root.join("nix/store"));
        let found = self.sandbox.run(command, b"");
        assert_eq!(found.text(), "", "a value is in the store");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for place in ["run/sealift.d", "run/sealift-users.d", "proc"] {
            let mut command = self.command("umount");
            command.arg(self.root.join(place));
            // Nothing is mounted there if a test never delivered anything.
            self.sandbox.run(command, b"");
        }
    }
}

/// Whether nothing can be deployed here; notes why.
pub fn cannot_deploy(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let private = std::env::var("SEALIFT_TEST_NAMESPACE").is_ok_and(|value| value == "1");
    let missing =
        ["nix", "chroot", "flock"].into_iter().find(|program| Command::new(program).arg("--version").output().is_err());
    let why = match (root, private, missing) {
        (_, _, Some(program)) => format!("{program} is not installed"),
        (false, ..) => "it needs root: systems are activated in a chroot".to_owned(),
        (_, false, _) => "it mounts, and mounts are not private here".to_owned(),
        _ => return false,
    };
    super::not_run(test, &why);
    true
}
