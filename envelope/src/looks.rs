//! Copies that lag: an Envelope, a Keyring and a VaultMember are three objects, and whoever takes them from three watches,
//! or reads them one after another, may hold one from before a turn-over and one from after it.

/// How often such copies are read again when nothing opens with them, and when that is the truth.
///
/// Two looks that show the same, one made after the other had ended, show what was there at one moment: what does not open
/// with that does not open. Otherwise somebody wrote in between, and another look is worth its requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Looks<Versions> {
    taken: u8,
    last: Versions,
}

/// Each turn-over that passes between two copies can fail one look, as the operator's model of turn-overs shows: the copies
/// may lag by one, and a look may last as long as the next.
const MOST_LOOKS: u8 = 3;

impl<Versions: PartialEq> Looks<Versions> {
    /// Before the first look: what the copies are that nothing opened with.
    pub fn after(copies: Versions) -> Self {
        Self { taken: 0, last: copies }
    }

    /// How many looks showed anything new.
    pub fn taken(&self) -> u8 {
        self.taken
    }

    /// Whether the objects are to be read again.
    pub fn is_worth_another(&self) -> bool {
        self.taken < MOST_LOOKS
    }

    /// Takes what a look showed. Whether that is anything new; if not, this was the last look.
    pub fn saw(&mut self, versions: Versions) -> bool {
        let is_new = self.last != versions;
        self.taken = if is_new { self.taken + 1 } else { MOST_LOOKS };
        self.last = versions;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_the_same_again_is_the_truth() {
        let mut looks = Looks::after(("envelope 1", "member 1"));
        assert!(looks.is_worth_another());
        assert!(looks.saw(("envelope 1", "member 2")) && looks.is_worth_another());
        assert!(!looks.saw(("envelope 1", "member 2")) && !looks.is_worth_another());
    }

    #[test]
    fn what_changes_all_the_time_is_looked_at_so_often_and_no_more() {
        let mut looks = Looks::after(0);
        let taken = (1..).take_while(|version| looks.is_worth_another() && looks.saw(*version)).count();
        assert_eq!(taken, usize::from(MOST_LOOKS));
    }
}
