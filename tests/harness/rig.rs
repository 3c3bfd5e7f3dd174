//! Real hosts in network namespaces, made by `tests/rig/rig`, and a fleet that deploys to them over real SSH. Each test
//! has its own rig, in its own sandbox; what rigs share (programs in a store) is made once per run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Run, Sandbox};

/// The kind of a rig's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stand-ins for NixOS that use this machine's programs: tests/rig.
    Rig,
    /// Machines with a real systemd, in namespaces: tests/realm.
    Realm,
    /// Like `Realm`, with their own kernel and disk.
    Qemu,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rig => "rig",
            Kind::Realm | Kind::Qemu => "realm",
        }
    }

    fn tests(self, path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
    }

    fn script(self) -> PathBuf {
        self.tests(&format!("{0}/{0}", self.name()))
    }

    /// The name of an environment variable of the script.
    fn variable(self, rest: &str) -> String {
        format!("SEALIFT_{}{rest}", self.name().to_uppercase())
    }

    /// The directory that all rigs of this run share; made on first use.
    pub fn template(self) -> &'static Path {
        static TEMPLATES: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        TEMPLATES[usize::from(self != Kind::Rig)].get_or_init(|| {
            let above = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let prefix = format!("{}-", self.name());
            // A test program cannot clean up at its end, so the next run removes leftovers.
            for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.strip_prefix(&prefix).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                    std::fs::remove_dir_all(entry.path()).expect("the former template is removed");
                }
            }
            let place = above.join(format!("{prefix}{}", std::process::id()));
            let mut command = Command::new(self.script());
            command.arg("template").arg(&place).arg(env!("CARGO_BIN_EXE_sealift"));
            let output = command.output().expect("the rig's script starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            place
        })
    }
}

/// A fleet with running hosts.
pub struct Rig {
    pub kind: Kind,
    /// The deployer's sandbox; its fleet contains the flake.
    pub sandbox: Sandbox,
    place: PathBuf,
    /// The first process in the deployer's namespaces.
    deployer: String,
}

impl Rig {
    /// Hosts of these names, all on, without anything of sealift; `name@tag` gives one a tag. Each has one secret,
    /// `token`, with its own value; the login user jay has full sudo.
    pub fn up(hosts: &[&str]) -> Self {
        Self::up_of(Kind::Rig, hosts)
    }

    /// Like `up`; `None`, with a note for this test, if a rig cannot run here.
    pub fn try_up(test: &str, hosts: &[&str]) -> Option<Self> {
        (!cannot_rig(test)).then(|| Self::up(hosts))
    }

    /// Like `up`, for a kind of hosts.
    pub fn up_of(kind: Kind, hosts: &[&str]) -> Self {
        let rig = Self::bare_of(kind, hosts);
        let mut text = String::new();
        for host in hosts {
            let (name, tag) = host.split_once('@').unwrap_or((host, ""));
            let tags = if tag.is_empty() { String::new() } else { format!("tags = [\"{tag}\"]\n") };
            text +=
                &format!("\n[hosts.{name}]\nkeys = [\"{}\"]\naddress = \"jay@{name}\"\n{tags}", rig.public_key(name));
            rig.system(name, "{ }");
        }
        rig.declare(&text);
        rig.seal("token", "first", &["--hosts", "*"]);
        rig.commit();
        rig
    }

    /// Like `up`, with a first deploy done and `calls` reset.
    pub fn deployed(hosts: &[&str]) -> Self {
        let rig = Self::up(hosts);
        rig.sealift(&["deploy", "--all", "--yes", "--jobs", "12"]).exits(0);
        for host in hosts {
            let name = host.split('@').next().expect("a name");
            // A first switch cannot be live: the blank system has another interface version.
            assert_eq!(rig.secret(name, "token"), Some(rig.sandbox.value("first")), "{name}");
            rig.forget_calls(name);
        }
        rig
    }

    /// Like `deployed`; `None`, with a note for this test, if a rig cannot run here.
    pub fn try_deployed(test: &str, hosts: &[&str]) -> Option<Self> {
        (!cannot_rig(test)).then(|| Self::deployed(hosts))
    }

    /// Hosts next to an existing fleet.
    pub fn beside(sandbox: Sandbox, hosts: &[&str]) -> Self {
        Self::beside_of(Kind::Rig, sandbox, hosts)
    }

    fn beside_of(kind: Kind, sandbox: Sandbox, hosts: &[&str]) -> Self {
        let place = sandbox.path("rig");
        std::fs::create_dir(&place).expect("a folder");
        // `Rig::drop` checks it with a faster search.
        sandbox.allow(&place);
        let names = hosts.iter().map(|host| host.split('@').next().expect("a name"));
        let mut rig = Self { kind, sandbox, place, deployer: String::new() };
        let arguments: Vec<&str> = std::iter::once("up").chain(names).collect();
        rig.rig(&arguments);
        rig.text("deployer/pid").trim().clone_into(&mut rig.deployer);
        rig
    }

    /// Hosts, and a repository with the flake and a policy that has only its admin.
    pub fn bare(hosts: &[&str]) -> Self {
        Self::bare_of(Kind::Rig, hosts)
    }

    fn bare_of(kind: Kind, hosts: &[&str]) -> Self {
        let rig = Self::beside_of(kind, Sandbox::new(), hosts);
        rig.sandbox.tool("git", &["init", "-q", "-b", "main"]);
        let mut fixtures = vec!["fixtures/flake/."];
        if kind != Kind::Rig {
            fixtures = vec!["fixtures/realm/.", "fixtures/flake/manifest.nix"];
        }
        for fixture in fixtures {
            rig.sandbox.tool("cp", &["-r", kind.tests(fixture).to_str().expect("UTF-8"), "."]);
        }
        std::fs::copy(kind.template().join("fleet/programs.json"), rig.sandbox.fleet().join("programs.json"))
            .expect("the programs are named");
        let admin = rig.sandbox.age_key("jay");
        rig.sandbox.write("recipients.toml", format!("version = 1\n\n[admins]\njay = [\"{admin}\"]\n"));
        std::fs::create_dir(rig.sandbox.fleet().join("hosts")).expect("a folder");
        rig
    }

    /// Appends to recipients.toml.
    pub fn declare(&self, text: &str) {
        let before = self.sandbox.read("recipients.toml");
        self.sandbox.write("recipients.toml", format!("{before}{text}"));
    }

    /// Sets a host's system; see the fixture's README.
    pub fn system(&self, host: &str, system: &str) {
        self.sandbox.write(&format!("hosts/{host}/default.nix"), system);
    }

    /// Commits everything.
    pub fn commit(&self) {
        self.sandbox.tool("git", &["add", "-A"]);
        self.sandbox.tool("git", &["commit", "-q", "--allow-empty", "-m", "a change"]);
    }

    /// Seals a new value with the canary; returns the value.
    pub fn seal(&self, name: &str, value: &str, options: &[&str]) -> String {
        let value = self.sandbox.value(value);
        let mut arguments = vec!["seal", name, "--replace", "--stdin"];
        arguments.extend(options);
        self.sandbox.sealift_with(&arguments, value.as_bytes()).exits(0);
        value
    }

    /// Changes every host's system: a new secret value, and a new file.
    pub fn change(&self, hosts: &[&str]) -> String {
        let value = self.seal("token", "second", &[]);
        for host in hosts {
            self.system(host, "{ etc.motd = \"second\"; }");
        }
        self.commit();
        value
    }

    /// A command that can reach the hosts, in the fleet's directory.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.sandbox.command("nsenter");
        command.args(["-t", &self.deployer, "-n", "-m", "--", "env", "-C"]).arg(self.sandbox.fleet()).arg(program);
        command.env("NIX_USER_CONF_FILES", "/dev/null");
        command
    }

    /// A command of the program under test.
    pub fn sealift_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(arguments).env("PATH", self.sandbox.path_of_sealift());
        command
    }

    /// Runs the program under test.
    pub fn sealift(&self, arguments: &[&str]) -> Run {
        let run = self.sandbox.run(self.sealift_command(arguments), b"");
        self.sandbox.remember(&run);
        run
    }

    /// Starts an unattended deploy, without waiting for it.
    pub fn start(&self, arguments: &[&str]) -> Deploying {
        let (out, err) = (self.sandbox.path("started.out"), self.sandbox.path("started.err"));
        let file = |path: &Path| Stdio::from(std::fs::File::create(path).expect("a file"));
        let mut command = self.sealift_command(arguments);
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Deploying { child: command.spawn().expect("it starts"), out, err }
    }

    /// Starts a deploy to a host whose switch hangs as this line of `stc-fail` says, and waits until it does.
    #[track_caller]
    pub fn hanging(&self, host: &str, line: &str, arguments: &[&str]) -> Deploying {
        self.fail(host, line);
        let deploying = self.start(arguments);
        self.wait_until_it_hangs(host);
        deploying
    }

    /// Runs the rig's script, which must succeed.
    #[track_caller]
    pub fn rig(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.kind.script());
        command.args(arguments).env(self.kind.variable(""), &self.place);
        command.env(self.kind.variable("_TEMPLATE"), self.kind.template());
        if self.kind == Kind::Qemu {
            command.env(self.kind.variable("_KIND"), "qemu");
        }
        let output = command.stdin(Stdio::null()).output().expect("the rig's script starts");
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}",
            self.kind.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command on a host, as root, which must succeed; returns its output.
    #[track_caller]
    pub fn on(&self, host: &str, words: &[&str]) -> String {
        let mut arguments = vec!["exec", host];
        arguments.extend(words);
        self.rig(&arguments)
    }

    /// Reads a file of the rig; empty if it does not exist.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.join(name)).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A path on a host's disk, as seen from outside.
    pub fn disk(&self, host: &str, path: &str) -> PathBuf {
        self.place.join(host).join("disk").join(path.trim_start_matches('/'))
    }

    pub fn at_home(&self, name: &str, text: &str) {
        std::fs::write(self.place.join("deployer/home").join(name), text).expect("written");
    }

    /// Installs a program on a host.
    pub fn install(&self, host: &str, name: &str, text: &str) {
        let path = self.disk(host, "/tmp/program");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        self.on(host, &["cp", "/tmp/program", &format!("/usr/bin/{name}")]);
    }

    pub fn sshd_log(&self, host: &str) -> String {
        std::fs::read_to_string(self.disk(host, "/var/log/sshd.log")).unwrap_or_default()
    }

    /// A host's public host key.
    pub fn public_key(&self, host: &str) -> String {
        let path = "/etc/ssh/ssh_host_ed25519_key.pub";
        let path = match self.kind {
            Kind::Rig => self.disk(host, path),
            Kind::Realm | Kind::Qemu => self.place.join(format!("{host}/upper{path}")),
        };
        std::fs::read_to_string(path).expect("a key").trim().to_owned()
    }

    /// The delivered value of a secret on a host.
    pub fn secret(&self, host: &str, name: &str) -> Option<String> {
        let script = format!("cat /run/sealift/{name} 2> /dev/null || echo none");
        Some(self.on(host, &["sh", "-c", &script])).filter(|text| text != "none\n")
    }

    /// The running system, the profile, the boot default and the token: the state that a failed deploy must leave
    /// unchanged.
    pub fn state(&self, host: &str) -> String {
        let script = "readlink /run/current-system; readlink /nix/var/nix/profiles/system; \
                      ls /nix/var/nix/profiles; cat /boot/default; cat /run/sealift/token 2> /dev/null";
        self.on(host, &["sh", "-c", &format!("{script} || true")])
    }

    /// The calls of a host's switch-to-configuration so far, each with its exit code.
    pub fn calls(&self, host: &str) -> Vec<String> {
        super::calls(&self.log(host))
    }

    /// The log of a host's switch-to-configuration.
    pub fn log(&self, host: &str) -> String {
        std::fs::read_to_string(self.disk(host, "/var/log/stc.log")).unwrap_or_default()
    }

    /// Resets `calls`.
    pub fn forget_calls(&self, host: &str) {
        std::fs::write(self.disk(host, "/var/log/stc.log"), "").expect("written");
    }

    /// Sets the failures to inject on a host, one per line; see the fixture's README.
    pub fn fail(&self, host: &str, lines: &str) {
        std::fs::write(self.disk(host, "/etc/stc-fail"), format!("{lines}\n")).expect("written");
    }

    /// Waits until another process makes the condition true.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(Instant::now() < end, "{what} does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a host's switch hangs, as requested by `fail`.
    #[track_caller]
    pub fn wait_until_it_hangs(&self, host: &str) {
        self.wait_until("the hang", || self.log(host).contains("outcome=hang"));
    }

    /// Releases what hangs.
    pub fn go_on(&self, host: &str) {
        std::fs::write(self.disk(host, "/etc/stc-go"), "").expect("written");
    }

    /// Waits until no deploy runs on a host.
    pub fn wait_until_it_is_over(&self, host: &str) {
        self.on(host, &["flock", "/run/sealift-deploy.lock", "true"]);
    }

    /// The last record in a host's own record of deploys.
    pub fn last_record(&self, host: &str) -> serde_json::Value {
        let text = std::fs::read_to_string(self.disk(host, "/var/lib/sealift/deploys.jsonl")).unwrap_or_default();
        text.lines().next_back().map_or(serde_json::Value::Null, |line| serde_json::from_str(line).expect("JSON"))
    }

    /// The process that does the work of a deploy on a host, with its pid there.
    pub fn worker(&self, host: &str) -> String {
        let text = self.on(host, &["cat", "/run/sealift-deploy.lock"]);
        let pid = text.split("process ").nth(1).and_then(|rest| rest.split(',').next());
        pid.unwrap_or_else(|| panic!("nobody in: {text}")).to_owned()
    }

    /// Asserts that nothing of a run is left on a host: no journal, no garbage collector root, no FIFO.
    #[track_caller]
    pub fn is_tidy(&self, host: &str) {
        let script = "ls -d /var/lib/sealift/deploy/journal.json /nix/var/nix/gcroots/sealift-run-* \
                      /run/sealift-ack/* 2> /dev/null || true";
        assert_eq!(self.on(host, &["sh", "-c", script]), "", "left on {host}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // No value may be on any disk, in any store or in any log of the hosts.
            let mut command = Command::new("grep");
            command.args(["-rlaF", "-D", "skip", "--", &self.sandbox.canary]).arg(&self.place);
            let output = command.output().expect("grep starts");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "a value is on a disk");
        }
        self.rig(&["down"]);
    }
}

/// A started deploy.
pub struct Deploying {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Deploying {
    /// Its standard error so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Kills only the deploy itself, none of its children.
    pub fn kill(&self) {
        rustix::process::kill_process(self.process(), rustix::process::Signal::KILL).expect("killed");
    }

    /// Ctrl-C on its terminal: its children get it too.
    pub fn interrupt(&self) {
        rustix::process::kill_process_group(self.process(), rustix::process::Signal::INT).expect("interrupted");
    }

    fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(self.child.id().try_into().expect("a pid")).expect("a pid")
    }

    pub fn ends(mut self, rig: &Rig) -> Run {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().expect("it ends");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let run = Run { code, stdout: std::fs::read(&self.out).expect("its output"), stderr: self.said() };
        rig.sandbox.remember(&run);
        run
    }
}

/// Whether a rig cannot run here; notes why.
pub fn cannot_rig(test: &str) -> bool {
    let missing = ["ip", "nix", "sudo", "sshd"].into_iter().find(|program| {
        !["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
    });
    let why = match missing {
        Some(program) => format!("{program} is not installed"),
        None if !rustix::process::geteuid().is_root() => "it needs root: hosts are namespaces".to_owned(),
        None if std::env::var_os("SEALIFT_TEST_NAMESPACE").is_none() => {
            "it mounts, and mounts are not private here".to_owned()
        }
        None => return false,
    };
    super::not_run(test, &why);
    true
}
