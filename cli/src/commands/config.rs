//! `kubeshark config`.

use std::borrow::Cow;
use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind as Wrong;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::complain;
use crate::Outcome;
use crate::output::{self, Output};
use crate::settings::{self, Settings};

/// Show the settings in force and where they come from, or write a file with all of them.
///
/// Every option can be set for good: in the file that --config names, else in kubeshark/config.yaml where a user's
/// settings are ($XDG_CONFIG_HOME, or ~/.config), as `port` below `tap`; or in the environment, as KUBESHARK_TAP_PORT.
/// A flag wins over the environment, and that over the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark config
  kubeshark config --regenerate
  KUBESHARK_TAP_PORT=9000 kubeshark config")]
pub(crate) struct Config {
    /// Write the file anew, with every setting explained and none set; the one before is kept beside it, as .old.
    #[arg(long, short)]
    regenerate: bool,
}

impl Config {
    pub(crate) fn run(self, settings: &Settings) -> Result<Outcome> {
        if self.regenerate {
            return regenerate(settings);
        }
        let mut out = output::stdout();
        let file = settings.path.as_ref().map(|it| it.display().to_string());
        let note = if settings.is_there { "" } else { ", which is not there" };
        let file = file.unwrap_or_else(|| "a file, where --config names one".to_owned());
        writeln!(out, "# A flag wins over the environment, and that over {file}{note}.")?;
        show(&mut out, settings, &settings.command, &[])?;
        out.flush()?;
        Ok(Outcome::Done)
    }
}

/// What is in force of a command's settings, and of those below it.
fn show(out: &mut Output, all: &Settings, command: &Command, above: &[&str]) -> Result<()> {
    let matches = in_force(&all.command, above)?;
    let indent = "  ".repeat(above.len());
    for arg in settings::settings(command).filter(|it| above.is_empty() || !it.is_global_set()) {
        let name = arg.get_long().unwrap_or_default();
        let id = arg.get_id().as_str();
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<Cow<'_, str>> = raw.map(|it| it.to_string_lossy()).collect();
        let key: Vec<&str> = above.iter().copied().chain([name]).collect();
        let from = match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => arg.get_env().map(|it| it.to_string_lossy()),
            _ => all.line(&key).map(|line| {
                let path = all.path.as_ref().map(|it| it.display().to_string());
                format!("{}:{line}", path.unwrap_or_default()).into()
            }),
        };
        let from = from.map(|it| format!("  # from {it}")).unwrap_or_default();
        writeln!(out, "{indent}{name}: {}{from}", value(arg, &values))?;
    }
    for verb in settings::verbs(command) {
        let name = verb.get_name();
        writeln!(out, "{indent}{name}:")?;
        let below: Vec<&str> = above.iter().copied().chain([name]).collect();
        show(out, all, verb, &below)?;
    }
    Ok(())
}

/// What a verb would be told if nothing stood beside it.
fn in_force(root: &Command, verbs: &[&str]) -> Result<ArgMatches> {
    // The verb `config` has all that is said to every verb.
    let words: Vec<&str> = match verbs {
        [] => vec![root.get_name(), "config"],
        _ => [root.get_name()].into_iter().chain(verbs.iter().copied()).collect(),
    };
    let matches = match root.clone().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(wrong) if [Wrong::InvalidValue, Wrong::ValueValidation].contains(&wrong.kind()) => {
            let text = wrong.to_string();
            bail!("{}", text.lines().next().unwrap_or_default().trim_start_matches("error: "))
        }
        // What it can't do without is no setting.
        Err(_) => root.clone().ignore_errors(true).try_get_matches_from(&words)?,
    };
    let below = verbs.iter().try_fold(matches, |it, _| it.subcommand().map(|it| it.1.clone()));
    below.context("a verb that is not there")
}

/// As YAML.
fn value(arg: &Arg, values: &[Cow<'_, str>]) -> String {
    let one = |it: &Cow<'_, str>| match arg.get_action() {
        _ if arg.is_hide_env_values_set() => "\"…\"".to_owned(),
        ArgAction::SetTrue => settings::YES.contains(&it.as_ref()).to_string(),
        _ => quoted(it),
    };
    match (arg.get_action(), values) {
        (ArgAction::Append, _) => {
            format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        (ArgAction::SetTrue, []) => "false".to_owned(),
        (_, []) => "null".to_owned(),
        (_, [first, ..]) => one(first),
    }
}

/// Plain where that is the same text when it is read again.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:+-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let number = text.parse::<f64>().is_ok()
        && text.parse::<u64>().map(|it| it.to_string()) != Ok(text.to_owned());
    let word = ["null", "true", "false"].contains(&text.to_lowercase().as_str());
    if begins && text.chars().all(plain) && !text.ends_with(':') && !number && !word {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

fn regenerate(settings: &Settings) -> Result<Outcome> {
    let path = settings
        .path
        .as_ref()
        .context("there is no home to write to: name a file with --config")?;
    let name = path.display();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("can't make the folder of {name}"))?;
    }
    let old = path.with_extension("yaml.old");
    let kept = path.exists();
    if kept {
        std::fs::rename(path, &old)
            .with_context(|| format!("can't keep {name} as {}", old.display()))?;
    }
    std::fs::write(path, text(&settings.command)).with_context(|| format!("can't write {name}"))?;
    match kept {
        true => complain(format_args!("wrote {name}; the one before is {}", old.display())),
        false => complain(format_args!("wrote {name}")),
    }
    Ok(Outcome::Done)
}

/// A file with every setting, each with its meaning and its default, and none of them set.
fn text(root: &Command) -> String {
    let mut text = format!(
        "# Settings of kubeshark {}. Take the # away before one to set it. What is given as a flag, or in the\n\
         # environment by the name in brackets, wins over what is here. `kubeshark config` shows what is in force.\n",
        root.get_version().unwrap_or_default()
    );
    describe(&mut text, root, 0);
    text
}

fn describe(text: &mut String, command: &Command, depth: usize) {
    let indent = "  ".repeat(depth);
    for arg in settings::settings(command).filter(|it| depth == 0 || !it.is_global_set()) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let env = arg.get_env().map(|it| it.to_string_lossy()).unwrap_or_default();
        for line in wrapped(&format!("{help} [{env}]"), LINE.saturating_sub(indent.len() + 2)) {
            text.push_str(&format!("{indent}# {line}\n"));
        }
        let defaults: Vec<_> =
            arg.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
        let example = match arg.get_action() {
            ArgAction::Set if defaults.is_empty() => "null".to_owned(),
            _ => value(arg, &defaults),
        };
        text.push_str(&format!("{indent}#{}: {example}\n", arg.get_long().unwrap_or_default()));
    }
    for verb in settings::verbs(command) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n{indent}# {about}\n{indent}{}:\n", verb.get_name()));
        describe(text, verb, depth + 1);
    }
}

/// In lines of at most so many letters, where words allow.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { continue };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > most {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

/// Letters in a line of the file.
const LINE: usize = 100;
