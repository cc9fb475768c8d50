//! The language model: an OpenAI-compatible `/chat/completions`.
