//! CSV (RFC 4180), streamed, and harmless in a spreadsheet.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use poem::{Body, IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry};

use crate::model::plain::turns;

/// Tells old spreadsheets that the file is UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// What begins so is a formula to a spreadsheet (OWASP ASVS 5.0, V1.2.10).
const FORMULA: [char; 4] = ['=', '+', '-', '@'];
/// What some spreadsheets take for the end of a cell, in a cell of ours too: their list separator is a setting (OWASP, CSV
/// Injection).
const ENDS: [char; 4] = [';', '\t', '\r', '\n'];

/// A file of lines that are made while it is sent.
pub struct Csv {
    file_name: &'static str,
    body: Body,
}

impl Csv {
    /// `lines` are made by [`line()`], many in one piece. An error breaks the answer off, which its reader notices.
    pub fn new(
        file_name: &'static str,
        with_mark: bool,
        lines: impl Stream<Item = io::Result<String>> + Send + 'static,
    ) -> Self {
        let mark = with_mark.then(|| Ok(BYTE_ORDER_MARK.to_owned()));
        let pieces = stream::iter(mark).chain(lines).map(|piece| piece.map(Bytes::from));
        Self { file_name, body: Body::from_bytes_stream(pieces) }
    }
}

/// One line, with its end. What a spreadsheet would take for a formula gets a `'` in front of it.
pub fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = cells.into_iter().map(cell).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// Without what turns the direction of writing: a cell is to be what it looks like.
fn cell(text: &str) -> String {
    let text = harmless(&text.replace(is_hidden, ""));
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Turns the direction of writing, or controls something, without being a line break or a tabulator.
fn is_hidden(c: char) -> bool {
    turns(c) || (c.is_control() && !matches!(c, '\t' | '\r' | '\n'))
}

/// May stand before a formula without being a part of it.
fn leads(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\u{200B}' | '\u{FEFF}')
}

fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len() + 1);
    // A cell that begins with such a character is dangerous by itself.
    if text.starts_with(ENDS) {
        harmless.push('\'');
    }
    let mut begins = true;
    for next in text.chars() {
        if begins && FORMULA.contains(&next) {
            harmless.push('\'');
        }
        begins = ENDS.contains(&next) || (begins && leads(next));
        harmless.push(next);
    }
    harmless
}

impl Payload for Csv {
    const CONTENT_TYPE: &'static str = "text/csv";

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }
}

impl IntoResponse for Csv {
    fn into_response(self) -> Response {
        Response::builder()
            .content_type("text/csv; charset=utf-8; header=present")
            .header("content-disposition", format!("attachment; filename=\"{}\"", self.file_name))
            .body(self.body)
    }
}

impl ApiResponse for Csv {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Lines as in RFC 4180; the first one names the columns.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("plain", "plain")]
    #[case("", "")]
    #[case("a, b", "\"a, b\"")]
    #[case("say \"hi\"", "\"say \"\"hi\"\"\"")]
    #[case("two\nlines", "\"two\nlines\"")]
    #[case("=SUM(A1)", "'=SUM(A1)")]
    #[case("+15550100002", "'+15550100002")]
    #[case("-1", "'-1")]
    #[case("@x", "'@x")]
    #[case("\t=1", "'\t'=1")]
    #[case("\r\n=1", "\"'\r\n'=1\"")]
    #[case("x;=cmd|'/C calc'!A0", "x;'=cmd|'/C calc'!A0")]
    #[case("x; \"=1", "\"x; \"\"'=1\"")]
    #[case("x\t-1", "x\t'-1")]
    #[case("x\n @y", "\"x\n '@y\"")]
    #[case(" =1", " '=1")]
    #[case("\u{FEFF}\u{2003}=1", "\u{FEFF}\u{2003}'=1")]
    #[case("\u{202E}gnp.exe\u{7}", "gnp.exe")]
    #[case("\u{202E}=1", "'=1")]
    #[case("billing; a - b; 1+1", "billing; a - b; 1+1")]
    #[case("=A1,\"x\"", "\"'=A1,\"\"x\"\"\"")]
    fn cells_are_quoted_and_no_formulas(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(cell(text), expected);
    }

    #[test]
    fn lines_end_as_the_rfc_says() {
        assert_eq!(line(["a", "b,c", ""]), "a,\"b,c\",\r\n");
    }
}
