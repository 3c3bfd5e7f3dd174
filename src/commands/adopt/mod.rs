//! `adopt`: seals a secret that is inline in a file, and replaces it there with the path of the delivered file. All
//! files change, or none. Needs no private key.

mod git_key;
pub mod import;
mod inline;
mod nix;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::fs::files;
use crate::adapters::git::Git;
use crate::adapters::git::history::{self, Trace};
use crate::adapters::{flake, signals};
use crate::commands::adopt::inline::{Inline, Location};
use crate::commands::hosts::select::declared;
use crate::commands::talk::Event;
use crate::commands::writer::Writer;
use crate::commands::{Changes, Session, adopt_policy};
use crate::domain::foreign::holds;
use crate::domain::name::{HostName, HostWord, SecretName};
use crate::domain::policy::edit::{Declaration, Edit};
use crate::domain::policy::{FILE, Policy};
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

pub use crate::commands::adopt::inline::Request;

/// The size limit of a file to change, in bytes.
const LIMIT: u64 = 1 << 20;

#[derive(Debug, Serialize)]
pub struct Report {
    pub secret: SecretName,
    /// The changed file, relative to the fleet's root.
    pub file: String,
    pub line: usize,
    /// The option that held the value.
    pub option: String,
    /// The option that now has the path.
    pub twin: String,
    /// The shape of the sealed value.
    pub shape: String,
    /// The hosts that receive it.
    pub hosts: Vec<HostName>,
    /// The changes, line by line, without any value.
    pub changes: Vec<String>,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Commits that added or removed the value.
    pub commits: Vec<Trace>,
    /// Other files in the last commit that contain the value too.
    pub also_in: Vec<String>,
    /// Parts of the history that were not searched.
    pub not_looked_at: Vec<String>,
    /// Where others could read the value, or that this is unknown. None if nobody could.
    pub exposed: Option<&'static str>,
}

/// Seals an inline value and rewrites the file.
pub fn run(session: &mut Session, request: &Request) -> Result<Report> {
    let (git, journal) = session.lock()?;
    let (path, relative) = place(&session.fleet.root, &request.file)?;
    let (bytes, mode) = read(&path, &relative)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::usage(format!("{relative} is not UTF-8 text")))?;
    if text.contains('\r') {
        return Err(Error::usage(format!("{relative} has CRLF line endings, or a carriage return"))
            .help("write it with line feeds alone, then run this again"));
    }
    let inline = if relative.ends_with(".nix") {
        nix::find(text, request).map_err(|error| error.about(&relative))?
    } else {
        git_key::find(session, text, &path, request).map_err(|error| error.about(&relative))?
    };
    let hosts = readers(session, request, &relative)?;
    let name = name(session, request, &inline, &hosts)?;
    let mut changes = Changes::default();
    let lines = declare(session, &name, &inline, hosts, request, &mut changes)?;
    let delivered = session.fleet.policy.secrets[name.as_str()].delivery.path.clone();
    let (new, mut shown) = match &inline.place {
        Location::Option(found) => {
            let edited = nix::rewrite(text, found, &inline, &name).map_err(|error| error.about(&relative))?;
            (edited.text, edited.shown)
        }
        Location::Key(key) => git_key::rewrite(text, key, &delivered),
    };
    changes.write_keeping(relative.as_str(), &bytes, new.clone().into_bytes(), mode);
    let shred = match &inline.place {
        Location::Key(key) => git_key::dispose(session, key, &inline.value, request.shred, &mut changes, &mut shown)?,
        Location::Option(_) => None,
    };
    shown.insert(0, relative.clone());
    shown.push(FILE.to_owned());
    shown.extend(lines.lines().map(|line| format!("+      {line}")));
    shown.push(format!("{} (new)", name.file().path()));
    let mut report = Report {
        secret: name.clone(),
        file: relative.clone(),
        line: request.line,
        option: inline.option.clone(),
        twin: inline.twin.clone(),
        shape: inline.shape.to_string(),
        hosts: session.fleet.policy.secrets[name.as_str()].hosts.iter().cloned().collect(),
        changes: shown,
        dry_run: request.dry_run,
        commits: Vec::new(),
        also_in: Vec::new(),
        not_looked_at: Vec::new(),
        exposed: None,
    };
    let needle = needle(&inline.value, &inline.written, &inline.shape);
    let value = shaped(filled(inline.value, inline.content), &inline.shape)?;
    if request.dry_run {
        return Ok(report);
    }
    report.changes.iter().for_each(|line| session.note(line.as_str()));
    let question = format!("Seal it as {name}, and change {relative} like this?");
    if !request.yes && !session.talk.confirm(&question)? {
        return Err(
            Error::failed("nothing was adopted").help("`--yes` does it without asking, `--dry-run` only shows it")
        );
    }
    staged_along(session, &git, &path, &bytes, &relative)?;
    let for_nix = seen_by_nix(session, &git, &path, &inline.place)?;
    let policy = &session.fleet.policy;
    let (declared_name, secret) = policy
        .secrets
        .get_key_value(name.as_str())
        .ok_or_else(|| Error::usage(format!("there is no secret {name}")))?;
    let wanted = Policy::wanted_of(declared_name, secret);
    let mut writer = Writer::new(session, &wanted)?;
    // The sealed file is written before the value is removed from its old place.
    let mut all = Changes::default();
    for wanted in &wanted {
        writer.new_value(wanted, &value, None, &mut all)?;
    }
    writer.finish();
    all.append(changes);
    session.commit(&git, &journal, &all)?;
    if let Some(path) = shred {
        files::shred(&path)
            .map_err(|error| Error::failed(format!("the key is sealed, but {}", error.message())).because(error))?;
    }
    if !inline.note.is_empty() {
        session.note(inline.note);
    }
    if needle.expose(|needle| holds(new.as_bytes(), needle)) {
        session.warn(format!("{relative} still holds the same value at another place: run this for that line too"));
    }
    let objects = traces(session, &git, &needle, &relative, &mut report)?;
    report.exposed = if objects > 0 {
        Some("the git history holds it")
    } else if for_nix {
        Some("a system that was built from it has it in its Nix store")
    } else if !report.not_looked_at.is_empty() {
        Some("whether a commit holds it is not known")
    } else {
        None
    };
    Ok(report)
}

/// Wraps the value in the configuration that the option's file needs, if any.
fn filled(value: Plaintext, content: Option<&str>) -> Plaintext {
    match content.and_then(|content| content.split_once('%')) {
        Some((before, after)) => {
            value.expose(|bytes| Plaintext::concat(&[before.as_bytes(), bytes, after.as_bytes(), b"\n"]))
        }
        None => value,
    }
}

/// Returns the value in its shape, with `TOKEN=` in front and a newline at the end if the shape needs them.
fn shaped(value: Plaintext, shape: &Shape) -> Result<Plaintext> {
    let refused = |what: &str| {
        Error::failed(format!("the value is not of the shape {shape}: {what}"))
            .help("name another with `--shape`; raw takes any bytes")
    };
    let Err(misfit) = value.expose(|bytes| shape.check(bytes)) else { return Ok(value) };
    let fix = misfit.fix.ok_or_else(|| refused(misfit.what))?;
    let fixed = value.expose(|bytes| Plaintext::concat(&fix.parts(bytes)));
    fixed.expose(|bytes| shape.check(bytes)).map_err(|misfit| refused(misfit.what))?;
    Ok(fixed)
}

/// Returns the file, and its path relative to the fleet's root.
fn place(root: &Path, file: &Path) -> Result<(PathBuf, String)> {
    let shown = file.display();
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(Error::usage(format!("{shown} is not a file")));
    };
    let folder = std::fs::canonicalize(folder).map_err(|error| Error::io(format!("there is no {shown}"), error))?;
    let path = folder.join(name);
    let inside = path.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
    let inside = inside.ok_or_else(|| {
        Error::usage(format!("{shown} is not in the fleet {}", root.display()))
            .help("adopt changes files of the fleet alone; `sealift seal NAME --from-file FILE` seals any other")
    })?;
    if inside == FILE || inside.starts_with("secrets/") || inside.starts_with(".git/") {
        return Err(Error::usage(format!("{inside} is not a file that holds a value inline")));
    }
    Ok((path, inside))
}

/// Returns the content of a file and its permissions.
fn read(path: &Path, relative: &str) -> Result<(Vec<u8>, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let bytes = files::read(path, LIMIT)?;
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(format!("cannot look at {relative}"), error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o111 != 0 {
        return Err(Error::usage(format!("{relative} is executable, which a file that is only read need not be"))
            .help(format!("run `chmod -x {relative}`, then this again")));
    }
    Ok((bytes, mode))
}

/// Who is to read the secret: the hosts that were named, else the one whose file it is.
fn readers(session: &Session, request: &Request, relative: &str) -> Result<Vec<String>> {
    match &request.hosts[..] {
        [] => Ok(vec![host_of(session, relative)?]),
        words => declared(&session.fleet.policy, words),
    }
}

/// Returns the host of a file from its path: `hosts/NAME/…` or `hosts/NAME.nix`.
fn host_of(session: &Session, relative: &str) -> Result<String> {
    let word = relative.strip_prefix("hosts/").and_then(|rest| rest.split('/').next());
    let word = word.map(|word| word.strip_suffix(".nix").unwrap_or(word));
    let policy = &session.fleet.policy;
    let known: Vec<&str> = policy.hosts.keys().map(HostName::as_str).collect();
    let host = word.and_then(|word| policy.called(word));
    match (host, word) {
        (Some(host), _) => Ok(host.to_string()),
        (None, Some(word)) if word.parse::<HostWord>().is_ok() => Err(Error::usage(format!(
            "{relative} is of the host {word}, which {FILE} does not have"
        ))
        .help(format!("add it: `sealift host add {word} --key-file KEY.pub`, or say who reads it: `--hosts LIST`"))),
        _ => Err(Error::usage(format!("the path {relative} does not say which hosts read it"))
            .help(format!("say it with `--hosts`: {}, @TAG or *", known.join(", ")))),
    }
}

/// Returns the given name or the proposed one, with the host appended if the proposed name is taken.
fn name(session: &Session, request: &Request, inline: &Inline, hosts: &[String]) -> Result<SecretName> {
    // A file without a declared secret may hold somebody's value too.
    let there = |name: &SecretName| session.fleet.root.join(name.file().path()).symlink_metadata().is_ok();
    let taken = |name: &SecretName| session.fleet.policy.secrets.contains_key(name.as_str()) || there(name);
    if let Some(name) = &request.name {
        if taken(name) {
            return Err(Error::usage(format!("there is a secret {name} already")).help("choose another name"));
        }
        return Ok(name.clone());
    }
    let proposed = |text: &str| {
        text.parse::<SecretName>().map_err(|_| {
            Error::usage(format!("no secret name can be derived from {}", inline.option)).help("give one with `--name`")
        })
    };
    let first = proposed(&inline.name)?;
    if !taken(&first) {
        return Ok(first);
    }
    match hosts {
        [host] if host.parse::<HostName>().is_ok() => {
            let second = proposed(&format!("{}-{host}", inline.name))?;
            if !taken(&second) {
                return Ok(second);
            }
        }
        _ => {}
    }
    Err(Error::usage(format!("there is a secret {first} already")).help("give another name with `--name`"))
}

/// Declares the secret. Returns the lines added to the policy.
fn declare(
    session: &mut Session,
    name: &SecretName,
    inline: &Inline,
    hosts: Vec<String>,
    request: &Request,
    changes: &mut Changes,
) -> Result<String> {
    let owner = request.owner.clone().unwrap_or_else(|| inline.owner.clone());
    let mut fields = vec![("shape", inline.shape.to_string())];
    if owner != "root" {
        fields.push(("owner", owner));
    }
    let declaration = Declaration {
        hosts,
        fields,
        restart: inline.unit.iter().cloned().collect(),
        needed_for_users: inline.for_users,
        ..Declaration::default()
    };
    let mut edit = Edit::new(&session.fleet.text)?;
    edit.declare(name, &declaration)?;
    let before = session.fleet.text.clone();
    adopt_policy(session, edit.text(), changes)?;
    if session.fleet.policy.secrets[name.as_str()].hosts.is_empty() {
        return Err(Error::usage(format!("{name} would be for no host")).help("name some: `--hosts LIST`"));
    }
    let after = &session.fleet.text;
    let same = after.lines().zip(before.lines()).take_while(|(new, old)| new == old).count();
    let added = after.lines().count() - before.lines().count();
    let lines: Vec<&str> = after.lines().skip(same).take(added).filter(|line| !line.is_empty()).collect();
    Ok(lines.join("\n"))
}

/// Warns if staging the file also stages other changes that the user had not staged.
fn staged_along(session: &Session, git: &Git, path: &Path, bytes: &[u8], relative: &str) -> Result<()> {
    let name = git.relative(path)?;
    if git.filters([name.as_str()])?.contains(&name) {
        // Files with a git filter are not staged.
        return Ok(());
    }
    let staged = git.objects(&[format!(":{name}")])?.pop().flatten();
    if staged.is_some_and(|staged| staged != bytes) {
        session.warn(format!("{relative} has other changes that were not staged: they are staged with this one"));
    }
    Ok(())
}

/// Whether Nix could see the value at its old place: a git flake sees the files that git tracks; without a flake, any
/// file may be part of a system. A key file outside the repository is readable only by its owner.
fn seen_by_nix(session: &Session, git: &Git, path: &Path, place: &Location) -> Result<bool> {
    let (held_in, nix) = match place {
        Location::Option(_) => (path, true),
        Location::Key(key) => (key.file(), false),
    };
    let flake = flake::folder(&session.fleet.root, &git.top).is_some();
    let Ok(name) = git.relative(held_in) else { return Ok(false) };
    let tracked = git.objects(&[format!(":{name}")])?.iter().any(Option::is_some);
    Ok(tracked && flake || nix && !flake)
}

/// Returns what to search the history for: the longest line of the value. A short one is searched only as written, with
/// its quotes.
fn needle(value: &Plaintext, written: &str, shape: &Shape) -> Plaintext {
    value.expose(|bytes| {
        let head = shape.variable().map(|variable| format!("{variable}=")).unwrap_or_default();
        let bytes = bytes.strip_prefix(head.as_bytes()).unwrap_or(bytes);
        let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).max_by_key(|line| line.len());
        let longest = longest.unwrap_or_default();
        let plain = longest.len() >= 8 && !longest.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'$'));
        Plaintext::concat(&[if plain || written.is_empty() { longest } else { written.as_bytes() }])
    })
}

/// Reports where the history still contains the value. Returns the number of objects that do.
fn traces(session: &Session, git: &Git, needle: &Plaintext, relative: &str, report: &mut Report) -> Result<usize> {
    let talk = session.talk.clone();
    let progress = |done, all| talk.event(Event::Progress("looking through the history", done, all));
    let found = history::search(git, |content| needle.expose(|needle| holds(content, needle)), progress);
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // The value is already adopted; a failed search does not undo that.
            signals::check()?;
            report.not_looked_at.push(format!("the history: {}", error.in_one_line()));
            return Ok(0);
        }
    };
    let own = git.relative(&session.fleet.root.join(relative))?;
    report.also_in = found.in_head.into_iter().filter(|path| *path != own).collect();
    report.commits = found.commits;
    report.not_looked_at = found.unseen;
    Ok(found.objects)
}
