//! Puts files into git's index, as the bytes that they are: no filter of .gitattributes runs, and git opens none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::adapters::fs::beneath::Beneath;
use crate::adapters::git::Git;
use crate::adapters::process::Invocation;
use crate::error::{Error, Result};

/// Modes of the index.
const PROGRAM: &str = "100755";
const SUBMODULE: &str = "160000";
/// How a sealed file begins.
const SEALED: &[u8] = b"age-encryption.org/";

impl Git {
    /// Puts files and removals into the index, so that a git flake sees them.
    pub fn stage(&self, paths: &[PathBuf]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let told = |call: Invocation| {
            call.read().map_err(|error| {
                Error::failed(error.in_one_line())
                    .help("nothing is lost: the files are written; run `git add secrets recipients.toml` yourself")
            })
        };
        // Not by `git add`: filters and line endings that .gitattributes asks for would store other bytes than were
        // sealed, and may run programs.
        let (there, gone): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.symlink_metadata().is_ok());
        let names = |paths: &[&PathBuf]| paths.iter().map(|path| self.relative(path)).collect::<Result<Vec<_>>>();
        let (there, gone) = (names(&there)?, names(&gone)?);
        let listed = self.call().args(["ls-files", "--stage", "-z"]).read()?;
        let modes = modes(&listed);
        if let Some(other) = there.iter().chain(&gone).find_map(|name| self.other(name, &modes)) {
            return Err(self.not_ours(other));
        }
        let mut filters = self.filters(&there)?;
        filters.retain(|name| {
            let end = format!("\t{name}").into_bytes();
            listed.split(|byte| *byte == 0).any(|record| record.ends_with(&end))
        });
        let mut left = Vec::new();
        let top = Beneath::open(&self.top)?;
        let top = top.ok_or_else(|| Error::failed(format!("{} is gone", self.top.display())))?;
        let mut index = Vec::new();
        // git gets the bytes, and opens nothing: by a path it would follow links, or be led to another file.
        let (mut blobs, mut marks) = (Vec::new(), Vec::new());
        let mut taken = Vec::new();
        for name in &there {
            let (bytes, _) = top.read(name, usize::MAX, u64::MAX)?;
            // What git has as a filter encrypts it must not lie there as it is; what is sealed, as it was sealed.
            if filters.contains(name) && !bytes.starts_with(SEALED) {
                left.push(name.as_str());
                continue;
            }
            taken.push(name);
            let mark = taken.len();
            blobs.extend_from_slice(format!("blob\nmark :{mark}\ndata {}\n", bytes.len()).as_bytes());
            blobs.extend_from_slice(&bytes);
            blobs.push(b'\n');
            marks.extend_from_slice(format!("get-mark :{mark}\n").as_bytes());
        }
        if !taken.is_empty() {
            blobs.append(&mut marks);
            let objects = told(self.call().args(["fast-import", "--quiet"]).input(blobs))?;
            let objects = String::from_utf8_lossy(&objects);
            if objects.lines().count() != taken.len() {
                return Err(Error::failed("git fast-import gave an unexpected answer"));
            }
            for (name, object) in taken.into_iter().zip(objects.lines()) {
                // A program stays one. What was a link or a submodule is a file now.
                let mode = modes.get(name.as_bytes()).filter(|mode| *mode == PROGRAM).map_or("100644", String::as_str);
                index.extend_from_slice(format!("{mode} {object}\t{name}\0").as_bytes());
            }
        }
        if !gone.is_empty() {
            let form = told(self.call().args(["rev-parse", "--show-object-format"]))?;
            let none = "0".repeat(if form.starts_with(b"sha256") { 64 } else { 40 });
            gone.iter().for_each(|name| index.extend_from_slice(format!("0 {none}\t{name}\0").as_bytes()));
        }
        told(self.call().args(["update-index", "--add", "-z", "--index-info"]).input(index))?;
        // One that git has as it is needs nothing more.
        let changed = self.changed(&left)?;
        left.retain(|name| changed.contains(*name));
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
    fn changed(&self, names: &[&str]) -> Result<BTreeSet<String>> {
        if names.is_empty() {
            return Ok(BTreeSet::new());
        }
        let listed =
            self.call().args(["--literal-pathspecs", "diff-files", "--name-only", "-z", "--"]).args(names).read()?;
        Ok(String::from_utf8_lossy(&listed).split('\0').map(str::to_owned).collect())
    }

    /// Those of these files that .gitattributes gives a filter.
    pub fn filters(&self, names: &[String]) -> Result<BTreeSet<String>> {
        let asked = names.iter().fold(String::new(), |text, name| text + name + "\0");
        let told = self.call().args(["check-attr", "-z", "--stdin", "filter"]).input(asked).read()?;
        let told = String::from_utf8_lossy(&told);
        // PATH, the attribute, its value.
        let fields: Vec<&str> = told.split('\0').collect();
        let filtered = fields.chunks_exact(3).filter(|entry| !["unspecified", "unset", "set"].contains(&entry[2]));
        Ok(filtered.map(|entry| entry[0].to_owned()).collect())
    }
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
