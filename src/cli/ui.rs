//! The user at the terminal: draws progress while a verb works, and asks questions.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rustix::io::Errno;
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::prompt::Ask;
use crate::adapters::terminal::Terminal;
use crate::cli::input::{Given, text};
use crate::cli::print::{Around, JSON_VERSION, Printer, line};
use crate::cli::settings;
use crate::commands::talk::{Event, Talk};
use crate::domain::address::quoted;
use crate::domain::foreign::one_line;
use crate::domain::name::HostName;
use crate::domain::secret::plaintext::Plaintext;
use crate::error::{Error, Kind, Result};

/// The user at the terminal, or the script that started us.
pub struct Ui {
    printer: Arc<Printer>,
    given: Given,
    progress: Arc<Mutex<Progress>>,
    /// One question at a time, from any thread.
    asking: Mutex<()>,
    /// Whether events are also printed as data.
    streams: AtomicBool,
    /// Messages to print after the result of the verb.
    last: Mutex<Vec<String>>,
}

impl Deref for Ui {
    type Target = Printer;

    fn deref(&self) -> &Printer {
        &self.printer
    }
}

impl Ui {
    /// Sets up the printer, which keeps messages apart from progress bars.
    pub fn new(quiet: bool, passphrase_fd: Option<i32>, fleet: Option<&Path>) -> Self {
        let progress = Arc::<Mutex<Progress>>::default();
        let drawn = Arc::clone(&progress);
        let around: Around = Box::new(move |write| match drawn.lock() {
            Ok(progress) => match &progress.bar {
                Some(bar) => bar.suspend(write),
                None if progress.hosts.is_empty() => write(),
                None => progress.all.suspend(write),
            },
            Err(_) => write(),
        });
        let fleet = fleet.map(|fleet| quoted(&fleet.display().to_string()));
        Self {
            printer: Arc::new(Printer::new(quiet, fleet, around)),
            given: Given::new(passphrase_fd),
            progress,
            asking: Mutex::default(),
            streams: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    /// Returns the printer, for code that neither draws nor asks.
    pub fn printer(&self) -> &Arc<Printer> {
        &self.printer
    }

    /// Opens the terminal, after clearing the progress bars.
    fn terminal(&self) -> Option<Terminal> {
        let terminal = Terminal::open()?;
        self.end_progress();
        Some(terminal)
    }

    /// Shows the progress of longer work.
    fn progress(&self, what: &'static str, done: usize, all: usize) {
        if done >= all {
            return self.end_progress();
        }
        let style = || ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}");
        self.shown(done as u64, || {
            let style = style().unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(all as u64).with_style(style).with_message(what)
        });
    }

    /// Shows progress if the total is unknown.
    fn looked(&self, bytes: u64) {
        let style = || ProgressStyle::with_template("{spinner} {elapsed:>4} {bytes} read");
        self.shown(bytes, || {
            ProgressBar::no_length().with_style(style().unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
    }

    /// Only on a terminal, and only after one second.
    fn shown(&self, done: u64, bar: impl FnOnce() -> ProgressBar) {
        if self.is_quiet() || !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut progress) = self.progress.lock() else { return };
        let since = *progress.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= Duration::from_secs(1) {
            progress.bar.get_or_insert_with(bar).set_position(done);
        }
    }

    /// Prints lines of data, on a terminal through the user's pager. Foreign text in them must already be escaped to
    /// single lines.
    pub fn paged(&self, lines: &[String]) -> Result<()> {
        let text = lines.join("\n") + "\n";
        if let Some(pager) = settings::pager().filter(|_| self.shows_data())
            && pager.show(&text).is_ok()
        {
            return Ok(());
        }
        // If the pager cannot be started, prints directly, as git does.
        self.data(text.as_bytes())
    }

    /// Prints a value without copying it into a buffer. A closed pipe is no error.
    #[expect(clippy::unused_self, reason = "what is printed is printed by the Ui")]
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

    /// Enables printing each event as JSON too.
    pub fn stream_events(&self, wanted: bool) {
        self.streams.store(wanted, Ordering::Relaxed);
    }

    /// Prints an event as JSON. A closed pipe does not stop a deploy.
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
            Event::Progress(..) | Event::Scanned(_) | Event::Last(_) => return,
            Event::Plan(lines) => {
                return lines.iter().for_each(|line| self.stream(host, &Event::Note(line.to_string())));
            }
            Event::Of(host, event) => return self.stream(Some(host), event),
        };
        if self.streams.load(Ordering::Relaxed) {
            let _gone = self.json_line(&Line { event: kind, version: JSON_VERSION, host, text });
        }
    }

    /// Shows an event of one host among several: on a terminal on the host's own line, which is updated; elsewhere as a
    /// message.
    fn of_host(&self, host: &HostName, event: Event) {
        let text = match event {
            Event::Warning(text) => return self.warn(&format!("{host}: {text}")),
            Event::Progress(..) | Event::Scanned(_) | Event::Last(_) => return,
            Event::Plan(lines) => return self.printer.plan(&lines),
            Event::Of(host, event) => return self.of_host(&host, *event),
            Event::Note(text) | Event::Step(text) => text,
        };
        if self.is_quiet() {
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

    /// Clears all progress bars.
    pub fn end_progress(&self) {
        if let Ok(mut progress) = self.progress.lock() {
            let Progress { bar, hosts, .. } = std::mem::take(&mut *progress);
            bar.into_iter().chain(hosts.into_values()).for_each(|bar| bar.finish_and_clear());
        }
    }

    /// Whether standard output is a terminal.
    #[expect(clippy::unused_self, reason = "what is printed is printed by the Ui")]
    pub fn shows_data(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ui {
    /// Prints the messages that come last.
    pub fn say_last(&self) {
        let said = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        said.iter().for_each(|text| self.say(text));
    }
}

impl Ask for Ui {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        if let Some(given) = self.given.get()? {
            return Ok(given);
        }
        let terminal = self.terminal().ok_or_else(|| {
            Error::new(
                Kind::NoIdentity,
                format!(
                    "{what} cannot be used: it is protected by a passphrase, and there is no terminal to ask for it"
                ),
            )
            .help("a script gives it with `--passphrase-fd N`")
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
        if self.given.is_some() { 1 } else { 3 }
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

    fn answer(&self, question: &str) -> Result<Option<String>> {
        let _alone = self.alone();
        self.terminal().map(|terminal| terminal.answer(&line(question))).transpose()
    }
}

impl Talk for Ui {
    fn event(&self, event: Event) {
        self.stream(None, &event);
        match event {
            Event::Note(text) | Event::Step(text) => self.say(&text),
            Event::Warning(text) => self.warn(&text),
            Event::Progress(what, done, all) => self.progress(what, done, all),
            Event::Last(text) => self.last.lock().unwrap_or_else(PoisonError::into_inner).push(text),
            Event::Scanned(bytes) => self.looked(bytes),
            Event::Plan(lines) => self.printer.plan(&lines),
            Event::Of(host, event) => self.of_host(&host, *event),
        }
    }

    fn new_value(&self, name: &str) -> Result<Plaintext> {
        let terminal = self.terminal().ok_or_else(|| {
            Error::usage("there is no terminal to ask for a value")
                .help("give it with `--stdin`, `--from-file FILE` or `--generate KIND`")
        })?;
        let mut typed = terminal.hidden(&[format!("Value of {name}: "), format!("Value of {name}, again: ")])?;
        let again = typed.split_off(1);
        twice(typed, &again, "values")
    }

    fn new_passphrase(&self, what: &str) -> Result<SecretString> {
        let typed = match self.given.get()? {
            Some(given) => given,
            None => {
                let terminal = self.terminal().ok_or_else(|| {
                    Error::usage(format!("there is no terminal to ask for a passphrase for {what}"))
                        .help("a script gives it with `--passphrase-fd N`")
                })?;
                let mut typed =
                    terminal.hidden(&[format!("New passphrase for {}: ", line(what)), "Repeat it: ".to_owned()])?;
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

/// Returns the value if it was typed identically twice.
fn twice(mut first: Vec<Plaintext>, again: &[Plaintext], what: &str) -> Result<Plaintext> {
    match (first.pop(), again) {
        (Some(first), [again]) if first.same_as(again) => Ok(first),
        _ => Err(Error::failed(format!("the two {what} differ; nothing changed"))),
    }
}

/// The state of the progress bars.
#[derive(Default)]
struct Progress {
    since: Option<Instant>,
    bar: Option<ProgressBar>,
    /// One bar per host, and their container.
    hosts: BTreeMap<HostName, ProgressBar>,
    all: MultiProgress,
}
