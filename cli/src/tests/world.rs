//! A vault whose keys are real, an API server that answers from a list and keeps what was asked, and a person with a
//! home of their own.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use coffer_broker_api::people;
use coffer_crds::Release;
use coffer_envelope::{Custodian, OpenKeyring};
use coffer_keys::{SecretBytes, VaultId, answer::AnswerPublicKey};
use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::{
    Cli, Failure,
    cluster::Cluster,
    command,
    desk::{Desk, Person},
    home::Home,
    random,
};

/// What an API server was asked to write: method, path, body.
pub(super) type Written = (String, String, Value);

/// One answer: method, path, code, body.
pub(super) type Answer = (&'static str, &'static str, u16, Value);

pub(super) const VAULTS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaults";
pub(super) const VAULT: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaults/team";
pub(super) const MEMBERS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaultmembers";
pub(super) const BOB: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/vaultmembers/bob";
pub(super) const CONNECTIONS: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/connections";
pub(super) const GITHUB: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/connections/github";
pub(super) const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Everything around one command.
pub(super) struct World {
    pub(super) keyring: OpenKeyring,
    pub(super) folder: tempfile::TempDir,
    pub(super) answers: Vec<Answer>,
    /// What is answered before all others from the moment on that something was made in a collection, which comes first.
    pub(super) once_made: Vec<(&'static str, Answer)>,
    pub(super) written: Arc<Mutex<Vec<Written>>>,
    pub(super) person: Scripted,
    /// What the broker says to whoever asks for values.
    pub(super) broker: Option<Broker>,
    user: String,
}

/// A broker, by what it answers.
pub(super) type Broker = Arc<dyn Fn(&Release) -> people::Answer + Send + Sync>;

/// Where the questions are.
const RELEASES: &str = "/apis/coffer.dev/v1alpha1/namespaces/team/releases";

/// Somebody who answers as written down; nobody, without answers.
#[derive(Default)]
pub(super) struct Scripted {
    pub(super) types: VecDeque<&'static str>,
    pub(super) pipes: Option<&'static str>,
    /// Whether the answer goes to a screen.
    pub(super) sees: bool,
    /// What they make of a text in an editor; without it the editor fails.
    pub(super) edits: Option<fn(&str) -> String>,
}

/// What a command came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<(), Failure>,
    pub(super) answer: String,
    pub(super) notes: String,
}

impl Outcome {
    pub(super) fn answer(&self) -> &str {
        assert!(self.result.is_ok(), "{self:?}");
        &self.answer
    }

    pub(super) fn refused(&self) -> (u8, String) {
        let failure = self.result.as_ref().expect_err("a failure");
        (failure.exit_code(), failure.to_string())
    }
}

impl World {
    /// As `user`, who is also in group devs.
    pub(super) fn new(user: &str) -> Self {
        let custodian = Custodian::generate(&mut random());
        let id = VaultId::generate(&mut random());
        let keyring = custodian.new_keyring(id, "uid-team", jiff::Timestamp::UNIX_EPOCH, &mut random());
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
            "status": {"userInfo": {"username": user, "groups": ["devs", "system:authenticated"]}}});
        Self {
            keyring,
            folder: tempfile::tempdir().expect("a folder"),
            answers: vec![("POST", WHOAMI, 201, review)],
            once_made: Vec::new(),
            written: Arc::default(),
            person: Scripted::default(),
            broker: None,
            user: user.to_owned(),
        }
    }

    pub(super) fn home(&self) -> Home {
        let at = |path: &str| self.folder.path().join(path);
        Home { key: at("config/key"), ssh_key: at("ssh/id_ed25519"), pins: at("state/vaults.json") }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The vault `team` as its status shows it.
    pub(super) fn vault(&self) -> Value {
        let intake = self.keyring.intake_key().expect("a key");
        json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Vault",
        "metadata": {"name": "team", "namespace": "team", "uid": "uid-team", "generation": 1},
        "spec": {"owners": [{"user": {"name": "alice"}}]},
        "status": {
            "vaultID": self.keyring.vault_id().to_string(), "custodianKey": self.keyring.custodian_key(),
            "intakeKey": intake, "keyEpoch": 1, "conditions": ready("True", "Available"),
        }})
    }

    /// The vault, its members, and a Connection, to be read.
    pub(super) fn with_team(mut self) -> Self {
        let vault = self.vault();
        let members = [
            member("alice", "owner", "Active"),
            member("bob", "member", "Active"),
            member("carol", "member", "Active"),
        ];
        let github = github();
        for (list, kind, items) in [
            (VAULTS, "Vault", vec![vault.clone()]),
            (MEMBERS, "VaultMember", members.to_vec()),
            (CONNECTIONS, "Connection", vec![github.clone()]),
        ] {
            self.answers.push(("GET", list, 200, list_of(kind, &items)));
        }
        self.answers.push(("GET", VAULT, 200, vault));
        self.answers.push(("GET", BOB, 200, members[1].clone()));
        self.answers.push(("GET", GITHUB, 200, github));
        self
    }

    /// Puts an answer before all others to the same question.
    pub(super) fn answering(mut self, answer: Answer) -> Self {
        self.answers.insert(0, answer);
        self
    }

    fn cluster(&self, dry_run: bool) -> Cluster {
        let (mut answers, written) = (self.answers.clone(), self.written.clone());
        let once_made = self.once_made.clone();
        let (broker, user) = (self.broker.clone(), self.user.clone());
        let mut asked: Option<Release> = None;
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            while let Some((request, send)) = handle.next_request().await {
                let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
                let query = request.uri().query().unwrap_or_default().to_owned();
                let body = request.into_body().collect_bytes().await.expect("a body");
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                if method != "GET" && path != WHOAMI {
                    let place =
                        if query.contains("dryRun") { format!("{path}?dryRun") } else { path.clone() };
                    written.lock().expect("nobody panicked").push((method.clone(), place, body.clone()));
                }
                let found = answers.iter().find(|(m, p, ..)| *m == method && *p == path);
                if let (true, Some(broker)) = (path.starts_with(RELEASES), &broker) {
                    if method == "POST" {
                        asked = Some(stamped(body.clone(), &user));
                    }
                    let release = asked.clone().map(|release| answered(release, broker));
                    let bytes = serde_json::to_vec(&release).expect("a JSON value");
                    send.send_response(Response::new(Body::from(bytes)));
                    continue;
                }
                let (code, answer) = match found {
                    Some((_, _, code, answer)) => (*code, merged(answer.clone(), body)),
                    None => (404, status(404, &format!("{method} {path} not found"))),
                };
                for (_, later) in once_made.iter().filter(|(place, _)| method == "POST" && *place == path) {
                    answers.insert(0, later.clone());
                }
                let bytes = serde_json::to_vec(&answer).expect("a JSON value");
                let response = Response::builder().status(code).header("content-type", "application/json");
                send.send_response(response.body(Body::from(bytes)).expect("a response"));
            }
        });
        Cluster {
            client: Client::new(service, "team"),
            namespace: "team".to_owned(),
            server: "https://cluster.example".to_owned(),
            dry_run,
        }
    }

    /// Does a command, as it is typed.
    pub(super) async fn run(&mut self, words: &[&str]) -> Outcome {
        let typed = ["kubectl-coffer"].into_iter().chain(words.iter().copied());
        let cli = Cli::try_parse_from(typed).expect("a command line");
        let cluster = self.cluster(cli.options.dry_run);
        let (mut answer, mut notes) = (Vec::new(), Vec::new());
        let home = self.home();
        let mut desk = Desk {
            options: cli.options,
            home,
            person: &mut self.person,
            answer: &mut answer,
            notes: &mut notes,
        };
        let is_local = matches!(cli.verb, command::Verb::Key { .. } | command::Verb::Seal(_));
        let result = if is_local {
            command::execute(cli.verb, &mut desk).await
        } else {
            command::on_cluster(&cli.verb, &mut desk, &cluster).await
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Outcome { result, answer: text(answer), notes: text(notes) }
    }

    /// What was written, in order.
    pub(super) fn written(&self) -> Vec<Written> {
        self.written.lock().expect("nobody panicked").clone()
    }
}

/// What admission makes of a question.
fn stamped(body: Value, user: &str) -> Release {
    let mut release: Release = serde_json::from_value(body).expect("a Release");
    release.metadata.uid = Some("uid-release".to_owned());
    release.spec.requester = Some(coffer_crds::Author { username: user.to_owned(), ..Default::default() });
    release
}

/// What a broker writes.
fn answered(mut release: Release, broker: &Broker) -> Release {
    let key = AnswerPublicKey::parse(&release.spec.public_key).expect("a key");
    let answer = broker(&release);
    let sealed = people::with_context(&release, &release.spec, |context| {
        coffer_keys::answer::seal(&key, context, &answer.encode(), &mut random())
    });
    release.status = Some(coffer_crds::ReleaseStatus {
        phase: Some(coffer_crds::RequestPhase::Answered),
        result: Some(STANDARD.encode(sealed)),
        ..Default::default()
    });
    release
}

/// The answer to a write is what was written, over what the list says of it.
fn merged(mut answer: Value, body: Value) -> Value {
    let is_status = answer["kind"] == "Status";
    if let (false, Some(spec), Some(target)) =
        (is_status, body["spec"].as_object(), answer.get_mut("spec").and_then(Value::as_object_mut))
    {
        target.extend(spec.clone().into_iter().filter(|(_, value)| !value.is_null()));
    }
    answer
}

impl Person for Scripted {
    fn is_there(&self) -> bool {
        !self.types.is_empty()
    }

    fn hidden(&mut self, _: &str) -> io::Result<SecretBytes> {
        self.line("").map(|typed| SecretBytes::new(typed.into_bytes()))
    }

    fn line(&mut self, _: &str) -> io::Result<String> {
        self.types.pop_front().map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn sees_the_answer(&self) -> bool {
        self.sees
    }

    fn sees_the_notes(&self) -> bool {
        false
    }

    fn edit(&mut self, file: &Path) -> io::Result<()> {
        let edit = self.edits.ok_or(io::ErrorKind::NotFound)?;
        std::fs::write(file, edit(&std::fs::read_to_string(file)?))
    }

    fn standard_input(&mut self) -> io::Result<SecretBytes> {
        Ok(SecretBytes::new(self.pipes.unwrap_or_default().as_bytes().to_vec()))
    }
}

pub(super) fn member(name: &str, role: &str, phase: &str) -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "VaultMember",
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "creationTimestamp": jiff::Timestamp::now().to_string()},
        "spec": {"vault": "team", "subject": {"user": {"name": name}}, "role": role},
        "status": {"phase": phase, "conditions": ready(if phase == "Active" { "True" } else { "False" }, phase)}})
}

pub(super) fn github() -> Value {
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": "Connection",
        "metadata": {"name": "github", "namespace": "team", "uid": "uid-github", "resourceVersion": "9"},
        "spec": {"vault": {"name": "team"}, "owner": "alice", "members": ["bob"],
            "sealedData": {"token": "c2VhbGVk", "user": "c2VhbGVk"}},
        "status": {"version": 2, "conditions": ready("True", "Available")}})
}

pub(super) fn ready(status: &str, reason: &str) -> Value {
    json!([{"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2020-01-01T00:00:00Z"}])
}

pub(super) fn list_of(kind: &str, items: &[Value]) -> Value {
    let list = format!("{kind}List");
    json!({"apiVersion": "coffer.dev/v1alpha1", "kind": list, "metadata": {"resourceVersion": "7"}, "items": items})
}

pub(super) fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": if code == 404 { "NotFound" } else { "" }, "code": code})
}
