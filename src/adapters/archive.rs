//! The content of compressed files and archives, streamed with limits: a small file that unpacks endlessly stops at the
//! limit and is reported as not fully read. A tar archive needs no reader: its members are stored uncompressed. Zip is
//! parsed here from the start: the zip crate needs the directory at the end, which a stream does not have yet.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};

use crate::domain::guarded::guarded;

/// How deeply nested members are read.
pub const DEPTH: u8 = 3;
/// The maximum number of bytes unpacked from one file.
pub const UNPACKED: u64 = 1 << 30;
/// The maximum window size for unpacking, in bytes.
const WINDOW: u32 = 16 << 20;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Gzip,
    Zstd,
    Xz,
    Zip,
    /// Recognized, but not supported.
    Other(&'static str),
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::Gzip => "gzip",
            Form::Zstd => "zstd",
            Form::Xz => "xz",
            Form::Zip => "zip",
            Form::Other(name) => name,
        }
    }
}

/// The format of a file that starts with these bytes; `None` if it is not compressed.
pub fn form(first: &[u8]) -> Option<Form> {
    let forms: [(&[u8], Form); 8] = [
        (b"\x1f\x8b\x08", Form::Gzip),
        (b"\x28\xb5\x2f\xfd", Form::Zstd),
        (b"\xfd7zXZ\x00", Form::Xz),
        (b"PK\x03\x04", Form::Zip),
        (b"BZh", Form::Other("bzip2")),
        (b"7z\xbc\xaf\x27\x1c", Form::Other("7z")),
        (b"Rar!\x1a\x07", Form::Other("rar")),
        (b"\x04\x22\x4d\x18", Form::Other("lz4")),
    ];
    let found = forms.into_iter().find(|(start, _)| first.starts_with(start)).map(|(_, form)| form)?;
    // Text may start with these characters.
    let is_text = found == Form::Other("bzip2") && first.get(4..10) != Some(b"\x31\x41\x59\x26\x53\x59");
    (!is_text).then_some(found)
}

/// Gets each member's name and content; an error ends the reading.
pub type Member<'a> = dyn FnMut(&str, Box<dyn Read + '_>) -> Result<()> + 'a;

/// Calls `tell` for each member; a compressed file has one, named `content`.
pub fn each(form: Form, from: impl Read, tell: &mut Member<'_>) -> Result<()> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidData, format!("its {} is damaged: {error}", form.name()))
    };
    let mut from = BufReader::with_capacity(64 << 10, from);
    match form {
        Form::Gzip => one(flate2::bufread::MultiGzDecoder::new(from), form, tell),
        Form::Zstd => {
            while !from.fill_buf()?.is_empty() {
                if zstd_window(from.fill_buf()?).is_some_and(|window| window > u64::from(WINDOW)) {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("its zstd needs more than {} MiB to be unpacked", WINDOW >> 20),
                    ));
                }
                let frames = &mut from;
                let decoder = guarded(move || ruzstd::decoding::StreamingDecoder::new(frames))
                    .ok_or_else(|| damaged(&"it cannot be unpacked"))?
                    .map_err(|error| damaged(&error))?;
                one(decoder, form, tell)?;
            }
            Ok(())
        }
        Form::Xz => one(lzma_rust2::XzReader::new_mem_limit(from, true, WINDOW >> 10), form, tell),
        Form::Zip => zip(&mut from, tell),
        Form::Other(name) => {
            Err(Error::new(ErrorKind::Unsupported, format!("it is {name}, which is not unpacked here")))
        }
    }
}

/// The window size of a zstd frame, from its header.
fn zstd_window(head: &[u8]) -> Option<u64> {
    let (descriptor, next) = (*head.get(4)?, u32::from(*head.get(5)?));
    if descriptor & 0x20 != 0 {
        // Single segment: the window is the content size, stored in 1, 2, 4 or 8 bytes.
        let bytes = head.get(5..)?;
        return Some(match descriptor >> 6 {
            0 => u64::from(*bytes.first()?),
            1 => u64::from(u16::from_le_bytes(bytes.first_chunk().copied()?)),
            2 => u64::from(u32::from_le_bytes(bytes.first_chunk().copied()?)),
            _ => u64::from_le_bytes(bytes.first_chunk().copied()?),
        });
    }
    let base = 1u64 << (10 + (next >> 3));
    Some(base + base / 8 * u64::from(next & 7))
}

/// Passes on one stream, and returns what stopped it.
fn one(from: impl Read, form: Form, tell: &mut Member<'_>) -> Result<()> {
    let mut limited = Limited { inner: from, left: UNPACKED, form, stopped: None };
    tell(&format!("{} content", form.name()), Box::new(&mut limited))?;
    limited.stopped.map_or(Ok(()), Err)
}

/// Ends at the limit, and remembers why it stopped.
struct Limited<R> {
    inner: R,
    left: u64,
    form: Form,
    stopped: Option<Error>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.stopped.is_some() {
            return Ok(0);
        }
        let read = guarded(|| self.inner.read(buffer));
        match read.unwrap_or_else(|| Err(Error::new(ErrorKind::InvalidData, "it cannot be unpacked"))) {
            Ok(read) if read as u64 > self.left => {
                self.stopped = Some(Error::other(format!(
                    "its {} is more than {} MiB unpacked",
                    self.form.name(),
                    UNPACKED >> 20
                )));
                Ok(usize::try_from(self.left).unwrap_or(0).min(read))
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            // The part read so far is still used; the error is returned afterwards.
            Err(error) => {
                self.stopped = Some(Error::new(error.kind(), format!("its {} is damaged: {error}", self.form.name())));
                Ok(0)
            }
        }
    }
}

/// The members of a zip archive, in stream order: each has its own header.
fn zip(from: &mut impl BufRead, tell: &mut Member<'_>) -> Result<()> {
    let damaged = || Error::new(ErrorKind::InvalidData, "its zip is damaged");
    loop {
        let mut signature = [0; 4];
        match from.read_exact(&mut signature) {
            Ok(()) if signature == *b"PK\x03\x04" => {}
            // The central directory, or a record before it.
            Ok(()) if signature.starts_with(b"PK") => return Ok(()),
            _ => return Err(damaged()),
        }
        let mut head = [0; 26];
        from.read_exact(&mut head)?;
        let two = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let four = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (flags, method, packed) = (two(2), two(4), u64::from(four(14)));
        let mut name = vec![0; usize::from(two(22))];
        from.read_exact(&mut name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        std::io::copy(&mut from.by_ref().take(u64::from(two(24))), &mut std::io::sink())?;
        let (encrypted, sized_later) = (flags & 1 != 0, flags & 8 != 0);
        let refuse =
            |what: &str| Error::new(ErrorKind::Unsupported, format!("{name} is {what}, and is not unpacked here"));
        if encrypted {
            return Err(refuse("encrypted"));
        }
        if packed == u64::from(u32::MAX) {
            return Err(refuse("a zip64 member"));
        }
        match method {
            0 if sized_later => return Err(refuse("of unknown size")),
            0 => {
                let mut member = from.by_ref().take(packed);
                tell(&name, Box::new(&mut member))?;
                std::io::copy(&mut member, &mut std::io::sink())?;
            }
            8 => {
                let mut member = Limited {
                    inner: flate2::bufread::DeflateDecoder::new(&mut *from),
                    left: UNPACKED,
                    form: Form::Zip,
                    stopped: None,
                };
                tell(&name, Box::new(&mut member))?;
                std::io::copy(&mut member, &mut std::io::sink())?;
                if let Some(error) = member.stopped {
                    return Err(error);
                }
            }
            _ => return Err(refuse("packed in another way")),
        }
        if sized_later {
            // A data descriptor follows, with or without a signature.
            let mut record = [0; 4];
            from.read_exact(&mut record)?;
            let rest = if record == *b"PK\x07\x08" { 12 } else { 8 };
            std::io::copy(&mut from.by_ref().take(rest), &mut std::io::sink())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form, bytes: &[u8]) -> Result<String> {
        let mut all = String::new();
        each(form, bytes, &mut |_, mut content| content.read_to_string(&mut all).map(drop))?;
        Ok(all)
    }

    #[test]
    fn zstd_frames_are_read_one_after_the_other_and_within_memory() {
        let frame = |text: &str| {
            ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
        };
        let two = [frame("one "), frame("two")].concat();
        assert_eq!(form(&two), Some(Form::Zstd));
        assert_eq!(text(Form::Zstd, &two).unwrap(), "one two");
        assert!(text(Form::Zstd, &two[..two.len() - 2]).is_err());
        // A window of 128 MiB, and a single segment of 4 GiB.
        for head in [&b"\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00"[..], b"\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x01\x00\x00"]
        {
            assert!(text(Form::Zstd, head).unwrap_err().to_string().contains("more than 16 MiB"));
        }
    }

    #[test]
    fn what_only_begins_alike_is_plain() {
        assert_eq!(form(b"BZhow are you, friend?"), None);
        assert_eq!(form(b""), None);
        assert_eq!(form(b"PK\x05\x06"), None);
    }

    #[test]
    fn a_failure_for_a_member_ends_it() {
        let stop = &mut |_: &str, _: Box<dyn Read + '_>| Err(Error::other("enough"));
        let frame = ruzstd::encoding::compress_to_vec(&b"x"[..], ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(each(Form::Zstd, frame.as_slice(), stop).unwrap_err().to_string(), "enough");
    }
}
