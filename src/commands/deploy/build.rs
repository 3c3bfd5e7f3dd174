//! From hosts to plans: builds their systems as the calling user, in one evaluation, and compares each with what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::adapters::flake::Flake;
use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::root::Root;
use crate::adapters::git::Git;
use crate::adapters::host::closure;
use crate::adapters::nix::{self, Evaluated, Remote, Rooted};
use crate::adapters::process::parallel;
use crate::adapters::signals;
use crate::commands::Session;
use crate::commands::agent::survey;
use crate::commands::deploy::request::{Builder, Request};
use crate::commands::deploy::run_store::Begun;
use crate::commands::deploy::{difference, preflight};
use crate::commands::hosts::connection::{Reach, Target};
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::select::Ready;
use crate::commands::hosts::talk::{OfHost, listed};
use crate::commands::talk::{Event, Talk};
use crate::domain::address::Address;
use crate::domain::deploy::checks::commands;
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::home::user_of;
use crate::domain::deploy::host_facts::{Question, Seen};
use crate::domain::deploy::packages::Difference;
use crate::domain::deploy::plan::{Campaign, Item, Kept, Plan, State};
use crate::domain::manifest::Manifest;
use crate::domain::name::{FileName, HostName, UnixName};
use crate::error::{Error, Kind, Result};

/// A system that was built, and where it is.
pub struct Built {
    system: String,
    /// On the host itself, and not in this machine's store.
    there: bool,
    /// The homes that go with it: users, and their activation packages.
    homes: Vec<(UnixName, String)>,
}

/// The largest Nix file that is looked through, in bytes.
const NIX_LIMIT: u64 = 4 << 20;

/// Builds the systems of these hosts on this machine, or brings them here.
pub fn build(
    session: &Session,
    fleet: &preflight::Ready,
    rooted: &Rooted,
    request: &Request,
    hosts: &BTreeSet<HostName>,
) -> Result<BTreeMap<HostName, Result<String>>> {
    let names: Vec<&HostName> = hosts.iter().collect();
    let shown = listed(names.iter().copied());
    session.talk.event(Event::Step(format!("building the system of {shown}")));
    let line = |line: &str| {
        if line.starts_with("building ") || line.starts_with("copying ") {
            session.talk.event(Event::Step(line.to_owned()));
        }
    };
    let one = |host: &HostName| {
        let (name, what) = (Rooted::name_of(host), fleet.flake.system_of(host));
        match &request.builder {
            Builder::Host(address) => elsewhere(session, request, rooted, address, (&name, &what), line),
            _ => rooted.build(&name, &what, line),
        }
        .map_err(|error| not_built(host, &fleet.flake, &error))
    };
    if request.builder == Builder::Here && names.len() > 1 {
        match rooted.build_all(&fleet.flake.systems(), &names, line) {
            Ok(built) => return Ok(built.into_iter().map(|(host, system)| (host, Ok(system))).collect()),
            Err(_) if signals::pending() => return Err(signals::interrupted()),
            // One after another, so that each is told its own fault; what is built already costs no more.
            Err(_) => {}
        }
    }
    Ok(names.into_iter().map(|host| (host.clone(), one(host))).collect())
}

/// Builds for hosts that were reached.
pub fn build_for(
    session: &Session,
    fleet: &preflight::Ready,
    rooted: &Rooted,
    request: &Request,
    ready: Vec<Ready>,
) -> Result<Vec<(Ready, Result<Built>)>> {
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    if request.builder != Builder::Target {
        let hosts = ready.iter().map(|one| one.host.clone()).collect();
        let mut built = build(session, fleet, rooted, request, &hosts)?;
        let paired = ready.into_iter().map(|one| {
            let system = built.remove(&one.host).unwrap_or_else(|| Err(Error::failed("nix did not build it")));
            (one, system.map(|system| Built { system, there: false, homes: Vec::new() }))
        });
        return Ok(paired.collect());
    }
    let count = ready.len();
    let built = parallel::map_on(request.who.places(&session.fleet.policy, true), &ready, |one| {
        let talk = OfHost::among(&session.talk, &one.host, count);
        let attribute = fleet.flake.system_of(&one.host);
        let system = match &one.target.reach {
            Reach::Here(_) => rooted.build(&Rooted::name_of(&one.host), &attribute, |_| ()),
            Reach::There(there) => {
                talk.event(Event::Step("building on the host".to_owned()));
                nix::build_on(&there.line().store(), &attribute, |_| ())
            }
        };
        let there = one.target.is_remote();
        system
            .map(|system| Built { system, there, homes: Vec::new() })
            .map_err(|error| not_built(&one.host, &fleet.flake, &error))
    });
    Ok(ready.into_iter().zip(built).collect())
}

/// The systems that run on hosts that were reached: where only their homes are switched.
pub fn running(ready: Vec<Ready>) -> Vec<(Ready, Result<Built>)> {
    let running = ready.into_iter().map(|one| {
        let system = one.target.survey.former.clone();
        let system = system.ok_or_else(|| Error::failed(format!("no system runs on {} yet", one.host)));
        (one, system.map(|system| Built { system, there: false, homes: Vec::new() }))
    });
    running.collect()
}

/// Builds the homes that the flake has for these hosts, as it builds systems. One that cannot be built fails its host.
pub fn with_homes(
    session: &Session,
    fleet: &preflight::Ready,
    rooted: &Rooted,
    request: &Request,
    built: Vec<(Ready, Result<Built>)>,
) -> Vec<(Ready, Result<Built>)> {
    let hosts: Vec<&HostName> = built.iter().filter(|(_, one)| one.is_ok()).map(|(one, _)| &one.host).collect();
    if hosts.is_empty() || !names_homes(&fleet.git) {
        return built;
    }
    session.talk.event(Event::Step(format!("building homes for {}", listed(hosts.iter().copied()))));
    let all = nix::homes(&fleet.flake.homes(), &hosts);
    let apart = all.is_err() && hosts.len() > 1;
    let one = |(one, built): (Ready, Result<Built>)| {
        let homes = built.and_then(|built| {
            // Each is told its own fault.
            let own = apart.then(|| nix::homes(&fleet.flake.homes(), &[&one.host]));
            let known = own.as_ref().unwrap_or(&all).as_ref().map_err(|error| no_home(&one.host, error))?;
            let of_host = known.iter().filter_map(|(name, plan)| Some((name, user_of(name, one.host.as_str())?, plan)));
            let homes = of_host.map(|(name, user, plan)| {
                home(session, fleet, rooted, request, &one, (name, plan))
                    .map(|package| (user, package))
                    .map_err(|error| no_home(&one.host, &error))
            });
            Ok(Built { homes: homes.collect::<Result<_>>()?, ..built })
        });
        (one, homes)
    };
    built.into_iter().map(one).collect()
}

/// Builds one home where systems are built.
fn home(
    session: &Session,
    fleet: &preflight::Ready,
    rooted: &Rooted,
    request: &Request,
    ready: &Ready,
    (name, plan): (&str, &Evaluated),
) -> Result<String> {
    let (link, what) = (format!("home-{name}"), fleet.flake.home_of(name));
    match (&request.builder, &ready.target.reach) {
        (Builder::Host(address), _) => elsewhere(session, request, rooted, address, (&link, &what), |_| ()),
        (Builder::Target, Reach::There(there)) => nix::build_on(&there.line().store(), &what, |_| ()),
        (Builder::Here | Builder::Target, _) => rooted.realise(&link, plan, |_| ()),
    }
}

/// Whether the repository says anything of homes: to ask its flake takes an evaluation.
fn names_homes(git: &Git) -> bool {
    let listed = git.listed().unwrap_or_default();
    let mut nix = listed.iter().filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "nix"));
    nix.any(|name| {
        let text = files::read(&git.top.join(name), NIX_LIMIT).unwrap_or_default();
        text.windows(HOMES.len()).any(|at| at == HOMES)
    })
}

const HOMES: &[u8] = b"homeConfigurations";

fn no_home(host: &HostName, error: &Error) -> Error {
    if signals::pending() {
        return signals::interrupted();
    }
    Error::failed(format!("the homes of {host} could not be built; nothing was changed"))
        .because(std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string))
}

/// Builds on another machine, and brings the result here.
fn elsewhere(
    session: &Session,
    request: &Request,
    rooted: &Rooted,
    address: &Address,
    (name, what): (&str, &str),
    line: impl FnMut(&str),
) -> Result<String> {
    let policy = &session.fleet.policy;
    // A host of the fleet is held to its pin; another machine to the user's own known_hosts.
    let ours = policy.hosts.iter().find(|(host, entry)| entry.address == *address || host.as_str() == address.host);
    let path = match ours {
        Some((host, entry)) => {
            let ssh = request.who.ssh(policy)?;
            let connection = ssh.connect(host, &entry.address, &entry.ssh_keys)?;
            fetch(&connection.store(), what, line)?
        }
        None => fetch(&Remote::plain(address), what, line)?,
    };
    rooted.hold(&[(name, path.as_str())])?;
    Ok(path)
}

fn fetch(remote: &Remote, what: &str, line: impl FnMut(&str)) -> Result<String> {
    let path = nix::build_on(remote, what, line)?;
    nix::copy_from(remote, &[&path])?;
    Ok(path)
}

fn not_built(host: &HostName, flake: &Flake, error: &Error) -> Error {
    // Ctrl-C reaches nix too, which then fails.
    if signals::pending() {
        return signals::interrupted();
    }
    let failed = Error::failed(format!("the system of {host} could not be built; nothing was changed"))
        .because(std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string));
    if flake.is_plain() {
        failed
    } else {
        failed.help(
            "this nix cannot read a repository whose path has spaces or special characters: move it, or use a newer nix",
        )
    }
}

/// Compares a built system with what runs on its host.
pub fn propose(
    session: &Session,
    request: &Request,
    begun: &Begun,
    ready: &Ready,
    built: &Built,
    talk: &dyn Talk,
) -> Result<Item> {
    let Ready { host, target, rights } = ready;
    if request.only_homes {
        return only_homes(request, ready, built);
    }
    let (mut coming, bundle) = match &target.reach {
        Reach::Here(root) => {
            if !root.is_machine() {
                talk.event(Event::Step("copying the system".to_owned()));
                nix::copy(root, &[&built.system], matches!(rights, Rights::Sudo))?;
            }
            let bundle = bundle(session, host, &begun.rooted, carries(root, &built.system))?;
            if let Some(bundle) = bundle.as_ref().filter(|_| !root.is_machine()) {
                nix::copy(root, &[bundle], matches!(rights, Rights::Sudo))?;
            }
            (survey::coming(root, &built.system, bundle.as_deref())?, bundle)
        }
        Reach::There(_) if built.there => {
            let question = Question { coming: Some(built.system.clone()), closure: false };
            let seen = target.survey(&request.who.caller, question)?.coming;
            let seen = seen.ok_or_else(|| Error::failed(format!("{} is not in the store of {host}", built.system)))?;
            let bundle = bundle(session, host, &begun.rooted, seen.carries.is_some())?;
            (seen, bundle)
        }
        Reach::There(_) => {
            let root = Root::open(Path::new("/"))?;
            let bundle = bundle(session, host, &begun.rooted, carries(&root, &built.system))?;
            (survey::coming(&root, &built.system, bundle.as_deref())?, bundle)
        }
    };
    if let (true, Some(bundle)) = (built.there, &bundle) {
        coming.secrets = closure::secrets(&Root::open(Path::new("/"))?, &format!("{bundle}/manifest.json"))?;
    }
    if let Some(other) = coming.carries.as_ref().filter(|carries| *carries != host) {
        return Err(Error::failed(format!(
            "the system that was built for {host} carries the secrets of {other}; nothing was changed"
        ))
        .help("correct the name in its configuration: the module takes it from `networking.hostName`"));
    }
    let kept = Kept::of(&target.survey, &coming, request.action, request.base);
    if let Some(system) = kept.as_ref().and_then(|kept| kept.system.as_deref()) {
        coming = specialised(target, request, system, bundle.as_deref(), coming, built.there)?;
    }
    let program = session.fleet.policy.deploy.diff;
    let packages = difference::between(target, &request.who.caller, &coming.system, built.there, program, talk);
    let mut plan = Plan::of(Some(&session.fleet.policy), Some(host), request.action, &target.survey, &coming, packages)
        .of_base(&built.system, kept);
    if coming.commands.is_none() && matches!(request.action, Action::Test | Action::Switch) {
        plan.commands = commands(&session.fleet.policy, host);
    }
    // A home is switched where its user can be: on a machine that runs.
    let homes = if is_machine(target) { &built.homes[..] } else { &[] };
    let plan = plan.with_homes(&target.survey, &coming, homes);
    Ok(Item { plan, bundle, there: built.there, state: State::Pending })
}

/// Whether it is a machine that runs, and no root of one.
fn is_machine(target: &Target) -> bool {
    match &target.reach {
        Reach::Here(root) => root.is_machine(),
        Reach::There(_) => true,
    }
}

/// The plan of a deploy that leaves the system alone.
fn only_homes(request: &Request, ready: &Ready, built: &Built) -> Result<Item> {
    let Ready { host, target, .. } = ready;
    let survey = &target.survey;
    if !is_machine(target) {
        return Err(Error::usage("homes are switched only on a running machine, not below `--root`"));
    }
    if built.homes.is_empty() {
        return Err(Error::failed(format!("the flake has no home for {host}")).help(format!(
            "it is named `homeConfigurations.\"USER@{host}\"`; `lib.mkHomes` of sealift's flake makes them"
        )));
    }
    let running = survey.running.as_ref();
    let running = running.ok_or_else(|| Error::failed(format!("the running system of {host} cannot be read")))?;
    let plan = Plan::of(None, Some(host), request.action, survey, running, Ok(Difference::default()));
    let plan = Plan { only_homes: true, ..plan }.with_homes(survey, running, &built.homes);
    Ok(Item { plan, bundle: None, there: built.there, state: State::Pending })
}

/// What the specialisation says that is activated instead of the system which comes. What is delivered along is the same.
fn specialised(
    target: &Target,
    request: &Request,
    system: &str,
    bundle: Option<&str>,
    of: Seen,
    there: bool,
) -> Result<Seen> {
    let seen = match &target.reach {
        Reach::Here(root) => survey::coming(root, system, bundle)?,
        Reach::There(_) if there => {
            let question = Question { coming: Some(system.to_owned()), closure: false };
            let seen = target.survey(&request.who.caller, question)?.coming;
            seen.ok_or_else(|| Error::failed(format!("{system} is not in the store of the host")))?
        }
        Reach::There(_) => survey::coming(&Root::open(Path::new("/"))?, system, bundle)?,
    };
    let secrets = if seen.carries.is_none() { of.secrets } else { seen.secrets };
    Ok(Seen { secrets, ..seen })
}

fn carries(root: &Root, system: &str) -> bool {
    root.exists(&format!("{system}/{}", closure::MANIFEST))
}

/// A manifest with the sealed files that it names, as a store path, for a system that carries none.
fn bundle(session: &Session, host: &HostName, rooted: &Rooted, carries: bool) -> Result<Option<String>> {
    if carries || !session.fleet.policy.secrets.values().any(|secret| secret.hosts.contains(host)) {
        return Ok(None);
    }
    let folder = rooted.folder().join(format!("bundle-{host}"));
    write_bundle(session, host, &folder)?;
    let stored = rooted.add(&format!("sealift-{host}"), &folder);
    // What was put into the store is not needed twice.
    let _left = std::fs::remove_dir_all(&folder);
    stored.map(Some)
}

fn write_bundle(session: &Session, host: &HostName, folder: &Path) -> Result<()> {
    let manifest = Manifest::of(&session.fleet.policy, host, FileName::path);
    let mut text = serde_json::to_vec(&manifest)
        .map_err(|error| Error::new(Kind::Bug, "cannot write the manifest").because(error))?;
    text.push(b'\n');
    for entry in &manifest.secrets {
        let name = entry.sealed_as.parse().map_err(|fault| Error::new(Kind::Bug, format!("{fault}")))?;
        let bytes = session.fleet.sealed(&name)?.ok_or_else(|| Error::failed(format!("{} is gone", name.path())))?;
        files::replace(&folder.join(&entry.file), &bytes, 0o444, Durable::Later)?;
    }
    files::replace(&folder.join("manifest.json"), &text, 0o444, Durable::Later)
}

/// Holds what was planned before, so that the collector leaves it alone.
pub fn hold(rooted: &Rooted, campaign: &Campaign) -> Result<()> {
    let links: Vec<(String, &str)> = campaign
        .hosts
        .iter()
        .flat_map(|(host, item)| {
            let bundle = item.bundle.as_deref().map(|bundle| (format!("bundle-{host}"), bundle));
            // What was built on the host is not here; whether it is still there, the host looks itself.
            let ours = !item.there;
            let system = (ours && !item.plan.only_homes).then(|| (Rooted::name_of(host), item.plan.system.as_str()));
            let homes = item.plan.homes_to_come().filter(move |_| ours);
            let homes = homes.map(move |home| (format!("home-{}@{host}", home.user), home.package.as_str()));
            [system, bundle].into_iter().flatten().chain(homes)
        })
        .collect();
    for (_, path) in &links {
        if !closure::is_store_path(path) {
            return Err(Error::usage("what the plan names as a system is not a store path"));
        }
    }
    let links: Vec<(&str, &str)> = links.iter().map(|(name, path)| (name.as_str(), *path)).collect();
    rooted.hold(&links).map_err(|error| {
        Error::failed("what was planned is not in the store any more; nothing was changed")
            .because(error.in_one_line())
            .help(format!(
                "plan again: `sealift plan {}`",
                campaign.hosts.keys().map(HostName::as_str).collect::<Vec<_>>().join(" ")
            ))
    })
}
