//! The protocol by which a vault's keys are turned over (DESIGN §8), as functions of what is known and of nothing else.
//! The plans of Vaults and Connections take each of their steps from here, and so does the model that is checked
//! exhaustively: there is no second description.
//!
//! 1. **Begin**: the Keyring gains the next epoch, in the same write as whatever calls for it. Until it is current,
//!    nothing new is sealed for whoever knows the present vault key ([`Epochs::may_seal`]).
//! 2. **Switch**: every member that is to have the vault key has the new one beside the old; one write of the Keyring
//!    makes it current.
//! 3. Each Envelope of an older epoch is sealed anew ([`Epochs::is_behind`]), one write each.
//! 4. **Finish**: nothing that can be released is of an older epoch; the older keys go.
//!
//! Whatever calls for another turn-over meanwhile starts at 1: an epoch that waits to become current makes room for a
//! newer one, and Envelopes go from wherever they are to the newest.

/// The epochs whose keys a Keyring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epochs {
    /// The oldest: something may still be sealed in it.
    pub oldest: i64,
    /// The one that writes use.
    pub current: i64,
    /// The newest: the current one, or the one that waits to take its place.
    pub newest: i64,
}

/// What a vault's members and Envelopes look like, as far as the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Somebody may know the newest vault key and is not to know what is sealed from now on, or a turn-over is due for
    /// another reason.
    pub cause: bool,
    /// Every member that is to have the vault key holds that of every epoch.
    pub all_wrapped: bool,
    /// No Envelope that can be released is of an older epoch than the current one, and it is certain.
    pub all_resealed: bool,
}

/// What is to be done about the epochs, in one write of the Keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing.
    Rest,
    /// The next epoch is added; one that waits makes room for it.
    Begin,
    /// The newest epoch becomes current.
    Switch,
    /// The epochs before the current one go.
    Finish,
}

impl Epochs {
    /// The next step.
    pub fn step(self, seen: Seen) -> Step {
        if seen.cause {
            Step::Begin
        } else if self.waits() {
            if seen.all_wrapped { Step::Switch } else { Step::Rest }
        } else if self.may_finish(seen.all_resealed) {
            Step::Finish
        } else {
            Step::Rest
        }
    }

    /// Whether the older keys go, if nothing is sealed in them: then that is worth making certain of.
    pub fn may_finish(self, all_resealed: bool) -> bool {
        !self.waits() && self.oldest < self.current && all_resealed
    }

    /// Whether an epoch waits to take the current one's place.
    pub fn waits(self) -> bool {
        self.newest > self.current
    }

    /// Whether a turn-over is under way.
    pub fn rotates(self) -> bool {
        self.oldest < self.newest
    }

    /// Whether something may be sealed now. What the vault key opens waits while somebody may know that key who is not
    /// to know what is sealed; what has slots for listed members alone does not depend on it.
    pub fn may_seal(self, under_vault_key: bool) -> bool {
        !(under_vault_key && self.waits())
    }

    /// Whether an Envelope of this epoch is to be sealed anew.
    pub fn is_behind(self, epoch: i64) -> bool {
        epoch < self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen = Seen { cause: false, all_wrapped: false, all_resealed: false };

    fn epochs(oldest: i64, current: i64, newest: i64) -> Epochs {
        Epochs { oldest, current, newest }
    }

    #[test]
    fn a_cause_begins_another_epoch_in_whatever_state() {
        for at in [epochs(1, 1, 1), epochs(1, 1, 2), epochs(1, 2, 2), epochs(1, 2, 3)] {
            let all = Seen { cause: true, all_wrapped: true, all_resealed: true };
            assert_eq!(at.step(all), Step::Begin);
        }
    }

    #[test]
    fn an_epoch_becomes_current_when_every_member_has_it_and_not_before() {
        for oldest in [1, 2] {
            let at = epochs(oldest, 2, 3);
            assert_eq!(at.step(Seen { all_resealed: true, ..SEEN }), Step::Rest);
            assert_eq!(at.step(Seen { all_wrapped: true, ..SEEN }), Step::Switch);
            assert!(!at.may_seal(true) && at.may_seal(false) && at.rotates());
        }
    }

    #[test]
    fn old_epochs_go_when_nothing_is_sealed_in_them_and_not_before() {
        let at = epochs(1, 3, 3);
        assert_eq!(at.step(Seen { all_wrapped: true, ..SEEN }), Step::Rest);
        assert_eq!(at.step(Seen { all_resealed: true, ..SEEN }), Step::Finish);
        assert!(at.is_behind(2) && !at.is_behind(3) && at.may_seal(true));
        assert_eq!(epochs(3, 3, 3).step(Seen { all_resealed: true, all_wrapped: true, ..SEEN }), Step::Rest);
        assert!(!epochs(3, 3, 3).rotates());
    }
}
