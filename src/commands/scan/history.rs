//! Scans the history: reads every blob once. Only findings are traced back to commits and paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ChildStdin;
use std::sync::Mutex;
use std::sync::mpsc;

use crate::adapters::git::Git;
use crate::adapters::git::history::{ChangedFile, changes};
use crate::adapters::git::objects::{self, Answer};
use crate::adapters::process::{Invocation, parallel};
use crate::commands::scan::scanner::{Out, Raw, Scanner, Subjected};
use crate::domain::scan::source_rule::rules_for;
use crate::domain::scan::{Engine, Place, Subject};
use crate::error::{Error, Kind, Result};

/// How many object names a reader takes at a time. Neighbours in a pack are fast to read in sequence.
const BATCH: usize = 512;

/// The largest number of Nix sources that are remembered. Their ids take a third of the memory limit of a scan.
const NAMED: usize = 1_000_000;
/// The name used for a Nix source until its paths are known.
const SOURCE: &[u8] = b"source.nix";

/// The objects that some path in the history names as a Nix source, sorted. Rules for Nix depend on the file name, and
/// objects are read without one.
#[derive(Default)]
struct Sources {
    objects: Vec<[u8; 20]>,
    /// Why the list may be incomplete.
    unknown: Option<&'static str>,
    /// How many objects of the history are missing from this clone.
    missing: usize,
}

impl Sources {
    fn of(git: &Git, range: Option<&str>) -> Self {
        let mut sources = Self::default();
        let listed = objects::records(&walk(git, range, "--object-names"), drop, b'\n', |line| {
            sources.missing += usize::from(line.starts_with(b"?"));
            let name = line.iter().position(|byte| *byte == b' ').filter(|_| !rules_for(line).is_empty());
            match name.and_then(|end| bytes_of(&line[..end])) {
                Some(_) if sources.objects.len() == NAMED => sources.unknown = Some("there are too many"),
                Some(object) => sources.objects.push(object),
                None => {}
            }
            Ok(())
        });
        if !listed.is_ok_and(|output| output.ended.success()) {
            sources.unknown = Some("git does not list the files of the history");
        }
        sources.objects.sort_unstable();
        sources
    }

    /// Returns the name used for an object until its paths are known.
    fn name_of(&self, object: &str) -> &'static [u8] {
        let known = bytes_of(object.as_bytes()).is_some_and(|object| self.objects.binary_search(&object).is_ok());
        if known { SOURCE } else { b"" }
    }
}

/// Parses the first 20 bytes of an object name.
fn bytes_of(object: &[u8]) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    for (byte, digits) in bytes.iter_mut().zip(object.get(..40)?.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Scans the whole history, or the objects added by a range of commits. Also returns how many findings no commit
/// reaches.
pub fn look(git: &Git, engine: &Engine, range: Option<&str>) -> Result<(Out, usize)> {
    let sources = Sources::of(git, range);
    let mut out = blobs(git, engine, range, &sources)?;
    if let Some(why) = sources.unknown {
        out.blind.push((b"the history".to_vec(), format!("not all of its Nix files were read as Nix: {why}")));
    }
    if git.is_shallow()? {
        let why = "it is cut (a shallow clone): `git fetch --unshallow` brings the rest";
        out.blind.push((b"the history".to_vec(), why.to_owned()));
    }
    if sources.missing > 0 {
        let (lost, how) = (sources.missing, "`git fetch --refetch` brings what is missing, `git fsck` names it");
        let why = match lost {
            1 => format!("an object is not in this clone: {how}"),
            _ => format!("{lost} objects are not in this clone: {how}"),
        };
        out.blind.push((b"the history".to_vec(), why));
    }
    let found = std::mem::take(&mut out.raw);
    let (told, unreachable) = followed(git, found, range)?;
    out.raw = told;
    Ok((out, unreachable))
}

/// Scans the blobs, with one reader per core.
fn blobs(git: &Git, engine: &Engine, range: Option<&str>, sources: &Sources) -> Result<Out> {
    let (send, receive) = mpsc::sync_channel::<Vec<u8>>(16);
    let receive = Mutex::new(receive);
    let next = || receive.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv().ok();
    let write = |mut pipe: ChildStdin| {
        while let Some(names) = next() {
            if pipe.write_all(&names).is_err() {
                // The exit status of git says why; the other readers continue.
                break;
            }
        }
    };
    let mut out = Out::default();
    std::thread::scope(|scope| -> Result<()> {
        let readers: Vec<_> = (0..parallel::threads())
            .map(|_| {
                scope.spawn(|| {
                    let mut scanner = Scanner::new(engine);
                    let ended = objects::each(git.unaltered(), write, |answer| {
                        match answer {
                            Answer::Blob(name, content) => {
                                let place = Place::History { commit: String::new() };
                                let path = sources.name_of(name);
                                scanner.content(&Subjected { path, place, object: Some(name) }, content);
                            }
                            Answer::Missing(name) => scanner.blind(name.as_bytes(), "the object is not in this clone"),
                        }
                        Ok(())
                    });
                    ended.map(|()| scanner.out)
                })
            })
            .collect();
        let mut batch = Vec::new();
        let mut count = 0;
        let mut give = |name: &str| {
            batch.extend_from_slice(name.as_bytes());
            batch.push(b'\n');
            count += 1;
            if count % BATCH == 0 {
                let closed = |_| std::io::Error::other("nobody reads objects any more");
                return send.send(std::mem::take(&mut batch)).map_err(closed);
            }
            Ok(())
        };
        let listed = match range {
            None => objects::every(git.unaltered(), |kind, name| if kind == "blob" { give(name) } else { Ok(()) }),
            Some(range) => brought(git, range, &mut give),
        };
        let _gone = send.send(batch);
        drop(send);
        let mut failed = None;
        for reader in readers {
            match reader.join().map_err(|_| Error::new(Kind::Bug, "a thread that reads objects ended"))? {
                Ok(seen) => out.add(seen),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(listed, Err)
    })?;
    Ok(out)
}

fn walk(git: &Git, range: Option<&str>, names: &str) -> Invocation {
    let call = git.unaltered().args(["rev-list", "--objects", names, "--missing=print"]);
    match range {
        None => call.args(["--all", "--"]),
        Some(range) => call.args(["--end-of-options", range, "--"]),
    }
}

/// Lists the objects that a range of commits added.
fn brought(git: &Git, range: &str, give: &mut impl FnMut(&str) -> std::io::Result<()>) -> Result<()> {
    let call = walk(git, Some(range), "--no-object-names");
    let output = objects::records(&call, drop, b'\n', |line| match std::str::from_utf8(line) {
        Ok(name) if !name.starts_with('?') => give(name),
        _ => Ok(()),
    })?;
    if output.ended.success() {
        return Ok(());
    }
    Err(Error::usage("git does not understand this range of commits")
        .because(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned())
        .help("name one as git does: `--history v1.0..HEAD`, or leave it out for everything"))
}

/// Assigns each finding the first commit that added it, and the path there.
fn followed(git: &Git, found: Vec<Raw>, range: Option<&str>) -> Result<(Vec<Raw>, usize)> {
    let objects: BTreeSet<String> = found.iter().filter_map(|raw| raw.object.clone()).collect();
    if objects.is_empty() {
        return Ok((found, 0));
    }
    // Commits are listed newest first, so the last entry is the first commit with the file. A file at several paths is
    // reported for each.
    let mut brought: BTreeMap<String, BTreeMap<Vec<u8>, String>> = BTreeMap::new();
    let told = |change: &ChangedFile<'_>| {
        if objects.contains(change.after) {
            let paths = brought.entry(change.after.to_owned()).or_default();
            paths.insert(change.path.to_vec(), change.commit.to_owned());
        }
    };
    match range {
        None => changes(git, &["--all", "--"], told)?,
        Some(range) => changes(git, &["--end-of-options", range, "--"], told)?,
    }
    let mut told = Vec::new();
    let mut unreachable = 0;
    for raw in found {
        let Some(object) = raw.object.clone() else { continue };
        match brought.get(&object) {
            Some(paths) => {
                // Now the file name is known: in source code an unquoted value does not count.
                for (path, commit) in paths.iter().filter(|(path, _)| Subject::named(path).counts(&raw.hit)) {
                    let place = Place::History { commit: commit.clone() };
                    told.push(Raw {
                        path: path.clone(),
                        place,
                        hidden: Vec::new(),
                        member: raw.member.clone(),
                        object: None,
                        hit: raw.hit.clone(),
                    });
                }
            }
            None => unreachable += 1,
        }
    }
    Ok((told, unreachable))
}
