//! Reading etcd past the API server: what is really stored.
//!
//! Two ways, since each sees what the other does not: every key as it is now,
//! asked of etcd's JSON gateway, and the bytes of its data files, which also
//! hold earlier revisions, deleted keys and the write-ahead log.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// How many keys are asked for at once.
const PAGE: u32 = 500;

/// The cluster's etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    url: String,
    data: PathBuf,
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key, such as `/registry/secrets/default/example`.
    pub key: String,
    /// The value's bytes.
    pub value: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    /// A number as text, as protobuf writes 64 bits in JSON.
    revision: String,
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<RawPair>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct RawPair {
    key: String,
    #[serde(default)]
    value: String,
}

impl Etcd {
    pub(crate) fn new(url: &str, data: PathBuf) -> Self {
        Self { url: url.to_owned(), data }
    }

    /// Put a value under a key, past everything that the API server would say about it.
    ///
    /// # Errors
    /// If etcd does not take it.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        let put = json!({"key": BASE64.encode(key), "value": BASE64.encode(value)});
        self.post("kv/put", &put).await.map(drop)
    }

    /// Take a key away, past everything that the API server would say about it.
    ///
    /// # Errors
    /// If etcd does not take it.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.post("kv/deleterange", &json!({"key": BASE64.encode(key)})).await.map(drop)
    }

    /// Every key and value.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn dump(&self) -> Result<Vec<Stored>> {
        let mut all = Vec::new();
        // From the first possible key to the last: rpc.proto, RangeRequest.
        let mut from = vec![0];
        loop {
            let ask = json!({"key": BASE64.encode(&from), "range_end": BASE64.encode([0]), "limit": PAGE});
            let body = self.post("kv/range", &ask).await?;
            let page: Range = serde_json::from_slice(&body).context("understand etcd's answer")?;
            for pair in page.kvs {
                let key = BASE64.decode(pair.key).context("decode a key")?;
                let value = BASE64.decode(pair.value).context("decode a value")?;
                from = [key.as_slice(), &[0]].concat();
                all.push(Stored { key: String::from_utf8_lossy(&key).into_owned(), value });
            }
            if !page.more {
                return Ok(all);
            }
        }
    }

    /// Forget earlier revisions and give the space of what is gone back: after thousands of objects.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn shrink(&self) -> Result<()> {
        let now: Range =
            serde_json::from_slice(&self.post("kv/range", &json!({"key": "AA==", "limit": 1})).await?)
                .context("understand etcd's answer")?;
        let compaction = json!({"revision": now.header.revision, "physical": true});
        self.post("kv/compaction", &compaction).await?;
        self.post("maintenance/defragment", &json!({})).await.map(drop)
    }

    async fn post(&self, path: &str, ask: &Value) -> Result<Bytes> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = http::Request::post(format!("{}/v3/{path}", self.url))
            .body(Full::from(ask.to_string()))
            .context("make a request for etcd")?;
        let response = client.request(request).await.context("ask etcd")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("read etcd's answer")?.to_bytes();
        if !status.is_success() {
            bail!("etcd answered {status} to {path}");
        }
        Ok(body)
    }

    /// Look for bytes, in plain or encoded, in every key and value and in the data files.
    ///
    /// # Errors
    /// If etcd does not answer or its files cannot be read.
    pub async fn search(&self, needle: &[u8]) -> Result<Search> {
        let forms = forms(needle);
        let mut search = Search::default();
        for stored in self.dump().await? {
            search.keys += 1;
            if holds(&stored.value, &forms) || holds(stored.key.as_bytes(), &forms) {
                search.found.push(stored.key);
            }
        }
        for file in files(&self.data)? {
            // A file of the log may be removed while we look; what it held has been moved on.
            let Ok(bytes) = fs::read(&file) else { continue };
            search.bytes += bytes.len();
            if holds(&bytes, &forms) {
                search.found.push(file.display().to_string());
            }
        }
        Ok(search)
    }
}

/// What a search looked at and where it found something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Keys, and paths of data files, that hold the bytes.
    pub found: Vec<String>,
    /// How many keys were looked at.
    pub keys: usize,
    /// How many bytes of data files were looked at.
    pub bytes: usize,
}

/// How these bytes may be written down: plain, hex, base64 at each of the three offsets, JSON text.
#[must_use]
pub fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![needle.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for offset in 0..3 {
        // Only whole groups of three bytes that lie within the needle look the same whatever surrounds them.
        let skip = (3 - offset) % 3;
        let whole = needle.get(skip..).map_or(0, |rest| rest.len() / 3 * 3);
        if whole > 0 {
            let text = BASE64.encode(&needle[skip..skip + whole]);
            forms.push(text.replace('+', "-").replace('/', "_").into_bytes());
            forms.push(text.into_bytes());
        }
    }
    if let Ok(text) = std::str::from_utf8(needle) {
        let quoted = json!(text).to_string();
        forms.push(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
    }
    forms.sort();
    forms.dedup();
    forms
}

/// Whether any of these is in the bytes.
#[must_use]
pub fn holds(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| memmem::find(bytes, form).is_some())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T13: a search that misses an encoding would prove nothing.
    #[test]
    fn a_value_is_found_in_plain_hex_json_and_base64_wherever_it_begins() {
        let secret = b"s3cr3t \"value\" with 30 bytes!!";
        let forms = forms(secret);
        for padding in 0..6 {
            let around = [vec![b'x'; padding], secret.to_vec(), vec![b'y'; 7]].concat();
            assert!(holds(&around, &forms));
            assert!(holds(BASE64.encode(&around).as_bytes(), &forms), "at offset {padding}");
        }
        assert!(holds(json!({"a": String::from_utf8_lossy(secret)}).to_string().as_bytes(), &forms));
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(holds(hex.as_bytes(), &forms));
        assert!(!holds(b"s3cr3t value", &forms));
    }
}
