//! Repeatable bytes for tests and vectors: SHA-256 over a label and a counter. Never for real keys.

use rand_core::{TryCryptoRng, TryRng, utils};
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;

/// The same bytes for the same label.
pub(crate) struct Drbg {
    label: &'static str,
    counter: u64,
    block: Vec<u8>,
}

impl Drbg {
    pub(crate) fn new(label: &'static str) -> Self {
        Self { label, counter: 0, block: Vec::new() }
    }
}

impl TryRng for Drbg {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            if self.block.is_empty() {
                self.block = Sha256::new()
                    .chain_update(self.label)
                    .chain_update(self.counter.to_be_bytes())
                    .finalize()
                    .to_vec();
                self.counter += 1;
            }
            *byte = self.block.remove(0);
        }
        Ok(())
    }
}

impl TryCryptoRng for Drbg {}
