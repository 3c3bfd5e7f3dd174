//! Lays out text for a width: lines that wrap between words, and columns. Pure; the caller passes the width, or none if
//! the output is not a terminal. A table crate would draw more than columns, and could not wrap a row to further lines.

/// The indent of a row's continuation lines.
const HANG: usize = 4;

/// The size of the terminal, and whether to use colours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    /// The width; none if unlimited.
    pub width: Option<usize>,
    /// The number of lines; none if output is not divided into screens.
    pub height: Option<usize>,
    pub colour: bool,
}

/// Wraps a string to lines of at most this width, only between words. Text in backticks is one word, because users copy
/// it. A longer word gets its own line. `hang` is the additional indent of the lines after the first.
pub fn wrapped(text: &str, width: Option<usize>, hang: usize) -> Vec<String> {
    let Some(width) = width.filter(|width| shown(text) > *width) else { return vec![text.to_owned()] };
    let indent = text.len() - text.trim_start_matches(' ').len();
    let (first, rest) = (" ".repeat(indent), " ".repeat(indent + hang));
    let (mut lines, mut line, mut empty) = (Vec::new(), first, true);
    for word in words(text.get(indent..).unwrap_or_default()) {
        if !empty && shown(&line) + 1 + shown(word) > width {
            lines.push(std::mem::replace(&mut line, rest.clone()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    lines.push(line);
    lines
}

/// Splits a string where it may wrap.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            // An unclosed backtick has no effect.
            '`' => inside = !inside && text.get(at + 1..).is_some_and(|rest| rest.contains('`')),
            ' ' if !inside => {
                words.extend(text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    words.extend(text.get(from..));
    words
}

/// Returns the displayed width of a string, without its colour sequences.
pub fn shown(text: &str) -> usize {
    let mut count = 0;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            let _colour = letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            count += 1;
        }
    }
    count
}

/// Formats rows as aligned columns. Columns that do not fit into the width continue on indented lines, below their own
/// headings.
pub fn columns(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let widths = widths(rows);
    let count = widths.len();
    let room = width.unwrap_or(usize::MAX);
    // The indent and the columns of each line.
    let mut folds: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new())];
    let mut taken = 0;
    for (column, wide) in widths.iter().enumerate() {
        // The last column can wrap between words.
        let least = if column + 1 == count { longest_word(rows, column) } else { *wide };
        if let Some((indent, fold)) = folds.last_mut() {
            if fold.is_empty() || taken + 2 + least <= room {
                taken += if fold.is_empty() { *indent + wide } else { 2 + wide };
                fold.push(column);
                continue;
            }
            taken = HANG + wide;
            folds.push((HANG, vec![column]));
        }
    }
    let mut lines = Vec::new();
    for row in rows {
        for (number, (indent, fold)) in folds.iter().enumerate() {
            let cells: Vec<(&str, usize)> =
                fold.iter().filter_map(|at| Some((row.get(*at)?.as_str(), *widths.get(*at)?))).collect();
            if number == 0 || cells.iter().any(|(cell, _)| !cell.is_empty()) {
                lines.extend(row_of(&cells, *indent, width));
            }
        }
    }
    lines
}

/// Returns the width of each column. The last cell of a shorter row is ignored, because it spans the remaining columns.
fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let in_column = |row: &&Vec<String>, column: usize| row.len() == count || column + 1 < row.len();
    let widest = |column: usize| {
        let cells = rows.iter().filter(|row| in_column(row, column)).filter_map(|row| row.get(column));
        cells.map(|cell| shown(cell)).max().unwrap_or(0)
    };
    (0..count).map(widest).collect()
}

/// Returns the first of these tables whose rows fit on one line each, or the last one. Each has less detail than the
/// one before.
pub fn first_that_fits(tables: impl IntoIterator<Item = Vec<Vec<String>>>, width: Option<usize>) -> Vec<Vec<String>> {
    let mut last = Vec::new();
    for table in tables {
        let widths = widths(&table);
        let end = |row: &Vec<String>| {
            let before = row.len().saturating_sub(1);
            widths.iter().take(before).map(|wide| wide + 2).sum::<usize>() + row.last().map_or(0, |cell| shown(cell))
        };
        let needed = table.iter().map(end).max().unwrap_or(0);
        last = table;
        if width.is_none_or(|width| needed <= width) {
            break;
        }
    }
    last
}

/// Shortens a string to at most this many characters.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

/// Returns as many words as fit, at least the first, and the number of the others.
pub fn first_words(words: &[String], most: usize) -> String {
    let text = |shown: usize| match (words.get(..shown).unwrap_or_default().join(" "), words.len() - shown) {
        (text, 0) => text,
        (text, more) => format!("{text} +{more}"),
    };
    let counts = (1..=words.len()).rev();
    counts.map(text).find(|text| text.chars().count() <= most).unwrap_or_else(|| text(words.len().min(1)))
}

fn longest_word(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.flat_map(|cell| words(cell)).map(shown).max().unwrap_or(0)
}

/// Formats one line of a row. Its last cell wraps at its own start column.
fn row_of(cells: &[(&str, usize)], indent: usize, width: Option<usize>) -> Vec<String> {
    let mut line = " ".repeat(indent);
    let Some(((last, _), others)) = cells.split_last() else { return vec![line] };
    for (cell, wide) in others {
        line += cell;
        line += &" ".repeat(wide.saturating_sub(shown(cell)) + 2);
    }
    let begins = shown(&line);
    let parts = wrapped(last, width.map(|width| width.saturating_sub(begins).max(1)), 0);
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let before = if lines.is_empty() { std::mem::take(&mut line) } else { " ".repeat(begins) };
        lines.push(format!("{before}{part}").trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_never_in_a_command() {
        let text = "  what is left: run `sealift deploy --resume` once the host is up again";
        let lines = wrapped(text, Some(30), 2);
        assert_eq!(lines, ["  what is left: run", "    `sealift deploy --resume`", "    once the host is up again"]);
        assert_eq!(wrapped(text, None, 2), [text]);
        assert_eq!(wrapped("a `b c d", Some(4), 0), ["a `b", "c d"], "what is never closed holds nothing together");
        assert_eq!(wrapped("ab abcdefgh cd", Some(4), 0), ["ab", "abcdefgh", "cd"]);
        assert_eq!(wrapped("\u{1b}[31merror:\u{1b}[0m ab", Some(9), 0).len(), 1, "colours take no room");
    }

    #[test]
    fn columns_that_do_not_fit_go_on_below() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows =
            [row(&["secret", "state", "hosts"]), row(&["token", "sealed", "web db app"]), row(&["b", "DRIFT", ""])];
        assert_eq!(columns(&rows, None), ["secret  state   hosts", "token   sealed  web db app", "b       DRIFT"]);
        assert_eq!(
            columns(&rows, Some(22)),
            ["secret  state   hosts", "token   sealed  web db", "                app", "b       DRIFT"]
        );
        assert_eq!(
            columns(&rows, Some(15)),
            ["secret  state", "    hosts", "token   sealed", "    web db app", "b       DRIFT"]
        );
        let rows = [row(&["host", "commit", "secrets"]), row(&["db", "unreachable"])];
        assert_eq!(columns(&rows, None), ["host  commit  secrets", "db    unreachable"]);
    }

    #[test]
    fn what_does_not_fit_says_less() {
        let row = |cells: &[&str]| vec![cells.iter().map(ToString::to_string).collect::<Vec<_>>()];
        let tables = || [row(&["web", "2026-11-28", "*"]), row(&["web", "today", "*"]), row(&["web", "*"])];
        let chosen = |width| first_that_fits(tables(), width).concat();
        assert_eq!(chosen(None), ["web", "2026-11-28", "*"]);
        assert_eq!(chosen(Some(18)), ["web", "2026-11-28", "*"]);
        assert_eq!(chosen(Some(17)), ["web", "today", "*"]);
        assert_eq!(chosen(Some(1)), ["web", "*"], "the last where none fits");
        let words = ["web", "db", "app"].map(str::to_owned);
        let most = [10, 9, 7, 1].map(|most| first_words(&words, most));
        assert_eq!(most, ["web db app", "web db +1", "web +2", "web +2"]);
        assert_eq!(first_words(&[], 3), "");
        assert_eq!(["abc def", "abc de"].map(|text| shortened(text, 6)), ["abc d\u{2026}", "abc de"]);
    }
}
