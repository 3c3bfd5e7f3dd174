//! `sealift completions`, `sealift man` and `sealift schema`: made from the same definitions as the help.

use std::path::PathBuf;

use crate::cli::app::{App, Done};
use crate::cli::complete;
use crate::domain::policy::schema;
use crate::error::{Error, Result};

/// The arguments of `sealift completions`.
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn completions(args: &CompletionsArgs, app: &App) -> Done {
    let script = complete::script(&args.shell.to_string(), &(app.command)());
    app.ui.data(&script.map_err(|error| Error::io("cannot write the script", error))?)?;
    Ok(None)
}

/// Prints the manual page, or writes one for every verb into a directory.
#[derive(clap::Args)]
pub struct ManArgs {
    /// Write sealift.1, sealift-seal.1, … here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn man(args: &ManArgs, app: &App) -> Done {
    let Some(directory) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new((app.command)())
            .render(&mut page)
            .map_err(|error| Error::io("cannot render the manual page", error))?;
        app.ui.data(&page)?;
        return Ok(None);
    };
    let written: Result<(), std::io::Error> = clap_mangen::generate_to((app.command)(), directory);
    written.map_err(|error| Error::io(format!("cannot write the manual pages into {}", directory.display()), error))?;
    Ok(None)
}

/// Prints the JSON schema of recipients.toml, for editors.
pub fn schema(app: &App) -> Done {
    app.ui.json_as_it_is(&schema::schema())?;
    Ok(None)
}
