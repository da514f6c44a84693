//! T44, bounded: the corpus, and as many mutations of it as `COFFER_FUZZ_ROUNDS` says, always the same ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::{collections::BTreeSet, fs, panic::catch_unwind, path::PathBuf};

use coffer_fuzz::{TARGETS, Target};
use serde_json::Value;

/// Mutations of each target. Enough to reach every branch of the small parsers, in seconds.
const ROUNDS: u64 = 1_500;

/// Words that the parsers look for.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "18446744073709551616",
    "1e309",
    "\\u0000",
    "..",
    "/",
    "*",
    "\0",
    "é",
    "spec",
    "metadata",
    "stringData",
    "coffer",
    "did:key:z",
    "-----BEGIN PUBLIC KEY-----",
];

fn corpus_folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The target's seeds, in the order of their names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = corpus_folder(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|_| panic!("{} has no corpus", target.name))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn mutate_bytes(data: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = numbers.below(data.len() + 1);
    match numbers.below(6) {
        0 if at < data.len() => data[at] ^= 1 << numbers.below(8),
        1 if at < data.len() => data[at] = numbers.next() as u8,
        2 => data.truncate(at),
        3 => {
            let word = numbers.pick(&WORDS).bytes();
            data.splice(at..at, word);
        }
        4 => {
            let from = numbers.below(other.len() + 1);
            data.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let end = at + numbers.below((data.len() - at).min(64) + 1);
            let part = data[at..end].to_vec();
            data.splice(at..at, part);
        }
    }
}

/// Changes one leaf, so that what is around it still parses.
fn mutate_json(value: &mut Value, other: &[u8], numbers: &mut Numbers) {
    let leaf = match value {
        Value::Array(entries) if !entries.is_empty() => {
            let at = numbers.below(entries.len());
            if numbers.below(8) == 0 {
                let again = entries[at].clone();
                entries.push(again);
                return;
            }
            &mut entries[at]
        }
        Value::Object(fields) if !fields.is_empty() => {
            let at = numbers.below(fields.len());
            let name = fields.keys().nth(at).unwrap().clone();
            if numbers.below(16) == 0 {
                fields.remove(&name);
                return;
            }
            fields.get_mut(&name).unwrap()
        }
        leaf @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            *leaf = match numbers.below(6) {
                0 => Value::Null,
                1 => Value::from(numbers.next() as i64),
                2 => Value::from(*numbers.pick(&WORDS)),
                3 => Value::Array(vec![leaf.clone()]),
                _ => {
                    let mut text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned).into_bytes();
                    mutate_bytes(&mut text, other, numbers);
                    Value::from(String::from_utf8_lossy(&text).into_owned())
                }
            };
            return;
        }
    };
    mutate_json(leaf, other, numbers);
}

fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let (mut data, other) = (numbers.pick(seeds).clone(), numbers.pick(seeds).clone());
    for _ in 0..=numbers.below(3) {
        match serde_json::from_slice::<Value>(&data) {
            Ok(mut value) if numbers.below(4) > 0 => {
                mutate_json(&mut value, &other, numbers);
                data = serde_json::to_vec(&value).unwrap();
            }
            Ok(_) | Err(_) => mutate_bytes(&mut data, &other, numbers),
        }
    }
    data
}

fn must_not_panic(target: &Target, data: &[u8]) {
    let run = target.run;
    if catch_unwind(|| run(data)).is_err() {
        panic!("{} panics; put these bytes into its corpus:\n{}", target.name, data.escape_ascii());
    }
}

fn rounds() -> u64 {
    std::env::var("COFFER_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"))
}

#[test]
fn no_seed_and_no_mutation_of_one_makes_a_panic() {
    for (index, target) in TARGETS.iter().enumerate() {
        let seeds = corpus(target);
        for seed in &seeds {
            must_not_panic(target, seed);
        }
        let mut numbers = Numbers(index as u64);
        for _ in 0..rounds() {
            must_not_panic(target, &mutated(&seeds, &mut numbers));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_libfuzzer_binary_and_there_are_no_others() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let folders = fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names);
    let binaries = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/targets");
    let binaries: BTreeSet<String> = fs::read_dir(binaries)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(binaries, names);
}
