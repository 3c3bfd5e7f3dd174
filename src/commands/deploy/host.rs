//! The program on the host: takes one order, carries it out, and tells what happens. Started by a deployer on the same
//! machine, and depends on nothing of it: not on its terminal, its session, or that it still listens.

use std::sync::Arc;

use super::teller::{Listener, Teller};
use super::transaction::Ended;
use super::{back, survey, transaction};
use crate::adapters::bench::{self, Bench};
use crate::adapters::rooted::Root;
use crate::adapters::{process, profile, system};
use crate::commands::generations;
use crate::error::{Error, Result};
use crate::fleet::order::{Failure, Order, Outcome, Told, VERSION, Verdict, Work};
use crate::fleet::rollout::Action;
use crate::fleet::survey::Record;

/// Carries out the order and tells how it ended. Says whether it ended well.
pub fn run(order: &[u8], listener: Listener) -> bool {
    process::leave_session();
    let teller = Arc::new(Teller::new(listener));
    let last = parse(order).and_then(|order| carry_out(&order, &teller)).unwrap_or_else(|error| {
        Told::End(Verdict {
            outcome: Outcome::Failed,
            generation: None,
            running: None,
            until_reboot: false,
            failure: Some(Failure::from(&error)),
        })
    });
    teller.tell(&last);
    !matches!(last, Told::End(Verdict { failure: Some(_), .. }))
}

/// Reads an order.
fn parse(order: &[u8]) -> Result<Order> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let malformed = |fault: serde_json::Error| {
        Error::usage(format!("the order is not well formed (line {}, column {})", fault.line(), fault.column()))
    };
    let version: Version = serde_json::from_slice(order).map_err(malformed)?;
    if version.version != VERSION {
        return Err(Error::usage(format!(
            "the order is of version {}, and this program takes version {VERSION}",
            version.version
        ))
        .hint("use the same version of sealift on both sides"));
    }
    let order: Order = serde_json::from_slice(order).map_err(malformed)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !(1..=64).contains(&order.run.len()) || !order.run.bytes().all(plain) {
        return Err(Error::usage("the order's run is not a name"));
    }
    Ok(order)
}

/// Does what was asked for; the last thing to be told.
fn carry_out(order: &Order, teller: &Arc<Teller>) -> Result<Told> {
    let root = Root::open(&order.root)?;
    match &order.work {
        Work::Survey(question) => Ok(Told::Survey(Box::new(survey::of(&root, question)?))),
        Work::Generations => Ok(Told::Generations(generations::here(root.path())?)),
        Work::Verify(_) | Work::Follow(_) => Err(Error::usage("not yet")),
        Work::Switch(_) | Work::Recover => change(&root, order, teller).map(Told::End),
    }
}

/// What changes the machine: one at a time, written down, recorded.
fn change(root: &Root, order: &Order, teller: &Arc<Teller>) -> Result<Verdict> {
    let bench = Arc::new(Bench::take(root, &order.run, &order.who)?);
    teller.log_to(&bench);
    let recovered = back::recover(root, &bench, teller)?;
    let ended = match (&order.work, recovered) {
        // The way back failed: nothing more is done before a person looked.
        (_, Some(ended)) if ended.outcome == Outcome::Person => ended,
        (Work::Switch(switch), _) => transaction::run(root, &bench, teller, order, switch)
            .unwrap_or_else(|error| Ended { outcome: Outcome::Failed, failure: Some(error) }),
        (_, recovered) => recovered.unwrap_or_else(|| Ended::well(Outcome::Nothing)),
    };
    let verdict = Verdict {
        outcome: ended.outcome,
        generation: profile::current(root),
        running: root.store_path(system::RUNNING),
        until_reboot: until_reboot(root, order, ended.outcome),
        failure: ended.failure.as_ref().map(Failure::from),
    };
    record(root, &bench, order, &verdict);
    Ok(verdict)
}

/// Whether delivered secrets are gone after the next boot: the system has no unit that would deliver them again.
fn until_reboot(root: &Root, order: &Order, outcome: Outcome) -> bool {
    let Work::Switch(switch) = &order.work else { return false };
    let delivered = matches!(switch.action, Action::Test | Action::Switch)
        && matches!(outcome, Outcome::Done | Outcome::PendingReboot);
    delivered && switch.bundle.is_some() && !root.exists(&format!("{}/{}", switch.system, system::UNIT))
}

/// Adds a run to the record of all.
fn record(root: &Root, bench: &Bench, order: &Order, verdict: &Verdict) {
    let switch = match &order.work {
        Work::Switch(switch) => Some(switch),
        _ => None,
    };
    let carried =
        switch.and_then(|switch| transaction::manifest(root, switch)).and_then(|at| system::secrets(root, &at).ok());
    let line = Record {
        version: VERSION,
        run: order.run.clone(),
        who: order.who.clone(),
        ended: bench::now(),
        action: switch.map(|switch| switch.action),
        system: switch.map(|switch| switch.system.clone()),
        former: switch.and_then(|switch| switch.expected.clone()),
        commit: switch.and_then(|switch| switch.commit.clone()),
        secrets: carried.into_iter().flatten().map(|secret| (secret.name, secret.digest)).collect(),
        outcome: verdict.outcome,
        generation: verdict.generation,
        reason: verdict.failure.as_ref().map(Failure::reason),
    };
    // Both are plain data: they are always written.
    if let (Ok(result), Ok(line)) = (serde_json::to_vec_pretty(verdict), serde_json::to_string(&line)) {
        bench.end(&result, &line);
    }
}
