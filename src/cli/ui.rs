//! Everything that is printed: data to standard output, talk to standard error. Foreign text is escaped before it
//! reaches a terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::io::Errno;
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::prompt::Ask;
use crate::adapters::terminal::{self, Terminal};
use crate::cli::layout::wrapped;
use crate::cli::matrix::Screen;
use crate::cli::settings;
use crate::commands::{Event, Talk};
use crate::domain::address::quoted;
use crate::domain::deploy::shown::{Line, Tone};
use crate::domain::foreign::{self, cut, one_line};
use crate::domain::name::HostName;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

/// The version of the form of what `--json` prints. Fields may be added without a new one.
const JSON_VERSION: u32 = 1;
/// How many characters of one line of talk are shown, and how many lines of one cause.
const LONGEST: usize = 8 << 10;
const LINES: usize = 100;

/// The person at the terminal, or the script that started us.
pub struct Ui {
    quiet: bool,
    colour: bool,
    passphrase_fd: Option<i32>,
    /// What was read from that descriptor: one line serves every question of this run.
    passphrase: OnceLock<SecretString>,
    progress: Mutex<Progress>,
    /// One question at a time, whoever asks.
    asking: Mutex<()>,
    colour_data: bool,
    /// Whether events are data too.
    streams: AtomicBool,
    /// The fleet that was named for this run, as a word of the shell: what is to be typed next has to name it too.
    fleet: Option<String>,
}

impl Ui {
    /// Looks at what standard error is.
    pub fn new(quiet: bool, passphrase_fd: Option<i32>, fleet: Option<&Path>) -> Self {
        let wanted =
            settings::variable("NO_COLOR").is_none() && settings::variable("TERM").is_none_or(|term| term != "dumb");
        Self {
            quiet,
            colour: wanted && std::io::stderr().is_terminal(),
            colour_data: wanted && std::io::stdout().is_terminal(),
            passphrase_fd,
            passphrase: OnceLock::new(),
            progress: Mutex::default(),
            asking: Mutex::default(),
            streams: AtomicBool::new(false),
            fleet: fleet.map(|fleet| quoted(&fleet.display().to_string())),
        }
    }

    /// A command of ours, for the same fleet.
    pub fn command(&self, words: &str) -> String {
        match &self.fleet {
            Some(fleet) => format!("sealift --fleet {fleet} {words}"),
            None => format!("sealift {words}"),
        }
    }

    /// Advice, with the commands in it for the same fleet.
    fn advice(&self, text: &str) -> String {
        if self.fleet.is_some() {
            text.replace("`sealift ", &format!("`{}", self.command("")))
        } else {
            text.to_owned()
        }
    }

    /// The terminal, free of anything that is drawn on it.
    fn terminal(&self) -> Option<Terminal> {
        let terminal = Terminal::open()?;
        self.end_progress();
        Some(terminal)
    }

    /// The passphrase that a script gave.
    fn given(&self) -> Result<Option<SecretString>> {
        let Some(number) = self.passphrase_fd else { return Ok(None) };
        if self.passphrase.get().is_none() {
            let line = text(&terminal::line_of_descriptor(number)?)?;
            // Two threads may come to this at once; the descriptor gave its line to the first.
            let _second = self.passphrase.set(line);
        }
        Ok(self.passphrase.get().cloned())
    }

    /// Shows how far longer work is.
    fn progress(&self, done: usize, all: usize) {
        if done >= all {
            return self.end_progress();
        }
        let style = || ProgressStyle::with_template("{bar:30} {pos}/{len}");
        self.shown(done as u64, || {
            ProgressBar::new(all as u64).with_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
    }

    /// The same where nobody knows how much there is.
    fn looked(&self, bytes: u64) {
        let style = || ProgressStyle::with_template("{spinner} {elapsed:>4} {bytes} looked at");
        self.shown(bytes, || {
            ProgressBar::no_length().with_style(style().unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
    }

    /// On a terminal only, and only once it took a second.
    fn shown(&self, done: u64, bar: impl FnOnce() -> ProgressBar) {
        if self.quiet || !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut progress) = self.progress.lock() else { return };
        let since = *progress.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= Duration::from_secs(1) {
            progress.bar.get_or_insert_with(bar).set_position(done);
        }
    }

    /// Data, as bytes. A reader that went away is no failure.
    ///
    /// # Errors
    /// When standard output cannot be written, such as on a full disk.
    pub fn data(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::io("cannot write to standard output", error))
            }
            _ => Ok(()),
        }
    }

    /// How much room there is for data; none where nobody reads it on a terminal.
    pub fn screen(&self) -> Screen {
        let size = terminal::size(rustix::stdio::stdout());
        let (width, height) = (size.map(|size| size.0), size.map(|size| size.1));
        Screen { width, height, colour: self.colour_data }
    }

    /// Lines of data, through the user's pager where they are read on a terminal. What is foreign in them is one line by now.
    ///
    /// # Errors
    /// As `data`.
    pub fn paged(&self, lines: &[String]) -> Result<()> {
        let text = lines.join("\n") + "\n";
        if let Some(pager) = settings::pager().filter(|_| self.shows_data())
            && pager.show(&text).is_ok()
        {
            return Ok(());
        }
        // Where it cannot be started, as git does it.
        self.data(text.as_bytes())
    }

    /// A value, without a copy in any buffer on the way. A reader that went away is no failure.
    ///
    /// # Errors
    /// As `data`.
    pub fn value(&self, value: &Plaintext) -> Result<()> {
        value.expose(|bytes| {
            let mut rest = bytes;
            while !rest.is_empty() {
                match rustix::io::write(rustix::stdio::stdout(), rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(Errno::INTR) => {}
                    Err(Errno::PIPE) => return Ok(()),
                    Err(error) => return Err(Error::io("cannot write to standard output", error)),
                }
            }
            Ok(())
        })
    }

    /// A line of data.
    ///
    /// # Errors
    /// As `data`.
    pub fn line(&self, text: &str) -> Result<()> {
        self.data(format!("{}\n", one_line(text)).as_bytes())
    }

    /// A report as JSON, with the version of its form.
    ///
    /// # Errors
    /// As `data`.
    pub fn json(&self, report: &impl serde::Serialize) -> Result<()> {
        #[derive(serde::Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            report: &'a T,
        }
        self.json_as_it_is(&Versioned { version: JSON_VERSION, report })
    }

    /// Rows as JSON, under their name and with the version of their form.
    ///
    /// # Errors
    /// As `data`.
    pub fn json_rows(&self, name: &'static str, rows: &[impl serde::Serialize]) -> Result<()> {
        self.json(&BTreeMap::from([(name, rows)]))
    }

    /// What says itself of which version it is, as JSON.
    ///
    /// # Errors
    /// As `data`.
    pub fn json_as_it_is(&self, value: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{}\n", foreign::json(&text)).as_bytes())
    }

    /// A report or an event that says itself of which version it is, as JSON on one line.
    ///
    /// # Errors
    /// As `data`.
    pub fn json_line(&self, report: &impl serde::Serialize) -> Result<()> {
        let text =
            serde_json::to_string(report).map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{}\n", foreign::json(&text)).as_bytes())
    }

    /// From now on each event is printed as JSON too, if asked for.
    pub fn stream_events(&self, wanted: bool) {
        self.streams.store(wanted, Ordering::Relaxed);
    }

    /// An event as JSON. A reader that went away stops no deploy.
    fn stream(&self, host: Option<&HostName>, event: &Event) {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            event: &'a str,
            version: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            host: Option<&'a HostName>,
            text: &'a str,
        }
        let (kind, text) = match event {
            Event::Note(text) => ("said", text),
            Event::Warning(text) => ("warning", text),
            Event::Step(text) => ("step", text),
            Event::Progress(..) | Event::Looked(_) => return,
            Event::Plan(lines) => {
                return lines.iter().for_each(|line| self.stream(host, &Event::Note(line.to_string())));
            }
            Event::Of(host, event) => return self.stream(Some(host), event),
        };
        if self.streams.load(Ordering::Relaxed) {
            let _gone = self.json_line(&Line { event: kind, version: JSON_VERSION, host, text });
        }
    }

    /// Something of one host among several: on a terminal its own line, which changes; elsewhere a line of talk.
    fn of_host(&self, host: &HostName, event: Event) {
        let text = match event {
            Event::Warning(text) => return self.warn(&format!("{host}: {text}")),
            Event::Progress(..) | Event::Looked(_) => return,
            Event::Plan(lines) => return self.plan(&lines),
            Event::Of(host, event) => return self.of_host(&host, *event),
            Event::Note(text) | Event::Step(text) => text,
        };
        if self.quiet {
            return;
        }
        if !std::io::stderr().is_terminal() {
            return self.say(&format!("{host}: {text}"));
        }
        if let Ok(mut progress) = self.progress.lock() {
            let Progress { all, hosts, .. } = &mut *progress;
            let bar = hosts.entry(host.clone()).or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {prefix:16} {elapsed:>4} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = all.add(ProgressBar::new_spinner().with_style(style).with_prefix(host.to_string()));
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            bar.set_message(one_line(text.trim()));
        }
    }

    /// Takes everything that is drawn off the terminal.
    pub fn end_progress(&self) {
        if let Ok(mut progress) = self.progress.lock() {
            let Progress { bar, hosts, .. } = std::mem::take(&mut *progress);
            bar.into_iter().chain(hosts.into_values()).for_each(|bar| bar.finish_and_clear());
        }
    }

    /// A line of talk.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.tell_always(&line(&self.advice(text)));
        }
    }

    /// The plan of a deploy.
    fn plan(&self, lines: &[Line]) {
        if self.quiet {
            return;
        }
        let part = |(tone, text): &(Tone, String)| {
            let text = one_line(text);
            // What stands in is seen before any colour.
            let (space, text) = text.split_at(text.len() - text.trim_start_matches(' ').len());
            let sgr = match tone {
                Tone::Plain => return format!("{space}{text}"),
                Tone::Strong => 1,
                Tone::Added => 32,
                Tone::Changed => 33,
                Tone::Removed => 31,
                Tone::Faint => 2,
            };
            format!("{space}{}", self.paint(sgr, text))
        };
        for line in lines {
            self.tell_always(&line.0.iter().map(part).collect::<String>());
        }
    }

    /// A finding and its mend, on standard output: findings are what was asked for. `sgr` is the colour of its weight.
    ///
    /// # Errors
    /// As `data`.
    pub fn finding(&self, sgr: u8, weight: &str, what: &str, mend: &str) -> Result<()> {
        let paint = |sgr, text| if self.colour_data { painted(sgr, text) } else { text.to_owned() };
        let mend = if mend.is_empty() {
            String::new()
        } else {
            format!("  {} {}", paint(36, "mend:"), one_line(&self.advice(mend)))
        };
        let found = format!("{} {}", paint(sgr, weight), one_line(what));
        let lines = [found, mend].into_iter().filter(|line| !line.is_empty());
        let width = self.screen().width;
        lines.flat_map(|line| wrapped(&line, width, 2)).try_for_each(|line| self.data(format!("{line}\n").as_bytes()))
    }

    /// Something is wrong, and the verb goes on.
    pub fn warn(&self, text: &str) {
        self.tell_always(&format!("{} {}", self.paint(33, "warning:"), line(&self.advice(text))));
    }

    /// Whether standard output is a terminal.
    pub fn shows_data(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    fn paint(&self, sgr: u8, text: &str) -> String {
        if self.colour { painted(sgr, text) } else { text.to_owned() }
    }

    /// Prints a failure and says its exit code.
    pub fn failed(&self, error: &anyhow::Error) -> ExitCode {
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(Kind::Bug, Error::kind);
        for (depth, cause) in error.chain().enumerate() {
            let text = line(&cause.to_string());
            if depth == 0 && kind == Kind::Interrupted {
                // Its own words: only they know what was done by then.
                self.tell_always(&text);
            } else if depth == 0 {
                self.tell_always(&format!("{} {text}", self.paint(31, "error:")));
            } else {
                self.cause("  ", cause);
            }
            if let Some(ours) = cause.downcast_ref::<Error>() {
                ours.parts().iter().for_each(|part| self.part(part));
            }
        }
        for mend in error.chain().filter_map(|cause| cause.downcast_ref::<Error>()?.mend()) {
            self.tell_always(&format!("{} {}", self.paint(36, "hint:"), line(&self.advice(mend))));
        }
        ExitCode::from(kind.code())
    }

    fn part(&self, part: &Error) {
        self.tell_always(&format!("  - {}", line(part.message())));
        let mut cause = std::error::Error::source(part);
        while let Some(error) = cause {
            self.cause("      ", error);
            cause = error.source();
        }
        if let Some(mend) = part.mend() {
            self.tell_always(&format!("    {} {}", self.paint(36, "hint:"), line(&self.advice(mend))));
        }
        part.parts().iter().for_each(|part| self.part(part));
    }

    /// A cause, which is often what another program said: behind a bar, so that none of its lines is taken for one of ours.
    fn cause(&self, indent: &str, cause: &dyn std::error::Error) {
        let text = cause.to_string();
        text.lines().take(LINES).for_each(|one| self.tell_always(&format!("{indent}| {}", line(one))));
        let more = text.lines().skip(LINES).count();
        if more > 0 {
            self.tell_always(&format!("{indent}| \u{2026} and {more} lines more"));
        }
    }

    fn tell_always(&self, text: &str) {
        let width = terminal::size(rustix::stdio::stderr()).map(|size| size.0);
        let text = laid(text, width).join("\n");
        // Where standard error is gone nobody is left to be told.
        let write = || drop(writeln!(std::io::stderr().lock(), "{text}"));
        match self.progress.lock() {
            Ok(progress) => match &progress.bar {
                Some(bar) => bar.suspend(write),
                None if progress.hosts.is_empty() => write(),
                None => progress.all.suspend(write),
            },
            Err(_) => write(),
        }
    }
}

impl Ui {
    fn alone(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask for Ui {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let terminal = self.terminal().ok_or_else(|| {
            Error::new(
                Kind::NoIdentity,
                format!(
                    "{what} cannot be used: it is protected by a passphrase, and there is no terminal to ask for it"
                ),
            )
            .hint("a script gives it with `--passphrase-fd N`")
        })?;
        let _alone = self.alone();
        let typed = terminal.hidden(&[format!("Passphrase for {}: ", line(what))])?;
        typed.first().map_or_else(|| Err(Error::failed("nothing was typed")), text)
    }

    fn password(&self, what: &str) -> Result<SecretString> {
        let nobody = || Error::failed(format!("there is no terminal to ask for the {what}"));
        let terminal = self.terminal().ok_or_else(nobody)?;
        let _alone = self.alone();
        let typed = terminal.hidden(&[format!("{}: ", line(what))])?;
        typed.first().map_or_else(|| Err(Error::failed("nothing was typed")), text)
    }

    fn attempts(&self) -> usize {
        if self.passphrase_fd.is_some() { 1 } else { 3 }
    }

    fn tell(&self, message: &str) {
        self.say(message);
    }

    fn is_there(&self) -> bool {
        Terminal::open().is_some()
    }

    fn confirm(&self, question: &str) -> Result<bool> {
        let _alone = self.alone();
        self.terminal().map_or(Ok(false), |terminal| terminal.confirm(&line(question)))
    }
}

impl Talk for Ui {
    fn event(&self, event: Event) {
        self.stream(None, &event);
        match event {
            Event::Note(text) | Event::Step(text) => self.say(&text),
            Event::Warning(text) => self.warn(&text),
            Event::Progress(done, all) => self.progress(done, all),
            Event::Looked(bytes) => self.looked(bytes),
            Event::Plan(lines) => self.plan(&lines),
            Event::Of(host, event) => self.of_host(&host, *event),
        }
    }

    fn new_value(&self, name: &str) -> Result<Plaintext> {
        let terminal = self.terminal().ok_or_else(|| {
            Error::usage(format!("there is no terminal to ask for the value of {name}"))
                .hint("give it with `--stdin`, `--from-file FILE` or `--generate KIND`")
        })?;
        let mut typed = terminal.hidden(&[format!("Value of {name}: "), format!("Value of {name}, again: ")])?;
        let again = typed.split_off(1);
        twice(typed, &again, "values")
    }

    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        let typed = match self.given()? {
            Some(given) => given,
            None => {
                let terminal = self.terminal().ok_or_else(|| {
                    Error::usage(format!("there is no terminal to ask for a passphrase for {what}"))
                        .hint("a script gives it with `--passphrase-fd N`")
                })?;
                let mut typed = terminal
                    .hidden(&[format!("New passphrase for {}: ", line(what)), "The same again: ".to_owned()])?;
                let again = typed.split_off(1);
                text(&twice(typed, &again, "passphrases")?)?
            }
        };
        if typed.expose_secret().is_empty() {
            return Err(Error::usage("an empty passphrase protects nothing; nothing changed"));
        }
        Ok(typed)
    }
}

/// The one that was typed both times.
fn twice(mut first: Vec<Plaintext>, again: &[Plaintext], what: &str) -> Result<Plaintext> {
    match (first.pop(), again) {
        (Some(first), [again]) if first.same_as(again) => Ok(first),
        _ => Err(Error::failed(format!("the two {what} differ; nothing changed"))),
    }
}

/// Typed bytes as text, in one buffer of their own size.
fn text(bytes: &Plaintext) -> Result<SecretString> {
    bytes.expose(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::usage("the passphrase is not UTF-8 text"))?;
        let mut exact = String::with_capacity(text.len());
        exact.push_str(text);
        Ok(SecretString::from(exact))
    })
}

/// How far longer work is.
#[derive(Default)]
struct Progress {
    since: Option<Instant>,
    bar: Option<ProgressBar>,
    /// One line a host, and all of them together.
    hosts: BTreeMap<HostName, ProgressBar>,
    all: MultiProgress,
}

/// Text in a colour, by its SGR number.
fn painted(sgr: u8, text: &str) -> String {
    format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
}

/// Prints what clap says of wrong arguments, or the help that was asked for. Values of arguments are not quoted: one may
/// be a key that was pasted at the wrong place.
pub fn usage(error: clap::Error, command: &clap::Command) -> ExitCode {
    let code = if error.use_stderr() { ExitCode::from(Kind::Usage.code()) } else { ExitCode::SUCCESS };
    // A reader that went away is no failure.
    let _gone = without_values(error, command).print();
    code
}

/// The same error, which names the argument, the rule and the known values, and says "…" where a value stood.
fn without_values(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let value = text(&error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    let argument = text(&error, ContextKind::InvalidArg);
    if error.kind() == ErrorKind::ValueValidation {
        let rule = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        // A number out of its range is quoted before the range.
        let rule = rule.split_once(" is not in ").map_or(rule.clone(), |(_, range)| format!("not in {range}"));
        // It may be a value that was pasted at the wrong place; the rest of the rule says what to do.
        let long = value.filter(|value| value.len() > 3);
        let rule = long.map_or(rule.clone(), |value| rule.replace(&value, "…"));
        let rule = if rule.is_empty() { rule } else { format!(": {rule}") };
        let what = format!("invalid value for '{}'{rule}\n", argument.unwrap_or_default());
        return clap::Error::raw(ErrorKind::ValueValidation, what).with_cmd(command);
    }
    let hidden = || ContextValue::String("…".to_owned());
    if value.is_some() {
        error.insert(ContextKind::InvalidValue, hidden());
    }
    match error.kind() {
        // What looks like an option is no value, and a mistyped one is to be seen.
        ErrorKind::UnknownArgument if !argument.is_some_and(|word| is_option(&word)) => {
            error.insert(ContextKind::InvalidArg, hidden());
        }
        ErrorKind::InvalidSubcommand => drop(error.insert(ContextKind::InvalidSubcommand, hidden())),
        _ => {}
    }
    // Ways to pass the word after all, which quote it.
    error.remove(ContextKind::Suggested);
    error
}

fn is_option(word: &str) -> bool {
    word.len() <= 24 && word.starts_with('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// A line of talk, as lines that break between words. What another program said keeps its bar.
fn laid(text: &str, width: Option<usize>) -> Vec<String> {
    let said = text.trim_start_matches(' ');
    let Some(rest) = said.strip_prefix("| ") else { return wrapped(text, width, 2) };
    let bar = text.len() - rest.len();
    let lines = wrapped(rest, width.map(|width| width.saturating_sub(bar).max(1)), 0);
    lines.into_iter().map(|line| format!("{}{line}", text.get(..bar).unwrap_or_default())).collect()
}

/// One line of talk.
fn line(text: &str) -> String {
    cut(&one_line(text), LONGEST)
}
