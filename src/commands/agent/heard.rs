//! Avoids showing journal lines of failed units twice: switch-to-configuration ends with the `systemctl status` of
//! each, and the failure report has the same lines. This affects only the output.

use std::cell::RefCell;

use crate::commands::agent::events::Reporter;
use crate::domain::foreign::one_line;

/// The largest number of lines held back.
const MOST: usize = 400;

/// The output of one switch.
pub struct Heard<'a> {
    reporter: &'a Reporter,
    /// The lines since the list of failed units.
    held: RefCell<Option<Vec<String>>>,
}

impl<'a> Heard<'a> {
    pub fn new(reporter: &'a Reporter) -> Self {
        Self { reporter, held: RefCell::new(None) }
    }

    /// Reports a line, or holds it back if the failure report may contain it.
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

    /// Reports the lines held back, except those in the failure report, where each follows the name of its unit.
    pub fn end(&self, last_lines: &[String]) {
        for line in self.held.take().unwrap_or_default() {
            if !last_lines.iter().any(|last| is_of_journal(&one_line(&line), last)) {
                self.reporter.said(&line);
            }
        }
    }
}

/// Whether a line of `systemctl status` is this journal line of a unit. It has time, machine and program in front.
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
