//! T9: every verb, for every role, in every relation to a Connection and to a vault, beside the table that people read.
//!
//! `matrix.txt` is what the decisions said when it was looked at last. `COFFER_WRITE_MATRIX=1 cargo test -p
//! coffer-policy --test matrix` writes it anew; read the difference before you commit it.

use std::{fmt::Write as _, path::Path};

use coffer_crds::{AccessToken, Connection, Sharing, Subject, Vault, VaultMember, Verb};
use coffer_policy::{
    BreakGlass, Caller, Evidence, MemberState, MemberView,
    release::{Asked, Target, judge},
    resolve::{Relation, candidates},
    writes::{self, VaultView},
};
use jiff::Timestamp;
use serde_json::{Value, json};

const ROLES: [&str; 8] = ["owner", "admin", "member", "viewer", "user", "writer", "sharer", "narrow"];

/// The roles of the vault's own: one verb more each, and one that covers only `gh-*`.
fn custom() -> Value {
    json!([
        {"name": "viewer", "verbs": ["list"]},
        {"name": "user", "verbs": ["list", "use"]},
        {"name": "writer", "verbs": ["list", "read", "write"]},
        {"name": "sharer", "verbs": ["list", "share", "invite", "rotate", "audit"]},
        {"name": "narrow", "verbs": ["list", "use", "read", "write", "share", "invite"], "connections": ["gh-*"]},
    ])
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> T {
    let metadata = json!({"name": name, "namespace": "team", "uid": format!("{name}-uid")});
    serde_json::from_value(json!({
        "apiVersion": "coffer.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
    }))
    .expect("a test's own object")
}

fn vault(sharing: Sharing) -> Vault {
    object("Vault", "v", &json!({"roles": custom(), "sharing": sharing}))
}

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a test's own time")
}

fn user(name: &str) -> Subject {
    serde_json::from_value(json!({"user": {"name": name}})).expect("a test's own subject")
}

fn view(name: &str, role: &str, subject: Subject, state: MemberState) -> MemberView {
    MemberView {
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        subject,
        subject_uid: None,
        role: role.to_owned(),
        state,
        rate_limit: None,
        evidence: Evidence::Register,
    }
}

fn active(name: &str, role: &str) -> MemberView {
    view(name, role, user(name), MemberState::Active)
}

/// How whoever asks, `me`, stands to the vault.
#[derive(Clone, Copy)]
enum Standing {
    In(MemberState),
    ByGroup,
    Nobody,
    BreaksGlass,
}

/// How `me` stands to a Connection: its name, its fields, and how `me` stands to the vault.
struct Row {
    what: &'static str,
    name: &'static str,
    spec: Value,
    standing: Standing,
}

fn rows() -> Vec<Row> {
    let here = Standing::In(MemberState::Active);
    let row = |what, spec: Value| Row { what, name: "gh-a", spec, standing: here };
    let own = json!({"owner": "me", "members": []});
    let past = "2026-06-01T12:00:00Z";
    let stands = |what, standing| Row { standing, ..row(what, own.clone()) };
    vec![
        row("own, for oneself", own.clone()),
        row("own, for everybody", json!({"owner": "me", "members": ["*"]})),
        row("own, as the vault shares", json!({"owner": "me"})),
        Row { name: "aws", ..row("own, outside gh-*", own.clone()) },
        row("own, expired", json!({"owner": "me", "members": [], "expiresAt": past})),
        row("for everybody", json!({"owner": "alice", "members": ["*"]})),
        row("listed", json!({"owner": "alice", "members": ["me"]})),
        Row { name: "aws", ..row("listed, outside gh-*", json!({"owner": "alice", "members": ["me"]})) },
        row("listed, expired", json!({"owner": "alice", "members": ["me"], "expiresAt": past})),
        row("not listed", json!({"owner": "alice", "members": ["bob"]})),
        row("never shared", json!({"owner": "alice", "members": []})),
        row("as the vault shares", json!({"owner": "alice"})),
        row("its owner gone, listed", json!({"owner": "gone", "members": ["me"]})),
        row("its owner gone, never shared", json!({"owner": "gone", "members": []})),
        Row {
            standing: Standing::ByGroup,
            ..row("listed by a group", json!({"owner": "alice", "members": ["me"]}))
        },
        stands("own, invited", Standing::In(MemberState::Invited)),
        stands("own, accepted", Standing::In(MemberState::Accepted)),
        stands("own, declined", Standing::In(MemberState::Declined)),
        stands("own, suspended", Standing::In(MemberState::Suspended)),
        stands("own, membership expired", Standing::In(MemberState::Expired)),
        Row {
            standing: Standing::Nobody,
            ..row("no member, for everybody", json!({"owner": "alice", "members": ["*"]}))
        },
        Row {
            standing: Standing::BreaksGlass,
            ..row("breaks glass, for everybody", json!({"owner": "alice", "members": ["*"]}))
        },
        Row {
            standing: Standing::BreaksGlass,
            ..row("breaks glass, listed others", json!({"owner": "alice", "members": ["bob"]}))
        },
        Row {
            standing: Standing::BreaksGlass,
            ..row("breaks glass, its owner gone", json!({"owner": "gone", "members": []}))
        },
    ]
}

/// Everybody in the vault, and who asks.
fn people(role: &str, standing: Standing) -> (Vec<MemberView>, Caller) {
    let mut members = vec![active("alice", "owner"), active("bob", "member"), active("heir", "member")];
    let mut groups = vec!["system:authenticated".to_owned()];
    match standing {
        Standing::In(state) => members.push(view("me", role, user("me"), state)),
        Standing::ByGroup => {
            let group = serde_json::from_value(json!({"group": {"name": "devs"}})).expect("a subject");
            members.push(view("me", role, group, MemberState::Active));
            groups.push("devs".to_owned());
        }
        Standing::Nobody => {}
        Standing::BreaksGlass => groups.push("oncall".to_owned()),
    }
    (members, Caller { username: "me".to_owned(), uid: None, groups })
}

/// One letter for each thing that may be done with a Connection, `-` for each that may not.
fn letters(vault: &Vault, role: &str, row: &Row) -> String {
    let connection: Connection = object("Connection", row.name, &row.spec);
    let (members, me) = people(role, row.standing);
    let glass = BreakGlass::new(vec!["oncall".to_owned()]);
    let view = VaultView { vault, members: &members, operator: None, break_glass: Some(&glass) };
    let target = Target { vault, members: &members, connection: &connection, envelope: None };
    let asked = Asked { reference: row.name, target: Some(target) };
    let knows = candidates(&me, vault, &members, [&connection]);
    let released = |verb| judge(Some(&me), verb, now(), &asked).is_ok();
    let changed = |change: fn(&mut Connection)| {
        let mut new = connection.clone();
        change(&mut new);
        writes::connection(&me, &view, Some(&connection), Some(&new)).is_ok()
    };
    let all = [
        ('k', !knows.is_empty()),
        ('i', knows.iter().any(|found| found.relation != Relation::OutOfScope)),
        ('l', released(Verb::List)),
        ('u', released(Verb::Use)),
        ('r', released(Verb::Read)),
        ('w', changed(|new| drop(new.spec.sealed_data.insert("token".to_owned(), "x".to_owned())))),
        ('m', changed(|new| new.spec.provider = Some("other".to_owned()))),
        ('s', changed(|new| new.spec.members = Some(vec!["me".to_owned(), "heir".to_owned()]))),
        ('t', changed(|new| new.spec.owner = Some("heir".to_owned()))),
        ('d', writes::connection(&me, &view, Some(&connection), None).is_ok()),
    ];
    all.into_iter().map(|(letter, may)| if may { letter } else { '-' }).collect()
}

/// Whether whoever asks may.
type May = fn(&Caller, &VaultView<'_>) -> bool;

fn member_of(role: &str) -> VaultMember {
    object("VaultMember", "dora", &json!({"vault": "v", "role": role, "subject": {"user": {"name": "dora"}}}))
}

fn may_grant(me: &Caller, view: &VaultView<'_>, role: &str) -> bool {
    writes::member(me, view, None, Some(&member_of(role))).is_ok()
}

fn may_take(me: &Caller, view: &VaultView<'_>, role: &str) -> bool {
    let old = member_of(role);
    let mut suspended = old.clone();
    suspended.spec.suspended = true;
    let removes = writes::member(me, view, Some(&old), None).is_ok();
    assert_eq!(
        removes,
        writes::member(me, view, Some(&old), Some(&suspended)).is_ok(),
        "{role}: one right for both"
    );
    removes
}

fn may_change(me: &Caller, view: &VaultView<'_>, change: fn(&mut Vault)) -> bool {
    let mut new = view.vault.clone();
    change(&mut new);
    writes::vault(me, view, Some(view.vault), Some(&new)).is_ok()
}

fn may_issue(me: &Caller, view: &VaultView<'_>, member: &str) -> bool {
    let spec =
        json!({"member": member, "sha256": "x", "prefix": "cof_x", "expiresAt": "2027-01-01T00:00:00Z"});
    let token: AccessToken = object("AccessToken", "t", &spec);
    writes::access_token(me, view, None, Some(&token)).is_ok()
}

const IN_VAULT: [(&str, May); 18] = [
    ("create a Connection", |me, view| writes::owner_for(me, view, "gh-new").is_ok()),
    ("create one outside gh-*", |me, view| writes::owner_for(me, view, "aws").is_ok()),
    ("invite an owner", |me, view| may_grant(me, view, "owner")),
    ("invite an admin", |me, view| may_grant(me, view, "admin")),
    ("invite a member", |me, view| may_grant(me, view, "member")),
    ("invite a viewer", |me, view| may_grant(me, view, "viewer")),
    ("invite a narrow one", |me, view| may_grant(me, view, "narrow")),
    ("remove or suspend an owner", |me, view| may_take(me, view, "owner")),
    ("remove or suspend an admin", |me, view| may_take(me, view, "admin")),
    ("remove or suspend a member", |me, view| may_take(me, view, "member")),
    ("remove or suspend a viewer", |me, view| may_take(me, view, "viewer")),
    ("change settings", |me, view| may_change(me, view, |new| new.spec.allow_sync = !new.spec.allow_sync)),
    ("change owners", |me, view| may_change(me, view, |new| new.spec.owners.push(user("me")))),
    ("rotate", |me, view| {
        may_change(me, view, |new| {
            new.spec.rotation = serde_json::from_value(json!({"interval": "1d"})).expect("a rotation");
        })
    }),
    ("delete the vault", |me, view| writes::vault(me, view, Some(view.vault), None).is_ok()),
    ("make a token for oneself", |me, view| may_issue(me, view, "me")),
    ("make a token for another", |me, view| may_issue(me, view, "bob")),
    ("make a token for an external member", |me, view| may_issue(me, view, "laptop")),
];

fn of_connections(page: &mut String, sharing: Sharing, name: &str) {
    let vault = vault(sharing);
    let _ = writeln!(page, "\nA Connection, in a vault of `sharing: {name}`\n");
    let _ = writeln!(page, "{:<30}{}", "", ROLES.map(|role| format!("{role:<12}")).concat().trim_end());
    for row in rows() {
        let cells = ROLES.map(|role| format!("{:<12}", letters(&vault, role, &row)));
        let _ = writeln!(page, "{:<30}{}", row.what, cells.concat().trim_end());
    }
}

fn of_vault(page: &mut String, sharing: Sharing, name: &str) {
    let vault = vault(sharing);
    let glass = BreakGlass::new(vec!["oncall".to_owned()]);
    let nobody = [
        ("suspended owner", Standing::In(MemberState::Suspended)),
        ("nobody", Standing::Nobody),
        ("breaks glass", Standing::BreaksGlass),
    ];
    let _ = writeln!(page, "\nThe vault, of `sharing: {name}`\n");
    let heads = ROLES.map(|role| format!("{role:<9}")).concat()
        + &nobody.map(|(what, _)| format!("{what:<17}")).concat();
    let _ = writeln!(page, "{:<38}{}", "", heads.trim_end());
    for (what, may) in IN_VAULT {
        let cell = |role: &str, standing| {
            let (mut members, me) = people(role, standing);
            let external = serde_json::from_value(json!({"external": {}})).expect("a subject");
            members.push(view("laptop", "viewer", external, MemberState::Active));
            let view =
                VaultView { vault: &vault, members: &members, operator: None, break_glass: Some(&glass) };
            if may(&me, &view) { "yes" } else { "-" }
        };
        let of_roles = ROLES.map(|role| format!("{:<9}", cell(role, Standing::In(MemberState::Active))));
        let of_others = nobody.map(|(_, standing)| format!("{:<17}", cell("owner", standing)));
        let line = of_roles.concat() + &of_others.concat();
        let _ = writeln!(page, "{what:<38}{}", line.trim_end());
    }
}

const LEGEND: &str = "\
Who may do what, as policy decides it. One letter for each thing that may be done, - for each that may not:

  k  knows that it exists        u  use it in a workload     m  change its settings
  i  a bare word means it        r  read it in person        s  change who may have it
  l  list                        w  give it other values     t  make somebody else its owner
                                                             d  delete it

Roles of the vault's own: viewer (list), user (list, use), writer (list, read, write), sharer (list, share, invite,
rotate, audit), narrow (list, use, read, write, share, invite on gh-* alone).
";

fn page() -> String {
    let mut page = LEGEND.to_owned();
    of_connections(&mut page, Sharing::All, "All");
    of_connections(&mut page, Sharing::Owner, "Owner");
    of_vault(&mut page, Sharing::All, "All");
    of_vault(&mut page, Sharing::Owner, "Owner");
    page
}

/// T9.
#[test]
fn every_verb_role_and_relation_is_decided_as_the_committed_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matrix.txt");
    let page = page();
    if std::env::var_os("COFFER_WRITE_MATRIX").is_some() {
        std::fs::write(&file, &page).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(&file).expect("the table is committed");
    for (at, (is, was)) in page.lines().zip(committed.lines()).enumerate() {
        assert_eq!(is, was, "line {} of policy/tests/matrix.txt", at + 1);
    }
    assert_eq!(page, committed);
}

/// What no table of anybody's making may say.
#[test]
fn whoever_is_not_in_force_may_nothing_and_more_of_a_role_is_never_less() {
    for sharing in [Sharing::All, Sharing::Owner] {
        let vault = vault(sharing);
        for row in rows() {
            let of = |role: &str| letters(&vault, role, &row);
            let out = match row.standing {
                Standing::In(state) => state != MemberState::Active,
                Standing::Nobody => true,
                Standing::ByGroup | Standing::BreaksGlass => false,
            };
            for role in ROLES {
                assert!(!out || of(role) == "----------", "{role}, {}: {}", row.what, of(role));
            }
            // An owner may all that any other role may; and an admin what a member may.
            for (more, less) in
                [("owner", "admin"), ("admin", "member"), ("owner", "narrow"), ("member", "user")]
            {
                let missing =
                    of(less).chars().zip(of(more).chars()).any(|(less, more)| less != '-' && more == '-');
                assert!(!missing, "{}: {less} {} and {more} {}", row.what, of(less), of(more));
            }
        }
    }
}
