//! Whose turn it is: a few Releases at one time, and of one requester fewer, so that a flood by one keeps nobody waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requesters whose queue is remembered though it may be empty.
const MANY: usize = 1000;

/// Queues: one for each requester, and one for the heads of all.
pub struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    requesters: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn; it ends when this is dropped.
pub struct Turn {
    // In this order: the place among all is free before the requester's next one asks for it.
    _among_all: OwnedSemaphorePermit,
    _of_requester: OwnedSemaphorePermit,
}

impl Turns {
    /// At most `all` at one time, and `each` of one requester.
    pub fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, requesters: Mutex::default() }
    }

    /// Waits for a turn. At most `each` of a requester wait for a place among all, so whoever comes after a flood waits
    /// behind that many and not behind the flood.
    pub async fn take(&self, requester: &str) -> Turn {
        let queue = self.queue(requester);
        let of_requester = queue.acquire_owned().await.expect("never closed");
        let among_all = self.all.clone().acquire_owned().await.expect("never closed");
        Turn { _among_all: among_all, _of_requester: of_requester }
    }

    fn queue(&self, requester: &str) -> Arc<Semaphore> {
        let mut requesters = self.requesters.lock().unwrap_or_else(PoisonError::into_inner);
        if requesters.len() >= MANY {
            // Whoever waits or has a turn holds the queue too.
            requesters.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let queue = || Arc::new(Semaphore::new(self.each));
        requesters.entry(requester.to_owned()).or_insert_with(queue).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_after_a_flood_is_served_among_the_first() {
        let turns = Arc::new(Turns::new(4, 2));
        let order = Arc::<Mutex<Vec<&str>>>::default();
        let mut all = tokio::task::JoinSet::new();
        for requester in std::iter::repeat_n("mallory", 500).chain(["alice"]) {
            let (turns, order) = (turns.clone(), order.clone());
            all.spawn(async move {
                let _turn = turns.take(requester).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                order.lock().expect("nobody panics").push(requester);
            });
        }
        all.join_all().await;
        let order = order.lock().expect("nobody panics");
        let place = order.iter().position(|requester| *requester == "alice");
        assert!(place.is_some_and(|place| place < 4), "{place:?}");
        assert_eq!(order.len(), 501);
    }

    /// T19: a flood of names cannot make the broker grow.
    #[tokio::test]
    async fn queues_of_requesters_that_ask_no_more_are_forgotten() {
        let turns = Turns::new(4, 2);
        for index in 0..MANY * 3 {
            drop(turns.take(&index.to_string()).await);
        }
        assert!(turns.requesters.lock().is_ok_and(|requesters| requesters.len() <= MANY));
    }
}
