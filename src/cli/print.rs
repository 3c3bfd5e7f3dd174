//! All output: data to standard output, messages to standard error. Foreign text is escaped before it reaches a
//! terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::environment;
use crate::cli::layout::{Screen, wrapped};
use crate::domain::counted::counted;
use crate::domain::foreign::{self, cut, one_line};
use crate::domain::line::{Line, Tone};
use crate::error::{Error, Kind, Result};

/// The version of the `--json` format. Adding fields does not change it.
pub const JSON_VERSION: u32 = 1;
/// The limits for one line of a message, in characters, and for one cause, in lines.
const LONGEST: usize = 8 << 10;
const LINES: usize = 100;

/// Wraps the printing of each message line, so that it does not mix with what is drawn on the terminal.
pub type Around = Box<dyn Fn(&dyn Fn()) + Send + Sync>;

pub struct Printer {
    quiet: bool,
    colour: bool,
    colour_data: bool,
    /// The fleet given for this run, quoted for a shell, because suggested commands must name it too.
    fleet: Option<String>,
    around: Around,
}

impl Printer {
    /// Finds out whether standard output and standard error are terminals.
    pub fn new(quiet: bool, fleet: Option<String>, around: Around) -> Self {
        let wanted = environment::variable("NO_COLOR").is_none()
            && environment::variable("TERM").is_none_or(|term| term != "dumb");
        Self {
            quiet,
            colour: wanted && std::io::stderr().is_terminal(),
            colour_data: wanted && std::io::stdout().is_terminal(),
            fleet,
            around,
        }
    }

    /// Whether only warnings, errors and requested data are printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns a sealift command for the same fleet.
    pub fn command(&self, words: &str) -> String {
        match &self.fleet {
            Some(fleet) => format!("sealift --fleet {fleet} {words}"),
            None => format!("sealift {words}"),
        }
    }

    /// Adds the fleet to the commands in a help text.
    fn advice(&self, text: &str) -> String {
        if self.fleet.is_some() {
            text.replace("`sealift ", &format!("`{}", self.command("")))
        } else {
            text.to_owned()
        }
    }

    /// Prints data. A closed pipe is no error.
    #[expect(clippy::unused_self, reason = "who prints is who has the printer")]
    pub fn data(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::io("cannot write to standard output", error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the size of the terminal for data; none if it is not a terminal.
    pub fn screen(&self) -> Screen {
        let size = environment::size(rustix::stdio::stdout());
        let (width, height) = (size.map(|size| size.0), size.map(|size| size.1));
        Screen { width, height, colour: self.colour_data }
    }

    /// Prints a line of data.
    pub fn line(&self, text: &str) -> Result<()> {
        self.data(format!("{}\n", one_line(text)).as_bytes())
    }

    /// Prints a line of data, wrapped between words on a terminal.
    pub fn wrapped(&self, text: &str) -> Result<()> {
        wrapped(&one_line(text), self.screen().width, 2).iter().try_for_each(|line| self.line(line))
    }

    /// Prints a report as JSON, with the version of the format.
    pub fn json(&self, report: &impl serde::Serialize) -> Result<()> {
        #[derive(serde::Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            report: &'a T,
        }
        self.json_as_it_is(&Versioned { version: JSON_VERSION, report })
    }

    /// Prints rows as JSON, under their name and with the version of the format.
    pub fn json_rows(&self, name: &'static str, rows: &[impl serde::Serialize]) -> Result<()> {
        self.json(&BTreeMap::from([(name, rows)]))
    }

    /// Prints a value with its own version as JSON.
    pub fn json_as_it_is(&self, value: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{}\n", foreign::json(&text)).as_bytes())
    }

    /// Prints a value with its own version as JSON on one line.
    pub fn json_line(&self, report: &impl serde::Serialize) -> Result<()> {
        let text =
            serde_json::to_string(report).map_err(|error| Error::new(Kind::Bug, "cannot write JSON").because(error))?;
        self.data(format!("{}\n", foreign::json(&text)).as_bytes())
    }

    /// Prints a line about completed work as data, unless quiet.
    pub fn done(&self, text: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Prints a line of a message.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.tell_always(&line(&self.advice(text)));
        }
    }

    /// Prints the plan of a deploy.
    pub fn plan(&self, lines: &[Line]) {
        if self.quiet {
            return;
        }
        let part = |(tone, text): &(Tone, String)| {
            let text = one_line(text);
            // The indent is printed before any colour.
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

    /// Prints a finding and its help to standard output, because findings are the requested data. `sgr` is the colour
    /// of the severity.
    pub fn finding(&self, sgr: u8, weight: &str, what: &str, help: &str) -> Result<()> {
        let paint = |sgr, text| if self.colour_data { painted(sgr, text) } else { text.to_owned() };
        let help = if help.is_empty() {
            String::new()
        } else {
            format!("  {} {}", paint(36, "help:"), one_line(&self.advice(help)))
        };
        let found = format!("{} {}", paint(sgr, weight), one_line(what));
        let lines = [found, help].into_iter().filter(|line| !line.is_empty());
        let width = self.screen().width;
        lines.flat_map(|line| wrapped(&line, width, 2)).try_for_each(|line| self.data(format!("{line}\n").as_bytes()))
    }

    /// Prints a warning.
    pub fn warn(&self, text: &str) {
        self.tell_always(&format!("{} {}", self.paint(33, "warning:"), line(&self.advice(text))));
    }

    fn paint(&self, sgr: u8, text: &str) -> String {
        if self.colour { painted(sgr, text) } else { text.to_owned() }
    }

    /// Prints an error and returns its exit code.
    pub fn failed(&self, error: &anyhow::Error) -> ExitCode {
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(Kind::Bug, Error::kind);
        for (depth, cause) in error.chain().enumerate() {
            let text = line(&cause.to_string());
            if depth == 0 && kind == Kind::Interrupted {
                // Without a prefix: the message itself says what was done before the interrupt.
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
        for help in error.chain().filter_map(|cause| cause.downcast_ref::<Error>()?.advice()) {
            self.tell_always(&format!("{} {}", self.paint(36, "help:"), line(&self.advice(help))));
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
        if let Some(help) = part.advice() {
            self.tell_always(&format!("    {} {}", self.paint(36, "help:"), line(&self.advice(help))));
        }
        part.parts().iter().for_each(|part| self.part(part));
    }

    /// Prints a cause, which is often the output of another program, behind a bar so that no line looks like one of
    /// ours.
    fn cause(&self, indent: &str, cause: &dyn std::error::Error) {
        let text = cause.to_string();
        text.lines().take(LINES).for_each(|one| self.tell_always(&format!("{indent}| {}", line(one))));
        let more = text.lines().skip(LINES).count();
        if more > 0 {
            self.tell_always(&format!("{indent}| \u{2026} and {}", counted(more, "more line")));
        }
    }

    fn tell_always(&self, text: &str) {
        let width = environment::size(rustix::stdio::stderr()).map(|size| size.0);
        let text = laid(text, width).join("\n");
        // If standard error is closed, there is nowhere to report that.
        (self.around)(&|| drop(writeln!(std::io::stderr().lock(), "{text}")));
    }
}

/// Colours a string by SGR number.
pub fn painted(sgr: u8, text: &str) -> String {
    format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
}

/// Wraps a message line between words. Output of other programs keeps its bar on each line.
fn laid(text: &str, width: Option<usize>) -> Vec<String> {
    let said = text.trim_start_matches(' ');
    let Some(rest) = said.strip_prefix("| ") else { return wrapped(text, width, 2) };
    let bar = text.len() - rest.len();
    let lines = wrapped(rest, width.map(|width| width.saturating_sub(bar).max(1)), 0);
    lines.into_iter().map(|line| format!("{}{line}", text.get(..bar).unwrap_or_default())).collect()
}

/// Formats one line of a message.
pub fn line(text: &str) -> String {
    cut(&one_line(text), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::laid;

    #[test]
    fn what_another_program_said_keeps_its_bar_where_it_breaks() {
        assert_eq!(laid("  | error: a b c d", Some(12)), ["  | error: a", "  | b c d"]);
        assert_eq!(laid("  | a", None), ["  | a"]);
        // Continuation lines of our own messages are indented instead.
        assert_eq!(laid("help: run `a b c d e` now", Some(12)), ["help: run", "  `a b c d e`", "  now"]);
        for width in 0..40 {
            let told = laid("      | error: something that was said by a program", Some(width));
            assert!(told.iter().all(|line| line.starts_with("      | ")), "{told:#?}");
        }
    }
}
