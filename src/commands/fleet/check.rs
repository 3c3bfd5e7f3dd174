//! `check`: verifies, without any private key, that every host can open exactly what it should.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::civil::Date;
use serde::Serialize;

use crate::adapters::age;
use crate::adapters::fs::transaction::Journal;
use crate::adapters::git::{Git, LazyGit, Status, history};
use crate::adapters::repository::{Fleet, inventory};
use crate::commands::past::{Merge, Past};
use crate::commands::scan::index;
use crate::domain::address::quoted;
use crate::domain::drift::access::{Access, Reader, listed};
use crate::domain::drift::audit::{AuditFinding, AuditRule, audit};
use crate::domain::drift::lacking::{How, Lacking};
use crate::domain::level::Level;
use crate::domain::name::FileName;
use crate::domain::policy::{FILE, Holder, Policy, parse};
use crate::domain::secret::inventory::Inventory;
use crate::domain::secret::recipient::Fingerprint;
use crate::domain::secret::seal::Seal;
use crate::domain::tracked::{IGNORED, UNMERGED, UNTRACKED, settle};
use crate::error::{Error, Kind, Result};

/// What to check besides the present state.
#[derive(Debug, Default)]
pub struct Request {
    /// A commit whose serials must not be higher than the present ones.
    pub against: Option<String>,
    /// Also compare with all commits: for serials, and for readers of the present values that their seals do not list.
    pub history: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// How many sealed files were checked.
    pub files: usize,
    pub hosts: usize,
    /// The findings, most severe first.
    pub findings: Vec<AuditFinding>,
    /// What could not be checked, and why.
    pub not_looked_at: Vec<String>,
}

impl Report {
    /// Returns the error kind for the exit code.
    pub fn kind(&self, strict: bool) -> Option<Kind> {
        let counts = |finding: &AuditFinding| strict || finding.level == Level::Error;
        if self.findings.iter().any(counts) {
            Some(Kind::Drift)
        } else if self.not_looked_at.is_empty() {
            None
        } else {
            Some(Kind::Incomplete)
        }
    }
}

/// Checks the fleet in this directory.
///
/// Fails if the fleet cannot be read. What is wrong with it is in the report.
pub fn run(root: &Path, today: Date, request: &Request) -> Result<Report> {
    // These reads are independent: the headers, the policy, git's index and the last commit.
    let lazy = LazyGit::of(root);
    let (git, status, inventory, sides, fleet) = std::thread::scope(|outer| {
        let inventory = outer.spawn(|| inventory(root));
        let fleet = outer.spawn(|| Fleet::open(root));
        let git = lazy.get()?;
        let (status, sides) = std::thread::scope(|scope| {
            let status = scope.spawn(|| git.status(&[&root.join(FILE), &root.join("secrets")]));
            let sides = git.sides();
            (status.join(), sides)
        });
        Ok::<_, Error>((git, status, inventory.join(), sides, fleet.join()))
    })?;
    let ended = |_| Error::new(Kind::Bug, "a thread that reads the fleet ended");
    let (fleet, status) = (fleet.map_err(ended)??, status.map_err(ended)??);
    let inventory = inventory.map_err(ended)??;
    let policy = &fleet.policy;
    let past = Past::of(&lazy);
    let looked = Present { root, git: &git, past: &past, policy, inventory: &inventory };
    let mut findings = audit(policy, &past.keys(policy, inventory.envelopes()), &inventory, today);
    findings.iter_mut().for_each(|finding| looked.by_merge(finding));
    looked.only_deleted(&mut findings)?;
    findings.extend(index::findings(&fleet, &inventory)?);
    findings.extend(looked.taken(&sides?)?);
    let mut not_looked_at = Vec::new();
    if Journal::is_unfinished(&git.place_of(root)?) {
        let what = "an interrupted change of several files is not completed yet";
        findings.push(AuditFinding::error(
            AuditRule::Unfinished,
            FILE,
            what,
            "run `sealift rekey`: it completes it first",
        ));
    }
    findings.extend(looked.untracked(&status)?);
    findings.extend(fallen(&looked.serials_in_head(&status)?, &inventory, "HEAD"));
    if let Some(reference) = &request.against {
        findings.extend(fallen(&looked.serials_at(reference)?, &inventory, reference));
    }
    if request.history {
        findings.extend(looked.past(&mut not_looked_at)?);
    }
    findings.sort();
    findings.dedup();
    Ok(Report { files: inventory.files.len(), hosts: policy.hosts.len(), findings, not_looked_at })
}

/// The present state.
struct Present<'a> {
    root: &'a Path,
    git: &'a Git,
    past: &'a Past,
    policy: &'a Policy,
    inventory: &'a Inventory,
}

impl Present<'_> {
    /// Adds to findings about files deleted only from the work tree how to restore them.
    fn only_deleted(&self, findings: &mut [AuditFinding]) -> Result<()> {
        let missing: Vec<(&mut String, &mut Lacking)> =
            findings.iter_mut().filter_map(|finding| Some((&mut finding.help, finding.lacking.as_mut()?))).collect();
        let paths = missing.iter().map(|(_, lacking)| self.root.join(lacking.file.path())).collect::<Vec<_>>();
        for ((help, lacking), committed) in missing.into_iter().zip(self.git.are_committed(&paths)?) {
            if committed {
                lacking.how = How::Deleted;
                *help = format!("{}; or {help}", lacking.help());
            }
        }
        Ok(())
    }

    /// Returns findings for untracked, ignored and unmerged files. Nix does not see files that git does not track.
    fn untracked(&self, status: &Status) -> Result<Vec<AuditFinding>> {
        let top = self.git.relative(self.root)?;
        let inside = |path: &str| path.strip_prefix(top.as_str()).unwrap_or(path).trim_start_matches('/').to_owned();
        let mut findings = Vec::new();
        for path in status.untracked.iter().filter(|path| path.ends_with(".age") || path.ends_with(FILE)) {
            findings.push(AuditFinding::error(
                AuditRule::Untracked,
                inside(path),
                UNTRACKED,
                format!("run `git add {}`", quoted(&inside(path))),
            ));
        }
        for path in
            status.ignored.iter().filter(|path| path.ends_with(".age") || path.ends_with('/') || path.ends_with(FILE))
        {
            findings.push(AuditFinding::error(
                AuditRule::Ignored,
                inside(path),
                IGNORED,
                format!(
                    "remove the pattern from .gitignore (`git check-ignore -v {}` names it)",
                    quoted(&inside(path))
                ),
            ));
        }
        let sides = if status.unmerged.is_empty() { BTreeMap::new() } else { self.sides()? };
        for path in &status.unmerged {
            let told = sides.get(path).map(|sides| format!(": {}", sides.join("; "))).unwrap_or_default();
            findings.push(AuditFinding::error(
                AuditRule::Damaged,
                inside(path),
                format!("{UNMERGED}{told}"),
                settle(path),
            ));
        }
        Ok(findings)
    }

    /// Describes both sides of unresolved files of a merge.
    fn sides(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let listing = self.git.call().args(["ls-files", "--unmerged", "-z"]).read()?;
        let mut stages = Vec::new();
        for record in listing.split(|b| *b == 0).map(String::from_utf8_lossy) {
            let Some((head, path)) = record.split_once('\t') else { continue };
            let words: Vec<&str> = head.split(' ').collect();
            if let [_, object, stage @ ("2" | "3")] = words[..]
                && path.ends_with(".age")
            {
                stages.push((path.to_owned(), if stage == "2" { "ours" } else { "theirs" }, object.to_owned()));
            }
        }
        let objects: Vec<String> = stages.iter().map(|(_, _, object)| object.clone()).collect();
        let mut sides: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((path, side, _), content) in stages.into_iter().zip(self.git.objects(&objects)?) {
            let envelope = content.as_deref().and_then(age::envelope_of);
            let keys = self.past.keys(self.policy, &envelope);
            let told = match envelope.and_then(|envelope| envelope.seal) {
                Some(seal) => {
                    let readers: BTreeSet<Reader> =
                        seal.current.iter().map(|key| Reader::of(key, &keys.holders)).collect();
                    format!("{side} is version {} for {}", seal.serial, listed(&readers))
                }
                None => format!("{side} has no seal"),
            };
            sides.entry(path).or_default().push(told);
        }
        Ok(sides)
    }

    /// Returns readers on one side of a merge who have no access by the merged policy or the present file. No other
    /// check finds these. Removed hosts are left out.
    fn taken(&self, sides: &[String]) -> Result<Vec<AuditFinding>> {
        let path = self.git.relative(&self.root.join(FILE))?;
        let objects: Vec<String> = sides.iter().map(|commit| format!("{commit}:{path}")).collect();
        let (wanted, holders) = (self.policy.wanted(), self.policy.holders());
        let mut findings = Vec::new();
        for (commit, text) in sides.iter().zip(self.git.objects(&objects)?) {
            let read = || parse::parse(std::str::from_utf8(text.as_deref()?).ok()?).ok();
            let Some(side) = read() else { continue };
            let known = side.holders();
            for (file, then) in side.wanted() {
                let Some(now) = wanted.get(&file) else { continue };
                let now = self.policy.recipients_of(&now.hosts);
                let words: BTreeSet<String> = now.keys().map(|key| Reader::of(key, &holders).word()).collect();
                let seal = self.inventory.seal(&file);
                let lost = side.recipients_of(&then.hosts).into_keys().filter(|key| {
                    !matches!(holders.get(key), Some(Holder::Retired(_)))
                        && !seal.is_some_and(|seal| seal.current.contains(key))
                });
                let lost = lost.map(|key| Reader::of(&key, &known)).filter(|reader| !words.contains(&reader.word()));
                let lost: BTreeSet<Reader> = lost.collect();
                if lost.is_empty() {
                    continue;
                }
                let commit = commit.get(..9).unwrap_or(commit);
                let what =
                    format!("one side of the merge, {commit}, gave it to {}; recipients.toml does not", listed(&lost));
                let help = "if that is not intended, say in recipients.toml that they read it";
                findings.push(AuditFinding {
                    access: Access { loses: lost, ..Access::default() },
                    ..AuditFinding::warning(AuditRule::TakenByMerge, file.path(), what, help)
                });
            }
        }
        Ok(findings)
    }

    /// Adds to a finding the merge that took access from a reader, or the declaration from a file. Its help then is to
    /// correct the policy, not the files.
    fn by_merge(&self, finding: &mut AuditFinding) {
        let Some(file) = finding.about.strip_prefix("secrets/").and_then(FileName::from_path) else { return };
        let merge = match finding.rule {
            AuditRule::Orphan => self.past.merge_that_ended(|policy| policy.wanted().contains_key(&file)),
            AuditRule::ExtraReader => {
                let now = self.policy.wanted().remove(&file).map(|wanted| self.policy.recipients_of(&wanted.hosts));
                let now: BTreeSet<Fingerprint> = now.into_iter().flat_map(BTreeMap::into_keys).collect();
                let current = self.inventory.seal(&file).into_iter().flat_map(|seal| seal.current.iter());
                let lost: Vec<&Fingerprint> = current.filter(|key| !now.contains(*key)).collect();
                self.past.merge_that_ended(|policy| {
                    policy.wanted().remove(&file).is_some_and(|wanted| {
                        let recipients = policy.recipients_of(&wanted.hosts);
                        lost.iter().any(|key| recipients.contains_key(*key))
                    })
                })
            }
            _ => None,
        };
        if let Some(merge) = merge {
            finding.what = format!("{}; {}", finding.what, merge.told(&file));
            Merge::HELP.clone_into(&mut finding.help);
        }
    }

    /// Returns the seals in HEAD of files that differ from HEAD. In other files the serial cannot be lower.
    fn serials_in_head(&self, status: &Status) -> Result<BTreeMap<FileName, Seal>> {
        let wanted: Vec<(FileName, String)> =
            status.changed.iter().filter_map(|(path, object)| Some((self.file_at(path)?, object.clone()))).collect();
        seals_of(self.git, wanted)
    }

    fn serials_at(&self, reference: &str) -> Result<BTreeMap<FileName, Seal>> {
        let commit = resolve(self.git, reference)?;
        let listing = self.git.call().args(["ls-tree", "-r", "-z", "--full-tree", &commit]).read()?;
        let wanted = listing.split(|b| *b == 0).filter_map(|record| {
            let record = std::str::from_utf8(record).ok()?;
            let (head, path) = record.split_once('\t')?;
            Some((self.file_at(path)?, head.split(' ').nth(2)?.to_owned()))
        });
        seals_of(self.git, wanted.collect())
    }

    /// Returns the sealed file at a path relative to the top of the work tree.
    fn file_at(&self, path: &str) -> Option<FileName> {
        let top = self.git.relative(self.root).ok()?;
        let inside = path.strip_prefix(top.as_str())?.trim_start_matches('/');
        FileName::from_path(inside.strip_prefix("secrets/")?)
    }

    /// Checks every version of every sealed file in any commit.
    fn past(&self, not_looked_at: &mut Vec<String>) -> Result<Vec<AuditFinding>> {
        let (git, inventory) = (self.git, self.inventory);
        if git.is_shallow()? {
            not_looked_at.push(history::SHALLOW.to_owned());
        }
        if !git.has_head()? {
            return Ok(Vec::new());
        }
        let mut versions: BTreeSet<(FileName, String)> = BTreeSet::new();
        history::changes(git, &["--all", "--"], |change| {
            let file = std::str::from_utf8(change.path).ok().and_then(|path| self.file_at(path));
            if let Some(file) = file.filter(|_| change.after.bytes().any(|b| b != b'0')) {
                versions.insert((file, change.after.to_owned()));
            }
        })?;
        let (names, objects): (Vec<_>, Vec<_>) = versions.into_iter().unzip();
        let mut highest: BTreeMap<FileName, Seal> = BTreeMap::new();
        let mut readers: BTreeMap<FileName, BTreeSet<Fingerprint>> = BTreeMap::new();
        for (name, content) in names.into_iter().zip(git.objects(&objects)?) {
            let Some(content) = content else {
                not_looked_at.push(format!("an older version of {} is not in this clone", name.path()));
                continue;
            };
            let Some(seal) = age::seal_of(&content).filter(|seal| seal.name == name) else { continue };
            if inventory.seal(&name).is_some_and(|now| now.serial == seal.serial) {
                readers.entry(name.clone()).or_default().extend(seal.ever());
            }
            if seal.is_last() {
                continue;
            }
            if highest.get(&name).is_none_or(|high| high.serial < seal.serial) {
                highest.insert(name, seal);
            }
        }
        let mut findings = fallen(&highest, inventory, "the history");
        let holders = self.policy.holders();
        for (file, ever) in readers {
            let Some(now) = inventory.seal(&file) else { continue };
            let told: BTreeSet<_> = now.ever().copied().collect();
            let who: BTreeSet<String> =
                ever.difference(&told).map(|key| Reader::of(key, &holders).to_string()).collect();
            if !who.is_empty() {
                let who = who.into_iter().collect::<Vec<_>>().join(", ");
                findings.push(AuditFinding::error(
                    AuditRule::History,
                    file.path(),
                    format!("an older file with this same value could be read by {who}, and its seal does not say so"),
                    format!("give it a new value: `sealift rotate {file}`"),
                ));
            }
        }
        Ok(findings)
    }
}

/// Resolves a commit. git checks the name, which cannot be read as an option.
fn resolve(git: &Git, reference: &str) -> Result<String> {
    let output = git
        .call()
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{reference}^{{commit}}")])
        .run()?;
    if !output.ended.success() {
        return Err(Error::usage("there is no such commit to compare with")
            .help("name a branch, tag or commit: `--against origin/main`"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn seals_of(git: &Git, wanted: Vec<(FileName, String)>) -> Result<BTreeMap<FileName, Seal>> {
    let (names, objects): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    let contents = git.objects(&objects)?;
    Ok(names.into_iter().zip(contents).filter_map(|(name, content)| Some((name, age::seal_of(&content?)?))).collect())
}

fn fallen(before: &BTreeMap<FileName, Seal>, inventory: &Inventory, whence: &str) -> Vec<AuditFinding> {
    let lower = |(file, seal): (&FileName, &Seal)| {
        let now = inventory.seal(file)?;
        (now.serial < seal.serial && seal.name == *file && !seal.is_last()).then(|| {
            AuditFinding::error(
                AuditRule::SerialFell,
                file.path(),
                format!(
                    "it holds version {} and {whence} holds version {}: an older version came back",
                    now.serial, seal.serial
                ),
                format!("restore it from git (`git log -- {}` shows its versions), or seal a new value", file.path()),
            )
        })
    };
    before.iter().filter_map(lower).collect()
}
