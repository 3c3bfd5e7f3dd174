//! The last lines that units wrote to the journal, for the deployer. A line that holds a value of a delivered secret is
//! left out: what a service prints of its own is not carried to other machines and into the logs of CI.

use std::path::Path;
use std::time::Duration;

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::process::Invocation;
use crate::domain::foreign::{cut, one_line};
use crate::domain::manifest::install_status::Tree;
use crate::domain::secret::age_header::VALUE_LIMIT;
use crate::domain::secret::plaintext::Plaintext;

/// How many units are told of, how many lines of each, and how many characters of a line.
const UNITS: usize = 4;
const LINES: usize = 6;
const LONGEST: usize = 300;
/// How long journald may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most delivered files that are looked at.
const FILES: usize = 4096;
/// The fewest characters of a value that are looked for: fewer stand in any line.
const SHORTEST: usize = 5;

/// The values that are delivered to a machine, to be kept out of what is told of it.
pub struct Delivered(Vec<Plaintext>);

impl Delivered {
    /// Those of every generation that is there now.
    pub fn of(root: &Root) -> Self {
        Self(delivered(root))
    }

    /// The line, if no value is in it; else what is told in its place.
    pub fn without<'a>(&self, line: &'a str) -> &'a str {
        if self.0.iter().any(|value| value.expose(|value| holds(line.as_bytes(), value))) { LEFT_OUT } else { line }
    }
}

/// What stands in the place of a line with a value.
const LEFT_OUT: &str = "(a line with a value of a delivered secret is left out)";

/// The last lines of each of these units, which begin with its name. None where there is no journal to ask.
pub fn last_lines<'a>(root: &Root, units: impl IntoIterator<Item = &'a str>, values: &Delivered) -> Vec<String> {
    let mut lines = Vec::new();
    for unit in units.into_iter().filter(|unit| runs(unit)).take(UNITS) {
        let call = journalctl(root).args([&format!("--unit={unit}"), &format!("--lines={LINES}")]);
        let call = call.args(["--output=cat", "--no-pager", "--quiet"]).at_most(1 << 20).at_longest(PATIENCE);
        let Ok(output) = call.run() else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let first = told.clone().count().saturating_sub(LINES);
        // What systemd says of the unit begins with its name already.
        let named = format!("{unit}: ");
        lines.extend(told.skip(first).map(|line| {
            let line = values.without(line.strip_prefix(&named).unwrap_or(line));
            format!("{named}{}", cut(&one_line(line), LONGEST))
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

/// The values that are delivered now, in every generation that is there.
fn delivered(root: &Root) -> Vec<Plaintext> {
    let mut values = Vec::new();
    let mut folders =
        [Tree::Ordinary, Tree::Users].map(|tree| root.outside(&format!("/run/{}", tree.place()))).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && values.len() < FILES => values.extend(read(&entry.path())),
                _ => {}
            }
        }
    }
    values
}

fn read(path: &Path) -> Option<Plaintext> {
    files::read_plaintext(path, VALUE_LIMIT).ok()
}

/// Whether a line has a line of a value in it, or what stands behind the `=` of one.
fn holds(line: &[u8], value: &[u8]) -> bool {
    let within = |piece: &[u8]| piece.len() >= SHORTEST && line.windows(piece.len()).any(|part| part == piece);
    value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).any(|piece| {
        let behind = piece.iter().position(|byte| *byte == b'=').and_then(|at| piece.get(at + 1..));
        within(piece) || behind.is_some_and(|behind| within(behind.trim_ascii()))
    })
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
    fn a_line_with_a_value_is_known() {
        let holds = |line: &str, value: &str| holds(line.as_bytes(), value.as_bytes());
        assert!(holds("login with hunter22 failed", "hunter22\n"));
        assert!(holds("Authorization: token abcdef", "TOKEN=abcdef\n"));
        assert!(holds("key line-two", "line-one\nline-two\n"));
        assert!(!holds("listening on 80", "80"), "it would be in any line");
        assert!(!holds("", "") && !holds("quiet", "hunter22"));
    }
}
