//! Patterns of names: `*` is any text, `?` any character.

/// True where the text is as the pattern says. The time is that of their lengths multiplied, at most.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how far its text goes so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, end)) = star else { return false };
                star = Some((at, end + 1));
                (p, t) = (at + 1, end + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*/app:*", "example/app:1", true),
            ("?/x", "a/x", true),
            ("?/x", "ab/x", false),
            ("**a**", "bab", true),
            ("", "a", false),
            ("a*b*c*d", "axbxxcxbd", true),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
        let long = "a".repeat(3000);
        assert!(!is_like(&format!("{}b", "a*".repeat(1000)), &long));
    }
}
