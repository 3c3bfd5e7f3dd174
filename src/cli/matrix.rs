//! Draws who reads what: a row per secret, a column per host, and a sign in each cell. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::layout::{Screen, shown, wrapped};
use crate::cli::print::painted;
use crate::commands::secrets::matrix::{Cell, Matrix};
use crate::domain::counted::counted;
use crate::domain::name::{FileName, SecretName};

/// The maximum width with unrotated column names, if the available width is unknown.
const PLAIN: usize = 100;
/// How many columns form a group if there is no room for a space between all of them.
const GROUP: usize = 5;
/// The minimum width for the names of rows.
const NAME: usize = 16;

/// The content of a cell. Later variants take precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Nothing,
    Knows,
    Some,
    Reads,
    Every,
    Extra,
    Lacks,
}

impl Mark {
    fn sign(self) -> char {
        match self {
            Mark::Nothing => '·',
            Mark::Knows => '~',
            Mark::Some => '◐',
            Mark::Reads => '●',
            Mark::Every => '*',
            Mark::Extra => '!',
            Mark::Lacks => '○',
        }
    }

    fn says(self) -> &'static str {
        match self {
            Mark::Nothing => "nothing",
            Mark::Knows => "knows the value, cannot read it any more",
            Mark::Some => "some of them read it",
            Mark::Reads => "reads it",
            Mark::Every => "reads it, as every host does",
            Mark::Extra => "reads it and should not",
            Mark::Lacks => "should read it and cannot",
        }
    }

    fn colour(self) -> u8 {
        match self {
            Mark::Nothing => 2,
            Mark::Knows => 33,
            Mark::Some | Mark::Reads | Mark::Every => 32,
            Mark::Extra | Mark::Lacks => 31,
        }
    }

    fn of(cell: Cell, every: bool) -> Self {
        match cell {
            Cell::None => Mark::Nothing,
            Cell::Knows => Mark::Knows,
            Cell::Some => Mark::Some,
            Cell::Reads if every => Mark::Every,
            Cell::Reads => Mark::Reads,
            Cell::Extra => Mark::Extra,
            Cell::Lacks => Mark::Lacks,
        }
    }
}

/// A picture, independent of the terminal's size.
pub struct Picture {
    columns: Vec<String>,
    rows: Vec<(String, Vec<Mark>)>,
    left_out: usize,
}

impl Picture {
    /// Makes a picture. `selectors` are the readers of each file as written in recipients.toml.
    pub fn new(
        columns: Vec<String>,
        rows: Vec<(FileName, Vec<Cell>)>,
        selectors: &BTreeMap<FileName, Vec<String>>,
        left_out: usize,
    ) -> Self {
        let row = |(file, cells): (FileName, Vec<Cell>)| {
            let every = selectors.get(&file).is_some_and(|words| words.iter().any(|word| word == "*"));
            (file.to_string(), cells.into_iter().map(|cell| Mark::of(cell, every)).collect())
        };
        Self { columns, rows: rows.into_iter().map(row).collect(), left_out }
    }

    /// Makes a picture by hosts. The per-host files of a secret share one row, unless a host is related to the file of
    /// another.
    pub fn of_hosts(matrix: &Matrix) -> Self {
        let columns: Vec<String> = matrix.hosts.iter().map(ToString::to_string).collect();
        let mut folded: BTreeMap<&SecretName, Vec<Mark>> = BTreeMap::new();
        let mut mixed: BTreeSet<&SecretName> = BTreeSet::new();
        for (file, cells) in &matrix.rows {
            let Some((secret, owner)) = matrix.own.get(file) else { continue };
            let marks = folded.entry(secret).or_insert_with(|| vec![Mark::Nothing; columns.len()]);
            for ((host, cell), mark) in matrix.hosts.iter().zip(cells).zip(marks) {
                if host == owner {
                    *mark = Mark::of(*cell, false);
                } else if *cell != Cell::None {
                    mixed.insert(secret);
                }
            }
        }
        let mut rows: Vec<(String, Vec<Mark>)> = Vec::new();
        let mut done: BTreeSet<&SecretName> = BTreeSet::new();
        let plain = Self::new(columns.clone(), matrix.rows.clone(), &matrix.selectors, matrix.left_out);
        for ((file, _), row) in matrix.rows.iter().zip(plain.rows) {
            match matrix.own.get(file) {
                Some((secret, _)) if !mixed.contains(secret) => {
                    if done.insert(secret) {
                        rows.push((format!("{secret}/‹host›"), folded.get(secret).cloned().unwrap_or_default()));
                    }
                }
                _ => rows.push(row),
            }
        }
        Self { columns, rows, left_out: matrix.left_out }
    }

    /// Returns the maximum width for the names of rows: half of the width or, if column names are rotated anyway, what
    /// these leave.
    fn names(&self, width: usize) -> usize {
        let half = (width / 2).max(NAME);
        let side_by_side = self.columns.iter().map(|name| shown(name) + 2).sum::<usize>();
        let turned = self.columns.len() * 2 + 1;
        if half + side_by_side <= width { half } else { half.max(width.saturating_sub(turned)) }
    }

    pub fn lines(&self, screen: Screen) -> Vec<String> {
        let longest = self.rows.iter().map(|(name, _)| shown(name)).max().unwrap_or(0).max("secret".len());
        let names = screen.width.map_or(longest, |width| longest.min(self.names(width)));
        let room = screen.width.map(|width| width.saturating_sub(names + 2).max(1));
        let mut lines = Vec::new();
        for band in bands(&self.columns, room) {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            let head = band.head(names);
            // Repeats the headings on every screen.
            let most = screen.height.map_or(usize::MAX, |height| height.saturating_sub(head.len() + 1).max(GROUP));
            for (at, (name, marks)) in self.rows.iter().enumerate() {
                if at % most == 0 {
                    lines.extend(head.iter().cloned());
                }
                let cells = band.row(marks, screen.colour);
                if shown(name) > names {
                    lines.push(name.clone());
                    lines.push(format!("{}  {cells}", " ".repeat(names)));
                } else {
                    lines.push(format!("{name}{}  {cells}", " ".repeat(names - shown(name))));
                }
            }
        }
        let used: BTreeSet<Mark> = self.rows.iter().flat_map(|(_, marks)| marks).copied().collect();
        let legend: Vec<String> =
            used.iter().rev().map(|mark| format!("{} {}", sign(*mark, screen.colour), mark.says())).collect();
        lines.push(String::new());
        lines.extend(wrapped(&legend.join(" · "), screen.width, 0));
        if self.left_out > 0 {
            let rest = format!("{} of no concern to these hosts", counted(self.left_out, "more file"));
            lines.extend(wrapped(&rest, screen.width, 0));
        }
        lines
    }
}

fn sign(mark: Mark, colour: bool) -> String {
    let sign = mark.sign().to_string();
    if colour { painted(mark.colour(), &sign) } else { sign }
}

/// Columns that fit side by side, and the position of each.
struct Band<'a> {
    columns: &'a [String],
    first: usize,
    places: Vec<usize>,
    turned: bool,
}

/// Splits the columns into as few bands as possible: with names side by side, or else rotated and as widely spaced as
/// possible.
fn bands(columns: &[String], room: Option<usize>) -> Vec<Band<'_>> {
    let wide = columns.iter().map(|name| shown(name) + 2).sum::<usize>().saturating_sub(2);
    let count = columns.len();
    if wide <= room.unwrap_or(PLAIN) {
        let place = |at: &mut usize, name: &String| {
            let place = *at;
            *at += shown(name) + 2;
            Some(place)
        };
        return vec![Band { columns, first: 0, places: columns.iter().scan(0, place).collect(), turned: false }];
    }
    let Some(room) = room else {
        return vec![Band { columns, first: 0, places: (0..count).map(|at| at * 2).collect(), turned: true }];
    };
    let grouped = |at: usize| at + at / GROUP;
    let place: &dyn Fn(usize) -> usize = if (count - 1) * 2 < room {
        &|at| at * 2
    } else if grouped(count - 1) >= room && count <= room {
        &|at| at
    } else {
        &grouped
    };
    let most = (1..=count).take_while(|many| place(many - 1) < room).last().unwrap_or(1);
    // Distributes the columns evenly over the bands.
    let each = count.div_ceil(count.div_ceil(most));
    let bands = columns.chunks(each).enumerate();
    let band = |(number, columns): (usize, _)| Band {
        columns,
        first: number * each,
        places: (0..each).map(place).collect(),
        turned: true,
    };
    bands.map(band).collect()
}

impl Band<'_> {
    /// Returns the lines above the rows. Rotated names are read downwards, and end above their column.
    fn head(&self, names: usize) -> Vec<String> {
        let first = |text: &str| format!("{text}{}  ", " ".repeat(names.saturating_sub(shown(text))));
        if !self.turned {
            return vec![format!("{}{}", first("secret"), self.columns.join("  "))];
        }
        let height = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let line = |at: usize| {
            let mut line = first(if at + 1 == height { "secret" } else { "" });
            let begins = line.chars().count();
            for (name, place) in self.columns.iter().zip(&self.places) {
                let letter = (at + name.chars().count()).checked_sub(height).and_then(|at| name.chars().nth(at));
                line += &" ".repeat((begins + place).saturating_sub(line.chars().count()));
                line.push(letter.unwrap_or(' '));
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    fn row(&self, marks: &[Mark], colour: bool) -> String {
        let mut row = String::new();
        let marks = marks.iter().skip(self.first).take(self.columns.len());
        for (mark, place) in marks.zip(&self.places) {
            row += &" ".repeat(place.saturating_sub(shown(&row)));
            row += &sign(*mark, colour);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: usize) -> Screen {
        Screen { width: Some(width), ..Screen::default() }
    }

    /// A fleet of this size, in which each secret is read by some hosts.
    fn picture(hosts: usize, secrets: usize) -> Picture {
        let columns = (1..=hosts).map(|host| format!("host-{host:02}")).collect();
        let mark = |secret: usize, host: usize| match (secret % 9, (secret * 7 + host * 3) % 5) {
            (0, _) => Mark::Every,
            (_, 0) => Mark::Reads,
            _ => Mark::Nothing,
        };
        let row = |secret| (format!("service-{secret}/token"), (0..hosts).map(|host| mark(secret, host)).collect());
        Picture { columns, rows: (1..=secrets).map(row).collect(), left_out: 0 }
    }

    /// Returns the signs of a row over all bands, without the space between them.
    fn marks(lines: &[String], name: &str) -> String {
        let rows = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rows.collect::<String>().replace(' ', "")
    }

    #[test]
    fn forty_hosts_and_a_hundred_secrets_fit() {
        let picture = picture(40, 100);
        for width in [60, 80, 100, 120, 200] {
            let lines = picture.lines(screen(width));
            let wide = lines.iter().map(|line| shown(line)).max().unwrap_or(0);
            assert!(wide <= width, "{wide} > {width}");
            for (name, wanted) in &picture.rows {
                let wanted: String = wanted.iter().map(|mark| mark.sign()).collect();
                assert_eq!(marks(&lines, name), wanted, "{name} at {width}");
            }
        }
        // One line per secret if all hosts fit.
        assert_eq!(picture.lines(screen(120)).len(), 7 + 100 + 2);
        // A column is below its name.
        let lines = picture.lines(screen(120));
        let at = |line: usize| lines[line].chars().enumerate().filter(|(_, c)| *c != ' ').map(|(at, _)| at);
        let (names, first): (Vec<usize>, Vec<usize>) = (at(0).collect(), at(7).collect());
        assert_eq!(names, first[first.len() - 40..]);
    }

    #[test]
    fn every_screenful_has_its_heads() {
        let lines = picture(40, 100).lines(Screen { height: Some(50), ..screen(120) });
        let heads: Vec<usize> =
            lines.iter().enumerate().filter(|(_, line)| line.starts_with("secret ")).map(|(at, _)| at).collect();
        assert_eq!(heads, [6, 55, 104]);
    }

    #[test]
    fn names_stand_side_by_side_where_they_fit_and_long_ones_alone() {
        let mut picture = picture(2, 1);
        assert_eq!(
            picture.lines(screen(80)),
            ["secret           host-01  host-02", "service-1/token  ·        ●", "", "● reads it · · nothing"]
        );
        // Rotated column names leave more than half of the width for row names.
        picture.columns = ["a-host-with-a-long-name", "another-host-that-has-one"].map(str::to_owned).to_vec();
        picture.rows[0].0 = "b".repeat(40);
        assert!(picture.lines(screen(60)).contains(&format!("{}  · ●", "b".repeat(40))));
        picture.columns = ["host-01", "host-02"].map(str::to_owned).to_vec();
        picture.rows[0].0 = "a".repeat(50);
        assert_eq!(picture.lines(screen(60))[1..3], ["a".repeat(50), format!("{}  ·        ●", " ".repeat(30))]);
        assert_eq!(Picture { columns: Vec::new(), rows: Vec::new(), left_out: 0 }.lines(screen(60)).len(), 2);
    }

    #[test]
    fn colours_change_nothing_else() {
        let picture = picture(40, 10);
        let plain = picture.lines(screen(80));
        let coloured = picture.lines(Screen { colour: true, ..screen(80) });
        let widths = |lines: &[String]| lines.iter().map(|line| shown(line)).collect::<Vec<_>>();
        assert_eq!(widths(&plain), widths(&coloured));
        assert!(!plain.concat().contains('\u{1b}') && coloured.concat().contains('\u{1b}'));
    }
}
