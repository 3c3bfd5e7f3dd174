//! Scans files and archives: an engine, a buffer, and the results. Each thread has its own scanner; their results are
//! merged.

use std::io::{Cursor, Read};

use serde::Serialize;

use crate::adapters::git::worktree::Opened;
use crate::adapters::{archive, signals};
use crate::domain::scan::allow::Remark;
use crate::domain::scan::engine::ScanResult;
use crate::domain::scan::finding::shown;
use crate::domain::scan::{Engine, Hit, Place, Subject, Weight};

/// The largest file that is scanned; larger ones are reported.
pub const LARGEST: u64 = 4 << 30;
/// The largest number of findings kept by a scanner.
const MOST: usize = 20_000;
/// The beginning of a Git LFS pointer.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A finding before it is described.
pub struct Raw {
    pub path: Vec<u8>,
    /// The ranges of the path that must not be shown.
    pub hidden: Vec<std::ops::Range<usize>>,
    pub place: Place,
    /// The member of the archive.
    pub member: Option<String>,
    /// The git object that contains it.
    pub object: Option<String>,
    pub hit: Hit,
}

impl Raw {
    /// Returns the path without any secret found in it.
    pub fn shown_path(&self) -> String {
        let mut text = String::new();
        let mut at = 0;
        for hidden in &self.hidden {
            text += &shown(self.path.get(at..hidden.start).unwrap_or_default());
            text.push('\u{2026}');
            at = hidden.end.max(at);
        }
        text + &shown(self.path.get(at..).unwrap_or_default())
    }
}

/// Something that could not be scanned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NotRead {
    pub path: String,
    pub why: String,
}

#[derive(Default)]
pub struct Out {
    /// The number of files, objects and links.
    pub files: u64,
    pub bytes: u64,
    pub raw: Vec<Raw>,
    /// The number of findings that were not kept.
    pub more: usize,
    /// The number of findings allowed by remarks.
    pub allowed: usize,
    pub remarks: Vec<(Vec<u8>, Remark)>,
    /// What could not be scanned, and why.
    pub blind: Vec<(Vec<u8>, String)>,
}

impl Out {
    pub fn add(&mut self, other: Out) {
        let Out { files, bytes, raw, more, allowed, remarks, blind } = other;
        self.files += files;
        self.bytes += bytes;
        self.raw.extend(raw);
        self.more += more;
        self.allowed += allowed;
        self.remarks.extend(remarks);
        self.blind.extend(blind);
    }
}

pub struct Scanner<'e> {
    engine: &'e Engine,
    buffer: Vec<u8>,
    /// How many more bytes may be unpacked from the current file.
    left: u64,
    pub out: Out,
}

/// What to scan, and how to report it.
pub struct Subjected<'a> {
    pub path: &'a [u8],
    pub place: Place,
    /// Its git object, if it has one.
    pub object: Option<&'a str>,
}

impl Subjected<'_> {
    /// Returns the name for the report of a failure: in the history the object, whose paths are unknown.
    fn named(&self) -> &[u8] {
        match (&self.place, self.object) {
            (Place::History { .. }, Some(object)) => object.as_bytes(),
            _ => self.path,
        }
    }
}

impl<'e> Scanner<'e> {
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine, buffer: Vec::new(), left: 0, out: Out::default() }
    }

    /// Records what cannot be scanned.
    pub fn blind(&mut self, path: &[u8], why: impl Into<String>) {
        self.out.blind.push((path.to_vec(), why.into()));
    }

    /// Scans what was opened at a path. Returns false if nothing is there.
    pub fn opened(&mut self, at: &Subjected<'_>, what: Opened) -> bool {
        match what {
            Opened::File(_, size) if size > LARGEST => {
                self.blind(at.path, format!("it is larger than {} GiB", LARGEST >> 30));
            }
            Opened::File(file, _) => {
                self.name(at);
                self.content(at, file);
            }
            Opened::Link(target) => {
                self.name(at);
                self.content(at, target.as_slice());
            }
            Opened::Gone => return false,
            Opened::Other(why) => self.blind(at.path, why),
        }
        true
    }

    /// Scans a file name, which may contain a token.
    pub fn name(&mut self, at: &Subjected<'_>) {
        for hit in self.hits_in_name(at.path) {
            self.keep(at, None, hit);
        }
    }

    fn hits_in_name(&self, path: &[u8]) -> Vec<Hit> {
        let hits = self.engine.whole(&Subject::named(path), path);
        hits.into_iter().filter(|hit| hit.rule.weight < Weight::Medium).collect()
    }

    /// Scans streamed content. A read error is recorded, and does not fail the scan.
    pub fn content(&mut self, at: &Subjected<'_>, content: impl Read) {
        self.left = archive::UNPACKED;
        self.inside(at, None, Box::new(content), 0);
    }

    fn inside(&mut self, at: &Subjected<'_>, member: Option<&str>, content: Box<dyn Read + '_>, depth: u8) {
        // The file itself is read in full; all its archive members share the limit for unpacked bytes.
        let mut counted = Counted { inner: content, read: 0, left: if depth == 0 { u64::MAX } else { self.left } };
        let outcome = self.stream(at, member, &mut counted, depth);
        if depth > 0 {
            self.left = self.left.saturating_sub(counted.read);
        }
        self.out.files += 1;
        self.out.bytes += counted.read;
        if let Err(error) = outcome {
            let told = member.map_or_else(String::new, |member| format!("{member}: "));
            self.blind(at.named(), format!("{told}{error}"));
        }
    }

    fn stream(
        &mut self,
        at: &Subjected<'_>,
        member: Option<&str>,
        content: &mut dyn Read,
        depth: u8,
    ) -> std::io::Result<()> {
        // Enough to recognise the format.
        let mut first = [0; 64];
        let mut known = 0;
        while known < first.len() {
            match content.read(&mut first[known..]) {
                Ok(0) => break,
                Ok(read) => known += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let first = &first[..known];
        if first.starts_with(POINTER) {
            self.blind(at.named(), "a Git LFS pointer: its content is not in git");
        }
        let whole = Cursor::new(first.to_vec()).chain(content);
        if let Some(form) = archive::form(first) {
            if depth >= archive::DEPTH {
                return Err(std::io::Error::other(format!("{} inside {} others", form.name(), archive::DEPTH)));
            }
            return archive::each(form, whole, &mut |name, inner| {
                let name = match member {
                    Some(outer) => format!("{outer}/{name}"),
                    None => name.to_owned(),
                };
                self.inside(at, Some(&name), inner, depth + 1);
                if self.left == 0 { Err(too_much()) } else { Ok(()) }
            });
        }
        let subject = match member {
            Some(member) => Subject::named(member.as_bytes()),
            None if at.path.is_empty() => Subject::nameless(),
            None => Subject::named(at.path),
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let looked = self.engine.stream(&subject, whole, &mut buffer);
        self.buffer = buffer;
        self.take(at, member, looked?);
        Ok(())
    }

    fn take(&mut self, at: &Subjected<'_>, member: Option<&str>, looked: ScanResult) {
        self.out.allowed += looked.allowed;
        self.out.more += looked.more;
        if let Some(why) = looked.unread {
            self.blind(at.named(), why);
        }
        if !looked.remarks.is_empty() {
            self.out.remarks.extend(looked.remarks.into_iter().map(|remark| (at.path.to_vec(), remark)));
        }
        for hit in looked.hits {
            self.keep(at, member, hit);
        }
    }

    fn keep(&mut self, at: &Subjected<'_>, member: Option<&str>, hit: Hit) {
        if self.out.raw.len() >= MOST {
            self.out.more += 1;
            return;
        }
        let hidden = self
            .hits_in_name(at.path)
            .into_iter()
            .filter_map(|hit| Some(usize::try_from(hit.span.start).ok()?..usize::try_from(hit.span.end).ok()?));
        self.out.raw.push(Raw {
            hidden: hidden.collect(),
            path: at.path.to_vec(),
            place: at.place.clone(),
            member: member.map(str::to_owned),
            object: at.object.map(str::to_owned),
            hit,
        });
    }
}

struct Counted<R> {
    inner: R,
    read: u64,
    left: u64,
}

fn too_much() -> std::io::Error {
    std::io::Error::other(format!("it is more than {} MiB unpacked", archive::UNPACKED >> 20))
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // Not the kind `Interrupted`, on which callers retry. The scan itself reports the interrupt.
        if signals::pending() {
            return Err(std::io::Error::other("interrupted"));
        }
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > self.left { Err(too_much()) } else { Ok(read) }
    }
}
