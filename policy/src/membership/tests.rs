use super::*;
use crate::fixtures::{keyring, member, now, registered, vault};
use crate::identity::MemberView;
use coffer_crds::{RegisteredMember, VaultMember};
use proptest::prelude::*;
use serde_json::json;

const STATES: [MemberState; 6] = [
    MemberState::Invited,
    MemberState::Accepted,
    MemberState::Active,
    MemberState::Declined,
    MemberState::Suspended,
    MemberState::Expired,
];

fn set_end(member: &mut VaultMember, over: bool) {
    let end = if over { json!("2026-06-01T00:00:00Z") } else { json!(null) };
    member.spec.expires_at = serde_json::from_value(end).expect("a test's own time");
}

/// A membership as its objects show it.
struct Life {
    member: VaultMember,
    entry: Option<RegisteredMember>,
}

impl Life {
    fn begin() -> Self {
        Self { member: member("bob", json!({})), entry: None }
    }

    /// What the objects say once this has happened; the conditions of the table hold.
    fn live(&mut self, event: Event) {
        let spec = &mut self.member.spec;
        match event {
            Event::Accept => spec.acceptance = Some(Default::default()),
            Event::Decline => spec.declined = true,
            Event::Record => {
                let all = keyring(json!([registered("bob", "member")]));
                self.entry = all.members.into_iter().next();
            }
            Event::Expire => set_end(&mut self.member, true),
            Event::Suspend => spec.suspended = true,
            Event::Resume | Event::Reopen => {
                spec.suspended = false;
                set_end(&mut self.member, false);
            }
            Event::Invite | Event::ChangeKey | Event::LoseSubject | Event::LoseGround => {}
        }
    }

    /// Whether its condition in the table can hold now.
    fn may(&self, event: Event) -> bool {
        let (answered, active) = (self.member.spec.acceptance.is_some(), self.entry.is_some());
        match event {
            Event::Resume => active,
            Event::Reopen => !active,
            Event::Decline => !answered,
            Event::Invite | Event::LoseSubject | Event::LoseGround => false,
            Event::Accept | Event::Record | Event::Expire | Event::Suspend | Event::ChangeKey => true,
        }
    }

    fn stands(&self) -> MemberState {
        MemberView::registered(&self.member, self.entry.as_ref(), &vault(json!({})), now()).state
    }
}

fn event() -> impl Strategy<Value = Event> {
    proptest::sample::select(&Event::ALL[..])
}

proptest! {
    /// DESIGN §6: what the objects say, and what the table says, are the same after any history; where the table has no
    /// way, nothing moves but by an answer that was given before.
    #[test]
    fn the_objects_and_the_table_agree_whatever_happens(events in proptest::collection::vec(event(), 0..24)) {
        let mut life = Life::begin();
        let mut state = MemberState::Invited;
        prop_assert_eq!(life.stands(), state);
        for event in events {
            let Some(to) = next(Some(state), event).filter(|_| life.may(event)) else { continue };
            life.live(event);
            // Whoever had accepted an invite that is open again has accepted it still.
            let answered = to == MemberState::Invited && life.member.spec.acceptance.is_some();
            state = if answered { next(Some(to), Event::Accept).expect("an invite is accepted") } else { to };
            prop_assert_eq!(life.stands(), state, "after {:?}", event);
        }
    }

    /// Forward only: a fact that the objects gain never brings a membership where the table has no way to.
    #[test]
    fn nothing_that_is_written_moves_a_membership_off_the_table(events in proptest::collection::vec(event(), 0..24)) {
        let mut life = Life::begin();
        for event in events {
            let before = life.stands();
            life.live(event);
            let after = life.stands();
            // Somebody wrote past admission: the subject's last word stays.
            let withdrawn = before == MemberState::Declined;
            prop_assert!(leads(before, after) && (!withdrawn || after == before), "{:?} by {:?} to {:?}", before, event, after);
        }
    }
}

#[test]
fn there_is_one_row_for_each_state_and_event_and_a_way_to_every_state() {
    for (at, row) in TABLE.iter().enumerate() {
        let twin = TABLE[..at].iter().find(|other| other.from == row.from && other.event == row.event);
        assert!(twin.is_none(), "{row:?} and {twin:?}");
    }
    for state in STATES {
        assert!(leads(MemberState::Invited, state), "{state:?}");
    }
    for event in Event::ALL {
        assert!(TABLE.iter().any(|row| row.event == event), "{event:?}");
    }
}

/// C4.
#[test]
fn forward_only_who_declined_is_out_for_good_and_nobody_is_active_unrecorded() {
    for event in Event::ALL {
        assert!(!allows(MemberState::Declined, event), "{event:?}");
    }
    assert!(
        STATES.iter().all(|state| *state == MemberState::Declined || !leads(MemberState::Declined, *state))
    );
    let into_force: Vec<_> = TABLE
        .iter()
        .filter(|row| row.to == MemberState::Active && row.from != Some(MemberState::Active))
        .map(|row| (row.from, row.event))
        .collect();
    let back = |state| (Some(state), Event::Resume);
    assert_eq!(
        into_force,
        [
            (Some(MemberState::Accepted), Event::Record),
            back(MemberState::Suspended),
            back(MemberState::Expired)
        ]
    );
    assert_eq!(next(None, Event::Invite), Some(MemberState::Invited));
}
