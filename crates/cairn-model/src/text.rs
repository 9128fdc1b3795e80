//! Text from images and archives, made safe for a terminal.

/// True for characters that steer a terminal or hide what a text says: control characters (C0, DEL, C1),
/// marks and overrides of writing direction, and what ends a line without looking like it.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, hidden characters escaped as `\u{1b}`; blanks for line ends and tabs.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_all_else_stays() {
        assert_eq!(printable("plain ü 漢 🦀"), "plain ü 漢 🦀");
        let text = "a\u{1b}[31m\u{9b}2J\u{202e}x\u{7f}\nb";
        let safe = "a\\u{1b}[31m\\u{9b}2J\\u{202e}x\\u{7f} b";
        assert_eq!(printable(text), safe);
    }
}
