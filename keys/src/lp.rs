//! Length-prefixed values: the one encoding under every derivation, context, digest and signature.

use crate::FormatError;

/// Writes values one after the other, each as its length (32 bits, big-endian) and its bytes.
///
/// Two different sequences of values never give the same bytes. Holds only what is public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lp(Vec<u8>);

impl Lp {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they are.
    ///
    /// # Panics
    /// When the value has 4 GiB or more, which no value here can reach.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("no value of the format reaches 4 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// Adds text as UTF-8.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// Adds a number or a count: eight bytes, big-endian.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Adds seconds since 1970-01-01T00:00:00Z: eight bytes, big-endian, two's complement.
    pub fn time(&mut self, unix_seconds: i64) -> &mut Self {
        self.bytes(&unix_seconds.to_be_bytes())
    }

    /// Adds a value that may be absent: the number 0, or the number 1 and the value.
    pub fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.number(0),
            Some(value) => self.number(1).bytes(value),
        }
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What was written, taken over.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads length-prefixed values back.
pub(crate) struct Reader<'a> {
    part: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, calling them `part` in errors.
    pub(crate) fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Self { part, rest: bytes }
    }

    /// The next value.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let cut = || FormatError::malformed(self.part, "ends before its last value; was it cut short?");
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
        if rest.len() < length {
            return Err(cut());
        }
        let (value, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(value)
    }

    /// The next value as text.
    pub(crate) fn text(&mut self) -> Result<&'a str, FormatError> {
        let part = self.part;
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| FormatError::malformed(part, "has text that is not UTF-8"))
    }

    /// The next value as a number.
    pub(crate) fn number(&mut self) -> Result<u64, FormatError> {
        let part = self.part;
        let bytes: [u8; 8] = self
            .bytes()?
            .try_into()
            .map_err(|_| FormatError::malformed(part, "has a number that is not of eight bytes"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Nothing may follow the last value.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FormatError::malformed(self.part, "goes on after its last value"))
        }
    }
}
