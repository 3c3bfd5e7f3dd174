//! Asks for confirmation, and carries out the plan that was shown.

use crate::adapters::signals;
use crate::commands::Session;
use crate::commands::deploy::report::Report;
use crate::commands::deploy::request::How;
use crate::commands::deploy::run_store::Begun;
use crate::commands::deploy::{closure_scan, execute};
use crate::commands::hosts::select::{Ready, Who};
use crate::commands::hosts::talk::listed;
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::diff::{Action, Outcome};
use crate::domain::deploy::host_facts::Survey;
use crate::domain::deploy::plan::{Campaign, Item, Plan};
use crate::domain::deploy::shown::shown;
use crate::domain::name::HostName;
use crate::error::{Error, Result};

pub fn show<'a>(items: impl Iterator<Item = &'a Item>, talk: &dyn Talk) {
    let plans: Vec<&Plan> = items.map(|item| &item.plan).collect();
    talk.event(Event::Plan(shown(&plans)));
}

/// Fails if the host selected as canary is not ready.
pub fn goes_first(canary: Option<&HostName>, campaign: &Campaign) -> Result<()> {
    match canary.filter(|canary| !campaign.hosts.contains_key(*canary)) {
        Some(canary) => {
            Err(Error::usage(format!("{canary} cannot go first: it is not among the hosts that are ready")))
        }
        None => Ok(()),
    }
}

/// Asks for confirmation and carries out the plan. `reports` are those of hosts that take no further part.
pub fn decide(
    session: &Session,
    who: &Who,
    how: &How,
    begun: Begun,
    mut campaign: Campaign,
    ready: &[Ready],
    mut reports: Vec<Report>,
) -> Result<Vec<Report>> {
    let talk = &session.talk;
    let (mut going, mut stopped) = (Vec::new(), Vec::new());
    for one in ready {
        let survey = &one.target.survey;
        match campaign.hosts.get(&one.host).map(|item| &item.plan) {
            Some(plan) if !how.yes && is_as_planned(how, plan, survey) => {
                stopped.push(Report::as_it_is(&one.host, survey, plan.clone(), Outcome::Nothing));
            }
            Some(plan) if plan.action == Action::Test && !plan.live() => stopped.push(needs_reboot(&one.host, plan)),
            Some(_) => going.push(one),
            None => {}
        }
    }
    for report in &stopped {
        report.host.iter().for_each(|host| drop(campaign.hosts.remove(host.as_str())));
    }
    reports.append(&mut stopped);
    if going.is_empty() {
        begun.discard();
        return Ok(reports);
    }
    let begun = begun.unless_failed(closure_scan::look(session, &how.inspect, &campaign))?;
    signals::check()?;
    let names = listed(going.iter().map(|one| &one.host));
    let asks = campaign.action != Action::DryActivate && !how.yes;
    if asks && !talk.confirm(&format!("Deploy this to {names}?"))? {
        begun.discard();
        reports.extend(going.into_iter().map(|one| declined(&one.host, &campaign)));
        return Ok(reports);
    }
    let kept = begun.keep(campaign)?;
    reports.extend(execute::carry_out(&session.fleet.policy, &kept, who, how, &going, talk));
    kept.end();
    reports.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(reports)
}

/// Whether a host already is as planned, so that nothing has to be asked. With `--yes` it is activated again anyway.
fn is_as_planned(how: &How, plan: &Plan, survey: &Survey) -> bool {
    let runs = plan.former.as_ref() == Some(plan.activates());
    let boots = plan.action == Action::Test || survey.next.as_ref() == Some(&plan.system);
    let switches = matches!(plan.action, Action::Test | Action::Switch);
    let delivered = plan.secrets.is_empty() && !plan.until_reboot;
    let well = !survey.unfinished && survey.busy.is_none();
    let homes = plan.homes_to_come().next().is_none();
    switches && well && homes && (plan.only_homes || runs && boots && delivered && how.link.is_none())
}

fn declined(host: &HostName, campaign: &Campaign) -> Report {
    let error = Error::failed("declined; nothing was changed").help("`--yes` deploys without asking");
    let plan = campaign.hosts.get(host.as_str()).map(|item| item.plan.clone());
    Report::early(host, plan, Outcome::Declined, Some(error))
}

fn needs_reboot(host: &HostName, plan: &Plan) -> Report {
    let error = Error::failed("it cannot be activated without a reboot")
        .because(plan.reboot.blocks.join("\n"))
        .help("make it what boots next: `--action boot`");
    Report::early(host, Some(plan.clone()), Outcome::Failed, Some(error))
}
