//! The part of Go's templates, as Helm has them, that our chart uses.
//!
//! It is strict where Helm is lenient: what it does not know, a value that is missing where text is wanted, and a
//! number that Go would write in another way are errors that name file and line. So a chart that renders here says the
//! same to Helm, which a test holds to.

mod certificates;
mod functions;
mod parse;
mod run;
pub(crate) mod yaml;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use parse::Node;

/// The files of a chart, read.
#[derive(Debug)]
pub(crate) struct Templates {
    /// Those that make documents.
    files: Vec<(String, Vec<Node>)>,
    /// What `define` named.
    named: BTreeMap<String, Vec<Node>>,
}

/// What a template may ask beside its values.
pub(crate) struct World<'a> {
    /// An object of the cluster, as `lookup` wants it: API version, kind, namespace, name.
    pub(crate) lookup: &'a dyn Fn(&str, &str, &str, &str) -> Option<Value>,
    /// That many random letters and digits.
    pub(crate) random: &'a dyn Fn(usize) -> String,
    /// The time, in seconds since 1970.
    pub(crate) now: u64,
}

/// A mistake in a template, or what it says about the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file and the line.
    pub(crate) at: Place,
    /// What is wrong.
    pub(crate) what: String,
    /// The values are to blame: the template itself said so.
    pub(crate) of_values: bool,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: std::rc::Rc<str>,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of_values {
            return f.write_str(&self.what);
        }
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl Templates {
    /// Reads files by name; those whose name begins with `_` only define.
    pub(crate) fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Mistake> {
        let mut templates = Self { files: Vec::new(), named: BTreeMap::new() };
        for (name, text) in files {
            let nodes = parse::parse(name, text, &mut templates.named)?;
            if !name.rsplit('/').next().is_some_and(|it| it.starts_with('_')) {
                templates.files.push((name.to_owned(), nodes));
            }
        }
        Ok(templates)
    }

    /// Every file with its text. `root` is what `.` and `$` are.
    pub(crate) fn render(
        &self,
        root: &Value,
        world: &World<'_>,
    ) -> Result<Vec<(&str, String)>, Mistake> {
        self.files
            .iter()
            .map(|(name, nodes)| Ok((name.as_str(), run::run(nodes, root, &self.named, world)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
