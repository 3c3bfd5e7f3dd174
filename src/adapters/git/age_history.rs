//! The age files in git: the paths of each, and all names that ever had a seal. A file without a seal is checked
//! against these; that is impossible if git does not have the whole history.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use crate::adapters::age;
use crate::adapters::fs::files;
use crate::adapters::git::Git;
use crate::adapters::git::objects::{self, Answer};
use crate::domain::name::FileName;
use crate::domain::secret::age_header::{ARMOR, FILE_LIMIT, HEADER_LIMIT, Mac};
use crate::domain::secret::seal::Envelope;
use crate::error::{Error, Kind, Result};

const GRAFTS: u64 = 1 << 20;

#[derive(Debug, Default)]
pub struct AgeHistory {
    /// The paths, from the top of the work tree, where each file was committed or is staged.
    pub stood: BTreeMap<Mac, BTreeSet<String>>,
    /// The names in their seals.
    pub sealed: BTreeSet<FileName>,
}

impl AgeHistory {
    /// Reads every object, including unreachable commits, such as a dropped stash.
    pub fn of(git: &Git) -> Result<Self> {
        whole(git)?;
        let (mut names, mut commits) = (Vec::new(), Vec::new());
        objects::every(git.unaltered(), |kind, name| {
            match kind {
                "blob" => names.push(name.to_owned()),
                "commit" => commits.push(name.to_owned()),
                _ => {}
            }
            Ok(())
        })?;
        let mut history = Self::default();
        let mut files: BTreeMap<String, (Mac, Option<FileName>)> = BTreeMap::new();
        objects::each(git.unaltered(), objects::names(&names), |answer| {
            if let Answer::Blob(name, content) = answer
                && let Some(envelope) = envelope(content)?
            {
                files.insert(name.to_owned(), (envelope.mac, envelope.seal.map(|seal| seal.name)));
            }
            Ok(())
        })?;
        let mut stood = |object: &str, path: &[u8]| {
            if let Some((mac, name)) = files.get(object) {
                let path = String::from_utf8_lossy(path).into_owned();
                history.stood.entry(*mac).or_default().insert(path);
                history.sealed.extend(name.clone());
            }
        };
        if !files.is_empty() {
            committed(git, &commits, &mut stood)?;
            staged(git, &mut stood)?;
        }
        Ok(history)
    }
}

/// The envelope of an object, if it is an age file; no key is needed.
fn envelope(content: &mut dyn Read) -> std::io::Result<Option<Envelope>> {
    let mut bytes = Vec::new();
    Read::take(&mut *content, 64).read_to_end(&mut bytes)?;
    let start = bytes.trim_ascii_start();
    if start.starts_with(ARMOR) {
        content.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    } else if bytes.starts_with(b"age-encryption.org/") {
        content.take(HEADER_LIMIT as u64).read_to_end(&mut bytes)?;
    } else {
        return Ok(None);
    }
    Ok(age::envelope_of(bytes.trim_ascii_start()))
}

/// Fails if git does not have the whole, unaltered history.
fn whole(git: &Git) -> Result<()> {
    let cut =
        |why: &str, help: &str| Err(Error::new(Kind::Incomplete, format!("the history is cut ({why})")).help(help));
    if git.is_shallow()? {
        return cut("a shallow clone", "`git fetch --unshallow` brings the rest");
    }
    let grafts = git.call().args(["rev-parse", "--git-path", "info/grafts"]).read()?;
    let grafts = git.top.join(String::from_utf8_lossy(&grafts).trim_end_matches('\n'));
    if grafts.symlink_metadata().is_ok() {
        let lines = files::read(&grafts, GRAFTS).unwrap_or_else(|_| b"?".to_vec());
        if lines.split(|byte| *byte == b'\n').any(|line| !line.is_empty() && !line.starts_with(b"#")) {
            return cut("grafts", "remove them from .git/info/grafts");
        }
    }
    if !git.call().args(["for-each-ref", "--count=1", "refs/replace/"]).read()?.is_empty() {
        return cut("replaced objects", "`git replace -d` takes that back");
    }
    let listed =
        git.unaltered().args(["rev-list", "--objects", "--all", "--reflog", "--no-object-names", "--missing=print"]);
    let output = listed.run()?;
    if !output.ended.success() || output.stdout.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"?")) {
        return cut("a partial clone", "`git fetch --refetch` brings them");
    }
    Ok(())
}

/// Reports the objects in these commits, with their paths.
fn committed(git: &Git, commits: &[String], stood: &mut impl FnMut(&str, &[u8])) -> Result<()> {
    let call = git.unaltered().args(["diff-tree", "--stdin", "--no-commit-id", "-r", "-m", "--root", "--raw", "-z"]);
    let listing =
        call.args(["--no-renames", "--no-abbrev"]).input(commits.join("\n") + "\n").read().map_err(|error| {
            Error::new(Kind::Incomplete, "the history is cut: a commit of it cannot be read whole")
                .because(error.in_one_line())
                .help("`git fsck` says which; one that no branch leads to goes with `git gc --prune=now`")
        })?;
    let mut records = listing.split(|byte| *byte == 0);
    while let Some(head) = records.next() {
        // `:mode mode object object status`, then the path as a separate record.
        let Some(head) = head.strip_prefix(b":") else { continue };
        let Some(path) = records.next() else { break };
        let head = String::from_utf8_lossy(head);
        head.split(' ').skip(2).take(2).for_each(|object| stood(object, path));
    }
    Ok(())
}

/// Reports the staged objects, with their paths.
fn staged(git: &Git, stood: &mut impl FnMut(&str, &[u8])) -> Result<()> {
    for record in git.call().args(["ls-files", "--stage", "-z"]).read()?.split(|byte| *byte == 0) {
        let Some(tab) = record.iter().position(|byte| *byte == b'\t') else { continue };
        let head = String::from_utf8_lossy(&record[..tab]).into_owned();
        if let Some(object) = head.split(' ').nth(1) {
            stood(object, &record[tab + 1..]);
        }
    }
    Ok(())
}
