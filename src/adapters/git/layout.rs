//! Gathers the facts about a repository that `doctor` judges, from its files. Nothing is evaluated or changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::adapters::fs::files;
use crate::adapters::fs::owner::{self, Owner};
use crate::adapters::git::Git;
use crate::domain::doctor::repository::{Left, Repository};
use crate::domain::doctor::text;
use crate::error::Result;

const LIMIT: u64 = 256 << 10;
/// How many bytes of a file without an extension are checked for a script.
const HEAD: usize = 64;

#[derive(Debug, Default)]
pub struct Gathered {
    pub repository: Repository,
    /// The content of Nix files and scripts, by path from the top.
    pub texts: Vec<(String, String)>,
    /// Whether its flake has home configurations.
    pub has_home_configurations: bool,
    /// What could not be read, with the reason.
    pub not_looked_at: Vec<String>,
    /// The time of its last commit.
    pub committed: Option<i64>,
}

/// The facts about a repository of another user, which git refuses to read; `None` if it is ours.
pub fn foreign(directory: &Path) -> Option<Gathered> {
    let top = files::enclosing(directory, ".git")?;
    let owner = owner::stranger([top, &top.join(".git")], Owner::Us)?;
    let mut all = Gathered::default();
    all.repository.top = top.display().to_string();
    all.repository.owner = Some(if owner == 0 { "root".to_owned() } else { format!("user {owner}") });
    all.not_looked_at.push(format!("{}: it belongs to somebody else", top.display()));
    Some(all)
}

fn uid(path: &Path) -> Option<u32> {
    std::fs::symlink_metadata(path).ok().map(|there| there.uid())
}

/// Gathers the facts. A repository of another user is not read, whatever git is configured to trust.
pub fn gather(git: &Git) -> Result<Gathered> {
    if let Some(foreign) = foreign(&git.top) {
        return Ok(foreign);
    }
    let mut all = Gathered::default();
    all.repository.top = git.top.display().to_string();
    let Some(owner) = uid(&git.top) else { return Ok(all) };
    let parts =
        ["", "HEAD", "index", "config", "refs", "objects", "logs", "FETCH_HEAD"].map(|part| git.directory.join(part));
    let objects =
        std::fs::read_dir(git.directory.join("objects")).into_iter().flatten().flatten().map(|entry| entry.path());
    let foreign = parts.into_iter().chain(objects).filter(|path| uid(path).is_some_and(|uid| uid != owner));
    let listed = git.listed()?;
    let in_tree = listed.iter().map(|name| git.top.join(name)).filter(|path| uid(path).is_some_and(|uid| uid != owner));
    all.repository.foreign = foreign.chain(in_tree).map(|path| path.display().to_string()).collect();
    all.repository.untracked = git.status(&[&git.top])?.untracked;
    all.repository.results = results(git);
    all.committed = git.committed();
    for name in listed {
        match script(&git.top.join(&name), &name) {
            Ok(Some(text)) => all.texts.push((name, text)),
            Ok(None) => {}
            Err(error) => all.not_looked_at.push(error.in_one_line()),
        }
    }
    let flakes = all.texts.iter().filter(|(name, _)| name == "flake.nix" || name.ends_with("/flake.nix"));
    all.has_home_configurations = flakes.into_iter().any(|(_, text)| text.contains("homeConfigurations"));
    let nix = all.texts.iter().filter(|(name, _)| name.ends_with(".nix"));
    all.repository.named = nix
        .flat_map(|(name, text)| text::paths(name, text))
        .filter_map(|(_, path)| path.ok())
        .filter(|path| !path.is_empty())
        .collect();
    Ok(all)
}

/// The content of a Nix file or shell script; `None` for other files.
fn script(path: &Path, name: &str) -> Result<Option<String>> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(None) };
    if !metadata.is_file() {
        return Ok(None);
    }
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    let known = ending.is_some_and(|ending| ["nix", "sh", "bash", "zsh"].contains(&ending));
    if !known && (ending.is_some() || metadata.len() > LIMIT) {
        return Ok(None);
    }
    let bytes = files::read(path, LIMIT)?;
    let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default();
    let shell = head.starts_with(b"#!") && head.split(|b| *b == b'\n').next().is_some_and(|line| line.ends_with(b"sh"));
    Ok((known || shell).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The symlinks that builds left at the top.
fn results(git: &Git) -> Vec<Left> {
    let entries = std::fs::read_dir(&git.top).into_iter().flatten().flatten();
    let mut found: Vec<Left> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let path = entry.path();
            let to = std::fs::read_link(&path).ok()?;
            let ours = (name == "result" || name.starts_with("result-")) && to.starts_with("/nix/store");
            let of_root = std::fs::symlink_metadata(&path).ok()?.uid() == 0 && !rustix::process::geteuid().is_root();
            ours.then(|| Left { path: name, dangling: !path.exists(), of_root })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
