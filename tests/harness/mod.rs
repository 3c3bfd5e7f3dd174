//! A sandbox for each test: a temporary directory with its own HOME and work space, an environment built from scratch,
//! and the real binary. Every value that a test seals contains the sandbox's canary; on drop, the sandbox searches for
//! the canary everywhere it must not be, and the test fails if it is found.

pub mod machine;
pub mod nix;
pub mod realm;
pub mod rig;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Programs that sealift starts: their arguments and environment are recorded and searched for values.
const STARTED: [&str; 5] = ["git", "nix", "nix-env", "nix-store", "ssh"];

/// The result of a run of the program.
#[derive(Debug)]
pub struct Run {
    /// The exit code; 128 + N after signal N.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    /// Asserts the exit code; on failure both streams are shown.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }

    /// Asserts that standard error contains this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in: {}", self.stderr);
        self
    }

    /// Asserts that standard output contains this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.text().contains(text), "`{text}` is not in: {}", self.text());
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last event in a stream of JSON events: the result of a deploy.
    #[track_caller]
    pub fn result(&self) -> serde_json::Value {
        self.results().pop().unwrap_or_else(|| panic!("no result in: {}", self.text()))
    }

    /// The result of each host in a stream of JSON events.
    pub fn results(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter(|event| event["event"] == "result").collect()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The temporary directory and environment of a test.
pub struct Sandbox {
    place: tempfile::TempDir,
    /// The start of every test value.
    pub canary: String,
    /// Everything printed to standard error, and to standard output by verbs that must not print values.
    printed: RefCell<Vec<u8>>,
    /// Paths that may contain values (delivered secrets, plaintext made by the test itself).
    allowed: RefCell<Vec<PathBuf>>,
}

impl Sandbox {
    pub fn new() -> Self {
        let place = tempfile::Builder::new().prefix("sealift-test-").tempdir().expect("a temporary directory");
        for directory in ["home", "tmp", "fleet", "started"] {
            std::fs::create_dir(place.path().join(directory)).expect("a directory");
        }
        let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/started");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
        for name in STARTED.into_iter().filter(|name| is_there(name)) {
            std::os::unix::fs::symlink(stand_in, place.path().join("started").join(name)).expect("a link");
        }
        let canary = format!(
            "canary{}",
            place
                .path()
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "")
        );
        Self { place, canary, printed: RefCell::default(), allowed: RefCell::default() }
    }

    /// A path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn fleet(&self) -> PathBuf {
        self.path("fleet")
    }

    pub fn value(&self, name: &str) -> String {
        format!("{}-{name}", self.canary)
    }

    /// Allows values below this path.
    pub fn allow(&self, path: impl Into<PathBuf>) {
        self.allowed.borrow_mut().push(path.into());
    }

    /// The PATH of the program under test, in which the programs in `STARTED` are recorded.
    pub fn path_of_sealift(&self) -> std::ffi::OsString {
        let mut path = self.path("started").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// A command in the fleet's directory, with only the sandbox's environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let program = program.as_ref();
        let is_sealift = program == env!("CARGO_BIN_EXE_sealift");
        let mut command = Command::new(program);
        let path = if is_sealift { self.path_of_sealift() } else { std::env::var_os("PATH").unwrap_or_default() };
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_GLOBAL", self.path("home/.gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Test")
            .env("GIT_AUTHOR_EMAIL", "test@example.org")
            .env("GIT_COMMITTER_NAME", "Test")
            .env("GIT_COMMITTER_EMAIL", "test@example.org")
            .current_dir(self.fleet())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program under test.
    pub fn sealift(&self, arguments: &[&str]) -> Run {
        self.sealift_with(arguments, b"")
    }

    /// Runs the program under test with this standard input.
    pub fn sealift_with(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut command = self.command(env!("CARGO_BIN_EXE_sealift"));
        command.args(arguments);
        let run = self.run(command, input);
        // `show` and `edit` may print values; the output of every other verb must not contain any.
        if arguments.first().is_some_and(|verb| *verb == "show") {
            self.printed.borrow_mut().extend_from_slice(run.stderr.as_bytes());
        } else {
            self.remember(&run);
        }
        run
    }

    /// Records output, which must not contain a value.
    pub fn remember(&self, run: &Run) {
        let mut printed = self.printed.borrow_mut();
        printed.extend_from_slice(run.stderr.as_bytes());
        printed.extend_from_slice(&run.stdout);
    }

    pub fn run(&self, mut command: Command, input: &[u8]) -> Run {
        use std::io::Write;
        use std::os::unix::process::ExitStatusExt;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        // Not reading the input is no failure.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
        writer.join().expect("the input is written");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Run { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Runs another program, which must succeed; returns its standard output.
    #[track_caller]
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = self.command(program);
        command.args(arguments);
        let run = self.run(command, b"");
        assert_eq!(run.code, 0, "{program} {arguments:?}: {}", run.stderr);
        run.stdout
    }

    /// Reads a file of the fleet.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.fleet().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a file of the fleet.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.fleet().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("the directory is made");
        std::fs::write(path, content).expect("the file is written");
    }

    /// Every file in the sandbox that contains the canary, except where that is allowed. One of them records the
    /// arguments of started programs.
    pub fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        let allowed = self.allowed.borrow();
        let mut places = vec![self.place.path().to_owned()];
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
                let path = entry.path();
                if allowed.iter().any(|allowed| path.starts_with(allowed)) {
                    continue;
                }
                let kind = entry.file_type().expect("a kind of file");
                if kind.is_dir() {
                    places.push(path);
                } else if kind.is_file() && holds(&std::fs::read(&path).unwrap_or_default(), self.canary.as_bytes()) {
                    found.push(path.display().to_string());
                }
            }
        }
        if holds(&self.printed.borrow(), self.canary.as_bytes()) {
            found.push("what was printed".to_owned());
        }
        found
    }

    /// Makes an SSH key pair at `keys/NAME` in the sandbox; returns the public key's line.
    pub fn ssh_key(&self, name: &str) -> String {
        std::fs::create_dir_all(self.path("keys")).expect("a directory");
        let path = self.path(&format!("keys/{name}"));
        let path = path.to_str().expect("UTF-8");
        self.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", &format!("root@{name}"), "-f", path]);
        std::fs::read_to_string(format!("{path}.pub")).expect("a public key").trim().to_owned()
    }

    /// Makes an age identity at `keys/NAME` in the sandbox; returns its recipient.
    pub fn age_key(&self, name: &str) -> String {
        std::fs::create_dir_all(self.path("keys")).expect("a directory");
        let path = self.path(&format!("keys/{name}"));
        let path = path.to_str().expect("UTF-8");
        self.tool("age-keygen", &["-o", path]);
        String::from_utf8(self.tool("age-keygen", &["-y", path])).expect("UTF-8").trim().to_owned()
    }

    /// The path of a private key made by `ssh_key` or `age_key`.
    pub fn key(&self, name: &str) -> String {
        self.path(&format!("keys/{name}")).to_str().expect("UTF-8").to_owned()
    }

    /// A fleet in a git repository: admin `jay` with an age key, and these hosts with SSH host keys; `name@tag` gives a
    /// host a tag.
    pub fn with_fleet(hosts: &[&str]) -> Self {
        let sandbox = Self::new();
        sandbox.tool("git", &["init", "-q", "-b", "main"]);
        let mut text = format!("version = 1\n\n[admins]\njay = [\"{}\"]\n", sandbox.age_key("jay"));
        for host in hosts {
            let (name, tag) = host.split_once('@').unwrap_or((host, ""));
            let tags = if tag.is_empty() { String::new() } else { format!("tags = [\"{tag}\"]\n") };
            text += &format!("\n[hosts.{name}]\nkeys = [\"{}\"]\n{tags}", sandbox.ssh_key(name));
        }
        sandbox.write("recipients.toml", text);
        sandbox.tool("git", &["add", "."]);
        sandbox.tool("git", &["commit", "-q", "-m", "fleet"]);
        sandbox
    }

    /// Seals a value with the canary; returns the value.
    #[track_caller]
    pub fn seal(&self, name: &str, options: &[&str]) -> String {
        let value = self.value(name);
        let mut arguments = vec!["seal", name, "--stdin"];
        arguments.extend(options);
        self.sealift_with(&arguments, value.as_bytes()).exits(0);
        value
    }

    /// The output of `sealift show` with this key.
    #[track_caller]
    pub fn show(&self, name: &str, key: &str) -> Vec<u8> {
        self.sealift(&["show", name, "--identity", &self.key(key)]).exits(0).stdout
    }
}

/// The root of a temporary system. On drop, everything mounted below it is unmounted before the sandbox is removed.
pub struct Root(PathBuf);

impl Sandbox {
    /// A root at `NAME` in the sandbox, which may contain delivered secrets. `None`, with a note, if mounts are not
    /// private to this run or not permitted.
    pub fn root(&self, name: &str) -> Option<Root> {
        if std::env::var_os("SEALIFT_TEST_NAMESPACE").is_none() {
            not_run("tests that mount", "this is not a mount namespace of its own: scripts/test makes one, as root");
            return None;
        }
        let root = self.path(name);
        std::fs::create_dir_all(root.join("etc/ssh")).expect("a directory");
        for tree in ["run/sealift.d", "run/sealift-users.d"] {
            self.allow(root.join(tree));
        }
        Some(Root(root))
    }
}

impl Root {
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its path as an argument.
    pub fn shown(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        let mounted =
            table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| Path::new(at).starts_with(&self.0));
        for at in mounted.collect::<Vec<_>>().into_iter().rev() {
            rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).expect("it is unmounted");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let leaks = self.leaks();
            assert!(leaks.is_empty(), "a value is where it must not be: {leaks:?}");
        }
    }
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// The calls in the log of the stand-in's switch-to-configuration, each with its exit code.
pub fn calls(log: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for line in log.lines() {
        if let Some(rest) = line.strip_prefix("call action=") {
            calls.push(rest.split(' ').next().unwrap_or_default().to_owned());
        } else if let (Some(code), Some(call)) = (line.strip_prefix("exit code="), calls.last_mut()) {
            *call += &format!(" {code}");
        }
    }
    calls
}

/// Notes a test that could not run here, for the summary of `scripts/test`.
pub fn not_run(what: &str, why: &str) {
    use std::io::Write;
    if let Some(path) = std::env::var_os("SEALIFT_TEST_NOTES") {
        let mut file =
            std::fs::File::options().create(true).append(true).open(Path::new(&path)).expect("the notes open");
        writeln!(file, "NOT RUN: {what}: {why}").expect("the note is written");
    }
}
