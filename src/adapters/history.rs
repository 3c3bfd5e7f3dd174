//! Which commits hold some bytes. They are looked for in this process and are never an argument of another one: git hands
//! over objects, each once, a few at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::git::Git;
use super::signals;
use crate::error::Result;

/// How many bytes of objects are asked for at once.
const AT_ONCE: u64 = 8 << 20;
/// The largest object that is looked into.
const LARGEST: u64 = 16 << 20;
/// How many of the objects that hold it are named with their commits.
const NAMED: usize = 64;

/// Where some bytes were found.
#[derive(Debug, Default)]
pub struct Traces {
    /// The commits that brought them or took them away, newest first, with the path that each object has.
    pub commits: Vec<Trace>,
    /// How many objects hold them, in commits or only kept by git for a while.
    pub objects: usize,
    /// The files of the last commit that hold them.
    pub in_head: Vec<String>,
    /// What was not looked at, and why.
    pub unseen: Vec<String>,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Trace {
    /// Its short name.
    pub commit: String,
    /// The day of it.
    pub date: String,
    /// The file.
    pub path: String,
}

/// Looks through every object that any branch, tag, stash or log of git leads to.
///
/// # Errors
/// When git fails.
pub fn search(git: &Git, holds: impl Fn(&[u8]) -> bool, mut progress: impl FnMut(usize, usize)) -> Result<Traces> {
    let mut traces = Traces::default();
    if !git.has_head()? {
        return Ok(traces);
    }
    if git.call().args(["rev-parse", "--is-shallow-repository"]).read()?.starts_with(b"true") {
        traces.unseen.push("the history is shallow: older commits are not here".to_owned());
    }
    let listed =
        git.call().args(["rev-list", "--objects", "--all", "--reflog", "--no-object-names", "--missing=print"]);
    let names = String::from_utf8_lossy(&listed.read()?).into_owned();
    let (blobs, missing) = sizes(git, &names)?;
    if missing > 0 {
        traces.unseen.push(format!("{missing} objects of the history that this clone does not have"));
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
    for object in found.iter().take(NAMED) {
        for trace in commits_of(git, object)? {
            commits.entry((trace.commit.clone(), trace.path.clone())).or_insert(trace);
        }
    }
    if found.len() > NAMED {
        traces.unseen.push(format!("the commits of {} more objects that hold it", found.len() - NAMED));
    }
    traces.commits = commits.into_values().collect();
    traces.commits.sort_by(|a, b| (&b.date, &a.commit, &a.path).cmp(&(&a.date, &b.commit, &b.path)));
    Ok(traces)
}

/// The files among objects, with their sizes; and how many objects are not here. None is fetched: a partial clone would
/// bring the whole past over the network.
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
    // The log of git leads to the same object more than once.
    blobs.sort_unstable();
    blobs.dedup();
    Ok((blobs, missing))
}

/// The paths of the last commit under which objects lie.
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

/// The commits that brought an object or took it away.
fn commits_of(git: &Git, object: &str) -> Result<Vec<Trace>> {
    let find = format!("--find-object={object}");
    let call = git.changes(&["--all", "--reflog", "--"], "%x01%h %cs", &["--name-only", &find])?;
    let text = String::from_utf8_lossy(&call.read()?).into_owned();
    let mut traces = Vec::new();
    for record in text.split('\u{1}').skip(1) {
        let mut parts = record.split(['\0', '\n']).filter(|part| !part.is_empty());
        let Some((commit, date)) = parts.next().and_then(|head| head.split_once(' ')) else { continue };
        let trace = |path: &str| Trace { commit: commit.to_owned(), date: date.to_owned(), path: path.to_owned() };
        traces.extend(parts.map(trace));
    }
    Ok(traces)
}
