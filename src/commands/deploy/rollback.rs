//! `rollback`: makes an earlier generation of a system the running one again, with its own secrets. Uses the same
//! transaction as a deploy, without a build. Also works without a fleet on this machine, because it is needed when
//! something is broken.

use crate::adapters::fs::root::Root;
use crate::adapters::host::closure;
use crate::commands::Session;
use crate::commands::agent::caller::Caller;
use crate::commands::deploy::report::Report;
use crate::commands::deploy::request::Patience;
use crate::commands::deploy::{difference, generations};
use crate::commands::hosts::client::{hand_over, recover};
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::hosts::identify::this_machine;
use crate::commands::hosts::privilege::Rights;
use crate::commands::hosts::ready;
use crate::commands::hosts::select::{Needs, Ready, Who, reach_all};
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::checks::checks;
use crate::domain::deploy::diff::Action;
use crate::domain::deploy::generations::{Generation, Generations};
use crate::domain::deploy::home::{self, Home, HomeChange, State};
use crate::domain::deploy::host_facts::{Question, Seen};
use crate::domain::deploy::packages::Difference;
use crate::domain::deploy::plan::{Kept, Plan};
use crate::domain::deploy::protocol::{DeployResult, HostCommand, Look, Profile, Switch};
use crate::domain::deploy::shown::shown;
use crate::domain::name::{HostName, UnixName};
use crate::domain::policy::Policy;
use crate::error::{Error, Result};

/// What to roll back to.
pub struct Request {
    pub who: Who,
    pub patience: Patience,
    /// The host, if one was named.
    pub host: Option<HostName>,
    /// The generation. None selects the one before the current one.
    pub to: Option<u64>,
    /// Whether to run the declared checks.
    pub checks: bool,
    /// Whether to keep values that are newer than those of the generation.
    pub keep_values: bool,
    /// Roll back a home instead of the system: that of the given user, or the only one.
    #[expect(clippy::option_option, reason = "an option whose value may be left away")]
    pub home: Option<Option<UnixName>>,
}

/// Rolls back. Without a fleet `session` is none; then no declared checks run.
pub fn run(session: Option<&Session>, talk: &dyn Talk, request: &Request) -> Result<Report> {
    let caller = &request.who.caller;
    let policy = session.map(|session| &session.fleet.policy);
    let (mut target, rights) = reach(session, talk, request)?;
    ready::nixos(&target)?;
    if recover(&mut target, &rights, caller, talk)?.is_some() && request.to.is_none() {
        let system = target.survey.former.clone().unwrap_or_default();
        let words = target.words();
        return Err(Error::failed(format!("an interrupted deploy was ended first; what runs now is {system}")).help(
            format!("run `sealift rollback{words}` again to go back further, or `sealift generations{words}` to see where you are"),
        ));
    }
    let list = generations::of(&target, caller)?;
    if let Some(user) = &request.home {
        return home(policy, talk, request, (&target, &rights), &list, user.as_ref());
    }
    let (number, system) = choose(&target, &list, request.to)?;
    let survey = target.survey(caller, Question { coming: Some(system.clone()), closure: false })?;
    let mut coming = survey.coming.clone().ok_or_else(|| gone(number))?;
    let kept = Kept::of(&survey, &coming, Action::Switch, false);
    if let Some(system) = kept.as_ref().and_then(|kept| kept.system.clone()) {
        let question = Question { coming: Some(system), closure: false };
        let special = target.survey(caller, question)?.coming.ok_or_else(|| gone(number))?;
        // A specialisation without secrets of its own gets those of its base system.
        coming = if special.carries.is_some() {
            special
        } else {
            Seen { secrets: coming.secrets, bundle: coming.bundle, ..special }
        };
    }
    let program = policy.and_then(|policy| policy.deploy.diff);
    let packages = difference::between(&target, caller, &coming.system, target.is_remote(), program, talk);
    let plan =
        Plan::of(policy, target.host.as_ref(), Action::Switch, &survey, &coming, packages).of_base(&system, kept);
    talk.event(Event::Note(format!("back to generation {number}")));
    talk.event(Event::Plan(shown(&[&plan])));
    let acknowledge = target.is_remote().then_some(request.patience.acknowledge);
    let switch = Switch {
        bundle: coming.bundle.clone(),
        checks: declared(policy, &target, request),
        keep_values: request.keep_values,
        ..plan.switch(Profile::Generation(number), request.patience.settle, acknowledge)
    };
    let host_request = target.request(caller, HostCommand::Switch(Box::new(switch)))?;
    if let (Transport::Remote(remote), Some(address)) = (&target.transport, &request.patience.ack_address) {
        remote.moves_to(address);
    }
    let result = hand_over(&target, &host_request, &rights, caller, talk)?;
    Ok(Report::of(&target, plan, &host_request.run, result))
}

/// Rolls back an earlier deploy: to the generation that ran before it, with its own secrets. Runs no checks, because
/// their failure is the reason for this.
pub fn undo(
    policy: &Policy,
    ready: &Ready,
    caller: &Caller,
    patience: &Patience,
    report: &Report,
    talk: &dyn Talk,
) -> Result<DeployResult> {
    let Ready { host, target, rights } = ready;
    let previous = report.plan.as_ref().and_then(|plan| plan.former.clone());
    let (Some(number), Some(system)) = (report.before, previous) else {
        return Err(Error::failed("what ran before is in no generation"));
    };
    let survey = target.survey(caller, Question { coming: Some(system.clone()), closure: false })?;
    let coming = survey.coming.clone().ok_or_else(|| gone(number))?;
    let same = Ok(Difference::default());
    let plan = Plan::of(Some(policy), Some(host), Action::Switch, &survey, &coming, same);
    for home in report.plan.iter().flat_map(Plan::homes_to_come) {
        let words = target.words();
        talk.event(Event::Warning(format!(
            "the home of {0} stays as it is: `sealift rollback{words} --home={0}` takes it back",
            home.user
        )));
    }
    let acknowledge = target.is_remote().then_some(patience.acknowledge);
    let switch = Switch {
        bundle: coming.bundle.clone(),
        ..plan.switch(Profile::Generation(number), patience.settle, acknowledge)
    };
    let host_request = target.request(caller, HostCommand::Switch(Box::new(switch)))?;
    if let Transport::Remote(remote) = &target.transport {
        remote.moves_back();
    }
    hand_over(target, &host_request, rights, caller, talk)
}

/// Makes an earlier generation of a home the active one; the system stays.
fn home(
    policy: Option<&Policy>,
    talk: &dyn Talk,
    request: &Request,
    (target, rights): (&Target, &Rights),
    list: &Generations,
    user: Option<&UnixName>,
) -> Result<Report> {
    let caller = &request.who.caller;
    let state = match (user, &list.homes[..]) {
        (None, [one]) => one,
        (None, []) => {
            return Err(Error::failed(format!("{} has no home of home-manager of its own", target.shown()))
                .help("one that comes with the system goes back with it; that of somebody else is seen by that user, and by root"));
        }
        (None, many) => {
            let users: Vec<&str> = many.iter().map(|one| one.user.as_str()).collect();
            return Err(Error::usage(format!("there is more than one home: {}", users.join(", ")))
                .help("say whose: `--home=USER`"));
        }
        (Some(user), many) => many.iter().find(|one| one.user == *user).ok_or_else(|| {
            Error::failed(format!("{user} has no home of home-manager that can be read on {}", target.shown()))
        })?,
    };
    let (number, package) = previous(state, request.to)?;
    let survey = &target.survey;
    let running = survey
        .running
        .as_ref()
        .ok_or_else(|| Error::failed(format!("the running system of {} cannot be read", target.shown())))?;
    let plan = Plan::of(policy, target.host.as_ref(), Action::Switch, survey, running, Ok(Difference::default()));
    let change =
        HomeChange { user: state.user.clone(), former: state.active.clone(), package: package.clone(), left: None };
    let plan = Plan { only_homes: true, homes: vec![change], ..plan };
    talk.event(Event::Note(format!("back to generation {number} of the home of {}", state.user)));
    talk.event(Event::Plan(shown(&[&plan])));
    let switch = Switch {
        checks: declared(policy, target, request),
        homes: vec![Home { user: state.user.clone(), package, generation: Some(number) }],
        ..plan.switch(Profile::New, request.patience.settle, None)
    };
    let host_request = target.request(caller, HostCommand::Switch(Box::new(switch)))?;
    let result = hand_over(target, &host_request, rights, caller, talk)?;
    Ok(Report::of(target, plan, &host_request.run, result))
}

/// Returns the declared checks of the host, unless they are disabled.
fn declared(policy: Option<&Policy>, target: &Target, request: &Request) -> Vec<Look> {
    let checked = policy.zip(target.host.as_ref()).filter(|_| request.checks);
    checked.map_or_else(Vec::new, |(policy, host)| checks(policy, host))
}

/// Returns the generation of a home to roll back to, and its package.
fn previous(state: &State, to: Option<u64>) -> Result<(u64, String)> {
    let all = &state.generations;
    let chosen = match to {
        Some(number) => all.iter().find(|one| one.generation == number),
        None => all.iter().rev().find(|one| state.generation.is_some_and(|current| one.generation < current)),
    };
    let known = || {
        let numbers: Vec<String> = all.iter().map(|one| one.generation.to_string()).collect();
        format!("there are: {}", numbers.join(", "))
    };
    match chosen {
        Some(home::HomeGeneration { generation, package: Some(package), .. }) if closure::is_store_path(package) => {
            Ok((*generation, package.clone()))
        }
        Some(one) => {
            Err(Error::failed(format!("generation {} of the home is not in the store any more", one.generation))
                .help(known()))
        }
        None => Err(match to {
            Some(number) => Error::failed(format!("the home of {} has no generation {number}", state.user)),
            None => Error::failed(format!("the home of {} has no generation before the current one", state.user)),
        }
        .help(known())),
    }
}

/// Reaches the machine and gets root's rights.
fn reach(session: Option<&Session>, talk: &dyn Talk, request: &Request) -> Result<(Target, Rights)> {
    let named = request.host.as_ref();
    if let (Some(session), Some(host)) = (session, named) {
        let policy = &session.fleet.policy;
        let chosen = request.who.choose(policy)?;
        let needs = Needs { root: true, brings: None, gate: None };
        let reached = reach_all(policy, &request.who, &chosen, needs, None, &session.talk)?;
        let one = reached.into_iter().find(|(name, _)| name == host).map(|(_, one)| one);
        return match one {
            Some(ready) => ready.map(|Ready { target, rights, .. }| (target, rights)),
            None => Err(Error::usage("this is done for one host at a time")),
        };
    }
    let root = Root::open(&request.who.root)?;
    // A machine that is not in the policy can still roll back.
    let host = session.and_then(|session| here(&session.fleet.policy, &root)).or_else(|| named.cloned());
    let target = Target::here(root, host)?;
    let rights = target.rights(false, &request.who.caller, talk)?;
    Ok((target, rights))
}

fn here(policy: &Policy, root: &Root) -> Option<HostName> {
    this_machine(policy, root, None).ok()
}

fn gone(number: u64) -> Error {
    Error::failed(format!("the system of generation {number} is not in the store any more"))
}

/// Returns the generation to roll back to, and its system.
fn choose(target: &Target, list: &Generations, to: Option<u64>) -> Result<(u64, String)> {
    // Newest first.
    let all = &list.generations;
    let current = target.survey.generation;
    // A system activated only for a test is in no generation: a rollback returns to the one that boots.
    let running = target.survey.specialisation.as_ref().map(|one| &one.of).or(target.survey.former.as_ref());
    let tried = running.is_some() && !all.iter().any(|generation| generation.system.as_ref() == running);
    let to = to.or_else(|| current.filter(|_| tried));
    let chosen = match to {
        Some(number) => all.iter().find(|generation| generation.generation == number),
        None => all.iter().find(|generation| current.is_some_and(|current| generation.generation < current)),
    };
    let known = || all.iter().rev().map(|generation| generation.generation.to_string()).collect::<Vec<_>>().join(", ");
    match chosen {
        Some(Generation { generation, system: Some(system), .. }) if closure::is_store_path(system) => {
            Ok((*generation, system.clone()))
        }
        Some(Generation { generation, .. }) => Err(gone(*generation).help(format!("there are: {}", known()))),
        None if all.is_empty() => {
            Err(Error::failed(format!("{} has no system profile: nothing was deployed there", target.place())))
        }
        None => Err(match to {
            Some(number) => Error::failed(format!("{} has no generation {number}", target.place())),
            None => Error::failed(format!("{} has no generation before the current one", target.place())),
        }
        .help(format!("there are: {}", known()))),
    }
}
