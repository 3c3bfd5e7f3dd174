//! Known faults of a flake's repository: files that Nix does not see, wrong owners, leftovers of builds.

use crate::domain::address::quoted;
use crate::domain::doctor::{Fault, Fix, judged};
use crate::domain::tracked::UNTRACKED;

/// Facts about a repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    pub top: String,
    /// Files that git does not track.
    pub untracked: Vec<String>,
    /// Paths that Nix files refer to, from the top.
    pub named: Vec<String>,
    /// Its owner, by name or number, if that is another user.
    pub owner: Option<String>,
    /// Parts of it that have another owner than the whole.
    pub foreign: Vec<String>,
    /// What `nix build` and `nixos-rebuild build` left behind: symlinks into the store.
    pub results: Vec<Left>,
}

/// A symlink that a build left behind.
#[derive(Clone, Debug)]
pub struct Left {
    /// Its path, from the top.
    pub path: String,
    /// Whether its target no longer exists.
    pub dangling: bool,
    pub of_root: bool,
}

/// A rule: its name and its function.
type Rule = (&'static str, fn(&Repository) -> Vec<Fault>);

const RULES: &[Rule] =
    &[("repository-owner", repository_owner), ("untracked", untracked), ("stale-result", stale_result)];

/// The faults of a repository.
pub fn faults(repository: &Repository) -> Vec<Fault> {
    judged(RULES.iter().map(|(name, rule)| (*name, rule(repository))))
}

fn repository_owner(repository: &Repository) -> Vec<Fault> {
    let mut found = Vec::new();
    if let Some(owner) = &repository.owner {
        let what = format!("it belongs to {owner}: git and nix refuse it, or run its code with your rights");
        let help = format!("work as {owner}, or make it yours: `sudo chown -R \"$USER\": {}`", repository.top);
        found.push(Fault::error(&repository.top, what, help));
    } else if let Some(first) = repository.foreign.first() {
        let what = format!(
            "{} of its files belong to somebody else ({first}): something was run under sudo there",
            repository.foreign.len()
        );
        let help = format!(
            "`sudo chown -R \"$USER\": {}`; only the switch needs root, and asks for it itself",
            repository.top
        );
        found.push(Fault::error(&repository.top, what, help));
    }
    found
}

/// A git flake consists of the files that git tracks: for Nix, other files do not exist.
fn untracked(repository: &Repository) -> Vec<Fault> {
    let read_by_nix = |path: &&String| {
        let sealed = path.starts_with("secrets/") || path.contains("/secrets/");
        let ending = |ends: &str| path.ends_with(ends);
        ending(".nix")
            || ending("flake.lock")
            || (sealed && (ending(".age") || ending(".pub")))
            || named(repository, path)
    };
    let fault = |path: &String| {
        let what = format!("{UNTRACKED}: the build fails, or goes on without it");
        let fault = Fault::error(path, what, format!("`git add --intent-to-add -- {}`", quoted(path)));
        // What Nix sees is copied into the store, which everybody can read, so only files that are clearly meant for it
        // are added.
        if path.ends_with(".nix") || path.ends_with("flake.lock") || path.ends_with(".age") {
            fault.with(Fix::Track(vec![path.clone()]))
        } else {
            fault
        }
    };
    repository.untracked.iter().filter(read_by_nix).map(fault).collect()
}

/// Whether a Nix file refers to a path, or to a folder above it.
fn named(repository: &Repository, path: &str) -> bool {
    let above =
        |named: &String| path.strip_prefix(named.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    repository.named.iter().any(above)
}

fn stale_result(repository: &Repository) -> Vec<Fault> {
    let fault = |left: &Left| {
        let why = if left.dangling {
            "what it leads to is gone"
        } else if left.of_root {
            "it is root's, so that your next build cannot replace it, and it keeps an old system in the store"
        } else {
            "it keeps an old system in the store"
        };
        let what = format!("a build left it: {why}");
        Fault::warning(&left.path, what, format!("`rm {}`", quoted(&left.path)))
            .with(Fix::RemoveResult(left.path.clone()))
    };
    repository.results.iter().map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_repository_has_no_faults() {
        let repository = Repository { untracked: vec!["notes.md".into(), ".envrc".into()], ..Repository::default() };
        assert_eq!(faults(&repository), []);
    }

    #[test]
    fn what_nix_reads_and_git_does_not_know_is_found() {
        let repository = Repository {
            untracked: ["hosts/web/x.nix", "secrets/a.age", "dotfiles/zshrc", "key.txt", "secrets-old"]
                .map(str::to_owned)
                .to_vec(),
            named: vec!["dotfiles".into(), "key".into()],
            ..Repository::default()
        };
        let found = faults(&repository);
        let about: Vec<_> = found.iter().map(|fault| (fault.about.as_str(), fault.fix.is_some())).collect();
        assert_eq!(about, [("hosts/web/x.nix", true), ("secrets/a.age", true), ("dotfiles/zshrc", false)]);
    }

    #[test]
    fn owners_and_leftovers_are_found() {
        let left = Left { path: "result".into(), dangling: false, of_root: true };
        let repository =
            Repository { top: "/r".into(), owner: Some("root".into()), results: vec![left], ..Repository::default() };
        let rules: Vec<_> = faults(&repository).into_iter().map(|fault| fault.rule).collect();
        assert_eq!(rules, ["repository-owner", "stale-result"]);
        let repository = Repository { foreign: vec![".git/index".into()], ..Repository::default() };
        assert!(faults(&repository)[0].what.contains("1 of its files"));
    }
}
