//! The log under kill -9, full disks, tampering and load.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use super::*;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

const NO_LIMITS: FileLimits = FileLimits { file_bytes: u64::MAX, keep_files: 0 };

fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn entry(request_id: &str) -> Entry {
    let actor = Actor {
        kind: ActorKind::ServiceAccount,
        name: Some("system:serviceaccount:a:web".into()),
        ..Actor::ANONYMOUS
    };
    Entry {
        request_id: Some(request_id.into()),
        reason: None,
        ..Entry::about_itself(Event::Release, actor, timestamp(now()), String::new())
    }
}

/// An observer that a test can wait on.
#[derive(Clone, Default)]
struct Seen(Arc<(Mutex<Option<bool>>, Condvar)>, Arc<AtomicUsize>);

impl Observer for Seen {
    fn committed(&self, records: usize, _: Duration) {
        self.1.fetch_add(records, Ordering::SeqCst);
    }
    fn failed(&self) {}
    fn writable(&self, writable: bool) {
        *self.0.0.lock().unwrap() = Some(writable);
        self.0.1.notify_all();
    }
}

impl Seen {
    fn wait_until_writable_is(&self, wanted: bool) {
        let guard = self.0.0.lock().unwrap();
        let timeout = Duration::from_secs(10);
        let (_guard, result) =
            self.0.1.wait_timeout_while(guard, timeout, |seen| *seen != Some(wanted)).unwrap();
        assert!(
            !result.timed_out(),
            "the log never became {}",
            if wanted { "writable" } else { "unwritable" }
        );
    }
}

fn start(sink: impl Sink) -> (AuditLog, std::thread::JoinHandle<()>, Seen) {
    let seen = Seen::default();
    let (log, thread) = AuditLog::start(sink, seen.clone(), "coffer-broker-0", now).unwrap();
    (log, thread, seen)
}

/// Writes `count` records through a sink and lets go of it, as a broker that ends in good order.
fn write(dir: &Path, limits: FileLimits, count: usize) {
    let mut sink = FileSink::new(dir.to_owned(), limits);
    let mut head = sink.open().unwrap().head;
    for index in 0..count {
        let (first_seq, mut lines) = (head.next_seq, Vec::new());
        head.append(entry(&format!("request-{index}")), &mut lines);
        sink.commit(&lines, first_seq).unwrap();
    }
}

fn only_file(dir: &Path) -> PathBuf {
    let all = files::list(dir).unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn request_ids(dir: &Path) -> Vec<String> {
    records(dir).into_iter().filter_map(|record| record.entry.request_id).collect()
}

fn records(dir: &Path) -> Vec<Record> {
    let mut out = Vec::new();
    print(dir, None, &mut out).unwrap();
    out.split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// T4: the writer was killed while it wrote; whatever the byte at which the file ends, every record that was
/// whole is still there, the torn one is gone, this is on record, and the chain holds.
#[test]
fn a_log_that_ends_at_any_byte_keeps_every_whole_record_and_goes_on() {
    let source = tempfile::tempdir().unwrap();
    write(source.path(), NO_LIMITS, 3);
    let bytes = fs::read(only_file(source.path())).unwrap();
    let ends: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..=bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(files::path_of(dir.path(), 1), &bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let torn = cut - ends[..whole].last().copied().unwrap_or(0);

        let mut sink = FileSink::new(dir.path().to_owned(), NO_LIMITS);
        let opened = sink.open().unwrap();
        assert_eq!(opened.head.next_seq, whole as u64 + 1, "cut at byte {cut}");
        let expected = (torn > 0).then(|| format!("removed {torn} bytes of a torn last line"));
        assert_eq!(opened.repaired, expected, "cut at byte {cut}");

        let (mut head, mut lines) = (opened.head.clone(), Vec::new());
        head.append(entry("after"), &mut lines);
        sink.commit(&lines, opened.head.next_seq).unwrap();
        let found = verify(dir.path()).unwrap();
        assert!(found.intact(), "cut at byte {cut}: {found}");
        assert_eq!(found.records, whole as u64 + 1);
    }
}

/// T4: the repair itself is on record, through the log's front.
#[tokio::test]
async fn a_repaired_log_says_so_in_a_record_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), NO_LIMITS, 2);
    let mut file = fs::OpenOptions::new().append(true).open(only_file(dir.path())).unwrap();
    file.write_all(br#"{"seq":3,"prevHa"#).unwrap();

    let (log, thread, _) = start(FileSink::new(dir.path().to_owned(), NO_LIMITS));
    log.record(vec![entry("after")]).await.unwrap();
    drop(log);
    thread.join().unwrap();

    let records = records(dir.path());
    assert_eq!(records.len(), 4);
    assert_eq!(records[2].entry.event, Event::Recovered);
    assert_eq!(records[2].entry.actor, Actor::broker("coffer-broker-0"));
    assert_eq!(records[2].entry.reason.as_deref(), Some("removed 16 bytes of a torn last line"));
    assert!(verify(dir.path()).unwrap().intact());
}

/// T4: N releases are N records, in one chain, however they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_parallel_releases_are_a_thousand_records_in_one_chain_with_fewer_fsyncs() {
    let dir = tempfile::tempdir().unwrap();
    let counting =
        Counting { inner: FileSink::new(dir.path().to_owned(), NO_LIMITS), commits: Arc::default() };
    let commits = counting.commits.clone();
    let (log, thread, seen) = start(counting);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..1000 {
        let log = log.clone();
        tasks.spawn(async move { log.record(vec![entry(&index.to_string())]).await });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap().unwrap();
    }
    drop(log);
    thread.join().unwrap();

    let mut ids = request_ids(dir.path());
    ids.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(ids, (0..1000).map(|index| index.to_string()).collect::<Vec<_>>());
    assert!(verify(dir.path()).unwrap().intact());
    assert_eq!(seen.1.load(Ordering::SeqCst), 1000);
    assert!(commits.load(Ordering::SeqCst) < 1000, "group commit never grouped");
}

struct Counting {
    inner: FileSink,
    commits: Arc<AtomicUsize>,
}

impl Sink for Counting {
    fn open(&mut self) -> io::Result<Opened> {
        self.inner.open()
    }
    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(lines, first_seq)
    }
}

/// A sink that can be broken: half of each write reaches the file, then the disk is full.
struct FullDisk {
    inner: FileSink,
    dir: PathBuf,
    full: Arc<AtomicBool>,
}

impl Sink for FullDisk {
    fn open(&mut self) -> io::Result<Opened> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.open()
    }
    fn commit(&mut self, lines: &[u8], first_seq: u64) -> io::Result<Committed> {
        if self.full.load(Ordering::SeqCst) {
            let mut file = fs::OpenOptions::new().append(true).open(only_file(&self.dir))?;
            file.write_all(&lines[..lines.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.commit(lines, first_seq)
    }
}

/// T4: while the disk is full every record is refused; when there is room again the log comes back by itself,
/// without a trace of what was refused.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let inner = FileSink::new(dir.path().to_owned(), NO_LIMITS);
    let (log, thread, seen) = start(FullDisk { inner, dir: dir.path().to_owned(), full: full.clone() });
    log.record(vec![entry("before")]).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(log.record(vec![entry("refused"), entry("refused too")]).await, Err(AuditUnavailable));
    }
    seen.wait_until_writable_is(false);
    full.store(false, Ordering::SeqCst);
    // Nobody asks for anything: it comes back on its own.
    seen.wait_until_writable_is(true);
    log.record(vec![entry("after")]).await.unwrap();
    drop(log);
    thread.join().unwrap();

    assert_eq!(request_ids(dir.path()), ["before", "after"]);
    let recovered: Vec<_> =
        records(dir.path()).into_iter().filter(|r| r.entry.event == Event::Recovered).collect();
    assert_eq!(recovered.len(), 1);
    assert!(verify(dir.path()).unwrap().intact());
}

/// T4: fsync failed after the lines were written whole. Those releases were refused, so they are not on record.
#[test]
fn lines_whose_commit_failed_are_removed_even_when_they_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = FileSink::new(dir.path().to_owned(), NO_LIMITS);
    let (mut head, mut lines) = (sink.open().unwrap().head, Vec::new());
    head.append(entry("durable"), &mut lines);
    sink.commit(&lines, 1).unwrap();
    let mut refused = Vec::new();
    head.clone().append(entry("refused"), &mut refused);
    fs::OpenOptions::new().append(true).open(only_file(dir.path())).unwrap().write_all(&refused).unwrap();

    let opened = sink.open().unwrap();
    assert_eq!(opened.head, head);
    let text = format!("removed {} bytes of a write that failed and was refused", refused.len());
    assert_eq!(opened.repaired, Some(text));
    assert_eq!(request_ids(dir.path()), ["durable"]);
}

/// T4: a log whose folder is deleted under the broker does not go on writing to a file that nobody can find.
#[tokio::test]
async fn a_log_whose_file_is_deleted_refuses_then_starts_again_and_leaves_a_visible_gap() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("audit");
    let (log, thread, _) = start(FileSink::new(place.clone(), NO_LIMITS));
    log.record(vec![entry("lost"), entry("lost too")]).await.unwrap();
    fs::remove_dir_all(&place).unwrap();
    assert_eq!(log.record(vec![entry("refused")]).await, Err(AuditUnavailable));
    log.record(vec![entry("after")]).await.unwrap();
    drop(log);
    thread.join().unwrap();

    let records = records(&place);
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(records[0].entry.reason.as_deref(), Some("2 records that were durable are gone"));
    let found = verify(&place).unwrap();
    assert!(!found.intact());
    assert!(found.to_string().contains("has seq 3 where 1 was due"), "{found}");
}

#[test]
fn files_are_rotated_by_size_into_one_chain_and_the_oldest_go_when_configured() {
    let dir = tempfile::tempdir().unwrap();
    let limits = FileLimits { file_bytes: 900, keep_files: 0 };
    write(dir.path(), limits, 20);
    let all = files::list(dir.path()).unwrap();
    assert!(all.len() > 4, "{all:?}");
    assert!(all.iter().all(|path| fs::metadata(path).unwrap().len() <= 900));
    let found = verify(dir.path()).unwrap();
    assert!(found.intact(), "{found}");
    assert_eq!((found.records, found.first_seq), (20, Some(1)));

    write(dir.path(), FileLimits { keep_files: 2, ..limits }, 20);
    assert_eq!(files::list(dir.path()).unwrap().len(), 2);
    let found = verify(dir.path()).unwrap();
    assert!(found.intact(), "{found}");
    assert!(found.first_seq.unwrap() > 20);
    write(dir.path(), FileLimits { keep_files: 2, ..limits }, 1);
    assert!(verify(dir.path()).unwrap().intact(), "a pruned log opens again");
}

#[tokio::test]
async fn pruning_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let (log, thread, _) =
        start(FileSink::new(dir.path().to_owned(), FileLimits { file_bytes: 900, keep_files: 2 }));
    for index in 0..20 {
        log.record(vec![entry(&index.to_string())]).await.unwrap();
    }
    drop(log);
    thread.join().unwrap();
    assert!(records(dir.path()).iter().any(|record| record.entry.event == Event::Pruned));
    assert!(verify(dir.path()).unwrap().intact());
}

/// Damage that is no torn end is evidence: it is kept, the log goes on in a new file, and `--verify` finds it.
#[test]
fn a_line_changed_in_the_middle_is_kept_and_found() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), NO_LIMITS, 5);
    let path = only_file(dir.path());
    let changed = fs::read_to_string(&path).unwrap().replace("request-2", "request-9");
    fs::write(&path, &changed).unwrap();

    let found = verify(dir.path()).unwrap();
    assert_eq!(found.problems.len(), 1);
    assert_eq!((found.problems[0].line, found.records), (4, 4));
    assert!(found.problems[0].what.contains("hash of the line before"), "{found}");

    write(dir.path(), NO_LIMITS, 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), changed, "the evidence was touched");
    let found = verify(dir.path()).unwrap();
    assert_eq!((found.files, found.problems.len()), (2, 1), "{found}");
    assert_eq!(request_ids(dir.path()).len(), 7);
}

#[test]
fn a_removed_a_doubled_and_a_swapped_line_are_found() {
    let source = tempfile::tempdir().unwrap();
    write(source.path(), NO_LIMITS, 4);
    let text = fs::read_to_string(only_file(source.path())).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for order in [&[0, 1, 3][..], &[0, 1, 1, 2, 3], &[0, 2, 1, 3], &[1, 2, 3]] {
        let dir = tempfile::tempdir().unwrap();
        let changed: String = order.iter().map(|&index| format!("{}\n", lines[index])).collect();
        fs::write(files::path_of(dir.path(), 1), changed).unwrap();
        assert!(!verify(dir.path()).unwrap().intact(), "{order:?}");
    }
}

/// Two brokers on one volume would fork the chain.
#[test]
fn a_second_writer_waits_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = FileSink::new(dir.path().to_owned(), NO_LIMITS);
    first.open().unwrap();
    let mut second = FileSink::new(dir.path().to_owned(), NO_LIMITS);
    assert_eq!(second.open().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    second.open().unwrap();
}

#[test]
fn the_last_records_are_printed_across_files_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), FileLimits { file_bytes: 900, keep_files: 0 }, 12);
    for (last, expected) in [(0, 0..0), (1, 11..12), (7, 5..12), (100, 0..12)] {
        let mut out = Vec::new();
        print(dir.path(), Some(last), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let seqs: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().seq).collect();
        assert_eq!(seqs, expected.map(|index| index + 1).collect::<Vec<u64>>());
    }
}

/// T44: whatever is in the folder, opening never panics and never deletes a whole record.
#[test]
fn any_bytes_in_the_newest_file_can_be_opened() {
    use proptest::prelude::*;
    let source = tempfile::tempdir().unwrap();
    write(source.path(), NO_LIMITS, 3);
    let good = fs::read(only_file(source.path())).unwrap();
    proptest!(ProptestConfig::with_cases(64), |(junk in proptest::collection::vec(any::<u8>(), 0..300), at in 0..=good.len())| {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [&good[..at], &junk[..], &good[at..]].concat();
        fs::write(files::path_of(dir.path(), 1), &bytes).unwrap();
        write(dir.path(), NO_LIMITS, 1);
        let kept: Vec<u8> = files::list(dir.path()).unwrap().iter().flat_map(|path| fs::read(path).unwrap()).collect();
        for line in good.split_inclusive(|&b| b == b'\n') {
            let was_there = bytes.windows(line.len()).any(|window| window == line) && {
                let start = bytes.windows(line.len()).position(|window| window == line).unwrap();
                start == 0 || bytes[start - 1] == b'\n'
            };
            let still = kept.windows(line.len()).any(|window| window == line);
            prop_assert!(!was_there || still, "a whole record vanished");
        }
    });
}
