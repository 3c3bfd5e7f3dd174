//! Everything that is printed: data to standard output, talk to standard error. Foreign text is escaped before it
//! reaches a terminal.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use secrecy::SecretString;

use super::settings;
use crate::adapters::ask::Ask;
use crate::adapters::signals;
use crate::commands::{Event, Talk};
use crate::error::{Error, Kind, Result};
use crate::fleet::plaintext::Plaintext;

/// The person at the terminal, or the script that started us.
pub struct Ui {
    quiet: bool,
    colour: bool,
}

impl Ui {
    /// Looks at what standard error is.
    pub fn new(quiet: bool) -> Self {
        let colour = std::io::stderr().is_terminal() && settings::variable("NO_COLOR").is_none() && settings::variable("TERM").is_none_or(|term| term != "dumb");
        Self { quiet, colour }
    }

    /// Data, as bytes. A reader that went away is no failure.
    ///
    /// # Errors
    /// When standard output cannot be written, such as on a full disk.
    pub fn data(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("cannot write to standard output", error)),
            _ => Ok(()),
        }
    }

    /// A line of data.
    ///
    /// # Errors
    /// As `data`.
    pub fn line(&self, text: &str) -> Result<()> {
        self.data(format!("{}\n", safe(text)).as_bytes())
    }

    /// A report as JSON.
    ///
    /// # Errors
    /// As `data`.
    pub fn json(&self, report: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(report).map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{text}\n").as_bytes())
    }

    /// A report or an event as JSON on one line.
    ///
    /// # Errors
    /// As `data`.
    pub fn json_line(&self, report: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string(report).map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{text}\n").as_bytes())
    }

    /// A line of talk.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.tell_always(&safe(text));
        }
    }

    /// Whether standard output is a terminal.
    pub fn shows_data(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Text in a colour, where colours are wanted: an SGR number.
    pub fn paint(&self, sgr: u8, text: &str) -> String {
        if self.colour { format!("\u{1b}[{sgr}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Prints a failure and says its exit code.
    pub fn failed(&self, error: &anyhow::Error) -> ExitCode {
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(Kind::Bug, Error::kind);
        if kind == Kind::Interrupted {
            self.tell_always("interrupted; nothing changed");
            return ExitCode::from(kind.code());
        }
        for (depth, cause) in error.chain().enumerate() {
            let text = safe(&cause.to_string());
            if depth == 0 {
                self.tell_always(&format!("{} {text}", self.paint(31, "error:")));
            } else {
                text.lines().for_each(|line| self.tell_always(&format!("  {line}")));
            }
            if let Some(ours) = cause.downcast_ref::<Error>() {
                ours.parts().iter().for_each(|part| self.part(part));
            }
        }
        for mend in error.chain().filter_map(|cause| cause.downcast_ref::<Error>()?.mend()) {
            self.tell_always(&format!("{} {}", self.paint(36, "hint:"), safe(mend)));
        }
        ExitCode::from(kind.code())
    }

    fn part(&self, part: &Error) {
        self.tell_always(&format!("  - {}", safe(part.message())));
        let mut cause = std::error::Error::source(part);
        while let Some(error) = cause {
            safe(&error.to_string()).lines().for_each(|line| self.tell_always(&format!("      {line}")));
            cause = error.source();
        }
        if let Some(mend) = part.mend() {
            self.tell_always(&format!("    {} {}", self.paint(36, "hint:"), safe(mend)));
        }
        part.parts().iter().for_each(|part| self.part(part));
    }

    fn tell_always(&self, text: &str) {
        // Where standard error is gone nobody is left to be told.
        let _gone = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl Ask for Ui {
    fn passphrase(&self, what: &str) -> Result<SecretString> {
        Err(Error::new(Kind::NoIdentity, format!("{what} is protected by a passphrase, and there is no terminal to ask for it")))
    }

    fn tell(&self, message: &str) {
        self.say(message);
    }

    fn confirm(&self, _question: &str) -> Result<bool> {
        Ok(false)
    }
}

impl Talk for Ui {
    fn event(&self, event: Event) {
        match event {
            Event::Note(text) | Event::Step(text) => self.say(&text),
            Event::Warning(text) => self.tell_always(&format!("{} {}", self.paint(33, "warning:"), safe(&text))),
            Event::Progress(..) => {}
        }
    }

    fn new_value(&self, name: &str) -> Result<Plaintext> {
        signals::check()?;
        Err(Error::usage(format!("there is no terminal to ask for the value of {name}")).hint("give it with `--stdin`, `--from-file FILE` or `--generate KIND`"))
    }
}

/// Prints what clap says of wrong arguments, or the help that was asked for. Values of arguments are not quoted: one may
/// be a key that was pasted at the wrong place.
pub fn usage(error: &clap::Error) -> ExitCode {
    let code = if error.use_stderr() { ExitCode::from(Kind::Usage.code()) } else { ExitCode::SUCCESS };
    // A reader that went away is no failure.
    let _gone = error.print();
    code
}

/// Foreign text made safe for a terminal: control characters, also those that turn the direction of text, are escaped.
pub fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c == '\n' || c == '\t' || !(c.is_control() || turns) { safe.push(c) } else { safe.extend(c.escape_unicode()) }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(super::safe("a\u{1b}]52;c;x\u{7}b\u{202e}c\n"), "a\\u{1b}]52;c;x\\u{7}b\\u{202e}c\n");
    }
}
