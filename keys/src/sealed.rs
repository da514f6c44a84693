//! Self-contained sealed bytes: sealed input and answers.

use crate::context::{self, Context};
use crate::kem::{self, PublicSuite, XWingKey};
use crate::lp::{Lp, Reader};
use crate::suite::{Suite, check_version};
use crate::{FormatError, Kid, OpenError, SecretBytes, SecretKey, VERSION};
use rand_core::CryptoRng;

/// LP(v) ‖ LP(suite) ‖ LP(kid) ‖ LP(enc) ‖ LP(ct), always X-Wing.
pub(crate) struct Sealed<'a> {
    kid: Kid,
    enc: &'a [u8],
    ct: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the parts; `part` is their name in errors.
    pub(crate) fn parse(part: &'static str, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(part, bytes);
        check_version(reader.number()?)?;
        let suite = reader.text()?;
        if Suite::parse(suite)? != Suite::XWing {
            return Err(FormatError::UnknownSuite {
                found: FormatError::excerpt(suite),
                accepted: "xwing-hkdf-sha256-aes256gcm",
            });
        }
        let kid = Kid::parse(reader.text()?)?;
        let enc = reader.bytes()?;
        let ct = reader.bytes()?;
        reader.end()?;
        if enc.len() != PublicSuite::XWing.enc_length() {
            return Err(FormatError::malformed(part, "has an encapsulated key that is not of 1120 bytes"));
        }
        Ok(Self { kid, enc, ct })
    }

    pub(crate) fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Opens with the private key that `kid` names.
    pub(crate) fn open<C: Context>(
        &self,
        kid: &Kid,
        secret: &SecretKey,
        context: &C,
    ) -> Result<SecretBytes, OpenError> {
        if self.kid != *kid {
            return Err(OpenError);
        }
        let context = context::encode(context, Suite::XWing, kid);
        kem::open(PublicSuite::XWing, secret, self.enc, (&context, &context), self.ct)
    }
}

/// Seals to a checked X-Wing public key.
pub(crate) fn seal<C: Context>(
    kid: &Kid,
    public: &XWingKey,
    context: &C,
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let context = context::encode(context, Suite::XWing, kid);
    let (enc, ct) = public.seal((&context, &context), plaintext, rng);
    let mut lp = Lp::new();
    lp.number(VERSION).text(Suite::XWing.as_str()).text(&kid.to_string()).bytes(&enc).bytes(&ct);
    lp.into_bytes()
}
