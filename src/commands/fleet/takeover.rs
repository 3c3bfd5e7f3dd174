//! `init --from`: creates a fleet from the configuration of a machine, or from another checkout. The old configuration
//! is copied to a backup and never changed. In the repository missing files are written, and nothing is overwritten.
//! Files without a clear place are listed for the user, because they may contain secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::adapters::backup;
use crate::adapters::fs::beneath;
use crate::adapters::fs::files::{self, Durable};
use crate::adapters::git::Git;
use crate::adapters::host::run_dir;
use crate::adapters::repository::Fleet;
use crate::commands::fleet::init;
use crate::commands::fleet::onboard::layout;
use crate::domain::migrate::scaffold::{self, HARDWARE_LIMIT, Known, Layout};
use crate::domain::name::Configuration;
use crate::domain::nix::settings::{self, Settings};
use crate::error::{Error, Result};

pub struct Request<'a> {
    /// The directory of the repository.
    pub directory: &'a Path,
    pub from: &'a Path,
    /// The machine of the configuration, if not this one.
    pub host: Option<&'a Configuration>,
    /// The folder for backups.
    pub backups: &'a Path,
    /// The path of this program, for the pre-commit hook.
    pub program: &'a Path,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// The result of `init`, with the files written from the old configuration.
    #[serde(flatten)]
    pub fleet: init::Report,
    /// The name of the machine in the flake.
    pub host: Configuration,
    pub backup: String,
    /// What could not be copied, with the reason.
    pub not_copied: Vec<String>,
    /// Files that existed already and stay unchanged.
    pub kept: Vec<String>,
    /// Files of the old configuration without a clear place.
    pub not_placed: Vec<String>,
    /// Whether the machine has no hardware configuration, neither found nor existing.
    pub lacks_hardware: bool,
}

pub fn run(request: &Request<'_>) -> Result<Report> {
    let from = std::fs::canonicalize(request.from).map_err(|error| {
        Error::usage(format!("{} cannot be read", request.from.display()))
            .because(error)
            .help("name the folder of a configuration, such as /etc/nixos, or a checkout")
    })?;
    init::repository(request.directory)?;
    let paths = backup::listed(&from)?;
    let host = match (request.host, settings(&from, &paths, None).host_name) {
        (Some(host), _) => host.clone(),
        (None, Some(said)) => said.parse().map_err(|_| {
            Error::usage(format!("networking.hostName is `{said}` there, which no host can be called"))
                .help("say its name in the fleet: `--host NAME`; what the machine calls itself stays")
        })?,
        (None, None) => this_host()?,
    };
    // The backup is made before anything is written.
    let stamp = run_dir::now().replace([':', '-'], "");
    let name = from.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    let kept_in = request.backups.join(format!("{name}-{stamp}-{}", files::token()?));
    if let Some(git) = above(request.backups).map(Git::find).transpose()?.flatten() {
        return Err(Error::usage(format!(
            "{} lies in the repository {}",
            request.backups.display(),
            git.top.display()
        ))
        .help("a copy of a configuration may hold secrets: keep it elsewhere, `XDG_STATE_HOME=DIR`"));
    }
    let not_copied = backup::copy(&from, &paths, &kept_in)?;

    let mut fleet = init::run(request.directory, request.program)?;
    let root = Fleet::find(request.directory)?;
    let git = Git::of(&root)?;
    let (mut not_placed, mut new) = (Vec::new(), BTreeMap::from([(host.clone(), Known::default())]));
    for path in &paths {
        let text = path.to_string_lossy().into_owned();
        match scaffold::place_of(&text, &host).map(|(owner, _)| (owner, hardware(&from.join(path)))) {
            Some((owner, Ok(hardware))) => drop(new.entry(owner).or_default().hardware.get_or_insert(hardware)),
            Some((_, Err(error))) => not_placed.push(format!("{text}: {}", error.in_one_line())),
            None => not_placed.push(text),
        }
    }
    let release = std::fs::symlink_metadata("/run/current-system").ok().and_then(|_| release());
    for (name, known) in &mut new {
        let said = settings(&from, &paths, (*name != host).then_some(name));
        // The running system is that of this machine only.
        let runs = release.as_deref().filter(|_| *name == host);
        known.state_version = scaffold::state_version(said.state_version.as_deref(), runs.unwrap_or_default());
        known.host_name = said.host_name.filter(|said| said.parse::<Configuration>().is_ok());
    }
    let file = |name: &str| root.join(name).is_file();
    let layout = Layout { hosts: true, ..layout(&root) };
    let mut wanted: Vec<(String, String)> =
        new.iter().flat_map(|(host, known)| scaffold::files(host, layout, known)).collect();
    if !file("flake.nix") && !git.top.join("flake.nix").is_file() {
        wanted.push(("flake.nix".to_owned(), scaffold::flake(release.as_deref().and_then(|text| text.get(..5)))));
    }
    let mut kept = Vec::new();
    let mut written = Vec::new();
    for (path, text) in wanted {
        if root.join(&path).symlink_metadata().is_ok() {
            kept.push(path);
        } else {
            beneath::replace(&root, &path, text.as_bytes(), 0o644, Durable::Now)?;
            written.push(path);
        }
    }
    git.stage(&written.iter().map(|path| root.join(path)).collect::<Vec<PathBuf>>())?;
    let lacks_hardware = !file(&scaffold::hardware_path(&host));
    fleet.written.extend(written);
    if !fleet.hosts.contains(&host) && Fleet::open(&root)?.policy.called(host.as_str()).is_none() {
        fleet.hosts.push(host.clone());
    }
    let backup = kept_in.display().to_string();
    Ok(Report { fleet, host, backup, not_copied, kept, not_placed, lacks_hardware })
}

/// Returns the settings of a machine in the old configuration. For another host they come from its own folder; for the
/// main machine from the files at the top. configuration.nix comes first.
fn settings(from: &Path, paths: &[PathBuf], host: Option<&Configuration>) -> Settings {
    let own = |path: &&PathBuf| {
        let folder = path.parent().unwrap_or(Path::new(""));
        match host {
            Some(host) => folder == Path::new(host.as_str()) || folder == Path::new("hosts").join(host.as_str()),
            None => folder == Path::new(""),
        }
    };
    let mut files: Vec<&PathBuf> =
        paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "nix")).filter(own).collect();
    files.sort_by_key(|path| !path.ends_with("configuration.nix"));
    let mut all = Settings::default();
    for path in files {
        let said = settings::read(&read(&from.join(path)).unwrap_or_default());
        all.host_name = all.host_name.or(said.host_name);
        all.state_version = all.state_version.or(said.state_version);
    }
    all
}

/// Returns the name of this machine.
fn this_host() -> Result<Configuration> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().parse().map_err(|_| {
        Error::usage("the name of this machine is no name of a host").help("say which machine it is: `--host NAME`")
    })
}

/// Returns the nearest existing directory at or above a path.
fn above(path: &Path) -> Option<&Path> {
    path.ancestors().find(|above| above.is_dir())
}

fn hardware(path: &Path) -> Result<String> {
    scaffold::hardware(&files::read(path, HARDWARE_LIMIT)?)
}

fn read(path: &Path) -> Option<String> {
    files::read(path, HARDWARE_LIMIT).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the NixOS release that is running here.
fn release() -> Option<String> {
    let real = std::fs::canonicalize("/run/current-system/nixos-version").ok()?;
    read(&real).filter(|text| scaffold::state_version(None, text).is_some())
}
