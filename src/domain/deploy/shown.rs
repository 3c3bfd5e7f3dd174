//! Plans as shown to a person: hosts with the same change are listed together, with the most important facts first,
//! then details, then one total line. Each part of a line has a tone; the printer maps tones to colours.

use std::collections::BTreeSet;

use crate::domain::counted::counted;
use crate::domain::deploy::packages::{PackageChange, Sizes, listed, signed};
use crate::domain::deploy::plan::{Kept, Plan};
use crate::domain::deploy::secret_changes::{Change, SecretChange};
use crate::domain::line::{Line, Tone};

/// The most packages that a plan shows. A limit is needed because the list comes from the host.
pub const PACKAGES: usize = 5000;
/// The maximum column width for names of packages.
const NAME: usize = 28;

/// The lines for these plans.
pub fn shown(plans: &[&Plan]) -> Vec<Line> {
    let mut groups: Vec<(Vec<Line>, Vec<&Plan>)> = Vec::new();
    for plan in plans {
        let same = change(plan);
        match groups.iter_mut().find(|(other, _)| *other == same) {
            Some((_, group)) => group.push(plan),
            None => groups.push((same, vec![plan])),
        }
    }
    let mut lines: Vec<Line> = groups.iter().flat_map(|(_, group)| of_group(group)).collect();
    if plans.len() > 1 {
        lines.push(total(plans));
    }
    lines
}

/// What a plan changes, without the host's name and sizes: plans with equal lines make the same change.
fn change(plan: &Plan) -> Vec<Line> {
    let mut lines = vec![Line::plain(pieces(plan).join(" · "))];
    lines.extend(body(plan, false));
    lines
}

/// The lines for hosts with the same change.
fn of_group(group: &[&Plan]) -> Vec<Line> {
    let Some(first) = group.first() else { return Vec::new() };
    let names: Vec<String> = group.iter().map(|plan| name(plan)).collect();
    let mut pieces = pieces(first);
    if let Some(closure) = closure(group) {
        // After the packages, which come first.
        pieces.insert(pieces.len().min(leads(first)), closure);
    }
    let same = if group.len() > 1 { " (same change)" } else { "" };
    let mut lines =
        vec![Line::of(Tone::Strong, names.join(", ")).and(Tone::Plain, format!("{same}: {}", pieces.join(" · ")))];
    for plan in group {
        let host = if group.len() > 1 { format!("{}: ", name(plan)) } else { String::new() };
        lines.extend(systems(plan).map(|systems| Line::of(Tone::Faint, format!("  {host}{systems}"))));
    }
    lines.extend(body(first, true));
    lines
}

fn name(plan: &Plan) -> String {
    plan.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string)
}

/// The running system and the new one.
fn systems(plan: &Plan) -> Option<String> {
    match &plan.former {
        _ if plan.only_homes => None,
        Some(previous) if previous == plan.activates() => None,
        Some(previous) => Some(format!("{} → {}", short(previous), short(plan.activates()))),
        None => Some(short(&plan.system)),
    }
}

/// A store path, with its hash shortened.
fn short(path: &str) -> String {
    let name = path.strip_prefix("/nix/store/").unwrap_or(path);
    match name.split_once('-') {
        Some((hash, rest)) if hash.len() > 8 => format!("{}…-{rest}", hash.get(..8).unwrap_or(hash)),
        _ => name.to_owned(),
    }
}

/// Whether the system to activate is already running.
fn runs(plan: &Plan) -> bool {
    plan.former.as_ref() == Some(plan.activates())
}

/// The packages whose versions change.
fn updated(plan: &Plan) -> impl Iterator<Item = &PackageChange> {
    plan.changes.iter().filter(|one| !one.before.is_empty() && !one.after.is_empty() && one.before != one.after)
}

/// How many of the pieces describe the system and its packages.
fn leads(plan: &Plan) -> usize {
    system(plan).len()
}

/// The system and its packages, in brief.
fn system(plan: &Plan) -> Vec<String> {
    if plan.only_homes {
        return vec!["the system stays as it is".to_owned()];
    }
    if runs(plan) {
        return vec!["runs already".to_owned()];
    }
    let mut pieces = Vec::new();
    match &plan.versions {
        (Some(previous), coming) if previous != coming => pieces.push(format!("NixOS {previous} → {coming}")),
        (None, coming) => pieces.push(format!("NixOS {coming}")),
        _ => {}
    }
    // The kernel, or else the package whose size changes most.
    let lead = updated(plan)
        .find(|one| one.name == "linux")
        .or_else(|| updated(plan).max_by_key(|one| one.bytes.unsigned_abs()).filter(|_| pieces.is_empty()));
    pieces.extend(lead.and_then(|one| Some(format!("{} {}", one.name, one.versions()?))));
    let others = plan.changes.len() - usize::from(lead.is_some());
    match (&plan.not_compared, others) {
        (Some(_), _) => pieces.push("packages not compared".to_owned()),
        (None, 0) if pieces.is_empty() => pieces.push("no version changes".to_owned()),
        (None, 0) => {}
        (None, others) if pieces.is_empty() => pieces.push(counted(others, "package")),
        (None, others) => pieces.push(counted(others, "more package")),
    }
    pieces
}

/// The summary of a plan.
fn pieces(plan: &Plan) -> Vec<String> {
    let mut pieces = system(plan);
    if plan.only_homes {
        return pieces;
    }
    let (secrets, restarted) = (plan.secrets.len(), restarted(plan).len());
    if secrets > 0 {
        pieces.push(counted(secrets, "secret"));
    }
    if plan.live() && restarted > 0 {
        pieces.push(restarts(restarted));
    }
    let changes = !runs(plan) || secrets > 0 || plan.homes_to_come().next().is_some();
    match (plan.live(), plan.reboot.waits.is_empty()) {
        (false, _) => pieces.push("takes effect at the next boot".to_owned()),
        (true, false) => pieces.push("reboot needed".to_owned()),
        (true, true) if changes => pieces.push("no reboot".to_owned()),
        (true, true) => pieces.push("nothing changes".to_owned()),
    }
    pieces
}

/// The units that are restarted or reloaded.
fn restarted(plan: &Plan) -> BTreeSet<&String> {
    plan.secret_units.iter().chain(&plan.units.changed).collect()
}

/// `1 unit restarts`, `2 units restart`.
fn restarts(units: usize) -> String {
    format!("{} {}", counted(units, "unit"), if units == 1 { "restarts" } else { "restart" })
}

/// The closures of hosts with the same change.
fn closure(group: &[&Plan]) -> Option<String> {
    let sizes = group.iter().map(|plan| plan.closure).collect::<Option<Vec<_>>>()?;
    let (first, grows) = (sizes.first()?, sizes.iter().map(Sizes::grows));
    let (least, most) = (grows.clone().min()?, grows.max()?);
    Some(if sizes.iter().all(|sizes| sizes == first) {
        format!("closure {}", first.shown())
    } else if signed(least) == signed(most) {
        format!("closure {} each", signed(least))
    } else {
        format!("closure {} to {}", signed(least), signed(most))
    })
}

/// The total over all plans, in one line.
fn total(plans: &[&Plan]) -> Line {
    let mut pieces = vec![counted(plans.len(), "host")];
    let known: Vec<i64> = plans.iter().filter_map(|plan| plan.closure).map(|sizes| sizes.grows()).collect();
    if !known.is_empty() {
        pieces.push(format!("closures {}", signed(known.into_iter().fold(0, i64::saturating_add))));
    }
    let sum = |of: &dyn Fn(&Plan) -> usize| plans.iter().map(|plan| of(plan)).sum::<usize>();
    let secrets = sum(&|plan| plan.secrets.len());
    if secrets > 0 {
        pieces.push(counted(secrets, "secret"));
    }
    let restarted = sum(&|plan| if plan.live() { restarted(plan).len() } else { 0 });
    if restarted > 0 {
        pieces.push(restarts(restarted));
    }
    let reboots = sum(&|plan| usize::from(!plan.live() || !plan.reboot.waits.is_empty()));
    pieces.push(if reboots > 0 { counted(reboots, "reboot") } else { "no reboot".to_owned() });
    Line::of(Tone::Strong, "in all").and(Tone::Plain, format!(": {}", pieces.join(" · ")))
}

/// The details. `exact`: include what differs between hosts, such as sizes and store paths.
fn body(plan: &Plan, exact: bool) -> Vec<Line> {
    let homes =
        plan.homes.iter().flat_map(|home| home.line().lines().map(|line| format!("  {line}")).collect::<Vec<_>>());
    if plan.only_homes {
        return homes.map(Line::plain).collect();
    }
    let mut lines = Vec::new();
    if let Some(Kept { name, left, .. }) = &plan.specialisation {
        let next = if exact { short(&plan.system) } else { String::new() };
        lines.push(Line::plain(match left {
            None => format!("  the specialisation {name} runs, and is kept; what boots next is {next}"),
            Some(why) => format!("  the specialisation {name} runs, and is left: {why}"),
        }));
    }
    lines.extend(packages(plan, exact));
    lines.extend(plan.secrets.iter().map(secret));
    let list = |tone: Tone, what: &str, units: &mut dyn Iterator<Item = &String>| {
        let units: Vec<_> = units.map(String::as_str).collect();
        (!units.is_empty())
            .then(|| Line::of(tone, format!("  {what}")).and(Tone::Plain, format!(": {}", units.join(", "))))
    };
    let others = plan.units.changed.iter().filter(|unit| !plan.secret_units.contains(*unit));
    lines.extend(list(Tone::Changed, "restarted for their secrets", &mut plan.secret_units.iter()));
    lines.extend(list(Tone::Changed, "units restarted", &mut others.into_iter()));
    lines.extend(list(Tone::Added, "units started", &mut plan.units.added.iter()));
    lines.extend(list(Tone::Removed, "units stopped", &mut plan.units.removed.iter()));
    let blocks = "cannot be activated live, takes effect at the next boot";
    lines.extend(list(Tone::Removed, blocks, &mut plan.reboot.blocks.iter()));
    lines.extend(list(Tone::Changed, "waits for a reboot", &mut plan.reboot.waits.iter()));
    lines.extend(homes.map(Line::plain));
    if plan.until_reboot {
        let until = if plan.lasts_until_reboot() {
            "they last until the next reboot"
        } else {
            "after the reboot they are absent until the next deploy"
        };
        let text = format!("  this system has no unit that delivers its secrets: {until}");
        lines.push(Line::of(Tone::Removed, text));
    }
    if !plan.commands.is_empty() {
        lines.push(Line::plain("  checks of recipients.toml that run as root there:"));
        lines.extend(plan.commands.iter().map(|(name, words)| Line::plain(format!("    {name}: {}", words.join(" ")))));
    }
    lines
}

fn packages(plan: &Plan, exact: bool) -> Vec<Line> {
    if let Some(why) = &plan.not_compared {
        return vec![Line::plain(format!("  packages: not compared: {why}"))];
    }
    if let Some(program) = plan.compared_by {
        // This line contains the store paths of both systems, which differ between hosts.
        let own = |line: &&String| exact || !line.contains("/nix/store/");
        let told = plan.packages.iter().filter(own).take(PACKAGES).map(|line| Line::plain(format!("    {line}")));
        return std::iter::once(Line::plain(format!("  packages, according to {program}:"))).chain(told).collect();
    }
    let sized: Vec<&PackageChange> =
        plan.changes.iter().filter(|one| !one.before.is_empty() && !one.after.is_empty()).take(PACKAGES).collect();
    let wide = |text: &str| text.chars().count();
    let names = sized.iter().map(|one| wide(&one.name)).max().unwrap_or(0).min(NAME);
    let versions = |one: &PackageChange| one.versions().unwrap_or_default();
    let texts = sized.iter().map(|one| wide(&versions(one))).max().unwrap_or(0).min(NAME);
    let mut lines: Vec<Line> = Vec::new();
    for one in &sized {
        let space = |text: &str, to: usize| " ".repeat(to.saturating_sub(wide(text)));
        let text = versions(one);
        let line = Line::plain(format!("  {}{}  ", one.name, space(&one.name, names)));
        let grows = one.grows().filter(|_| exact).map(|grows| format!("{}  {grows}", space(&text, texts)));
        let line = line.and(Tone::Changed, text);
        lines.push(match grows {
            Some(grows) => line.and(Tone::Faint, grows),
            None => line,
        });
    }
    let more = plan.changes.len().saturating_sub(PACKAGES);
    let list =
        |tone: Tone, what: &str, all: &mut dyn Iterator<Item = &PackageChange>, of: fn(&PackageChange) -> &[String]| {
            let one = |one: &PackageChange| {
                let version = listed(of(one));
                // Sizes are shown for large packages only.
                let large = one.grows().filter(|_| exact && one.bytes.unsigned_abs() >= 1 << 20);
                let large = large.map_or_else(String::new, |grows| format!(" ({grows})"));
                let space = if version.is_empty() { "" } else { " " };
                format!("{}{space}{version}{large}", one.name)
            };
            let all: Vec<String> = all.take(PACKAGES).map(one).collect();
            (!all.is_empty())
                .then(|| Line::of(tone, format!("  {what}")).and(Tone::Plain, format!(": {}", all.join(", "))))
        };
    let (mut came, mut went) = (
        plan.changes.iter().filter(|one| one.before.is_empty()),
        plan.changes.iter().filter(|one| one.after.is_empty()),
    );
    lines.extend(list(Tone::Added, "packages added", &mut came, |one| &one.after));
    lines.extend(list(Tone::Removed, "packages removed", &mut went, |one| &one.before));
    lines.extend((more > 0).then(|| Line::plain(format!("  and {more} more"))));
    lines
}

/// A changed secret, by name and version.
fn secret(secret: &SecretChange) -> Line {
    let name = &secret.name;
    let value =
        |serial: Option<u64>| serial.map_or_else(|| "unsealed".to_owned(), |serial| format!("version {serial}"));
    let change = || format!("{} → {}", value(secret.from), value(secret.to));
    let (tone, text) = match secret.change {
        Change::Added => (Tone::Added, format!("+ {name} ({})", value(secret.to))),
        Change::Changed => (Tone::Changed, format!("~ {name} ({})", change())),
        Change::Older => {
            (Tone::Removed, format!("! {name} ({}: an older version comes back{})", change(), secret.known()))
        }
        Change::Resealed => (Tone::Plain, format!("= {name} ({}, re-encrypted)", value(secret.to))),
        Change::Reowned => (Tone::Plain, format!("= {name} (another owner, mode or place)")),
        Change::Removed => (Tone::Removed, format!("- {name} ({})", value(secret.from))),
    };
    Line::plain("  secret ").and(tone, text)
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
