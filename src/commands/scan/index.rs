//! The keyed index of values, written by an admin and used where no secret can be decrypted, such as in a hook or in
//! CI. Its key is a secret without hosts, so sealing, rekeying and rotating work as for any other secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::adapters::age::identity::{Identities, Plugins};
use crate::adapters::age::{self, generate, keyring};
use crate::adapters::fs::changes::Changes;
use crate::adapters::fs::files;
use crate::adapters::prompt::Ask;
use crate::adapters::repository::Fleet;
use crate::commands::scan::Known;
use crate::commands::scan::scanner::NotRead;
use crate::commands::scan::values::{gather, indexed};
use crate::commands::writer::Writer;
use crate::commands::{Session, adopt_policy};
use crate::domain::drift::audit::{AuditFinding, AuditRule};
use crate::domain::name::{FileName, SecretName};
use crate::domain::policy::edit::{Declaration, Edit};
use crate::domain::policy::generate::Generate;
use crate::domain::scan::index::Index;
use crate::domain::scan::index_file::{FILE, IndexFile, KEY};
use crate::domain::secret::inventory::Inventory;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::Recipient;
use crate::domain::secret::seal::Seal;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Kind, Result};

/// The size limit of an index, in bytes: enough for about ten thousand secrets.
const LIMIT: u64 = 16 << 20;
/// The name in the index's seal. It cannot be a secret's name: the key is a secret, and no secret can be below another.
const SEALED_AS: &str = "scan-index-key/index";
/// The command that rewrites an index.
const HELP: &str = "`sealift scan --write-index`";

/// Where the key of the index may be, besides the keyring.
#[derive(Clone, Debug, Default)]
pub struct KeyAt {
    /// The file given for this run. Then an index must exist, and this key must open it.
    pub named: Option<PathBuf>,
    /// A file that may exist.
    pub credential: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
pub struct Written {
    /// Number of secrets in the index.
    pub values: usize,
    /// Secrets whose values are too short to search for.
    pub too_short: Vec<String>,
    /// Secrets that could not be opened, and why.
    pub not_opened: Vec<NotRead>,
    /// Whether the key was created.
    pub made_key: bool,
    /// Whether the key is now in the OS keyring, where scans find it.
    pub in_keyring: bool,
}

/// Writes the index of the present values. Creates its key if there is none.
pub fn write(session: &mut Session) -> Result<Written> {
    let identities = session.identities()?;
    let (git, journal) = session.lock()?;
    let mut changes = Changes::default();
    let (key, recipient, made_key) = key(session, &identities, &mut changes)?;
    let inventory = session.fleet.inventory()?;
    // A rule for age identities finds the key itself.
    let files: Vec<FileName> = inventory.files.keys().filter(|file| file.as_str() != KEY).cloned().collect();
    let (gathered, known) = gather(&session.fleet, &files, &identities);
    let index = indexed(gathered)?;
    let seal = Seal::first(sealed_as()?, session.today, [recipient.fingerprint()].into());
    let content = index.content();
    // Never write an index that could not be read back.
    Index::parse(&content).map_err(|_| {
        Error::failed(format!("too many of the values are alike for {FILE}; nothing was changed"))
            .help("scan with `--identity` instead")
    })?;
    let sealed = session.sealer([&recipient])?.seal(&content, &seal)?;
    let serials = serials(&inventory);
    let names: BTreeSet<&str> = known.names.iter().map(String::as_str).collect();
    let covered = serials.into_iter().filter(|(file, _)| names.contains(file.as_str()));
    let text =
        IndexFile::new(&recipient, covered.map(|(file, serial)| (file.clone(), serial)).collect(), &sealed).text()?;
    if text.len() as u64 > LIMIT {
        return Err(Error::failed(format!("{FILE} would be larger than {} MiB; nothing was changed", LIMIT >> 20))
            .help("scan with `--identity` instead"));
    }
    changes.write(FILE, read(&session.fleet)?.as_deref(), text);
    session.commit(&git, &journal, &changes)?;
    let in_keyring = keyring::store(&recipient, &key).is_ok();
    let Known { names, too_short, unopened, .. } = known;
    Ok(Written { values: names.len(), too_short, not_opened: unopened, made_key, in_keyring })
}

/// Returns the key, its public half, and whether it was created. A new key is declared as a secret and sealed.
fn key(session: &mut Session, identities: &Identities, changes: &mut Changes) -> Result<(Plaintext, Recipient, bool)> {
    let name: SecretName = KEY.parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))?;
    if let Some(secret) = session.fleet.policy.secrets.get(name.as_str()) {
        if !secret.hosts.is_empty() {
            return Err(Error::usage(format!(
                "{KEY} is given to hosts, where it would be a way to guess the values of others"
            ))
            .help(format!("remove its `hosts` from recipients.toml, then `sealift rotate {KEY}`")));
        }
        let help = format!("make a new key: `sealift rotate {KEY}`");
        let bytes = session
            .fleet
            .sealed(&name.file())?
            .ok_or_else(|| Error::failed(format!("{} is not there", name.file().path())).help(help.as_str()))?;
        let open = || age::open(&bytes, &name.file(), identities).map(|opened| opened.value);
        // Not the public half in the file beside it: anyone who can write to the repository could have the index sealed
        // to their own key.
        let ask: Arc<dyn Ask> = session.talk.clone();
        let opened = Identities::from_content(open()?, KEY, &session.plugins, &ask)?;
        let public = opened.iter().find_map(|identity| identity.recipient.clone());
        let public =
            public.ok_or_else(|| Error::failed(format!("{KEY} is not an age identity")).help(help.as_str()))?;
        return Ok((open()?, public, false));
    }
    let mut edit = Edit::new(&session.fleet.text)?;
    let about = format!("opens {FILE}: for scans where no identity was found");
    let fields = vec![("description", about)];
    edit.declare(&name, &Declaration { fields, generate: Some(Generate::Age), ..Declaration::default() })?;
    adopt_policy(session, edit.text(), changes)?;
    let made = generate::generate(Generate::Age, &Shape::Raw, KEY)?;
    let wanted = session.fleet.policy.wanted().remove(&name.file());
    let wanted = wanted.ok_or_else(|| Error::new(Kind::Bug, format!("{KEY} is not declared")))?;
    let public = Recipient::parse(made.public.as_deref().unwrap_or_default())?;
    let mut writer = Writer::new(session, std::slice::from_ref(&wanted))?;
    writer.new_value(&wanted, &made.value, made.public, changes)?;
    writer.finish();
    Ok((made.value, public, true))
}

/// Returns the public half of the current key, if there is one.
fn public_half(fleet: &Fleet) -> Result<Option<Recipient>> {
    let name: FileName = KEY.parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))?;
    let text = fleet.public_half(&name)?;
    text.map(|text| Recipient::parse(String::from_utf8_lossy(&text).trim())).transpose()
}

/// Returns the values known from the index, or none if there is no index or its key is not available.
pub fn known_by_index(fleet: &Fleet, key: &KeyAt, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Option<Known>> {
    let Some(text) = read(fleet)? else {
        return match key.named {
            None => Ok(None),
            Some(_) => Err(Error::usage(format!("there is no {FILE}, which the key would open"))
                .help(format!("an admin writes it: {HELP}"))),
        };
    };
    let sealed = IndexFile::parse(&text)?;
    let Some(identities) = at_hand(&sealed, key, plugins, ask)? else { return Ok(None) };
    let file = sealed_as()?;
    let content = age::open(&sealed.index()?, &file, &identities).map_err(|error| {
        // The name in the seal is not that of a file.
        let what = error.in_one_line().replace(&file.path(), FILE);
        Error::new(error.kind(), format!("your key does not open {FILE}"))
            .because(what)
            .help(format!("`sealift show {KEY}` prints the current key; {HELP} seals the index to it"))
    })?;
    let index = Index::parse(&content.value)?;
    let names: Vec<String> = sealed.values.keys().map(ToString::to_string).collect();
    let secrets = index.secrets();
    // Removing a name from the readable part must not hide its findings.
    if secrets.last().is_some_and(|last| *last as usize >= names.len()) {
        return Err(Error::integrity(format!("{FILE} names fewer secrets than it covers"))
            .help(format!("an admin runs {HELP}")));
    }
    let too_short = (0..).zip(&names).filter(|(number, _)| !secrets.contains(number)).map(|(_, name)| name.clone());
    let why = format!("the index does not know its current value: {HELP}");
    let inventory = fleet.inventory()?;
    let behind = sealed.behind(serials(&inventory)).into_iter();
    Ok(Some(Known {
        too_short: too_short.collect(),
        unopened: behind.map(|name| NotRead { path: format!("secrets/{name}.age"), why: why.clone() }).collect(),
        names,
        values: Some(index),
        strange: false,
    }))
}

/// Returns the key of an index, if it is available.
fn at_hand(sealed: &IndexFile, at: &KeyAt, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<Option<Identities>> {
    let there = at.credential.as_ref().filter(|file| file.exists());
    if let Some(file) = at.named.as_ref().or(there) {
        return Identities::from_file(file, plugins, ask).map(Some);
    }
    let recipient = sealed.recipient()?;
    // A missing or locked keyring counts as no key.
    let found = keyring::find(&[recipient]).ok().flatten();
    found.map(|(_, content)| Identities::from_content(content, "the OS keyring", plugins, ask)).transpose()
}

/// Returns the findings for `check`: an index without some present values, or one that is not sealed to the current
/// key.
pub fn findings(fleet: &Fleet, inventory: &Inventory) -> Result<Vec<AuditFinding>> {
    let Some(text) = read(fleet)? else { return Ok(Vec::new()) };
    let sealed = IndexFile::parse(&text)?;
    let finding =
        |what: String| AuditFinding::warning(AuditRule::IndexBehind, FILE, what, format!("an admin runs {HELP}"));
    let (today, its) = (public_half(fleet)?, sealed.recipient()?);
    let key = today.is_none_or(|key| key.fingerprint() != its.fingerprint());
    let other = key.then(|| finding(format!("it is not sealed to the current {KEY}")));
    let behind = sealed.behind(serials(inventory));
    let missing = (!behind.is_empty()).then(|| finding(format!("it does not know the value of {}", behind.join(", "))));
    Ok(other.into_iter().chain(missing).collect())
}

fn serials(inventory: &Inventory) -> BTreeMap<&FileName, u64> {
    let serial = |file| inventory.seal(file).map_or(0, |seal| seal.serial);
    inventory.files.keys().map(|file| (file, serial(file))).collect()
}

fn sealed_as() -> Result<FileName> {
    SEALED_AS.parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))
}

/// Returns the content of the index file, if it exists.
fn read(fleet: &Fleet) -> Result<Option<Vec<u8>>> {
    let path = fleet.root.join(FILE);
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    files::read(&path, LIMIT).map(Some)
}
