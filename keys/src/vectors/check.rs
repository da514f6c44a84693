//! Opens vectors, whoever made them; and moves each to another place, where it must not open.

use super::{Case, Context, Member, Secret, Value, Wrap, hex, unhex};
use crate::acceptance::{Acceptance, decode_challenge};
use crate::answer::{AnswerContext, AnswerPublicKey, EphemeralKey};
use crate::context::{
    EpochContext, ItemContext, RootContext, SigningKeyContext, SlotContext, SlotTo, ValuesContext,
    VaultKeyContext,
};
use crate::data_key::{Commitment, DataKey};
use crate::digest::MembersDigest;
use crate::hierarchy::{BrokeredBranch, CustodianRoot, MemberIdentity, SubjectRef};
use crate::intake::{InputContext, IntakeSecretKey};
use crate::member_key::{MemberKeyKind, MemberPublicKey, MemberSecretKey};
use crate::signature::{Message, Signature, SignatureKind, VaultPublicKey, VaultSigningKey};
use crate::wrap::{OpenWith, WrapParts, Wrapped, WrappingKey};
use crate::{Kid, OpenError, RootName, SecretBytes, SecretKey, VaultId};

/// Checks one vector and names its kind.
pub(super) fn case(case: &Case, at: &str) -> &'static str {
    match case {
        Case::Derive { label, key, vault_id, generation, member, derived } => {
            assert_eq!(hex(&derive(label, key, vault_id, *generation, member.as_ref())), *derived, "{at}");
            "derive"
        }
        Case::Wrap { key, secret, context, wrap, plaintext } => {
            let open = |context: &Context, wrap: &Wrapped| match (key, secret) {
                (Some(key), None) => {
                    let key = WrappingKey::new(wrap.kid().clone(), secret_key(key));
                    open_wrap(OpenWith::Key(&key), context, wrap)
                }
                (None, Some(secret)) => open_wrap(OpenWith::Secret(&member_secret(secret)), context, wrap),
                _ => panic!("{at}: either a key or a secret opens a wrap"),
            };
            let wrapped = wrapped(wrap);
            assert_eq!(hex(open(context, &wrapped).unwrap().expose()), *plaintext, "{at}");
            for moved in moved(context) {
                assert!(open(&moved, &wrapped).is_err(), "{at} opens elsewhere");
            }
            "wrap"
        }
        Case::Commitment { data_key, commitment } => {
            let key = data_key_of(data_key);
            assert_eq!(hex(key.commitment().as_bytes()), *commitment, "{at}");
            "commitment"
        }
        Case::Item { data_key, context, ct, plaintext } => {
            let key = data_key_of(data_key);
            let open = |context: &Context, ct: &[u8]| key.open_item(&item_context(context), ct);
            assert_eq!(hex(open(context, &unhex(ct)).unwrap().expose()), *plaintext, "{at}");
            refuses(context, &unhex(ct), at, open);
            "item"
        }
        Case::Digest { members, digest } => {
            assert_eq!(hex(members_digest(members.as_deref()).as_bytes()), *digest, "{at}");
            "digest"
        }
        Case::Signature { kind, seed, public_key, values, message, signature } => {
            check_signature(kind, seed, public_key, values, message, signature, at);
            "signature"
        }
        Case::Input { seed, public_key, context, sealed, plaintext } => {
            let secret = IntakeSecretKey::from_seed(
                Kid::Intake { root: 1, generation: context.generation.unwrap() },
                secret_key(seed),
            );
            assert_eq!(hex(secret.public().as_bytes()), *public_key, "{at}");
            let open = |context: &Context, sealed: &[u8]| secret.open(&input_context(context), sealed);
            assert_eq!(hex(open(context, &unhex(sealed)).unwrap().expose()), *plaintext, "{at}");
            refuses(context, &unhex(sealed), at, open);
            "input"
        }
        Case::Answer { seed, public_key, context, sealed, plaintext } => {
            let key = EphemeralKey::from_seed(secret_key(seed));
            assert_eq!(*key.public(), AnswerPublicKey::parse(public_key).unwrap(), "{at}");
            let open = |context: &Context, sealed: &[u8]| {
                let digest: [u8; 32] = unhex(context.request_sha256.as_deref().unwrap()).try_into().unwrap();
                key.open(&answer_context(context, &digest), sealed)
            };
            assert_eq!(hex(open(context, &unhex(sealed)).unwrap().expose()), *plaintext, "{at}");
            refuses(context, &unhex(sealed), at, open);
            "answer"
        }
        Case::PublicKey { text, kind, bytes, fingerprint } => {
            let parsed = MemberPublicKey::parse(text).ok();
            assert_eq!(parsed.as_ref().map(|key| key.kind().as_str()), kind.as_deref(), "{at}: {text}");
            assert_eq!(parsed.as_ref().map(|key| hex(key.as_bytes())), *bytes, "{at}");
            assert_eq!(parsed.map(|key| key.fingerprint().to_string()), *fingerprint, "{at}");
            "public-key"
        }
        Case::Acceptance { .. } => {
            check_acceptance(case, at);
            "acceptance"
        }
    }
}

/// Flipped bits and other places do not open.
fn refuses(
    context: &Context,
    bytes: &[u8],
    at: &str,
    open: impl Fn(&Context, &[u8]) -> Result<SecretBytes, OpenError>,
) {
    for moved in moved(context) {
        assert!(open(&moved, bytes).is_err(), "{at} opens elsewhere");
    }
    for at_byte in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.to_vec();
        flipped[at_byte] ^= 1;
        assert!(open(context, &flipped).is_err(), "{at} opens with byte {at_byte} flipped");
    }
}

/// The same context with each of its text fields changed in turn.
fn moved(context: &Context) -> Vec<Context> {
    let fields: [fn(&mut Context) -> &mut Option<String>; 11] = [
        |c| &mut c.namespace,
        |c| &mut c.connection,
        |c| &mut c.owner,
        |c| &mut c.owner_uid,
        |c| &mut c.item,
        |c| &mut c.name,
        |c| &mut c.uid,
        |c| &mut c.door,
        |c| &mut c.request_id,
        |c| &mut c.username,
        |c| &mut c.vault_id,
    ];
    let mut moved = Vec::new();
    for field in fields {
        let mut other = context.clone();
        if let Some(text) = field(&mut other).as_mut().filter(|text| text.as_str() != "custodian") {
            let first = text.remove(0);
            text.insert(0, if first == 'a' { 'b' } else { 'a' });
            moved.push(other);
        }
    }
    moved
}

pub(super) fn derive(
    label: &str,
    key: &str,
    vault_id: &str,
    generation: Option<u64>,
    member: Option<&Member>,
) -> Vec<u8> {
    let vault_id = VaultId::parse(vault_id).unwrap();
    match label {
        "custodian" => {
            let root = CustodianRoot::from_key(1, secret_key(key));
            root.custodian_key(&vault_id).key().expose().to_vec()
        }
        "intake" => {
            let root = CustodianRoot::from_key(1, secret_key(key));
            root.intake_key(&vault_id, generation.unwrap()).seed().expose().to_vec()
        }
        "member" => {
            let branch = BrokeredBranch::from_key(1, secret_key(key));
            let member = member.unwrap();
            let identity = MemberIdentity {
                vault_id,
                name: &member.name,
                uid: &member.uid,
                subject: subject(&member.subject),
                subject_uid: &member.subject_uid,
            };
            branch.member_key(&identity).key().expose().to_vec()
        }
        other => panic!("no derivation is called {other}"),
    }
}

pub(super) fn subject(fields: &[String]) -> SubjectRef<'_> {
    match fields.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serviceAccount", namespace, name] => SubjectRef::ServiceAccount { namespace, name },
        ["user", name] => SubjectRef::User(name),
        ["group", name] => SubjectRef::Group(name),
        ["external"] => SubjectRef::External,
        ref other => panic!("no subject is written {other:?}"),
    }
}

fn open_wrap(with: OpenWith<'_>, context: &Context, wrap: &Wrapped) -> Result<SecretKey, OpenError> {
    let signing_key =
        context.signing_key.as_deref().map(|key| VaultPublicKey::from_slice(&unhex(key)).unwrap());
    let vault_id = || VaultId::parse(context.vault_id.as_deref().unwrap()).unwrap();
    let text = |field: &'_ Option<String>| field.clone().unwrap();
    match context.purpose.as_str() {
        "coffer/v1/root" => {
            let name = match text(&context.name).as_str() {
                "custodian" => RootName::Custodian,
                "brokered" => RootName::Brokered,
                _ => return Err(OpenError),
            };
            wrap.open(with, &RootContext { name, generation: context.generation.unwrap() })
        }
        "coffer/v1/signing-key" => wrap.open(with, &SigningKeyContext { vault_id: vault_id() }),
        "coffer/v1/epoch" => {
            let signing_key = &signing_key.unwrap();
            let epoch = context.epoch.unwrap();
            wrap.open(with, &EpochContext { vault_id: vault_id(), epoch, signing_key })
        }
        "coffer/v1/vault-key" => wrap.open(
            with,
            &VaultKeyContext {
                vault_id: vault_id(),
                epoch: context.epoch.unwrap(),
                signing_key: &signing_key.unwrap(),
                name: &text(&context.name),
                uid: &text(&context.uid),
            },
        ),
        "coffer/v1/slot" => {
            let digest = members_digest_of(context);
            let commitment = commitment_of(context);
            let (name, uid) =
                (context.name.clone().unwrap_or_default(), context.uid.clone().unwrap_or_default());
            let to = match context.to.as_deref().unwrap() {
                "vault" => SlotTo::Vault,
                "custodian" => SlotTo::Custodian,
                "member" => SlotTo::Member { name: &name, uid: &uid },
                other => panic!("no slot is to {other}"),
            };
            let context = SlotContext {
                values: values(context),
                epoch: context.epoch.unwrap(),
                members: &digest,
                commitment: &commitment,
                signing_key: &signing_key.unwrap(),
                to,
            };
            DataKey::open_slot(with, &context, wrap)?;
            wrap.open(with, &context)
        }
        other => panic!("nothing is wrapped for {other}"),
    }
}

fn values(context: &Context) -> ValuesContext<'_> {
    ValuesContext {
        vault_id: VaultId::parse(context.vault_id.as_deref().unwrap()).unwrap(),
        namespace: context.namespace.as_deref().unwrap(),
        connection: context.connection.as_deref().unwrap(),
        owner_name: context.owner.as_deref().unwrap(),
        owner_uid: context.owner_uid.as_deref().unwrap(),
        version: context.version.unwrap(),
    }
}

fn item_context(context: &Context) -> ItemContext<'_> {
    ItemContext { values: values(context), item: context.item.as_deref().unwrap() }
}

fn input_context(context: &Context) -> InputContext<'_> {
    InputContext {
        vault_id: VaultId::parse(context.vault_id.as_deref().unwrap()).unwrap(),
        namespace: context.namespace.as_deref().unwrap(),
        connection: context.connection.as_deref().unwrap(),
        owner: context.owner.as_deref().unwrap(),
        item: context.item.as_deref().unwrap(),
    }
}

fn answer_context<'a>(context: &'a Context, request_sha256: &'a [u8; 32]) -> AnswerContext<'a> {
    AnswerContext {
        door: context.door.as_deref().unwrap(),
        request_id: context.request_id.as_deref().unwrap(),
        requester_username: context.username.as_deref().unwrap(),
        requester_uid: context.uid.as_deref().unwrap(),
        request_sha256,
    }
}

/// A vector may hold a digest of any members; only its bytes go into the context.
fn members_digest_of(context: &Context) -> MembersDigest {
    MembersDigest::from_bytes(unhex(context.members_digest.as_deref().unwrap()).try_into().unwrap())
}

fn commitment_of(context: &Context) -> Commitment {
    Commitment::from_bytes(unhex(context.commitment.as_deref().unwrap()).try_into().unwrap())
}

pub(super) fn members_digest(members: Option<&[(String, String)]>) -> MembersDigest {
    match members {
        None => MembersDigest::all(),
        Some(members) => {
            let members = members.iter().map(|(name, uid)| (name.as_str(), uid.as_str()));
            MembersDigest::listed(members).unwrap()
        }
    }
}

pub(super) fn message(kind: &str, values: &[Value]) -> Message {
    let kinds =
        [SignatureKind::Envelope, SignatureKind::Keyring, SignatureKind::VaultKey, SignatureKind::IntakeKey];
    let mut message = Message::new(kinds.into_iter().find(|known| known.as_str() == kind).unwrap());
    for value in values {
        match value {
            Value::Bytes(bytes) => message.bytes(&unhex(bytes)),
            Value::Text(text) => message.text(text),
            Value::Number(number) => message.number(*number),
            Value::Time(seconds) => message.time(*seconds),
            Value::Optional(bytes) => message.optional(bytes.as_deref().map(unhex).as_deref()),
            Value::Wrap(wrap) => message.wrap(&wrapped(wrap)),
        };
    }
    message
}

fn check_signature(
    kind: &str,
    seed: &str,
    public_key: &str,
    values: &[Value],
    bytes: &str,
    signature: &str,
    at: &str,
) {
    let key = VaultSigningKey::from_seed(secret_key(seed));
    let message = message(kind, values);
    assert_eq!(hex(key.public().as_bytes()), public_key, "{at}");
    assert_eq!(hex(message.as_bytes()), bytes, "{at}");
    assert_eq!(hex(key.sign(&message).as_bytes()), signature, "{at}");
    let public = VaultPublicKey::from_slice(&unhex(public_key)).unwrap();
    let mut flipped = unhex(signature);
    assert!(public.verify(&message, &Signature::from_slice(&flipped).unwrap()).is_ok(), "{at}");
    flipped[7] ^= 1;
    assert!(public.verify(&message, &Signature::from_slice(&flipped).unwrap()).is_err(), "{at}");
}

fn check_acceptance(case: &Case, at: &str) {
    let Case::Acceptance { vault_id, namespace, member, secret, message, custodian_key, challenge, proof } =
        case
    else {
        panic!("{at} is no acceptance")
    };
    let secret = member_secret(secret);
    let acceptance = Acceptance {
        vault_id: VaultId::parse(vault_id).unwrap(),
        namespace,
        name: &member.name,
        uid: &member.uid,
        subject: subject(&member.subject),
        public_key: secret.public(),
    };
    let elsewhere = Acceptance { namespace: "elsewhere", ..acceptance };
    if let Some(message) = message {
        assert_eq!(hex(&acceptance.message()), *message, "{at}");
        assert_eq!(acceptance.sign(&secret).unwrap(), *proof, "{at}");
        assert!(acceptance.verify(proof).is_ok(), "{at}");
        assert!(elsewhere.verify(proof).is_err(), "{at}");
    } else {
        let custodian = WrappingKey::new(Kid::Custodian(1), secret_key(custodian_key.as_deref().unwrap()));
        let challenge = decode_challenge(challenge.as_deref().unwrap()).unwrap();
        assert_eq!(acceptance.answer(&secret, &challenge).unwrap(), *proof, "{at}");
        assert!(elsewhere.answer(&secret, &challenge).is_err(), "{at}");
        assert!(acceptance.verify_answer(&custodian, proof).is_ok(), "{at}");
        assert!(elsewhere.verify_answer(&custodian, proof).is_err(), "{at}");
    }
}

pub(super) fn wrapped(wrap: &Wrap) -> Wrapped {
    let salt = wrap.salt.as_deref().map(unhex);
    let enc = wrap.enc.as_deref().map(unhex);
    Wrapped::from_parts(&WrapParts {
        v: wrap.v,
        suite: &wrap.suite,
        kid: &wrap.kid,
        salt: salt.as_deref(),
        enc: enc.as_deref(),
        ct: &unhex(&wrap.ct),
    })
    .unwrap()
}

pub(super) fn member_secret(secret: &Secret) -> MemberSecretKey {
    let kinds = [MemberKeyKind::Ed25519, MemberKeyKind::X25519, MemberKeyKind::XWing];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == secret.kind).unwrap();
    MemberSecretKey::from_seed(kind, secret_key(&secret.seed))
}

pub(super) fn secret_key(text: &str) -> SecretKey {
    SecretKey::from_slice(&unhex(text)).unwrap()
}

fn data_key_of(text: &str) -> DataKey {
    DataKey::from_key(secret_key(text))
}
