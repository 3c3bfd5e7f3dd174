//! `seal`: seals a new value. Needs no private key: the serial is read from the file's own seal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::adapters::age;
use crate::adapters::age::generate::generate;
use crate::adapters::fs::files;
use crate::commands::hosts::select::declared;
use crate::commands::secrets::show::unknown;
use crate::commands::writer::{Sealed, Writer, warn_of_past_date};
use crate::commands::{Changes, Session, adopt_policy, scan};
use crate::domain::name::{FileName, HostName, SecretName, UnitName};
use crate::domain::policy::edit::{Declaration, Edit, selector_texts};
use crate::domain::policy::generate::{Generate, KINDS};
use crate::domain::policy::{FILE, Policy, Secret, Wanted, parse};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

/// Where a new value comes from.
pub enum Source {
    /// Typed by the user.
    Prompt,
    /// Read from standard input.
    Given(Plaintext),
    /// From a file, which can be overwritten and removed afterwards.
    File {
        path: PathBuf,
        /// Whether to destroy the file after its content is sealed.
        shred: bool,
    },
    /// Generated here; `None` as the policy says.
    Generate(Option<Generate>),
}

pub struct Request {
    /// The secret, or one host's file of it.
    pub file: FileName,
    pub source: Source,
    /// The declaration of a new secret.
    pub declaration: Declaration,
    /// Whether the length of a generated value was given.
    pub sized: bool,
    /// Replace an existing value.
    pub replace: bool,
    /// Apply the fix that the shape check offers.
    pub fix: bool,
    /// The size limit of a value, in bytes.
    pub limit: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub sealed: Vec<Sealed>,
    /// Whether this declared the secret.
    pub declared: bool,
}

/// Fails if a name that is to be sealed is neither known nor declared here, or one of `--hosts` names nothing. Called
/// before a value is read.
pub fn refuse_unknown(session: &Session, file: &FileName, hosts: &[String]) -> Result<()> {
    declared(&session.fleet.policy, hosts)?;
    if find(&session.fleet.policy, file).is_some() {
        return Ok(());
    }
    new_name(file)?;
    if hosts.is_empty() { Err(undeclared(session, file)) } else { Ok(()) }
}

/// The name of a secret that is to be declared.
fn new_name(file: &FileName) -> Result<SecretName> {
    let name: SecretName = file.as_str().parse().map_err(|fault| Error::usage(format!("{fault}")))?;
    if let Some(bare) = file.without_place() {
        return Err(
            Error::usage(format!("{name}: a name is without `secrets/` and `.age`")).help(format!("name it {bare}"))
        );
    }
    Ok(name)
}

fn undeclared(session: &Session, file: &FileName) -> Error {
    let help = format!("to declare it, say who reads it: `sealift seal {file} --hosts HOST,@TAG`");
    unknown(session, file).help(help)
}

/// Seals one value, or one for each host.
pub fn run(session: &mut Session, mut request: Request) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let mut changes = Changes::default();
    let (name, only, declared) = declare(session, &mut request, &mut changes)?;
    let policy = &session.fleet.policy;
    let (_, secret) = policy
        .secrets
        .get_key_value(name.as_str())
        .ok_or_else(|| Error::usage(format!("there is no secret {name}")))?;
    let mut wanted = Policy::wanted_of(&name, secret);
    if let Some(host) = &only {
        wanted.retain(|wanted| wanted.hosts == [host]);
    }
    if !request.replace {
        may_replace(session, &wanted)?;
    }
    let values = values(session, request.source, &wanted, request.limit)?;
    if values.looked_for {
        let made = wanted.iter().zip(&values.made).map(|(wanted, (value, _))| (wanted.file.as_str(), value));
        for what in scan::standing(&session.fleet.root, made) {
            session.warn(format!("{what}: remove it, and seal a new value once it is gone"));
        }
    }
    let mut writer = Writer::new(session, &wanted)?;
    for (wanted, (value, public)) in wanted.iter().zip(values.made) {
        let value = fitting(value, &wanted.secret.shape, request.fix, session)?;
        writer.new_value(wanted, &value, public, &mut changes)?;
    }
    let sealed = writer.finish();
    warn_of_past_date(session, &wanted);
    session.commit(&git, &journal, &changes)?;
    if let Some(path) = values.shred {
        files::shred(&path)
            .map_err(|error| Error::failed(format!("the value is sealed, but {}", error.message())).because(error))?;
    }
    Ok(Report { sealed, declared })
}

/// Finds the secret with this name, or declares it.
fn declare(
    session: &mut Session,
    request: &mut Request,
    changes: &mut Changes,
) -> Result<(SecretName, Option<HostName>, bool)> {
    let policy = &session.fleet.policy;
    request.declaration.hosts = declared(policy, &request.declaration.hosts)?;
    if let Some((name, host)) = find(policy, &request.file) {
        let declared = &policy.secrets[name.as_str()];
        // A kind without a length does not ask for another length.
        if let (Some(given), Some(known)) = (request.declaration.generate, declared.generate)
            && !request.sized
            && std::mem::discriminant(&given) == std::mem::discriminant(&known)
        {
            request.declaration.generate = Some(known);
            request.source = Source::Generate(Some(known));
        }
        let against = contradictions(&session.fleet.text, &name, declared, &request.declaration)?;
        if !against.is_empty() {
            return Err(Error::usage(format!("{name} is declared otherwise in {FILE}: {}", against.join(", ")))
                .help(format!("leave it out; or edit [secrets.\"{name}\"] in {FILE} first, and see `sealift check`")));
        }
        return Ok((name, host, false));
    }
    let name = new_name(&request.file)?;
    if request.declaration.hosts.is_empty() {
        return Err(undeclared(session, &request.file));
    }
    let mut declaration = request.declaration.clone();
    if let Source::Generate(how) = &request.source {
        declaration.generate = declaration.generate.or(*how);
    }
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.declare(&name, &declaration)?;
    adopt_policy(session, edit.text(), changes)?;
    let secret = &session.fleet.policy.secrets[name.as_str()];
    if secret.hosts.is_empty() {
        return Err(Error::usage(format!("{name} would be for no host: the fleet has none yet"))
            .help("add one: `sealift host add NAME --ssh USER@ADDRESS`"));
    }
    if let Some(end) = secret.expires.filter(|end| *end <= session.today) {
        return Err(Error::usage(format!("--expires {end} is past, and the value is new"))
            .help("give the day on which this value ends, or leave it out"));
    }
    Ok((name, None, true))
}

/// Returns the options that contradict the declaration.
fn contradictions(text: &str, name: &SecretName, declared: &Secret, given: &Declaration) -> Result<Vec<String>> {
    let differ = |given: &[String], known: Vec<String>| {
        !given.is_empty() && given.iter().collect::<BTreeSet<_>>() != known.iter().collect()
    };
    let units = |units: &[UnitName]| units.iter().map(ToString::to_string).collect();
    let delivery = &declared.delivery;
    let mut against: Vec<String> = [
        ("--hosts", differ(&given.hosts, selector_texts(&declared.selectors))),
        ("--per-host", given.per_host && !declared.per_host),
        ("--restart", differ(&given.restart, units(&delivery.restart))),
        ("--reload", differ(&given.reload, units(&delivery.reload))),
        ("--needed-for-users", given.needed_for_users && !delivery.needed_for_users),
        (
            "--generate",
            given.generate.is_some() && declared.generate.is_some_and(|known| Some(known) != given.generate),
        ),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(option, _)| option.to_owned())
    .collect();
    for (field, value) in &given.fields {
        let mut edit = Edit::new(text)?;
        edit.set_field(name, field, value)?;
        let policy = parse::parse_edited(&edit.text())?;
        let same = policy.secrets.get(name.as_str()).is_some_and(|with| {
            let with = Secret { line: declared.line, ..with.clone() };
            with == *declared
        });
        if !same {
            against.push(format!("--{}", field.replace('_', "-")));
        }
    }
    Ok(against)
}

/// Asks before an existing value is replaced.
fn may_replace(session: &Session, wanted: &[Wanted<'_>]) -> Result<()> {
    let (mut there, mut names) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let Some(bytes) = session.fleet.sealed(&wanted.file)? else { continue };
        let what = match age::envelope_of(&bytes).map(|envelope| envelope.seal) {
            Some(Some(seal)) if seal.made == session.today => format!("version {}, sealed today", seal.serial),
            Some(Some(seal)) => format!("version {}, sealed on {}", seal.serial, seal.made),
            Some(None) => "it has no seal".to_owned(),
            None => "it cannot be opened as it is".to_owned(),
        };
        there.push(format!("{} exists ({what})", wanted.file));
        names.push(wanted.file.as_str());
    }
    let one = match there.len() {
        0 => return Ok(()),
        1 => "it",
        _ => "them",
    };
    let told = there.join(", ");
    if !session.talk.is_there() {
        return Err(Error::usage(told)
            .help(format!("`--replace` replaces {one}; `sealift rotate {}` gives a new value too", names.join(" "))));
    }
    if session.talk.confirm(&format!("{told}. Replace {one}?"))? {
        Ok(())
    } else {
        Err(Error::failed("nothing was replaced"))
    }
}

/// Returns the secret of a file's name, and the host if the file is per-host.
pub fn find(policy: &Policy, file: &FileName) -> Option<(SecretName, Option<HostName>)> {
    if let Some((name, _)) = policy.secrets.get_key_value(file.as_str()) {
        return Some((name.clone(), None));
    }
    let (name, host) = file.as_str().rsplit_once('/')?;
    let (name, secret) = policy.secrets.get_key_value(name).filter(|(_, secret)| secret.per_host)?;
    let host = secret.hosts.get(host)?;
    Some((name.clone(), Some(host.clone())))
}

struct Values {
    made: Vec<(Plaintext, Option<String>)>,
    shred: Option<PathBuf>,
    /// Whether to search the repository for the values. Not for values generated here.
    looked_for: bool,
}

/// Returns a value for each file.
fn values(session: &Session, source: Source, wanted: &[Wanted<'_>], limit: usize) -> Result<Values> {
    let one = |value: Box<dyn FnOnce() -> Result<Plaintext>>| {
        if wanted.len() == 1 {
            return Ok(vec![(value()?, None)]);
        }
        Err(Error::usage("each host has a value of its own here, and one was given").help(format!(
            "seal each: `sealift seal {}`, or have them generated: `--generate`",
            wanted.first().map_or("NAME/HOST", |first| first.file.as_str())
        )))
    };
    match source {
        Source::Prompt => {
            let made =
                wanted.iter().map(|wanted| session.talk.new_value(wanted.file.as_str()).map(|value| (value, None)));
            Ok(Values { made: made.collect::<Result<_>>()?, shred: None, looked_for: true })
        }
        Source::Given(value) => Ok(Values { made: one(Box::new(|| Ok(value)))?, shred: None, looked_for: true }),
        Source::File { path, shred } => {
            let from = path.clone();
            let made = one(Box::new(move || files::read_plaintext(&from, limit)))?;
            let place = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if shred
                && (place == session.fleet.root.join(FILE) || place.starts_with(session.fleet.root.join("secrets")))
            {
                return Err(Error::usage(format!("{} is a file of the fleet itself", path.display()))
                    .help("leave out `--shred`"));
            }
            if let Ok(inside) = std::fs::canonicalize(&path)
                && inside.starts_with(&session.fleet.root)
                && !shred
            {
                session.warn(format!("{} is plaintext inside the repository: remove it, and treat the value as leaked if it was ever staged", path.display()));
            }
            // A file in the repository that is about to be destroyed needs no warning.
            let looked_for = !(shred && place.starts_with(&session.fleet.root));
            Ok(Values { made, shred: shred.then_some(path), looked_for })
        }
        Source::Generate(how) => {
            let made = wanted.iter().map(|wanted| {
                let how = how.or(wanted.secret.generate).ok_or_else(|| {
                    Error::usage(format!("{} does not say how a value is generated", wanted.name))
                        .help(format!("name a kind: `--generate {}`", KINDS.map(|(name, _, _)| name).join("|")))
                })?;
                let made = generate(how, &wanted.secret.shape, wanted.file.as_str())?;
                Ok((made.value, made.public))
            });
            Ok(Values { made: made.collect::<Result<_>>()?, shred: None, looked_for: false })
        }
    }
}

/// Checks a value against its shape. Changes it only if the user agrees, and says so.
///
/// Fails if it does not fit; the help names a fix.
pub fn fitting(value: Plaintext, shape: &Shape, fix: bool, session: &Session) -> Result<Plaintext> {
    let Err(misfit) = value.expose(|bytes| shape.check(bytes)) else { return Ok(value) };
    let refused = Error::failed(format!("the value is not of the shape {shape}: {}", misfit.what));
    let Some(offer) = misfit.fix else { return Err(refused) };
    if !fix
        && !session
            .talk
            .confirm(&format!("The value is not of the shape {shape}: {}. Fix it ({offer})?", misfit.what))?
    {
        return Err(refused.help(format!("`--fix` does it for you: {offer}")));
    }
    let fixed = value.expose(|bytes| Plaintext::concat(&offer.parts(bytes)));
    fixed
        .expose(|bytes| shape.check(bytes))
        .map_err(|misfit| Error::failed(format!("the value is not of the shape {shape}: {}", misfit.what)))?;
    session.note(format!("done as offered: {offer}"));
    Ok(fixed)
}
