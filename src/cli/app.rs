//! What the verbs of the command line share: the global options, and how a session is made from them.

use std::path::PathBuf;
use std::sync::Arc;

use super::settings::{self, Global};
use super::ui::Ui;
use crate::adapters::ask::Ask;
use crate::adapters::identity::{Identities, Plugins};
use crate::adapters::repository::Fleet;
use crate::commands::Session;
use crate::error::Result;

/// The program as the command line set it up.
pub struct App {
    /// The global options.
    pub global: Global,
    /// Where everything is printed.
    pub ui: Arc<Ui>,
}

impl App {
    /// Sets it up.
    pub fn new(global: Global) -> Self {
        let ui = Arc::new(Ui::new(global.quiet, global.passphrase_fd));
        Self { global, ui }
    }

    /// The fleet's directory.
    ///
    /// # Errors
    /// When there is none.
    pub fn root(&self) -> Result<PathBuf> {
        let named = self.global.fleet.clone().or_else(|| settings::variable(settings::FLEET).map(PathBuf::from));
        Fleet::find(&named.unwrap_or_else(settings::working_directory))
    }

    /// A session on the fleet.
    ///
    /// # Errors
    /// When there is no fleet, or its policy is invalid.
    pub fn session(&self) -> Result<Session> {
        let plugins = Plugins::default();
        Ok(Session {
            fleet: Fleet::open(&self.root()?)?,
            talk: self.ui.clone(),
            identities: self.identities(plugins.clone()),
            plugins,
            today: settings::today(),
        })
    }

    /// How identities are found, when they are needed.
    fn identities(&self, plugins: Plugins) -> Box<dyn Fn() -> Result<Identities>> {
        let ask: Arc<dyn Ask> = self.ui.clone();
        let files = self.global.identity.clone();
        Box::new(move || {
            let mut identities = Identities::default();
            for file in &files {
                identities.extend(Identities::from_file(file, &plugins, &ask)?);
            }
            Ok(identities)
        })
    }
}
