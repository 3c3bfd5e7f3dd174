//! What a switch prints of units that failed: it ends with their `systemctl status`, and the end of their journals in it. The
//! failure has those lines too; they are shown once, there. Shows and decides nothing else.

use std::cell::RefCell;

use crate::commands::agent::events::Reporter;
use crate::domain::foreign::one_line;

/// How many lines are kept back at most.
const MOST: usize = 400;

/// The lines of one switch.
pub struct Heard<'a> {
    reporter: &'a Reporter,
    /// Those since it began to tell of failed units.
    held: RefCell<Option<Vec<String>>>,
}

impl<'a> Heard<'a> {
    pub fn new(reporter: &'a Reporter) -> Self {
        Self { reporter, held: RefCell::new(None) }
    }

    /// Hears a line, and tells it unless it may be told with the failure.
    pub fn line(&self, text: &str) {
        let mut held = self.held.borrow_mut();
        if let Some(lines) = held.as_mut() {
            lines.push(text.to_owned());
            if lines.len() > MOST {
                held.take().into_iter().flatten().for_each(|line| self.reporter.said(&line));
            }
            return;
        }
        self.reporter.said(text);
        if text.starts_with("warning: the following units failed: ") {
            held.get_or_insert_default();
        }
    }

    /// Tells what was kept back, but for what the failure tells: the last lines of units' journals, behind their names.
    pub fn end(&self, last_lines: &[String]) {
        for line in self.held.take().unwrap_or_default() {
            if !last_lines.iter().any(|last| is_of_journal(&one_line(&line), last)) {
                self.reporter.said(&line);
            }
        }
    }
}

/// Whether a line of `systemctl status` is this one of a unit's journal: it has time, machine and program before it.
fn is_of_journal(line: &str, last: &str) -> bool {
    last.split_once(": ").is_some_and(|(_, words)| line.ends_with(&format!(": {words}")))
}

#[cfg(test)]
mod tests {
    use super::is_of_journal;

    #[test]
    fn a_line_of_the_journal_is_known_in_the_status() {
        let last = "web.service: bind: Address in use";
        assert!(is_of_journal("Nov 28 22:10:11 web web[123]: bind: Address in use", last));
        assert!(is_of_journal("Nov 28 22:10:11 web systemd[1]: web.service: exit 1", "web.service: exit 1"));
        for line in ["\u{d7} web.service - a server", "   Active: failed (Result: exit-code)", "bind: Address in use"] {
            assert!(!is_of_journal(line, last), "{line}");
        }
    }
}
