//! The last lines that units wrote to the journal, for the deployer; and which lines have a value of a delivered secret in them,
//! and are left out: what a program prints of its own is not carried to other machines and into the logs of CI.

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

/// How many units are told of, how many lines of each, and how many characters of a line.
const UNITS: usize = 4;
const LINES: usize = 6;
const LONGEST: usize = 300;
/// How long journald may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most delivered files that are looked at.
const FILES: usize = 4096;

/// The values that are delivered to a machine, to be kept out of what is told of it.
pub struct Delivered {
    /// Of each tree the folder of its generations, and the link to the one that is live.
    trees: [[PathBuf; 2]; 2],
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Which generations were there, and where the links led.
    seen: Vec<PathBuf>,
    /// Of all generations that were ever seen: services print older values too.
    traces: Traces,
}

impl Delivered {
    /// Those of every generation that is there, now and whenever a line is looked at.
    pub fn of(root: &Root) -> Self {
        let trees = [Tree::Ordinary, Tree::Users];
        let place = |name: &str| root.outside(&format!("/run/{name}"));
        Self { trees: trees.map(|tree| [place(tree.place()), place(tree.link())]), known: Mutex::default() }
    }

    /// The line, if no value is in it; else what is told in its place.
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
            // What begins with a dot is the status and the like, and no secret.
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

/// What stands in the place of a line with a value.
const LEFT_OUT: &str = "(a line with a value of a delivered secret is left out)";

/// The last lines of each of these units, which begin with its name. None where there is no journal to ask.
pub fn last_lines<'a>(root: &Root, units: impl Iterator<Item = &'a str>, told: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    for unit in units.filter(|unit| runs(unit)).take(UNITS) {
        let call = journalctl(root).args([&format!("--unit={unit}"), &format!("--lines={LINES}")]);
        let call = call.args(["--output=cat", "--no-pager", "--quiet"]).at_most(1 << 20).at_longest(PATIENCE);
        let Ok(output) = call.run() else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let first = last.clone().count().saturating_sub(LINES);
        // What systemd says of the unit begins with its name already.
        let named = format!("{unit}: ");
        lines.extend(last.skip(first).map(|line| {
            let line = told(line.strip_prefix(&named).unwrap_or(line));
            format!("{named}{}", cut(&one_line(&line), LONGEST))
        }));
    }
    lines
}

/// Whether it could say why it failed. A target runs nothing: it fails with a unit that is told of itself.
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
            // As far as it is complete: a line comes in between.
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
