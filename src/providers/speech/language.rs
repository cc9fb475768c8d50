//! Languages as codes: `OpenAI` answers with names, other servers with codes.

/// Names that Whisper uses, with their ISO 639-1 codes.
const NAMES: [(&str, &str); 60] = [
    ("afrikaans", "af"),
    ("arabic", "ar"),
    ("armenian", "hy"),
    ("azerbaijani", "az"),
    ("belarusian", "be"),
    ("bosnian", "bs"),
    ("bulgarian", "bg"),
    ("castilian", "es"),
    ("catalan", "ca"),
    ("chinese", "zh"),
    ("croatian", "hr"),
    ("czech", "cs"),
    ("danish", "da"),
    ("dutch", "nl"),
    ("english", "en"),
    ("estonian", "et"),
    ("finnish", "fi"),
    ("flemish", "nl"),
    ("french", "fr"),
    ("galician", "gl"),
    ("german", "de"),
    ("greek", "el"),
    ("hebrew", "he"),
    ("hindi", "hi"),
    ("hungarian", "hu"),
    ("icelandic", "is"),
    ("indonesian", "id"),
    ("italian", "it"),
    ("japanese", "ja"),
    ("kannada", "kn"),
    ("kazakh", "kk"),
    ("korean", "ko"),
    ("latvian", "lv"),
    ("lithuanian", "lt"),
    ("macedonian", "mk"),
    ("malay", "ms"),
    ("mandarin", "zh"),
    ("maori", "mi"),
    ("marathi", "mr"),
    ("nepali", "ne"),
    ("norwegian", "no"),
    ("persian", "fa"),
    ("polish", "pl"),
    ("portuguese", "pt"),
    ("romanian", "ro"),
    ("russian", "ru"),
    ("serbian", "sr"),
    ("slovak", "sk"),
    ("slovenian", "sl"),
    ("spanish", "es"),
    ("swahili", "sw"),
    ("swedish", "sv"),
    ("tagalog", "tl"),
    ("tamil", "ta"),
    ("thai", "th"),
    ("turkish", "tr"),
    ("ukrainian", "uk"),
    ("urdu", "ur"),
    ("vietnamese", "vi"),
    ("welsh", "cy"),
];

/// The code of a language told as a name ("english") or as a code ("en", "en-US"); `None` for anything else.
pub(super) fn code(language: &str) -> Option<String> {
    let language = language.trim().to_lowercase();
    if let Some((_, code)) = NAMES.iter().find(|(name, _)| *name == language) {
        return Some((*code).to_owned());
    }
    let code = language.split(['-', '_']).next().unwrap_or_default();
    (code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_lowercase())).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("english", Some("en"))]
    #[case("German", Some("de"))]
    #[case("en", Some("en"))]
    #[case("pt-BR", Some("pt"))]
    #[case("klingon", None)]
    #[case("", None)]
    fn names_and_codes(#[case] language: &str, #[case] expected: Option<&str>) {
        assert_eq!(code(language).as_deref(), expected);
    }
}
