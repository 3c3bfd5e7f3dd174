//! `sealift deploy`, `plan` and `apply`, and what the verbs that change a system share.

pub mod generations;
pub mod rollback;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::cli::app::{App, Done, table};
use crate::cli::args::{address, time};
use crate::cli::{environment, settings};
use crate::commands::deploy::closure_scan::Inspect;
use crate::commands::deploy::report::Report;
use crate::commands::deploy::request::{Builder, How, Request};
use crate::commands::deploy::{self, attach, etc_nixos, run_store};
use crate::commands::hosts::select::Who;
use crate::commands::hosts::talk;
use crate::domain::address::{Address, words};
use crate::domain::deploy::diff::{self, Outcome};
use crate::domain::deploy::plan::Plan;
use crate::domain::deploy::protocol::LONGEST;
use crate::domain::name::{HostName, Tag};
use crate::domain::policy::Selector;
use crate::error::{Error, Kind, Result};

/// The arguments of `sealift deploy`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    steps: Steps,
    #[command(flatten)]
    build: Build,
    #[command(flatten)]
    carry: Carry,
    /// Resume every deploy that is not done on all its hosts: the same systems, on the hosts that are left
    #[arg(long, conflicts_with_all = ["words", "host", "all", "action", "attach"])]
    resume: bool,
    /// Make /etc/nixos a link to the flake's folder once the system is well; an existing directory is moved aside, and a
    /// rollback brings it back. DIR: where that folder is on another machine
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    link_etc_nixos: Option<String>,
    /// Join a run on its hosts, or tell what it came to
    #[arg(long, value_name = "RUN")]
    attach: Option<String>,
    /// Print what happens as JSON, one event a line
    #[arg(long)]
    json: bool,
}

/// Which machines, and how they are reached.
#[derive(clap::Args)]
pub struct Machines {
    /// Hosts, and @tags; without any, this machine
    #[arg(value_name = "HOST|@TAG")]
    words: Vec<Word>,
    /// A host, the same as naming it without the option
    #[arg(long, value_name = "HOST")]
    host: Option<HostName>,
    /// All hosts of the fleet
    #[arg(long, conflicts_with_all = ["words", "host"])]
    all: bool,
    /// How many hosts at a time [default: that of recipients.toml, else 4, or 16 where they are only looked at]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: Option<u32>,
    #[command(flatten)]
    reach: Reach,
}

/// How machines are reached.
#[derive(clap::Args)]
pub struct Reach {
    /// The root directory of a machine that is not running, such as one under /mnt
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// Ask for the sudo password on hosts that want one, once per host
    #[arg(long)]
    ask_sudo: bool,
    /// The sealift-host to bring to hosts that have none yet and are of another architecture than this machine
    #[arg(long, value_name = "FILE")]
    host_program: Option<PathBuf>,
}

/// What is planned.
#[derive(clap::Args)]
struct Steps {
    /// How far to go
    #[arg(long, value_enum, default_value_t = Action::Switch)]
    action: Action,
    /// Activate the system itself where a specialisation of it runs; without it, that specialisation is kept
    #[arg(long)]
    base: bool,
    /// Switch only the homes that are not part of a system (homeConfigurations."USER@HOST"); leave the systems as they are
    #[arg(long, conflicts_with_all = ["base", "action"])]
    home: bool,
    /// The host that goes first: no other is begun before it is well [default: that of recipients.toml]
    #[arg(long, value_name = "HOST")]
    canary: Option<HostName>,
    /// Fail, before anything is begun, if a host of a tag or of --all is offline or not ready
    #[arg(long)]
    require_all: bool,
}

/// Where it is built.
#[derive(clap::Args)]
struct Build {
    /// The directory of the flake [default: the fleet's, or the nearest above]
    #[arg(long, value_name = "DIR")]
    flake: Option<String>,
    /// Build on this machine, and bring the result here: user@host, ssh://user@host:port or an ssh_config alias
    #[arg(long = "build-host", value_name = "ADDRESS", value_parser = address, conflicts_with = "on_target")]
    at: Option<Address>,
    /// Build each system on its own host
    #[arg(long = "build-on-target")]
    on_target: bool,
}

/// How it is carried out.
#[derive(clap::Args)]
pub struct Carry {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Start no further host once one has failed
    #[arg(long)]
    fail_fast: bool,
    /// How long to watch the canary, and each host with a tag in `[deploy] at_most`, before others follow, such as 10m; a
    /// host whose checks get worse is rolled back, and no further host is started. With neither, every host is watched
    #[arg(long, value_name = "TIME", value_parser = time)]
    soak: Option<Duration>,
    /// Do not look for the fleet's own values in what was built; with --identity that is done before anything is copied
    #[arg(long)]
    no_store_scan: bool,
    #[command(flatten)]
    patience: Patience,
}

/// How long is waited.
#[derive(clap::Args)]
pub struct Patience {
    /// How many seconds a check that got worse may take to recover
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    settle: u64,
    /// How many seconds a machine waits for us to come back over a new connection before it goes back
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    acknowledge: u64,
    /// Where the machine is reached after the switch, if its address changes
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    ack_address: Option<Address>,
}

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    /// Activate it, then make it the boot default
    Switch,
    /// Make it the boot default; activate nothing
    Boot,
    /// Activate it; the boot default stays
    Test,
    /// Show what a switch would do
    DryActivate,
    /// Build it
    Build,
}

impl Action {
    fn of(self) -> diff::Action {
        match self {
            Action::Switch => diff::Action::Switch,
            Action::Boot => diff::Action::Boot,
            Action::Test => diff::Action::Test,
            Action::DryActivate => diff::Action::DryActivate,
            Action::Build => diff::Action::Build,
        }
    }
}

/// A host or a tag.
#[derive(Clone, Debug)]
pub struct Word(pub Selector);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = match text.strip_prefix('@') {
            Some(tag) => tag.parse::<Tag>().map(Selector::Tagged).map_err(|fault| fault.to_string()),
            None => text.parse::<HostName>().map(Selector::Host).map_err(|fault| fault.to_string()),
        };
        word.map(Self)
    }
}

impl Machines {
    /// As a request.
    pub fn who(self, require_all: bool) -> Result<Who> {
        let words = self.words.into_iter().map(|word| word.0).chain(self.host.map(Selector::Host));
        let who = self.reach.who(words.collect(), self.all, require_all)?;
        Ok(Who { jobs: self.jobs, ..who })
    }
}

impl Reach {
    /// As a request for these hosts.
    pub fn who(self, words: Vec<Selector>, all: bool, require_all: bool) -> Result<Who> {
        Ok(Who {
            words,
            all,
            root: self.root,
            require_all,
            jobs: None,
            ask_sudo: self.ask_sudo,
            host_program: self.host_program,
            runtime: settings::runtime(),
            caller: environment::caller()?,
        })
    }
}

impl Patience {
    /// As a request.
    pub fn how(self, fail_fast: bool) -> Result<How> {
        Ok(How {
            fail_fast,
            settle: self.settle,
            soak: Duration::ZERO,
            acknowledge: self.acknowledge,
            ack_address: self.ack_address,
            home: settings::home(),
            caller: environment::caller()?,
            link: None,
        })
    }
}

impl Carry {
    fn inspect(&self, app: &App) -> Inspect {
        match (self.no_store_scan, app.names_identities()) {
            (true, _) => Inspect::Skip,
            (false, true) => Inspect::Values,
            (false, false) => Inspect::Index(settings::index_key(None)),
        }
    }

    fn how(self) -> Result<How> {
        Ok(How { soak: self.soak.unwrap_or_default(), ..self.patience.how(self.fail_fast)? })
    }
}

/// Deploys.
pub fn run(args: Args, app: &App) -> Done {
    let session = app.session()?;
    app.ui.stream_events(args.json);
    let who = args.machines.who(args.steps.require_all)?;
    if let Some(run) = &args.attach {
        return attached(attach::run(&session, &who, run)?, args.json, app);
    }
    let (yes, inspect) = (args.carry.yes, args.carry.inspect(app));
    let mut how = args.carry.how()?;
    if let Some(said) = &args.link_etc_nixos {
        how.link = Some(etc_nixos::place(&session, &who, args.build.flake.as_deref(), said)?);
    }
    let request = Request {
        action: args.steps.action.of(),
        base: args.steps.base,
        only_homes: args.steps.home,
        canary: args.steps.canary,
        yes,
        inspect,
        how,
        flake: args.build.flake,
        builder: builder(args.build.at, args.build.on_target),
        who,
    };
    if request.only_homes && !request.how.soak.is_zero() {
        return Err(Error::usage("a home is not watched: `--soak` is for systems").into());
    }
    let root = request.who.root.clone();
    let reports = if args.resume { deploy::resume(&session, &request)? } else { deploy::run(&session, &request)? };
    if request.action == diff::Action::Build && !args.json {
        reports.iter().filter_map(|report| report.system.as_ref()).try_for_each(|system| app.ui.line(system))?;
    }
    show_all(reports, &root, args.json, app)
}

fn builder(host: Option<Address>, target: bool) -> Builder {
    match host {
        Some(address) => Builder::Host(address),
        None if target => Builder::Target,
        None => Builder::Here,
    }
}

/// The arguments of `sealift plan`.
#[derive(clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    steps: Steps,
    #[command(flatten)]
    build: Build,
    /// The file that is written; without it, the plan is only shown
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Plans.
pub fn plan(args: PlanArgs, app: &App) -> Done {
    let session = app.session()?;
    let request = Request {
        who: args.machines.who(args.steps.require_all)?,
        how: Patience { settle: 0, acknowledge: 1, ack_address: None }.how(false)?,
        action: args.steps.action.of(),
        base: args.steps.base,
        only_homes: args.steps.home,
        yes: true,
        flake: args.build.flake,
        canary: args.steps.canary,
        builder: builder(args.build.at, args.build.on_target),
        inspect: Inspect::Skip,
    };
    if request.action == diff::Action::Build {
        return Err(Error::usage("a plan that only builds would change nothing").into());
    }
    let (campaign, reports) = deploy::plan(&session, &request, args.output.is_some())?;
    if let Some(file) = args.output.as_ref().filter(|_| !campaign.hosts.is_empty()) {
        run_store::write(&campaign, file)?;
        app.ui.say(&format!("the plan is in {0}; `sealift apply {0}` carries it out", file.display()));
    }
    if args.json {
        app.ui.json_as_it_is(&campaign)?;
    }
    ended(reports, app)
}

/// The arguments of `sealift apply`.
#[derive(clap::Args)]
pub struct ApplyArgs {
    /// The plan
    file: PathBuf,
    /// How many hosts at a time [default: that of recipients.toml, else 4]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: Option<u32>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    carry: Carry,
    /// Print what happens as JSON, one event a line
    #[arg(long)]
    json: bool,
}

/// Applies.
pub fn apply(args: ApplyArgs, app: &App) -> Done {
    let session = app.session()?;
    app.ui.stream_events(args.json);
    let inspect = args.carry.inspect(app);
    let request = Request {
        who: Who { jobs: args.jobs, ..args.reach.who(Vec::new(), false, false)? },
        yes: args.carry.yes,
        inspect,
        how: args.carry.how()?,
        // These are the plan's to say.
        action: diff::Action::Switch,
        base: false,
        only_homes: false,
        flake: None,
        canary: None,
        builder: Builder::Here,
    };
    show_all(deploy::apply(&session, &request, &args.file)?, &request.who.root, args.json, app)
}

/// Shows what a deploy came to. With several hosts, as a table; the last lines say what happened, and what to do next.
pub fn show_all(mut reports: Vec<Report>, root: &Path, json: bool, app: &App) -> Done {
    app.ui.end_progress();
    if json {
        for report in &reports {
            app.ui.json_line(&Line { event: "result", report })?;
        }
    }
    if let (1, Some(_)) = (reports.len(), reports.first()) {
        return reports.pop().map_or(Ok(None), |report| show_one(report, root, app));
    }
    // One answer for all of them is said once.
    if reports.iter().all(|report| report.outcome == Outcome::Declined) {
        return reports.pop().and_then(|report| report.failure).map_or(Ok(None), |failure| Err(failure.into()));
    }
    if !json && !app.ui.printer().is_quiet() {
        let mut rows = vec![["host", "outcome", "time", "generation", "next"].map(str::to_owned).to_vec()];
        rows.extend(reports.iter().map(|report| row(report, app)));
        table(app, &rows)?;
    }
    ended(reports, app)
}

/// Ends with the failures of all hosts, each named once, and the code that they have in common.
fn ended(reports: Vec<Report>, app: &App) -> Done {
    let count = reports.len();
    let mut kinds: Vec<Option<Kind>> = Vec::new();
    let mut failures: Vec<(Vec<HostName>, Error)> = Vec::new();
    for report in reports {
        back_again(&report, app);
        if report.outcome == Outcome::Skipped && report.failure.is_none() {
            continue;
        }
        kinds.push(report.failure.as_ref().map(Error::kind));
        let Some(failure) = report.failure else { continue };
        let failure = if report.outcome == Outcome::RolledBack { why(failure) } else { failure };
        let told = |other: &Error| (format!("{other:?}"), other.advice().map(str::to_owned));
        // What went wrong on several hosts in the same way is told of them together.
        match failures.iter_mut().find(|(_, other)| told(other) == told(&failure)) {
            Some((hosts, _)) => hosts.extend(report.host),
            None => failures.push((report.host.into_iter().collect(), failure)),
        }
    }
    if failures.is_empty() {
        return Ok(None);
    }
    let all = Kind::of_batch(failures.iter().map(|(_, failure)| failure.kind()));
    // Some hosts are well: that is partial too.
    let kind = if kinds.contains(&None) && all != Kind::Person { Kind::Partial } else { all };
    app.ui.end_progress();
    let wrong = kinds.iter().flatten().count();
    let message = format!("{wrong} of {count} hosts are not as they should be");
    let failures = failures.into_iter().map(|(hosts, failure)| of_hosts(failure, &hosts)).collect();
    Err(if wrong > 1 { Error::all(kind, message, failures) } else { Error::batch(message, failures).of_kind(kind) }
        .into())
}

/// What took a deploy back, where it is told already that it was taken back.
fn why(failure: Error) -> Error {
    let Some(cause) = std::error::Error::source(&failure).map(ToString::to_string) else { return failure };
    let mut lines = cause.lines();
    let error = Error::all(failure.kind(), lines.next().unwrap_or_default(), failure.parts().to_vec());
    let rest: Vec<&str> = lines.collect();
    let error = if rest.is_empty() { error } else { error.because(rest.join("\n")) };
    failure.advice().map_or(error.clone(), |advice| error.help(advice))
}

/// A failure that names whom it is about, once.
fn of_hosts(failure: Error, hosts: &[HostName]) -> Error {
    match hosts {
        [] => failure,
        [host] if failure.is_about(host.as_str()) => failure,
        hosts => failure.about(talk::listed(hosts)),
    }
}

fn row(report: &Report, app: &App) -> Vec<String> {
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let host = words(report.host.as_ref(), Path::new("/"));
    let next = match report.outcome {
        Outcome::Done if report.until_reboot => "secrets last until the reboot".to_owned(),
        Outcome::Done if !report.plan.as_ref().is_none_or(|plan| plan.reboot.waits.is_empty()) => {
            "reboot when convenient".to_owned()
        }
        // Why, and what to do, is said below for all whom it concerns.
        Outcome::Done | Outcome::Nothing | Outcome::Declined | Outcome::Failed | Outcome::RolledBack => String::new(),
        Outcome::PendingReboot => "reboot".to_owned(),
        Outcome::Skipped if report.plan.is_some() => app.ui.command("deploy --resume"),
        Outcome::Skipped => "deploy it once it is up".to_owned(),
        Outcome::Lost => {
            let run = report.run.as_ref().map_or_else(String::new, |run| format!(" --attach {run}"));
            app.ui.command(&format!("deploy{host}{run}"))
        }
        Outcome::Person => format!("look at it: {}", app.ui.command(&format!("generations{host}"))),
    };
    vec![
        or(report.host.as_ref().map(ToString::to_string)),
        report.outcome.as_str().to_owned(),
        or(report.seconds.map(|seconds| format!("{seconds:.1} s"))),
        or(report.generation.map(|generation| generation.to_string())),
        next,
    ]
}

/// Tells which values a host that went back has again.
fn back_again(report: &Report, app: &App) {
    let plan = report.plan.as_ref().filter(|_| report.outcome == Outcome::RolledBack);
    for line in plan.map(Plan::back_again).unwrap_or_default() {
        match &report.host {
            Some(host) => app.ui.warn(&format!("{host}: {line}")),
            None => app.ui.warn(&line),
        }
    }
}

/// Shows what a deploy of one host, or a rollback, came to.
pub fn show_one(report: Report, root: &Path, app: &App) -> Done {
    app.ui.end_progress();
    back_again(&report, app);
    let host = report.host.as_ref().map_or_else(|| "this machine".to_owned(), ToString::to_string);
    let until = if report.until_reboot { "; its secrets last until the next reboot, then deploy again" } else { "" };
    let generation = report.generation.map_or_else(String::new, |number| format!(" (generation {number})"));
    let former = report.plan.as_ref().and_then(|plan| plan.former.as_ref());
    let other = former.is_some_and(|former| Some(former) != report.system.as_ref());
    let waits = report.plan.as_ref().map_or(&[][..], |plan| &plan.reboot.waits);
    let reboot = if waits.is_empty() { String::new() } else { format!("; reboot for {}", waits.join(", ")) };
    match report.outcome {
        Outcome::Done if report.plan.is_none() => app.ui.say(&format!("{host}: built; nothing was changed")),
        Outcome::Done if report.plan.as_ref().is_some_and(|plan| plan.only_homes) => {
            let homes = report.plan.iter().flat_map(Plan::homes_to_come);
            let users: Vec<&str> = homes.map(|home| home.user.as_str()).collect();
            if users.is_empty() {
                app.ui.say(&format!("{host}: nothing was changed"));
            } else {
                app.ui.say(&format!("{host}: done, the home of {} is switched", users.join(", ")));
            }
        }
        Outcome::Done => app.ui.say(&format!(
            "{host}: done, {} runs{generation}{reboot}{until}",
            report.running.as_deref().or(report.system.as_deref()).unwrap_or("it")
        )),
        Outcome::PendingReboot => app.ui.say(&format!("{host}: takes effect at the next boot{generation}{until}")),
        Outcome::Nothing if report.plan.as_ref().is_some_and(|plan| plan.action != diff::Action::DryActivate) => {
            app.ui.say(&format!("{host}: up to date, nothing to do{generation}; `--yes` activates it again"));
        }
        Outcome::Nothing => app.ui.say(&format!("{host}: nothing was changed; `--action switch` does it")),
        Outcome::Skipped if report.failure.is_none() => app.ui.say(&format!("{host}: skipped; it is offline")),
        Outcome::Declined
        | Outcome::Failed
        | Outcome::RolledBack
        | Outcome::Person
        | Outcome::Lost
        | Outcome::Skipped => {}
    }
    if let (Outcome::Done, true, Some(before)) = (report.outcome, other, report.before) {
        // Without the host's name it would be for the machine on which it is typed.
        let machine = words(report.host.as_ref(), root);
        app.ui.say(&format!("undo: {}", app.ui.command(&format!("rollback{machine} --to {before}"))));
    }
    match report.failure {
        Some(failure) => Err(of_hosts(failure, report.host.as_slice()).into()),
        None => Ok(None),
    }
}

/// Shows what a run came to on the hosts that were joined.
fn attached(all: Vec<attach::Attached>, json: bool, app: &App) -> Done {
    app.ui.end_progress();
    let count = all.len();
    let mut failures = Vec::new();
    for one in all {
        let (host, outcome, failure) = one.into_parts();
        if json {
            let reason = failure.as_ref().map(Error::in_one_line);
            app.ui.json_line(&Joined { event: "result", version: 1, host: &host, outcome, reason })?;
        }
        if let Some(outcome) = outcome {
            app.ui.say(&format!("{host}: {}", outcome.as_str()));
        }
        failures.extend(failure.map(|failure| if count > 1 { failure.about(&host) } else { failure }));
    }
    if failures.is_empty() {
        Ok(None)
    } else {
        Err(Error::batch(format!("{} of {count} hosts", failures.len()), failures).into())
    }
}

/// The line of `--json` about one host.
#[derive(serde::Serialize)]
pub struct Line<'a> {
    /// `result`.
    pub event: &'static str,
    /// What it came to.
    #[serde(flatten)]
    pub report: &'a Report,
}

/// The same of a run that was joined.
#[derive(serde::Serialize)]
struct Joined<'a> {
    event: &'static str,
    version: u32,
    host: &'a HostName,
    outcome: Option<Outcome>,
    reason: Option<String>,
}
