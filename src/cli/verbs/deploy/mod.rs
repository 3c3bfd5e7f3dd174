//! `sealift deploy`, `plan` and `apply`.

pub mod args;
pub mod generations;
mod outcome;
pub mod rollback;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::app::{App, Done, nothing_yet};
use crate::cli::args::{address, time};
use crate::cli::settings;
use crate::cli::verbs::deploy::args::{Machines, Patience, Reach};
use crate::cli::verbs::deploy::outcome::{attached, ended, show_all};
use crate::commands::Session;
use crate::commands::deploy::closure_scan::Inspect;
use crate::commands::deploy::request::{Builder, How, Planning, Request};
use crate::commands::deploy::{self, attach, etc_nixos, resume, run_store};
use crate::commands::hosts::select::Who;
use crate::domain::address::Address;
use crate::domain::deploy::diff;
use crate::domain::name::HostWord;
use crate::domain::policy::Policy;
use crate::error::{Error, Result};

/// The arguments of `sealift deploy`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    planning: PlanningArgs,
    #[command(flatten)]
    carry: Carry,
    /// Show the plan and stop, as `sealift plan` does: nothing is asked, and nothing is changed on any host. What each host's
    /// own switch says that it would do: `--action dry-activate`
    #[arg(long, alias = "dry", conflicts_with_all = ["resume", "attach", "link_etc_nixos"])]
    dry_run: bool,
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

/// Which machines, and what is planned for them.
#[derive(clap::Args)]
struct PlanningArgs {
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    steps: Steps,
    #[command(flatten)]
    build: Build,
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
    canary: Option<HostWord>,
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

/// How far a deploy goes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Action {
    /// Activate it, then make it the boot default
    Switch,
    /// Make it the boot default; activate nothing
    Boot,
    /// Activate it; the boot default stays
    Test,
    /// Have each host's switch say what it would do; a plan alone is `--dry-run`
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

impl PlanningArgs {
    fn into_request(self, policy: &Policy) -> Result<(Who, Planning)> {
        let Self { machines, steps, build } = self;
        let planning = Planning {
            action: steps.action.of(),
            base: steps.base,
            only_homes: steps.home,
            flake: build.flake,
            canary: steps.canary.map(|host| policy.named(&host).cloned()).transpose()?,
            builder: match build.at {
                Some(address) => Builder::Host(address),
                None if build.on_target => Builder::Target,
                None => Builder::Here,
            },
        };
        Ok((machines.who(policy, steps.require_all)?, planning))
    }
}

impl Carry {
    fn how(self, app: &App) -> How {
        How {
            yes: self.yes,
            inspect: match (self.no_store_scan, app.names_identities()) {
                (true, _) => Inspect::Skip,
                (false, true) => Inspect::Values,
                (false, false) => Inspect::Index(settings::index_key(None)),
            },
            fail_fast: self.fail_fast,
            soak: self.soak.unwrap_or_default(),
            patience: self.patience.patience(),
            home: settings::home(),
            link: None,
        }
    }
}

pub fn run(args: Args, app: &App) -> Done {
    let session = app.session()?;
    let (who, planning) = args.planning.into_request(&session.fleet.policy)?;
    if is_for_nobody(&session, &who, args.json, app) {
        return Ok(None);
    }
    if args.dry_run {
        let ended = planned(&session, &who, &planning, None, args.json, app)?;
        app.ui.say("nothing was changed: `--dry-run` shows the plan alone");
        return Ok(ended);
    }
    app.ui.stream_events(args.json);
    if let Some(run) = &args.attach {
        return attached(attach::run(&session, &who, run)?, args.json, app);
    }
    let mut how = args.carry.how(app);
    if let Some(said) = &args.link_etc_nixos {
        how.link = Some(etc_nixos::place(&session, &who, planning.flake.as_deref(), said)?);
    }
    if planning.only_homes && !how.soak.is_zero() {
        return Err(Error::usage("a home is not watched: `--soak` is for systems").into());
    }
    let request = Request { who, planning, how };
    let reports = if args.resume { resume::resume(&session, &request)? } else { deploy::run(&session, &request)? };
    if request.planning.action == diff::Action::Build && !args.json {
        reports.iter().filter_map(|report| report.system.as_ref()).try_for_each(|system| app.ui.line(system))?;
    }
    show_all(reports, &request.who.root, args.json, app)
}

/// The arguments of `sealift plan`.
#[derive(clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    planning: PlanningArgs,
    /// The file that is written; without it, the plan is only shown
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub fn plan(args: PlanArgs, app: &App) -> Done {
    let session = app.session()?;
    let (who, planning) = args.planning.into_request(&session.fleet.policy)?;
    if is_for_nobody(&session, &who, args.json, app) {
        return Ok(None);
    }
    planned(&session, &who, &planning, args.output.as_deref(), args.json, app)
}

/// Whether all hosts were asked for and there are none. Says so, as verbs that list do.
fn is_for_nobody(session: &Session, who: &Who, json: bool, app: &App) -> bool {
    let nobody = !json && who.all && session.fleet.policy.hosts.is_empty();
    if nobody {
        nothing_yet(app, &session.fleet.policy);
    }
    nobody
}

fn planned(session: &Session, who: &Who, planning: &Planning, output: Option<&Path>, json: bool, app: &App) -> Done {
    if planning.action == diff::Action::Build {
        return Err(Error::usage("a plan that only builds would change nothing").into());
    }
    let (campaign, reports) = deploy::plan(session, who, planning, output.is_some())?;
    if let Some(file) = output.filter(|_| !campaign.hosts.is_empty()) {
        run_store::write(&campaign, file)?;
        app.ui.say(&format!("the plan is in {0}; `sealift apply {0}` carries it out", file.display()));
    }
    if json {
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

pub fn apply(args: ApplyArgs, app: &App) -> Done {
    let session = app.session()?;
    app.ui.stream_events(args.json);
    let who = Who { jobs: args.jobs, ..args.reach.who(Vec::new(), false, false)? };
    let reports = resume::apply(&session, &who, &args.carry.how(app), &args.file)?;
    show_all(reports, &who.root, args.json, app)
}
