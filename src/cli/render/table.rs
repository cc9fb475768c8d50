//! Tables that keep to one line a row: columns give up room in an order that is told, and what does not fit ends in
//! `…`.

use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, Table, presets};

use super::text::{clean, truncate, width_of};
use super::{Ink, Screen};

/// Blanks between columns.
const GAP: usize = 2;

/// A column: its heading, and what happens to it when there is not enough room.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading.
    pub title: &'static str,
    /// The least width at which it still says something; `None` = it never gets narrower than its content.
    pub least: Option<usize>,
    /// Left out when it does not fit, before anything is narrowed; the last such column goes first.
    pub optional: bool,
    /// Left out where even the least widths do not fit, highest rank first; 0 = never.
    pub rank: u8,
    /// Numbers stand at the right.
    pub right: bool,
}

impl Column {
    /// A column that is always shown whole.
    pub const fn fixed(title: &'static str) -> Self {
        Self { title, least: None, optional: false, rank: 0, right: false }
    }

    /// A column of numbers, always shown whole.
    pub const fn number(title: &'static str) -> Self {
        Self { title, least: None, optional: false, rank: 0, right: true }
    }

    /// A column that gives up room down to `least` columns.
    pub const fn narrowing(title: &'static str, least: usize) -> Self {
        Self { title, least: Some(least), optional: false, rank: 0, right: false }
    }

    /// A column that is left out on narrow screens.
    pub const fn optional(title: &'static str) -> Self {
        Self { title, least: None, optional: true, rank: 0, right: false }
    }

    /// The same, left out on very narrow screens, after those of a higher rank.
    pub const fn expendable(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell(Ink, String);

impl Cell {
    /// Text of whatever origin; control characters are taken out, an empty one shows as `–`.
    pub fn new(ink: Ink, text: &str) -> Self {
        let text = clean(text);
        Self(ink, if text.is_empty() { "–".to_owned() } else { text })
    }

    /// Plain text.
    pub fn plain(text: &str) -> Self {
        Self::new(Ink::Plain, text)
    }
}

/// The table as lines, a heading first; each row has as many cells as there are columns.
pub fn table(screen: &Screen, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let widths = fit(screen.width, columns, rows);
    let shown: Vec<usize> = (0..columns.len()).filter(|index| widths[*index].is_some()).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty();
    if screen.colour {
        table.enforce_styling();
    }
    let cell = |index: usize, ink, text: &str| {
        let text = truncate(text, widths[index].unwrap_or_default());
        let alignment = if columns[index].right { CellAlignment::Right } else { CellAlignment::Left };
        inked(comfy_table::Cell::new(text).set_alignment(alignment), ink)
    };
    table.set_header(shown.iter().map(|index| cell(*index, Ink::Grey, columns[*index].title)));
    for row in rows {
        table.add_row(shown.iter().map(|index| cell(*index, row[*index].0, &row[*index].1)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let last = index + 1 == shown.len();
        column.set_padding((0, if last { 0 } else { GAP as u16 }));
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

fn inked(cell: comfy_table::Cell, ink: Ink) -> comfy_table::Cell {
    match ink {
        Ink::Plain => cell,
        Ink::Bold => cell.add_attribute(Attribute::Bold),
        Ink::Grey => cell.add_attribute(Attribute::Dim),
        Ink::Red => cell.fg(Color::DarkRed),
        Ink::Amber => cell.fg(Color::DarkYellow),
        Ink::Struck => cell.add_attribute(Attribute::CrossedOut),
    }
}

/// Width of each column; `None` = left out.
fn fit(room: usize, columns: &[Column], rows: &[Vec<Cell>]) -> Vec<Option<usize>> {
    let natural = |index: usize| {
        let cells = rows.iter().map(|row| width_of(&row[index].1));
        cells.chain([width_of(columns[index].title)]).max().unwrap_or_default()
    };
    let mut widths: Vec<Option<usize>> = (0..columns.len()).map(|index| Some(natural(index))).collect();
    let total = |widths: &[Option<usize>]| {
        let shown = widths.iter().flatten().count();
        widths.iter().flatten().sum::<usize>() + GAP * shown.saturating_sub(1)
    };
    for index in (0..columns.len()).rev().filter(|index| columns[*index].optional) {
        if total(&widths) > room {
            widths[index] = None;
        }
    }
    let least = |widths: &[Option<usize>]| {
        let least = |(index, width): (usize, &Option<usize>)| {
            width.map(|width| width.min(columns[index].least.unwrap_or(usize::MAX)))
        };
        widths.iter().enumerate().map(least).collect::<Vec<_>>()
    };
    let mut expendable: Vec<usize> = (0..columns.len()).filter(|index| columns[*index].rank > 0).collect();
    expendable.sort_by_key(|index| columns[*index].rank);
    while total(&least(&widths)) > room
        && let Some(index) = expendable.pop()
    {
        widths[index] = None;
    }
    // One column at a time off the widest that may still give, so that several shrink alike.
    while total(&widths) > room {
        let spare =
            |index: usize| widths[index].unwrap_or_default().saturating_sub(columns[index].least.unwrap_or(usize::MAX));
        let Some(widest) = (0..columns.len()).filter(|index| spare(*index) > 0).max_by_key(|index| widths[*index])
        else {
            break;
        };
        widths[widest] = widths[widest].map(|width| width - 1);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::number("ID"), Column::narrowing("NAME", 6), Column::optional("MORE"), Column::fixed("STATE")];

    fn row(id: &str, name: &str) -> Vec<Cell> {
        vec![Cell::plain(id), Cell::plain(name), Cell::plain("more words"), Cell::new(Ink::Red, "Failed")]
    }

    #[test]
    fn all_fits_on_a_wide_screen() {
        let text = table(&Screen::for_tests(), &COLUMNS, &[row("7", "Dana"), row("12", "")]);
        insta::assert_snapshot!(text, @r"
        ID  NAME  MORE        STATE
         7  Dana  more words  Failed
        12  –     more words  Failed
        ");
    }

    #[test]
    fn a_narrow_screen_leaves_out_and_shortens() {
        let screen = Screen { width: 22, ..Screen::for_tests() };
        let text = table(&screen, &COLUMNS, &[row("7", "Dana of the long name"), row("12", "\u{1b}[31mEve")]);
        insta::assert_snapshot!(text, @r"
        ID  NAME        STATE
         7  Dana of t…  Failed
        12  [31mEve     Failed
        ");
    }

    #[test]
    fn a_very_narrow_screen_leaves_out_by_rank() {
        const EXPENDABLE: [Column; 3] =
            [Column::fixed("A").expendable(1), Column::fixed("B").expendable(2), Column::fixed("C")];
        let row = [["aaaa", "bbbb", "cccc"].map(Cell::plain).to_vec()];
        let at = |width| table(&Screen { width, ..Screen::for_tests() }, &EXPENDABLE, &row);
        assert_eq!(at(16), "A     B     C\naaaa  bbbb  cccc\n");
        assert_eq!(at(15), "A     C\naaaa  cccc\n");
        assert_eq!(at(9), "C\ncccc\n");
        assert_eq!(at(3), "C\ncccc\n", "what is left is never cut");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let screen = Screen { colour: true, ..Screen::for_tests() };
        let text = table(&screen, &COLUMNS[..1], &[vec![Cell::new(Ink::Red, "7")]]);
        assert!(text.contains("\u{1b}["), "{text:?}");
    }
}
