//! `sealift admin`.

use clap::Subcommand;

use crate::cli::app::{App, Done, table};
use crate::cli::verbs::secrets::rekey;
use crate::commands::fleet::admin::{self, Removed};
use crate::domain::counted::counted;
use crate::domain::name::AdminName;
use crate::error::{Kind, Result};

/// The arguments of `sealift admin`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with an admin.
#[derive(Subcommand)]
enum What {
    /// Remove an admin: every secret is re-encrypted for the others, and the values that the admin knows are listed
    ///
    /// Shows who loses access to what and asks. All of it is done, or nothing. Needs the key of an admin who stays, and
    /// refuses to remove the last one. recipients.toml does not remember the keys: whether they come back is for review to
    /// see, in `sealift check` and in what `sealift rekey` shows.
    Rm(Remove),
    /// List the admins and their keys
    List(List),
}

#[derive(clap::Args)]
struct Remove {
    /// The admin
    name: AdminName,
    /// Only this one of the admin's keys, as `sealift admin list` shows it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Do not ask, even at a terminal
    #[arg(long, short)]
    yes: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct List {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    match args.what {
        What::List(args) => {
            let rows = admin::list(&session.fleet.policy);
            if args.json {
                app.ui.json_rows("admins", &rows)?;
                return Ok(None);
            }
            if rows.is_empty() {
                app.ui.say("there is no admin yet: `sealift identity new --admin NAME` makes one");
            }
            let heads = ["admin", "keys"].map(str::to_owned).to_vec();
            let rows = rows.into_iter().map(|row| vec![row.admin.to_string(), row.keys.join(" ")]);
            table(app, &std::iter::once(heads).chain(rows).collect::<Vec<_>>())
        }
        What::Rm(args) => {
            let removed = admin::remove(&mut session, &args.name, args.key.as_deref(), args.yes)?;
            // Files without a seal that were not adopted can still be opened with the key.
            let kind = (!removed.rekeyed.unsealed.is_empty()).then_some(Kind::Partial);
            if args.json {
                app.ui.json(&removed)?;
            } else {
                show(&removed, app)?;
            }
            Ok(kind)
        }
    }
}

fn show(removed: &Removed, app: &App) -> Result<()> {
    let Removed { admin, stays, is_found, knew, keys_left, .. } = removed;
    app.ui.say(&if *stays {
        format!("removed a key of {admin} from recipients.toml; {admin} stays an admin")
    } else {
        format!("removed the admin {admin} from recipients.toml")
    });
    rekey::show(&removed.rekeyed, &app.ui)?;
    if *keys_left == 1 {
        app.ui
            .warn("one key alone opens everything now: lose it, and all is lost; add a second admin or an offline key");
    }
    if knew.is_empty() {
        return Ok(());
    }
    let who = if *stays { "the removed key" } else { admin.as_str() };
    rekey::show_known(who, knew, &removed.rekeyed, &app.ui)?;
    let next = if *is_found {
        format!("sealift rotate --exposed-to {admin}   (check warns until then)")
    } else {
        format!("sealift rotate NAME, for each of {}", counted(knew.len(), "value"))
    };
    app.ui.say(&format!("next: {next}"));
    Ok(())
}
