//! Adopts the private signing key that a git configuration names: seals it as an SSH key, and puts its delivered path
//! into the configuration.

use std::path::{Path, PathBuf};

use crate::adapters::fs::files;
use crate::commands::adopt::inline::{Inline, Key, Location, Request};
use crate::commands::{Changes, Session};
use crate::domain::migrate::gitconfig;
use crate::domain::name::UnixName;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

/// The size limit of a key file, in bytes.
const LIMIT: usize = 64 << 10;

/// Finds the key on the request's line.
pub fn find(session: &Session, text: &str, config: &Path, request: &Request) -> Result<Inline> {
    if request.twin.is_some() {
        return Err(Error::usage("`--twin` is for options of Nix"));
    }
    let line = gitconfig::signing_key(text, request.line)?;
    let file = file_of(session, &line.path, config, request)?;
    let value = files::read_plaintext(&file, LIMIT)?;
    let shape = request.shape.clone().unwrap_or(Shape::SshKey);
    let misfit = value.expose(|bytes| shape.check(bytes)).err();
    if let Some(misfit) = misfit.filter(|misfit| misfit.fix.is_none()) {
        return Err(Error::usage(format!("{} is not of the shape {shape}: {}", file.display(), misfit.what))
            .help("signingkey must name the file of a private SSH key"));
    }
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    let stem: String = stem.chars().map(plain).collect();
    // The default names of SSH keys say nothing about their use.
    let stem = if stem.starts_with("id_") { "git-signing" } else { stem.trim_start_matches(['.', '-', '_']) };
    let owner = match &request.owner {
        Some(owner) => owner.clone(),
        None => owner_of(&file, &line.path, request).ok_or_else(|| {
            Error::usage(format!("the path {} does not say whose key it is", file.display()))
                .help("git signs as its user, who must own the delivered file: `--owner USER`")
        })?,
    };
    Ok(Inline {
        value,
        written: String::new(),
        option: "user.signingkey".to_owned(),
        twin: "user.signingkey".to_owned(),
        target: Vec::new(),
        content: None,
        shape,
        owner,
        unit: None,
        for_users: false,
        name: format!("ssh-keys/{stem}"),
        note: "",
        place: Location::Key(Box::new(Key { line, file })),
    })
}

/// Resolves a path in a git configuration: from the home directory, beside the configuration, or at the top of the
/// fleet.
fn file_of(session: &Session, written: &str, config: &Path, request: &Request) -> Result<PathBuf> {
    let candidates: Vec<PathBuf> = match written.strip_prefix("~/") {
        Some(below) => request.home.iter().map(|home| home.join(below)).collect(),
        None if written.starts_with('/') => vec![PathBuf::from(written)],
        None if written.starts_with('~') => Vec::new(),
        None => config.parent().into_iter().chain([session.fleet.root.as_path()]).map(|at| at.join(written)).collect(),
    };
    let there = candidates.iter().find(|path| path.symlink_metadata().is_ok());
    let file = there.ok_or_else(|| {
        Error::usage(format!("there is no file {written}"))
            .help("run this where the key is, or seal it there: `sealift seal NAME --from-file FILE --shape ssh-key`")
    })?;
    // The file itself must not be a symlink; its parent directories may contain the user's own symlinks.
    match (file.parent().map(std::fs::canonicalize), file.file_name()) {
        (Some(Ok(folder)), Some(name)) => Ok(folder.join(name)),
        _ => Err(Error::usage(format!("{written} is not a file"))),
    }
}

/// Returns the user whose home directory contains the key.
fn owner_of(file: &Path, written: &str, request: &Request) -> Option<String> {
    let of = |path: &Path| {
        let below = path.strip_prefix("/home").ok()?;
        let user = below.components().next()?.as_os_str().to_str()?.to_owned();
        user.parse::<UnixName>().is_ok().then_some(user)
    };
    let home = written.starts_with("~/").then(|| request.home.as_deref().and_then(of)).flatten();
    home.or_else(|| of(Path::new(written))).or_else(|| of(file))
}

/// Returns the configuration with the delivered path.
pub fn rewrite(text: &str, key: &Key, delivered: &str) -> (String, Vec<String>) {
    let (line, old) = (key.line.line, &key.line.path);
    let shown = vec![format!("- {line:>4} signingkey = {old}"), format!("+ {line:>4} signingkey = {delivered}")];
    (gitconfig::with_path(text, &key.line, delivered), shown)
}

/// Removes the key's file: in the repository as part of the change; elsewhere it stays, or is returned to be destroyed.
pub fn dispose(
    session: &Session,
    key: &Key,
    value: &Plaintext,
    shred: bool,
    changes: &mut Changes,
    shown: &mut Vec<String>,
) -> Result<Option<PathBuf>> {
    let inside = key.file.strip_prefix(&session.fleet.root).ok();
    match inside {
        Some(inside) => {
            let inside = inside.to_str().ok_or_else(|| Error::usage("the key's path is not UTF-8"))?;
            value.expose(|bytes| changes.remove(inside, bytes));
            shown.push(format!("{inside} (removed)"));
            Ok(None)
        }
        None if shred => {
            shown.push(format!("{} (destroyed)", key.file.display()));
            Ok(Some(key.file.clone()))
        }
        None => {
            session.warn(format!(
                "{} stays where it is: remove it once the delivered one signs, or let `--shred` do it",
                key.file.display()
            ));
            Ok(None)
        }
    }
}
