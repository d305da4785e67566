//! Patches, and who owns which field.
//!
//! Server-side apply, so far as tests need it: leaves are owned by the manager that set them last;
//! another one that applies a different value is refused unless it forces; what a manager applied
//! and applies no longer goes. Lists of objects with a `name` (or `port`, `type`, `ip`) are merged by it, others are
//! one value.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Who set which field last, by the field's path.
pub(crate) type Owners = BTreeMap<String, BTreeSet<String>>;

/// A field that somebody else owns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) manager: String,
    pub(crate) field: String,
}

/// What `manager` applies, merged into `object`. The conflicts, if there are any and it does not force.
pub(crate) fn apply(
    object: &Value,
    owners: &Owners,
    applied: &Value,
    manager: &str,
    force: bool,
) -> Result<(Value, Owners), Vec<Conflict>> {
    let mut leaves = BTreeMap::new();
    flatten(applied, "", &mut leaves);
    leaves.retain(|path, _| !is_identity(path));
    let mut before = BTreeMap::new();
    flatten(object, "", &mut before);
    let mut conflicts = Vec::new();
    let mut owners = owners.clone();
    for (path, value) in &leaves {
        let others = owners.get(path).into_iter().flatten().filter(|it| *it != manager);
        let others = others.cloned().collect::<Vec<_>>();
        if before.get(path).is_some_and(|it| it != value) && !others.is_empty() {
            let field = field(path);
            let of = |it: &String| Conflict { manager: it.clone(), field: field.clone() };
            conflicts.extend(others.iter().map(of));
            owners.insert(path.clone(), BTreeSet::new());
        }
    }
    if !conflicts.is_empty() && !force {
        return Err(conflicts);
    }
    let mut merged = object.clone();
    // What it applied before and does not any more goes, if nobody else owns it.
    let mut gone = Vec::new();
    for (path, by) in &mut owners {
        if !leaves.contains_key(path) && by.remove(manager) && by.is_empty() {
            gone.push(path.clone());
        }
    }
    // What an item of a list is found by goes last.
    let rank = |it: &str| KEYS.iter().position(|key| *key == it).map(|it| KEYS.len() - it);
    gone.sort_by_key(|it| it.rsplit('/').next().and_then(rank));
    for path in &gone {
        remove(&mut merged, &split(path));
    }
    owners.retain(|_, by| !by.is_empty());
    merge(&mut merged, applied);
    for path in leaves.into_keys() {
        owners.entry(path).or_default().insert(manager.to_owned());
    }
    Ok((merged, owners))
}

/// Notes that `manager` changed what differs between two states.
pub(crate) fn updated(before: &Value, after: &Value, owners: &mut Owners, manager: &str) {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    flatten(before, "", &mut old);
    flatten(after, "", &mut new);
    for (path, value) in &new {
        if !is_identity(path) && old.get(path) != Some(value) {
            owners.insert(path.clone(), BTreeSet::from([manager.to_owned()]));
        }
    }
    owners.retain(|path, _| new.contains_key(path));
}

/// RFC 7386.
pub(crate) fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(object) = object.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge_patch(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Says which object it is, and is nobody's.
fn is_identity(path: &str) -> bool {
    let of = [
        "/apiVersion",
        "/kind",
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/resourceVersion",
    ];
    of.contains(&path) || path.starts_with("/metadata/managedFields")
}

fn merge(object: &mut Value, applied: &Value) {
    match (object, applied) {
        (Value::Object(object), Value::Object(applied)) => {
            for (key, value) in applied {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(object), Value::Array(applied)) if keyed(applied) && keyed(object) => {
            for item in applied {
                match object.iter_mut().find(|it| key_of(it) == key_of(item)) {
                    Some(there) => merge(there, item),
                    None => object.push(item.clone()),
                }
            }
        }
        (object, applied) => *object = applied.clone(),
    }
}

fn key_of(item: &Value) -> Option<String> {
    let key = |key: &&str| item.get(key).map(|it| format!("{key}={it}").replace('/', "~1"));
    KEYS.iter().find_map(key)
}

fn keyed(list: &[Value]) -> bool {
    let keys = list.iter().map(key_of).collect::<Option<BTreeSet<_>>>();
    keys.is_some_and(|it| it.len() == list.len())
}

fn flatten(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(value, &format!("{path}/{}", key.replace('/', "~1")), into);
            }
        }
        Value::Array(items) if !items.is_empty() && keyed(items) => {
            for item in items {
                flatten(item, &format!("{path}/[{}]", key_of(item).unwrap_or_default()), into);
            }
        }
        other => drop(into.insert(path.to_owned(), other.clone())),
    }
}

/// As the API server names a field: `.spec.ports[name="http"].port`.
fn field(path: &str) -> String {
    let mut field = String::new();
    for step in split(path) {
        if !step.starts_with('[') {
            field.push('.');
        }
        field.push_str(&step.replace("~1", "/"));
    }
    field
}

fn split(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(str::to_owned).collect()
}

/// Removes a leaf, and what is empty without it.
fn remove(value: &mut Value, path: &[String]) {
    let [first, rest @ ..] = path else { return };
    match value {
        Value::Object(fields) => {
            let key = first.replace("~1", "/");
            if let Some(inner) = fields.get_mut(&key).filter(|_| !rest.is_empty()) {
                remove(inner, rest);
                if !is_empty(inner) {
                    return;
                }
            }
            fields.remove(&key);
        }
        Value::Array(items) => {
            let wanted =
                |it: &Value| key_of(it).map(|it| format!("[{it}]")).as_ref() == Some(first);
            let Some(at) = items.iter().position(wanted) else { return };
            if let Some(item) = items.get_mut(at).filter(|_| !rest.is_empty()) {
                // Its key is the last that is left of it.
                remove(item, rest);
                if !is_empty(item) {
                    return;
                }
            }
            items.remove(at);
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// What items of a list are told apart by.
const KEYS: [&str; 5] = ["name", "containerPort", "port", "type", "ip"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_applied_no_longer_goes_and_what_others_set_stays() {
        let first =
            json!({"spec": {"replicas": 1, "image": "a", "ports": [{"name": "x", "port": 1}]}});
        let (object, owners) = apply(&json!({}), &Owners::new(), &first, "us", false).unwrap();
        let mut changed = object.clone();
        merge_patch(&mut changed, &json!({"spec": {"replicas": 3, "note": "theirs"}}));
        let mut owners = owners;
        updated(&object, &changed, &mut owners, "them");
        let next = json!({"spec": {"image": "b"}});
        let (object, owners) = apply(&changed, &owners, &next, "us", false).unwrap();
        assert_eq!(object, json!({"spec": {"replicas": 3, "note": "theirs", "image": "b"}}));
        let refused = apply(&object, &owners, &json!({"spec": {"replicas": 1}}), "us", false);
        let conflict = Conflict { manager: "them".into(), field: ".spec.replicas".into() };
        assert_eq!(refused.unwrap_err(), [conflict]);
        let forced = apply(&object, &owners, &json!({"spec": {"replicas": 1}}), "us", true);
        assert_eq!(forced.unwrap().0["spec"]["replicas"], 1);
    }
}
