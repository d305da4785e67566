//! Whose traffic is kept.

use kube::core::{Expression, Selector, SelectorExt as _};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whose traffic is kept: the chart's value `targeting`, and what the settings' ConfigMap holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Targeting {
    /// What a pod's name must match, if not empty.
    pub pods: String,
    /// Namespaces; all if empty.
    pub namespaces: Vec<String>,
    /// Namespaces that are left out.
    pub exclude_namespaces: Vec<String>,
    /// A label selector, if not empty.
    pub selector: String,
    /// Nodes; all if empty.
    pub nodes: Vec<String>,
}

/// [`Targeting`], ready to be asked about pods.
#[derive(Debug, Clone)]
pub struct Matcher {
    of: Targeting,
    pods: Regex,
    selector: Selector,
}

/// What of a pod says whether it is meant.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its node, once it has one.
    pub node: Option<&'a str>,
}

/// What a targeting means for a pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: Option<String>,
    /// All that is against it; nothing if it is meant.
    pub against: Vec<String>,
}

/// What is wrong with a targeting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// The pods' names.
    #[error("`{0}` is no regular expression: {1}")]
    Pods(String, String),
    /// The labels.
    #[error("`{0}` is no label selector: {1}")]
    Selector(String, &'static str),
}

impl Targeting {
    /// Whether all pods are meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// As values of the chart; what is empty is left to other values.
    #[must_use]
    pub fn values(&self) -> Value {
        let mut all = json!(self);
        if let Value::Object(map) = &mut all {
            map.retain(|_, it| *it != json!("") && *it != json!([]));
        }
        json!({"targeting": all})
    }

    /// As the values of the chart have it.
    #[must_use]
    pub fn of(values: &Value) -> Self {
        serde_json::from_value(values["targeting"].clone()).unwrap_or_default()
    }

    /// Ready to be asked, or what is wrong with it.
    pub fn matcher(&self) -> Result<Matcher, Unclear> {
        let pods = Regex::new(&self.pods).map_err(|why| {
            let why = why.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Unclear::Pods(self.pods.clone(), why.to_owned())
        })?;
        let selector =
            parse(&self.selector).map_err(|why| Unclear::Selector(self.selector.clone(), why))?;
        Ok(Matcher { of: self.clone(), pods, selector })
    }
}

impl Matcher {
    /// Whether all pods are meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.of.is_all()
    }

    /// All that is against a pod; nothing if it is meant.
    #[must_use]
    pub fn against(&self, pod: &Candidate<'_>) -> Vec<String> {
        let of = &self.of;
        let none_of = |what: &str, it: &str, of: &[String]| {
            format!("{what} {it} is none of those tapped ({})", of.join(", "))
        };
        let mut against = Vec::new();
        if pod.labels.get("app.kubernetes.io/name").is_some_and(|it| it == US) {
            against.push("it is Kubeshark itself".to_owned());
        }
        if of.exclude_namespaces.iter().any(|it| it == pod.namespace) {
            against.push(format!("namespace {} is left out", pod.namespace));
        } else if !of.namespaces.is_empty() && !of.namespaces.iter().any(|it| it == pod.namespace) {
            against.push(none_of("namespace", pod.namespace, &of.namespaces));
        }
        if !self.pods.is_match(pod.name) {
            against.push(format!("its name does not match `{}`", of.pods));
        }
        if !self.selector.matches(pod.labels) {
            against.push(format!("its labels do not match `{}`", of.selector));
        }
        match pod.node {
            None => against.push("it is on no node yet".to_owned()),
            Some(node) if !of.nodes.is_empty() && !of.nodes.iter().any(|it| it == node) => {
                against.push(none_of("its node", node, &of.nodes));
            }
            Some(_) => {}
        }
        against
    }
}

/// A label selector as kubectl reads it: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`,
/// with commas between.
fn parse(text: &str) -> Result<Selector, &'static str> {
    let mut depth = 0_i32;
    let parts = text.split(|it: char| {
        depth += i32::from(it == '(') - i32::from(it == ')');
        it == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|it| !it.is_empty());
    parts.map(expression).collect()
}

fn expression(text: &str) -> Result<Expression, &'static str> {
    let key = |it: &str| {
        let it = it.trim();
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
        match !it.is_empty() && it.chars().all(plain) {
            true => Ok(it.to_owned()),
            false => Err("a label's name has letters, digits, `-`, `_`, `.` and one `/`"),
        }
    };
    let list = |it: &str| {
        let inner = it.trim().strip_prefix('(').and_then(|it| it.strip_suffix(')'));
        let inner = inner.ok_or("values stand in parentheses")?;
        Ok::<_, &'static str>(inner.split(',').map(|it| it.trim().to_owned()).collect())
    };
    if let Some((name, values)) = text.split_once(" notin ") {
        return Ok(Expression::NotIn(key(name)?, list(values)?));
    }
    if let Some((name, values)) = text.split_once(" in ") {
        return Ok(Expression::In(key(name)?, list(values)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value.trim().to_owned()));
    }
    if let Some((name, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Expression::Equal(key(name)?, value.trim().to_owned()));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Expression::DoesNotExist(key(name)?)),
        None => Ok(Expression::Exists(key(text)?)),
    }
}

/// What our own pods are labelled with.
const US: &str = "kubeshark";

#[cfg(test)]
mod tests {
    use super::*;

    fn against(
        of: &Targeting,
        name: &str,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Vec<String> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let pod = Candidate { name, namespace, labels: &labels, node: Some("n1") };
        of.matcher().unwrap().against(&pod)
    }

    #[test]
    fn says_all_that_is_against_a_pod() {
        let of = Targeting {
            pods: "^cart".into(),
            namespaces: vec!["shop".into()],
            selector: "tier in (web, api),!test,env!=dev".into(),
            ..Targeting::default()
        };
        assert_eq!(against(&of, "cart-1", "shop", &[("tier", "web")]), [""; 0]);
        assert_eq!(
            against(&of, "pay-1", "bank", &[("tier", "db"), ("test", "")]),
            [
                "namespace bank is none of those tapped (shop)",
                "its name does not match `^cart`",
                "its labels do not match `tier in (web, api),!test,env!=dev`",
            ]
        );
        assert_eq!(against(&of, "cart-1", "shop", &[("tier", "api"), ("env", "dev")]).len(), 1);
        assert_eq!(against(&Targeting::default(), "x", "y", &[]), [""; 0]);
        let left_out = Targeting { exclude_namespaces: vec!["y".into()], ..Targeting::default() };
        assert_eq!(against(&left_out, "x", "y", &[]), ["namespace y is left out"]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let of = |pods: &str, selector: &str| Targeting {
            pods: pods.into(),
            selector: selector.into(),
            ..Targeting::default()
        };
        let why = |it: Targeting| it.matcher().unwrap_err().to_string();
        assert!(why(of("(", "")).starts_with("`(` is no regular expression: "));
        assert_eq!(
            why(of("", "a in b")),
            "`a in b` is no label selector: values stand in parentheses"
        );
        assert!(why(of("", "a b")).contains("is no label selector"));
    }
}
