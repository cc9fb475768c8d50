//! The language model: where it is, and what it understands.

use secrecy::SecretString;
use url::Url;

use super::OPENAI_HOST;

/// `ANALYSIS_TOKEN_LIMIT_FIELD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimitField {
    /// `max_completion_tokens`: `OpenAI`.
    MaxCompletionTokens,
    /// `max_tokens`: Ollama and old servers.
    MaxTokens,
}

/// `ANALYSIS_STRUCTURED_OUTPUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuredOutput {
    /// Strict schema, enforced by the server.
    JsonSchema,
    /// Any JSON object.
    JsonObject,
    /// Asked for in the prompt only.
    Prompt,
}

impl StructuredOutput {
    /// The word in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::Prompt => "prompt",
        }
    }
}

/// `ANALYSIS_BASE_URL`, `ANALYSIS_API_KEY` (else `OPENAI_API_KEY`), `ANALYSIS_MODEL`, `ANALYSIS_TOKEN_LIMIT_FIELD`,
/// `ANALYSIS_STRUCTURED_OUTPUT`, `ANALYSIS_MAX_INPUT_TOKENS`.
#[derive(Debug, Clone)]
pub struct AnalysisConfig {
    /// Joined with `/chat/completions`.
    pub base_url: Url,
    /// `None` sends no header; then the step waits if the server is OpenAI's own.
    pub api_key: Option<SecretString>,
    /// Model name, passed on as it is.
    pub model: String,
    /// How the server calls its token limit.
    pub token_limit_field: TokenLimitField,
    /// How the server is asked for JSON; where it does not know this form, a simpler one is used.
    pub structured_output: StructuredOutput,
    /// Longest question in tokens, as estimated; a longer transcript is analyzed in parts.
    pub max_input_tokens: usize,
}

impl AnalysisConfig {
    /// Whether the step has to wait: the server is OpenAI's own and there is no key for it.
    pub fn lacks_key(&self) -> bool {
        self.api_key.is_none() && self.base_url.host_str() == Some(OPENAI_HOST)
    }
}
