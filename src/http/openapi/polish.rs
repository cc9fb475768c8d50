//! What poem-openapi writes, in the form that readers and generators know best.

use serde_json::Value;

use super::node::Node;

/// Of the groups of operations.
const ORDER: &[&str] = &["Calls", "Actions", "Kpi", "Events", "Keys"];
const SCHEMA: &str = "#/components/schemas/";

/// Polishes a document.
pub fn polish(document: &mut Node) {
    name_answers(document);
    walk(document);
    // As readers need them, not by the alphabet.
    if let Some(Node::List(groups)) = document.get_mut("tags") {
        groups.sort_by_key(|group| ORDER.iter().position(|name| group.get("name").and_then(Node::text) == Some(name)));
    }
}

/// An answer without a description has that of what is in it.
fn name_answers(document: &mut Node) {
    let schemas = document.get("components").and_then(|components| components.get("schemas")).cloned();
    let described = |answer: &Node| {
        let (_, content) = answer.get("content")?.fields().first()?;
        let name = content.get("schema")?.get("$ref")?.text()?.strip_prefix(SCHEMA)?;
        schemas.as_ref()?.get(name)?.get("description").cloned()
    };
    for (_, operations) in document.entry("paths").fields_mut() {
        for (_, operation) in operations.fields_mut() {
            for (_, answer) in operation.entry("responses").fields_mut() {
                if answer.get("description").and_then(Node::text) == Some("")
                    && let Some(description) = described(answer)
                {
                    answer.set("description", description);
                }
            }
        }
    }
}

fn walk(node: &mut Node) {
    // No parameter is a list, and what is not deprecated need not say so.
    if node.get("in").is_some() {
        node.remove("explode");
    }
    if node.get("deprecated") == Some(&Node::Leaf(false.into())) {
        node.remove("deprecated");
    }
    // The description stands beside `allOf` too.
    if node.get("description").is_some()
        && let Some(Node::List(parts)) = node.get_mut("allOf")
    {
        parts.retain(|part| part.get("$ref").is_some());
    }
    for (name, inside) in node.fields_mut() {
        match (name.as_str(), inside.text()) {
            ("description", Some(text)) => *inside = Node::Leaf(unwrapped(text).into()),
            ("minimum" | "maximum", None) => be_whole(inside),
            _ => walk(inside),
        }
    }
    if let Node::List(items) = node {
        items.iter_mut().for_each(walk);
    }
}

/// The lines of a comment in the code are none of the text; its paragraphs are.
fn unwrapped(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

/// 200, not 200.0.
#[expect(clippy::cast_possible_truncation, reason = "checked")]
fn be_whole(number: &mut Node) {
    if let Node::Leaf(Value::Number(limit)) = number
        && let Some(limit) = limit.as_f64().filter(|limit| limit.fract() == 0.0 && limit.abs() < 1e15)
    {
        *number = Node::Leaf((limit as i64).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_well() {
        let rough = r##"{"parameters":[{"in":"query","schema":{"maximum":200.0,"minimum":0.5},"deprecated":false,
            "explode":true}],"a":{"allOf":[{"$ref":"#/b"},{"description":"x"}],"description":"One\nline.\n\nTwo."}}"##;
        let mut document: Node = serde_json::from_str(rough).unwrap();
        polish(&mut document);
        let polished = r#"{"parameters":[{"in":"query","schema":{"maximum":200,"minimum":0.5}}],"#.to_owned()
            + r##""a":{"allOf":[{"$ref":"#/b"}],"description":"One line.\n\nTwo."}}"##;
        document.remove("paths");
        assert_eq!(serde_json::to_string(&document).unwrap(), polished);
    }
}
