//! `cairn ps`.

use anyhow::Result;
use cairn_container::Info;
use cairn_runtime::{Port, State, Status};

use super::Env;
use super::template::Template;
use crate::args::Ps;
use crate::output::{self, Table, Usage, ago};

fn status_text(state: &State) -> String {
    match state.status {
        Status::Created => "created".into(),
        Status::Running if state.paused => "paused".into(),
        Status::Running => format!(
            "running for {}",
            ago(state.started as i64).trim_end_matches(" ago")
        ),
        Status::Exited(code) if state.out_of_memory => {
            format!("out of memory ({code}) {}", ago(state.finished as i64))
        }
        Status::Exited(code) => format!("exited ({code}) {}", ago(state.finished as i64)),
        Status::Lost => "lost (monitor was killed)".into(),
    }
}

/// `cairn ps`
pub fn list(env: &Env, args: &Ps) -> Result<()> {
    let filters = args.filter.iter().map(|text| Filter::parse(text));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let template = args.format.as_deref().map(Template::parse);
    let template = template.transpose().map_err(Usage)?;
    let repo = env.open()?;
    let mut containers = cairn_container::list(&repo)?;
    // One says which: running ones are not meant by those.
    let stopped_too = args.all
        || args.latest
        || args.last.is_some()
        || filters
            .iter()
            .any(|filter| matches!(filter, Filter::Status(_) | Filter::Exited(_)));
    containers.retain(|info| stopped_too || info.state.is_running());
    let ancestors = ancestors(&repo, &filters);
    containers.retain(|info| matches(&filters, &ancestors, info));
    let last = args.last.or(args.latest.then_some(1));
    containers.truncate(last.unwrap_or(usize::MAX));
    if args.quiet {
        for info in &containers {
            let id = &info.container.id;
            println!("{}", if args.no_trunc { id.hex() } else { id.short() });
        }
        return Ok(());
    }
    if let Some(template) = template {
        for info in &containers {
            let text = template.fill(&serde_json::to_value(info)?).map_err(Usage)?;
            println!("{text}");
        }
        return Ok(());
    }
    if env.json {
        return Ok(output::report(&containers)?);
    }
    print(&containers, args.no_trunc)
}

const COLUMNS: [&str; 6] = ["NAME", "ID", "IMAGE", "COMMAND", "STATUS", "PORTS"];

fn print(containers: &[Info], whole: bool) -> Result<()> {
    // Most have none: then others get the room.
    let ports = containers.iter().any(|info| !ports(info).is_empty());
    let columns = COLUMNS.len() - usize::from(!ports);
    let mut table = Table::new(&COLUMNS[..columns]);
    if whole {
        table = table.whole();
    }
    for info in containers {
        table.row(cells(info, whole).into_iter().take(columns).collect());
    }
    Ok(table.print()?)
}

fn cells(info: &Info, whole: bool) -> [String; 6] {
    let container = &info.container;
    [
        container.name.clone(),
        match whole {
            true => container.id.hex(),
            false => container.id.short(),
        },
        container.image_name.clone(),
        container.command.join(" "),
        status_text(&info.state),
        ports(info),
    ]
}

fn ports(info: &Info) -> String {
    let ports = info.ports.iter().filter(|_| info.state.is_running());
    ports.map(Port::short).collect::<Vec<_>>().join(", ")
}

/// What a container has to be to be shown; of several values for one name any will do, except for labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Name(String),
    Id(String),
    Status(String),
    Label(String, Option<String>),
    Ancestor(String),
    Exited(u8),
    Volume(String),
}

const STATUSES: [&str; 5] = ["created", "running", "paused", "exited", "lost"];

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let refused = |why: &str| Usage(format!("--filter {text}: {why}"));
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| refused("must be NAME=VALUE"))?;
        let owned = value.to_owned();
        Ok(match name {
            "name" => Self::Name(owned),
            "id" => Self::Id(owned),
            "status" if STATUSES.contains(&value) => Self::Status(owned),
            "status" => {
                return Err(refused("status is created, running, paused, exited or lost").into());
            }
            "label" => match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(owned, None),
            },
            "ancestor" => Self::Ancestor(owned),
            "exited" => {
                let code = value.parse();
                Self::Exited(code.map_err(|_| refused("an exit code is 0 to 255"))?)
            }
            "volume" => Self::Volume(owned),
            _ => {
                return Err(refused(
                    "known are name, id, status, label, ancestor, exited and volume",
                )
                .into());
            }
        })
    }

    fn accepts(&self, ancestors: &[Ancestor], info: &Info) -> bool {
        let container = &info.container;
        match self {
            Self::Name(text) => container.name.contains(text),
            Self::Id(start) => container.id.hex().starts_with(start),
            Self::Status(word) => info.status() == word,
            Self::Label(name, value) => {
                let has = info.labels.get(name);
                has.is_some_and(|has| value.as_ref().is_none_or(|value| has == value))
            }
            Self::Ancestor(name) => ancestors.iter().any(|ancestor| {
                ancestor.name == *name
                    && (container.image_name == *name
                        || ancestor.id.is_some() && ancestor.id == container.image)
            }),
            Self::Exited(code) => info.state.status == Status::Exited(*code),
            Self::Volume(name) => info
                .volumes
                .iter()
                .any(|volume| volume.name.as_deref() == Some(name) || volume.target == *name),
        }
    }
}

/// An image that containers may be made of.
struct Ancestor {
    name: String,
    id: Option<cairn_model::Digest>,
}

fn ancestors(repo: &cairn_repo::Repo, filters: &[Filter]) -> Vec<Ancestor> {
    let named = filters.iter().filter_map(|filter| match filter {
        Filter::Ancestor(name) => Some(name.clone()),
        _ => None,
    });
    let found = |name: String| Ancestor {
        id: repo.images().find(&name).ok().map(|image| image.row.id),
        name,
    };
    named.map(found).collect()
}

fn matches(filters: &[Filter], ancestors: &[Ancestor], info: &Info) -> bool {
    filters.iter().all(|filter| {
        let same = |other: &&Filter| {
            std::mem::discriminant(*other) == std::mem::discriminant(filter)
                && !matches!(filter, Filter::Label(..))
                || *other == filter
        };
        let mut of_name = filters.iter().filter(same);
        of_name.any(|filter| filter.accepts(ancestors, info))
    })
}
