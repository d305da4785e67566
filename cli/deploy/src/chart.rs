//! The chart in this program, rendered without Helm.

use std::collections::BTreeMap;

use rust_embed::RustEmbed;
use serde_json::{Value, json};

use crate::Error;
use crate::object::Object;
use crate::template::{Templates, World, yaml};
use crate::values;

#[derive(RustEmbed)]
#[folder = "../../helm/kubeshark/"]
struct Files;

/// What to make of the chart.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of this installation.
    pub release: String,
    /// Where it lives.
    pub namespace: String,
    /// Files of values, by name and text; the last one wins.
    pub files: Vec<(String, String)>,
    /// Single values, as in `worker.storage.rows=8Gi`; they win over files.
    pub set: Vec<String>,
    /// Values that win over everything, as JSON.
    pub over: Value,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            release: RELEASE.to_owned(),
            namespace: RELEASE.to_owned(),
            files: Vec::new(),
            set: Vec::new(),
            over: json!({}),
        }
    }
}

/// What the chart came to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was made of.
    pub options: Options,
    /// The values, all of them.
    pub values: Value,
    /// The objects, in the order in which they can be made.
    pub objects: Vec<Object>,
    /// What the chart says to its reader.
    pub notes: String,
}

impl Plan {
    /// The objects as one YAML text.
    #[must_use]
    pub fn manifests(&self) -> String {
        let all: Vec<_> = self.objects.iter().map(|it| yaml::write(it.json())).collect();
        format!("---\n{}\n", all.join("\n---\n"))
    }
}

/// Renders the chart. `there` is asked for objects of the cluster, by API version, kind, namespace and name: the token
/// and the link's certificates of an earlier installation are kept that way.
pub fn render(
    options: &Options,
    there: &dyn Fn(&str, &str, &str, &str) -> Option<Value>,
) -> Result<Plan, Error> {
    render_as(options, "kubeshark", there)
}

/// The same; `service` is who manages the objects.
pub(crate) fn render_as(
    options: &Options,
    service: &str,
    there: &dyn Fn(&str, &str, &str, &str) -> Option<Value>,
) -> Result<Plan, Error> {
    check_names(options)?;
    let values = values_of(options)?;
    let chart = one(&file("Chart.yaml")?)?;
    let root = json!({
        "Values": values,
        "Release": {
            "Name": options.release, "Namespace": options.namespace, "Service": service,
            "IsInstall": true, "IsUpgrade": false, "Revision": 1,
        },
        "Chart": {
            "Name": chart.get("name"), "Version": chart.get("version"),
            "AppVersion": chart.get("appVersion"),
        },
    });
    let mut files = BTreeMap::new();
    for name in Files::iter().filter(|it| it.starts_with("templates/")) {
        files.insert(format!("helm/kubeshark/{name}"), file(&name)?);
    }
    let parsed = Templates::parse(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let random = |length| random(length);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |it| it.as_secs());
    let world = World { lookup: there, random: &random, now };
    let texts = parsed.map_err(mistake)?;
    let mut objects = Vec::new();
    let mut notes = String::new();
    for (name, text) in texts.render(&root, &world).map_err(mistake)? {
        if name.ends_with("NOTES.txt") {
            notes = text;
            continue;
        }
        let documents = yaml::read(&text)
            .map_err(|why| Error::Chart(format!("{name} renders to no YAML: {why}")))?;
        for document in documents {
            let object =
                Object::new(document).map_err(|why| Error::Chart(format!("{name}: {why}")))?;
            objects.push(object);
        }
    }
    objects.sort_by_key(Object::order);
    Ok(Plan { options: options.clone(), values, objects, notes })
}

fn mistake(it: crate::template::Mistake) -> Error {
    if it.of_values { Error::Values(it.to_string()) } else { Error::Chart(it.to_string()) }
}

/// Names go into other names and into selectors.
fn check_names(options: &Options) -> Result<(), Error> {
    for (what, name) in [("release", &options.release), ("namespace", &options.namespace)] {
        let fits = (1..=53).contains(&name.len())
            && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !fits {
            return Err(Error::Values(format!(
                "`{name}` can't be the name of a {what}: up to 53 small letters, digits and `-`"
            )));
        }
    }
    Ok(())
}

fn values_of(options: &Options) -> Result<Value, Error> {
    let mut all = one(&file("values.yaml")?)?;
    for (name, text) in &options.files {
        let over = yaml::read(text).map_err(|why| Error::Values(format!("{name}: {why}")))?;
        match over.as_slice() {
            [] => {}
            [over @ Value::Object(_)] => values::merge(&mut all, over.clone()),
            _ => return Err(Error::Values(format!("{name} holds no values: it is to be one map"))),
        }
    }
    for text in &options.set {
        values::set(&mut all, text).map_err(Error::Values)?;
    }
    values::merge(&mut all, options.over.clone());
    let schema = one(&file("values.schema.json")?)?;
    values::check(&all, &schema).map_err(|wrong| Error::Values(wrong.join("; ")))?;
    Ok(all)
}

fn file(name: &str) -> Result<String, Error> {
    let file = Files::get(name).ok_or_else(|| Error::Chart(format!("the chart has no {name}")))?;
    String::from_utf8(file.data.into_owned())
        .map_err(|_| Error::Chart(format!("{name} of the chart is no text")))
}

fn one(text: &str) -> Result<Value, Error> {
    let mut documents = yaml::read(text).map_err(Error::Chart)?;
    documents.pop().ok_or_else(|| Error::Chart("a file of the chart is empty".to_owned()))
}

/// Letters and digits that nobody can guess.
fn random(length: usize) -> String {
    let mut bytes = vec![0; length.saturating_mul(4)];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut it| std::io::Read::read_exact(&mut it, &mut bytes));
    if read.is_err() {
        return String::new();
    }
    // 62 of 64: the two that are too much are drawn again, from what was read in reserve.
    let letters = bytes.iter().filter_map(|it| LETTERS.get(usize::from(it & 63)));
    letters.take(length).map(|it| char::from(*it)).collect()
}

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The name of an installation, and of its namespace, unless told otherwise.
pub const RELEASE: &str = "kubeshark";
