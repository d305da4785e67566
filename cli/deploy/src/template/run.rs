//! Nodes to text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parse::{Node, Pipeline, Term};
use super::{Mistake, Place, World, functions};

/// Renders nodes; `root` is `.` and `$`.
pub(super) fn run(
    nodes: &[Node],
    root: &Value,
    named: &BTreeMap<String, Vec<Node>>,
    world: &World<'_>,
) -> Result<String, Mistake> {
    let shared = Shared { named, world };
    Frame { shared: &shared, root, variables: Vec::new(), text: String::new(), depth: 0 }
        .finish(nodes)
}

pub(super) struct Shared<'a> {
    named: &'a BTreeMap<String, Vec<Node>>,
    pub(super) world: &'a World<'a>,
}

/// One template being rendered.
struct Frame<'a> {
    shared: &'a Shared<'a>,
    root: &'a Value,
    variables: Vec<(String, Value)>,
    text: String,
    depth: usize,
}

impl<'a> Frame<'a> {
    fn finish(mut self, nodes: &[Node]) -> Result<String, Mistake> {
        self.nodes(nodes, self.root)?;
        Ok(self.text)
    }

    /// What a block sets is gone behind it.
    fn block(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Mistake> {
        let before = self.variables.len();
        self.nodes(nodes, dot)?;
        self.variables.truncate(before);
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Mistake> {
        for node in nodes {
            match node {
                Node::Text(text) => self.text.push_str(text),
                Node::Action(at, pipeline) => {
                    let value = self.pipeline(at, pipeline, dot)?;
                    if pipeline.sets.is_empty() {
                        let text = functions::text(&value).map_err(|why| blame(at, why))?;
                        self.text.push_str(&text);
                    } else {
                        self.set(at, pipeline, value)?;
                    }
                }
                Node::If(branches) => {
                    let before = self.variables.len();
                    for (condition, body) in branches {
                        let holds = match condition {
                            None => true,
                            Some((at, pipeline)) => {
                                let value = self.pipeline(at, pipeline, dot)?;
                                let holds = functions::truth(&value);
                                if !pipeline.sets.is_empty() {
                                    self.set(at, pipeline, value)?;
                                }
                                holds
                            }
                        };
                        if holds {
                            self.nodes(body, dot)?;
                            break;
                        }
                    }
                    self.variables.truncate(before);
                }
                Node::With(at, pipeline, body, otherwise) => {
                    let value = self.pipeline(at, pipeline, dot)?;
                    let before = self.variables.len();
                    if functions::truth(&value) {
                        if !pipeline.sets.is_empty() {
                            self.set(at, pipeline, value.clone())?;
                        }
                        self.nodes(body, &value)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                    self.variables.truncate(before);
                }
                Node::Range(at, pipeline, body, otherwise) => {
                    self.range(at, pipeline, body, otherwise, dot)?;
                }
            }
            if self.text.len() > TEXT_BYTES {
                return Err(Mistake {
                    at: Place { file: "the chart".into(), line: 1 },
                    what: "it renders to more than there can be".to_owned(),
                    of_values: false,
                });
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        at: &Place,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), Mistake> {
        let items: Vec<(Value, Value)> = match self.pipeline(at, pipeline, dot)? {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                list.into_iter().enumerate().map(|(at, it)| (Value::from(at), it)).collect()
            }
            // Keys come in order, as in Go.
            Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.into_iter().collect();
                sorted.into_iter().map(|(key, it)| (Value::from(key), it)).collect()
            }
            other => return Err(blame(at, format!("{other} is no list to go through"))),
        };
        if items.is_empty() {
            return self.block(otherwise, dot);
        }
        for (key, item) in items {
            let before = self.variables.len();
            match pipeline.sets.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, &item)?;
            self.variables.truncate(before);
        }
        Ok(())
    }

    fn set(&mut self, at: &Place, pipeline: &Pipeline, value: Value) -> Result<(), Mistake> {
        let [name] = pipeline.sets.as_slice() else {
            return Err(blame(at, "two variables are for `range`"));
        };
        if !pipeline.again {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|it| it.0 == *name) {
            Some(variable) => variable.1 = value,
            None => return Err(blame(at, format!("${name} was never set"))),
        }
        Ok(())
    }

    fn pipeline(&mut self, at: &Place, it: &Pipeline, dot: &Value) -> Result<Value, Mistake> {
        let mut piped = None;
        for command in &it.commands {
            piped = Some(self.command(at, command, dot, piped)?);
        }
        piped.ok_or_else(|| blame(at, "a pipeline without a command"))
    }

    fn command(
        &mut self,
        at: &Place,
        terms: &[Term],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Mistake> {
        let Some((first, rest)) = terms.split_first() else {
            return Err(blame(at, "an empty command"));
        };
        let Term::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(blame(at, "only a function can be given something"));
            }
            return self.term(at, first, dot);
        };
        // These two look no further than they need to.
        if let "and" | "or" = name.as_str() {
            let until = name == "or";
            let mut last = None;
            for term in rest {
                let value = self.term(at, term, dot)?;
                if functions::truth(&value) == until {
                    return Ok(value);
                }
                last = Some(value);
            }
            return piped.or(last).ok_or_else(|| blame(at, format!("`{name}` of nothing")));
        }
        let mut arguments =
            rest.iter().map(|it| self.term(at, it, dot)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        if name == "include" {
            let [Value::String(name), data] = arguments.as_slice() else {
                return Err(blame(at, "`include` wants a name and what `.` is to be"));
            };
            return self.include(at, name, data).map(Value::from);
        }
        functions::call(name, arguments, self.shared.world).map_err(|mut why| {
            why.what = match why.of_values {
                true => why.what,
                false => format!("`{name}`: {}", why.what),
            };
            Mistake { at: at.clone(), what: why.what, of_values: why.of_values }
        })
    }

    fn include(&self, at: &Place, name: &str, data: &Value) -> Result<String, Mistake> {
        let nodes = self
            .shared
            .named
            .get(name)
            .ok_or_else(|| blame(at, format!("nothing is defined as `{name}`")))?;
        if self.depth >= DEPTH {
            return Err(blame(at, format!("`{name}` includes itself")));
        }
        let frame = Frame {
            shared: self.shared,
            root: data,
            variables: Vec::new(),
            text: String::new(),
            depth: self.depth + 1,
        };
        frame.finish(nodes)
    }

    fn term(&mut self, at: &Place, term: &Term, dot: &Value) -> Result<Value, Mistake> {
        match term {
            Term::Dot(fields) => field(at, dot, fields),
            Term::Variable(name, fields) if name.is_empty() => field(at, self.root, fields),
            Term::Variable(name, fields) => {
                let value = self.variables.iter().rev().find(|it| it.0 == *name);
                let value = value.ok_or_else(|| blame(at, format!("${name} was never set")))?;
                field(at, &value.1, fields)
            }
            Term::Text(text) => Ok(Value::from(text.as_str())),
            Term::Integer(number) => Ok(Value::from(*number)),
            Term::Flag(flag) => Ok(Value::from(*flag)),
            Term::Nil => Ok(Value::Null),
            // A function alone is called with nothing, as `dict` is.
            Term::Function(_) => self.command(at, std::slice::from_ref(term), dot, None),
            Term::Group(pipeline, fields) => {
                let value = self.pipeline(at, pipeline, dot)?;
                field(at, &value, fields)
            }
        }
    }
}

/// A key that is not there is nothing; a key of what is no map is a mistake.
fn field(at: &Place, value: &Value, fields: &[String]) -> Result<Value, Mistake> {
    let mut value = value;
    for name in fields {
        value = match value {
            Value::Object(map) => map.get(name).unwrap_or(&Value::Null),
            _ => return Err(blame(at, format!("there is no `.{name}` of {value}"))),
        };
    }
    Ok(value.clone())
}

fn blame(at: &Place, what: impl Into<String>) -> Mistake {
    Mistake { at: at.clone(), what: what.into(), of_values: false }
}

/// Definitions that include others.
const DEPTH: usize = 32;
/// A thousand times what our chart renders to.
const TEXT_BYTES: usize = 32 << 20;
