//! An API server in memory: lists, watches, creates, replaces, applies and deletes, with resourceVersions, optimistic
//! concurrency, immutable Secrets and garbage collection. It stands in for the webhook, too, as far as it stamps.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Plural, namespace, name.
type Place = (String, String, String);

/// The server. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    grown: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Place, Value>,
    /// Every watch event since the beginning.
    events: Vec<(u64, String, Value)>,
    /// Every request that changed something, or tried to: `PATCH secrets/ns/name`.
    writes: Vec<String>,
    /// The kind whose watches show nothing for now.
    held_back: Option<&'static str>,
    /// The kind of which nothing can be made for now.
    unmakeable: Option<&'static str>,
    /// Every so many writes one is answered with 503, half of those after it was made.
    fails_every: Option<usize>,
    counted: usize,
}

/// A request's path and query, taken apart.
struct Asked {
    place: Place,
    status: bool,
    query: BTreeMap<String, String>,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), grown: watch::Sender::new(0) }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }

    pub(crate) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let place = (String::from(plural), String::from(namespace), String::from(name));
        self.locked().objects.get(&place).cloned()
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.locked();
        let of_kind = state.objects.iter().filter(|((of, ..), _)| of == plural);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// Makes an object as a user would.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        let place = place_of(plural, &object);
        let outcome = self.locked().create(place, object);
        outcome.expect("the test makes an object once");
        self.grow();
    }

    /// Changes an object as a user would.
    pub(crate) fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(plural, namespace, name).expect("the test edits what exists");
        edit(&mut object);
        self.locked().store((String::from(plural), String::from(namespace), String::from(name)), object);
        self.grow();
    }

    pub(crate) fn remove(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let gone = self.locked().delete(&(String::from(plural), String::from(namespace), String::from(name)));
        self.grow();
        gone.expect("the test deletes what exists")
    }

    /// From now on watches of this kind lag: they show nothing until another is named, or none.
    pub(crate) fn hold_back(&self, plural: Option<&'static str>) {
        self.locked().held_back = plural;
        self.grow();
    }

    /// From now on nothing of this kind can be made: it is answered with 503.
    pub(crate) fn fail_creating(&self, plural: Option<&'static str>) {
        self.locked().unmakeable = plural;
    }

    /// From now on, of every `count` writes one is answered with 503; every other such one takes effect all the same.
    pub(crate) fn fail_every(&self, count: usize) {
        self.locked().fails_every = Some(count);
    }

    /// The requests so far that changed something, but for Leases and events; and forgets them.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.locked().writes);
        writes
            .into_iter()
            .filter(|write| !write.contains(" leases/") && !write.contains(" events/"))
            .collect()
    }

    fn grow(&self) {
        let events = self.locked().events.len();
        self.grown.send_replace(events);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let asked = Asked::parse(request.uri());
        let method = request.method().clone();
        if method == Method::GET {
            return self.read(&asked);
        }
        let body = request.into_body().collect_bytes().await.expect("a body in memory");
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let fails = self.locked().next_fails();
        let outcome = if fails == Some(false) {
            Err(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            self.locked().change(&method, asked, body)
        };
        self.grow();
        match outcome {
            Ok(_) if fails.is_some() => failure(StatusCode::SERVICE_UNAVAILABLE),
            Ok(object) => ok(&object),
            Err(code) => failure(code),
        }
    }

    fn read(&self, asked: &Asked) -> Response<Answer> {
        if !asked.place.2.is_empty() {
            let found = self.locked().objects.get(&asked.place).cloned();
            return found.map_or_else(|| failure(StatusCode::NOT_FOUND), |object| ok(&object));
        }
        if asked.query.contains_key("watch") {
            return self.watch(asked);
        }
        let state = self.locked();
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((plural, ..), object)| *plural == asked.place.0 && asked.selects(object))
            .map(|(_, object)| object)
            .collect();
        let metadata = json!({"resourceVersion": state.version.to_string()});
        ok(&json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(&self, asked: &Asked) -> Response<Answer> {
        let since: u64 = asked.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (place, query) = (asked.place.clone(), asked.query.clone());
        let from = (self.clone(), self.grown.subscribe(), 0);
        let lines = stream::unfold(from, move |(api, mut grown, mut next)| {
            let asked = Asked { place: place.clone(), status: false, query: query.clone() };
            async move {
                loop {
                    let lags = api.locked().held_back == Some(asked.place.0.as_str());
                    let found = if lags { None } else { api.locked().events.get(next).cloned() };
                    let Some((version, plural, event)) = found else {
                        grown.changed().await.ok()?;
                        continue;
                    };
                    next += 1;
                    if version > since && plural == asked.place.0 && asked.selects(&event["object"]) {
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok::<_, Infallible>(Frame::data(line)), (api, grown, next)));
                    }
                }
            }
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

impl State {
    /// Whether the next write fails, and if so, whether it takes effect.
    fn next_fails(&mut self) -> Option<bool> {
        self.counted += 1;
        let every = self.fails_every?;
        self.counted.is_multiple_of(every).then_some(self.counted.is_multiple_of(2 * every))
    }

    fn change(&mut self, method: &Method, asked: Asked, body: Value) -> Result<Value, StatusCode> {
        let (plural, namespace, name) = &asked.place;
        let name = body["metadata"]["name"].as_str().unwrap_or(name);
        self.writes.push(format!(
            "{method} {plural}/{namespace}/{name}{}",
            if asked.status { "/status" } else { "" }
        ));
        match *method {
            Method::POST if self.unmakeable == Some(plural.as_str()) => Err(StatusCode::SERVICE_UNAVAILABLE),
            Method::POST => self.create((plural.clone(), namespace.clone(), String::from(name)), body),
            Method::PUT => {
                let held = self.objects.get(&asked.place).ok_or(StatusCode::NOT_FOUND)?;
                if held["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    return Err(StatusCode::CONFLICT);
                }
                Ok(self.store(asked.place, body))
            }
            Method::PATCH => self.apply(asked, body),
            Method::DELETE => {
                let held = self.objects.get(&asked.place).ok_or(StatusCode::NOT_FOUND)?;
                let wanted = &body["preconditions"]["uid"];
                if !wanted.is_null() && held["metadata"]["uid"] != *wanted {
                    return Err(StatusCode::CONFLICT);
                }
                self.delete(&asked.place).ok_or(StatusCode::NOT_FOUND)
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn create(&mut self, place: Place, mut object: Value) -> Result<Value, StatusCode> {
        if self.objects.contains_key(&place) {
            return Err(StatusCode::CONFLICT);
        }
        if place.0 == "vaultmembers" && object["spec"]["lastWriter"].is_null() {
            let operator = json!({"username": "system:serviceaccount:coffer-system:coffer-operator"});
            object["spec"]["lastWriter"] = operator.clone();
            object["spec"]["invitedBy"] = operator;
        }
        let uid = format!("uid-{}", self.version + 1);
        object["metadata"]["uid"] = json!(uid);
        object["metadata"]["creationTimestamp"] = json!(Timestamp::now().strftime("%FT%TZ").to_string());
        object["metadata"]["generation"] = json!(0);
        Ok(self.store(place, object))
    }

    fn apply(&mut self, asked: Asked, body: Value) -> Result<Value, StatusCode> {
        let Some(held) = self.objects.get(&asked.place) else {
            return if asked.status { Err(StatusCode::NOT_FOUND) } else { self.create(asked.place, body) };
        };
        for guard in ["uid", "resourceVersion"] {
            let wanted = &body["metadata"][guard];
            if !wanted.is_null() && *wanted != held["metadata"][guard] {
                return Err(StatusCode::CONFLICT);
            }
        }
        let mut object = held.clone();
        if asked.status {
            let used = held["status"]["lastUsedAt"].clone();
            object["status"] = body["status"].clone();
            if !used.is_null() {
                object["status"]["lastUsedAt"] = used;
            }
        } else {
            if held["immutable"] == json!(true) && held["data"] != body["data"] {
                return Err(StatusCode::UNPROCESSABLE_ENTITY);
            }
            merge(&mut object, &body);
        }
        if object == *held { Ok(object) } else { Ok(self.store(asked.place, object)) }
    }

    fn store(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        let held = self.objects.get(&place);
        let same_spec = held.is_some_and(|held| held["spec"] == object["spec"]);
        if !same_spec {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if held.is_some() { "MODIFIED" } else { "ADDED" };
        self.events.push((self.version, place.0.clone(), json!({"type": kind, "object": object})));
        self.objects.insert(place, object.clone());
        object
    }

    fn delete(&mut self, place: &Place) -> Option<Value> {
        let mut gone = self.objects.remove(place)?;
        self.version += 1;
        gone["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push((self.version, place.0.clone(), json!({"type": "DELETED", "object": gone})));
        let uid = gone["metadata"]["uid"].clone();
        let owned = |object: &Value| {
            let references = object["metadata"]["ownerReferences"].as_array();
            references.is_some_and(|all| all.iter().any(|reference| reference["uid"] == uid))
        };
        let dependants: Vec<Place> =
            self.objects.iter().filter(|(_, object)| owned(object)).map(|(place, _)| place.clone()).collect();
        for place in dependants {
            self.delete(&place);
        }
        Some(gone)
    }
}

impl Asked {
    fn parse(uri: &Uri) -> Self {
        let mut parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        parts.drain(..if parts[0] == "api" { 2 } else { 3 });
        let namespace = if parts[0] == "namespaces" && parts.len() > 2 {
            let namespace = parts[1];
            parts.drain(..2);
            namespace
        } else {
            ""
        };
        let part = |index: usize| String::from(parts.get(index).copied().unwrap_or_default());
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query =
            query.map(|(key, value)| (String::from(key), value.replace("%3D", "=").replace("%2F", "/")));
        Self {
            place: (part(0), String::from(namespace), part(1)),
            status: part(2) == "status",
            query: query.collect(),
        }
    }

    fn selects(&self, object: &Value) -> bool {
        let by_name = self.query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
        let by_label = self.query.get("labelSelector").and_then(|text| text.split_once('='));
        by_name.is_none_or(|name| object["metadata"]["name"] == name)
            && by_label.is_none_or(|(label, value)| object["metadata"]["labels"][label] == value)
    }
}

fn place_of(plural: &str, object: &Value) -> Place {
    let text = |value: &Value| String::from(value.as_str().unwrap_or_default());
    (String::from(plural), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// As server-side apply merges what the operator sends: maps by key, `webhooks` by name, other lists as one.
fn merge(held: &mut Value, applied: &Value) {
    let (Value::Object(held), Value::Object(applied)) = (&mut *held, applied) else {
        *held = applied.clone();
        return;
    };
    for (key, value) in applied {
        let present = held.entry(key.clone()).or_insert(Value::Null);
        match (present, value) {
            (Value::Array(present), Value::Array(wanted)) if key == "webhooks" => {
                for item in wanted {
                    match present.iter_mut().find(|known| known["name"] == item["name"]) {
                        Some(known) => merge(known, item),
                        None => present.push(item.clone()),
                    }
                }
            }
            (present, value) => merge(present, value),
        }
    }
}

/// Whole or streamed.
type Answer = UnsyncBoxBody<Bytes, Infallible>;

fn full(object: &Value) -> Answer {
    Full::new(Bytes::from(object.to_string())).boxed_unsync()
}

fn ok(object: &Value) -> Response<Answer> {
    Response::new(full(object))
}

fn failure(code: StatusCode) -> Response<Answer> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": code.as_str(),
        "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""), "code": code.as_u16()});
    let mut response = Response::new(full(&status));
    *response.status_mut() = code;
    response
}
