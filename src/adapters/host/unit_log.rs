//! The last journal lines of units, for the deployer. Lines with a value of a delivered secret are left out: what
//! programs print must not carry secrets to other machines and into CI logs.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::domain::foreign::{cut, one_line};
use crate::domain::manifest::install_status::Tree;
use crate::domain::secret::age_header::VALUE_LIMIT;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::traces::Traces;

/// How many units are reported, how many lines of each, and how many characters of a line.
const UNITS: usize = 4;
const LINES: usize = 6;
const LONGEST: usize = 300;
/// The time limit of journalctl.
const PATIENCE: Duration = Duration::from_secs(10);
/// The maximum number of delivered files read.
const FILES: usize = 4096;

/// The values delivered to a machine, to keep them out of reports.
pub struct Delivered {
    /// For each tree the directory of its generations and the symlink to the live one.
    trees: [[PathBuf; 2]; 2],
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The generations and symlink targets at the last read.
    seen: Vec<PathBuf>,
    /// Of all generations seen so far: services may still print older values.
    traces: Traces,
}

impl Delivered {
    /// Covers every generation that exists now or later; re-read whenever they change.
    pub fn of(root: &Root) -> Self {
        let trees = [Tree::Ordinary, Tree::Users];
        let place = |name: &str| root.outside(&format!("/run/{name}"));
        Self { trees: trees.map(|tree| [place(tree.place()), place(tree.link())]), known: Mutex::default() }
    }

    /// The line if it contains no value, else a placeholder.
    pub fn without<'a>(&self, line: &'a str) -> &'a str {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.seen();
        if known.seen != now {
            known.seen = now;
            for value in self.values() {
                value.expose(|value| known.traces.add(value));
            }
        }
        if known.traces.are_in(line.as_bytes()) { LEFT_OUT } else { line }
    }

    fn seen(&self) -> Vec<PathBuf> {
        let there = |[folder, link]: &[PathBuf; 2]| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            entries.chain(std::fs::read_link(link).ok()).collect::<Vec<_>>()
        };
        self.trees.iter().flat_map(there).collect()
    }

    fn values(&self) -> Vec<Plaintext> {
        let mut values = Vec::new();
        let mut folders: Vec<PathBuf> = self.trees.iter().map(|[folder, _]| folder.clone()).collect();
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            // Names that start with a dot are the status and the like, not secrets.
            for entry in entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")) {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() && values.len() < FILES => {
                        values.extend(files::read_plaintext(&entry.path(), VALUE_LIMIT).ok());
                    }
                    _ => {}
                }
            }
        }
        values
    }
}

/// Replaces a line that contains a value.
const LEFT_OUT: &str = "(a line with a value of a delivered secret is left out)";

/// The last journal lines of each unit, prefixed with its name; none if there is no journal.
pub fn last_lines<'a>(root: &Root, units: impl Iterator<Item = &'a str>, told: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    for unit in units.filter(|unit| runs(unit)).take(UNITS) {
        let call = journalctl(root).args([&format!("--unit={unit}"), &format!("--lines={LINES}")]);
        let call = call.args(["--output=cat", "--no-pager", "--quiet"]).at_most(1 << 20).at_longest(PATIENCE);
        let Ok(output) = call.run() else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let first = last.clone().count().saturating_sub(LINES);
        // systemd's own lines about a unit already start with its name.
        let named = format!("{unit}: ");
        lines.extend(last.skip(first).map(|line| {
            let line = told(line.strip_prefix(&named).unwrap_or(line));
            format!("{named}{}", cut(&one_line(&line), LONGEST))
        }));
    }
    lines
}

/// Whether the unit can say why it failed. A target runs nothing: the unit that made it fail is reported itself.
fn runs(unit: &str) -> bool {
    !unit.ends_with(".target")
}

fn journalctl(root: &Root) -> Invocation {
    if root.is_machine() {
        Invocation::new("journalctl")
    } else {
        Invocation::new("chroot").arg(root.path()).arg("/run/current-system/sw/bin/journalctl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_no_reason_of_its_own() {
        assert!(runs("app.service") && runs("run-sealift.d.mount") && runs("target.service"));
        assert!(!runs("sysinit-reactivation.target"));
    }

    #[test]
    fn values_are_known_as_soon_as_they_are_delivered_and_as_long_as_anybody_may_print_them() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::open(place.path()).unwrap();
        let delivered = Delivered::of(&root);
        let told = |line: &str| delivered.without(line) == line;
        assert!(told("hunter22"));
        let deliver = |number: u64, value: &str| {
            let folder = place.path().join(format!("run/sealift.d/{number}"));
            std::fs::create_dir_all(folder.join("app")).unwrap();
            files::create(&folder.join(".status.json"), b"{\"secrets\": \"app/token\"}", 0o400).unwrap();
            // An incomplete generation is read when a line arrives.
            assert!(told("in between"));
            files::create(&folder.join("app/token"), value.as_bytes(), 0o400).unwrap();
            files::swap_link(&place.path().join("run/sealift"), &format!("sealift.d/{number}")).unwrap();
        };
        deliver(1, "hunter22");
        assert!(!told("login with hunter22") && told("it reads app/token"));
        deliver(2, "hunter33");
        std::fs::remove_dir_all(place.path().join("run/sealift.d/1")).unwrap();
        assert!(!told("login with hunter33") && !told("login with hunter22") && told("quiet"));
    }
}
