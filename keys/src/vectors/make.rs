//! Makes the vectors of this side from repeatable bytes.

use super::{Case, Context, Member, Secret, Value, Wrap, check, hex};
use crate::acceptance::{Acceptance, encode_challenge};
use crate::answer::{self, AnswerContext, EphemeralKey};
use crate::context::{
    EpochContext, ItemContext, RootContext, SigningKeyContext, SlotContext, SlotTo, ValuesContext,
    VaultKeyContext,
};
use crate::data_key::DataKey;
use crate::digest::MembersDigest;
use crate::drbg::Drbg;
use crate::hierarchy::CustodianRoot;
use crate::intake::InputContext;
use crate::member_key::{MemberKeyKind, MemberSecretKey};
use crate::signature::{VaultPublicKey, VaultSigningKey};
use crate::wrap::{WrapTo, Wrapped, WrappingKey};
use crate::{Kid, RootName, SecretKey, VaultId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand_core::Rng as _;

/// What the vectors are about: one vault, one Connection, one member.
struct Story {
    rng: Drbg,
    vault_id: VaultId,
    signing: VaultSigningKey,
    data_key: DataKey,
    digest: MembersDigest,
}

const UID: &str = "0f7c6b52-8f7a-4a39-9a3c-b7d5e7a0c001";
const OWNER_UID: &str = "0f7c6b52-8f7a-4a39-9a3c-b7d5e7a0c002";

pub(super) fn cases() -> Vec<Case> {
    let mut rng = Drbg::new("coffer vectors 1");
    let mut story = Story {
        vault_id: VaultId::generate(&mut rng),
        signing: VaultSigningKey::generate(&mut rng),
        data_key: DataKey::generate(&mut rng),
        digest: MembersDigest::listed([("alice", OWNER_UID), ("web", UID)]).unwrap(),
        rng,
    };
    let mut cases = story.derivations();
    cases.extend(story.symmetric_wraps());
    cases.extend(story.public_wraps());
    cases.extend(story.data());
    cases.extend(story.signatures());
    cases.extend(story.sealed());
    cases.extend(public_keys());
    cases.extend(story.acceptances());
    cases
}

impl Story {
    fn key(&mut self) -> SecretKey {
        SecretKey::generate(&mut self.rng)
    }

    fn derivations(&mut self) -> Vec<Case> {
        let key = self.key();
        let subjects = [
            vec!["serviceAccount", "team-a", "web"],
            vec!["user", "alice@example.com"],
            vec!["group", "developers"],
            vec!["external"],
        ];
        let members = subjects.into_iter().map(|subject| Member {
            name: "web".into(),
            uid: UID.into(),
            subject_uid: if subject[0] == "serviceAccount" { OWNER_UID.into() } else { String::new() },
            subject: subject.into_iter().map(String::from).collect(),
        });
        let plain = [("custodian", None), ("intake", Some(1)), ("intake", Some(2))];
        let plain = plain.into_iter().map(|(label, generation)| (label, generation, None));
        let members = members.map(|member| ("member", None, Some(member)));
        plain
            .chain(members)
            .map(|(label, generation, member)| {
                let vault_id = self.vault_id.to_string();
                let derived =
                    check::derive(label, &hex(key.expose()), &vault_id, generation, member.as_ref());
                Case::Derive {
                    label: label.into(),
                    key: hex(key.expose()),
                    vault_id,
                    generation,
                    member,
                    derived: hex(&derived),
                }
            })
            .collect()
    }

    fn symmetric_wraps(&mut self) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut add = |key: &WrappingKey, context: Context, payload: &SecretKey, wrapped: Wrapped| {
            cases.push(Case::Wrap {
                key: Some(hex(key.key().expose())),
                secret: None,
                context: Box::new(context),
                wrap: wrap(&wrapped),
                plaintext: hex(payload.expose()),
            });
        };
        for (kid, name) in [(RootName::Custodian, "custodian"), (RootName::Brokered, "brokered")] {
            let (key, payload) = (WrappingKey::new(Kid::Root(kid), self.key()), self.key());
            let context = RootContext { name: kid, generation: 3 };
            let wrapped = Wrapped::seal(WrapTo::Key(&key), &context, &payload, &mut self.rng);
            let context = Context { name: Some(name.into()), generation: Some(3), ..purpose("root") };
            add(&key, context, &payload, wrapped);
        }
        let custodian = WrappingKey::new(Kid::Custodian(1), self.key());
        let to = WrapTo::Key(&custodian);
        let vault_id = self.vault_id;

        let payload = self.key();
        let wrapped = Wrapped::seal(to, &SigningKeyContext { vault_id }, &payload, &mut self.rng);
        add(&custodian, self.in_vault("signing-key"), &payload, wrapped);

        let payload = self.key();
        let context = EpochContext { vault_id, epoch: 7, signing_key: self.signing.public() };
        let wrapped = Wrapped::seal(to, &context, &payload, &mut self.rng);
        add(&custodian, self.in_epoch("epoch"), &payload, wrapped);

        let member = WrappingKey::new(Kid::Member(1), self.key());
        let wrapped = Wrapped::seal(
            WrapTo::Key(&member),
            &vault_key(self.vault_id, self.signing.public()),
            &payload,
            &mut self.rng,
        );
        add(&member, self.for_member("vault-key"), &payload, wrapped);

        let epoch = WrappingKey::new(Kid::Epoch(7), payload);
        let data_key = self.data_key.key().duplicate();
        for (key, to) in [
            (&custodian, SlotTo::Custodian),
            (&epoch, SlotTo::Vault),
            (&member, SlotTo::Member { name: "web", uid: UID }),
        ] {
            let sealed = {
                let (data_key, digest, signing) = (&self.data_key, &self.digest, self.signing.public());
                let context = slot_context(vault_id, digest, data_key, signing, to);
                data_key.seal_slot(WrapTo::Key(key), &context, &mut self.rng)
            };
            add(key, self.slot(to), &data_key, sealed);
        }
        cases
    }

    fn public_wraps(&mut self) -> Vec<Case> {
        let mut cases = Vec::new();
        for kind in [MemberKeyKind::Ed25519, MemberKeyKind::X25519, MemberKeyKind::XWing] {
            let secret = MemberSecretKey::generate(kind, &mut self.rng);
            let described = described(&secret);
            let payload = self.key();
            let to = WrapTo::Public(secret.public());
            let wrapped =
                Wrapped::seal(to, &vault_key(self.vault_id, self.signing.public()), &payload, &mut self.rng);
            cases.push(Case::Wrap {
                key: None,
                secret: Some(described.clone()),
                context: Box::new(self.for_member("vault-key")),
                wrap: wrap(&wrapped),
                plaintext: hex(payload.expose()),
            });
            let slot_to = SlotTo::Member { name: "web", uid: UID };
            let sealed = {
                let (data_key, digest, signing) = (&self.data_key, &self.digest, self.signing.public());
                let context = slot_context(self.vault_id, digest, data_key, signing, slot_to);
                data_key.seal_slot(to, &context, &mut self.rng)
            };
            cases.push(Case::Wrap {
                key: None,
                secret: Some(described),
                context: Box::new(self.slot(slot_to)),
                wrap: wrap(&sealed),
                plaintext: hex(self.data_key.key().expose()),
            });
        }
        cases
    }

    fn data(&mut self) -> Vec<Case> {
        let data_key = hex(self.data_key.key().expose());
        let mut cases = vec![Case::Commitment {
            data_key: data_key.clone(),
            commitment: hex(self.data_key.commitment().as_bytes()),
        }];
        for (item, plaintext) in [("token", b"s3cr3t".as_slice()), ("empty", b""), ("ca.crt", &[0xff; 300])] {
            let context = ItemContext { values: values(self.vault_id), item };
            cases.push(Case::Item {
                data_key: data_key.clone(),
                context: Box::new(Context { item: Some(item.into()), ..self.values("item") }),
                ct: hex(&self.data_key.seal_item(&context, plaintext)),
                plaintext: hex(plaintext),
            });
        }
        let lists = [
            None,
            Some(vec![("alice".into(), OWNER_UID.into())]),
            Some(vec![("alice".into(), OWNER_UID.into()), ("later".into(), String::new())]),
            Some(vec![("alice".into(), OWNER_UID.into()), ("web".into(), UID.into())]),
        ];
        cases.extend(lists.into_iter().map(|members| Case::Digest {
            digest: hex(check::members_digest(members.as_deref()).as_bytes()),
            members,
        }));
        cases
    }

    fn signatures(&mut self) -> Vec<Case> {
        let key = WrappingKey::new(Kid::Member(1), self.key());
        let payload = self.key();
        let wrapped = Wrapped::seal(
            WrapTo::Key(&key),
            &vault_key(self.vault_id, self.signing.public()),
            &payload,
            &mut self.rng,
        );
        let vault_id = || Value::Bytes(hex(self.vault_id.as_bytes()));
        let text = |text: &str| Value::Text(text.into());
        let messages = [
            (
                "vault-key",
                vec![vault_id(), Value::Number(7), text("web"), text(UID), Value::Wrap(wrap(&wrapped))],
            ),
            ("intake-key", vec![vault_id(), text("intake/1/1"), Value::Bytes("00ff".repeat(608))]),
            (
                "keyring",
                vec![
                    vault_id(),
                    Value::Time(1_767_225_600),
                    Value::Time(-1),
                    Value::Optional(None),
                    text("é"),
                ],
            ),
            (
                "envelope",
                vec![
                    Value::Number(u64::MAX),
                    Value::Optional(Some(String::new())),
                    Value::Bytes(String::new()),
                ],
            ),
        ];
        messages
            .into_iter()
            .map(|(kind, values)| {
                let message = check::message(kind, &values);
                Case::Signature {
                    kind: kind.into(),
                    seed: hex(self.signing.seed().expose()),
                    public_key: hex(self.signing.public().as_bytes()),
                    message: hex(message.as_bytes()),
                    signature: hex(self.signing.sign(&message).as_bytes()),
                    values,
                }
            })
            .collect()
    }

    fn sealed(&mut self) -> Vec<Case> {
        let root = CustodianRoot::generate(1, &mut self.rng);
        let intake = root.intake_key(&self.vault_id, 2);
        let context = InputContext {
            vault_id: self.vault_id,
            namespace: "team-a",
            connection: "github",
            owner: "alice",
            item: "token",
        };
        let sealed = intake.public().seal(&context, b"s3cr3t", &mut self.rng);
        let input = Case::Input {
            seed: hex(intake.seed().expose()),
            public_key: hex(intake.public().as_bytes()),
            context: Box::new(Context {
                generation: Some(2),
                namespace: Some("team-a".into()),
                connection: Some("github".into()),
                owner: Some("alice".into()),
                item: Some("token".into()),
                ..self.in_vault("input")
            }),
            sealed: hex(&sealed),
            plaintext: hex(b"s3cr3t"),
        };
        let secret = SecretKey::generate(&mut self.rng);
        let seed = hex(secret.expose());
        let key = EphemeralKey::from_seed(secret);
        let mut request_sha256 = [0; 32];
        self.rng.fill_bytes(&mut request_sha256);
        let context = AnswerContext {
            door: "workload",
            request_id: "00112233445566778899aabbccddeeff",
            requester_username: "system:serviceaccount:team-a:web",
            requester_uid: UID,
            request_sha256: &request_sha256,
        };
        let answer = Case::Answer {
            seed,
            public_key: key.public().to_base64(),
            context: Box::new(Context {
                door: Some("workload".into()),
                request_id: Some("00112233445566778899aabbccddeeff".into()),
                username: Some("system:serviceaccount:team-a:web".into()),
                uid: Some(UID.into()),
                request_sha256: Some(hex(&request_sha256)),
                ..purpose("answer")
            }),
            sealed: hex(&answer::seal(key.public(), &context, b"{}", &mut self.rng)),
            plaintext: hex(b"{}"),
        };
        vec![input, answer]
    }

    fn acceptances(&mut self) -> Vec<Case> {
        let custodian = WrappingKey::new(Kid::Custodian(1), self.key());
        let member = || Member {
            name: "alice".into(),
            uid: UID.into(),
            subject: vec!["user".into(), "alice@example.com".into()],
            subject_uid: String::new(),
        };
        let mut cases = Vec::new();
        for kind in [MemberKeyKind::Ed25519, MemberKeyKind::X25519, MemberKeyKind::XWing] {
            let secret = MemberSecretKey::generate(kind, &mut self.rng);
            let described_member = member();
            let acceptance = Acceptance {
                vault_id: self.vault_id,
                namespace: "team-a",
                name: &described_member.name,
                uid: &described_member.uid,
                subject: check::subject(&described_member.subject),
                public_key: secret.public(),
            };
            let signs = kind == MemberKeyKind::Ed25519;
            let challenge = (!signs).then(|| acceptance.challenge(&custodian, &mut self.rng));
            let proof = match &challenge {
                None => acceptance.sign(&secret).unwrap(),
                Some(challenge) => acceptance.answer(&secret, challenge).unwrap(),
            };
            cases.push(Case::Acceptance {
                vault_id: self.vault_id.to_string(),
                namespace: "team-a".into(),
                member: member(),
                secret: described(&secret),
                message: signs.then(|| hex(&acceptance.message())),
                custodian_key: (!signs).then(|| hex(custodian.key().expose())),
                challenge: challenge.as_ref().map(encode_challenge),
                proof,
            });
        }
        cases
    }

    fn in_vault(&self, name: &str) -> Context {
        Context { vault_id: Some(self.vault_id.to_string()), ..purpose(name) }
    }

    fn in_epoch(&self, name: &str) -> Context {
        let signing_key = Some(hex(self.signing.public().as_bytes()));
        Context { epoch: Some(7), signing_key, ..self.in_vault(name) }
    }

    fn for_member(&self, name: &str) -> Context {
        Context { name: Some("web".into()), uid: Some(UID.into()), ..self.in_epoch(name) }
    }

    fn values(&self, name: &str) -> Context {
        Context {
            namespace: Some("team-a".into()),
            connection: Some("github".into()),
            owner: Some("alice".into()),
            owner_uid: Some(OWNER_UID.into()),
            version: Some(3),
            ..self.in_vault(name)
        }
    }

    fn slot(&self, to: SlotTo<'_>) -> Context {
        let (to, name, uid) = match to {
            SlotTo::Vault => ("vault", None, None),
            SlotTo::Custodian => ("custodian", None, None),
            SlotTo::Member { name, uid } => ("member", Some(name.into()), Some(uid.into())),
        };
        Context {
            epoch: Some(7),
            signing_key: Some(hex(self.signing.public().as_bytes())),
            members_digest: Some(hex(self.digest.as_bytes())),
            commitment: Some(hex(self.data_key.commitment().as_bytes())),
            to: Some(to.into()),
            name,
            uid,
            ..self.values("slot")
        }
    }
}

fn purpose(name: &str) -> Context {
    Context { purpose: format!("coffer/v1/{name}"), ..Context::default() }
}

fn values(vault_id: VaultId) -> ValuesContext<'static> {
    ValuesContext {
        vault_id,
        namespace: "team-a",
        connection: "github",
        owner_name: "alice",
        owner_uid: OWNER_UID,
        version: 3,
    }
}

fn vault_key(vault_id: VaultId, signing_key: &VaultPublicKey) -> VaultKeyContext<'_> {
    VaultKeyContext { vault_id, epoch: 7, signing_key, name: "web", uid: UID }
}

fn slot_context<'a>(
    vault_id: VaultId,
    members: &'a MembersDigest,
    data_key: &'a DataKey,
    signing_key: &'a VaultPublicKey,
    to: SlotTo<'a>,
) -> SlotContext<'a> {
    SlotContext {
        values: values(vault_id),
        epoch: 7,
        members,
        commitment: data_key.commitment(),
        signing_key,
        to,
    }
}

fn described(secret: &MemberSecretKey) -> Secret {
    Secret { kind: secret.public().kind().as_str().into(), seed: hex(secret.seed().expose()) }
}

fn wrap(wrapped: &Wrapped) -> Wrap {
    Wrap {
        v: wrapped.v(),
        suite: wrapped.suite().as_str().into(),
        kid: wrapped.kid().to_string(),
        salt: wrapped.salt().map(hex),
        enc: wrapped.enc().map(hex),
        ct: hex(wrapped.ct()),
    }
}

/// Every written form of the same keys, and forms that are refused.
fn public_keys() -> Vec<Case> {
    let ed25519 = MemberSecretKey::from_seed(MemberKeyKind::Ed25519, SecretKey::from_bytes(&[7; 32]));
    let x25519 = MemberSecretKey::from_seed(MemberKeyKind::X25519, SecretKey::from_bytes(&[8; 32]));
    let (ed, x) = (ed25519.public(), x25519.public());
    let spki = |algorithm: u8, key: &[u8]| {
        let der =
            [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, algorithm, 0x03, 0x21, 0x00], key].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    };
    let blob = |name: &str| {
        let mut lp = crate::lp::Lp::new();
        lp.text(name).bytes(ed.as_bytes());
        STANDARD.encode(lp.as_bytes())
    };
    let accepted = [
        (STANDARD.encode(ed.as_bytes()), ed),
        (format!("ssh-ed25519 {} alice@laptop", blob("ssh-ed25519")), ed),
        (spki(0x70, ed.as_bytes()), ed),
        (spki(0x6e, x.as_bytes()), x),
        (format!("x25519:{}", STANDARD.encode(x.as_bytes())), x),
    ];
    let accepted = accepted.into_iter().map(|(text, key)| Case::PublicKey {
        text,
        kind: Some(key.kind().as_str().into()),
        bytes: Some(hex(key.as_bytes())),
        fingerprint: Some(key.fingerprint().to_string()),
    });
    let refused = [
        format!("sk-ssh-ed25519@openssh.com {}", blob("sk-ssh-ed25519@openssh.com")),
        format!("ssh-ed25519 {}", blob("ssh-rsa")),
        format!("x25519:{}", STANDARD.encode([0; 32])),
        STANDARD.encode([
            1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]),
        "not a key".into(),
    ];
    let refused =
        refused.into_iter().map(|text| Case::PublicKey { text, kind: None, bytes: None, fingerprint: None });
    accepted.chain(refused).collect()
}
