//! Whether the custodian root is turned over. Pure.

/// What to do about the generation of the root that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// It is the newest.
    Settled,
    /// The newest is above it. It stays: what is sealed since needs it.
    Ahead {
        /// The newest.
        newest: u64,
        /// What is asked for.
        asked: u64,
    },
    /// It is above all that are there: it is to be made.
    Make(u64),
    /// It is, but the Secret is one that an earlier version made, to which nothing can be added.
    Immutable(u64),
    /// It is, but Keyrings are wrapped under a generation that is not there any more. None is made then: it could have the
    /// number of the one that is gone.
    Lost {
        /// What Keyrings are wrapped under.
        in_use: u64,
        /// The newest.
        newest: u64,
    },
}

/// Decides that. `in_use` is the newest generation that a Keyring is wrapped under.
pub(super) fn growth(asked: u64, newest: u64, in_use: u64, immutable: bool) -> Growth {
    if asked < newest {
        Growth::Ahead { newest, asked }
    } else if asked == newest {
        Growth::Settled
    } else if in_use > newest {
        Growth::Lost { in_use, newest }
    } else if immutable {
        Growth::Immutable(asked)
    } else {
        Growth::Make(asked)
    }
}

impl Growth {
    /// Says it where whoever asked will look.
    pub(super) fn log(self) {
        match self {
            Self::Settled | Self::Make(_) => {}
            Self::Ahead { newest, asked } => tracing::info!(
                newest,
                asked,
                "an older generation of the custodian root is asked for than there is: it stays as it is"
            ),
            Self::Immutable(asked) => tracing::error!(
                asked,
                "no generation can be added to Secret coffer-custodian, which an earlier version made immutable: make it \
                 again from its copy without that, as the operations guide says"
            ),
            Self::Lost { in_use, newest } => tracing::error!(
                in_use,
                newest,
                "Keyrings are wrapped under a generation of the custodian root that is gone from Secret coffer-custodian: \
                 restore it from a backup; no other is made"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_root_is_made_when_it_is_asked_for_and_nothing_is_ever_taken_back_or_made_twice() {
        assert_eq!(growth(1, 1, 1, true), Growth::Settled);
        assert_eq!(growth(2, 1, 1, false), Growth::Make(2));
        assert_eq!(growth(7, 2, 1, false), Growth::Make(7), "numbers may be left out");
        assert_eq!(growth(1, 2, 2, false), Growth::Ahead { newest: 2, asked: 1 });
        assert_eq!(growth(2, 1, 1, true), Growth::Immutable(2));
        // The Secret was put back as it was before the last turn-over.
        for asked in [2, 3] {
            assert_eq!(growth(asked, 1, 2, false), Growth::Lost { in_use: 2, newest: 1 });
        }
    }
}
