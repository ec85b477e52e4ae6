//! Abbreviated days of the week in listings.

/// Prefixes of names in English, German, Dutch, French, Italian, Spanish, Portuguese, the Nordic
/// languages, Polish, Czech, Hungarian, Turkish and Russian, in lower case without accents.
const BEGINNINGS: &[&str] = &[
    "sun", "mon", "tue", "wed", "thu", "fri", "sat", "son", "mo", "di", "mi", "do", "fr", "sa",
    "so", "zo", "ma", "wo", "vr", "za", "dim", "lun", "mar", "mer", "jeu", "ven", "sam", "gio",
    "sab", "dom", "mie", "jue", "vie", "seg", "ter", "qua", "qui", "sex", "son", "tis", "tir",
    "ons", "tor", "lor", "fre", "nie", "pon", "pn", "wt", "sr", "sro", "czw", "pi", "pt", "sob",
    "ne", "po", "ut", "st", "ct", "pa", "vas", "het", "ked", "sze", "csu", "pen", "szo", "paz",
    "pzt", "sal", "car", "per", "cum", "cmt", "вс", "пн", "вт", "ср", "чт", "пт", "сб", "su", "ti",
    "ke", "to", "pe", "la",
];

/// Maximum length of a name in bytes.
const MAX_LENGTH: usize = 24;

/// Whether the word can be a day of the week; the caller checks what follows.
pub(super) fn is_one(word: &[u8]) -> bool {
    let word = word.strip_suffix(b",").unwrap_or(word);
    let Some(name) = super::month::plain(word).filter(|name| name.len() <= MAX_LENGTH) else {
        return false;
    };
    let first = name.as_bytes().first();
    let begins = |start: &str| start.as_bytes().first() == first && name.starts_with(start);
    BEGINNINGS.iter().any(|start| begins(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_known_in_the_common_languages() {
        for day in [
            "Sat",
            "Mon,",
            "So.",
            "mié.",
            "søn.",
            "Çar",
            "ср",
            "Wednesday",
            "lör",
            "pią",
        ] {
            assert!(is_one(day.as_bytes()), "{day}");
        }
        for other in ["", "x", "7", "root", "2020"] {
            assert!(!is_one(other.as_bytes()), "{other}");
        }
    }
}
