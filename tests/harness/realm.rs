//! Machines with a real systemd, made by `tests/realm/realm`, and a fleet that deploys to them over real SSH. Each test
//! has its own realm. Waiting uses inotify, not polling.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::not_run;
use super::rig::{Deploying, Kind, Rig, cannot_rig};

/// A service that records each value of the secret `token` that it was started with.
pub const APP: &str = r#"services.app = {
  text = ''
    [Unit]
    Description=An app
    [Service]
    Type=notify
    NotifyAccess=all
    ExecStart=/bin/bash -c 'cat /run/sealift/token >> /run/app.seen; echo >> /run/app.seen; bash /etc/realm/point start; systemd-notify --ready; exec sleep infinity'
    ExecStop=/bin/bash /etc/realm/point stop
    Environment=PATH=/usr/bin
  '';
  uses = "secret";
};"#;

/// The time limit of every wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// A fleet with running machines.
pub struct Realm(Rig);

impl Deref for Realm {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.0
    }
}

impl Realm {
    /// Machines of these names, all on, without anything of sealift. Each has one secret, `token`, with its own value,
    /// and `app.service`, which uses it; the login user jay has full sudo.
    pub fn up(names: &[&str]) -> Self {
        Self::up_of(Kind::Realm, names)
    }

    /// Like `up`; `None`, with a note for this test, if a realm cannot run here.
    pub fn try_up(test: &str, names: &[&str]) -> Option<Self> {
        (!cannot_realm(test)).then(|| Self::up(names))
    }

    /// Like `up`, for either kind of machine.
    pub fn up_of(kind: Kind, names: &[&str]) -> Self {
        let rig = Rig::up_of(kind, names);
        let policy = rig.sandbox.read("recipients.toml");
        rig.sandbox.write(
            "recipients.toml",
            policy.replacen("[secrets.token]\n", "[secrets.token]\nrestart = [\"app.service\"]\n", 1),
        );
        let realm = Self(rig);
        for name in names {
            realm.has(name, "first", APP);
        }
        realm.commit();
        realm
    }

    /// Like `up`, with a first deploy done.
    pub fn deployed(names: &[&str]) -> Self {
        Self::deployed_of(Kind::Realm, names)
    }

    /// Like `deployed`; `None`, with a note for this test, if a realm cannot run here.
    pub fn try_deployed(test: &str, names: &[&str]) -> Option<Self> {
        (!cannot_realm(test)).then(|| Self::deployed(names))
    }

    /// Like `deployed`, for either kind of machine.
    pub fn deployed_of(kind: Kind, names: &[&str]) -> Self {
        let realm = Self::up_of(kind, names);
        realm.sealift(&["deploy", "--all", "--yes", "--jobs", "12"]).exits(0);
        for name in names {
            realm.is_in_order(name, "first", 2);
        }
        realm
    }

    /// Sets a machine's system: its mark, and more in the fixture's language.
    pub fn has(&self, name: &str, mark: &str, more: &str) {
        self.system(name, &format!("{{ mark = \"{mark}\"; {more} }}"));
    }

    /// Changes the secret's value, and the system to one marked `second` that has `more` than the app.
    pub fn changes(&self, names: &[&str], more: &str) {
        self.seal("token", "second", &[]);
        for name in names {
            self.has(name, "second", &format!("{APP}{more}"));
        }
        self.commit();
    }

    /// A path on a running machine, as seen from outside.
    pub fn inside(&self, name: &str, path: &str) -> PathBuf {
        let pid = self.text(&format!("{name}/pid"));
        PathBuf::from(format!("/proc/{}/root{path}", pid.trim()))
    }

    /// Runs a shell script on a machine, as root, which must succeed; returns its output.
    #[track_caller]
    pub fn shell(&self, name: &str, script: &str) -> String {
        self.on(name, &["bash", "-c", script])
    }

    /// Makes systems stop once at this point, `MARK.POINT`.
    pub fn hold(&self, name: &str, point: &str) {
        self.shell(name, &format!("touch /var/realm/hold/{point} && sync"));
    }

    /// Waits until a system has stopped there.
    #[track_caller]
    pub fn wait_at(&self, name: &str, point: &str) {
        if self.kind == Kind::Qemu {
            // The console log, where nothing else writes this.
            let said = format!("{name}/serial.log");
            let point = format!("at {point}");
            let is = || self.text(&said).contains(&point);
            assert!(watch(&self.path(name), &is, Duration::from_secs(400)), "{point} does not come");
            return;
        }
        let folder = self.inside(name, "/var/realm/at");
        wait_in(&folder, point, || folder.join(point).exists());
    }

    /// Releases the stopped system.
    pub fn go_on(&self, name: &str) {
        self.shell(name, "echo > /var/realm/go");
    }

    /// Starts a deploy and waits until it stops at this point.
    #[track_caller]
    pub fn stopped(&self, name: &str, point: &str, arguments: &[&str]) -> Deploying {
        self.hold(name, point);
        let deploying = self.start(arguments);
        self.wait_at(name, point);
        deploying
    }

    /// Waits until a file on a machine exists, or no longer does.
    #[track_caller]
    pub fn wait_for(&self, name: &str, file: &str, there: bool) {
        if self.kind == Kind::Qemu {
            let test = if there { "-e" } else { "! -e" };
            self.shell(name, &format!("timeout 90 sh -c 'until [ {test} {file} ]; do sleep 0.5; done'"));
            return;
        }
        let file = self.inside(name, file);
        let folder = file.parent().expect("a folder");
        wait_in(folder, &format!("{} to be {there}", file.display()), || {
            std::fs::symlink_metadata(&file).is_ok() == there
        });
    }

    /// Waits until the journal of a run contains this, and returns at once.
    #[track_caller]
    pub fn wait_for_journal(&self, name: &str, words: &str) {
        let folder = self.inside(name, "/var/lib/sealift/deploy");
        wait_in(&folder, words, || {
            std::fs::read_to_string(folder.join("journal.json")).is_ok_and(|text| text.contains(words))
        });
    }

    /// The first process of a machine, with its pid in the test's namespace; killing it ends the machine.
    pub fn first_process(&self, name: &str) -> rustix::process::Pid {
        let pid = self.text(&format!("{name}/pid")).trim().parse().ok();
        pid.and_then(rustix::process::Pid::from_raw).expect("a pid")
    }

    pub fn cut_power(&self, name: &str) {
        self.rig(&["off", name]);
    }

    /// Boots a machine, and waits until what the boot resumes is done.
    pub fn boot(&self, name: &str) {
        self.rig(&["on", name]);
        self.settles(name);
    }

    /// Waits until no job, recovery or run of ours is active.
    #[track_caller]
    pub fn settles(&self, name: &str) {
        self.rig(&["settled", name]);
        self.wait_for(name, "/var/lib/sealift/deploy/journal.json", false);
        self.shell(name, "[ ! -e /run/sealift-deploy.lock ] || timeout 60 flock /run/sealift-deploy.lock true");
        if self.kind == Kind::Qemu {
            return;
        }
        // The manager has unloaded our units when their files are gone.
        let folder = self.inside(name, "/run/systemd/transient");
        let ours = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("sealift-"))
        };
        wait_in(&folder, "the end of our units", || !std::fs::read_dir(&folder).is_ok_and(|mut all| all.any(ours)));
    }

    /// The marks of the running, the profile's and the boot loader's system; the delivered secrets with content, owner
    /// and mode; and the value that the app was last started with.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        self.shell(
            name,
            "mark() { cat $(readlink -f $1)/realm/mark; }
             echo runs $(mark /run/current-system)
             echo profile $(mark /nix/var/nix/profiles/system) $(cd /nix/var/nix/profiles && ls -d system-*-link | wc -l)
             echo boots $(mark $(cat /boot/default))
             cd /run; for file in $(find sealift/ sealift-users/ -type f ! -name '.*' 2> /dev/null | sort); do
               stat -c '%n %a %U %G' $file; cat $file; echo; done
             ls -d /run/sealift 2> /dev/null
             systemctl is-active --quiet app.service && echo app $(tail -n1 /run/app.seen); true",
        )
    }

    /// Asserts that nothing of a run is left and nothing on the machine has failed.
    #[track_caller]
    pub fn is_tidy(&self, name: &str) {
        self.settles(name);
        // The test's own logins cause jobs for a moment when they start and end.
        let wrong = self.shell(
            name,
            "timeout 90 bash -c 'while [ \"$(systemctl list-jobs --no-legend)\" ]; do sleep 0.2; done' || systemctl list-jobs --no-legend
             ls -d /var/lib/sealift/deploy/journal.json /nix/var/nix/gcroots/sealift-run-* /run/sealift-ack/* 2> /dev/null
             ls /run/systemd/transient | grep sealift
             systemctl list-units --plain --no-legend 'sealift-deploy*' 'sealift-switch*'
             systemctl list-units --failed --plain --no-legend
             systemctl is-system-running | grep -vx running
             cmp /boot/default <(readlink -f /nix/var/nix/profiles/system)
             [ $(readlink -f /run/current-system) = $(cat /boot/default) ] || echo what runs is not what boots
             true",
        );
        assert_eq!(wrong, "", "left on {name}");
    }

    /// Asserts that a machine runs and boots the system with this mark, has its own secrets, and nothing else. `first`
    /// has the first value, every other mark the second. One generation exists before sealift comes, plus one per
    /// deployed system, and none of a deploy that was rolled back.
    #[track_caller]
    pub fn is_in_order(&self, name: &str, mark: &str, generations: usize) {
        self.is_tidy(name);
        let lines = "systemctl status --no-pager app.service; journalctl -b --no-pager -n 200";
        assert_eq!(self.state(name), self.order(mark, generations), "{}", self.shell(name, &format!("{lines}; true")));
    }

    /// The expected `state`.
    pub fn order(&self, mark: &str, generations: usize) -> String {
        let value = self.sandbox.value(if mark == "first" { "first" } else { "second" });
        format!(
            "runs {mark}\nprofile {mark} {generations}\nboots {mark}\nsealift/token 400 root root\n{value}\n/run/sealift\napp {value}\n"
        )
    }

    /// The last record in a machine's own record of deploys.
    pub fn last_record(&self, name: &str) -> serde_json::Value {
        let line = self.shell(name, "tail -n1 /var/lib/sealift/deploys.jsonl");
        serde_json::from_str(&line).expect("JSON")
    }

    /// The values that the app was started with in this boot.
    pub fn app_saw(&self, name: &str) -> Vec<String> {
        self.shell(name, "cat /run/app.seen").lines().map(str::to_owned).collect()
    }

    pub fn property(&self, name: &str, unit: &str, property: &str) -> String {
        self.on(name, &["systemctl", "show", "--value", "-p", property, unit]).trim().to_owned()
    }
}

/// Waits until the condition holds; checks it whenever the directory changes.
#[track_caller]
fn wait_in(folder: &Path, what: &str, is: impl Fn() -> bool) {
    assert!(watch(folder, &is, PATIENCE), "{what} does not come");
}

/// Like `wait_in`, with a time limit; returns whether the condition holds.
pub fn watch(folder: &Path, is: &dyn Fn() -> bool, patience: Duration) -> bool {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).expect("inotify");
    let flags = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MODIFY;
    // A missing directory has no events.
    if inotify::add_watch(&events, folder, flags).is_err() {
        return is();
    }
    let end = Instant::now() + patience;
    while !is() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let left = Timespec { tv_sec: i64::try_from(left.as_secs()).expect("short"), tv_nsec: 0 };
        poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&left)).expect("poll");
        let mut buffer = [0; 4096];
        while rustix::io::read(&events, &mut buffer).is_ok() {}
    }
    true
}

/// Whether a realm cannot run here; notes why.
pub fn cannot_realm(test: &str) -> bool {
    if cannot_rig(test) {
        return true;
    }
    let why = if !["/usr/bin/mmdebstrap", "/bin/mmdebstrap"].iter().any(|path| Path::new(path).exists()) {
        "mmdebstrap is not installed"
    } else if !makes_cgroups() {
        "cgroup v2 cannot be written here"
    } else {
        if std::env::var_os("STC_NG").is_none() {
            not_run("realm with the real switch-to-configuration", "STC_NG is not set");
        }
        return false;
    };
    not_run(test, why);
    true
}

/// Whether a writable cgroup v2 is mounted.
fn makes_cgroups() -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut places =
        table.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| line.split(' ').nth(4));
    places.any(|place| {
        let probe =
            Path::new(place).join(format!("sealift-realm-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
    })
}
