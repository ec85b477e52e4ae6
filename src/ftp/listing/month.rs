//! Names of months in listings, in many languages.

/// English, used by nearly all servers.
const ENGLISH: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// Prefixes of names in other languages, without accents. Longer prefixes precede shorter ones.
///
/// Finnish `marras` is November, while in other languages the prefix means March. For Croatian,
/// only months without a Polish or Czech prefix are included, because its `lip` and `lis` differ
/// from theirs.
const BEGINNINGS: &[(&str, i8)] = &[
    ("marr", 11),
    ("juin", 6),
    ("juil", 7),
    ("rugp", 8),
    ("rugs", 9),
    // Dutch, German, French, Spanish, Italian, Portuguese, the Nordic languages, Hungarian.
    ("jan", 1),
    ("ene", 1),
    ("gen", 1),
    ("feb", 2),
    ("fev", 2),
    ("mar", 3),
    ("mrt", 3),
    ("mrz", 3),
    ("apr", 4),
    ("avr", 4),
    ("abr", 4),
    ("may", 5),
    ("mai", 5),
    ("maj", 5),
    ("mei", 5),
    ("mag", 5),
    ("jun", 6),
    ("giu", 6),
    ("jul", 7),
    ("lug", 7),
    ("aug", 8),
    ("aou", 8),
    ("ago", 8),
    ("sep", 9),
    ("set", 9),
    ("szept", 9),
    ("okt", 10),
    ("oct", 10),
    ("out", 10),
    ("ott", 10),
    ("nov", 11),
    ("dec", 12),
    ("dez", 12),
    ("des", 12),
    ("dic", 12),
    // Polish and Czech.
    ("sty", 1),
    ("led", 1),
    ("lut", 2),
    ("uno", 2),
    ("bre", 3),
    ("kwi", 4),
    ("dub", 4),
    ("kve", 5),
    ("cze", 6),
    ("cen", 6),
    ("cer", 6),
    ("cec", 7),
    ("lip", 7),
    ("sie", 8),
    ("srp", 8),
    ("wrz", 9),
    ("zar", 9),
    ("paz", 10),
    ("rij", 10),
    ("lis", 11),
    ("gru", 12),
    ("pro", 12),
    // Turkish.
    ("oca", 1),
    ("sub", 2),
    ("nis", 4),
    ("haz", 6),
    ("agu", 8),
    ("tem", 7),
    ("eyl", 9),
    ("eki", 10),
    ("kas", 11),
    ("ara", 12),
    // Russian.
    ("янв", 1),
    ("фев", 2),
    ("мар", 3),
    ("апр", 4),
    ("май", 5),
    ("мая", 5),
    ("июн", 6),
    ("июл", 7),
    ("авг", 8),
    ("сен", 9),
    ("окт", 10),
    ("ноя", 11),
    ("дек", 12),
    // Romanian, Catalan and Galician, Indonesian and Malay, Icelandic.
    ("ian", 1),
    ("iun", 6),
    ("iul", 7),
    ("noi", 11),
    ("xan", 1),
    ("xun", 6),
    ("xul", 7),
    ("ogo", 8),
    ("dis", 12),
    // Estonian, Lithuanian, Croatian and Slovenian.
    ("jaa", 1),
    ("vee", 2),
    ("juun", 6),
    ("juul", 7),
    ("det", 12),
    ("sau", 1),
    ("vas", 2),
    ("kov", 3),
    ("bal", 4),
    ("geg", 5),
    ("bir", 6),
    ("lie", 7),
    ("spa", 10),
    ("lap", 11),
    ("sij", 1),
    ("velj", 2),
    ("ozu", 3),
    ("tra", 4),
    ("svi", 5),
    ("kol", 8),
    ("ruj", 9),
    ("stu", 11),
    ("avg", 8),
    // Ukrainian, Bulgarian and Serbian.
    ("січ", 1),
    ("лют", 2),
    ("бер", 3),
    ("кві", 4),
    ("тра", 5),
    ("чер", 6),
    ("лип", 7),
    ("сер", 8),
    ("вер", 9),
    ("жов", 10),
    ("лис", 11),
    ("гру", 12),
    ("яну", 1),
    ("ян", 1),
    ("май", 5),
    ("юни", 6),
    ("юли", 7),
    ("сеп", 9),
    ("ное", 11),
    ("јан", 1),
    ("мај", 5),
    ("јун", 6),
    ("јул", 7),
    ("нов", 11),
    // Greek.
    ("ιαν", 1),
    ("φεβ", 2),
    ("μαρ", 3),
    ("απρ", 4),
    ("μαι", 5),
    ("ιουν", 6),
    ("ιουλ", 7),
    ("αυγ", 8),
    ("σεπ", 9),
    ("οκτ", 10),
    ("νοε", 11),
    ("δεκ", 12),
    // Finnish, which shares only the prefix `marras` with other languages.
    ("tammi", 1),
    ("helmi", 2),
    ("maalis", 3),
    ("huhti", 4),
    ("touko", 5),
    ("kes", 6),
    ("hein", 7),
    ("elo", 8),
    ("syys", 9),
    ("loka", 10),
    ("joulu", 12),
    // August in Catalan; other languages continue the prefix.
    ("ag", 8),
];

/// Parses the name of a month: `Nov`, `nov.`, `Dez`, `févr.` or `11月`.
pub(super) fn parse(word: &[u8]) -> Option<i8> {
    english(word).or_else(|| match digits_before_unit(word) {
        Some(digits) => super::words::number(digits).filter(|month| (1..=12).contains(month)),
        None => localised(word).or_else(|| in_numerals(word)),
    })
}

/// Returns the digits of a number followed by its unit, as in `11月`: not ASCII, in any charset.
pub(super) fn digits_before_unit(word: &[u8]) -> Option<&[u8]> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = word.split_at_checked(digits)?;
    let is_unit = !unit.is_empty() && unit.len() <= 4 && !unit.iter().any(u8::is_ascii);
    (is_unit && !digits.is_empty()).then_some(digits)
}

fn english(word: &[u8]) -> Option<i8> {
    let month = ENGLISH.iter().position(|m| m.eq_ignore_ascii_case(word))?;
    i8::try_from(month + 1).ok()
}

fn localised(word: &[u8]) -> Option<i8> {
    let name = plain(word)?;
    let first = name.as_bytes().first();
    let begins = |start: &str| start.as_bytes().first() == first && name.starts_with(start);
    let known = BEGINNINGS.iter().find(|(start, _)| begins(start));
    known.map(|(_, month)| *month)
}

/// Returns the word in lower case without accents or a final full stop. `None` if it is not made of
/// letters.
pub(super) fn plain(word: &[u8]) -> Option<String> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    if word.len() > 24 || word.iter().any(u8::is_ascii_digit) {
        return None;
    }
    if word.is_ascii() {
        let letters = word.iter().all(u8::is_ascii_alphabetic);
        return letters.then(|| String::from_utf8_lossy(word).to_ascii_lowercase());
    }
    let text = match std::str::from_utf8(word) {
        Ok(text) => text.to_lowercase(),
        // The bytes of Latin-1 are the first code points.
        Err(_) => word
            .iter()
            .flat_map(|byte| char::from(*byte).to_lowercase())
            .collect(),
    };
    let letters = text.chars().map(without_accent).collect::<String>();
    letters.chars().all(char::is_alphabetic).then_some(letters)
}

/// Numerals for months in Chinese, without the word for month.
const NUMERALS: [&str; 12] = [
    "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二",
];

/// Parses `十一月`.
fn in_numerals(word: &[u8]) -> Option<i8> {
    if word.is_ascii() {
        return None;
    }
    let name = std::str::from_utf8(word).ok()?.strip_suffix('月')?;
    let month = NUMERALS.iter().position(|numeral| *numeral == name)?;
    i8::try_from(month + 1).ok()
}

fn without_accent(letter: char) -> char {
    match letter {
        'á' | 'à' | 'â' | 'ä' | 'å' | 'ã' | 'ą' => 'a',
        'é' | 'è' | 'ê' | 'ě' | 'ë' | 'ę' | 'ė' => 'e',
        'í' | 'ì' | 'î' | 'ï' | 'ı' | 'į' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' => 'o',
        'ú' | 'ů' | 'û' | 'ü' | 'ù' | 'ū' | 'ű' => 'u',
        'ñ' | 'ń' | 'ň' => 'n',
        'ł' => 'l',
        'ț' | 'ţ' | 'ť' => 't',
        'ý' => 'y',
        'ά' => 'α',
        'έ' => 'ε',
        'ή' => 'η',
        'ί' | 'ϊ' | 'ΐ' => 'ι',
        'ό' => 'ο',
        'ύ' => 'υ',
        'č' | 'ç' | 'ć' => 'c',
        'ř' => 'r',
        'ş' | 'š' | 'ś' => 's',
        'ž' | 'ź' => 'z',
        'ğ' => 'g',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_month_is_known_in_the_common_languages() {
        for language in [
            "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
            "Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez",
            "janv. févr. mars avril mai juin juil. août sept. oct. nov. déc.",
            "ene feb mar abr may jun jul ago sep oct nov dic",
            "gen feb mar apr mag giu lug ago set ott nov dic",
            "jan fev mar abr mai jun jul ago set out nov dez",
            "jan feb mrt apr mei jun jul aug sep okt nov dec",
            "jan feb mars apr maj juni juli aug sep okt nov dec",
            "sty lut mar kwi maj cze lip sie wrz paź lis gru",
            "led úno bře dub kvě čen čec srp zář říj lis pro",
            "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara",
            "янв фев мар апр мая июн июл авг сен окт ноя дек",
            "1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月",
            "січ лют бер кві тра чер лип сер вер жов лис гру",
            "ян. февр. март апр. май юни юли авг. септ. окт. ноем. дек.",
            "Ιαν Φεβ Μαρ Απρ Μαΐ Ιουν Ιουλ Αυγ Σεπ Οκτ Νοε Δεκ",
            "ian feb mar apr mai iun iul aug sep oct noi dec",
            "jaan veebr märts apr mai juuni juuli aug sept okt nov dets",
            "gen. febr. març abr. maig juny jul. ag. set. oct. nov. des.",
            "jan. feb. mar. apr. maí jún. júl. ágú. sep. okt. nóv. des.",
            "jan. febr. márc. ápr. máj. jún. júl. aug. szept. okt. nov. dec.",
            "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月",
            "tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu",
        ] {
            let months: Vec<_> = language.split(' ').map(|m| parse(m.as_bytes())).collect();
            let expected: Vec<_> = (1..=12).map(Some).collect();
            assert_eq!(months, expected, "{language}");
        }
    }

    #[test]
    fn names_in_old_charsets_are_known() {
        assert_eq!(parse(b"M\xe4r"), Some(3));
        assert_eq!(parse(b"d\xe9c."), Some(12));
        assert_eq!(parse(b"11\xd4\xc2"), Some(11));
    }

    #[test]
    fn other_words_are_no_month() {
        for word in ["", ".", "x", "1", "12", "13月", "0月", "ja", "root", "2021"] {
            assert_eq!(parse(word.as_bytes()), None, "{word}");
        }
    }
}
