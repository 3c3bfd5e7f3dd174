//! git, as a program: its users' configuration counts, and what a hostile repository could configure does not. Which
//! repository it is, and whether its owner is trusted, git itself decides at every call.

pub mod age_history;
pub mod history;
pub mod layout;
pub mod objects;
pub mod staging;
pub mod traps;
pub mod work_trees;
pub mod worktree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::owner::is_our_directory;
use crate::adapters::process::{Ended, Invocation, Output};
use crate::error::{Error, Result};

/// The git repository that a fleet lies in.
#[derive(Clone, Debug)]
pub struct Git {
    /// The top of the work tree.
    pub top: PathBuf,
    /// The git directory of this work tree: where sealift keeps its lock and journal.
    pub directory: PathBuf,
    /// The keys of its configuration that could start a program, with what sets each off.
    traps: Arc<[(OsString, &'static str)]>,
}

/// The repository of a fleet: found when somebody asks for it, and once.
#[derive(Clone, Debug)]
pub struct LazyGit {
    pub fleet: PathBuf,
    found: Arc<OnceLock<Git>>,
}

impl LazyGit {
    /// Of the fleet in this directory.
    pub fn of(fleet: &Path) -> Self {
        Self { fleet: fleet.to_owned(), found: Arc::default() }
    }

    pub fn get(&self) -> Result<Git> {
        if let Some(git) = self.found.get() {
            return Ok(git.clone());
        }
        let git = Git::of(&self.fleet)?;
        Ok(self.found.get_or_init(|| git).clone())
    }
}

/// What git says of the fleet's files.
#[derive(Debug, Default)]
pub struct Status {
    /// Paths that git does not track, from the top of the work tree.
    pub untracked: Vec<String>,
    pub ignored: Vec<String>,
    /// Paths that differ from HEAD and were in HEAD, with the object they had there.
    pub changed: BTreeMap<String, String>,
    /// Paths that a merge left unresolved.
    pub unmerged: Vec<String>,
}

impl Git {
    /// Finds the repository of a directory; none where there is none.
    pub fn find(directory: &Path) -> Result<Option<Self>> {
        // The common case needs no program: a plain `.git` directory of our own in a directory of our own.
        if let Some(top) = files::enclosing(directory, ".git").filter(|top| {
            is_our_directory(top) && is_our_directory(&top.join(".git")) && top.join(".git/HEAD").is_file()
        }) {
            return Self::at(top.to_owned(), top.join(".git")).map(Some);
        }
        let output = base(directory).args(["rev-parse", "--show-toplevel", "--absolute-git-dir"]).run()?;
        if !output.ended.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            if said.contains("not a git repository") || said.contains("must be run in a work tree") {
                return Ok(None);
            }
            return Err(refused(&base(directory), &output));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        match (lines.next(), lines.next(), lines.next()) {
            (Some(top), Some(directory), None) => Self::at(top.into(), directory.into()).map(Some),
            // A line break in a path reads as two.
            _ => Err(Error::failed("git does not say where its repository is")),
        }
    }

    fn at(top: PathBuf, directory: PathBuf) -> Result<Self> {
        let git = Self { top, directory, traps: Arc::new([]) };
        let listed = git.call().args(["config", "-z", "--name-only", "--list"]).read()?;
        Ok(Self { traps: traps::among(&listed).into(), ..git })
    }

    /// The repository that a fleet lies in.
    pub fn of(fleet: &Path) -> Result<Self> {
        Self::find(fleet)?.ok_or_else(|| {
            Error::failed(format!("{} is not in a git repository", fleet.display()))
                .help("run `git init` there: git is what keeps old versions, and what Nix reads")
        })
    }

    /// A call of git in this repository. No filter runs either: which file gets one is said by .gitattributes, and so by
    /// anyone who writes the repository.
    pub fn call(&self) -> Invocation {
        // Found here and not above, even where this is no repository any more; and the configuration does not move it.
        let above = self.top.parent().unwrap_or(&self.top);
        let call = base(&self.top).arg("--work-tree").arg(&self.top).env("GIT_CEILING_DIRECTORIES", above);
        traps::set_off_named(call, &self.traps)
    }

    /// A call for which the history is as it was made: grafts and replaced objects do not count.
    pub fn unaltered(&self) -> Invocation {
        self.call().arg("--no-replace-objects").env("GIT_GRAFT_FILE", "/dev/null")
    }

    /// Where sealift keeps its lock and journal for the fleet in this directory: fleets that share a repository do not
    /// share them.
    pub fn place_of(&self, fleet: &Path) -> Result<PathBuf> {
        let below = self.relative(fleet)?;
        let place = self.directory.join("sealift");
        Ok(if below.is_empty() {
            place
        } else {
            place.join("fleets").join(below.replace('%', "%25").replace('/', "%2F"))
        })
    }

    /// Where a path of the fleet is, from the top of the work tree.
    pub fn relative(&self, path: &Path) -> Result<String> {
        let inside = path.strip_prefix(&self.top).map_err(|_| {
            Error::failed(format!("{} is not in the repository {}", path.display(), self.top.display()))
        })?;
        inside
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::failed(format!("{} is not a UTF-8 path", path.display())))
    }

    /// What differs from HEAD under these paths.
    pub fn status(&self, paths: &[&Path]) -> Result<Status> {
        let paths: Vec<String> = paths.iter().map(|path| self.relative(path)).collect::<Result<_>>()?;
        let call = self
            .call()
            .args([
                "--literal-pathspecs",
                "status",
                "--porcelain=v2",
                "-z",
                "--untracked-files=all",
                "--ignored=matching",
                "--no-renames",
                "--no-ahead-behind",
                // git would run itself in each, by the configuration there.
                "--ignore-submodules=dirty",
                "--",
            ])
            .args(paths.iter().map(|path| if path.is_empty() { "." } else { path.as_str() }));
        let mut status = Status::default();
        for record in call.read()?.split(|b| *b == 0) {
            let record = String::from_utf8_lossy(record);
            let mut words = record.splitn(2, ' ');
            match (words.next(), words.next()) {
                (Some("?"), Some(path)) => status.untracked.push(path.to_owned()),
                (Some("!"), Some(path)) => status.ignored.push(path.to_owned()),
                (Some("u"), Some(rest)) => status.unmerged.extend(rest.splitn(10, ' ').nth(9).map(str::to_owned)),
                (Some("1"), Some(rest)) => {
                    // XY sub mH mI mW hH hI path
                    let fields: Vec<&str> = rest.splitn(8, ' ').collect();
                    if let [_, _, _, _, _, head, _, path] = fields[..]
                        && head.bytes().any(|b| b != b'0')
                    {
                        status.changed.insert(path.to_owned(), head.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(status)
    }

    /// Whether the last commit has each of these files, whose names have no line break.
    pub fn are_committed(&self, files: &[PathBuf]) -> Result<Vec<bool>> {
        let names = files.iter().map(|file| Ok(format!("HEAD:{}", self.relative(file)?)));
        Ok(self.objects(&names.collect::<Result<Vec<_>>>()?)?.iter().map(Option::is_some).collect())
    }

    /// The content of objects, in the order asked for; `None` for one that is not there.
    pub fn objects(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(name) = names.iter().find(|name| name.contains('\n')) {
            return Err(Error::failed(format!("{name:?} has a line break, and git is not asked for it")));
        }
        let asked = names.iter().fold(String::new(), |text, name| text + name + "\n");
        let answer = self.call().args(["cat-file", "--batch"]).input(asked).read()?;
        let mut rest = answer.as_slice();
        let broken = || Error::failed("git cat-file gave an unexpected answer");
        names
            .iter()
            .map(|_| {
                let end = rest.iter().position(|b| *b == b'\n').ok_or_else(broken)?;
                let head = String::from_utf8_lossy(&rest[..end]).into_owned();
                rest = &rest[end + 1..];
                if head.ends_with(" missing") {
                    return Ok(None);
                }
                let size: usize = head.rsplit(' ').next().and_then(|size| size.parse().ok()).ok_or_else(broken)?;
                let (content, after) = rest.split_at_checked(size).ok_or_else(broken)?;
                rest = after.get(1..).ok_or_else(broken)?;
                Ok(Some(content.to_vec()))
            })
            .collect()
    }

    /// The repository that this one is a submodule of; none where it is none.
    pub fn above(&self) -> Option<PathBuf> {
        let told = self.call().args(["rev-parse", "--show-superproject-working-tree"]).read().ok()?;
        let text = String::from_utf8(told).ok()?;
        Some(text.trim_end_matches('\n')).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// Every file that git tracks, or would if it were told to, from the top of the work tree.
    pub fn listed(&self) -> Result<Vec<String>> {
        let call = self.call().args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let names = call.read()?;
        let names = names.split(|b| *b == 0).filter(|name| !name.is_empty());
        let mut names: Vec<String> = names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// When the last commit was made, in seconds since 1970; none where there is none.
    pub fn committed(&self) -> Option<i64> {
        let text = self.call().args(["rev-list", "-1", "--timestamp", "HEAD", "--"]).read().ok()?;
        String::from_utf8_lossy(&text).split(' ').next()?.parse().ok()
    }

    /// The commit that HEAD is; none where there is none.
    pub fn head(&self) -> Option<String> {
        let commit = self.call().args(["rev-parse", "--verify", "--quiet", "HEAD"]).read().ok()?;
        Some(String::from_utf8_lossy(&commit).trim().to_owned())
    }

    /// The same, marked if what git tracks differs from it.
    pub fn revision(&self) -> Option<String> {
        let commit = self.head()?;
        let options = ["--porcelain=v2", "--untracked-files=no", "--no-renames", "--ignore-submodules=dirty"];
        let differs = !self.call().arg("status").args(options).read().ok()?.is_empty();
        Some(if differs { format!("{commit}-dirty") } else { commit })
    }

    /// Tells git that files are to be tracked, so that a git flake sees them. Their content is not read yet: no filter runs.
    pub fn intend(&self, paths: &[String]) -> Result<()> {
        let call = self.call().args(["--literal-pathspecs", "add", "--intent-to-add", "--"]).args(paths);
        call.read().map(drop)
    }

    /// Makes sure that git does not take up a file that is about to be made in the work tree, by a line of this clone's
    /// own `info/exclude` where it is not ignored yet. Says whether that line had to be written.
    pub fn exclude(&self, path: &Path) -> Result<bool> {
        let name = self.relative(path)?;
        if name.contains(['\n', '\r']) {
            return Err(Error::usage("a file name with a line break cannot be kept from git"));
        }
        if !self.call().args(["--literal-pathspecs", "ls-files", "-z", "--", &name]).read()?.is_empty() {
            return Err(Error::usage(format!("git tracks {name}")).help("keep the key outside of the repository"));
        }
        if self.ignores(&name)? {
            return Ok(false);
        }
        let place = self.call().args(["rev-parse", "--git-path", "info/exclude"]).read()?;
        let list = self.top.join(String::from_utf8_lossy(&place).trim_end_matches('\n'));
        let before = if list.exists() { files::read(&list, 1 << 20)? } else { Vec::new() };
        let mut lines = before.clone();
        if !lines.is_empty() && !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
        lines.push(b'/');
        for c in name.chars() {
            if matches!(c, '\\' | '*' | '?' | '[' | ' ') {
                lines.push(b'\\');
            }
            lines.extend(c.to_string().bytes());
        }
        lines.push(b'\n');
        files::replace(&list, &lines, 0o644, Durable::Now)?;
        if self.ignores(&name)? {
            return Ok(true);
        }
        // A line of the repository's own .gitignore has the last word over that list.
        files::replace(&list, &before, 0o644, Durable::Now)?;
        Err(Error::usage(format!("git would track {name}: a .gitignore says so"))
            .help("keep the key outside of the repository"))
    }

    fn ignores(&self, name: &str) -> Result<bool> {
        let call = self.call().args(["check-ignore", "--quiet", "--", name]);
        let output = call.run()?;
        match output.ended {
            Ended::Code(0) => Ok(true),
            Ended::Code(1) => Ok(false),
            _ => Err(call.failure(&output)),
        }
    }

    /// The commits that a merge which is not committed yet brings in; none where none is under way.
    pub fn merging(&self) -> Vec<String> {
        let named = files::read(&self.directory.join("MERGE_HEAD"), 64 << 10).unwrap_or_default();
        let named = String::from_utf8_lossy(&named).into_owned();
        named.lines().filter(|line| line.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned).collect()
    }

    /// The commits that a merge brings together: one that is under way, else the last commit; none where neither is one.
    pub fn sides(&self) -> Result<Vec<String>> {
        let listed = self.unaltered().args(["rev-list", "--parents", "--max-count=1", "HEAD", "--"]).run()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut commits: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        let merging = self.merging();
        if !merging.is_empty() {
            commits.truncate(1);
            commits.extend(merging);
        } else if commits.len() > 2 {
            commits.remove(0);
        } else {
            commits.clear();
        }
        Ok(commits)
    }

    /// Whether it is a clone that was cut: older commits are not here.
    pub fn is_shallow(&self) -> Result<bool> {
        Ok(self.call().args(["rev-parse", "--is-shallow-repository"]).read()?.starts_with(b"true"))
    }

    /// Whether there is a commit yet.
    pub fn has_head(&self) -> Result<bool> {
        Ok(self.call().args(["rev-parse", "--verify", "--quiet", "HEAD"]).run()?.ended == Ended::Code(0))
    }
}

/// What git says of a repository that it does not take.
fn refused(call: &Invocation, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let Some(trust) = said.lines().map(str::trim).find(|line| line.contains("config --global --add safe.directory"))
    else {
        return call.failure(output).help("run `git status` here and fix what it reports");
    };
    let why = said.lines().find_map(|line| line.strip_prefix("fatal: ")).unwrap_or("it belongs to another user");
    Error::failed(format!("git refuses this repository: {why}")).help(format!(
        "its owner could make git run programs as you: work as that user, or, if you trust everybody who can write there: `{trust}`"
    ))
}

/// git with everything off that a repository or a pager could make it do besides.
fn base(directory: &Path) -> Invocation {
    // Variables that name another repository than the one that the fleet lies in, or another language for what git says.
    let others = [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "LANGUAGE",
    ];
    let call = others.into_iter().fold(Invocation::new("git"), Invocation::without_env);
    traps::set_off(call)
        .args(["-c", "safe.bareRepository=explicit", "-c", "core.quotePath=false"])
        .args(["-c", "advice.addIgnoredFile=false", "-c", "advice.graftFileDeprecated=false"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .in_dir(directory)
}
