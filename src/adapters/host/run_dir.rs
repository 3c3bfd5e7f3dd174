//! A deploy's files on the host: the lock in `/run`, and in `/var/lib/sealift` the journal of the current run, the log
//! and result of each run, and the record of all deploys. None of them ever contains a secret value.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RawMode, flock, openat};

use serde::Serialize;

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::lock::{self, Lock};
use crate::adapters::fs::root::Root;
#[cfg(target_os = "linux")]
use crate::adapters::host::links::only_root;
use crate::domain::deploy::host_facts::Record;
use crate::domain::deploy::protocol::{DeployResult, HostEvent};
use crate::error::{Error, Kind, Result};

/// The lock, held from staging to the end.
pub const LOCK: &str = "/run/sealift-deploy.lock";
/// The holder's name, readable by everyone. The lock file itself is root's, because anyone who can open it can hold it.
const HOLDER: &str = "/run/sealift-deploy.holder";
/// The directory of journal, logs and results.
const FOLDER: &str = "/var/lib/sealift/deploy";
/// The record of all deploys, one JSON object per line.
const RECORD: &str = "/var/lib/sealift/deploys.jsonl";
/// The journal of the current run.
const JOURNAL: &str = "/var/lib/sealift/deploy/journal.json";
/// How long to wait for the lock.
const PATIENCE: Duration = Duration::from_millis(250);
/// The log size in bytes above which output of the system's programs is no longer logged.
const LOG: usize = 4 << 20;
const LOG_READ: u64 = 64 << 20;
/// How many runs keep their log and result.
const KEPT: usize = 20;

/// A run's exclusive hold on these files.
pub struct RunDir {
    folder: PathBuf,
    record: PathBuf,
    log: Option<File>,
    logged: AtomicUsize,
    holder: PathBuf,
    _lock: Lock,
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // A leftover names a process that is gone.
        let _left = files::remove(&self.holder);
    }
}

impl RunDir {
    pub fn take(root: &Root, run: &str, who: &str) -> Result<Self> {
        let path = root.writable(LOCK)?;
        let folder = root.writable(FOLDER)?;
        for directory in [path.parent(), Some(folder.as_path())].into_iter().flatten() {
            files::make_directory(directory)?;
        }
        for inside in [LOCK, JOURNAL] {
            believed(root, inside)?;
        }
        let run_folder = files::directory(path.parent().unwrap_or(root.path()))?;
        // `is_held` takes the lock for a moment; a run holds it for long.
        let lock = lock::take(&run_folder, &path.display().to_string(), who, PATIENCE)
            .map_err(|error| if is_held(root) { busy("this machine", &holder(root)) } else { error })?;
        let (record, holder) = (root.writable(RECORD)?, root.writable(HOLDER)?);
        files::replace(&holder, &files::read(&path, 1024)?, 0o644, Durable::Later)?;
        let mut run_dir = Self { folder, record, log: None, logged: AtomicUsize::new(0), holder, _lock: lock };
        run_dir.log = Some(append(&run_dir.log_of(run), 0o600)?);
        Ok(run_dir)
    }

    fn log_of(&self, run: &str) -> PathBuf {
        self.folder.join(format!("{run}.log"))
    }

    pub fn log(&self, event: &HostEvent) {
        let Some(mut log) = self.log.as_ref() else { return };
        let Some(line) = line(event) else { return };
        // Endless output of the system's programs must not fill the disk; our own events are few.
        let spent = self.logged.fetch_add(line.len(), Ordering::Relaxed);
        if spent > LOG && matches!(event, HostEvent::Said { .. }) {
            return;
        }
        // One write, so that concurrent readers see whole lines. A failing log must not abort a switch.
        let _lost = log.write_all(line.as_bytes());
    }

    /// Appends the last event to the log of another run that was killed and is completed now: those who follow that log
    /// wait for it.
    pub fn log_end(&self, run: &str, event: &HostEvent) {
        if let Some(line) = line(event) {
            // As in `log`.
            let _lost = add(&self.log_of(run), 0o600, &line);
        }
    }

    /// Durably writes the journal, before the step that it describes.
    ///
    /// If this fails, that step must not be done.
    pub fn write_journal(&self, bytes: &[u8]) -> Result<()> {
        files::replace(&self.folder.join("journal.json"), bytes, 0o600, Durable::Now)
    }

    /// The journal left by a run that did not end.
    pub fn journal(&self) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join("journal.json");
        if path.exists() { files::read_of_root(&path, 1 << 20).map(Some) } else { Ok(None) }
    }

    /// Removes the journal at the end of a run.
    pub fn end_journal(&self) -> Result<()> {
        files::remove(&self.folder.join("journal.json"))
    }

    /// Durably saves the result of a run.
    pub fn keep_result(&self, run: &str, result: &DeployResult) -> Result<()> {
        let text = serde_json::to_vec_pretty(&result.kept())
            .map_err(|error| Error::new(Kind::Bug, "cannot write the result of a run").because(error))?;
        files::replace(&self.folder.join(format!("{run}.json")), &text, 0o600, Durable::Now)
    }

    /// Appends a run to the record of all deploys.
    pub fn record(&self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)
            .map_err(|error| Error::new(Kind::Bug, "cannot write the record of a run").because(error))?;
        add(&self.record, 0o644, &format!("{line}\n"))
    }

    /// Removes files of old runs, but never of this one: its name may sort first when clocks differ.
    pub fn prune(&self, run: &str) {
        pruned(&self.folder, run);
    }
}

fn pruned(folder: &Path, run: &str) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of_others = |name: &String| name.starts_with("20") && !name.starts_with(&format!("{run}."));
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(of_others).collect();
    names.sort();
    let (old, kept) = names.split_at(names.len().saturating_sub(2 * KEPT));
    for name in old {
        // The next run tries again.
        let _left = files::remove(&folder.join(name));
    }
    for name in kept {
        // Versions before 0.1 made them readable by everyone.
        let _left = std::fs::set_permissions(folder.join(name), Permissions::from_mode(0o600));
    }
}

/// Anyone who can place a journal decides what root activates; anyone who can hold the lock can block every deploy.
#[cfg(target_os = "linux")]
fn believed(root: &Root, inside: &str) -> Result<()> {
    only_root(root.path(), inside).map_err(|error| {
        Error::failed(format!("what deploys keep on this machine may belong to somebody else: {}", error.in_one_line()))
            .help("see who owns it (`ls -ld`), move it away, or give it to root: `chown root:root`, `chmod go-w`")
    })
}

/// All hosts of a fleet run Linux.
#[cfg(not(target_os = "linux"))]
fn believed(_root: &Root, inside: &str) -> Result<()> {
    Err(Error::failed(format!("{inside} is kept on NixOS hosts only")))
}

fn line(event: &HostEvent) -> Option<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        at: String,
        #[serde(flatten)]
        event: &'a HostEvent,
    }
    let kept = event.kept();
    serde_json::to_string(&Line { at: now(), event: kept.as_ref().unwrap_or(event) })
        .ok()
        .map(|line| format!("{line}\n"))
}

/// The error for a held lock, naming the holder.
pub fn busy(place: &str, holder: &str) -> Error {
    Error::failed(format!("another deploy is running on {place}: {holder}"))
        .help("wait until it is done, and run this again")
}

/// The holder of the lock, for display.
pub fn holder(root: &Root) -> String {
    let text = root.text(LOCK).or_else(|| root.text(HOLDER));
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "somebody".to_owned())
}

/// The last valid line of the record.
pub fn last(root: &Root) -> Option<Record> {
    newest_first(&recorded(root)?).next()
}

/// The commit that a system was built from, if any line of the record has it: a rollback's line has none.
pub fn commit_of(root: &Root, system: &str) -> Option<String> {
    let text = recorded(root)?;
    newest_first(&text).filter(|record| record.system.as_deref() == Some(system)).find_map(|record| record.commit)
}

fn recorded(root: &Root) -> Option<String> {
    believed(root, RECORD).ok().and_then(|()| root.text(RECORD))
}

fn newest_first(text: &str) -> impl Iterator<Item = Record> {
    text.lines().rev().filter_map(|line| serde_json::from_str(line).ok())
}

/// Whether a run is in progress. Root checks the lock; other users read the holder file next to it.
pub fn is_held(root: &Root) -> bool {
    match openat(CWD, root.outside(LOCK), OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        // A shared lock, released on close.
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK),
        Err(rustix::io::Errno::ACCESS) => root.text(HOLDER).is_some_and(|text| is_at_work(root, &text)),
        Err(_) => false,
    }
}

/// Whether the process at the end of a holder's line is a running `host-run`. A killed one leaves its line behind, and
/// its pid may be reused; the name before it is free text.
fn is_at_work(root: &Root, line: &str) -> bool {
    let process = line.rsplit("process ").next().and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let number = !process.is_empty() && process.bytes().all(|b| b.is_ascii_digit());
    number && root.text(&format!("/proc/{process}/cmdline")).is_some_and(|line| line.contains("host-run"))
}

/// Whether a run was interrupted.
pub fn is_unfinished(root: &Root) -> bool {
    root.exists(JOURNAL)
}

/// The events of a run so far; `None` if there is no such run.
pub fn log(root: &Root, run: &str) -> Result<Option<Vec<HostEvent>>> {
    let path = root.outside(&log_of(run));
    if !path.exists() {
        return Ok(None);
    }
    believed(root, &log_of(run))?;
    let bytes = files::read(&path, LOG_READ)?;
    // An incomplete last line is still being written.
    Ok(Some(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()))
}

/// The result of a run; `None` if it has not ended, or is too old to be kept.
pub fn result(root: &Root, run: &str) -> Result<Option<DeployResult>> {
    let inside = format!("{FOLDER}/{run}.json");
    let path = root.outside(&inside);
    if !path.exists() {
        return Ok(None);
    }
    believed(root, &inside)?;
    let bytes = files::read(&path, 1 << 20)?;
    // The file is written atomically: the run has ended, even if the result cannot be parsed.
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(Kind::NeedsOperator, format!("{} cannot be read, and says how a run ended", path.display()))
            .because(error)
            .help("look at what runs there (`sealift generations`), then remove this file, and journal.json beside it")
    })
}

/// The newest run; `None` if there is none.
pub fn newest(root: &Root) -> Option<String> {
    let names = root.list(FOLDER).into_iter().rev();
    names.filter(|name| name.starts_with("20")).find_map(|name| name.strip_suffix(".log").map(str::to_owned))
}

/// The path of a run's log, inside the root.
pub fn log_of(run: &str) -> String {
    format!("{FOLDER}/{run}.log")
}

/// Appends a line to a file whose last line may be torn by a power cut.
fn add(path: &Path, mode: RawMode, line: &str) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let mut file = append(path, mode)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1).map_err(failed)?;
    }
    let apart = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{apart}{line}").as_bytes()).map_err(failed)?;
    // Later writes could otherwise reach the disk first.
    file.sync_data().map_err(failed)
}

fn append(path: &Path, mode: RawMode) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::from_raw_mode(mode));
    fd.map(File::from).map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

/// The current time in UTC, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deploy::protocol::{Failure, Outcome};

    #[test]
    fn what_an_older_version_left_open_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().to_owned();
        let left = folder.join("20260101T000000Z-a.json");
        files::create(&left, b"{}", 0o644).unwrap();
        pruned(&folder, "20260102T000000Z-b");
        assert_eq!(left.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_power_cut_left_of_a_line_takes_no_other_with_it() {
        let place = tempfile::tempdir().unwrap();
        for torn in ["", "{\"event\":\"no", "\0\0\0"] {
            let log = place.path().join("torn.log");
            std::fs::write(&log, format!("first\n{torn}")).unwrap();
            add(&log, 0o600, "last\n").unwrap();
            let text = std::fs::read_to_string(&log).unwrap();
            assert_eq!(text.lines().filter(|line| ["first", "last"].contains(line)).count(), 2, "{text:?}");
            assert!(text.ends_with("last\n"), "{text:?}");
        }
        add(&place.path().join("new"), 0o600, "one\n").unwrap();
        assert_eq!(std::fs::read(place.path().join("new")).unwrap(), b"one\n");
    }

    #[test]
    fn what_units_wrote_is_in_no_log() {
        let failure =
            Failure::from(&Error::failed("units failed")).with_journal(&["a.service: from its journal".to_owned()]);
        let result = DeployResult {
            outcome: Outcome::RolledBack,
            generation: None,
            running: None,
            until_reboot: false,
            failure: Some(failure),
        };
        let text = line(&HostEvent::End(result)).unwrap();
        assert!(text.contains("units failed") && !text.contains("from its journal"), "{text}");
    }

    #[test]
    fn who_is_gone_holds_nothing_whatever_its_line_says() {
        let place = tempfile::tempdir().unwrap();
        for (process, line) in [("1", "init\0"), ("7", "/run/current-system/etc/sealift/host\0host-run\0--here\0")] {
            let folder = place.path().join("proc").join(process);
            std::fs::create_dir_all(&folder).unwrap();
            files::create(&folder.join("cmdline"), line.as_bytes(), 0o644).unwrap();
        }
        let root = Root::open(place.path()).unwrap();
        let since = "since 2026-01-01T00:00:00Z";
        assert!(is_at_work(&root, &format!("jay@web, process 7, {since}")));
        for gone in [
            "jay@web, process 1, ",
            "jay@web, process 9, ",
            "process 7, x@y, process 1, ",
            "jay@web, process ../7, ",
            "",
        ] {
            assert!(!is_at_work(&root, &format!("{gone}{since}")), "{gone}");
        }
    }
}
