//! Brokers that answer what they are asked of their audit logs, and what the operator makes of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coffer_broker_api::audit::{AuditAnswer, with_context};
use coffer_crds::{AuditFilter, AuditQuery};
use coffer_keys::answer::{self, AnswerPublicKey};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{task::AbortHandle, time::Instant};

use super::{Operator, alice, all_ready, coffer, is_ready, quickstart, slots, until};
use crate::api::Api;

/// Replicas that answer until this is dropped.
pub(crate) struct Brokers {
    task: AbortHandle,
    asked: Arc<Mutex<Vec<AuditFilter>>>,
}

impl Brokers {
    /// So many replicas; the last of them has these reads on record, by member and Connection.
    pub(crate) fn start(api: &Api, replicas: usize, reads: &[(&'static str, &'static str)]) -> Self {
        Self::beside(api, replicas, 0, reads)
    }

    /// The same beside some that have a log and do not answer.
    fn beside(api: &Api, replicas: usize, away: usize, reads: &[(&'static str, &'static str)]) -> Self {
        let (api, reads) = (api.clone(), reads.to_vec());
        let asked = Arc::<Mutex<Vec<AuditFilter>>>::default();
        let heard = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                for query in api.all("auditqueries") {
                    if query["status"]["answers"].is_null() {
                        let typed: AuditQuery = serde_json::from_value(query.clone()).unwrap();
                        heard.lock().unwrap().push(typed.spec.filter);
                        answer(&api, &query, replicas, away, &reads);
                    }
                }
            }
        });
        Self { task: task.abort_handle(), asked }
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(api: &Api, query: &Value, replicas: usize, away: usize, reads: &[(&str, &str)]) {
    let name = String::from(query["metadata"]["name"].as_str().unwrap());
    let namespace = String::from(query["metadata"]["namespace"].as_str().unwrap());
    api.edit("auditqueries", &namespace, &name, |stored| {
        // As the webhook stamps.
        stored["spec"]["requester"] =
            json!({"username": "system:serviceaccount:coffer-system:coffer-operator"});
        let typed: AuditQuery = serde_json::from_value(stored.clone()).unwrap();
        let key = AnswerPublicKey::parse(&typed.spec.public_key).unwrap();
        let names: Vec<String> = (0..replicas + away).map(|index| format!("coffer-broker-{index}")).collect();
        let answers = names.iter().take(replicas).enumerate().map(|(index, replica)| {
            let mut said = AuditAnswer {
                replicas: names.clone(),
                ..AuditAnswer::denied(replica, 200, String::new(), None)
            };
            let asked =
                |member: &str| typed.spec.filter.member.as_deref().is_none_or(|wanted| wanted == member);
            for (member, connection) in
                reads.iter().filter(|(member, _)| index + 1 == replicas && asked(member))
            {
                let at = Timestamp::now().to_string();
                let of_member: &mut BTreeMap<_, _> =
                    said.last_reads.entry(String::from(*member)).or_default();
                of_member.insert(String::from(*connection), at);
            }
            let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
            let sealed = with_context(&typed, &typed.spec, |context| {
                answer::seal(&key, context, &said.encode(), &mut rng)
            });
            json!({"answeredBy": replica, "result": STANDARD.encode(sealed)})
        });
        stored["status"] = json!({"phase": "Answered", "answers": answers.collect::<Vec<_>>()});
    });
}

fn advised(api: &Api) -> Value {
    api.get("envelopes", "team-a", "github").unwrap()["spec"]["advised"].clone()
}

/// C7, C10: whichever replica's log holds it.
#[tokio::test(start_paused = true)]
async fn whoever_did_read_by_any_replica_s_log_is_named_for_that() {
    let api = Api::new();
    let _brokers = Brokers::start(&api, 2, &[("web", "team-a/github"), ("web", "team-a/another")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    api.remove("vaultmembers", "team-a", "web");
    until("the advice", || !advised(&api).is_null()).await;
    assert_eq!(advised(&api)[0]["member"], "web");
    assert_eq!(advised(&api)[0]["reason"], "MemberDidRead");
    until("the questions to go", || api.all("auditqueries").is_empty()).await;
    operator.stop().await;
}

/// Issue 6 §3: no turn-over fails or hangs for want of an answer.
#[tokio::test(start_paused = true)]
async fn brokers_that_do_not_answer_are_waited_for_once_and_not_longer_than_five_seconds() {
    let api = Api::new();
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    let began = Instant::now();
    api.remove("vaultmembers", "team-a", "web");
    until("the new epoch to be the only one", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap();
        keyring["spec"]["current"] == 2 && keyring["spec"]["epochs"].as_array().unwrap().len() == 1
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(advised(&api)[0]["reason"], "MemberCouldRead");
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_waited_for_once_and_what_the_others_say_counts() {
    let api = Api::new();
    let _brokers = Brokers::beside(&api, 1, 1, &[("web", "team-a/github")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    let began = Instant::now();
    api.remove("vaultmembers", "team-a", "web");
    until("the advice", || !advised(&api).is_null()).await;
    assert_eq!(advised(&api)[0]["reason"], "MemberDidRead");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    api.edit("connections", "team-a", "github", |connection| {
        connection["spec"]["members"] = json!(["intern"])
    });
    until("the other's slot", || slots(&api) == ["custodian", "alice", "intern"]).await;
    let began = Instant::now();
    api.remove("vaultmembers", "team-a", "intern");
    until("that to go", || slots(&api) == ["custodian", "alice"]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    operator.stop().await;
}

/// T40: what was asked once is not asked again when nothing is to be sealed.
#[tokio::test(start_paused = true)]
async fn a_restart_after_a_removal_asks_nobody() {
    let api = Api::new();
    let brokers = Brokers::start(&api, 1, &[("web", "team-a/github")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    api.remove("vaultmembers", "team-a", "web");
    until("the new epoch to be the only one", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap();
        keyring["spec"]["current"] == 2 && keyring["spec"]["epochs"].as_array().unwrap().len() == 1
    })
    .await;
    until("the questions to go", || api.all("auditqueries").is_empty()).await;
    operator.stop().await;
    drop(brokers);
    api.take_writes();
    let operator = Operator::start(&api, "operator-0");
    until("a look at everything", || {
        operator.reconciles("Vault", "Unchanged") > 0 && operator.reconciles("Connection", "Unchanged") > 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(api.take_writes(), Vec::<String>::new());
    operator.stop().await;
}

/// What is told of a leaver serves every Connection that it had, so it is asked about and not each Connection, also when
/// several leave at once.
#[tokio::test(start_paused = true)]
async fn several_leavers_at_once_are_asked_about_one_by_one() {
    const LEAVERS: usize = 6;
    let leaver = |at: usize| format!("leaver-{at}");
    let api = Api::new();
    let brokers = Brokers::start(&api, 1, &[("leaver-0", "team-a/github")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    for at in 0..LEAVERS {
        let metadata = json!({"name": leaver(at), "namespace": "team-a"});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        api.put("serviceaccounts", account);
        let mut spec =
            json!({"vault": "main", "subject": {"serviceAccount": {"name": leaver(at)}}, "role": "member"});
        spec["invitedBy"] = alice();
        api.put("vaultmembers", coffer("VaultMember", &leaver(at), spec));
    }
    until("the members", || (0..LEAVERS).all(|at| is_ready(&api, "vaultmembers", &leaver(at)))).await;
    api.edit("connections", "team-a", "github", |connection| connection["spec"]["members"] = json!(["*"]));
    until("the vault's slot", || slots(&api) == ["custodian", "vault"]).await;
    brokers.asked.lock().unwrap().clear();
    for at in 0..LEAVERS {
        api.remove("vaultmembers", "team-a", &leaver(at));
    }
    until("one epoch for all", || {
        let keyring = api.get("keyrings", "team-a", "main").unwrap();
        keyring["spec"]["members"].as_array().unwrap().len() == 3
            && keyring["spec"]["epochs"].as_array().unwrap().len() == 1
    })
    .await;
    let named = advised(&api);
    let named = named.as_array().unwrap();
    assert_eq!(named.len(), LEAVERS);
    let did = named.iter().filter(|advised| advised["reason"] == "MemberDidRead");
    assert_eq!(did.map(|advised| advised["member"].as_str().unwrap()).collect::<Vec<_>>(), ["leaver-0"]);
    let asked = brokers.asked.lock().unwrap().clone();
    assert!(asked.len() >= LEAVERS && asked.iter().all(|filter| filter.member.is_some()), "{asked:?}");
    operator.stop().await;
}

/// An API server that is away for a moment is asked again, and is not taken for brokers that do not answer.
#[tokio::test(start_paused = true)]
async fn a_question_that_could_not_be_made_at_first_is_made_again() {
    let api = Api::new();
    let _brokers = Brokers::start(&api, 1, &[("web", "team-a/github")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    api.fail_creating(Some("auditqueries"));
    api.remove("vaultmembers", "team-a", "web");
    until("a question that fails", || {
        api.take_writes().iter().any(|write| write.starts_with("POST auditqueries/"))
    })
    .await;
    api.fail_creating(None);
    until("the advice", || !advised(&api).is_null()).await;
    assert_eq!(advised(&api)[0]["reason"], "MemberDidRead");
    operator.stop().await;
}

/// That no question could be made says nothing of the brokers: the next one is asked.
#[tokio::test(start_paused = true)]
async fn brokers_that_were_never_asked_are_not_taken_for_silent() {
    let api = Api::new();
    let _brokers = Brokers::start(&api, 1, &[("intern", "team-a/github")]);
    let operator = Operator::start(&api, "operator-0");
    quickstart(&api).await;
    all_ready(&api).await;
    api.edit("connections", "team-a", "github", |connection| {
        connection["spec"]["members"] = json!(["intern", "web"]);
    });
    until("the other's slot", || slots(&api) == ["custodian", "alice", "intern", "web"]).await;
    api.fail_creating(Some("auditqueries"));
    api.remove("vaultmembers", "team-a", "web");
    until("the first advice", || !advised(&api).is_null()).await;
    assert_eq!(advised(&api)[0]["reason"], "MemberCouldRead", "nobody could be asked in time");
    api.fail_creating(None);
    api.remove("vaultmembers", "team-a", "intern");
    until("the second advice", || advised(&api).as_array().is_some_and(|all| all.len() == 2)).await;
    assert_eq!(advised(&api)[1]["reason"], "MemberDidRead");
    operator.stop().await;
}
