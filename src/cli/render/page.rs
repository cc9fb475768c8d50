//! A page about one thing: a title, sections, facts and wrapped text.

use super::text::{clean, command_lines, truncate, width_of, wrap};
use super::{Ink, Screen};

/// How far everything below a heading is indented.
const INDENT: usize = 2;

/// Grows line by line; no line is wider than the screen. All text given to it is cleaned of control characters.
pub struct Page<'a> {
    screen: &'a Screen,
    out: String,
}

impl<'a> Page<'a> {
    /// An empty page.
    pub fn new(screen: &'a Screen) -> Self {
        Self { screen, out: String::new() }
    }

    /// Title at the left, state at the right.
    pub fn title(&mut self, title: &str, state: (Ink, &str)) {
        self.pair("", (Ink::Bold, title), state);
    }

    /// A heading after an empty line.
    pub fn section(&mut self, name: &str) {
        self.gap();
        self.push(0, Ink::Bold, &clean(name));
    }

    /// `name  value`, the value wrapped under itself.
    pub fn fact(&mut self, name: &str, value: &str) {
        self.hanging(&format!("{name:<11} "), Ink::Plain, value);
    }

    /// A row: left as long as there is room, right at the edge. The prefix, of our own making, stays as it is.
    pub fn row(&mut self, prefix: &str, left: (Ink, &str), right: (Ink, &str)) {
        self.pair(&format!("{}{prefix}", " ".repeat(INDENT)), left, right);
    }

    /// Wrapped text, indented by so many columns.
    pub fn text(&mut self, indent: usize, ink: Ink, text: &str) {
        let text = clean(text);
        for line in wrap(&text, self.screen.width.saturating_sub(indent)) {
            self.push(indent, ink, &line);
        }
    }

    /// Wrapped text after a prefix, its later lines under the first one's text.
    pub fn hanging(&mut self, prefix: &str, ink: Ink, text: &str) {
        let (text, under) = (clean(text), INDENT + width_of(prefix));
        for (index, line) in wrap(&text, self.screen.width.saturating_sub(under)).iter().enumerate() {
            let before = if index == 0 { prefix.to_owned() } else { " ".repeat(width_of(prefix)) };
            let line = format!("{}{before}{}", " ".repeat(INDENT), self.screen.paint(ink, line));
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }

    /// A command of this program to be typed (`calls list`); a long one goes on after a backslash, so that it can be
    /// copied as it stands. No word of it is ever broken: one that does not fit is left to the terminal.
    pub fn command(&mut self, arguments: &str) {
        let (first, more) = (INDENT + 2, INDENT + 4);
        let command = self.screen.typed(arguments);
        let lines = command_lines(&command, self.screen.width.saturating_sub(more + 2));
        for (index, line) in lines.iter().enumerate() {
            let goes_on = if index + 1 < lines.len() { " \\" } else { "" };
            let indent = if index == 0 { first } else { more };
            // A long id gets the whole width.
            let indent = indent.min(self.screen.width.saturating_sub(width_of(line) + goes_on.len()));
            self.push(indent, Ink::Bold, &format!("{line}{goes_on}"));
        }
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.out.push('\n');
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.out
    }

    fn pair(&mut self, prefix: &str, left: (Ink, &str), right: (Ink, &str)) {
        let room = self.screen.width.saturating_sub(width_of(prefix));
        // The right side may have what the left one leaves.
        let most = room.saturating_sub(width_of(&clean(left.1)) + 2).max(room / 2);
        let right_text = truncate(&clean(right.1), most);
        let gap = if right_text.is_empty() { 0 } else { 2 };
        let left_text = truncate(&clean(left.1), room.saturating_sub(width_of(&right_text) + gap));
        let fill = room.saturating_sub(width_of(&left_text) + width_of(&right_text));
        let (left, right) = (self.screen.paint(left.0, &left_text), self.screen.paint(right.0, &right_text));
        let line = format!("{prefix}{left}{}{right}", " ".repeat(fill));
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn push(&mut self, indent: usize, ink: Ink, line: &str) {
        self.out.push_str(&" ".repeat(indent));
        self.out.push_str(&self.screen.paint(ink, line));
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_words_whole() {
        let screen = Screen { width: 40, flags: " --data-dir 'my  dir'".to_owned(), ..Screen::for_tests() };
        let mut page = Page::new(&screen);
        page.command("calls show 01980000-0000-7000-8000-000000000001");
        insta::assert_snapshot!(page.finish(), @r"
            goto-automation calls show \
          01980000-0000-7000-8000-000000000001 \
              --data-dir 'my  dir'
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let screen = Screen { width: 40, ..Screen::for_tests() };
        let mut page = Page::new(&screen);
        page.title(&"A very long name ".repeat(5), (Ink::Red, "Failed"));
        page.section("Summary");
        page.fact("Recording", "Somewhere, in a store whose name is so long that it does not fit");
        page.text(4, Ink::Grey, &"x".repeat(100));
        insta::assert_snapshot!(page.finish(), @r"
        A very long name A very long na…  Failed

        Summary
          Recording   Somewhere, in a store
                      whose name is so long that
                      it does not fit
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            xxxxxxxxxxxxxxxxxxxxxxxxxxxx
        ");
    }
}
