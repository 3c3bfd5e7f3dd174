//! Puts files into git's index, as the bytes that they are: no filter of .gitattributes runs, and git opens none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::adapters::fs::beneath::Beneath;
use crate::adapters::git::{Git, objects};
use crate::error::{Error, Result};

/// Modes of the index.
const PROGRAM: &str = "100755";
const SUBMODULE: &str = "160000";
/// How a sealed file begins.
const SEALED: &[u8] = b"age-encryption.org/";

/// Below how many new objects git makes a file of each: as one pack they take half as long.
const PACK: &str = "fastimport.unpackLimit=16";

/// What git has of files that are to be in its index.
pub struct Taken {
    /// The lines of the index.
    index: Vec<u8>,
    /// What a filter is asked for, and that was not taken.
    left: Vec<String>,
}

impl Git {
    /// Puts files and removals into the index, so that a git flake sees them.
    pub fn stage(&self, paths: &[PathBuf]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let top = Beneath::open(&self.top)?;
        let top = top.ok_or_else(|| Error::failed(format!("{} is gone", self.top.display())))?;
        let read = |path: &PathBuf| {
            let there = path.symlink_metadata().is_ok();
            there.then(|| Ok(top.read(&self.relative(path)?, usize::MAX, u64::MAX)?.0)).transpose()
        };
        let contents = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
        let contents = contents.iter().map(Option::as_deref);
        self.enter(&self.take(&paths.iter().cloned().zip(contents).collect())?)
    }

    /// Gives git the contents of files, none for one that goes. The index is not changed yet.
    pub fn take(&self, files: &BTreeMap<PathBuf, Option<&[u8]>>) -> Result<Taken> {
        // Not by `git add`: filters and line endings that .gitattributes asks for would store other bytes than were
        // sealed, and may run programs.
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for (path, content) in files {
            let name = self.relative(path)?;
            match content {
                Some(content) => there.push((name, *content)),
                None => gone.push(name),
            }
        }
        let listed = self.call().args(["ls-files", "--stage", "-z"]).read()?;
        let modes = modes(&listed);
        if let Some(other) = there.iter().map(|(name, _)| name).chain(&gone).find_map(|name| self.other(name, &modes)) {
            return Err(self.not_ours(other));
        }
        let mut filters = self.filters(there.iter().map(|(name, _)| name.as_str()))?;
        filters.retain(|name| {
            let end = format!("\t{name}").into_bytes();
            listed.split(|byte| *byte == 0).any(|record| record.ends_with(&end))
        });
        // What git has as a filter encrypts it must not lie there as it is; what is sealed, as it was sealed.
        let (left, there): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|(name, content)| filters.contains(name) && !content.starts_with(SEALED));
        let mut index = Vec::new();
        for ((name, _), object) in there.iter().zip(self.objects_of(&there)?) {
            // A program stays one. What was a link or a submodule is a file now.
            let mode = modes.get(name.as_bytes()).filter(|mode| *mode == PROGRAM).map_or("100644", String::as_str);
            index.extend_from_slice(format!("{mode} {object}\t{name}\0").as_bytes());
        }
        if !gone.is_empty() {
            let form = not_staged(self.call().args(["rev-parse", "--show-object-format"]).read())?;
            let none = "0".repeat(if form.starts_with(b"sha256") { 64 } else { 40 });
            gone.iter().for_each(|name| index.extend_from_slice(format!("0 {none}\t{name}\0").as_bytes()));
        }
        Ok(Taken { index, left: left.into_iter().map(|(name, _)| name).collect() })
    }

    /// Makes objects of contents, and names them. git gets the bytes, and opens nothing: by a path it would follow links, or
    /// be led to another file.
    fn objects_of(&self, files: &[(String, &[u8])]) -> Result<Vec<String>> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let write = |pipe| -> std::io::Result<()> {
            let mut pipe = BufWriter::new(pipe);
            for (mark, (_, content)) in files.iter().enumerate() {
                write!(pipe, "blob\nmark :{}\ndata {}\n", mark + 1, content.len())?;
                pipe.write_all(content)?;
                pipe.write_all(b"\n")?;
            }
            (1..=files.len()).try_for_each(|mark| writeln!(pipe, "get-mark :{mark}"))?;
            pipe.flush()
        };
        // Where git does not read to the end, how it ends says why.
        let ask = |pipe| drop(write(pipe));
        let mut objects = Vec::new();
        let call = self.call().args(["-c", PACK, "fast-import", "--quiet"]);
        let output = objects::records(&call, ask, b'\n', |name| {
            objects.push(String::from_utf8_lossy(name).into_owned());
            Ok(())
        });
        not_staged(output.and_then(|output| call.success(output)))?;
        if objects.len() == files.len() {
            Ok(objects)
        } else {
            Err(Error::failed("git fast-import gave an unexpected answer"))
        }
    }

    /// Puts what was taken into the index.
    pub fn enter(&self, taken: &Taken) -> Result<()> {
        let call = self.call().args(["update-index", "--add", "-z", "--index-info"]).input(taken.index.as_slice());
        not_staged(call.read())?;
        // One that git has as it is needs nothing more.
        let changed = self.changed(&taken.left)?;
        let left: Vec<&str> = taken.left.iter().map(String::as_str).filter(|name| changed.contains(*name)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let left = left.join(", ");
        Err(Error::failed(format!("{left}: .gitattributes has it filtered, and sealift runs no filter"))
            .help(format!("run `git add {left}` yourself; all else is added")))
    }

    /// Fails where a folder of this work tree is another repository's, such as a submodule.
    pub fn check_owns(&self, folder: &Path) -> Result<()> {
        let name = self.relative(folder)?;
        let listed = self.call().args(["--literal-pathspecs", "ls-files", "--stage", "-z", "--", &name]).read()?;
        self.other(&format!("{name}/"), &modes(&listed)).map_or(Ok(()), |other| Err(self.not_ours(other)))
    }

    /// The folder of another repository that a path lies in, as git tracks it or as it lies on the disk.
    fn other<'a>(&self, name: &'a str, modes: &BTreeMap<Vec<u8>, String>) -> Option<&'a str> {
        let mut folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
        folders.find(|folder| {
            modes.get(folder.as_bytes()).is_some_and(|mode| mode == SUBMODULE)
                || self.top.join(folder).join(".git").symlink_metadata().is_ok()
        })
    }

    fn not_ours(&self, folder: &str) -> Error {
        Error::usage(format!("{} is a git repository of its own, or a submodule", self.top.join(folder).display()))
            .help("a fleet is one repository: keep recipients.toml and secrets/ in the same one")
    }

    /// Those of these files that changed since git took them, by their times and sizes: what a filter makes of them is not
    /// known here.
    fn changed(&self, names: &[String]) -> Result<BTreeSet<String>> {
        if names.is_empty() {
            return Ok(BTreeSet::new());
        }
        let listed =
            self.call().args(["--literal-pathspecs", "diff-files", "--name-only", "-z", "--"]).args(names).read()?;
        Ok(String::from_utf8_lossy(&listed).split('\0').map(str::to_owned).collect())
    }

    /// Those of these files that .gitattributes gives a filter.
    pub fn filters<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>> {
        let asked = names.into_iter().fold(String::new(), |text, name| text + name + "\0");
        let told = self.call().args(["check-attr", "-z", "--stdin", "filter"]).input(asked).read()?;
        let told = String::from_utf8_lossy(&told);
        // PATH, the attribute, its value.
        let fields: Vec<&str> = told.split('\0').collect();
        let filtered = fields.chunks_exact(3).filter(|entry| !["unspecified", "unset", "set"].contains(&entry[2]));
        Ok(filtered.map(|entry| entry[0].to_owned()).collect())
    }
}

/// Adds to a failure of git how to stage by hand.
fn not_staged<T>(done: Result<T>) -> Result<T> {
    done.map_err(|error| {
        Error::failed(error.in_one_line())
            .help("nothing is lost: the files are written; run `git add secrets recipients.toml` yourself")
    })
}

/// The files that are not plain ones, with their modes, as `git ls-files --stage -z` lists them.
fn modes(listed: &[u8]) -> BTreeMap<Vec<u8>, String> {
    let entry = |record: &[u8]| {
        let at = record.iter().position(|byte| *byte == b'\t')?;
        let mode = String::from_utf8_lossy(record.get(..6)?).into_owned();
        (mode != "100644").then(|| (record.get(at + 1..).unwrap_or_default().to_vec(), mode))
    };
    listed.split(|byte| *byte == 0).filter_map(entry).collect()
}
