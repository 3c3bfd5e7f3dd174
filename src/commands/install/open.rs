//! Everything that happens before anything changes: reads and checks the manifest, decrypts every file in memory, and
//! compares it with its declaration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::adapters::age;
use crate::adapters::age::identity::Identities;
use crate::adapters::fs::files;
use crate::adapters::host::accounts::Accounts;
use crate::adapters::host::generation::Access;
use crate::adapters::host::links::{self, Link, Obstacle};
use crate::adapters::process::parallel;
use crate::adapters::prompt::Ask;
use crate::commands::install::request::Request;
use crate::commands::talk::Talk;
use crate::domain::manifest::install_status::{Tree, hex};
use crate::domain::manifest::placement::DeliveredFile;
use crate::domain::manifest::template::{Piece, Template};
use crate::domain::manifest::{Installable, Manifest, Placement};
use crate::domain::name::SecretName;
use crate::domain::secret::age_header::FILE_LIMIT;
use crate::domain::secret::plaintext::{Part, Plaintext};
use crate::error::{Error, Kind, Result};

/// The size limit of a manifest, in bytes.
const MANIFEST_LIMIT: u64 = 16 << 20;
/// The size limit of a rendered template, in bytes.
const TEMPLATE_LIMIT: usize = 16 << 20;
const STORE: &str = "/nix/store/";

/// A manifest that was read and checked.
pub struct Loaded {
    pub manifest: Installable,
    /// SHA-256 of its bytes.
    pub digest: String,
    pub source: Source,
}

/// The directories in which the files of a manifest are found.
pub struct Source {
    base: PathBuf,
    root: PathBuf,
}

/// Whether owners must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They must: the files are about to be given to them.
    MustExist,
    /// They need not: the coming switch may create them.
    MayCome,
}

/// The secrets of a manifest, or why they did not open.
pub struct Opened<'a> {
    /// Each secret of the tree, in the manifest's order, and then each template.
    pub secrets: Vec<Secret<'a>>,
    /// The error, if there is no key at all.
    pub keyless: Option<Error>,
    /// Owners and groups that do not exist yet.
    pub unknown_owners: Vec<String>,
}

/// One secret, or one template.
pub struct Secret<'a> {
    pub target: &'a DeliveredFile,
    /// The value with all that is needed to place it, or the error.
    pub outcome: Result<Placeable, Error>,
}

/// A secret that can be placed.
pub struct Placeable {
    pub value: Plaintext,
    /// The serial of the value, if the file has a seal.
    pub serial: Option<u64>,
    /// SHA-256 of the sealed file or, for a template, of all its sources.
    pub ciphertext: String,
    pub access: Access,
    /// The link to the file, or why it cannot be made. None if the file has its default path or its owner does not
    /// exist yet.
    pub link: Option<Result<Link, Obstacle>>,
}

impl Secret<'_> {
    /// Returns why the secret cannot be placed as declared, except for an obstacle made by its owner.
    fn failure(&self) -> Option<Error> {
        match &self.outcome {
            Err(error) => Some(error.clone()),
            Ok(Placeable { link: Some(Err(obstacle)), .. }) if !obstacle.of_owner => Some(obstacle.error.clone()),
            Ok(_) => None,
        }
    }
}

impl Opened<'_> {
    /// Fails with all failures, except for obstacles that owners made for their own secrets.
    pub fn refuse_failures(&self) -> Result<()> {
        if let Some(keyless) = &self.keyless {
            return Err(keyless.clone());
        }
        let failures: Vec<Error> = self.secrets.iter().filter_map(Secret::failure).collect();
        let all = self.secrets.len();
        Error::unless_none(failures, |count| {
            format!("{count} of {all} secrets cannot be installed; nothing was changed")
        })
    }
}

/// Reads and checks the whole manifest.
pub fn load(request: &Request) -> Result<Loaded> {
    let unreadable = |error: std::io::Error| {
        Error::usage(format!("cannot read the manifest {}", request.manifest.display())).because(error)
    };
    let inside = request.manifest.strip_prefix(&request.root).ok().filter(|_| request.root != Path::new("/"));
    let (bytes, base) = match inside.and_then(Path::to_str) {
        Some(path) => {
            let shown = request.manifest.display().to_string();
            let bytes = files::read_in_root(files::directory(&request.root)?, path, MANIFEST_LIMIT, &shown)?;
            let bytes = bytes.ok_or_else(|| unreadable(std::io::ErrorKind::NotFound.into()))?;
            (bytes, request.manifest.parent().map(Path::to_owned))
        }
        None => {
            // In a system this is a link into the store. Its target is read, and files are relative to that.
            let path = std::fs::canonicalize(&request.manifest).map_err(unreadable)?;
            (files::read(&path, MANIFEST_LIMIT)?, path.parent().map(Path::to_owned))
        }
    };
    let source = Source { base: base.unwrap_or_default(), root: request.root.clone() };
    Ok(Loaded { manifest: Manifest::parse(&bytes)?, digest: hex(&Sha256::digest(&bytes)), source })
}

impl Source {
    /// Reads the sealed file of a placement.
    pub fn read(&self, placement: &Placement) -> Result<Vec<u8>> {
        let mut path = self.base.join(&placement.file);
        if placement.file.starts_with(STORE) {
            // A system that is not booted has its own store.
            let inside = self.root.join(placement.file.trim_start_matches('/'));
            if inside.symlink_metadata().is_ok() {
                path = inside;
            }
        }
        files::read(&path, FILE_LIMIT).map_err(|error| error.about(&placement.target.name))
    }
}

/// Decrypts the secrets of the request's tree in parallel and checks whether each could be placed. A failure affects
/// only its own secret, unless there is no key at all.
pub fn open<'a>(request: &Request, loaded: &'a Loaded, talk: &Arc<dyn Talk>, owners: Owners) -> Opened<'a> {
    let users = request.tree == Tree::Users;
    let wanted: Vec<&Placement> =
        loaded.manifest.placements.iter().filter(|placement| placement.target.needed_for_users == users).collect();
    let templates = if users { &[][..] } else { &loaded.manifest.templates };
    if wanted.is_empty() && templates.is_empty() {
        return Opened { secrets: Vec::new(), keyless: None, unknown_owners: Vec::new() };
    }
    let mut places = Places {
        request,
        accounts: Accounts::read(&request.root),
        owners,
        unknown: Vec::new(),
        taken: BTreeMap::new(),
    };
    let (identities, keyless) = identities(request, &loaded.manifest, talk);
    let mut secrets = Vec::with_capacity(wanted.len());
    for (placement, opened) in
        wanted.iter().zip(parallel::map(&wanted, |placement| open_one(placement, loaded, &identities)))
    {
        let outcome = opened.and_then(|(value, serial, ciphertext)| {
            let (access, link) = places.of(&placement.target)?;
            Ok(Placeable { value, serial, ciphertext, access, link })
        });
        secrets.push(Secret { target: &placement.target, outcome });
    }
    for template in templates {
        let target = &template.target;
        let outcome = render(template, &secrets).and_then(|(value, ciphertext)| {
            let (access, link) = places.of(target)?;
            Ok(Placeable { value, serial: None, ciphertext, access, link })
        });
        secrets.push(Secret { target, outcome });
    }
    places.unknown.sort();
    places.unknown.dedup();
    Opened { secrets, keyless, unknown_owners: places.unknown }
}

/// Renders a template from decrypted values. The manifest check has ensured that it names only secrets of the manifest.
fn render(template: &Template, secrets: &[Secret<'_>]) -> Result<(Plaintext, String)> {
    let name = &template.target.name;
    let ready =
        |wanted: &SecretName| secrets.iter().find(|secret| secret.target.name == *wanted)?.outcome.as_ref().ok();
    if let Some(failed) = template.secrets().find(|secret| ready(secret).is_none()) {
        // Uses the kind of the failed secret, so that a machine without any key reports just that.
        let outcome = secrets.iter().find(|secret| secret.target.name == *failed).map(|secret| &secret.outcome);
        let kind = outcome.and_then(|outcome| outcome.as_ref().err()).map_or(Kind::Failed, Error::kind);
        return Err(Error::new(kind, format!("{name}: the secret {failed}, which is part of it, did not open")));
    }
    let parts: Vec<Part<'_>> = template
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(Part::Text(text.as_bytes())),
            Piece::Value(secret) => ready(secret).map(|ready| Part::Value(&ready.value)),
        })
        .collect();
    let value = Plaintext::join(&parts, TEMPLATE_LIMIT)
        .ok_or_else(|| Error::failed(format!("{name}: it would be larger than {} MiB", TEMPLATE_LIMIT >> 20)))?;
    let source = template.source(|secret| ready(secret).map(|ready| ready.ciphertext.clone())).unwrap_or_default();
    Ok((value, source))
}

/// Determines the owner of each file and the link to it.
struct Places<'a> {
    request: &'a Request,
    accounts: Accounts,
    owners: Owners,
    /// Owners and groups that do not exist yet.
    unknown: Vec<String>,
    /// The secret whose link is at each resolved path.
    taken: BTreeMap<String, SecretName>,
}

impl Places<'_> {
    fn of(&mut self, target: &DeliveredFile) -> Result<(Access, Option<Result<Link, Obstacle>>)> {
        if self.request.user_dir.is_some() {
            return self.own(target).map(|access| (access, None));
        }
        let name = &target.name;
        let about = |error: Error| error.about(name);
        let user = self.accounts.user(&target.owner).map_err(about)?;
        let group = self.accounts.group(&target.group).map_err(about)?;
        // An owner that does not exist yet may own directories that do not exist either, so a link cannot be checked.
        let link = user.and_then(|user| link(target, user, self.request.tree)).map(|mut link| {
            link.home = self.accounts.home(&target.owner);
            self.check(target, link)
        });
        let access = Access {
            user: self.number(target, user, "user", target.owner.as_str())?,
            group: self.number(target, group, "group", target.group.as_str())?,
            mode: target.mode.0,
        };
        Ok((access, link))
    }

    fn check(&mut self, target: &DeliveredFile, link: Link) -> Result<Link, Obstacle> {
        let obstacle = |error: Error, of_owner| Obstacle { error: error.about(&target.name), of_owner };
        let at = links::check(&self.request.root, &link)
            .map_err(|Obstacle { error, of_owner }| obstacle(error, of_owner))?;
        match self.taken.get(&at) {
            Some(other) => {
                let error = Error::failed(format!("its path {} is that of {other} too: both lead to {at}", link.path));
                Err(obstacle(error.help("give one of them another `path`"), false))
            }
            None => {
                self.taken.insert(at, target.name.clone());
                Ok(link)
            }
        }
    }

    /// Returns the access for a user's own file: only that user, at the default path.
    fn own(&self, target: &DeliveredFile) -> Result<Access> {
        let name = &target.name;
        let (us, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if self.accounts.user(&target.owner).ok().flatten().is_some_and(|owner| owner != us) {
            return Err(Error::failed(format!(
                "{name}: it is for the user {}, who is not the one that runs this",
                target.owner
            ))
            .help("a machine's secrets are installed by root: leave out --user-dir"));
        }
        if target.link.is_some() {
            return Err(Error::failed(format!("{name}: a user's secret is found in its usual place only"))
                .help("remove its `path`"));
        }
        Ok(Access { user: us, group, mode: target.mode.0 })
    }

    fn number(&mut self, target: &DeliveredFile, number: Option<u32>, what: &str, who: &str) -> Result<u32> {
        match (number, self.owners) {
            (Some(number), _) => Ok(number),
            (None, Owners::MayCome) => {
                self.unknown.push(format!("{what} {who}"));
                Ok(0)
            }
            (None, Owners::MustExist) => {
                Err(Error::failed(format!("{}: there is no {what} {who} on this host", target.name))
                    .help("declare it in the host's configuration, or give the secret another owner"))
            }
        }
    }
}

/// Returns the link that a file needs if its path is not the default one.
pub fn link(target: &DeliveredFile, owner: u32, tree: Tree) -> Option<Link> {
    let usual = format!("{}/{}", tree.delivered(), target.name);
    target.link.clone().map(|path| Link { path, target: usual, owner, home: None })
}

/// Reads the host's private keys. Remembers why a key cannot be used; if none can, reports that once.
fn identities(request: &Request, manifest: &Installable, talk: &Arc<dyn Talk>) -> (Identities, Option<Error>) {
    let below = |path: &String| request.root.join(path.trim_start_matches('/'));
    let explicit = !request.identities.is_empty();
    let paths = if explicit { request.identities.clone() } else { manifest.identities.iter().map(below).collect() };
    let ask: Arc<dyn Ask> = talk.clone();
    let mut identities = Identities::default();
    for path in &paths {
        match Identities::from_file(path, &request.plugins, &ask) {
            Ok(found) => identities.extend(found),
            Err(error) => {
                let help = error.advice().map(|help| format!(" ({help})")).unwrap_or_default();
                identities.add_unusable(path.display().to_string(), format!("{}{help}", error.in_one_line()));
            }
        }
    }
    let keyless = identities.is_empty().then(|| {
        let error = identities.none_at_hand();
        if explicit {
            error
        } else {
            error.help("the manifest names where the host's keys are; is the file system with them mounted?")
        }
    });
    (identities, keyless)
}

type OpenedFile = (Plaintext, Option<u64>, String);

/// Decrypts one file and compares it with its declaration.
fn open_one(placement: &Placement, loaded: &Loaded, identities: &Identities) -> Result<OpenedFile> {
    let name = &placement.target.name;
    let bytes = loaded.source.read(placement)?;
    if identities.is_empty() {
        return Err(Error::new(Kind::NoIdentity, format!("{name}: there is no key to open it with")));
    }
    let opened = age::open(&bytes, &placement.sealed_as, identities)?;
    if opened.seal.is_none() && !placement.allow_unsealed {
        return Err(unsealed(placement));
    }
    opened.value.expose(|value| placement.shape.check(value)).map_err(|misfit| {
        let error =
            Error::failed(format!("{name}: the value is not of the shape {}: {}", placement.shape, misfit.what));
        match misfit.fix {
            Some(fix) => error.help(format!("seal it again: {fix}")),
            None => error.help(format!("seal it again: `sealift edit {}`", placement.sealed_as)),
        }
    })?;
    Ok((opened.value, opened.seal.map(|seal| seal.serial), hex(&Sha256::digest(&bytes))))
}

/// Returns the error for a file written by another tool, or whose seal was stripped.
pub fn unsealed(placement: &Placement) -> Error {
    let (name, file) = (&placement.target.name, &placement.sealed_as);
    Error::integrity(format!("{name}: its file has no seal, so nothing says that it is this secret")).help(format!(
        "find out where it comes from; if that is intended: `sealift rekey --adopt {file}`, or, to accept it as it is, `allow_unsealed = true` for {name} in recipients.toml"
    ))
}
