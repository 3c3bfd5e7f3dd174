//! The state shared by all verbs of the command line: the global options, and how a session is made from them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::adapters::age::discovery::{self, Places};
use crate::adapters::age::identity::{Identities, Plugins};
use crate::adapters::git::work_trees::work_trees;
use crate::adapters::process::path;
use crate::adapters::prompt::Ask;
use crate::adapters::repository::Fleet;
use crate::adapters::user_config::UserConfig;
use crate::cli::args::Global;
use crate::cli::layout::columns;
use crate::cli::ui::Ui;
use crate::cli::{environment, settings};
use crate::commands::Session;
use crate::domain::foreign::one_line;
use crate::domain::policy::Policy;
use crate::domain::secret::recipient::Recipient;
use crate::error::Result;

pub use crate::cli::run::Done;

/// The program, as set up by the command line.
pub struct App {
    pub global: Global,
    pub ui: Arc<Ui>,
    /// The definition from which help, completions and man pages are made.
    pub command: fn() -> clap::Command,
}

impl App {
    pub fn new(global: Global, command: fn() -> clap::Command) -> Self {
        let ui = Arc::new(Ui::new(global.quiet, global.passphrase_fd, global.fleet.as_deref()));
        let app = Self { global, ui, command };
        let fleet = app.root().ok();
        let places = [environment::working_directory(), app.named_directory()];
        // The home directory may be a work tree, of dotfiles. Its programs belong to its owner, so they are allowed
        // unless the fleet is in it.
        let home = settings::home().and_then(|home| home.canonicalize().ok());
        let mut all: Vec<PathBuf> = work_trees(places).into_iter().filter(|top| Some(top) != home.as_ref()).collect();
        all.extend(work_trees(fleet.clone()));
        // A fleet outside a repository excludes its own folder.
        all.extend(fleet.filter(|fleet| fleet.parent().is_some()));
        path::keep_out_of(all);
        app
    }

    /// Returns the fleet directory given for this run, or the working directory.
    pub fn named_directory(&self) -> PathBuf {
        let named = self.global.fleet.clone().or_else(|| environment::variable(environment::FLEET).map(PathBuf::from));
        named.unwrap_or_else(environment::working_directory)
    }

    pub fn root(&self) -> Result<PathBuf> {
        Fleet::find(&self.named_directory())
    }

    /// Opens a session on the fleet.
    pub fn session(&self) -> Result<Session> {
        let fleet = Fleet::open(&self.root()?)?;
        let config = settings::user_config()?;
        let plugins = settings::plugins(&config);
        let admins = fleet.policy.admins.values().flatten().cloned().collect();
        Ok(Session {
            fleet,
            talk: self.ui.clone(),
            identities: self.identities(settings::places(&self.global.identity, &config), admins, plugins.clone()),
            plugins,
            today: settings::today(),
        })
    }

    /// Whether identities were given for this run.
    pub fn names_identities(&self) -> bool {
        !settings::places(&self.global.identity, &UserConfig::default()).named.is_empty()
    }

    /// Returns the identities given for this run. Needs no fleet.
    pub fn named_identities(&self) -> Result<Arc<Identities>> {
        let config = settings::user_config()?;
        let found =
            self.identities(settings::places(&self.global.identity, &config), Vec::new(), settings::plugins(&config))(
            )?;
        if found.is_empty() { Err(found.none_at_hand()) } else { Ok(found) }
    }

    /// Returns a function that finds the identities when first called, and caches them.
    fn identities(
        &self,
        places: Places,
        admins: Vec<Recipient>,
        plugins: Plugins,
    ) -> Box<dyn Fn() -> Result<Arc<Identities>> + Send + Sync> {
        let ask: Arc<dyn Ask> = self.ui.clone();
        let found = OnceLock::new();
        Box::new(move || {
            if let Some(found) = found.get() {
                return Ok(Arc::clone(found));
            }
            let new = Arc::new(discovery::find(&places, &admins, &plugins, &ask)?);
            Ok(Arc::clone(found.get_or_init(|| new)))
        })
    }
}

/// Prints rows as aligned columns. The first row has the headings.
pub fn table(app: &App, rows: &[Vec<String>]) -> Done {
    lines_of(app, rows).iter().try_for_each(|line| app.ui.line(line))?;
    Ok(None)
}

/// Says what to do first if there are no hosts or no secrets.
pub fn nothing_yet(app: &App, policy: &Policy) {
    app.ui.say(if policy.hosts.is_empty() {
        "there are no hosts yet: `sealift host add NAME --ssh USER@ADDRESS` adds one"
    } else {
        "there are no secrets yet: `sealift seal NAME --hosts HOST,@TAG` seals one"
    });
}

/// Prints rows as aligned columns through the user's pager.
pub fn long_table(app: &App, rows: &[Vec<String>]) -> Done {
    app.ui.paged(&lines_of(app, rows))?;
    Ok(None)
}

fn lines_of(app: &App, rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    columns(&rows, app.ui.screen().width)
}
