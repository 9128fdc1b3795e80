//! Words, quotes and variables as a Dockerfile has them.

use std::collections::BTreeMap;

type Outcome<T> = std::result::Result<T, String>;

/// How deep `${A:-${B:-…}}` may go.
const DEPTH_MAX: usize = 32;

/// Cuts a line at blanks that are not quoted or escaped. Quotes and escapes stay.
pub fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            // Between single quotes a backslash is a backslash.
            ('\\', Some('"') | None) => {
                word.push(c);
                word.extend(chars.next());
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(q)) if c == q => {
                quote = None;
                word.push(c);
            }
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `NAME=VALUE NAME=VALUE …`, or, in the old form, `NAME` and the rest of the line. Quotes and escapes stay
/// for [`expand`].
pub fn pairs(text: &str) -> Outcome<Vec<(String, String)>> {
    let words = split_words(text);
    let first = words.first().map_or("", String::as_str);
    if split_pair(first).is_none() {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("{text:?} has no value; use NAME=VALUE"))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| {
        let (name, value) = split_pair(word).ok_or_else(|| {
            format!("{word:?} has no \"=\"; use NAME=VALUE, with quotes around spaces")
        })?;
        if name.is_empty() {
            return Err(format!("{word:?} has no name before the \"=\""));
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(pair).collect()
}

/// Splits at the first `=`, which may follow a quoted name.
fn split_pair(word: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in word.char_indices() {
        match (c, quote) {
            ('=', None) => return Some((&word[..at], &word[at + 1..])),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            _ => {}
        }
    }
    None
}

/// Without quotes and escapes, variables as they are.
#[cfg(test)]
pub fn unquoted(text: &str) -> Outcome<String> {
    expand(text, &BTreeMap::new())
}

/// Takes quotes and escapes off and puts the values of variables in: `$NAME`, `${NAME}`, `${NAME:-word}`,
/// `${NAME:+word}`, and the same without the colon. Between single quotes everything is itself.
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> Outcome<String> {
    expand_within(text, env, 0)
}

fn expand_within(text: &str, env: &BTreeMap<String, String>, depth: usize) -> Outcome<String> {
    if depth > DEPTH_MAX {
        return Err("variables are nested too deeply".into());
    }
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut quote = None;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        at += 1;
        match (c, quote) {
            ('\'', None) => quote = Some('\''),
            ('\'', Some('\'')) => quote = None,
            (c, Some('\'')) => out.push(c),
            ('"', None) => quote = Some('"'),
            ('"', Some(_)) => quote = None,
            ('\\', None) => {
                // A backslash at the end of the line is itself.
                out.push(chars.get(at).copied().unwrap_or('\\'));
                at += 1;
            }
            ('\\', Some(_)) => match chars.get(at) {
                Some(next @ ('"' | '$' | '\\')) => {
                    out.push(*next);
                    at += 1;
                }
                _ => out.push('\\'),
            },
            ('$', _) => variable(&chars, &mut at, env, depth, &mut out)?,
            (c, _) => out.push(c),
        }
    }
    match quote {
        Some(quote) => Err(format!("unterminated {quote}")),
        None => Ok(out),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// One variable, after its dollar sign.
fn variable(
    chars: &[char],
    at: &mut usize,
    env: &BTreeMap<String, String>,
    depth: usize,
    out: &mut String,
) -> Outcome<()> {
    let braced = chars.get(*at) == Some(&'{');
    let start = *at + usize::from(braced);
    let mut end = start;
    while chars.get(end).is_some_and(|c| is_name(*c)) {
        end += 1;
    }
    let name: String = chars[start..end].iter().collect();
    if !braced {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push('$');
        } else {
            *at = end;
            out.push_str(env.get(&name).map_or("", String::as_str));
        }
        return Ok(());
    }
    // What follows the name ends at the brace that closes this variable.
    let mut open = 1;
    let mut close = end;
    loop {
        match chars.get(close) {
            None => return Err("unterminated ${".into()),
            Some('\\') => close += 1,
            Some('{') if close > 0 && chars[close - 1] == '$' => open += 1,
            Some('}') => open -= 1,
            _ => {}
        }
        if open == 0 {
            break;
        }
        close += 1;
    }
    let modifier: String = chars[end..close].iter().collect();
    *at = close + 1;
    if name.is_empty() {
        return Err("${} has no variable name".into());
    }
    let value = env.get(&name);
    let (colon, modifier) = match modifier.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, modifier.as_str()),
    };
    let set = value.is_some_and(|value| !colon || !value.is_empty());
    let value = value.map_or("", String::as_str);
    match (modifier.chars().next(), colon) {
        (None, false) => out.push_str(value),
        (Some('-'), _) if set => out.push_str(value),
        (Some('-'), _) => out.push_str(&expand_within(&modifier[1..], env, depth + 1)?),
        (Some('+'), _) if set => out.push_str(&expand_within(&modifier[1..], env, depth + 1)?),
        (Some('+'), _) => {}
        _ => return Err(format!("${{{name}…}} has a modifier other than :- and :+")),
    }
    Ok(())
}
