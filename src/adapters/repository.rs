//! A fleet on disk: recipients.toml and `secrets/`. Read without any key, changed only through the journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::adapters::age::armor;
use crate::adapters::fs::beneath::Beneath;
use crate::adapters::fs::changes::Changes;
use crate::adapters::fs::files::{self, DIRECTORY};
use crate::adapters::fs::owner::{self, Owner};
use crate::adapters::fs::transaction::Journal;
use crate::adapters::git::{Git, LazyGit};
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::domain::migrate::agenix;
use crate::domain::name::FileName;
use crate::domain::policy::edit::public_path;
use crate::domain::policy::{self, Policy, parse};
use crate::domain::secret::age_header::{ARMOR, FILE_LIMIT, Fault, HEADER_LIMIT};
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::seal::Envelope;
use crate::error::{Error, Kind, Result};

/// The maximum size of a policy that is read for shell completion, in bytes: larger ones would cause a noticeable
/// delay.
const GLANCE: u64 = 512 << 10;

const PUBLIC_LIMIT: u64 = 64 << 10;

/// A fleet whose policy was read.
pub struct Fleet {
    pub root: PathBuf,
    pub text: String,
    pub policy: Policy,
    pub git: LazyGit,
}

impl Fleet {
    /// Finds the fleet that contains a directory.
    pub fn find(directory: &Path) -> Result<PathBuf> {
        let here = std::fs::canonicalize(directory)
            .map_err(|error| Error::usage(format!("there is no directory {}", directory.display())).because(error))?;
        files::enclosing(&here, policy::FILE).map(Path::to_owned).ok_or_else(|| {
            Error::usage(format!("there is no fleet here: no {} in {} or above", policy::FILE, here.display()))
                .help("make one with `sealift init`, or name it with `--fleet DIR`")
        })
    }

    /// Reads the fleet in this directory. A fleet of another user, who could have put it above the working directory,
    /// is refused as git refuses a repository: it decides which machines are reached and what values are sealed to.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(policy::FILE);
        if let Some(owner) = stranger(root) {
            Git::find(root)?.ok_or_else(|| {
                Error::failed(format!("the fleet in {} belongs to user {owner}", root.display()))
                    .help("work as that user; or copy it, if you trust who wrote it")
            })?;
        }
        let bytes = files::read(&path, parse::LIMIT).map_err(|error| error.of_kind(Kind::Usage))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::usage(format!("{} is not UTF-8 text", policy::FILE)))?;
        let policy = parse::parse(&text)?;
        Ok(Self { root: root.to_owned(), text, policy, git: LazyGit::of(root) })
    }

    /// The policy of the fleet that contains a directory, for shell completion: starts no program, and ignores errors.
    pub fn glance(directory: &Path) -> Option<Policy> {
        let root = Self::find(directory).ok().filter(|root| stranger(root).is_none())?;
        let bytes = files::read(&root.join(policy::FILE), GLANCE).ok()?;
        parse::parse(std::str::from_utf8(&bytes).ok()?).ok()
    }

    /// The git repository that contains it.
    pub fn git(&self) -> Result<Git> {
        self.git.get()
    }

    /// Takes the lock on this fleet, and completes an interrupted change, whose paths `finished` gets. Reads the fleet
    /// again if its policy has changed.
    pub fn lock(&mut self, finished: impl FnOnce(&[String])) -> Result<(Git, Journal)> {
        let git = self.git()?;
        git.check_owns(&self.root.join("secrets"))?;
        let (journal, paths) = Journal::open(&self.root, &git.place_of(&self.root)?)?;
        if let Some(paths) = &paths {
            finished(paths);
            // `check` reports what could not be staged.
            let _untold = git.stage(&paths.iter().map(|path| self.root.join(path)).collect::<Vec<_>>());
        }
        // What was read before taking the lock may be out of date.
        let text = files::read(&self.root.join(policy::FILE), parse::LIMIT)?;
        if text != self.text.as_bytes() {
            *self = Self::open(&self.root)?;
        }
        Ok((git, journal))
    }

    /// Carries out a change of the fleet's files and stages it together with the policy that it follows: Nix does not
    /// see untracked files, and neither may be committed without the other.
    ///
    /// If this fails, nothing was changed, or the next run completes the change (`Partial`). A failure to stage is not a
    /// failure of the change: `Ok(Some(why))`.
    pub fn commit(&self, git: &Git, journal: &Journal, changes: &Changes) -> Result<Option<Error>> {
        signals::check()?;
        if changes.is_empty() {
            return Ok(None);
        }
        let changed = changes.0.iter().map(|change| (self.root.join(&change.path), change.after.as_deref()));
        let mut files: BTreeMap<PathBuf, Option<&[u8]>> = changed.collect();
        files.entry(self.root.join(policy::FILE)).or_insert(Some(self.text.as_bytes()));
        // git stores the contents while the files are synced to disk. They enter the index only after the change.
        let (done, taken) = std::thread::scope(|scope| {
            let taken = scope.spawn(|| git.take(&files));
            (journal.commit(changes), taken.join())
        });
        done?;
        let taken = taken.map_err(|_| Error::new(Kind::Bug, "a thread that gives git the files ended"))?;
        Ok(taken.and_then(|taken| git.enter(&taken)).err())
    }

    /// The content of a sealed file; `None` if it does not exist.
    pub fn sealed(&self, file: &FileName) -> Result<Option<Vec<u8>>> {
        let Some(secrets) = Beneath::open(&self.root.join("secrets"))? else { return Ok(None) };
        let name = format!("{file}.age");
        if self
            .root
            .join("secrets")
            .join(&name)
            .symlink_metadata()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let limit = usize::try_from(FILE_LIMIT).unwrap_or(usize::MAX);
        secrets.read(&name, limit, FILE_LIMIT).map(|(bytes, _)| Some(bytes))
    }

    /// The public half of a generated key pair, next to its sealed file; `None` if it does not exist.
    pub fn public_half(&self, file: &FileName) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(public_path(file));
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        files::read(&path, PUBLIC_LIMIT).map(Some)
    }

    pub fn inventory(&self) -> Result<Inventory> {
        inventory(&self.root)
    }
}

/// The owner's uid if the fleet belongs neither to us nor to root, who can do anything anyway.
fn stranger(root: &Path) -> Option<u32> {
    // Inside a build, the store's owner is unknown.
    let asked = !root.starts_with("/nix/store");
    asked.then(|| owner::stranger([root, &root.join(policy::FILE)], Owner::RootOrUs)).flatten()
}

/// Reads the headers of all sealed files of the fleet in this directory, without its policy.
///
/// Fails if `secrets/` itself cannot be read; problems of single files are in the inventory.
pub fn inventory(root: &Path) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    let Some(secrets) = Beneath::open(&root.join("secrets"))? else { return Ok(inventory) };
    let mut names = Vec::new();
    walk(&secrets, "", &mut names, &mut inventory.strays)?;
    let found = parallel::map(&names, |name| look(&secrets, name));
    inventory.files = names.into_iter().zip(found).collect();
    inventory.agenix = agenix_rules(root);
    Ok(inventory)
}

/// The rules file of agenix in this fleet, if there is one.
pub fn agenix_rules(root: &Path) -> Option<&'static str> {
    agenix::RULES.into_iter().find(|path| root.join(path).is_file())
}

fn look(secrets: &Beneath, file: &FileName) -> Found {
    let name = format!("{file}.age");
    let envelope = || -> Result<Envelope, Fault> {
        let read = |first| {
            secrets.read(&name, first, FILE_LIMIT).map_err(|error| match error.kind() {
                Kind::Integrity => Fault::NotAFile,
                _ => Fault::Unreadable,
            })
        };
        // Most headers are shorter than this; only longer ones are read up to the limit.
        let (bytes, size) = read(16 << 10)?;
        if bytes.starts_with(ARMOR) {
            let (whole, _) = read(usize::try_from(size).unwrap_or(0))?;
            let binary = armor::dearmored(&whole).ok().flatten().ok_or(Fault::Damaged)?;
            return Envelope::read(&binary);
        }
        match Envelope::read(&bytes) {
            Err(_) if (bytes.len() as u64) < size => Envelope::read(&read(HEADER_LIMIT + 64)?.0),
            other => other,
        }
    };
    envelope().map_or_else(Found::Broken, Found::Sealed)
}

/// Collects the names of all sealed files below a directory, and the paths of other files.
fn walk(top: &Beneath, below: &str, names: &mut Vec<FileName>, strays: &mut Vec<String>) -> Result<()> {
    use rustix::fs::{Dir, FileType, Mode, openat};
    let failed = |error: rustix::io::Errno| Error::io(format!("cannot list secrets/{below}"), error);
    let here = if below.is_empty() { "." } else { below.trim_end_matches('/') };
    let directory = openat(top.fd(), here, DIRECTORY, Mode::empty()).map_err(failed)?;
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "."
            || name == ".."
            || name.starts_with(files::TEMPORARY)
            || name == ".gitkeep"
            || name == ".gitattributes"
        {
            continue;
        }
        let path = format!("{below}{name}");
        let kind = match entry.file_type() {
            FileType::Unknown => {
                rustix::fs::statat(&directory, entry.file_name(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
                    .map(|stat| FileType::from_raw_mode(stat.st_mode))
                    .map_err(failed)?
            }
            kind => kind,
        };
        if kind == FileType::Directory && path.len() <= 128 {
            walk(top, &format!("{path}/"), names, strays)?;
        } else if let Some(file) = FileName::from_path(&path) {
            names.push(file);
        } else if !(kind == FileType::RegularFile
            && path.strip_suffix(".pub").is_some_and(|stem| stem.parse::<FileName>().is_ok()))
        {
            strays.push(format!("secrets/{path}"));
        }
    }
    Ok(())
}
