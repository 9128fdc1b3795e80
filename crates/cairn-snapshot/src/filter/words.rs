//! The words of a filter: paths of fields, operators, values.

use crate::error::Error;

/// Longest filter, bytes.
const FILTER_BYTES_MAX: usize = 16 << 10;

/// Reads a filter from its start.
pub(super) struct Words<'a> {
    all: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn of(all: &'a str) -> Result<Self, Error> {
        if all.len() > FILTER_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a filter has more than {FILTER_BYTES_MAX} bytes"
            )));
        }
        Ok(Self { all, at: 0 })
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a str {
        &self.all[self.at..]
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn skip(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    pub fn is_at_end(&mut self) -> bool {
        self.skip_spaces();
        self.rest().is_empty()
    }

    fn wrong(&self, why: &str) -> Error {
        let all = self.all;
        Error::Invalid(format!("filter {all:.200?}, at byte {}: {why}", self.at))
    }

    /// Names with dots between them.
    pub fn path(&mut self) -> Result<Vec<String>, Error> {
        let mut names = vec![self.name()?];
        while self.rest().starts_with('.') {
            self.at += 1;
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn name(&mut self) -> Result<String, Error> {
        self.skip_spaces();
        if self.rest().starts_with('"') {
            return self.quoted('"');
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-/".contains(c);
        let name = self.take_while(is_name);
        match name.is_empty() {
            true => Err(self.wrong("the field must be a name")),
            false => Ok(name.to_owned()),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// `==`, `!=` or `~=`; none at the end of a condition.
    pub fn operator(&mut self) -> Result<Option<&'static str>, Error> {
        for operator in ["==", "!=", "~="] {
            if self.skip(operator) {
                return Ok(Some(operator));
            }
        }
        match self.is_at_end() || self.rest().starts_with(',') {
            true => Ok(None),
            false => Err(self.wrong("an operator must be ==, != or ~=")),
        }
    }

    /// True where another condition follows.
    pub fn comma(&mut self) -> Result<bool, Error> {
        let found = self.skip(",");
        match found || self.is_at_end() {
            true => Ok(found),
            false => Err(self.wrong("a comma must be between conditions")),
        }
    }

    /// A value up to the next comma, or in quotes; a `pattern` also between `/` or `|`.
    pub fn value(&mut self, pattern: bool) -> Result<String, Error> {
        self.skip_spaces();
        match self.rest().chars().next() {
            Some('"') => self.quoted('"'),
            Some(mark @ ('/' | '|')) if pattern => self.quoted(mark),
            _ => {
                let value = self.take_while(|c| c != ',').trim();
                match value.is_empty() || value.contains('"') {
                    true => {
                        Err(self.wrong("a value is missing, or not quoted where it has quotes"))
                    }
                    false => Ok(value.to_owned()),
                }
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// What is between two marks. In double quotes escapes are as in Go; between others only the mark has one.
    fn quoted(&mut self, mark: char) -> Result<String, Error> {
        self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("a quoted value does not end")),
                Some(c) if c == mark => return Ok(out),
                Some('\\') if mark == '"' => out.push(self.escape()?),
                Some('\\') if self.rest().starts_with(mark) => out.extend(self.next()),
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let simple = match self.next() {
            Some('x') => return self.digits(2),
            Some('u') => return self.digits(4),
            Some('U') => return self.digits(8),
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('\\' | '"' | '\'')) => c,
            _ => return Err(self.wrong("an escape in quotes is not known")),
        };
        Ok(simple)
    }

    fn digits(&mut self, count: usize) -> Result<char, Error> {
        let digits = self.rest().get(..count).unwrap_or_default();
        let code = u32::from_str_radix(digits, 16).ok();
        let found = code.filter(|_| !digits.starts_with('+'));
        self.at += digits.len();
        found
            .and_then(char::from_u32)
            .ok_or_else(|| self.wrong("an escape in quotes is no character"))
    }
}
