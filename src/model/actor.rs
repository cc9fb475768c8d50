//! Who acts.

/// A person or program that does something to jobs and steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// As shown to others: `dana@desk` at the command line, the name of an API key at the API.
    pub name: String,
    /// Of the API's request.
    pub request_id: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
}

impl Actor {
    /// Somebody who types commands.
    pub fn at_terminal(name: impl Into<String>) -> Self {
        Self { name: name.into(), request_id: None, address: None }
    }
}
