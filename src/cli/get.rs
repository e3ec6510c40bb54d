//! `get` and `list`: agents as a table, or as programs want them.

use clap::Args;

use super::client::with_query;
use super::following::{Following, Told};
use super::names::{self, path};
use super::output::{self, Format};
use super::text::{line, widths};
use super::{Context, Failure};
use crate::agent::Agent;
use crate::wire::AgentListBody;

/// Show agents.
///
/// Desired beside actual: READY counts instances that answer requests, STATUS is the phase with its reason. Environment
/// values are shown as *** unless --reveal-env asks for them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer get agents
  agentainer get agents -l tier=backend -o wide
  agentainer get agent users -o yaml
  agentainer get users auth -o name
  agentainer get agents -w")]
pub struct GetArgs {
    /// `agents`, `agent NAME…`, or just names.
    #[arg(value_name = "agents | NAME")]
    pub targets: Vec<String>,
    #[command(flatten)]
    shown: Shown,
}

/// Show all agents; the same as `get agents`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  agentainer list
  agentainer list -o wide")]
pub struct ListArgs {
    #[command(flatten)]
    shown: Shown,
}

#[derive(Args, Debug)]
struct Shown {
    /// Only those with these labels: key=value, key!=value, key, !key, joined with commas.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only those of this owner (a bundle's name).
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Go on and show each change; Ctrl-C ends it.
    #[arg(short, long)]
    watch: bool,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// A table without its headings.
    #[arg(long)]
    no_headers: bool,
    /// Show environment values, which may be secrets.
    #[arg(long)]
    reveal_env: bool,
}

impl Shown {
    fn path(&self, watch: bool) -> String {
        with_query(
            "/agents",
            &[
                ("labelSelector", self.selector.clone()),
                ("owner", self.owner.clone()),
                ("reveal", self.reveal_env.then(|| "env".to_owned())),
                ("watch", watch.then(|| "true".to_owned())),
            ],
        )
    }
}

pub(super) async fn run(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let names = match args.targets.as_slice() {
        [kind] if names::is_kind(kind) => Vec::new(),
        targets => names::all(targets)?,
    };
    if names.is_empty() {
        return all(context, &args.shown).await;
    }
    let shown = &args.shown;
    if shown.selector.is_some() || shown.owner.is_some() {
        return Err(Failure::Usage(
            "names and a selector cannot be combined".to_owned(),
        ));
    }
    if shown.watch {
        return watch(context, shown, Some(&names)).await;
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &names {
        let reveal = shown.reveal_env.then(|| "env".to_owned());
        let path = with_query(&path(name, ""), &[("reveal", reveal)]);
        match context.client.get::<Agent>(&path).await {
            Ok(agent) => found.push(agent),
            Err(failure) if failure.is_not_found() => missing.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if !found.is_empty() {
        let single = names.len() == 1;
        output::agents(context, &found, shown.output, single, !shown.no_headers)?;
    }
    context.all_told(missing)
}

pub(super) async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    all(context, &args.shown).await
}

async fn all(context: &Context, shown: &Shown) -> Result<(), Failure> {
    if shown.watch {
        return watch(context, shown, None).await;
    }
    let list: AgentListBody = context.client.get(&shown.path(false)).await?;
    if list.items.is_empty() && matches!(shown.output, Format::Table | Format::Wide) {
        let which = if shown.selector.is_some() || shown.owner.is_some() {
            "No agents match."
        } else {
            "No agents yet. Try: agentainer apply -f FILE"
        };
        context.console.note(which);
        return Ok(());
    }
    output::agents(context, &list.items, shown.output, false, !shown.no_headers)
}

/// A row, an object or a name for each change, over restarts and takeovers of the server, until Ctrl-C.
async fn watch(context: &Context, shown: &Shown, names: Option<&[String]>) -> Result<(), Failure> {
    let mut following = Following::new(&context.client, shown.path(true));
    let wide = shown.output == Format::Wide;
    let headings: Vec<String> = output::headings(wide)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut columns = widths(std::iter::once(&headings));
    let mut begun = false;
    loop {
        let mut told = following.next().await?;
        let wanted = |name: &str| names.is_none_or(|names| names.iter().any(|one| one == name));
        told.retain(|one| wanted(one.agent.metadata.name.as_str()));
        // What is there already comes first, and its rows are set together.
        if !begun {
            begun = true;
            let agents = told.iter().map(|one| &*one.agent);
            start(context, shown, &headings, &mut columns, agents)?;
        }
        for Told { agent, deleted } in &told {
            one(context, shown, &columns, agent, *deleted)?;
        }
    }
}

/// The headings, over columns as wide as these agents ask for.
fn start<'a>(
    context: &Context,
    shown: &Shown,
    headings: &Vec<String>,
    columns: &mut Vec<usize>,
    agents: impl Iterator<Item = &'a Agent>,
) -> Result<(), Failure> {
    if matches!(shown.output, Format::Table | Format::Wide) {
        let now = crate::clock::now();
        let wide = shown.output == Format::Wide;
        let rows: Vec<_> = agents.map(|agent| output::row(agent, wide, now)).collect();
        *columns = widths(std::iter::once(headings).chain(&rows));
        // Room for the phases to come.
        if let Some(status) = columns.get_mut(2) {
            *status = (*status).max("Progressing".len());
        }
        if !shown.no_headers {
            context.console.line(&line(headings, columns))?;
        }
    }
    Ok(())
}

fn one(
    context: &Context,
    shown: &Shown,
    columns: &[usize],
    agent: &Agent,
    deleted: bool,
) -> Result<(), Failure> {
    match shown.output {
        Format::Table | Format::Wide => {
            let wide = shown.output == Format::Wide;
            let mut row = output::row(agent, wide, crate::clock::now());
            if deleted && let Some(status) = row.get_mut(2) {
                *status = "Deleted".to_owned();
            }
            context.console.line(&line(&row, columns))
        }
        Format::Json => context.console.line(&serde_json::to_string(agent)?),
        Format::Yaml => {
            let text = output::yaml(agent)?;
            context.console.write(format!("---\n{text}").as_bytes())
        }
        Format::Name => context
            .console
            .line(&format!("agent/{}", agent.metadata.name)),
    }
}
