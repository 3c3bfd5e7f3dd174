//! Scans what the next commit would add: staged content, without findings that HEAD already has in the same file. A
//! secret committed long ago must not block an unrelated commit; the full scan reports it.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapters::git::Git;
use crate::adapters::git::objects::{self, Answer};
use crate::commands::scan::scanner::{Out, Scanner, Subjected};
use crate::commands::scan::tree::staged_contents;
use crate::domain::scan::{Engine, Place};
use crate::error::Result;

pub fn look(git: &Git, engine: &Engine) -> Result<Out> {
    // Before the first commit everything is new.
    let before = if git.has_head()? {
        "HEAD".to_owned()
    } else {
        let empty = git.call().args(["hash-object", "-t", "tree", "--stdin"]).read()?;
        String::from_utf8_lossy(&empty).trim().to_owned()
    };
    let call = git.call().args(["diff-index", "--cached", "--raw", "-z", "-r", "--no-abbrev", "-M100%"]);
    let call = call.args(["--diff-filter=ACMRTU", &before, "--"]);
    let mut index = Vec::new();
    let mut before: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut foreign = Vec::new();
    let listing = call.read()?;
    let mut records = listing.split(|byte| *byte == 0);
    while let Some(head) = records.next() {
        // `:mode mode object object status`, then the path, and the new path after a rename.
        let Some(words) = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(':')) else { continue };
        let words: Vec<&str> = words.split(' ').collect();
        let [_, mode, old, new, status] = words[..] else { continue };
        let mut path = records.next().unwrap_or_default();
        if status.starts_with(['R', 'C']) {
            path = records.next().unwrap_or_default();
        }
        if mode == "160000" {
            foreign.push(path.to_vec());
        } else if new.bytes().any(|byte| byte != b'0') {
            index.push((path.to_vec(), new.to_owned()));
            if old.bytes().any(|byte| byte != b'0') {
                before.insert(path.to_vec(), old.to_owned());
            }
        }
    }
    let mut out = staged_contents(git, engine, &index)?;
    known_before(git, engine, &mut out, &before)?;
    for path in foreign {
        out.blind.push((path, "a submodule: scan it there".to_owned()));
    }
    Ok(out)
}

/// Removes findings that the same file had before.
fn known_before(git: &Git, engine: &Engine, out: &mut Out, before: &BTreeMap<Vec<u8>, String>) -> Result<()> {
    let found: BTreeSet<&[u8]> = out.raw.iter().map(|raw| raw.path.as_slice()).collect();
    let (paths, names): (Vec<&Vec<u8>>, Vec<String>) = before
        .iter()
        .filter(|(path, _)| found.contains(path.as_slice()))
        .map(|(path, object)| (path, object.clone()))
        .unzip();
    if names.is_empty() {
        return Ok(());
    }
    let mut scanner = Scanner::new(engine);
    let mut asked = paths.into_iter();
    objects::each(git.call(), objects::names(&names), |answer| {
        if let (Some(path), Answer::Blob(_, content)) = (asked.next(), answer) {
            scanner.content(&Subjected { path, place: Place::Index, object: None }, content);
        }
        Ok(())
    })?;
    let known: BTreeSet<(Vec<u8>, &str, [u8; 16])> =
        scanner.out.raw.iter().map(|raw| (raw.path.clone(), raw.hit.rule.id, raw.hit.print)).collect();
    out.raw.retain(|raw| !known.contains(&(raw.path.clone(), raw.hit.rule.id, raw.hit.print)));
    Ok(())
}
