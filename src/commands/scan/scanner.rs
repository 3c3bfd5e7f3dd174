//! One pair of eyes: an engine, a buffer, and what was seen. Each thread has its own; what they saw is put together.

use std::io::{Cursor, Read};

use serde::Serialize;

use crate::adapters::git::worktree::Opened;
use crate::adapters::{archive, signals};
use crate::domain::scan::allow::Remark;
use crate::domain::scan::engine::ScanResult;
use crate::domain::scan::finding::shown;
use crate::domain::scan::{Engine, Hit, Place, Subject, Weight};

/// The largest file that is looked at; larger ones are listed.
pub const LARGEST: u64 = 4 << 30;
/// How many findings are kept in all.
const MOST: usize = 20_000;
/// How a Git LFS pointer begins.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A finding before it is told.
pub struct Raw {
    pub path: Vec<u8>,
    /// What in the path itself must not be shown.
    pub hidden: Vec<std::ops::Range<usize>>,
    pub place: Place,
    /// What is inside the file.
    pub member: Option<String>,
    /// The object of git that it is in.
    pub object: Option<String>,
    pub hit: Hit,
}

impl Raw {
    /// The path, without what was found in it.
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

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NotRead {
    pub path: String,
    pub why: String,
}

#[derive(Default)]
pub struct Out {
    /// How many files, objects and links.
    pub files: u64,
    pub bytes: u64,
    pub raw: Vec<Raw>,
    /// How many more there are.
    pub more: usize,
    /// How many a remark allows.
    pub allowed: usize,
    pub remarks: Vec<(Vec<u8>, Remark)>,
    /// What could not be looked at, and why.
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
    /// How much more may be unpacked of the file that is looked at.
    left: u64,
    pub out: Out,
}

/// What is looked at, and how it is reported.
pub struct Subjected<'a> {
    pub path: &'a [u8],
    pub place: Place,
    /// Its object, where git has one.
    pub object: Option<&'a str>,
}

impl Subjected<'_> {
    /// As it is told where it could not be looked at: of the history the object, since its paths are not known.
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

    /// Notes what cannot be looked at.
    pub fn blind(&mut self, path: &[u8], why: impl Into<String>) {
        self.out.blind.push((path.to_vec(), why.into()));
    }

    /// Looks at what is at a path. False where nothing is there.
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

    /// Looks at a name: a token may stand in it.
    pub fn name(&mut self, at: &Subjected<'_>) {
        for hit in self.hits_in_name(at.path) {
            self.keep(at, None, hit);
        }
    }

    fn hits_in_name(&self, path: &[u8]) -> Vec<Hit> {
        let hits = self.engine.whole(&Subject::named(path), path);
        hits.into_iter().filter(|hit| hit.rule.weight < Weight::Medium).collect()
    }

    /// Looks at content that is streamed. A failure to read is no failure of the scan: the file was not looked at.
    pub fn content(&mut self, at: &Subjected<'_>, content: impl Read) {
        self.left = archive::UNPACKED;
        self.inside(at, None, Box::new(content), 0);
    }

    fn inside(&mut self, at: &Subjected<'_>, member: Option<&str>, content: Box<dyn Read + '_>, depth: u8) {
        // Of a file itself all is read; what is inside shares what may be unpacked.
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
        // Enough to tell what it is.
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
        // Of another kind than Interrupted, which means to try again. The run ends with its own words.
        if signals::pending() {
            return Err(std::io::Error::other("interrupted"));
        }
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > self.left { Err(too_much()) } else { Ok(read) }
    }
}
