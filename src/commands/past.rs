//! What earlier versions of recipients.toml said: who held a key that nobody holds any more, and which merge took access
//! from somebody.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use crate::adapters::git::{Git, LazyGit};
use crate::domain::drift::access::{Reader, listed};
use crate::domain::name::FileName;
use crate::domain::policy::{FILE, Keys, Policy, parse};
use crate::domain::secret::seal::Envelope;
use crate::error::Result;

/// How many commits that touched the policy are looked at.
const COMMITS: usize = 256;
/// How many of them may name a key.
const NAMING: usize = 32;

/// Earlier versions of the policy, read when something asks for them.
pub struct Past {
    git: LazyGit,
    versions: OnceCell<Versions>,
}

#[derive(Default)]
struct Versions {
    commits: BTreeMap<String, Version>,
    /// The commits, newest first.
    order: Vec<String>,
    /// What a merge that is not committed yet brings together.
    merging: Vec<String>,
}

struct Version {
    parents: Vec<String>,
    text: Option<Vec<u8>>,
    policy: OnceCell<Option<Policy>>,
}

impl Version {
    fn policy(&self) -> Option<&Policy> {
        let read = || parse::parse(std::str::from_utf8(self.text.as_deref()?).ok()?).ok();
        self.policy.get_or_init(read).as_ref()
    }
}

/// A merge, and the two or more policies that it brought together.
pub struct Merge<'a> {
    /// None: it is not committed yet.
    name: Option<&'a str>,
    sides: Vec<(&'a str, Option<&'a Policy>)>,
}

impl Past {
    /// Of the fleet that lies in this repository.
    pub fn of(git: &LazyGit) -> Self {
        Self { git: git.clone(), versions: OnceCell::new() }
    }

    /// What git has of it. Where it has nothing, a key stays without a name; nothing is decided by that.
    fn versions(&self) -> &Versions {
        let read = || self.git.get().and_then(|git| Versions::read(&git, &self.git.fleet)).unwrap_or_default();
        self.versions.get_or_init(read)
    }

    /// The keys of a policy, and of earlier ones where files have a reader that this one does not know.
    pub fn keys<'a, 'e>(&'a self, policy: &'a Policy, files: impl IntoIterator<Item = &'e Envelope>) -> Keys<'a> {
        let keys = policy.keys();
        let strange = |envelope: &Envelope| match &envelope.seal {
            Some(seal) => seal.ever().any(|key| !keys.known.contains_key(key)),
            None => true,
        };
        if files.into_iter().any(strange) { self.versions().keys(keys) } else { keys }
    }

    /// The merge since which something is not so any more, if a merge it was.
    pub fn merge_that_ended(&self, was: impl Fn(&Policy) -> bool) -> Option<Merge<'_>> {
        self.versions().merge_that_ended(was)
    }
}

impl Versions {
    fn read(git: &Git, root: &Path) -> Result<Self> {
        let path = git.relative(&root.join(FILE))?;
        let limit = format!("--max-count={COMMITS}");
        let listed = git.unaltered().args(["--literal-pathspecs", "rev-list", "--full-history", "--parents"]);
        let listed = listed.args(["--topo-order", &limit, "HEAD", "--", &path]).read()?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let mut parents: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut order = Vec::new();
        for line in listed.lines() {
            let mut names = line.split(' ').map(str::to_owned);
            let Some(commit) = names.next() else { continue };
            order.push(commit.clone());
            parents.insert(commit, names.collect());
        }
        let mut merging = git.merging();
        if !merging.is_empty() {
            merging
                .insert(0, String::from_utf8_lossy(&git.call().args(["rev-parse", "HEAD"]).read()?).trim().to_owned());
        }
        let wanted: BTreeSet<String> =
            parents.keys().chain(parents.values().flatten()).chain(&merging).cloned().collect();
        let objects: Vec<String> = wanted.iter().map(|commit| format!("{commit}:{path}")).collect();
        let texts = git.objects(&objects)?;
        let version = |(commit, text): (String, Option<Vec<u8>>)| {
            let parents = parents.get(&commit).cloned().unwrap_or_default();
            (commit, Version { parents, text, policy: OnceCell::new() })
        };
        Ok(Self { commits: wanted.into_iter().zip(texts).map(version).collect(), order, merging })
    }

    fn policy(&self, commit: &str) -> Option<&Policy> {
        self.commits.get(commit).and_then(Version::policy)
    }

    /// These keys, and those of earlier policies.
    fn keys<'a>(&'a self, keys: Keys<'a>) -> Keys<'a> {
        let earlier = self.merging.iter().chain(self.order.iter().take(NAMING));
        earlier.filter_map(|commit| self.policy(commit)).fold(keys, Keys::with_past)
    }

    fn sides<'a>(&'a self, commits: &[String]) -> Vec<(&'a str, Option<&'a Policy>)> {
        let known = commits.iter().filter_map(|commit| self.commits.get_key_value(commit));
        known.map(|(commit, version)| (commit.as_str(), version.policy())).collect()
    }

    fn merge_that_ended(&self, was: impl Fn(&Policy) -> bool) -> Option<Merge<'_>> {
        let so = |commit: &str| self.policy(commit).is_some_and(&was);
        if self.merging.iter().any(|side| so(side)) {
            return Some(Merge { name: None, sides: self.sides(&self.merging) });
        }
        let first = self.order.first()?;
        if so(first) {
            return None;
        }
        let mut seen = BTreeSet::new();
        let mut next = VecDeque::from([first.as_str()]);
        while let Some(commit) = next.pop_front() {
            let Some((name, version)) = self.commits.get_key_value(commit).filter(|_| seen.insert(commit)) else {
                continue;
            };
            if version.parents.iter().any(|parent| so(parent)) {
                let merge = || Merge { name: Some(name), sides: self.sides(&version.parents) };
                return (version.parents.len() > 1).then(merge);
            }
            next.extend(version.parents.iter().map(String::as_str));
        }
        None
    }
}

impl Merge<'_> {
    /// What it is, and who could read a file on either side of it.
    pub fn told(&self, file: &FileName) -> String {
        let sides = self.sides.iter().map(|(commit, policy)| {
            let short = short(commit);
            let Some(policy) = policy else { return format!("{short} has no {FILE} that can be read") };
            let Some(wanted) = policy.wanted().remove(file) else { return format!("{short} did not declare it") };
            let holders = policy.holders();
            let readers = policy.recipients_of(&wanted.hosts).into_keys().map(|key| Reader::of(&key, &holders));
            format!("{short} gave it to {}", listed(&readers.collect::<BTreeSet<_>>()))
        });
        let sides = sides.collect::<Vec<_>>().join("; ");
        match self.name {
            Some(commit) => format!("the merge {} brought that: before it {sides}", short(commit)),
            None => format!("the merge that is not committed yet brings that: {sides}"),
        }
    }

    /// What to do about it.
    pub const HELP: &'static str = "say in recipients.toml what both sides intended, then check again";
}

fn short(commit: &str) -> &str {
    commit.get(..9).unwrap_or(commit)
}
