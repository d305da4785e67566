//! Settings from a file and the environment.
//!
//! Every option with a long name is a setting, by the verb it belongs to: `tap --port` is `tap.port` in the file and
//! KUBESHARK_TAP_PORT in the environment. There is no list of them: they are read off the command line's own
//! declaration, and take their places below its flags, which win over the environment, which wins over the file.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::builder::BoolishValueParser;
use clap::error::ErrorKind as Wrong;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::Cli;

/// The command line, with what stands below it.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The file; none where nobody has a home.
    pub(crate) path: Option<PathBuf>,
    /// Whether the file is there.
    pub(crate) is_there: bool,
    /// The declaration, with the file's values where defaults stand.
    pub(crate) command: Command,
    /// What the file says.
    said: Vec<Said>,
}

/// One setting in the file.
#[derive(Debug, Clone)]
struct Said {
    /// The verb and the option; of an option of all verbs only that.
    key: Vec<String>,
    values: Vec<String>,
    line: u64,
}

/// What the program was asked to do, and the settings in force.
pub(crate) fn parse() -> Result<(Cli, Settings)> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let plain = declared();
    // Help and versions are printed whatever the file says.
    let given = match plain.clone().try_get_matches_from(&words) {
        Ok(given) => given,
        Err(wrong) if !wrong.use_stderr() => wrong.exit(),
        // Something that is lacking may be in the file.
        Err(wrong) => match plain.clone().ignore_errors(true).try_get_matches_from(&words) {
            Ok(given) => given,
            Err(_) => wrong.exit(),
        },
    };
    let (path, named) = match given.get_one::<PathBuf>(CONFIG) {
        Some(path) => (Some(path.clone()), true),
        None => (usual(), false),
    };
    // Whoever writes the file anew need not have a good one.
    let anew = given.subcommand().is_some_and(|it| it.0 == CONFIG && it.1.get_flag("regenerate"));
    let text = match &path {
        Some(path) if !anew => read(path, named)?,
        _ => None,
    };
    let mut settings =
        Settings { path, is_there: text.is_some(), command: plain, said: Vec::new() };
    if let Some(text) = text {
        let path = settings.path.clone().unwrap_or_default();
        settings.lay(&path, &text, &given)?;
    }
    let mut matches = settings.command.clone().get_matches_from(words);
    let cli = Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|wrong| wrong.exit());
    Ok((cli, settings))
}

/// The command line's declaration, where every setting has a name in the environment.
fn declared() -> Command {
    named(Cli::command(), "KUBESHARK")
}

fn named(command: Command, prefix: &str) -> Command {
    let command = command.mut_args(|arg| {
        let arg = match arg.get_action() {
            // So that a file and the environment may say yes or no.
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        };
        match arg.get_long() {
            Some(long) if is_setting(&arg) && arg.get_env().is_none() => {
                let name = format!("{prefix}_{long}").to_uppercase().replace('-', "_");
                // Once for each option; the declaration borrows its names for ever.
                arg.env(&*name.leak()).hide_env(true)
            }
            _ => arg,
        }
    });
    command.mut_subcommands(|it| {
        let verb = it.get_name();
        if NOT_SETTINGS.contains(&verb) {
            return it;
        }
        let prefix = format!("{prefix}_{verb}");
        named(it, &prefix)
    })
}

/// The options of a command that can be set in a file, in the order of its help.
pub(crate) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|it| is_setting(it))
}

/// The verbs below a command that have settings.
pub(crate) fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|it| !NOT_SETTINGS.contains(&it.get_name()) && settings(it).next().is_some())
}

fn is_setting(arg: &Arg) -> bool {
    let acts = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
    arg.get_long().is_some() && acts && !arg.is_hide_set() && arg.get_id() != CONFIG
}

impl Settings {
    /// Where a value of the file stands, if that is the one in force by default.
    pub(crate) fn line(&self, key: &[&str]) -> Option<u64> {
        self.said.iter().find(|it| it.key == key).map(|it| it.line)
    }

    /// Lays the file's values below those that were given.
    fn lay(&mut self, path: &Path, text: &str, given: &ArgMatches) -> Result<()> {
        let name = path.display();
        // A file that explains itself is comments for the most part.
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_buffered_comment_events: text.lines().count() },
        };
        let root: Option<Node> =
            serde_saphyr::from_str_with_options(text, options).map_err(|why| {
                let line = why.location().map_or(1, |it| it.line());
                let why = why.without_snippet().to_string();
                let why = [" at line ", ", set DuplicateKeyPolicy"]
                    .iter()
                    .fold(why.as_str(), |it, end| it.split(end).next().unwrap_or(it));
                anyhow!("{name}:{line}: this can't be read: {why}")
            })?;
        let mut said = Vec::new();
        match root {
            None | Some(Node::Nothing) => {}
            Some(Node::Group(group)) => gather(&self.command, &[], group, &mut said)
                .map_err(|(line, why)| anyhow!("{name}:{line}: {why}"))?,
            Some(_) => bail!("{name}:1: settings look like `tap: {{port: 8899}}`"),
        }
        for it in &said {
            self.check(it, &said).map_err(|why| anyhow!("{name}:{}: {why}", it.line))?;
        }
        said.retain(|it| !self.gives_way(it, given));
        for it in &said {
            let mut command = std::mem::take(&mut self.command);
            command = set(command, &it.key, &it.values);
            self.command = command;
        }
        self.said = said;
        Ok(())
    }

    /// Whether the values are what the option takes, and go with the others of the file.
    fn check(&self, it: &Said, all: &[Said]) -> Result<(), String> {
        let Some((command, arg)) = find(&self.command, &it.key) else { return Ok(()) };
        let key = it.key.join(".");
        let long = arg.get_long().unwrap_or_default();
        for value in &it.values {
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                if !YES.contains(&value.as_str()) && !NO.contains(&value.as_str()) {
                    return Err(format!("`{key}` can't be `{value}`: it is true or false"));
                }
                continue;
            }
            let words = [command.get_name().to_owned(), format!("--{long}={value}")];
            let Err(wrong) = command.clone().try_get_matches_from(words) else { continue };
            let about_it = [Wrong::InvalidValue, Wrong::ValueValidation, Wrong::InvalidUtf8];
            if about_it.contains(&wrong.kind()) {
                return Err(format!("`{key}` can't be `{value}`{}", reason(&wrong)));
            }
        }
        let conflicts = command.get_arg_conflicts_with(arg);
        let beside = |other: &&Said| {
            let found = find(&self.command, &other.key);
            !is_no(other) && found.is_some_and(|(_, arg)| conflicts.contains(&arg))
        };
        match all.iter().filter(|other| other.key != it.key).find(beside) {
            Some(other) if !is_no(it) => {
                let other = other.key.join(".");
                Err(format!("`{key}` and `{other}` don't go together: take one of them out"))
            }
            _ => Ok(()),
        }
    }

    /// Whether something was given on the command line, or in the environment, that goes not together with it.
    fn gives_way(&self, it: &Said, given: &ArgMatches) -> bool {
        use clap::parser::ValueSource::{CommandLine, EnvVariable};
        let Some((command, arg)) = find(&self.command, &it.key) else { return false };
        let mut given = given;
        for verb in it.key.iter().take(it.key.len().saturating_sub(1)) {
            match given.subcommand() {
                Some((name, below)) if name == verb => given = below,
                _ => return false,
            }
        }
        let is_given = |other: &Arg| {
            let id = other.get_id().as_str();
            let source =
                given.try_contains_id(id).is_ok().then(|| given.value_source(id)).flatten();
            matches!(source, Some(CommandLine | EnvVariable))
        };
        let others = command.get_arguments().filter(|other| is_given(other));
        let against = |other: &Arg| {
            command.get_arg_conflicts_with(arg).contains(&other)
                || command.get_arg_conflicts_with(other).contains(&arg)
        };
        others.into_iter().any(against)
    }
}

/// Finds the settings in a group of the file; an error says in which line it is.
fn gather(
    command: &Command,
    above: &[String],
    group: Vec<(Spanned<String>, Node)>,
    said: &mut Vec<Said>,
) -> Result<(), (u64, String)> {
    for (name, node) in group {
        let line = name.referenced.line();
        let key: Vec<String> = above.iter().cloned().chain([name.value.clone()]).collect();
        let path = key.join(".");
        if let Some(verb) = verbs(command).find(|it| it.get_name() == name.value) {
            match node {
                Node::Nothing => {}
                Node::Group(group) => gather(verb, &key, group, said)?,
                _ => {
                    let example = settings(verb).find_map(Arg::get_long).unwrap_or_default();
                    let why = format!(
                        "`{path}` is a group: its settings, such as `{example}`, stand below it"
                    );
                    return Err((line, why));
                }
            }
            continue;
        }
        let Some(arg) = settings(command).find(|it| it.get_long() == Some(&name.value)) else {
            return Err((line, unknown(command, above, &name.value)));
        };
        let values = match node {
            Node::Nothing => continue,
            Node::List(values) if values.is_empty() => continue,
            Node::Value(value) => vec![value],
            Node::List(_) if !matches!(arg.get_action(), ArgAction::Append) => {
                return Err((line, format!("`{path}` is one value, not a list")));
            }
            Node::List(values) => values,
            Node::Group(_) => return Err((line, format!("`{path}` is a value, not a group"))),
        };
        said.push(Said { key, values, line });
    }
    Ok(())
}

fn unknown(command: &Command, above: &[String], name: &str) -> String {
    let known = settings(command).filter_map(Arg::get_long);
    let known = known.chain(verbs(command).map(Command::get_name));
    let near = known.map(|it| (far(name, it), it)).min().filter(|it| it.0 <= name.len() / 3 + 1);
    let whole =
        |name: &str| above.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
    let help = match near {
        Some((_, near)) => format!("did you mean `{}`?", whole(near)),
        None => "`kubeshark config` shows all there are".to_owned(),
    };
    format!("there is no setting `{}`: {help}", whole(name))
}

/// How many letters differ.
fn far(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let best = (corner + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            corner = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What the command line's parser has against a value, after a colon.
fn reason(wrong: &clap::Error) -> String {
    let text = wrong.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if let Some((_, why)) = first.split_once("': ").or_else(|| first.split_once(">': ")) {
        return format!(": {why}");
    }
    let possible = lines.find_map(|it| it.trim().strip_prefix("[possible values: "));
    possible.map_or_else(String::new, |it| format!(": it is one of {}", it.trim_end_matches(']')))
}

/// The option of that name, and the command it belongs to.
fn find<'a>(command: &'a Command, key: &[String]) -> Option<(&'a Command, &'a Arg)> {
    let (option, above) = key.split_last()?;
    let command = above.iter().try_fold(command, |it, verb| it.find_subcommand(verb))?;
    let arg = command.get_arguments().find(|it| it.get_long() == Some(option))?;
    Some((command, arg))
}

/// The command with the values where the option's default stands. What is changed keeps its place in the help.
fn set(command: Command, key: &[String], values: &[String]) -> Command {
    match key {
        [] => command,
        [option] => command.mut_args(|arg| match arg.get_long() {
            // Once for each line of the file; the declaration borrows its defaults for ever.
            Some(long) if long == option => {
                arg.default_values(values.iter().map(|it| &*it.clone().leak()))
            }
            _ => arg,
        }),
        [verb, below @ ..] => command.mut_subcommands(|it| match it.get_name() == verb {
            true => set(it, below, values),
            false => it,
        }),
    }
}

fn is_no(it: &Said) -> bool {
    matches!(it.values.as_slice(), [value] if NO.contains(&value.as_str()))
}

/// The file's text. Only one that was named has to be there.
fn read(path: &Path, named: bool) -> Result<Option<String>> {
    let name = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == ErrorKind::NotFound && !named => return Ok(None),
        Err(why) => {
            return Err(why).with_context(|| {
                format!("can't read {name} (`kubeshark config --regenerate` writes one)")
            });
        }
    };
    let mut text = String::new();
    let read = file.take(BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("can't read {name}"))?;
    ensure!(text.len() as u64 <= BYTES, "{name} is larger than settings ever are");
    Ok(Some(text))
}

/// Where the file is, unless it is named.
#[expect(
    clippy::disallowed_methods,
    reason = "where users' files are is no setting of this program's"
)]
fn usual() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.filter(|it| it.is_absolute());
    let home = || std::env::var_os("HOME").filter(|it| !it.is_empty());
    let folder = folder.or_else(|| Some(PathBuf::from(home()?).join(".config")))?;
    Some(folder.join("kubeshark").join("config.yaml"))
}

/// A part of the file, whose places are known.
#[derive(Debug)]
enum Node {
    Nothing,
    Value(String),
    List(Vec<String>),
    Group(Vec<(Spanned<String>, Self)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list of values, or a group of settings")
    }

    fn visit_bool<E>(self, it: bool) -> Result<Node, E> {
        Ok(Node::Value(it.to_string()))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Node, E> {
        Ok(Node::Value(it.to_string()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Node, E> {
        Ok(Node::Value(it.to_string()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Node, E> {
        Ok(Node::Value(it.to_string()))
    }

    fn visit_str<E>(self, it: &str) -> Result<Node, E> {
        Ok(Node::Value(it.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut values = Vec::new();
        while let Some(node) = from.next_element::<Node>()? {
            match node {
                Node::Value(value) => values.push(value),
                _ => return Err(serde::de::Error::custom("a list has values only")),
            }
        }
        Ok(Node::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut group = Vec::new();
        while let Some(it) = from.next_entry()? {
            group.push(it);
        }
        Ok(Node::Group(group))
    }
}

/// The option that names the file, and the verb that shows the settings.
const CONFIG: &str = "config";
/// Verbs that nothing can be set of.
const NOT_SETTINGS: [&str; 4] = [CONFIG, "completion", "version", "help"];
/// What flags may be said to be.
pub(crate) const YES: [&str; 6] = ["true", "yes", "on", "1", "y", "t"];
const NO: [&str; 6] = ["false", "no", "off", "0", "n", "f"];
/// More than anybody writes.
const BYTES: u64 = 1 << 20;
