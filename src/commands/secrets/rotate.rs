//! `rotate`: seals a new value to the present readers. Only this makes the value useless to somebody who knew it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::civil::Date;
use serde::Serialize;

use crate::adapters::age::generate::generate;
use crate::adapters::fs::files;
use crate::commands::secrets::seal::{Source, find, fitting};
use crate::commands::secrets::show::unknown;
use crate::commands::secrets::who::{keys_by_name, known_by};
use crate::commands::writer::{Sealed, Writer, warn_of_past_date};
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::name::{FileName, HostWord, SecretName};
use crate::domain::policy::edit::Edit;
use crate::domain::policy::{Policy, Wanted};
use crate::domain::secret::age_header;
use crate::error::{Error, Kind, Result};

pub struct Request {
    pub names: Vec<FileName>,
    /// Also every secret whose present value this host or admin could ever read.
    pub exposed_to: Option<HostWord>,
    /// Also every generated secret that has no value yet.
    pub missing: bool,
    /// Where the value of a single secret comes from, if it is neither generated nor typed.
    pub source: Option<Source>,
    /// Apply the fix that the shape check offers.
    pub fix: bool,
    /// When the new values expire, if given.
    pub expires: Option<Expiry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    On(Date),
    Never,
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            text => text.parse().map(Self::On).map_err(|_| "a date such as 2027-03-01, or `never`".to_owned()),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// The files with a new value.
    pub rotated: Vec<Sealed>,
    /// Files that need a value but got none, with the reason.
    pub left: Vec<(FileName, String)>,
}

impl Report {
    /// Returns the error kind for the exit code.
    pub fn kind(&self) -> Option<Kind> {
        match (self.rotated.is_empty(), self.left.is_empty()) {
            (_, true) => None,
            (true, false) => Some(Kind::Failed),
            (false, false) => Some(Kind::Partial),
        }
    }
}

/// Fails if one of the names is unknown. Called before a value is read.
pub fn refuse_unknown(session: &Session, names: &[FileName]) -> Result<()> {
    let known = |name| find(&session.fleet.policy, name).map(drop).ok_or_else(|| unknown(session, name));
    names.iter().try_for_each(known)
}

/// Sets new values: generates them if the policy says how, and asks for the others.
///
/// Fails if a name is unknown, or nothing can be written.
pub fn run(session: &mut Session, request: Request) -> Result<Report> {
    if let Some(Expiry::On(end)) = request.expires.filter(|next| !is_ahead(*next, session.today)) {
        return Err(Error::usage(format!("--expires {end} is past")).help("give a day after today, or `never`"));
    }
    let (git, journal) = session.lock()?;
    let chosen = chosen(session, &request)?;
    let policy = &session.fleet.policy;
    let wanted: Vec<Wanted<'_>> =
        policy.wanted().into_values().filter(|wanted| chosen.contains(&wanted.file)).collect();
    let mut report = Report { rotated: Vec::new(), left: Vec::new() };
    if wanted.is_empty() {
        return Ok(report);
    }
    // A value that is piped in comes from a program, even if there is a terminal.
    let asks = !matches!(request.source, Some(Source::Given(_)));
    let mut given = match request.source {
        Some(_) if wanted.len() > 1 => {
            return Err(Error::usage(format!("one value was given, and {} files are to be rotated", wanted.len()))
                .help("rotate them one at a time"));
        }
        Some(Source::Given(value)) => Some(value),
        Some(Source::File { path, .. }) => Some(files::read_plaintext(&path, age_header::VALUE_LIMIT)?),
        None | Some(Source::Prompt | Source::Generate(_)) => None,
    };
    let mut changes = Changes::default();
    let mut writer = Writer::new(session, &wanted)?;
    for wanted in &wanted {
        let value = match (given.take(), wanted.secret.generate) {
            (Some(value), _) => Ok((value, None)),
            (None, Some(how)) => {
                generate(how, &wanted.secret.shape, wanted.file.as_str()).map(|made| (made.value, made.public))
            }
            (None, None) => session.talk.new_value(wanted.file.as_str()).map(|value| (value, None)),
        };
        let fitted =
            value.and_then(|(value, public)| Ok((fitting(value, &wanted.secret.shape, request.fix, session)?, public)));
        match fitted {
            Ok((value, public)) => writer.new_value(wanted, &value, public, &mut changes)?,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => report.left.push((wanted.file.clone(), error.to_string())),
        }
    }
    report.rotated = writer.finish();
    let rotated = |wanted: &&Wanted<'_>| report.rotated.iter().any(|sealed| sealed.file == wanted.file);
    let rotated: Vec<Wanted<'_>> = wanted.iter().filter(rotated).cloned().collect();
    if let Some(text) = dates(session, &rotated, request.expires, asks)? {
        adopt_policy(session, text, &mut changes)?;
    }
    session.commit(&git, &journal, &changes)?;
    Ok(report)
}

fn is_ahead(next: Expiry, today: Date) -> bool {
    !matches!(next, Expiry::On(end) if end <= today)
}

/// Returns the policy text with new expiry dates of the rotated secrets, or none if no date changes.
fn dates(session: &Session, rotated: &[Wanted<'_>], given: Option<Expiry>, asks: bool) -> Result<Option<String>> {
    let dated: BTreeMap<&SecretName, Option<Date>> =
        rotated.iter().map(|wanted| (wanted.name, wanted.secret.expires)).collect();
    let mut edit = Edit::new(&session.fleet.text)?;
    let mut edited = false;
    for (name, date) in dated {
        let next = match (given, date) {
            (Some(next), _) => Some(next),
            (None, Some(date)) if asks => asked(session, name, date)?,
            (None, _) => None,
        };
        match next {
            Some(Expiry::On(end)) => edit.set_field(name, "expires", &end.to_string())?,
            Some(Expiry::Never) => edit.unset_field(name, "expires")?,
            None => {
                let of: Vec<_> = rotated.iter().filter(|wanted| wanted.name == name).cloned().collect();
                warn_of_past_date(session, &of);
                continue;
            }
        }
        edited = true;
    }
    Ok(edited.then(|| edit.text()))
}

/// Asks when a new value expires. Returns none if nobody can be asked, or the date stays.
fn asked(session: &Session, name: &SecretName, date: Date) -> Result<Option<Expiry>> {
    let (was, keeps) = if date <= session.today { ("expired", "leaves it") } else { ("expires", "keeps that") };
    let question =
        format!("{name} {was} on {date}. When does the new value expire? (YYYY-MM-DD, never; Enter {keeps}): ");
    for _ in 0..3 {
        match session.talk.answer(&question)?.as_deref() {
            None | Some("") => return Ok(None),
            Some(text) => match text.parse::<Expiry>() {
                Ok(next) if is_ahead(next, session.today) => return Ok(Some(next)),
                Ok(_) => session.note("that day is past; give one after today"),
                Err(wanted) => session.note(format!("not understood: {wanted}")),
            },
        }
    }
    Err(Error::failed(format!("no date for {name}; nothing changed")).help("`--expires DATE`, or `--expires never`"))
}

fn chosen(session: &Session, request: &Request) -> Result<BTreeSet<FileName>> {
    let policy = &session.fleet.policy;
    let mut chosen = BTreeSet::new();
    for name in &request.names {
        let (secret, host) = find(policy, name).ok_or_else(|| unknown(session, name))?;
        let (secret, declared) = policy.secrets.get_key_value(&secret).ok_or_else(|| unknown(session, name))?;
        let files = Policy::wanted_of(secret, declared).into_iter();
        chosen.extend(
            files.filter(|wanted| host.as_ref().is_none_or(|host| wanted.hosts == [host])).map(|wanted| wanted.file),
        );
    }
    if let Some(who) = &request.exposed_to {
        let (reads, knows) = known_by(session, &keys_by_name(session, who.as_str())?)?;
        let wanted = policy.wanted();
        chosen.extend(reads.into_iter().chain(knows).filter(|file| wanted.contains_key(file)));
    }
    if request.missing {
        let inventory = session.fleet.inventory()?;
        let missing = policy.wanted().into_values().filter(|wanted| !inventory.files.contains_key(&wanted.file));
        let files: Vec<FileName> =
            missing.filter(|wanted| wanted.secret.generate.is_some()).map(|wanted| wanted.file).collect();
        // A deleted file that was committed still has a value in git.
        let paths: Vec<_> = files.iter().map(|file| session.fleet.root.join(file.path())).collect();
        let committed = session.fleet.git()?.are_committed(&paths)?;
        chosen.extend(files.into_iter().zip(committed).filter(|(_, committed)| !committed).map(|(file, _)| file));
    }
    Ok(chosen)
}
