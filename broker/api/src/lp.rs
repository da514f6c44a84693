//! `LP`: how canonical bytes are put together.

/// Appends the length of `field` in bytes as 32-bit big-endian, then `field`. None is longer than 4 GiB: requests are
/// bounded far below.
pub(crate) fn put(out: &mut Vec<u8>, field: &str) {
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(field.as_bytes());
}
