//! Slack's limits on blocks, from the Block Kit reference and the official SDK's own checks.

use serde_json::Value;

const MOST_BLOCKS: usize = 50;
const MOST_FIELDS: usize = 10;
const MOST_CONTEXT: usize = 10;
const MOST_ACTIONS: usize = 25;
const BLOCK_ID: usize = 255;
const HEADER: usize = 150;
const SECTION: usize = 3000;
const FIELD: usize = 2000;
const BUTTON: usize = 75;
const URL: usize = 3000;
const ACTION_ID: usize = 255;
const VALUE: usize = 2000;
const ALT_TEXT: usize = 2000;
const TITLE: usize = 2000;

/// What is wrong with `blocks`, in sentences like Slack's own; empty = nothing, also when there are none.
pub(super) fn problems(blocks: &Value) -> Vec<String> {
    let mut found = Problems::default();
    match blocks {
        Value::Null => {}
        Value::Array(blocks) => {
            found.require(blocks.len() <= MOST_BLOCKS, "/blocks", "no more than 50 items allowed");
            for (at, block) in blocks.iter().enumerate() {
                found.block(&format!("/blocks/{at}"), block);
            }
        }
        _ => found.require(false, "/blocks", "must be an array"),
    }
    found.0
}

/// Characters of all texts in `blocks`.
pub(super) fn characters(blocks: &Value) -> usize {
    match blocks {
        Value::Object(members) => {
            members.iter().map(|(name, value)| if name == "text" { length(value) } else { 0 } + characters(value)).sum()
        }
        Value::Array(members) => members.iter().map(characters).sum(),
        _ => 0,
    }
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn require(&mut self, holds: bool, place: &str, rule: &str) {
        if !holds {
            self.0.push(format!("[ERROR] {rule} [json-pointer:{place}]"));
        }
    }

    fn block(&mut self, place: &str, block: &Value) {
        if !block["block_id"].is_null() {
            self.string(place, block, "block_id", 1, BLOCK_ID);
        }
        match block["type"].as_str() {
            Some("header") => self.text(&format!("{place}/text"), &block["text"], HEADER, false),
            Some("section") => self.section(place, block),
            Some("context") => self.each(place, block, "elements", MOST_CONTEXT, Self::context_element),
            Some("actions") => self.each(place, block, "elements", MOST_ACTIONS, Self::button),
            Some("image") => self.image(place, block),
            Some("divider" | "rich_text") => {}
            Some(other) => self.require(false, place, &format!("unsupported type: {other}")),
            None => self.require(false, place, "missing required field: type"),
        }
    }

    fn section(&mut self, place: &str, block: &Value) {
        let (text, fields) = (&block["text"], &block["fields"]);
        self.require(!text.is_null() || !fields.is_null(), place, "missing required field: text or fields");
        if !text.is_null() {
            self.text(&format!("{place}/text"), text, SECTION, true);
        }
        if !fields.is_null() {
            self.each(place, block, "fields", MOST_FIELDS, |this, place, field| this.text(place, field, FIELD, true));
        }
        let accessory = &block["accessory"];
        let place = format!("{place}/accessory");
        match accessory["type"].as_str() {
            Some("button") => self.button(&place, accessory),
            Some("image") => self.image(&place, accessory),
            _ => self.require(accessory.is_null(), &place, "unsupported type"),
        }
    }

    fn each(&mut self, place: &str, block: &Value, name: &str, most: usize, check: impl Fn(&mut Self, &str, &Value)) {
        let place = format!("{place}/{name}");
        let members = block[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let fits = (1..=most).contains(&members.len());
        self.require(fits, &place, &format!("must have 1 to {most} items"));
        for (at, member) in members.iter().enumerate() {
            check(self, &format!("{place}/{at}"), member);
        }
    }

    fn context_element(&mut self, place: &str, element: &Value) {
        match element["type"].as_str() {
            Some("image") => self.image(place, element),
            _ => self.text(place, element, SECTION, true),
        }
    }

    fn button(&mut self, place: &str, button: &Value) {
        self.require(button["type"] == "button", place, "unsupported type");
        self.text(&format!("{place}/text"), &button["text"], BUTTON, false);
        for (name, most) in [("url", URL), ("action_id", ACTION_ID), ("value", VALUE)] {
            if !button[name].is_null() {
                self.string(place, button, name, 1, most);
            }
        }
    }

    fn image(&mut self, place: &str, image: &Value) {
        self.string(place, image, "image_url", 1, URL);
        self.string(place, image, "alt_text", 1, ALT_TEXT);
        if !image["title"].is_null() {
            self.text(&format!("{place}/title"), &image["title"], TITLE, false);
        }
    }

    /// A text object. Slack counts characters, not bytes.
    fn text(&mut self, place: &str, text: &Value, most: usize, mrkdwn_allowed: bool) {
        let kind = text["type"].as_str();
        let kind_fits = kind == Some("plain_text") || (mrkdwn_allowed && kind == Some("mrkdwn"));
        self.require(kind_fits, place, if mrkdwn_allowed { "must be a text object" } else { "must be plain_text" });
        self.string(place, text, "text", 1, most);
        self.require(text["verbatim"].is_null() || kind == Some("mrkdwn"), place, "verbatim is for mrkdwn only");
        self.require(text["emoji"].is_null() || kind == Some("plain_text"), place, "emoji is for plain_text only");
    }

    fn string(&mut self, place: &str, object: &Value, name: &str, least: usize, most: usize) {
        let fits = object[name].is_string() && (least..=most).contains(&length(&object[name]));
        self.require(fits, &format!("{place}/{name}"), &format!("must be a string of {least} to {most} characters"));
    }
}

fn length(text: &Value) -> usize {
    text.as_str().map_or(0, |text| text.chars().count())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(text: &str) -> Value {
        json!({"type": "plain_text", "text": text})
    }

    fn mrkdwn(text: &str) -> Value {
        json!({"type": "mrkdwn", "text": text, "verbatim": true})
    }

    #[test]
    fn a_good_message_has_no_problems() {
        let button = json!({"type": "button", "text": plain("Open"), "url": "https://example.com", "action_id": "a"});
        let blocks = json!([
            {"type": "header", "text": plain(&"ä".repeat(150))},
            {"type": "section", "text": mrkdwn(&"x".repeat(3000))},
            {"type": "section", "fields": vec![plain("x"); 10], "accessory": button},
            {"type": "divider", "block_id": "b"},
            {"type": "context", "elements": [mrkdwn("x"), plain("y")]},
            {"type": "actions", "elements": [button]},
        ]);
        assert_eq!(problems(&blocks), Vec::<String>::new());
        assert_eq!(problems(&Value::Null), Vec::<String>::new());
        assert_eq!(characters(&blocks), 150 + 3000 + 10 + 4 + 2 + 4);
    }

    #[test]
    fn each_limit_is_held() {
        let broken = [
            json!({"text": "no type"}),
            json!({"type": "header", "text": mrkdwn("x")}),
            json!({"type": "header", "text": plain(&"x".repeat(151))}),
            json!({"type": "section"}),
            json!({"type": "section", "text": mrkdwn("")}),
            json!({"type": "section", "text": mrkdwn(&"x".repeat(3001))}),
            json!({"type": "section", "fields": vec![plain("x"); 11]}),
            json!({"type": "section", "fields": [plain(&"x".repeat(2001))]}),
            json!({"type": "section", "text": {"type": "plain_text", "text": "x", "verbatim": true}}),
            json!({"type": "context", "elements": []}),
            json!({"type": "context", "elements": vec![plain("x"); 11]}),
            json!({"type": "actions", "elements": [{"type": "button", "text": plain(&"x".repeat(76))}]}),
            json!({"type": "image", "image_url": "https://example.com/a.png"}),
            json!({"type": "divider", "block_id": "x".repeat(256)}),
        ];
        for block in broken {
            assert_eq!(problems(&json!([block])).len(), 1, "{block}");
        }
        assert_eq!(problems(&json!(vec![json!({"type": "divider"}); 51])).len(), 1);
        assert_eq!(problems(&json!("divider")).len(), 1);
    }
}
