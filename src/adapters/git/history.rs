//! Finds the commits that contain certain bytes. The search runs in this process, so the bytes are never an argument of
//! another: git only provides the objects, each once, in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ChildStdin;

use crate::adapters::git::Git;
use crate::adapters::git::objects::records;
use crate::adapters::signals;
use crate::domain::counted::counted;
use crate::error::Result;

/// The batch size, in bytes of objects.
const AT_ONCE: u64 = 8 << 20;
/// The maximum size of an object that is searched, in bytes.
const LARGEST: u64 = 16 << 20;
/// For how many matching objects the commits are listed.
const NAMED: usize = 64;
/// How many digits of a commit hash are shown.
const SHORT: usize = 12;

#[derive(Debug, Default)]
pub struct Traces {
    /// The commits that added or removed them, newest first, with the path of each object.
    pub commits: Vec<Trace>,
    /// The number of objects that contain them, including unreachable ones.
    pub objects: usize,
    /// The paths in HEAD that contain them.
    pub in_head: Vec<String>,
    /// What was not searched, with the reason.
    pub unseen: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Trace {
    pub commit: String,
    pub date: String,
    pub path: String,
}

/// The message for a shallow clone.
pub const SHALLOW: &str = "the history is cut (a shallow clone): `git fetch --unshallow` brings the rest";

/// Searches every object reachable from a branch, tag, stash or reflog.
pub fn search(git: &Git, holds: impl Fn(&[u8]) -> bool, mut progress: impl FnMut(usize, usize)) -> Result<Traces> {
    let mut traces = Traces::default();
    if !git.has_head()? {
        return Ok(traces);
    }
    if git.is_shallow()? {
        traces.unseen.push(SHALLOW.to_owned());
    }
    let listed =
        git.call().args(["rev-list", "--objects", "--all", "--reflog", "--no-object-names", "--missing=print"]);
    let names = String::from_utf8_lossy(&listed.read()?).into_owned();
    let (blobs, missing) = sizes(git, &names)?;
    if missing > 0 {
        traces.unseen.push(format!("{} of the history that this clone does not have", counted(missing, "object")));
    }
    let (mut at, mut found) = (0, Vec::new());
    while let Some((_, first)) = blobs.get(at) {
        signals::check()?;
        let (begun, mut bytes) = (at, *first);
        at += 1;
        while let Some((_, size)) = blobs.get(at).filter(|(_, size)| bytes + size <= AT_ONCE) {
            bytes += size;
            at += 1;
        }
        let asked: Vec<String> = blobs.iter().take(at).skip(begun).map(|(name, _)| name.clone()).collect();
        let asked: Vec<String> = if bytes > LARGEST {
            traces.unseen.push(format!("an object of {bytes} bytes in the history"));
            Vec::new()
        } else {
            asked
        };
        for (name, content) in asked.iter().zip(git.objects(&asked)?) {
            if content.is_some_and(|content| holds(&content)) {
                found.push(name.clone());
            }
        }
        progress(at, blobs.len());
    }
    traces.objects = found.len();
    traces.in_head = in_head(git, &found)?;
    let mut commits = BTreeMap::new();
    if !found.is_empty() {
        for trace in commits_of(git, &found.iter().take(NAMED).map(String::as_str).collect())? {
            commits.entry((trace.commit.clone(), trace.path.clone())).or_insert(trace);
        }
    }
    if found.len() > NAMED {
        traces.unseen.push(format!("the commits of {} that hold it", counted(found.len() - NAMED, "more object")));
    }
    traces.commits = commits.into_values().collect();
    traces.commits.sort_by(|a, b| (&b.date, &a.commit, &a.path).cmp(&(&a.date, &b.commit, &b.path)));
    Ok(traces)
}

/// The blobs among these objects with their sizes, and the number of missing objects. Nothing is fetched: a partial
/// clone would download the whole history.
fn sizes(git: &Git, names: &str) -> Result<(Vec<(String, u64)>, usize)> {
    let call = git.call().args(["cat-file", "--buffer", "--batch-check=%(objectname) %(objecttype) %(objectsize)"]);
    let answer = call.input(names.as_bytes()).read()?;
    let answer = String::from_utf8_lossy(&answer);
    let missing = answer.lines().filter(|line| line.ends_with(" missing")).count();
    let mut blobs: Vec<(String, u64)> = answer
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, kind, size) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
            (kind == "blob").then(|| (name.to_owned(), size))
        })
        .collect();
    // The reflog leads to the same object more than once.
    blobs.sort_unstable();
    blobs.dedup();
    Ok((blobs, missing))
}

/// The paths in HEAD that have one of these objects.
fn in_head(git: &Git, found: &[String]) -> Result<Vec<String>> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let tree = git.call().args(["ls-tree", "-r", "-z", "--full-tree", "HEAD"]).read()?;
    let wanted: BTreeSet<&[u8]> = found.iter().map(String::as_bytes).collect();
    let paths = tree.split(|byte| *byte == 0).filter_map(|record| {
        let (head, path) = record.split_at_checked(record.iter().position(|byte| *byte == b'\t')?)?;
        let object = head.rsplit(|byte| *byte == b' ').next()?;
        wanted.contains(object).then(|| String::from_utf8_lossy(path.get(1..).unwrap_or_default()).into_owned())
    });
    Ok(paths.collect())
}

/// A file that a commit changed relative to one of its parents.
pub struct ChangedFile<'a> {
    pub commit: &'a str,
    pub date: &'a str,
    /// The old object; zeros if there was none.
    pub before: &'a str,
    /// The new object; zeros if there is none.
    pub after: &'a str,
    /// The path from the top of the work tree.
    pub path: &'a [u8],
}

/// Reports what these commits changed, newest first. Uses plumbing commands, which ignore most of the configuration.
/// Objects are matched here, because git would fetch every blob of a partial clone before searching.
pub fn changes(git: &Git, commits: &[&str], mut told: impl FnMut(&ChangedFile<'_>)) -> Result<()> {
    let listed = git.unaltered().arg("rev-list").args(commits).read()?;
    let call = git.unaltered().args(["diff-tree", "--stdin", "-z", "-r", "-m", "--root", "--no-renames"]);
    let call = call.args(["--raw", "--no-abbrev", "--format=%H %cs"]);
    // git's exit code shows whether it read everything.
    let write = move |mut pipe: ChildStdin| drop(pipe.write_all(&listed));
    let (mut head, mut entry) = (String::new(), None::<(String, String)>);
    let output = records(&call, write, 0, |record| {
        if let Some((before, after)) = entry.take() {
            let (commit, date) = head.split_once(' ').unwrap_or_default();
            told(&ChangedFile { commit, date, before: &before, after: &after, path: record });
            return Ok(());
        }
        let text = std::str::from_utf8(record).unwrap_or_default().trim_start_matches('\n');
        match text.strip_prefix(':').map(|fields| fields.split(' ').collect::<Vec<_>>()).as_deref() {
            Some([_, _, before, after, ..]) => entry = Some(((*before).to_owned(), (*after).to_owned())),
            Some(_) => {}
            None if text.is_empty() => {}
            None => text.clone_into(&mut head),
        }
        Ok(())
    })?;
    call.success(output).map(drop)
}

/// The commits that added or removed objects.
fn commits_of(git: &Git, objects: &BTreeSet<&str>) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    changes(git, &["--all", "--reflog", "--"], |change| {
        if objects.contains(change.before) || objects.contains(change.after) {
            traces.push(Trace {
                commit: change.commit.chars().take(SHORT).collect(),
                date: change.date.to_owned(),
                path: String::from_utf8_lossy(change.path).into_owned(),
            });
        }
    })?;
    Ok(traces)
}
