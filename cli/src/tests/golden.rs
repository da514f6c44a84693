//! What is printed, letter by letter: the files in `golden/`. `UPDATE_GOLDEN=1 cargo test -p coffer-cli golden` writes
//! them anew; look at the difference.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, sync::Arc};

use clap::Parser as _;
use coffer_broker_api::people::Answer;
use serde_json::{Value, json};

use super::{
    reseal::turned_over,
    values::{asking, narrowed},
    world::{GITHUB, MEMBERS, VAULTS, World, github, list_of, member, status},
};
use crate::{Cli, Failure, code_of, finish};

/// One golden file: who is where, and what they type.
struct Page {
    name: &'static str,
    world: fn() -> World,
    typed: &'static [&'static [&'static str]],
}

const PAGES: [Page; 16] = [
    Page {
        name: "looking",
        world: || World::new("alice").with_team().answering(("PATCH", GITHUB, 200, github())),
        typed: &[
            &["vaults"],
            &["vaults", "--mine", "-o", "name"],
            &["list"],
            &["list", "--mine", "-o", "wide"],
            &["list", "--vault", "other"],
            &["describe", "github"],
            &["members", "list"],
            &["who-can", "read", "github"],
            &["why-not", "carol", "github"],
            &["why-not", "bob", "github", "--verb", "read"],
            &["share", "github", "--members", "bob"],
            &["share", "github", "--add", "carol", "--dry-run"],
        ],
    },
    Page {
        name: "not-mine",
        world: || World::new("eve").with_team(),
        typed: &[&["vaults", "--mine"], &["list", "--mine"], &["accept"]],
    },
    Page {
        name: "reading",
        world: || asking(narrowed),
        typed: &[
            &["get", "github", "token"],
            &["get", "github", "-o", "json"],
            &["exec", "github", "--", "sh", "-c", "test ${#GITHUB_TOKEN} = 24"],
            &["exec", "github", "--", "sh", "-c", "exit 9"],
            &["exec", "github", "--", "/nowhere/command"],
        ],
    },
    Page {
        name: "on-a-terminal",
        world: || {
            let mut world = asking(narrowed);
            world.person.sees = true;
            world
        },
        typed: &[&["get", "github"], &["get", "github", "-o", "yaml"]],
    },
    Page {
        name: "sealing-again",
        world: turned_over,
        typed: &[
            &["reseal"],
            &["reseal", "--dry-run"],
            &["reseal", "--dry-run", "-o", "name"],
            &["reseal", "--dry-run", "--vault", "other"],
            &["reseal", "--all", "--no-wait"],
            &["reseal", "github", "--all"],
            &["reseal", "-f", "/nowhere/github.yaml"],
        ],
    },
    Page {
        name: "usage",
        world: || asking(narrowed),
        typed: &[
            &["sett"],
            &["list", "--mein"],
            &["exec", "github"],
            &["seal", "github", "--owner", "alice"],
            &["seal", "github", "--owner", "alice", "--trust", "KEY"],
            &["set", "github", "--item", "token=hunter2"],
            &["set", "github", "--item", "token"],
            &["set", "github", "--from-file", "token=-", "--members", "*,bob"],
            &["share", "github"],
            &["transfer", "github", "bob"],
            &["delete", "github"],
            &["edit", "github"],
            &["get", "github"],
            &["get", "github", "--dry-run"],
            &["invite", "bob"],
        ],
    },
    Page {
        name: "denied",
        world: || {
            let words = "Credential 'github' is not accessible to member 'carol'. Allowed: bob";
            asking(move |_| Answer::denied(403, words.into(), None))
        },
        typed: &[
            &["get", "github"],
            &["exec", "github", "--", "true"],
            &["set", "new", "--from-file", "token=-"],
        ],
    },
    Page {
        name: "denied-by-the-api-server",
        world: || {
            let text = "connections.coffer.dev \"github\" is forbidden: User \"bob\" cannot get resource";
            World::new("bob").answering(("GET", GITHUB, 403, status(403, text)))
        },
        typed: &[&["describe", "github"], &["share", "github", "--add", "bob"], &["edit", "github"]],
    },
    Page {
        name: "not-found",
        world: || World::new("alice").with_team(),
        typed: &[
            &["transfer", "github", "eve"],
            &["why-not", "eve", "github"],
            &["share", "github", "--drop", "eve"],
            &["get", "github", "--vault", "nowhere"],
            &["set", "github", "--from-file", "token=/nowhere"],
        ],
    },
    Page {
        name: "no-vault-here",
        world: || World::new("alice").answering(("GET", VAULTS, 200, list_of("Vault", &[]))),
        typed: &[&["get", "github"], &["vaults"], &["seal-key"]],
    },
    Page {
        name: "expired",
        world: || {
            let mut world = asking(|_| Answer::denied(403, "Credential 'github' expired".into(), None));
            let mut ended = github();
            ended["spec"]["expiresAt"] = json!("2020-01-01T00:00:00Z");
            let members = list_of("VaultMember", &[member("bob", "member", "Expired")]);
            world = world.answering(("GET", GITHUB, 200, ended)).answering(("GET", MEMBERS, 200, members));
            world
        },
        typed: &[&["get", "github"], &["accept"]],
    },
    Page {
        name: "conflict",
        world: || {
            let said =
                "Operation cannot be fulfilled on connections.coffer.dev \"github\": it has been modified";
            asking(|_| Answer::of(Vec::new())).answering(("PATCH", GITHUB, 409, status(409, said)))
        },
        typed: &[
            &["get", "github"],
            &["share", "github", "--members", "carol"],
            &["set", "github", "--vault", "other", "--from-file", "token=-"],
        ],
    },
    Page {
        name: "another-vault-than-before",
        world: || {
            let world = World::new("alice").with_team();
            let place = ("https://cluster.example", "team", "team");
            let pin = json!({"vaults": [{"server": place.0, "namespace": place.1, "vault": place.2,
                "vaultID": "00112233445566778899aabbccddeeff", "custodianKey": "another"}]});
            crate::home::write_private(&world.home().pins, pin.to_string().as_bytes()).expect("a file");
            world
        },
        typed: &[&["get", "github"], &["set", "github", "--from-file", "token=-"], &["trust"]],
    },
    Page {
        name: "unreachable",
        world: || {
            let text = "etcdserver: leader changed";
            World::new("bob").answering(("GET", VAULTS, 503, status(503, text)))
        },
        typed: &[&["vaults"], &["get", "github"]],
    },
    Page {
        name: "not-now",
        world: || {
            let mut world = World::new("bob").with_team();
            let mut unready = world.vault();
            unready["status"] = Value::Null;
            world = world.answering(("GET", VAULTS, 200, list_of("Vault", &[unready])));
            world
        },
        typed: &[&["seal-key"], &["get", "github"]],
    },
    Page {
        name: "unexpected",
        world: || {
            let mut world = asking(narrowed);
            world.broker = Some(Arc::new(|_| Answer::denied(500, "the broker's own fault".into(), None)));
            world.answering(("GET", MEMBERS, 500, status(500, "a panic was recovered")))
        },
        typed: &[&["get", "github"], &["members", "list"]],
    },
];

/// Everything of a page, as a person would see it; standard error behind `!`.
async fn printed(page: &Page, codes: &mut BTreeSet<u8>, classes: &mut BTreeSet<&'static str>) -> String {
    let mut world = (page.world)();
    let mut text = String::new();
    for words in page.typed {
        let shown: Vec<_> = words
            .iter()
            .map(|word| if word.contains([' ', '*']) { format!("'{word}'") } else { (*word).into() })
            .collect();
        let _ = writeln!(text, "$ kubectl coffer {}", shown.join(" "));
        let typed = ["kubectl-coffer"].into_iter().chain(words.iter().copied());
        let (code, answer, notes) = match Cli::try_parse_from(typed) {
            Err(error) => (code_of(&error), String::new(), error.render().to_string()),
            Ok(_) => {
                let said = world.run(words).await;
                classes.extend(said.result.as_ref().err().map(class));
                let mut notes = said.notes.into_bytes();
                let code = finish(said.result, &mut notes);
                (code, said.answer, String::from_utf8(notes).expect("text"))
            }
        };
        assert!(!format!("{answer}{notes}").contains("hunter2"), "{words:?}: {notes}");
        codes.insert(code);
        for (mark, lines) in [("", answer), ("! ", notes)] {
            for line in lines.replace(&world.path().display().to_string(), "$HOME").lines() {
                let _ = writeln!(text, "{}", format!("{mark}{}", without_ages(line, &world)).trim_end());
            }
        }
        let _ = writeln!(text, "[{code}]\n");
    }
    text
}

/// What differs from one run to the next.
fn without_ages(line: &str, world: &World) -> String {
    let is_age = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd', 'y'])
            && word.chars().all(|letter| letter.is_ascii_digit() || "smhdy".contains(letter))
    };
    let line = line
        .replace(&world.keyring.custodian_key(), "KEY")
        .replace(&world.keyring.vault_id().to_string(), "ID");
    line.split(' ').map(|word| if is_age(word) { "AGE" } else { word }).collect::<Vec<_>>().join(" ")
}

fn class(failure: &Failure) -> &'static str {
    match failure {
        Failure::Usage(_) => "usage",
        Failure::Denied(_) => "denied",
        Failure::NotFound(_) => "not found",
        Failure::Expired(_) => "expired",
        Failure::Conflict(_) => "conflict",
        Failure::Unreachable(_) => "unreachable",
        Failure::NotNow(_) => "not now",
        Failure::Ended(_) => "ended",
        Failure::Unexpected(_) => "unexpected",
    }
}

/// C21: every kind of failure, with its words and its exit code.
#[tokio::test]
async fn what_is_printed_is_what_the_golden_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden");
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (mut codes, mut classes, mut other) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for page in &PAGES {
        let printed = printed(page, &mut codes, &mut classes).await;
        let file = folder.join(format!("{}.txt", page.name));
        if is_update {
            fs::write(&file, &printed).expect("a file");
        } else if fs::read_to_string(&file).unwrap_or_default() != printed {
            other.push(format!("=== {} is now\n{printed}", file.display()));
        }
    }
    assert!(other.is_empty(), "{}", other.concat());
    assert_eq!(codes.iter().copied().filter(|code| *code < 8).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    let ended = 9;
    assert!(codes.contains(&ended), "a command's own exit code");
    assert_eq!(classes.len(), 9, "{classes:?}");
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), PAGES.len(), "no page is left over");
}
