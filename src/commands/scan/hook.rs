//! `hook`: the pre-commit hook, which scans what a commit would add. It runs before an existing hook, and can be
//! removed without a trace.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::fs::beneath;
use crate::adapters::fs::files::{self, Durable};
use crate::adapters::git::Git;
use crate::domain::policy::FILE;
use crate::error::{Error, Result};

/// The first and last of sealift's lines in a hook.
const BEGIN: &str = "# sealift: begin (`sealift hook remove` takes this away)\n";
const END: &str = "# sealift: end\n";
/// The name of an existing hook that is not a shell script, while ours replaces it.
const BEFORE: &str = "pre-commit.before-sealift";
/// The size limit of a hook, in bytes.
const LIMIT: u64 = 1 << 20;

/// The configuration entry for the pre-commit framework.
pub const ENTRY: &str = "\
- repo: local
  hooks:
    - id: sealift
      name: no plaintext in the commit
      entry: sh -c 'SEALIFT_FLEET= sealift scan --staged --quiet || [ $? -eq 11 ]'
      language: system
      always_run: true
      pass_filenames: false
";

#[derive(Debug, Serialize)]
pub struct Report {
    pub file: PathBuf,
    pub changed: bool,
    /// Whether another hook runs too.
    pub beside: bool,
}

/// Installs the hook. It calls `program` if there is no `sealift` in PATH.
pub fn install(git: &Git, root: &Path, program: &Path) -> Result<Report> {
    let folder = folder(git, root, program)?;
    let file = folder.join("pre-commit");
    let lines = lines(git, root, program);
    let written = |text: &str, beside: bool| {
        files::replace(&file, text.as_bytes(), 0o755, Durable::Now)?;
        Ok(Report { file: file.clone(), changed: true, beside })
    };
    let Ok(kind) = file.symlink_metadata() else { return written(&format!("#!/bin/sh\n{lines}"), false) };
    let there = if kind.is_file() { String::from_utf8(files::read(&file, LIMIT)?).ok() } else { None };
    match there {
        Some(text) if text.contains(BEGIN) => {
            let rest = without(&text);
            let fresh = rest.split_once('\n').map_or(rest.clone(), |(first, rest)| format!("{first}\n{lines}{rest}"));
            let beside = fresh != format!("#!/bin/sh\n{lines}");
            if fresh == text { Ok(Report { file, changed: false, beside }) } else { written(&fresh, beside) }
        }
        // The rest of a shell script runs after our lines.
        Some(text) if is_shell(&text) => {
            let end = text.find('\n').map_or(text.len(), |end| end + 1);
            let newline = if text.get(..end).is_some_and(|first| first.ends_with('\n')) { "" } else { "\n" };
            written(
                &format!(
                    "{}{newline}{lines}{}",
                    text.get(..end).unwrap_or_default(),
                    text.get(end..).unwrap_or_default()
                ),
                true,
            )
        }
        // Any other hook is renamed, and called from ours.
        _ => {
            if folder.join(BEFORE).symlink_metadata().is_ok() {
                return Err(Error::failed(format!("{} is there already", folder.join(BEFORE).display()))
                    .help("keep the hook that you want, and remove the other"));
            }
            files::rename(&file, &folder.join(BEFORE))?;
            written(&format!("#!/bin/sh\n{lines}exec \"$(dirname \"$0\")/{BEFORE}\" \"$@\"\n"), true)
        }
    }
}

/// Installs the hook only if there is none, and returns its path. An existing hook is left for the user to decide
/// about.
pub fn install_new(git: &Git, root: &Path, program: &Path) -> Result<Option<PathBuf>> {
    if folder(git, root, program)?.join("pre-commit").symlink_metadata().is_ok() {
        return Ok(None);
    }
    install(git, root, program).map(|report| Some(report.file))
}

pub fn remove(git: &Git, root: &Path, program: &Path) -> Result<Report> {
    let folder = folder(git, root, program)?;
    let file = folder.join("pre-commit");
    let text = match file.symlink_metadata() {
        Ok(kind) if kind.is_file() => String::from_utf8(files::read(&file, LIMIT)?).unwrap_or_default(),
        _ => String::new(),
    };
    if !text.contains(BEGIN) {
        return Ok(Report { file, changed: false, beside: false });
    }
    let rest = without(&text);
    if text.contains(BEFORE) && folder.join(BEFORE).symlink_metadata().is_ok() {
        files::rename(&folder.join(BEFORE), &file)?;
        return Ok(Report { file, changed: true, beside: true });
    }
    let empty = rest.lines().all(|line| line.trim().is_empty() || line.starts_with("#!"));
    if empty {
        beneath::remove(&folder, "pre-commit")?;
    } else {
        files::replace(&file, rest.as_bytes(), 0o755, Durable::Now)?;
    }
    Ok(Report { file, changed: true, beside: !empty })
}

fn is_shell(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let shell = first.rsplit(['/', ' ']).next().unwrap_or_default();
    first.starts_with("#!") && ["sh", "bash", "dash", "zsh", "ksh", "-e", "-eu"].contains(&shell)
}

/// Returns a hook without our lines.
fn without(text: &str) -> String {
    match (text.split_once(BEGIN), text.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => text.to_owned(),
    }
}

/// Returns the lines of the hook. They name the fleet, to distinguish a branch without it from a repository without a
/// fleet, and clear the environment variable that could select another fleet.
fn lines(git: &Git, root: &Path, program: &Path) -> String {
    let below = root.strip_prefix(&git.top).ok().filter(|below| !below.as_os_str().is_empty());
    let fleet = if root.join(FILE).exists() {
        format!(" --fleet {}", quoted(below.unwrap_or(Path::new("."))))
    } else {
        String::new()
    };
    format!(
        "{BEGIN}sealift=$(command -v sealift || echo {})\nSEALIFT_FLEET= \"$sealift\" scan --staged --quiet{fleet} || [ $? -eq 11 ] || exit 1\n{END}",
        quoted(program)
    )
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Returns the hooks directory. Fails if it is outside this repository, because others may share it.
fn folder(git: &Git, root: &Path, program: &Path) -> Result<PathBuf> {
    let common = git.call().args(["rev-parse", "--git-common-dir"]).read()?;
    let common = git.top.join(String::from_utf8_lossy(&common).trim_end_matches('\n'));
    // The last entry is sealift's own, which disables hooks for its git calls.
    let listed = git.call().args(["config", "--path", "--get-all", "core.hooksPath"]).read()?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let Some(named) = listed.lines().rev().nth(1).filter(|path| !path.is_empty()) else {
        return Ok(common.join("hooks"));
    };
    let folder = git.top.join(named);
    let inside = [&git.top, &common].iter().any(|above| {
        let above = std::fs::canonicalize(above).unwrap_or_else(|_| (*above).clone());
        std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone()).starts_with(above)
    });
    if inside {
        return Ok(folder);
    }
    let line = lines(git, root, program).lines().skip(1).take(2).collect::<Vec<_>>().join("; ");
    Err(Error::failed(format!("the hooks are in {} (core.hooksPath), outside of this repository", folder.display()))
        .help(format!("add this to its pre-commit: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_come_out_as_they_went_in() {
        let ours = format!("{BEGIN}x\n{END}");
        assert_eq!(without(&format!("#!/bin/sh\n{ours}echo other\n")), "#!/bin/sh\necho other\n");
        assert_eq!(without("#!/bin/sh\necho other\n"), "#!/bin/sh\necho other\n");
        assert!(
            is_shell("#!/usr/bin/env bash\n") && is_shell("#!/bin/sh -e\n") && !is_shell("#!/usr/bin/env python3\n")
        );
        assert_eq!(quoted(Path::new("/a'b")), "'/a'\\''b'");
    }
}
