//! JSON whose fields keep their order, which the document's readers see. (`serde_json::Value` sorts them, and its switch
//! would turn the order of every other JSON of the product.)

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

/// A piece of JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Fields in their order.
    Object(Vec<(String, Node)>),
    /// Items.
    List(Vec<Node>),
    /// Anything else.
    Leaf(Value),
}

impl Node {
    /// The field of an object.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.fields().iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// The field of an object, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.fields_mut().iter_mut().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// The field of an object, which is made if it is not there.
    pub fn entry(&mut self, name: &str) -> &mut Node {
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(fields) = self else { unreachable!("made above") };
        let index = fields.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            fields.push((name.to_owned(), Self::Leaf(Value::Null)));
            fields.len() - 1
        });
        &mut fields[index].1
    }

    /// Sets a field of an object.
    pub fn set(&mut self, name: &str, value: impl Into<Node>) {
        *self.entry(name) = value.into();
    }

    /// Takes a field out of an object; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Self::Object(fields) = self else { return false };
        let before = fields.len();
        fields.retain(|(known, _)| known != name);
        fields.len() < before
    }

    /// Adds an item to a list, which is made if it is not there.
    pub fn push(&mut self, value: impl Into<Node>) {
        if !matches!(self, Self::List(_)) {
            *self = Self::List(Vec::new());
        }
        if let Self::List(items) = self {
            items.push(value.into());
        }
    }

    /// The fields of an object.
    pub fn fields(&self) -> &[(String, Node)] {
        if let Self::Object(fields) = self { fields } else { &[] }
    }

    /// The fields of an object.
    pub fn fields_mut(&mut self) -> &mut [(String, Node)] {
        if let Self::Object(fields) = self { fields } else { &mut [] }
    }

    /// The items of the list in a field of an object; none if it is not there.
    pub fn items_of(&mut self, name: &str) -> &mut [Node] {
        match self.get_mut(name) {
            Some(Self::List(items)) => items,
            _ => &mut [],
        }
    }

    /// The items of a list.
    pub fn items(&self) -> &[Node] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The text of a leaf.
    pub fn text(&self) -> Option<&str> {
        if let Self::Leaf(value) = self { value.as_str() } else { None }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            leaf => Self::Leaf(leaf),
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, node)| (name, node))),
            Self::List(items) => serializer.collect_seq(items),
            Self::Leaf(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Leaf(text.into()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        let text = r#"{"b":[1,-2,0.5,null],"a":{"z":true,"y":"x"}}"#;
        let mut node: Node = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), text);
        node.entry("a").set("y", Value::from(1));
        node.entry("c").push(Value::from(2));
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"b":[1,-2,0.5,null],"a":{"z":true,"y":1},"c":[2]}"#);
        assert_eq!((node.get("c").unwrap().items().len(), node.get("d")), (1, None));
    }
}
