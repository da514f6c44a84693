//! Who read what (DESIGN §8): what the brokers' audit logs say of members that lose access, so that an Envelope names
//! those who did read the value and not only those who could have.
//!
//! A plan that is to name somebody says whom it would know about; the look asks by an AuditQuery, outside the vault's gate,
//! and plans again. No turn-over fails for want of an answer, and none waits longer than [`ask::PATIENCE`].

pub mod ask;

pub use ask::Asking;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::cache::Key;

/// How long an answer counts about a member that is out of force as it was when it was asked about.
const STILL_OUT: SignedDuration = SignedDuration::from_secs(30);
/// Until whoever lost access can have read for the last time: doors see it a moment later, and times of epochs are whole
/// seconds.
const AFTERWARDS: SignedDuration = SignedDuration::from_secs(1);

/// When each Connection was last released, by member and Connection.
pub type LastReads = BTreeMap<(String, Key), Timestamp>;

/// A member that loses access to a Connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name.
    pub member: String,
    /// When.
    pub at: Timestamp,
    /// Whether `at` is when an epoch began for this reason. Else it is the moment of this look.
    pub recorded: bool,
    /// How it stands, if it is not in force: its object's uid and generation, or nothing of them when that is gone.
    pub out: Option<String>,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// What this member read.
    Member(String),
    /// Who read this Connection.
    Connection(Key),
}

/// What the logs said to one question.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was asked.
    pub asked_at: Timestamp,
    /// How the member stood then, as [`Loss::out`].
    pub out: Option<String>,
    /// What was read, as far as anybody answered.
    pub reads: Arc<LastReads>,
}

/// What is known when a Connection is planned.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    told: BTreeMap<About, Told>,
    /// When the look began; `None`: nobody is asked, what is known is all there is.
    began: Option<Timestamp>,
}

/// Nothing is known of this loss: ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAsked;

impl Reads {
    /// What was told by now, for a look that began then and asks for what is missing.
    pub fn asking(told: BTreeMap<About, Told>, began: Timestamp) -> Self {
        Self { told, began: Some(began) }
    }

    /// All that will be known: nobody is asked any more.
    pub fn settled(told: BTreeMap<About, Told>) -> Self {
        Self { told, began: None }
    }

    /// When the Connection was last released to a member that loses access to it, as far as that is known.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn last(&self, loss: &Loss, connection: &Key, now: Timestamp) -> Result<Option<Timestamp>, NotAsked> {
        let of_member = self.told.get(&About::Member(loss.member.clone()));
        let of_connection = self.told.get(&About::Connection(connection.clone()));
        let told = match self.began {
            None => of_member.or(of_connection),
            Some(began) => {
                let told = of_member.filter(|told| told.counts(loss, began, now));
                let told = told.or(of_connection.filter(|told| told.asked_at >= began));
                Some(told.ok_or(NotAsked)?)
            }
        };
        Ok(told.and_then(|told| told.reads.get(&(loss.member.clone(), connection.clone())).copied()))
    }
}

impl Told {
    /// Whether it was asked after the member read for the last time what it loses: since the look began, since the epoch
    /// began that shuts it out, or a moment ago, when it was out of force already.
    fn counts(&self, loss: &Loss, began: Timestamp, now: Timestamp) -> bool {
        let after = |at: Timestamp| self.asked_at >= at;
        let since_epoch = || loss.at.checked_add(AFTERWARDS).is_ok_and(after);
        let still_out =
            || loss.out.is_some() && self.out == loss.out && now.duration_since(self.asked_at) < STILL_OUT;
        after(began) || if loss.recorded { since_epoch() } else { still_out() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn loss(second: i64, recorded: bool, out: Option<&str>) -> Loss {
        Loss { member: String::from("bob"), at: at(second), recorded, out: out.map(String::from) }
    }

    fn github() -> Key {
        Key::new("team-a", "github")
    }

    fn told(about: About, asked: i64, out: Option<&str>) -> BTreeMap<About, Told> {
        let reads = LastReads::from([((String::from("bob"), github()), at(5))]);
        [(about, Told { asked_at: at(asked), out: out.map(String::from), reads: Arc::new(reads) })].into()
    }

    fn of_bob(asked: i64, out: Option<&str>) -> BTreeMap<About, Told> {
        told(About::Member(String::from("bob")), asked, out)
    }

    #[test]
    fn an_answer_counts_when_it_was_asked_after_the_last_that_could_be_read() {
        let (read, ask) = (Ok(Some(at(5))), Err(NotAsked));
        let known = |told: &BTreeMap<About, Told>, loss: &Loss| {
            Reads::asking(told.clone(), at(100)).last(loss, &github(), at(101))
        };
        assert_eq!(known(&BTreeMap::new(), &loss(100, false, None)), ask);
        assert_eq!(known(&of_bob(100, None), &loss(101, false, None)), read, "asked by this very look");
        assert_eq!(known(&of_bob(99, None), &loss(101, false, None)), ask, "it may have read since");
        assert_eq!(known(&of_bob(12, None), &loss(11, true, None)), read, "a turn-over asks once");
        assert_eq!(known(&of_bob(11, None), &loss(11, true, None)), ask, "a read may be on its way");
        let gone = Some("");
        assert_eq!(known(&of_bob(80, gone), &loss(101, false, gone)), read);
        assert_eq!(known(&of_bob(70, gone), &loss(101, false, gone)), ask, "a while ago");
        assert_eq!(known(&of_bob(99, None), &loss(101, false, gone)), ask, "in force, then");
        assert_eq!(known(&of_bob(99, Some("u/1")), &loss(101, false, Some("u/3"))), ask, "back meanwhile");
        let of_all = |asked| told(About::Connection(github()), asked, None);
        assert_eq!(known(&of_all(100), &loss(101, false, None)), read);
        assert_eq!(known(&of_all(99), &loss(11, true, gone)), ask);
    }

    #[test]
    fn what_nobody_told_in_time_is_not_known_and_is_not_asked_for_again() {
        let settled = Reads::settled(BTreeMap::new());
        assert_eq!(settled.last(&loss(101, false, None), &github(), at(101)), Ok(None));
        let settled = Reads::settled(of_bob(1, None));
        assert_eq!(settled.last(&loss(101, false, None), &github(), at(101)), Ok(Some(at(5))));
        assert_eq!(settled.last(&loss(101, false, None), &Key::new("team-a", "aws"), at(101)), Ok(None));
    }
}
