//! Slack's `mrkdwn` as spans of text, so that a template can escape and draw them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Code first, since nothing counts within; then control sequences; then the marks.
static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?s)```(?<block>.+?)```|(?-s)`(?<code>[^`\n]+)`|<(?<control>[^<>\n]+)>|\*(?<bold>[^*\n]+)\*|_(?<italic>[^_\n]+)_|~(?<strike>[^~\n]+)~",
    )
    .expect("a constant")
});

/// A stretch of text that looks the same all over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// With Slack's three entities decoded; not yet escaped for HTML.
    pub(super) text: String,
    /// Classes of the style sheet, joined by blanks: bold, italic, strike, code, block, mention.
    pub(super) style: String,
    /// Where it leads; http, https and mailto only.
    pub(super) link: Option<String>,
}

/// Text that is shown as it is.
pub(super) fn plain(text: &str) -> Vec<Span> {
    vec![span(text, "", None)]
}

/// Text with marks.
pub(super) fn spans(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    scan(text, "", &mut found);
    found
}

fn scan(text: &str, style: &str, found: &mut Vec<Span>) {
    let (mut shown, mut from) = (0, 0);
    while let Some(mark) = MARKS.captures_at(text, from) {
        let whole = mark.get(0).expect("group 0 is the match");
        if !stands_alone(text, &mark) {
            // Not a mark after all: the sign itself may still be followed by one.
            from = whole.start() + 1;
            continue;
        }
        push(&text[shown..whole.start()], style, None, found);
        draw(&mark, style, found);
        (shown, from) = (whole.end(), whole.end());
    }
    push(&text[shown..], style, None, found);
}

/// `*`, `_` and `~` count at the edges of words only: `snake_case` is not italic, and marks hug their text.
fn stands_alone(text: &str, mark: &Captures<'_>) -> bool {
    let Some(inner) = ["bold", "italic", "strike"].iter().find_map(|name| mark.name(name)) else { return true };
    let whole = mark.get(0).expect("group 0 is the match");
    let before = text[..whole.start()].chars().next_back();
    let after = text[whole.end()..].chars().next();
    let in_word = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
    !in_word(before) && !in_word(after) && inner.as_str().trim() == inner.as_str()
}

fn draw(mark: &Captures<'_>, style: &str, found: &mut Vec<Span>) {
    let group = |name| mark.name(name).map(|group| group.as_str());
    if let Some(code) = group("block") {
        push(code.trim_matches('\n'), "block", None, found);
    } else if let Some(code) = group("code") {
        push(code, &join(style, "code"), None, found);
    } else if let Some(control) = group("control") {
        draw_control(control, style, found);
    } else {
        for name in ["bold", "italic", "strike"] {
            if let Some(inner) = group(name) {
                scan(inner, &join(style, name), found);
            }
        }
    }
}

/// `<URL|label>`, `<@U1>`, `<#C1|name>`, `<!here>`: what Slack would make of what stands in angle brackets.
fn draw_control(control: &str, style: &str, found: &mut Vec<Span>) {
    let (target, label) = control.split_once('|').unwrap_or((control, ""));
    let shown = if label.is_empty() { target } else { label };
    let mention = join(style, "mention");
    match target.chars().next() {
        Some('!') => push(&format!("@{}", shown.trim_start_matches('!')), &mention, None, found),
        Some('@') => push(&format!("@{}", shown.trim_start_matches('@')), &mention, None, found),
        Some('#') => push(&format!("#{}", shown.trim_start_matches('#')), &mention, None, found),
        _ => push(shown, style, safe_link(target), found),
    }
}

/// The target, if following it can run nothing.
pub(super) fn safe_link(target: &str) -> Option<String> {
    let target = decode(target);
    let url = url::Url::parse(&target).ok()?;
    ["http", "https", "mailto"].contains(&url.scheme()).then_some(target)
}

fn push(text: &str, style: &str, link: Option<String>, found: &mut Vec<Span>) {
    if !text.is_empty() {
        found.push(span(text, style, link));
    }
}

fn span(text: &str, style: &str, link: Option<String>) -> Span {
    Span { text: decode(text), style: style.to_owned(), link }
}

fn join(outer: &str, inner: &str) -> String {
    format!("{outer} {inner}").trim_start().to_owned()
}

fn decode(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans as `text{style}` or `text(link)`.
    fn drawn(text: &str) -> String {
        let draw = |Span { text, style, link }: Span| match (style.is_empty(), link) {
            (_, Some(link)) => format!("{text}({link})"),
            (true, None) => text,
            (false, None) => format!("{text}{{{style}}}"),
        };
        spans(text).into_iter().map(draw).collect()
    }

    #[test]
    fn marks_become_styles() {
        assert_eq!(
            drawn("*bold* and _it *both*_ ~no~ `a*b*`"),
            "bold{bold} and it {italic}both{italic bold} no{strike} a*b*{code}"
        );
        assert_eq!(drawn("```\na\n*b*\n```"), "a\n*b*{block}");
    }

    #[test]
    fn signs_within_words_are_signs() {
        assert_eq!(
            drawn("snake_case_name 2*3*4 * not bold * 5 _x_y *z*"),
            "snake_case_name 2*3*4 * not bold * 5 _x_y z{bold}"
        );
    }

    #[test]
    fn control_sequences_become_links_and_mentions() {
        assert_eq!(drawn("<https://a.example/?x=1&amp;y=2|the call>"), "the call(https://a.example/?x=1&y=2)");
        assert_eq!(drawn("<!channel> <@U1> <#C1|calls>"), "@channel{mention} @U1{mention} #calls{mention}");
        assert_eq!(drawn("<javascript:alert(1)|x>"), "x");
    }

    #[test]
    fn escaped_text_stays_text() {
        assert_eq!(drawn("&lt;!channel&gt; &amp;amp; a &lt; b"), "<!channel> &amp; a < b");
    }
}
