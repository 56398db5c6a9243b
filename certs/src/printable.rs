//! Text that nodes log and people read: names of organisations and approval ids.
//!
//! A name that holds a line break forges a line of a log, one that holds a right-to-left override reads as another
//! name. So: no control characters, no format characters that are invisible or reorder, no separators of lines.

/// Whether `text` is not empty, has at most `most` characters, all of them visible or plain spaces, none of these at
/// either end.
pub(crate) fn is_printable(text: &str, most: usize) -> bool {
    !text.is_empty()
        && text.chars().count() <= most
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && text
            .chars()
            .all(|c| c == ' ' || !(c.is_control() || c.is_whitespace() || is_invisible(c)))
}

/// Format characters (Unicode category Cf) that show nothing or change the direction of what follows, and the
/// private-use and unassigned planes' tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_printable() {
        for good in ["a", "Charité Berlin", "病院 7", "read-01J8…", "x y"] {
            assert!(is_printable(good, 64), "{good}");
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\0",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{2028}b",
            "a\tb",
            "\u{feff}a",
            "\u{85}",
        ] {
            assert!(!is_printable(bad, 64), "{bad:?}");
        }
        assert!(is_printable("éé", 2) && !is_printable("ééé", 2));
    }
}
