//! Steps of an image's history without the values of variables: builders write `ENV` and build arguments there as
//! they were, and passwords end up in both.

/// In place of a value.
const HIDDEN: &str = "<hidden>";
/// What BuildKit puts after each step.
const BUILDKIT: &str = "# buildkit";

/// A step (`created_by`) with the values of its variables hidden, `PATH` excepted.
pub fn without_values(step: &str) -> String {
    if let Some(at) = instruction(step, "ENV ") {
        let (before, rest) = step.split_at(at + "ENV ".len());
        let (rest, after) = match rest.trim_end().strip_suffix(BUILDKIT) {
            Some(rest) => (rest, format!(" {BUILDKIT}")),
            None => (rest, String::new()),
        };
        let (pairs, _) = hide(rest, usize::MAX);
        return format!("{before}{pairs}{after}");
    }
    let bar = instruction(step, "|").or_else(|| instruction(step, "RUN |").map(|at| at + 4));
    if let Some(at) = bar {
        let (before, rest) = step.split_at(at + 1);
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if let Ok(count) = rest[..digits].parse::<usize>() {
            let (pairs, command) = hide(&rest[digits..], count);
            return format!("{before}{count} {pairs} {command}");
        }
    }
    step.to_owned()
}

/// Where an instruction begins: at the beginning, or after what older builders put before it.
fn instruction(step: &str, word: &str) -> Option<usize> {
    let start = step.find("#(nop)").map_or(0, |at| at + "#(nop)".len());
    let at = start + (step[start..].len() - step[start..].trim_start().len());
    step[at..].starts_with(word).then_some(at)
}

/// The first `count` variables with their values hidden, and what follows them. Values may have spaces in them and are
/// seldom quoted, so a word that begins no variable belongs to the one before; after the last one, up to a path.
fn hide(text: &str, count: usize) -> (String, String) {
    let mut out: Vec<String> = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let name = word.split_once('=').map(|(name, _)| name);
        match name.filter(|name| is_name(name)) {
            Some(name) if out.len() < count => out.push(match name {
                "PATH" => word.to_owned(),
                _ => format!("{name}={HIDDEN}"),
            }),
            _ if out.len() >= count && word.starts_with('/') => {
                let rest: Vec<&str> = std::iter::once(word).chain(words).collect();
                return (out.join(" "), rest.join(" "));
            }
            // `ENV NAME value`; whatever is no name may be all of it.
            _ if out.is_empty() && count == usize::MAX => {
                let word = word.split('=').next().unwrap_or_default();
                return (format!("{word} {HIDDEN}"), String::new());
            }
            _ => {}
        }
    }
    (out.join(" "), String::new())
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_and_build_arguments_are_hidden_and_nothing_else_is() {
        for (step, expected) in [
            (
                "ENV TOKEN=secret # buildkit",
                "ENV TOKEN=<hidden> # buildkit",
            ),
            (
                "ENV A=one two B=\"three four\"",
                "ENV A=<hidden> B=<hidden>",
            ),
            ("ENV PATH=/bin:/usr/bin", "ENV PATH=/bin:/usr/bin"),
            ("ENV TOKEN secret words", "ENV TOKEN <hidden>"),
            (
                "/bin/sh -c #(nop)  ENV TOKEN=secret",
                "/bin/sh -c #(nop)  ENV TOKEN=<hidden>",
            ),
            (
                "|2 A=one two B=three /bin/sh -c make B=4",
                "|2 A=<hidden> B=<hidden> /bin/sh -c make B=4",
            ),
            (
                "RUN |1 TOKEN=secret /bin/sh -c make # buildkit",
                "RUN |1 TOKEN=<hidden> /bin/sh -c make # buildkit",
            ),
            (
                "RUN /bin/sh -c ENV=1 make | tee log",
                "RUN /bin/sh -c ENV=1 make | tee log",
            ),
            ("COPY a=b /ENV c", "COPY a=b /ENV c"),
            ("ENV ", "ENV "),
            ("|", "|"),
            ("", ""),
            ("ENV ä=ö", "ENV ä <hidden>"),
        ] {
            assert_eq!(without_values(step), expected, "{step}");
        }
    }
}
