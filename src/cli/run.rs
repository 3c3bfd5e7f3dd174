//! The common start and end of both programs, with the exit codes.

use std::process::ExitCode;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::adapters::{process, signals};
use crate::cli::environment;
use crate::cli::print::Printer;
use crate::domain::guarded::is_guarded;
use crate::error::Kind;

/// The exit codes, as shown in the help.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed and nothing changed, 2 usage or invalid fleet, 3 drift, 4 partial, 5 no identity, \
                              6 rolled back, 7 host unreachable, 8 integrity, 9 a person is needed, 10 plaintext found, 11 could not look \
                              everywhere, 70 a bug, 130 interrupted.";

/// The result of a verb that did not fail: exit code 0, or that of a finding.
pub type Done = anyhow::Result<Option<Kind>>;

pub fn begin() {
    signals::listen();
    environment::keep_to_ourselves();
    process::raise_open_files();
    process::path::look_in(environment::path());
}

/// Runs a verb. Everything is printed when it returns.
pub fn run(printer: &Arc<Printer>, verb: impl FnOnce() -> Done) -> ExitCode {
    let of_panics = Arc::clone(printer);
    // A panic reports only its location: its message could contain a value.
    std::panic::set_hook(Box::new(move |panic| {
        if is_guarded() {
            return;
        }
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        of_panics.warn(&format!("sealift has a defect{place}; please report it"));
    }));
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(verb)) {
        Ok(Ok(None)) => ExitCode::SUCCESS,
        Ok(Ok(Some(kind))) => ExitCode::from(kind.code()),
        Ok(Err(error)) => printer.failed(&error),
        Err(_) => ExitCode::from(Kind::Bug.code()),
    }
}

/// Prints clap's error for wrong arguments, or the requested help. Values are not quoted: one may be a key that was
/// pasted at the wrong place.
pub fn usage(error: clap::Error, command: &clap::Command) -> ExitCode {
    let code = if error.use_stderr() { ExitCode::from(Kind::Usage.code()) } else { ExitCode::SUCCESS };
    // A closed pipe is no error.
    let _gone = without_values(error, command).print();
    code
}

/// Returns the same error with the argument, the rule and the known values, but with "…" for the given value.
fn without_values(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let value = text(&error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    let argument = text(&error, ContextKind::InvalidArg);
    if error.kind() == ErrorKind::ValueValidation {
        let rule = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        // For a number out of range the rule quotes it in front of the range.
        let rule = rule.replace("invalid digit found in string", "not a number");
        let rule = rule.split_once(" is not in ").map_or(rule.clone(), |(_, range)| format!("not in {range}"));
        // A longer value may have been pasted by mistake. The rest of the rule says what is expected.
        let long = value.filter(|value| value.len() > 3);
        let rule = long.map_or(rule.clone(), |value| rule.replace(&value, "…"));
        let rule = if rule.is_empty() { rule } else { format!(": {rule}") };
        let what = format!("invalid value for '{}'{rule}\n", argument.unwrap_or_default());
        return clap::Error::raw(ErrorKind::ValueValidation, what).with_cmd(command);
    }
    let hidden = || ContextValue::String("…".to_owned());
    // A plain word that is similar to a known one is a typo, and is shown.
    let typo = |value: &String| is_verb(value) && error.get(ContextKind::SuggestedValue).is_some();
    if value.is_some_and(|value| !typo(&value)) {
        error.insert(ContextKind::InvalidValue, hidden());
    }
    match error.kind() {
        // A word that looks like an option is not a secret value, and a typo in it should be visible.
        ErrorKind::UnknownArgument if !argument.is_some_and(|word| is_option(&word)) => {
            error.insert(ContextKind::InvalidArg, hidden());
        }
        // Values are not pasted in place of a verb, so anything that could be a verb is shown.
        ErrorKind::InvalidSubcommand
            if !text(&error, ContextKind::InvalidSubcommand).is_some_and(|word| is_verb(&word)) =>
        {
            error.insert(ContextKind::InvalidSubcommand, hidden());
        }
        _ => {}
    }
    // Does not suggest hidden verbs.
    if let Some(ContextValue::Strings(near)) = error.get(ContextKind::SuggestedSubcommand) {
        let hidden = |word: &String| command.find_subcommand(word).is_some_and(clap::Command::is_hide_set);
        let near: Vec<String> = near.iter().filter(|word| !hidden(word)).cloned().collect();
        error.remove(ContextKind::SuggestedSubcommand);
        if !near.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(near));
        }
    }
    // Removes clap's suggestion how to pass the word anyway, which quotes it.
    error.remove(ContextKind::Suggested);
    if text(&error, ContextKind::InvalidSubcommand).as_deref() == Some("version") {
        error.remove(ContextKind::SuggestedSubcommand);
        let tip = format!("'{} --version' prints it", command.get_name());
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn is_option(word: &str) -> bool {
    word.starts_with('-') && is_verb(word)
}

fn is_verb(word: &str) -> bool {
    word.len() <= 24 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}
