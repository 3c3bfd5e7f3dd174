//! Scans the work tree and the index: files that git tracks or would add, and staged content that differs from the work
//! tree.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc;

use crate::adapters::git::Git;
use crate::adapters::git::objects::{self, Answer};
use crate::adapters::git::worktree::{self, Listed, Opener};
use crate::adapters::process::parallel;
use crate::commands::scan::scanner::{Out, Scanner, Subjected};
use crate::domain::scan::{Engine, Place};
use crate::error::{Error, Kind, Result};

/// How many paths a thread takes at a time.
const BATCH: usize = 32;

pub fn look(git: &Git, engine: &Engine) -> Result<Out> {
    let opener = Opener::new(&git.top)?;
    let (send, receive) = mpsc::sync_channel::<Vec<Vec<u8>>>(64);
    let receive = Mutex::new(receive);
    let mut index: Vec<(Vec<u8>, String)> = Vec::new();
    let (mut foreign, mut closed) = (Vec::new(), Vec::new());
    let mut out = Out::default();
    let mut gone = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..parallel::threads())
            .map(|_| {
                scope.spawn(|| {
                    let mut scanner = Scanner::new(engine);
                    let mut gone = Vec::new();
                    loop {
                        let next = receive.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
                        let Ok(paths) = next else { break };
                        for path in paths {
                            let at = Subjected { path: &path, place: Place::Tree, object: None };
                            if !scanner.opened(&at, opener.open(&path)) {
                                gone.push(path);
                            }
                        }
                    }
                    (scanner.out, gone)
                })
            })
            .collect();
        let mut batch = Vec::with_capacity(BATCH);
        let ended = |_| std::io::Error::other("a thread that looks at files ended");
        let listed = worktree::list(git, |listed| {
            match listed {
                Listed::Tree(path) => batch.push(path),
                Listed::Index(path, object) => index.push((path, object)),
                Listed::Foreign(path) => foreign.push(path),
                Listed::Closed(why) => closed.push((b"the work tree".to_vec(), why)),
            }
            if batch.len() >= BATCH {
                send.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).map_err(ended)?;
            }
            Ok(())
        });
        let last = send.send(batch);
        drop(send);
        for worker in workers {
            let (seen, lost) =
                worker.join().map_err(|_| Error::new(Kind::Bug, "a thread that looks at files ended"))?;
            out.add(seen);
            gone.extend(lost);
        }
        listed?;
        last.map_err(|error| Error::new(Kind::Bug, "no thread looks at files").because(error.to_string()))
    })?;
    // Files deleted from the work tree are scanned in the index. Others that vanished meanwhile were not scanned.
    let kept: BTreeSet<&[u8]> = index.iter().map(|(path, _)| path.as_slice()).collect();
    for path in gone.iter().filter(|path| !kept.contains(path.as_slice())) {
        out.blind.push((path.clone(), "it disappeared while it was being read".to_owned()));
    }
    out.blind.extend(closed);
    for path in foreign {
        out.blind.push((path, "a repository of its own (a submodule): scan it there".to_owned()));
    }
    out.add(staged_contents(git, engine, &index)?);
    Ok(out)
}

/// Scans the staged content of these paths.
pub fn staged_contents(git: &Git, engine: &Engine, index: &[(Vec<u8>, String)]) -> Result<Out> {
    let mut scanner = Scanner::new(engine);
    if index.is_empty() {
        return Ok(scanner.out);
    }
    let names: Vec<String> = index.iter().map(|(_, object)| object.clone()).collect();
    // Answers come in the order of the requests.
    let mut asked = index.iter();
    objects::each(git.call(), objects::names(&names), |answer| {
        let Some((path, object)) = asked.next() else { return Ok(()) };
        match answer {
            Answer::Blob(_, content) => {
                let at = Subjected { path, place: Place::Index, object: Some(object) };
                scanner.name(&at);
                scanner.content(&at, content);
            }
            Answer::Missing(_) => scanner.blind(path, "its content is not in this clone"),
        }
        Ok(())
    })?;
    Ok(scanner.out)
}
