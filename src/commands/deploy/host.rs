//! The program on the host: takes one order, carries it out, and tells what happens. Started by a deployer on the same
//! machine, and depends on nothing of it: not on its terminal, its session, or that it still listens.

use std::sync::Arc;

use serde::Serialize;

use super::teller::{Listener, Teller};
use super::transaction::Ended;
use super::{back, transaction};
use crate::adapters::bench::{self, Bench};
use crate::adapters::rooted::Root;
use crate::adapters::{process, profile, system};
use crate::error::{Error, Result};
use crate::fleet::order::{Failure, Order, Outcome, Told, VERSION, Verdict, Work};
use crate::fleet::rollout::Action;

/// Carries out the order and tells the verdict, which it also returns.
pub fn run(order: &[u8], listener: Listener) -> Verdict {
    process::leave_session();
    let teller = Arc::new(Teller::new(listener));
    let verdict = carry_out(order, &teller).unwrap_or_else(|error| Verdict {
        outcome: Outcome::Failed,
        generation: None,
        running: None,
        until_reboot: false,
        failure: Some(Failure::from(&error)),
    });
    teller.tell(&Told::End(verdict.clone()));
    verdict
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

fn carry_out(order: &[u8], teller: &Arc<Teller>) -> Result<Verdict> {
    let order = parse(order)?;
    let root = Root::open(&order.root)?;
    let bench = Arc::new(Bench::take(&root, &order.run, &order.who)?);
    teller.log_to(&bench);
    let recovered = back::recover(&root, &bench, teller)?;
    let ended = match (&order.work, recovered) {
        (Work::Recover, recovered) => recovered.unwrap_or_else(|| Ended::well(Outcome::Nothing)),
        // The way back failed: nothing more is done before a person looked.
        (_, Some(ended)) if ended.outcome == Outcome::Person => ended,
        (Work::Switch(switch), _) => transaction::run(&root, &bench, teller, &order, switch)
            .unwrap_or_else(|error| Ended { outcome: Outcome::Failed, failure: Some(error) }),
    };
    let verdict = Verdict {
        outcome: ended.outcome,
        generation: profile::current(&root),
        running: root.store_path(system::RUNNING),
        until_reboot: until_reboot(&root, &order, ended.outcome),
        failure: ended.failure.as_ref().map(Failure::from),
    };
    record(&bench, &order, &verdict);
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
fn record(bench: &Bench, order: &Order, verdict: &Verdict) {
    #[derive(Serialize)]
    struct Line<'a> {
        version: u32,
        run: &'a str,
        who: &'a str,
        ended: String,
        action: Option<Action>,
        system: Option<&'a str>,
        former: Option<&'a str>,
        commit: Option<&'a str>,
        outcome: Outcome,
        generation: Option<u64>,
        reason: Option<String>,
    }
    let switch = match &order.work {
        Work::Switch(switch) => Some(switch),
        Work::Recover => None,
    };
    let line = Line {
        version: VERSION,
        run: &order.run,
        who: &order.who,
        ended: bench::now(),
        action: switch.map(|switch| switch.action),
        system: switch.map(|switch| switch.system.as_str()),
        former: switch.and_then(|switch| switch.expected.as_deref()),
        commit: switch.and_then(|switch| switch.commit.as_deref()),
        outcome: verdict.outcome,
        generation: verdict.generation,
        reason: verdict.failure.as_ref().map(Failure::reason),
    };
    // Both are plain data: they are always written.
    if let (Ok(result), Ok(line)) = (serde_json::to_vec_pretty(verdict), serde_json::to_string(&line)) {
        bench.end(&result, &line);
    }
}
