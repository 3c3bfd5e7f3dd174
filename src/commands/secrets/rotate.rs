//! `rotate`: a new value for a secret, sealed to today's readers. What takes a value away from somebody who knew it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::adapters::age::generate::generate;
use crate::adapters::fs::files;
use crate::commands::secrets::list::knowledge;
use crate::commands::secrets::seal::{Source, find, fitting};
use crate::commands::secrets::show::unknown;
use crate::commands::writer::{Sealed, Writer};
use crate::commands::{Changes, Session};
use crate::domain::name::{FileName, HostName};
use crate::domain::policy::{Policy, Wanted};
use crate::domain::secret::age_header;
use crate::error::{Error, Kind, Result};

/// What to rotate.
pub struct Request {
    /// These secrets or files.
    pub names: Vec<FileName>,
    /// And everything whose present value this host could ever read.
    pub exposed_to: Option<HostName>,
    /// Where the value of a single one comes from, if not made or asked for.
    pub source: Option<Source>,
    /// Make the change that the shape check offers.
    pub fix: bool,
}

/// What was rotated.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The files with a new value.
    pub rotated: Vec<Sealed>,
    /// Files that need a value which nobody gave, with the reason.
    pub left: Vec<(FileName, String)>,
}

impl Report {
    /// The code that it comes to.
    pub fn kind(&self) -> Option<Kind> {
        match (self.rotated.is_empty(), self.left.is_empty()) {
            (_, true) => None,
            (true, false) => Some(Kind::Failed),
            (false, false) => Some(Kind::Partial),
        }
    }
}

/// Gives new values: made ones by themselves, the others asked for.
///
/// # Errors
/// When a name means nothing, or nothing can be written.
pub fn run(session: &mut Session, request: Request) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let chosen = chosen(session, &request)?;
    let policy = &session.fleet.policy;
    let wanted: Vec<Wanted<'_>> =
        policy.wanted().into_values().filter(|wanted| chosen.contains(&wanted.file)).collect();
    let mut report = Report { rotated: Vec::new(), left: Vec::new() };
    if wanted.is_empty() {
        return Ok(report);
    }
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
    report.rotated = writer.sealed;
    session.commit(&git, &journal, &changes)?;
    Ok(report)
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
    if let Some(host) = &request.exposed_to {
        let known = knowledge(session, host)?;
        let wanted = policy.wanted();
        chosen.extend(known.reads.into_iter().chain(known.knows).filter(|file| wanted.contains_key(file)));
    }
    Ok(chosen)
}
