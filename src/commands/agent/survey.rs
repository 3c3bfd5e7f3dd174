//! Surveys a machine without root's rights, as the input for the plan and for `status`.

use std::collections::BTreeMap;

use crate::adapters::fs::root::Root;
use crate::adapters::host::accounts::LocalUser;
use crate::adapters::host::host_key::machine_keys;
use crate::adapters::host::{closure, home, profile, run_dir, units};
use crate::adapters::nix::{store, trust};
use crate::domain::deploy::host_facts::{Question, Seen, Specialisation, Survey, Trust};
use crate::domain::manifest::Manifest;
use crate::domain::name::HostName;
use crate::error::Result;

/// Paths whose free space matters, with what needs it and how many bytes a deploy requires.
pub const ROOM: [(&str, &str, u64); 3] = [
    ("/nix/store", "the system", 256 << 20),
    ("/boot", "kernel and initrd", 32 << 20),
    ("/var/lib", "the journal", 8 << 20),
];

pub fn of(root: &Root, question: &Question) -> Result<Survey> {
    let running = root.store_path(closure::RUNNING);
    let coming = question.coming.as_deref().filter(|coming| closure::is_store_path(coming));
    let coming = coming.filter(|coming| root.exists(coming) && store::check_valid(root, coming).is_ok());
    let caller = LocalUser::get();
    let root_user = rustix::process::geteuid().is_root();
    let contents = |system: Option<&str>| {
        let parts = system.filter(|_| question.closure).and_then(|system| store::contents(root, system).ok());
        let parts = parts.unwrap_or_default();
        let sizes = parts.iter().map(|part| part.size).collect::<Option<Vec<u64>>>().unwrap_or_default();
        (parts.into_iter().map(|part| part.path).collect(), sizes)
    };
    let (closure, sizes) = contents(running.as_deref());
    let (coming_closure, coming_sizes) = contents(coming);
    let specialisation = running.as_deref().and_then(|running| specialisation(root, running));
    // A specialisation is deployed with its base system.
    let base = specialisation.as_ref().map(|one| one.of.as_str()).or(running.as_deref());
    Ok(Survey {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        host_name: root
            .text(if root.is_machine() { "/proc/sys/kernel/hostname" } else { "/etc/hostname" })
            .unwrap_or_default(),
        platform: format!("{}-linux", std::env::consts::ARCH),
        nixos: root.exists("/etc/NIXOS"),
        root: root_user,
        // Root is always trusted, and need not wait for nix.
        trust: if root_user { Trust { user: true, ..Trust::default() } } else { trust::trust(&caller) },
        user: caller.user,
        keys: machine_keys(root),
        // The running system may be broken; a deploy can fix that.
        running: running.as_deref().and_then(|system| seen(root, system).ok()),
        booted: root.store_path(closure::BOOTED).and_then(|system| closure::facts(root, &system).ok()),
        generation: profile::current(root),
        next: profile::current_system(root),
        commit: base.and_then(|system| run_dir::commit_of(root, system)),
        specialisation,
        coming: coming.map(|system| seen(root, system)).transpose()?,
        former: running.clone(),
        closure,
        sizes,
        coming_closure,
        coming_sizes,
        free: ROOM
            .iter()
            .filter_map(|(place, ..)| Some(((*place).to_owned(), root.free(place)?)))
            .collect::<BTreeMap<_, _>>(),
        busy: run_dir::is_held(root).then(|| run_dir::holder(root)),
        unfinished: run_dir::is_unfinished(root),
        failed: units::failing_units(root),
        last: run_dir::last(root),
        homes: home::states(root),
    })
}

/// Returns which specialisation of a generation the running system is, if any. The current generation comes before
/// older ones.
fn specialisation(root: &Root, running: &str) -> Option<Specialisation> {
    let older = profile::generations(root).into_iter().rev().filter_map(|generation| generation.leads_to);
    let all: Vec<String> = profile::current_system(root).into_iter().chain(older).collect();
    if all.iter().any(|system| system == running) {
        return None;
    }
    all.into_iter().find_map(|of| {
        let found = closure::specialisations(root, &of).into_iter().find(|(_, system)| system == running);
        found.map(|(name, _)| Specialisation { name, of })
    })
}

/// Returns the facts of a system and the secrets delivered with it.
pub fn seen(root: &Root, system: &str) -> Result<Seen> {
    let secrets = closure::manifest(root, system).map(|manifest| closure::secrets(root, &manifest));
    Ok(Seen {
        system: system.to_owned(),
        facts: closure::facts(root, system)?,
        carries: carries(root, system).ok().flatten(),
        bundle: root.link(&closure::bundle(system)),
        specialisations: closure::specialisations(root, system),
        // Missing files of an old system must not prevent its replacement.
        secrets: secrets.and_then(Result::ok).unwrap_or_default(),
        commands: closure::commands(root, system).unwrap_or_default(),
    })
}

/// The same for a new system, whose files must be readable.
pub fn coming(root: &Root, system: &str) -> Result<Seen> {
    let carries = carries(root, system)?;
    let manifest = carries.as_ref().map(|_| format!("{system}/{}", closure::MANIFEST));
    let secrets = manifest.map_or(Ok(Vec::new()), |manifest| closure::secrets(root, &manifest))?;
    let (facts, commands) = (closure::facts(root, system)?, closure::commands(root, system)?);
    let specialisations = closure::specialisations(root, system);
    Ok(Seen { system: system.to_owned(), facts, carries, bundle: None, secrets, commands, specialisations })
}

/// Returns the host whose secrets the system itself contains.
fn carries(root: &Root, system: &str) -> Result<Option<HostName>> {
    let Some(text) = root.read(&format!("{system}/{}", closure::MANIFEST))? else { return Ok(None) };
    Ok(Some(Manifest::parse(&text)?.host))
}
