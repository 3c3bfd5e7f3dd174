//! `rekey`: brings sealed files up to date with the policy. Touches only what drifted; all of it or nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::adapters::age::identity::Identities;
use crate::adapters::fs::changes::Change;
use crate::adapters::git::age_history::AgeHistory;
use crate::adapters::process::parallel;
use crate::adapters::{age, signals};
use crate::commands::past::{Merge, Past};
use crate::commands::secrets::show::unknown;
use crate::commands::talk::Event;
use crate::commands::{Changes, Session};
use crate::domain::counted::counted;
use crate::domain::drift::access::{Access, Reader, listed};
use crate::domain::drift::lacking::Lacking;
use crate::domain::drift::rekey_plan::{Plan, Reseal, Scope, Why, by_reader};
use crate::domain::drift::same::{grouped, names};
use crate::domain::migrate::agenix;
use crate::domain::name::{AdminName, FileName, HostName, nearest};
use crate::domain::policy::{Holder, Policy};
use crate::domain::secret::age_header::Mac;
use crate::domain::secret::inventory::{Found, Inventory};
use crate::domain::secret::seal::Seal;
use crate::error::{Error, Kind, Result};

/// What to bring up to date.
#[derive(Debug, Default)]
pub struct Request {
    /// Only these secrets or files; empty: all.
    pub only: Vec<FileName>,
    /// Files that are up to date, too.
    pub all: bool,
    /// Files without a seal that are to get one.
    pub adopt: Vec<FileName>,
    /// Whose access may be taken away.
    pub remove: BTreeSet<String>,
    pub yes: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub changed: Vec<Changed>,
    /// How many were up to date and stayed as they are, byte for byte.
    pub unchanged: usize,
    /// Files that the policy asks for and that have no value yet.
    pub missing: Vec<FileName>,
    /// The same, with how they get one.
    #[serde(skip)]
    pub lacking: Vec<Lacking>,
    /// Files without a seal that nobody asked to adopt, and what that would do.
    pub unsealed: Vec<Changed>,
    pub dry_run: bool,
}

/// One file that was re-encrypted.
#[derive(Debug, Serialize)]
pub struct Changed {
    pub file: FileName,
    pub why: Why,
    /// Who gains and who loses access.
    #[serde(flatten)]
    pub access: Access,
    /// Whether the policy accepts it as it is.
    #[serde(skip)]
    pub accepted: bool,
}

/// Brings the files up to date.
///
/// Fails when one of them cannot be opened, or somebody would lose access whom nobody named; nothing is changed then.
pub fn run(session: &mut Session, request: &Request) -> Result<Report> {
    // Who only looks takes nothing, and finishes nothing.
    let held = if request.dry_run { None } else { Some(session.lock()?) };
    let inventory = session.fleet.inventory()?;
    let adopt = chosen(session, &request.adopt)?.unwrap_or_default();
    let only = chosen(session, &request.only)?.map(|only| only.union(&adopt).cloned().collect());
    let scope = Scope { only, all: request.all, adopt };
    let past = Past::of(&session.fleet.root);
    let policy = &session.fleet.policy;
    let plan = Plan::rekey(policy, &past.keys(policy, inventory.envelopes()), &inventory, &scope);
    refuse_broken(&plan)?;
    vouch(session, &plan, &inventory)?;
    refuse_idle(policy, &plan, &request.remove)?;
    let report = Report::of(&plan, request.dry_run);
    let Some((git, journal)) = held.filter(|_| !plan.reseal.is_empty()) else { return Ok(report) };
    let adopting = request.adopt.iter().map(|file| format!(" --adopt {file}")).collect::<Vec<_>>().concat();
    let terms = Terms { remove: request.remove.clone(), yes: request.yes, gains: true, of: None, adopting };
    agree(session, &past, &plan.accesses(), &terms)?;
    let mut changes = Changes::default();
    reseal(session, &plan.reseal, &inventory, &mut changes)?;
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

impl Report {
    /// What a plan comes to.
    pub fn of(plan: &Plan<'_>, dry_run: bool) -> Self {
        let changed = |reseal: &Reseal<'_>| Changed {
            file: reseal.wanted.file.clone(),
            why: reseal.why,
            access: reseal.access.clone(),
            accepted: reseal.wanted.secret.allow_unsealed,
        };
        Self {
            changed: plan.reseal.iter().map(changed).collect(),
            unchanged: plan.in_line,
            missing: plan.missing.iter().map(|wanted| wanted.file.clone()).collect(),
            lacking: plan.missing.iter().map(Lacking::of).collect(),
            unsealed: plan.unsealed.iter().map(changed).collect(),
            dry_run,
        }
    }

    /// The code that it comes to: files that nobody adopted are not up to date.
    pub fn kind(&self) -> Option<Kind> {
        let left = !self.dry_run && self.unsealed.iter().any(|file| !file.accepted);
        left.then_some(if self.changed.is_empty() { Kind::Failed } else { Kind::Partial })
    }
}

/// What a person said of who may lose access.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// Whose access may be taken away, by their words.
    pub remove: BTreeSet<String>,
    pub yes: bool,
    /// That whoever the policy names gains access is what was asked for, and is told by the report.
    pub gains: bool,
    /// Who all of it is about.
    pub of: Option<Of<'a>>,
    /// What else stands on the command line that would do it.
    pub adopting: String,
}

/// Who a change of readers is about.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// That this host gains or loses access is what was asked for.
    Host(&'a HostName),
    /// That this admin loses it. That another key of theirs gains it is not.
    Admin(&'a AdminName),
}

impl Of<'_> {
    fn loses(self, reader: &Reader) -> bool {
        match (self, reader) {
            (Of::Admin(admin), Reader::Known(Holder::Admin(name)) | Reader::More(Holder::Admin(name), _)) => {
                admin == name
            }
            _ => self.gains(reader),
        }
    }

    fn gains(self, reader: &Reader) -> bool {
        match (self, reader) {
            (
                Of::Host(host),
                Reader::Known(Holder::Host(name) | Holder::Retired(name)) | Reader::More(Holder::Host(name), _),
            ) => host == name,
            _ => false,
        }
    }
}

/// Goes on only if a person wants what becomes of the readers: whoever loses access was named, whoever gains it was asked
/// for, or the person says yes at the terminal, where both are asked for.
pub fn agree(session: &Session, past: &Past, accesses: &[(FileName, Access)], terms: &Terms<'_>) -> Result<()> {
    let mut losses = by_reader(accesses, |access| &access.loses);
    losses.retain(|reader, _| !terms.of.is_some_and(|of| of.loses(reader)) && !terms.remove.contains(&reader.word()));
    let mut gains = by_reader(accesses, |access| &access.gains);
    gains.retain(|reader, _| !terms.of.is_some_and(|of| of.gains(reader)));
    if terms.yes || !session.talk.is_there() {
        if losses.is_empty() {
            return if terms.gains || gains.is_empty() { Ok(()) } else { Err(uninvited(&gains)) };
        }
        let by_merge =
            |reader: &Reader, files: &[&FileName]| files.first().and_then(|file| merge(session, past, file, reader));
        let said = losses.iter().map(|(reader, files)| (*reader, (files, by_merge(reader, files))));
        let said = grouped(said);
        let merged = said.iter().any(|((_, merge), _)| merge.is_some());
        let lost = said.into_iter().map(|((files, merge), readers)| {
            let error = Error::failed(format!("{} would lose access to {}", listed(readers), several(files)));
            match merge {
                Some(merge) => error.because(merge),
                None => error,
            }
        });
        let lost: Vec<Error> = lost.collect();
        let remove: BTreeSet<String> = losses.keys().map(|reader| format!(" --remove {}", reader.word())).collect();
        let call = format!("sealift rekey{}{}", terms.adopting, remove.into_iter().collect::<String>());
        let help = if merged {
            format!("{}; only if it is intended: `{call}`", Merge::HELP)
        } else {
            format!("if that is intended: `{call}`; if not, say in recipients.toml that they read it")
        };
        return Err(Error::all(Kind::Failed, "somebody would lose access; nothing was changed", lost).help(help));
    }
    if losses.is_empty() && gains.is_empty() {
        return Ok(());
    }
    tell(session, accesses);
    for (reader, files) in &losses {
        if let Some(merge) = files.first().and_then(|file| merge(session, past, file, reader)) {
            session.warn(merge);
        }
    }
    let part = |verb: &str, readers: &BTreeMap<&Reader, Vec<&FileName>>| {
        (!readers.is_empty()).then(|| format!("{verb} {}", listed(readers.keys().copied())))
    };
    let parts = [part("give access to", &gains), part("take it from", &losses)];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let question = format!("Re-encrypt {}, {parts}?", counted(accesses.len(), "file"));
    if session.talk.confirm(&question)? { Ok(()) } else { Err(Error::failed("declined; nothing was changed")) }
}

/// Says who gains and who loses access to which files.
pub fn tell(session: &Session, accesses: &[(FileName, Access)]) {
    let changed = accesses.iter().filter(|(_, access)| !access.is_none());
    for (access, files) in grouped(changed.map(|(file, access)| (file, access))) {
        let told = access.told();
        session.note(match &files[..] {
            [file] => format!("{file}: {told}"),
            files => format!("{told}: {}", names(files)),
        });
    }
}

/// Files as they are named in a sentence: how many there are is said where they are not seen at a glance.
fn several(files: &[&FileName]) -> String {
    if files.len() > 3 { names(files) } else { files.iter().map(|file| file.as_str()).collect::<Vec<_>>().join(", ") }
}

/// The refusal to give somebody access by the way, where nobody can be asked.
fn uninvited(gains: &BTreeMap<&Reader, Vec<&FileName>>) -> Error {
    let said = grouped(gains.iter().map(|(reader, files)| (*reader, files)));
    let errors = said
        .into_iter()
        .map(|(files, readers)| Error::failed(format!("{} would gain access to {}", listed(readers), several(files))));
    let files: BTreeSet<&str> = gains.values().flatten().map(|file| file.as_str()).collect();
    let call = format!("sealift rekey {}", files.into_iter().collect::<Vec<_>>().join(" "));
    let help = format!("if that is intended: `{call}` first; if not, remove them from recipients.toml");
    Error::all(Kind::Failed, "somebody would gain access; nothing was changed", errors.collect()).help(help)
}

/// Stops where somebody whose access is to be taken loses none: whoever names a reader believes that it is gone afterwards.
///
/// Fails with `Usage`, with what each reads, and who could be named.
fn refuse_idle(policy: &Policy, plan: &Plan<'_>, remove: &BTreeSet<String>) -> Result<()> {
    let losers = |plans: &[Reseal<'_>]| -> BTreeSet<String> {
        let both = plans.iter().flat_map(|reseal| reseal.access.loses.iter().chain(&reseal.access.unknown));
        both.map(Reader::word).collect()
    };
    let (lose, unsealed) = (losers(&plan.reseal), losers(&plan.unsealed));
    let holders = policy.holders();
    let known: BTreeSet<String> = holders.values().map(|holder| holder.name().to_owned()).collect();
    let idle = remove.difference(&lose).map(|name| {
        let reads = policy.wanted().into_iter().filter(|(_, wanted)| {
            policy.recipients_of(&wanted.hosts).keys().any(|key| Reader::of(key, &holders).word() == *name)
        });
        let reads: Vec<String> = reads.map(|(file, _)| file.to_string()).collect();
        let why = if !reads.is_empty() {
            format!("recipients.toml gives it {}", reads.join(", "))
        } else if unsealed.contains(name) {
            "what it can read has no seal, and stays as it is without `--adopt`".to_owned()
        } else if known.contains(name) {
            "no such file is sealed to it".to_owned()
        } else {
            let near = nearest(name, known.iter().chain(&lose).map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            format!("no reader of these files is called that{near}")
        };
        Error::usage(format!("{name} would lose no access: {why}"))
    });
    let idle: Vec<Error> = idle.collect();
    if idle.is_empty() {
        return Ok(());
    }
    let help = if lose.is_empty() {
        "`--remove` names who loses access by what recipients.toml says: change that first, or leave `--remove` out"
            .to_owned()
    } else {
        format!("those who would: {}", lose.into_iter().collect::<Vec<_>>().join(", "))
    };
    let message = format!("{} of --remove would lose no access; nothing was changed", idle.len());
    Err(Error::batch(message, idle).help(help))
}

/// What the merge was, if it was a merge, that took a file from a reader.
fn merge(session: &Session, past: &Past, file: &FileName, reader: &Reader) -> Option<String> {
    let reads = |policy: &Policy| {
        let holders = policy.holders();
        let wanted = policy.wanted().remove(file);
        wanted.is_some_and(|wanted| {
            let recipients = policy.recipients_of(&wanted.hosts);
            recipients.keys().any(|key| Reader::of(key, &holders).word() == reader.word())
        })
    };
    if reads(&session.fleet.policy) {
        return None;
    }
    past.merge_that_ended(reads).map(|merge| merge.told(file))
}

/// Stops unless every file that is to be adopted can be what its name says: anyone who can write the repository could put the
/// file of another secret there, and have its value sealed to the readers of this one.
///
/// Fails with `Integrity` where something speaks against one; `Blind` where the history is cut, so that nobody can tell.
fn vouch(session: &Session, plan: &Plan<'_>, inventory: &Inventory) -> Result<()> {
    let adopted: Vec<&Reseal<'_>> = plan.reseal.iter().filter(|reseal| reseal.why == Why::Unsealed).collect();
    if adopted.is_empty() {
        return Ok(());
    }
    let git = session.fleet.git()?;
    let history =
        AgeHistory::of(&git).map_err(|error| error.about("the origin of a file without a seal cannot be found"))?;
    let top = git.relative(&session.fleet.root)?;
    let doubts = adopted.into_iter().filter_map(|reseal| {
        let file = &reseal.wanted.file;
        let beside = inventory.files.iter().filter(|(other, found)| *other != file && found.mac() == Some(reseal.mac));
        doubt(file, reseal.mac, &top, &history)
            .or_else(|| beside.map(|(other, _)| stood_as(file, &other.path())).next())
    });
    let doubts: Vec<Error> = doubts.collect();
    if doubts.is_empty() {
        return Ok(());
    }
    let many = doubts.len();
    Err(Error::batch(format!("{many} files are not adopted; nothing was changed"), doubts))
}

/// What in the history speaks against that a file without a seal is what its name says. `top` is the fleet's folder, from
/// the top of the work tree.
pub fn doubt(file: &FileName, mac: Mac, top: &str, history: &AgeHistory) -> Option<Error> {
    if history.sealed.contains(file) {
        let what = "there was a file with a seal of this name, and this one has none";
        return Some(Error::integrity(format!("{}: {what}", file.path())).help(format!(
            "restore that one (`git log -- {}`), or seal a new value: `sealift seal {file} --replace`",
            file.path()
        )));
    }
    let inside = |path: &str| {
        let below = if top.is_empty() { path } else { path.strip_prefix(top)?.strip_prefix('/')? };
        agenix::name_of(below)
    };
    let other = history.stood.get(&mac)?.iter().find(|path| inside(path).is_none_or(|name| name.file() != *file))?;
    Some(stood_as(file, other))
}

fn stood_as(file: &FileName, other: &str) -> Error {
    let what = format!("{}: this very file is, or was, {other} too: it may be the value of that", file.path());
    Error::integrity(what)
        .help(format!("put the right file there, or seal a value that you know: `sealift seal {file} --replace`"))
}

/// The files that names on the command line mean: a secret's name means all of its files.
fn chosen(session: &Session, names: &[FileName]) -> Result<Option<BTreeSet<FileName>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let policy = &session.fleet.policy;
    let wanted = policy.wanted();
    let mut chosen = BTreeSet::new();
    for name in names {
        match policy.secrets.get_key_value(name.as_str()) {
            Some((secret, declared)) => {
                chosen.extend(Policy::wanted_of(secret, declared).into_iter().map(|wanted| wanted.file));
            }
            None if wanted.contains_key(name) => drop(chosen.insert(name.clone())),
            None => return Err(unknown(session, name)),
        }
    }
    Ok(Some(chosen))
}

/// Stops before anything is opened when a file is not one that could be.
pub fn refuse_broken(plan: &Plan<'_>) -> Result<()> {
    if plan.broken.is_empty() {
        return Ok(());
    }
    let faults = plan.broken.iter().map(|(file, what)| Error::integrity(format!("{}: {what}", file.path())));
    let all =
        Error::batch(format!("{} files cannot be opened; nothing was changed", plan.broken.len()), faults.collect());
    Err(all.help("restore them from git, or seal their values again: `sealift seal NAME --replace`"))
}

/// Opens files and seals them again for the policy's readers, each re-opened and compared, into a change of the fleet.
pub fn reseal(session: &Session, work: &[Reseal<'_>], inventory: &Inventory, changes: &mut Changes) -> Result<()> {
    if work.is_empty() {
        return Ok(());
    }
    let policy = &session.fleet.policy;
    if policy.admins.is_empty() {
        return Err(Error::usage("the fleet has no admin: nobody could rekey again")
            .help("make one: `sealift identity new --admin NAME`"));
    }
    let identities = session.identities()?;
    let sealer =
        session.sealer(work.iter().flat_map(|reseal| policy.recipients_of(&reseal.wanted.hosts).into_values()))?;
    let done = std::sync::atomic::AtomicUsize::new(0);
    let results = parallel::map(work, |reseal| {
        let result = signals::check().and_then(|()| one(session, reseal, inventory, &identities, &sealer));
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        session.talk.event(Event::Progress("re-encrypting", done, work.len()));
        result
    });
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(change) => changes.add(change),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::batch(format!("{} files could not be re-encrypted; nothing was changed", failures.len()), failures))
    }
}

fn one(
    session: &Session,
    reseal: &Reseal<'_>,
    inventory: &Inventory,
    identities: &Identities,
    sealer: &age::Sealer,
) -> Result<Change> {
    let file = &reseal.wanted.file;
    let before = session.fleet.sealed(file)?.ok_or_else(|| Error::failed(format!("{} vanished", file.path())))?;
    if Some(reseal.mac) != inventory.files.get(file).and_then(Found::mac) {
        return Err(Error::new(Kind::Bug, format!("{} is not the file that was planned for", file.path())));
    }
    let after = anew(session, reseal, &before, identities, sealer)?;
    Ok(Change::write(file.path(), Some(&before), after))
}

/// The same value, sealed to the readers of the policy.
pub fn anew(
    session: &Session,
    reseal: &Reseal<'_>,
    before: &[u8],
    identities: &Identities,
    sealer: &age::Sealer,
) -> Result<Vec<u8>> {
    let file = &reseal.wanted.file;
    let opened = age::open(before, file, identities)?;
    // What was looked at is what is opened, and nothing else.
    if opened.mac != reseal.mac {
        return Err(Error::failed(format!("{} was changed by someone else meanwhile", file.path())));
    }
    let current: BTreeSet<_> = session.fleet.policy.recipients_of(&reseal.wanted.hosts).into_keys().collect();
    let seal = match &opened.seal {
        Some(seal) => seal.same_value(current),
        None => Seal::adopted(file.clone(), session.today, current, &reseal.past),
    };
    let after = sealer.seal(&opened.value, &seal)?;
    let proof = age::open(&after, file, identities)?;
    if !proof.value.same_as(&opened.value) || proof.seal.as_ref() != Some(&seal) {
        return Err(Error::new(
            Kind::Bug,
            format!("{}: what was re-encrypted does not open to the same value", file.path()),
        ));
    }
    Ok(after)
}
