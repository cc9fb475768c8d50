//! Speech to text: an OpenAI-compatible `/audio/transcriptions`.
