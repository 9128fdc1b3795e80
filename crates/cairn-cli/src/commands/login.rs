//! `login`, `logout`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result, bail};
use cairn_registry::{Account, Credentials, Options, Registries, Stored};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use super::Env;
use crate::args::{Login, Logout};
use crate::output::{self, Usage};

/// Longest password that is taken.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// `cairn login`
pub fn login(env: &Env, args: &Login) -> Result<()> {
    let account = Account::of(&args.registry)?;
    let credentials = credentials(args)?;
    let options = Options {
        watch: env.watch.clone(),
        credentials: Some(credentials.clone()),
        ..env.settings()?.registry()
    };
    cairn_registry::verify(&account, &Registries::load()?, options)?;
    let stored = cairn_registry::store(&account, &credentials, args.authfile.as_deref())?;
    let place = place(&stored);
    if env.json {
        let report = json!({ "registry": account.name(), "user": credentials.user, "kept": place });
        return Ok(output::json(&report)?);
    }
    println!("logged in to {} as {}", account.name(), credentials.user);
    if let Stored::File(_) = stored {
        output::say(&format!(
            "the password is in {place}, readable for whoever reads the file; a credential helper keeps it safer"
        ));
    }
    Ok(())
}

/// `cairn logout`
pub fn logout(env: &Env, args: &Logout) -> Result<()> {
    let account = match args.all {
        true => None,
        false => Some(Account::of(&args.registry)?),
    };
    let removed = cairn_registry::forget(account.as_ref(), args.authfile.as_deref())?;
    let name = account.as_ref().map_or("all registries", Account::name);
    if removed.is_empty() && !args.all {
        bail!("there are no credentials for {name}");
    }
    let places: Vec<String> = removed.iter().map(place).collect();
    if env.json {
        return Ok(output::json(
            &json!({ "registry": account.as_ref().map(Account::name), "removed_from": places }),
        )?);
    }
    println!("logged out of {name}");
    Ok(())
}

fn place(stored: &Stored) -> String {
    match stored {
        Stored::File(path) => path.display().to_string(),
        Stored::Helper(name) => format!("docker-credential-{name}"),
    }
}

fn credentials(args: &Login) -> Result<Credentials> {
    let (user, secret) = match (&args.username, args.password_stdin) {
        (Some(user), true) => (user.clone(), from_stdin()?),
        (user, _) => {
            let mut terminal = Terminal::open()?;
            let user = match user {
                Some(user) => user.clone(),
                None => terminal.ask(&format!("User for {}: ", args.registry), true)?,
            };
            (user, terminal.ask("Password: ", false)?)
        }
    };
    if user.is_empty() || user.contains(':') || secret.is_empty() {
        return Err(Usage(
            "user and password must not be empty, nor the user contain a colon".into(),
        )
        .into());
    }
    Ok(Credentials {
        user,
        secret,
        is_identity_token: false,
    })
}

/// All of standard input, without the end of its line.
fn from_stdin() -> Result<String> {
    let mut text = String::new();
    let stdin = std::io::stdin().lock();
    let read = stdin.take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.context("read the password from standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal of this process, whatever its standard input is.
struct Terminal(File);

/// A terminal that shows nothing until this goes.
struct Hidden<'a>(&'a File, Termios);

impl Terminal {
    fn open() -> Result<Self> {
        let opened = File::options().read(true).write(true).open("/dev/tty");
        match opened {
            Ok(file) => Ok(Self(file)),
            Err(_) => Err(Usage(
                "there is no terminal to ask for a password; use --username NAME --password-stdin"
                    .into(),
            )
            .into()),
        }
    }

    /// One line, shown or not while it is typed.
    fn ask(&mut self, question: &str, shown: bool) -> Result<String> {
        write!(self.0, "{question}").context("ask on the terminal")?;
        let hidden = if shown {
            None
        } else {
            Some(Hidden::new(&self.0)?)
        };
        let mut line = Vec::new();
        let mut reader = BufReader::new((&self.0).take(SECRET_BYTES_MAX));
        let read = reader.read_until(b'\n', &mut line);
        drop(hidden);
        if !shown {
            writeln!(self.0).context("ask on the terminal")?;
        }
        read.context("read from the terminal")?;
        // Signals are off meanwhile, so that the terminal is as it was after one.
        if line.contains(&0x03) {
            bail!("interrupted");
        }
        let line = String::from_utf8(line).context("read from the terminal")?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> Result<Self> {
        let before = tcgetattr(terminal).context("ask on the terminal")?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(terminal, OptionalActions::Flush, &quiet).context("ask on the terminal")?;
        Ok(Self(terminal, before))
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs it no more.
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}
