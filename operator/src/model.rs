//! The turning over of a vault's keys, checked exhaustively (C6, C7, T3): every order in which people act, the operator
//! looks and sends its writes one by one, and is killed between any two of them.
//!
//! The steps are the operator's own: the model's states hold real objects, and what is written next is what
//! [`vault::plan`] and [`connection::plan`] decide. Two states are the same if everything that a decision depends on is
//! the same in them, whatever their random bytes, uids and resourceVersions. Who reads meanwhile, with copies that lag, is
//! [`reader`]'s.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod promises;
mod reader;
mod state;
mod view;

use stateright::{Checker as _, Model, Property};

use crate::vault;
use promises::{everybody_opens, is_settled, named, shuts_out, values_are_there};
use reader::Watched;
use state::State;

/// One Connection for everybody, one for a list.
const CONNECTIONS: [&str; 2] = ["everybody", "listed"];

/// What people do, each once, whenever they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Deed {
    /// `web`, which is in both scopes, is removed.
    Remove,
    /// `job`, which is in both scopes, is suspended.
    Suspend,
    /// `job` comes back.
    Resume,
    /// `ci` is invited, and accepted at once.
    Invite,
    /// The Connection for everybody gets another value.
    Set,
    /// `web` is taken out of the list of the other.
    Narrow,
    /// The Connection for everybody becomes one for `job` alone.
    Close,
    /// `job` is given a role that covers the Connection for everybody and not the other.
    Confine,
    /// New keys are asked for.
    Request,
    /// The custodian root is turned over.
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Do(Deed),
    /// The operator decides about the vault.
    Look,
    /// It decides about a Connection.
    LookAt(usize),
    /// The next of the writes that were decided on is sent.
    Send(Operator),
    SendOf(Operator, usize),
    /// It is killed, and another starts with nothing but what is stored.
    Crash,
    /// Another takes over from one that lives and has writes under way, which a Lease does not stop.
    TakeOver,
}

/// Whose writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    /// The one that leads.
    Leading,
    /// The one that does no more, and sends what it had decided.
    Former,
}

/// The deeds of one check, how often the operator is killed in it, and how often another takes over from one that lives.
struct Rotation {
    deeds: Vec<Deed>,
    crashes: u8,
    takeovers: u8,
}

impl Model for Rotation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let left = self.deeds.iter().filter(|deed| !state.view.done.contains(deed));
        actions.extend(left.map(|deed| Action::Do(*deed)));
        let next = state.next();
        if state.decided.vault.is_empty() {
            if !next.vault.writes.is_empty() {
                actions.push(Action::Look);
            }
        } else {
            // The vault's gate: see `gates`.
            let turns = matches!(state.decided.vault.front(), Some(vault::plan::Write::ReplaceKeyring(_)));
            if !(turns && state.decided.is_sealing()) {
                actions.push(Action::Send(Operator::Leading));
            }
        }
        if !state.late.vault.is_empty() {
            actions.push(Action::Send(Operator::Former));
        }
        for at in 0..CONNECTIONS.len() {
            if !state.late.connections[at].is_empty() {
                actions.push(Action::SendOf(Operator::Former, at));
            }
            if !state.decided.connections[at].is_empty() {
                actions.push(Action::SendOf(Operator::Leading, at));
            } else if !next.connections[at].writes.is_empty() {
                actions.push(Action::LookAt(at));
            }
        }
        if state.view.crashes < self.crashes && !state.view.decided.is_empty() {
            actions.push(Action::Crash);
        }
        if state.view.takeovers < self.takeovers && !state.decided.is_empty() && state.late.is_empty() {
            actions.push(Action::TakeOver);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(match action {
            Action::Do(deed) => return state.people(deed),
            Action::Look => state.look(),
            Action::LookAt(at) => state.look_at(at),
            Action::Send(operator) => state.send(operator),
            Action::SendOf(operator, at) => state.send_of(operator, at),
            Action::Crash => state.crash(),
            Action::TakeOver => state.take_over(),
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no reader meets what it should open and cannot", |_, state: &State| {
                state.view.envelopes.iter().all(|(name, sealed)| everybody_opens(state, name, sealed))
            }),
            Property::always(
                "who is out opens nothing that was sealed after that was recorded",
                // Between two operators that is for the Lease's times to see to; it is so in the end.
                |_, state: &State| {
                    let is_over = state.view.takeovers == 0 || state.rests();
                    !is_over || shuts_out(state)
                },
            ),
            Property::always(
                "whoever lost access is named until the value is another",
                |_, state: &State| !state.rests() || named(state),
            ),
            Property::always("no credential is lost", |_, state: &State| {
                !state.rests() || values_are_there(state)
            }),
            Property::always(
                "it ends in one epoch, with nobody keeping keys who is not to",
                |_, state: &State| !state.rests() || is_settled(state),
            ),
            Property::always("it ends", |_, state: &State| {
                // Each write counts a revision: what never ends has no bound.
                let keyring = state.world.keyring().spec.revision;
                let envelopes = CONNECTIONS.map(|name| state.world.envelope(name).spec.revision);
                keyring < 40 && envelopes.iter().all(|revision| *revision < 40)
            }),
            Property::sometimes("a new epoch is current", |_, state: &State| state.view.current > 1),
            Property::sometimes("everything is turned over", |_, state: &State| {
                state.rests() && state.view.epochs.first().is_some_and(|oldest| *oldest > 1)
            }),
        ]
    }
}

fn check(deeds: &[Deed], crashes: u8) {
    check_all(Rotation { deeds: deeds.to_vec(), crashes, takeovers: 0 });
}

fn check_all(model: Rotation) {
    let (deeds, crashes) = (model.deeds.clone(), model.crashes);
    let checker = model.checker().threads(2).spawn_dfs().join();
    tracing::info!(?deeds, crashes, states = checker.unique_state_count(), "checked");
    checker.assert_properties();
    assert!(checker.is_done(), "every state was seen");
}

fn check_reader(deeds: &[Deed], who: &'static str, at: usize, stays: bool) {
    let rotation = Rotation { deeds: deeds.to_vec(), crashes: 0, takeovers: 0 };
    let checker = Watched { rotation, who, at, stays }.checker().threads(2).spawn_dfs().join();
    tracing::info!(?deeds, who, at, states = checker.unique_state_count(), "checked");
    checker.assert_properties();
    assert!(checker.is_done(), "every state was seen");
}

#[test]
fn a_removal_while_a_value_is_set_and_somebody_joins() {
    check(&[Deed::Remove, Deed::Set, Deed::Invite], 1);
}

#[test]
fn a_removal_while_scopes_are_narrowed() {
    check(&[Deed::Remove, Deed::Narrow, Deed::Close], 1);
}

#[test]
fn a_removal_while_another_is_suspended_and_a_value_is_set() {
    check(&[Deed::Remove, Deed::Suspend], 2);
    check(&[Deed::Remove, Deed::Suspend, Deed::Set], 0);
}

#[test]
fn a_suspension_and_its_end_while_a_value_is_set() {
    check(&[Deed::Suspend, Deed::Resume, Deed::Set], 1);
}

#[test]
fn a_role_is_narrowed_while_a_value_is_set() {
    check(&[Deed::Confine, Deed::Set], 1);
}

/// C25.
#[test]
fn another_custodian_root_while_somebody_joins_and_a_value_is_set() {
    check(&[Deed::Root, Deed::Invite, Deed::Set], 1);
}

#[test]
fn another_custodian_root_while_somebody_is_removed_and_a_scope_narrowed() {
    check(&[Deed::Root, Deed::Remove], 2);
    check(&[Deed::Root, Deed::Remove, Deed::Narrow], 0);
}

#[test]
fn new_keys_on_request_while_somebody_joins_and_a_value_is_set() {
    check(&[Deed::Request, Deed::Invite, Deed::Set], 1);
}

/// A Lease does not fence: an operator that was stopped for a while goes on with what it had decided, while another leads
/// already. Nothing is lost, nobody meets what it should open and cannot, and it ends as it should.
#[test]
fn a_removal_while_two_operators_write() {
    for deeds in [vec![Deed::Remove, Deed::Set], vec![Deed::Suspend]] {
        check_all(Rotation { deeds, crashes: 0, takeovers: 1 });
    }
}

/// A broker has each object from a watch of its own.
#[test]
fn a_member_reads_with_copies_that_lag_while_another_is_removed() {
    check_reader(&[Deed::Remove, Deed::Set], "job", 0, true);
    check_reader(&[Deed::Remove], "job", 1, true);
}

#[test]
fn a_member_reads_with_copies_that_lag_while_scopes_are_narrowed() {
    check_reader(&[Deed::Close], "job", 0, true);
    check_reader(&[Deed::Narrow], "job", 1, true);
}

/// One look past the watches would not do: it may last as long as the second turn-over.
#[test]
fn a_member_reads_with_copies_that_lag_while_one_turn_over_follows_another() {
    check_reader(&[Deed::Remove, Deed::Request], "job", 0, true);
}

#[test]
fn whoever_is_removed_reads_nothing_newer_with_copies_that_lag() {
    check_reader(&[Deed::Remove, Deed::Set], "web", 0, false);
    check_reader(&[Deed::Remove], "web", 1, false);
}
