//! Objects of a git repository as streams, read through one `git cat-file`, never a whole object in memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout};

use crate::adapters::process::{Invocation, Output};
use crate::error::{Error, Result};

/// The read buffer size.
const BUFFER: usize = 256 << 10;

/// git's answer for one object name.
pub enum Answer<'a> {
    /// A blob: its name and content.
    Blob(&'a str, &'a mut dyn Read),
    /// The object is not in this clone.
    Missing(&'a str),
}

/// Asks git (a call without its command) for objects by name, one per line from `ask`. `told` gets each blob and each
/// missing object; other kinds are skipped.
pub fn each(
    git: Invocation,
    ask: impl FnOnce(ChildStdin) + Send,
    mut told: impl FnMut(Answer<'_>) -> std::io::Result<()>,
) -> Result<()> {
    let call = git.args(["cat-file", "--batch", "--buffer"]);
    let (answers, output) = call.piped(ask, |pipe: &mut ChildStdout| answers(pipe, &mut told))?;
    answers.map_err(unread)?;
    call.success(output).map(drop)
}

/// Reports the type and name of every object in the repository, including unreachable ones, in the order that is
/// fastest for git.
pub fn every(git: Invocation, mut told: impl FnMut(&str, &str) -> std::io::Result<()>) -> Result<()> {
    let call = git.args([
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        "--buffer",
        "--batch-check=%(objectname) %(objecttype)",
    ]);
    let told = |line: &[u8]| match std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) {
        Some((name, kind)) => told(kind, name),
        None => Ok(()),
    };
    let output = records(&call, drop, b'\n', told)?;
    call.success(output).map(drop)
}

/// Calls `told` for each record that a git call prints, terminated by `end`; returns the output. `ask` writes its
/// input.
pub fn records(
    call: &Invocation,
    ask: impl FnOnce(ChildStdin) + Send,
    end: u8,
    mut told: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Output> {
    let read = |pipe: &mut ChildStdout| {
        let mut reader = BufReader::with_capacity(BUFFER, pipe);
        let mut record = Vec::new();
        while reader.read_until(end, &mut record)? > 0 {
            told(record.strip_suffix(&[end]).unwrap_or(&record))?;
            record.clear();
        }
        Ok(())
    };
    let (read, output) = call.piped(ask, read)?;
    read.map_err(unread)?;
    Ok(output)
}

fn unread(error: std::io::Error) -> Error {
    Error::io("cannot read what git prints", error)
}

/// Writes names for `each`. If git stops reading, its exit code shows it.
pub fn names(all: &[String]) -> impl FnOnce(ChildStdin) + use<> {
    let text = all.iter().fold(Vec::new(), |mut text, name| {
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
        text
    });
    move |mut pipe| drop(pipe.write_all(&text))
}

fn answers(pipe: impl Read, told: &mut impl FnMut(Answer<'_>) -> std::io::Result<()>) -> std::io::Result<()> {
    let broken = || std::io::Error::new(std::io::ErrorKind::InvalidData, "git cat-file gave an unexpected answer");
    let mut reader = BufReader::with_capacity(BUFFER, pipe);
    let mut head = Vec::new();
    while reader.read_until(b'\n', &mut head)? > 0 {
        let text = std::str::from_utf8(&head).map_err(|_| broken())?.trim_end();
        if let Some(name) = text.strip_suffix(" missing") {
            told(Answer::Missing(name))?;
            head.clear();
            continue;
        }
        let mut words = text.split(' ');
        let (Some(name), Some(kind), Some(size)) = (words.next(), words.next(), words.next()) else {
            return Err(broken());
        };
        let size: u64 = size.parse().map_err(|_| broken())?;
        let mut content = reader.by_ref().take(size);
        if kind == "blob" {
            told(Answer::Blob(name, &mut content))?;
        }
        // Skip the unread rest.
        std::io::copy(&mut content, &mut std::io::sink())?;
        if content.limit() > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut end = [0];
        reader.read_exact(&mut end)?;
        head.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: &[u8]) -> std::io::Result<Vec<String>> {
        let mut all = Vec::new();
        answers(answer, &mut |answer| {
            all.push(match answer {
                Answer::Missing(name) => format!("{name} is missing"),
                Answer::Blob(name, content) => {
                    // Only the first byte: the rest is skipped.
                    let mut first = [0; 1];
                    let read = content.read(&mut first)?;
                    format!("{name} {read}")
                }
            });
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn answers_are_told_apart() {
        let all = told(b"aa blob 5\na\nb c\nbb missing\ncc tree 3\nxyz\ndd blob 0\n\n").unwrap();
        assert_eq!(all, ["aa 1", "bb is missing", "dd 0"]);
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        for cut in [&b"aa blob 5\nab"[..], b"aa blob\n", b"aa blob x\n", b"aa blob 1\na"] {
            assert!(told(cut).is_err());
        }
    }
}
