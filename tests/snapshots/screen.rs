//! The part of a terminal that sealift's output needs: redrawn lines, and colours.

use std::fmt::Write;

/// A character with its SGR parameters.
type Cell = (char, String);

/// The width in characters.
pub const COLUMNS: usize = 100;

/// The screen after printing this, keeping colours but no other escape sequences.
pub fn screen(printed: &str, columns: usize) -> String {
    let (mut lines, mut row, mut column): (Vec<Vec<Cell>>, usize, usize) = (vec![Vec::new()], 0, 0);
    let mut style = String::new();
    let mut rest = printed.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{7}' => {}
            '\u{1b}' => {
                assert_eq!(rest.next(), Some('['), "an escape that is none of CSI: {printed:?}");
                let mut numbers = String::new();
                while let Some(digit) = rest.next_if(|c| c.is_ascii_digit() || ";?".contains(*c)) {
                    numbers.push(digit);
                }
                let many = numbers.parse().unwrap_or(1);
                let line = &mut lines[row];
                match rest.next().expect("the end of an escape") {
                    'm' if numbers == "0" || numbers.is_empty() => style.clear(),
                    'm' if style.is_empty() => style = numbers,
                    'm' => style = format!("{style};{numbers}"),
                    'A' => row -= many,
                    'B' => row += many,
                    'K' if numbers == "2" => line.clear(),
                    'K' => line.truncate(column),
                    // Cursor visibility.
                    'h' | 'l' => {}
                    other => panic!("an escape that is not known here: {numbers}{other}"),
                }
            }
            letter => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), (' ', String::new()));
                line[column] = (letter, style.clone());
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let mut shown = String::new();
    for line in lines {
        let end = line.iter().rposition(|(letter, _)| *letter != ' ').map_or(0, |at| at + 1);
        let mut before = "";
        for (letter, style) in &line[..end] {
            if style != before {
                write!(shown, "\u{1b}[0m").unwrap();
                if !style.is_empty() {
                    write!(shown, "\u{1b}[{style}m").unwrap();
                }
                before = style;
            }
            shown.push(*letter);
        }
        shown.push_str(if before.is_empty() { "\n" } else { "\u{1b}[0m\n" });
    }
    shown
}

#[test]
fn lines_are_redrawn_and_colours_stay() {
    assert_eq!(screen("one 1%\rone\u{1b}[K\r\ntwo\r\n", COLUMNS), "one\ntwo\n\n");
    assert_eq!(screen("a\r\nb\r\n\u{1b}[1A\u{1b}[2Kc", COLUMNS), "a\nc\n\n");
    assert_eq!(screen(&"x".repeat(COLUMNS + 1), COLUMNS), format!("{}\nx\n", "x".repeat(COLUMNS)));
    assert_eq!(screen("\u{1b}[31merror:\u{1b}[0m no", COLUMNS), "\u{1b}[0m\u{1b}[31merror:\u{1b}[0m no\n");
}
