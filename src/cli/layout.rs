//! How text is laid out for a width: lines that break between words, and columns. Pure; who prints knows the width, and where
//! nobody reads on a terminal there is none.

/// How far what goes on with a row stands in.
const HANG: usize = 4;

/// How much room there is, and whether colours are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    /// How wide it is; none: as wide as need be.
    pub width: Option<usize>,
    /// How many lines it has; none: there are no screenfuls.
    pub height: Option<usize>,
    /// Whether colours are shown.
    pub colour: bool,
}

/// A text as lines of no more than this width, which break between words only. What stands between backticks is one word:
/// somebody will copy it. A word that is longer has a line of its own. `hang`: how far the lines after the first stand in,
/// beyond the first.
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

/// Where a text may break.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            // One that is never closed holds nothing together.
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

/// How wide a text is shown: its colours take no room.
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

/// Rows as aligned columns. Where they are wider than there is room, what does not fit goes on below, under its own head, and
/// stands in.
pub fn columns(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| shown(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(widest).collect();
    let room = width.unwrap_or(usize::MAX);
    // The columns of each line, and how far it stands in.
    let mut folds: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new())];
    let mut taken = 0;
    for (column, wide) in widths.iter().enumerate() {
        // The last one can be broken between its words.
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

fn longest_word(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.flat_map(|cell| words(cell)).map(shown).max().unwrap_or(0)
}

/// One line of a row; its last cell goes on below where it begins.
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
    }
}
