//! The engine: one pass over a stream of bytes, in a buffer of fixed size, whatever the length. Each piece is held against
//! the prefilter of all rules and against the fleet's values; where something is there, the rule decides.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::domain::prefilter::{Literal, Prefilter};
use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::allow::{REMARK, Remark, remark};
use crate::domain::scan::charset::{Around, REACH};
use crate::domain::scan::encoded;
use crate::domain::scan::index::Index;
use crate::domain::scan::rule::Rule;
use crate::domain::scan::rules::{self, SEALED_VALUE};
use crate::domain::scan::source_rule::{LARGEST, PLACE, WORDS};
use crate::domain::scan::subject::{Hit, Subject};

/// How much is looked at in one go: stays in the second cache.
const PIECE: usize = 128 << 10;
/// How many times a text is decoded: base64 of base64 of base64.
const DEPTH: usize = 3;
/// How many findings of one file are kept, and how many remarks: one more allows nothing.
const MOST: usize = 1000;

/// What one stream came to.
#[derive(Clone, Debug, Default)]
pub struct ScanResult {
    /// What was found, in order.
    pub hits: Vec<Hit>,
    /// What the text says is allowed.
    pub remarks: Vec<Remark>,
    /// How many hits a remark allowed.
    pub allowed: usize,
    /// How many more were found than are kept.
    pub more: usize,
    /// Why a rule for sources could not look.
    pub unread: Option<String>,
}

/// All rules, and the values if there are any, ready to look.
pub struct Engine {
    prefilter: Prefilter,
    rules: Vec<&'static Rule>,
    values: Option<Index>,
    looked: AtomicU64,
}

/// Why values are not looked for any more in a file.
fn tired(values: &Index) -> String {
    let whose = if values.is_read { "the index" } else { "the fleet" };
    format!("nearly all of it looks like values of {whose}, which takes too long: they were not looked for to its end")
}

/// The numbers that a remark, and a word that a source is read for, have among literals.
const OF_REMARK: u16 = u16::MAX - 1;
const OF_WORD: u16 = u16::MAX - 2;

impl Engine {
    pub fn new(values: Option<Index>) -> Self {
        let mut literals = rules::literals();
        literals.push(Literal { text: REMARK, fold: false, of: OF_REMARK });
        literals.extend(WORDS.map(|text| Literal { text, fold: true, of: OF_WORD }));
        Self {
            prefilter: Prefilter::new(literals),
            rules: rules::all().collect(),
            values: values.filter(|values| !values.is_empty()),
            looked: AtomicU64::new(0),
        }
    }

    /// How many bytes were looked at so far, by whichever thread.
    pub fn looked(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }

    /// Tells which rules find something in a text that was encoded, `depth` times so far.
    fn inside(&self, text: &[u8], depth: usize, found: &mut dyn FnMut(usize)) {
        self.prefilter.each(text, 0, text.len(), |of, at| {
            let of = usize::from(of);
            let Some(rule) = self.rules.get(of) else { return };
            let around = Around { bytes: text, bare: true };
            if rule.longest(text, at).and_then(|start| rule.at(around, at, start)).is_some() {
                found(of);
            }
        });
        if depth < DEPTH {
            encoded::each(text, 0, text.len(), |_, text| self.inside(&text, depth + 1, found));
        }
    }

    /// Looks at bytes that are all at hand.
    pub fn whole(&self, subject: &Subject<'_>, bytes: &[u8]) -> Vec<Hit> {
        let mut looking = Looking::new(self, subject);
        looking.piece(bytes, 0, bytes.len());
        looking.end().hits
    }

    /// Looks at a stream to its end. The buffer is for reuse.
    pub fn stream(&self, subject: &Subject<'_>, mut from: impl Read, buffer: &mut Vec<u8>) -> io::Result<ScanResult> {
        let room = if subject.sources.is_empty() { PIECE + 2 * REACH } else { LARGEST + 2 * REACH };
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let mut looking = Looking::new(self, subject);
        let (mut filled, mut begin) = (0, 0);
        loop {
            let end = fill(&mut from, &mut buffer[..room], &mut filled)?;
            let bytes = &buffer[..filled];
            // What is near the end is looked at when more is known, unless there is no more.
            let stop = if end { filled } else { filled - REACH };
            looking.piece(bytes, begin, stop);
            self.looked.fetch_add((stop - begin) as u64, Ordering::Relaxed);
            if end {
                return Ok(looking.end());
            }
            let keep = stop - REACH;
            looking.pass(&bytes[..keep]);
            buffer.copy_within(keep..filled, 0);
            filled -= keep;
            begin = stop - keep;
        }
    }
}

/// Reads until the buffer is full or the stream ends; says whether it ended.
fn fill(from: &mut impl Read, buffer: &mut [u8], filled: &mut usize) -> io::Result<bool> {
    while *filled < buffer.len() {
        match from.read(&mut buffer[*filled..]) {
            Ok(0) => return Ok(true),
            Ok(read) => *filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// One stream, as far as it was looked at.
struct Looking<'a> {
    engine: &'a Engine,
    subject: &'a Subject<'a>,
    looked: ScanResult,
    /// Bytes and lines before the buffer, and bytes of its first line before it.
    passed: u64,
    lines: u64,
    column: u64,
    /// Where lines were counted last, in the buffer, and how many there were.
    counted: (usize, u64),
    binary: Option<bool>,
    /// Whether the values are no longer looked for.
    tired: bool,
    /// Where values without quotes are usual all the same, in order: the texts of a source's strings.
    texts: Vec<Range<usize>>,
}

impl<'a> Looking<'a> {
    fn new(engine: &'a Engine, subject: &'a Subject<'a>) -> Self {
        Self {
            engine,
            subject,
            looked: ScanResult::default(),
            passed: 0,
            lines: 0,
            column: 0,
            counted: (0, 0),
            binary: None,
            tired: false,
            texts: Vec::new(),
        }
    }

    fn piece(&mut self, bytes: &[u8], from: usize, to: usize) {
        let binary = *self.binary.get_or_insert_with(|| memchr::memchr(0, &bytes[..bytes.len().min(8192)]).is_some());
        let around = |bare| Around { bytes, bare };
        let (engine, mut found, mut worded) = (self.engine, Vec::new(), false);
        engine.prefilter.each(bytes, from, to, |of, at| match of {
            OF_WORD => worded = true,
            _ => found.push((at, of)),
        });
        if worded && (from, to) == (0, bytes.len()) {
            self.sources(bytes);
        }
        // In order, so that lines are counted once.
        found.sort_unstable();
        // Once it took too long, it would again.
        if let Some(values) = engine.values.as_ref().filter(|_| !self.tired) {
            self.tired = !values.each(bytes, from, to, |secret, at, length| {
                self.hit(bytes, &SEALED_VALUE, 0, Some(secret), at..at + length);
            });
            if self.tired {
                self.looked.unread = Some(tired(values));
            }
        }
        self.decoded(bytes, from, to);
        for (at, of) in found {
            if of == OF_REMARK {
                if self.looked.remarks.len() < MOST
                    && let Some(rule) = remark(bytes, at)
                {
                    let (line, _) = self.place(bytes, at);
                    self.looked.remarks.push(Remark { rule, line, used: false });
                }
                continue;
            }
            let Some(rule) = engine.rules.get(usize::from(of)) else { continue };
            // What has no form of its own is not looked for where bytes are random.
            if binary && rule.about.weight == Weight::Medium {
                continue;
            }
            let Some(start) = rule.longest(bytes, at) else { continue };
            let firm = self.firm(rule, bytes, at, start);
            let bare = firm.is_none() && self.subject.nameless;
            let span = if bare { rule.at(around(true), at, start) } else { firm };
            if let Some(span) = span {
                let before = self.looked.hits.len();
                self.hit(bytes, &rule.about, 2 + usize::from(of), None, span);
                self.looked.hits[before..].iter_mut().for_each(|hit| hit.bare = bare);
            }
        }
    }

    /// What a rule finds at a place, whatever the file is called.
    fn firm(&self, rule: &Rule, bytes: &[u8], at: usize, start: usize) -> Option<Range<usize>> {
        let bare = self.subject.bare && !self.subject.nameless;
        rule.at(Around { bytes, bare }, at, start).or_else(|| {
            let text = self.texts.get(self.texts.partition_point(|text| text.end <= at))?;
            let inside = text.start <= at && at + start <= text.end;
            let text = inside.then(|| bytes.get(..text.end))??;
            rule.at(Around { bytes: text, bare: true }, at, start)
        })
    }

    /// Looks at texts that are encoded in this one. What is found there stands where the encoded text does.
    fn decoded(&mut self, bytes: &[u8], from: usize, to: usize) {
        let mut inner = Vec::new();
        encoded::each(bytes, from, to, |span, text| {
            self.engine.inside(&text, 1, &mut |of| inner.push((of, span.clone())));
        });
        for (of, span) in inner {
            let Some(rule) = self.engine.rules.get(of) else { continue };
            self.hit(bytes, &rule.about, 2 + self.engine.rules.len() + of, None, span);
        }
    }

    /// Hands a source to the rules that read it as one.
    fn sources(&mut self, bytes: &[u8]) {
        if self.subject.sources.is_empty() || bytes.len() > LARGEST {
            return;
        }
        let (Ok(text), Ok(path)) = (std::str::from_utf8(bytes), std::str::from_utf8(self.subject.path)) else { return };
        for rule in self.subject.sources {
            match rule(path, text) {
                Ok(source) => {
                    for one in source.found {
                        let before = self.looked.hits.len();
                        self.hit(bytes, one.rule, 1, None, one.span);
                        // A name is written by anyone: what is itself a secret is not shown, nor what a terminal acts on.
                        let words = format!("{}\n{}", one.wording.what, one.wording.help.replace(PLACE, ""));
                        let plain = words.len() <= 800 && !words.replace('\n', "").contains(char::is_control);
                        let is_shown = plain && self.engine.whole(&Subject::nameless(), words.as_bytes()).is_empty();
                        let wording = is_shown.then(|| Box::new(one.wording));
                        self.looked.hits[before..].iter_mut().for_each(|hit| hit.wording.clone_from(&wording));
                    }
                    self.texts = source.texts;
                }
                Err(why) => self.looked.unread = Some(why),
            }
        }
    }

    fn hit(&mut self, bytes: &[u8], rule: &'static About, rank: usize, secret: Option<u32>, span: Range<usize>) {
        if self.looked.hits.len() >= MOST {
            self.looked.more += 1;
            return;
        }
        let (line, column) = self.place(bytes, span.start);
        let mut print = [0; 16];
        print.copy_from_slice(&Sha256::digest(bytes.get(span.clone()).unwrap_or_default())[..16]);
        let span = self.passed + span.start as u64..self.passed + span.end as u64;
        self.looked.hits.push(Hit { rule, secret, span, line, column, print, bare: false, wording: None, rank });
    }

    /// Line and column of a place in the buffer.
    fn place(&mut self, bytes: &[u8], at: usize) -> (u64, u64) {
        let (from, before) = if self.counted.0 <= at { self.counted } else { (0, 0) };
        let lines = before + newlines(&bytes[from..at]);
        self.counted = (at, lines);
        let column = match memchr::memrchr(b'\n', &bytes[..at]) {
            Some(end) => (at - end - 1) as u64,
            None => self.column + at as u64,
        };
        (self.lines + lines + 1, column + 1)
    }

    /// What leaves the buffer.
    fn pass(&mut self, gone: &[u8]) {
        self.passed += gone.len() as u64;
        self.lines += newlines(gone);
        self.column = match memchr::memrchr(b'\n', gone) {
            Some(end) => (gone.len() - end - 1) as u64,
            None => self.column + gone.len() as u64,
        };
        self.counted = (0, 0);
    }

    /// One finding for one place, the best rule's; and remarks, which take away what they allow.
    fn end(self) -> ScanResult {
        let mut looked = self.looked;
        looked.hits.sort_by_key(|hit| (hit.span.start, hit.rank));
        let mut kept: Vec<Hit> = Vec::with_capacity(looked.hits.len());
        for hit in std::mem::take(&mut looked.hits) {
            if let Some(last) = kept.last_mut() {
                // The lines of one key are one finding.
                let same = hit.secret.is_some() && hit.secret == last.secret && hit.line <= last.line + 1;
                if same {
                    last.span.end = last.span.end.max(hit.span.end);
                    last.line = hit.line;
                    continue;
                }
                if hit.span.start < last.span.end {
                    if hit.rank < last.rank {
                        *last = hit;
                    }
                    continue;
                }
            }
            kept.push(hit);
        }
        let remarks = &mut looked.remarks;
        let mut allowed = 0;
        kept.retain(|hit| {
            // On its own line, or on the line before.
            let remark = remarks
                .iter_mut()
                .find(|remark| remark.rule == hit.rule.id && (remark.line == hit.line || remark.line + 1 == hit.line));
            match remark {
                Some(remark) => {
                    remark.used = true;
                    allowed += 1;
                    false
                }
                None => true,
            }
        });
        looked.allowed = allowed;
        looked.hits = kept;
        looked
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scan::sample::make;
    use crate::domain::scan::source_rule::{Source, SourceFinding, Wording};
    use crate::domain::scan::variants::Gathered;
    use crate::domain::secret::plaintext::Plaintext;

    fn looked(engine: &Engine, text: &[u8]) -> ScanResult {
        engine.stream(&Subject::named(b"a.yaml"), text, &mut Vec::new()).unwrap()
    }

    #[test]
    fn a_secret_is_found_at_every_place_of_a_long_stream() {
        let engine = Engine::new(None);
        let token = make("ghp_<a36>", 3);
        let room = PIECE + 2 * REACH;
        for at in
            [0, 1, 7, PIECE - 3, PIECE + REACH - 20, PIECE + REACH, room - 41, room - 1, room, 2 * room + 5, 700_001]
        {
            let mut text = b"line\n".repeat(200_000);
            text[at..at + token.len()].copy_from_slice(token.as_bytes());
            if at > 0 {
                text[at - 1] = b' ';
            }
            text[at + token.len()] = b' ';
            let hits = looked(&engine, &text).hits;
            assert_eq!(hits.len(), 1, "at {at}");
            assert_eq!(hits[0].span, at as u64..(at + token.len()) as u64);
            assert_eq!(hits[0].line, newlines(&text[..at]) + 1, "at {at}");
            let line_start = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            assert_eq!(hits[0].column, (at - line_start + 1) as u64);
        }
    }

    #[test]
    fn a_stream_that_comes_byte_by_byte_is_the_same() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
                buffer[0] = *first;
                self.0 = rest;
                Ok(1)
            }
        }
        let text = make("a: <a10>\nkey: ghp_<a36>\n", 1);
        let hits =
            Engine::new(None).stream(&Subject::named(b"x"), Slow(text.as_bytes()), &mut Vec::new()).unwrap().hits;
        assert_eq!((hits.len(), hits[0].line, hits[0].column), (1, 2, 6));
    }

    #[test]
    fn a_value_of_the_fleet_counts_before_its_form_and_once() {
        let mut gathered = Gathered::default();
        let token = make("ghp_<a36>", 9);
        gathered.add(4, &Plaintext::take(token.clone().into_bytes()));
        let engine = Engine::new(Some(Index::new(gathered, [7; 64].into(), 7)));
        let hits = looked(&engine, format!("token: \"{token}\"\n").as_bytes()).hits;
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!((hits[0].rule.id, hits[0].secret), ("sealed-value", Some(4)));
    }

    #[test]
    fn a_source_is_handed_whole_to_its_rules_and_what_they_find_wins() {
        #[expect(clippy::unnecessary_wraps, reason = "as the type of rules says")]
        fn rule(path: &str, text: &str) -> Result<Source, String> {
            assert_eq!(path, "a.nix");
            let wording = Wording { what: String::new(), help: String::new(), named: None };
            let span = text.find("ghp_").map(|at| at..at + 40);
            let found = span.map(|span| SourceFinding { rule: &SEALED_VALUE, line: 2, span, wording });
            Ok(Source { found: found.into_iter().collect(), texts: Vec::new() })
        }
        let subject = Subject { bare: false, nameless: false, sources: &[rule], path: b"a.nix" };
        let text = make("{\n  token = \"ghp_<a36>\";\n}\n", 4);
        let hits = Engine::new(None).stream(&subject, text.as_bytes(), &mut Vec::new()).unwrap().hits;
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].rule.id, hits[0].line, hits[0].column), ("sealed-value", 2, 12));
        // Text that is no UTF-8 is looked at as bytes.
        let bytes = [text.as_bytes(), b"\xff"].concat();
        let hits = Engine::new(None).stream(&subject, bytes.as_slice(), &mut Vec::new()).unwrap().hits;
        assert_eq!(hits[0].rule.id, "github-token");
    }

    #[test]
    fn remarks_allow_and_go_stale() {
        let engine = Engine::new(None);
        let text = make("a: ghp_<a36> # ALLOW github-token revoked long ago\n# ALLOW jwt of the RFC\nb: 1\n", 2)
            .replace("ALLOW", REMARK);
        let looked = looked(&engine, text.as_bytes());
        assert!(looked.hits.is_empty() && looked.allowed == 1);
        let used: Vec<_> =
            looked.remarks.iter().map(|remark| (remark.rule.as_str(), remark.line, remark.used)).collect();
        assert_eq!(used, [("github-token", 1, true), ("jwt", 2, false)]);
        // A file of nothing else fills no memory.
        let many = "# ALLOW jwt of the RFC\n".replace("ALLOW", REMARK).repeat(MOST + 2);
        assert_eq!(self::looked(&engine, many.as_bytes()).remarks.len(), MOST);
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        let engine = Engine::new(None);
        let time = |text: &[u8]| {
            // What this thread did, not what it waited for.
            let spent = || {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                std::time::Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
            };
            let start = spent();
            looked(&engine, text);
            spent().saturating_sub(start)
        };
        // A look takes at most some hundred bytes around a start, which bounds all of them. Sixteen times the text takes
        // about sixteen times as long; what grows with its square would take 256 times.
        let size = 256 << 10;
        for unit in [
            "password=",
            "token\"token\"",
            "eyJh.eyJh.",
            "://a:b@",
            "-----BEGIN RSA PRIVATE",
            "login login ",
            "$6$$6$",
            "\\n\\n\\n",
            "ghp_ghp_",
            "==",
            "sealift:allow jwt x ",
        ] {
            let whole = unit.repeat(size / unit.len());
            let (one, all) = (time(&whole.as_bytes()[..size / 16]), time(whole.as_bytes()));
            let least = std::time::Duration::from_millis(2);
            assert!(all < one.max(least) * 100, "{unit}: {one:?} then {all:?}");
        }
    }
}
