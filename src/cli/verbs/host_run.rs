//! `sealift host-run`: the part of a deploy on the host. Not for people: an order on standard input, events on standard
//! output, one JSON object a line.

use std::sync::Arc;

use super::seal::standard_input;
use crate::cli::{App, Done};
use crate::commands::deploy::host::run as host_run;
use crate::error::Kind;

/// The longest order, in bytes.
const LIMIT: usize = 1 << 20;

/// Takes an order and carries it out.
pub fn run(app: &App) -> Done {
    let order = standard_input(LIMIT)?;
    let ui = Arc::clone(&app.ui);
    // Whoever listened may be gone; the work goes on.
    let listener = Box::new(move |told: &_| drop(ui.json_line(told)));
    let well = order.expose(|bytes| host_run(bytes, listener));
    Ok((!well).then_some(Kind::Failed))
}
