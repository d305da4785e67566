//! What is stored, and what happened to it.
use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::apply::{self, Owners};
use crate::kinds::Kind;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The API group.
    pub group: String,
    /// The name of the kind in a path.
    pub plural: String,
    /// Empty for what is in none.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// Of a kind that is served in one version.
    pub fn new(group: &str, plural: &str, namespace: &str, name: &str) -> Self {
        let [group, plural, namespace, name] = [group, plural, namespace, name].map(str::to_owned);
        Self { group, plural, namespace, name }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) key: Key,
    /// None: it was not there before.
    pub(crate) before: Option<Value>,
    /// None: it is not there any more.
    pub(crate) after: Option<Value>,
}

/// A refusal, as the API says it.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// What is wrong in particular.
    pub(crate) causes: Vec<Value>,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), causes: Vec::new() }
    }

    pub(crate) fn json(&self) -> Value {
        let mut json = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message,
        });
        if !self.causes.is_empty() {
            json["details"] = json!({"causes": self.causes});
        }
        json
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Objects {
    version: u64,
    there: BTreeMap<Key, (Value, Owners)>,
    happened: VecDeque<Event>,
    /// What happened up to this version is forgotten.
    forgotten: u64,
}

impl Objects {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.there.get(key).map(|it| &it.0)
    }

    pub(crate) fn all(&self) -> Vec<(Key, Value)> {
        self.there.iter().map(|(key, it)| (key.clone(), it.0.clone())).collect()
    }

    pub(crate) fn of<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let of = |it: &(&'a Key, &'a (Value, Owners))| {
            it.0.group == kind.group && it.0.plural == kind.plural
        };
        self.there.iter().filter(of).map(|(key, it)| (key, &it.0))
    }

    /// What happened after a version; none if that is forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Event>> {
        let after = self.happened.iter().filter(|it| it.version > version);
        (version >= self.forgotten).then(|| after.cloned().collect())
    }

    pub(crate) fn expire(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.happened.clear();
    }

    /// Creates or replaces.
    pub(crate) fn put(&mut self, object: Value, manager: &str) -> Result<Value, Status> {
        let key = self.key(&object)?;
        let before = self.there.get(&key).cloned();
        let (old, mut owners) = before.unwrap_or_else(|| (Value::Null, Owners::new()));
        apply::updated(&old, &object, &mut owners, manager);
        self.store(key, object, owners)
    }

    pub(crate) fn create(&mut self, object: Value, manager: &str) -> Result<Value, Status> {
        let mut object = object;
        if let Some(prefix) = object["metadata"]["generateName"].as_str()
            && object["metadata"]["name"].is_null()
        {
            let name = format!("{prefix}{:05}", self.version % 100_000);
            object["metadata"]["name"] = name.into();
        }
        let key = self.key(&object)?;
        if self.there.contains_key(&key) {
            let message = format!("{} \"{}\" already exists", key.plural, key.name);
            return Err(Status::new(409, "AlreadyExists", message));
        }
        self.put(object, manager)
    }

    /// Replaces what is there, if it is as old as the new one says.
    pub(crate) fn update(
        &mut self,
        key: &Key,
        object: Value,
        manager: &str,
    ) -> Result<Value, Status> {
        let there = self.get(key).ok_or_else(|| missing(key))?;
        let (ours, theirs) =
            (&there["metadata"]["resourceVersion"], &object["metadata"]["resourceVersion"]);
        if !theirs.is_null() && theirs != ours {
            let message = format!("the object {} has been modified", key.name);
            return Err(Status::new(409, "Conflict", message));
        }
        self.put(object, manager)
    }

    pub(crate) fn patch(
        &mut self,
        key: &Key,
        patch: &Value,
        manager: &str,
    ) -> Result<Value, Status> {
        let (before, owners) = self.there.get(key).cloned().ok_or_else(|| missing(key))?;
        let (mut after, mut owners) = (before.clone(), owners);
        apply::merge_patch(&mut after, patch);
        apply::updated(&before, &after, &mut owners, manager);
        self.store(key.clone(), after, owners)
    }

    /// Server-side apply. With `dry`, nothing is kept.
    pub(crate) fn apply(
        &mut self,
        key: &Key,
        applied: &Value,
        manager: &str,
        force: bool,
        dry: bool,
    ) -> Result<Value, Status> {
        self.namespace_is_there(key)?;
        let before = self.there.get(key).cloned();
        let (old, owners) = before.unwrap_or_else(|| (json!({}), Owners::new()));
        // Who names a version means that one.
        let wanted = &applied["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != old["metadata"]["resourceVersion"] {
            let message = format!(
                "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes \
                 to the latest version and try again",
                key.plural, key.name
            );
            return Err(Status::new(409, "Conflict", message));
        }
        let merged = apply::apply(&old, &owners, applied, manager, force);
        let (merged, owners) = merged.map_err(|conflicts| {
            let n = conflicts.len();
            let say = |it: &apply::Conflict| format!("conflict with \"{}\" using v1", it.manager);
            let all: Vec<_> =
                conflicts.iter().map(|it| format!("{}: {}", say(it), it.field)).collect();
            let message = format!("Apply failed with {n} conflict(s): {}", all.join("; "));
            let causes = conflicts.iter().map(|it| {
                json!({"reason": "FieldManagerConflict", "message": say(it), "field": it.field})
            });
            Status { causes: causes.collect(), ..Status::new(409, "Conflict", message) }
        })?;
        if dry {
            return Ok(merged);
        }
        if merged == old {
            return Ok(old);
        }
        self.store(key.clone(), merged, owners)
    }

    /// Deletes an object and what it owns; a namespace with all that is in it.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<Value, Status> {
        let (before, _) = self.there.remove(key).ok_or_else(|| missing(key))?;
        self.version += 1;
        let mut last = before.clone();
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.note(key.clone(), Some(last), None);
        let uid = &before["metadata"]["uid"];
        let owned = |it: &Value| {
            let owners = it["metadata"]["ownerReferences"].as_array();
            owners.into_iter().flatten().any(|it| it["uid"] == *uid)
        };
        let inside = |it: &Key| key.plural == "namespaces" && it.namespace == key.name;
        let gone = self.there.iter().filter(|(key, it)| inside(key) || owned(&it.0));
        for key in gone.map(|it| it.0.clone()).collect::<Vec<_>>() {
            // It may have gone with another one.
            drop(self.delete(&key));
        }
        Ok(before)
    }

    fn key(&self, object: &Value) -> Result<Key, Status> {
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let found = Kind::of(&version, &kind);
        let found = found
            .ok_or_else(|| Status::new(404, "NotFound", format!("no kind {kind} in {version}")))?;
        let metadata = &object["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        if name.is_empty() || name.len() > 253 {
            return Err(Status::new(
                422,
                "Invalid",
                format!("{kind}: metadata.name: Required value"),
            ));
        }
        if found.namespaced == namespace.is_empty() {
            let message = format!("{kind} {name}: metadata.namespace does not fit the kind");
            return Err(Status::new(422, "Invalid", message));
        }
        let key = Key::new(found.group, found.plural, &namespace, &name);
        self.namespace_is_there(&key)?;
        Ok(key)
    }

    fn namespace_is_there(&self, key: &Key) -> Result<(), Status> {
        let namespace = Key::new("", "namespaces", "", &key.namespace);
        if key.namespace.is_empty() || self.there.contains_key(&namespace) {
            return Ok(());
        }
        let message = format!("namespaces \"{}\" not found", key.namespace);
        Err(Status::new(404, "NotFound", message))
    }

    fn store(&mut self, key: Key, object: Value, owners: Owners) -> Result<Value, Status> {
        let before = self.there.get(&key).map(|it| it.0.clone());
        self.version += 1;
        let mut object = object;
        let old = before.as_ref().map(|it| &it["metadata"]);
        let created = "2026-01-01T00:00:00Z";
        let changed = before.as_ref().is_none_or(|it| it["spec"] != object["spec"]);
        let generation = old.and_then(|it| it["generation"].as_u64()).unwrap_or_default();
        let metadata = &mut object["metadata"];
        metadata["uid"] = old.map_or_else(
            || format!("00000000-0000-4000-8000-{:012}", self.version).into(),
            |it| it["uid"].clone(),
        );
        metadata["creationTimestamp"] = created.into();
        metadata["generation"] = (generation + u64::from(changed)).into();
        metadata["resourceVersion"] = self.version.to_string().into();
        let managers = owners.values().flatten().collect::<std::collections::BTreeSet<_>>();
        metadata["managedFields"] =
            managers.iter().map(|it| json!({"manager": it, "operation": "Apply"})).collect();
        self.there.insert(key.clone(), (object.clone(), owners));
        self.note(key, before, Some(object.clone()));
        Ok(object)
    }

    fn note(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        self.happened.push_back(Event { version: self.version, key, before, after });
        if self.happened.len() > KEPT_EVENTS {
            let gone = self.happened.pop_front();
            self.forgotten = gone.map_or(self.forgotten, |it| it.version);
        }
    }
}

pub(crate) fn missing(key: &Key) -> Status {
    Status::new(404, "NotFound", format!("{} \"{}\" not found", key.plural, key.name))
}

/// What happened before that is forgotten.
const KEPT_EVENTS: usize = 200_000;
