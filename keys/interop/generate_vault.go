package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// maker makes a whole installation as the operator would.
type maker struct {
	file      *vaultFile
	vault     string
	branch    []byte
	custodian opener
	signing   ed25519.PrivateKey
	public    b64
	vaultKeys map[uint64][]byte
	now       time.Time
}

var (
	everybody  = []string{"alice", "bob", "carol", "ci", "intern", "web"}
	restricted = []string{"carol", "ci"} // by the globs of their role
)

// newVault makes one vault with six members, two epochs and three Envelopes.
func newVault() *vaultFile {
	m := &maker{
		file:  &vaultFile{Root: map[string]b64{"custodian": random(32), "brokered": random(32)}},
		vault: hex.EncodeToString(random(16)), branch: random(32),
		signing: ed25519.NewKeyFromSeed(random(32)), vaultKeys: map[uint64][]byte{1: random(32), 2: random(32)},
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	m.public = b64(m.signing.Public().(ed25519.PublicKey))
	root := random(32)
	m.file.CustodySecrets = map[string]map[string]json.RawMessage{
		"coffer-custodian": {"generation-1": m.custody("custodian", root)},
		"coffer-brokered":  {"generation-1": m.custody("brokered", m.branch)},
	}
	m.custodian = opener{"custodian/1", derive(root, "custodian", func(l *lp) { l.bytes(vaultID(m.vault)) }), nil}
	m.file.CustodianKey = m.public
	m.register()
	m.intake(root)
	m.keyring()
	m.wrapVaultKeys()
	m.file.Envelopes = []vaultEnvelope{
		m.envelope("listed", 1, []string{"alice", "carol", "web"}, []string{"alice", "carol", "web"}),
		m.envelope("shared", 2, nil, restricted),
		m.envelope("unshared", 1, nil, []string{"ci"}),
	}
	return m.file
}

func (m *maker) custody(name string, key []byte) json.RawMessage {
	with := opener{kid: "root/" + name, key: m.file.Root[name]}
	w := wrapTo(with, context{"root", func(l *lp) { l.text(name).number(1) }}, key)
	raw, err := marshal(encodeAPIWrap(w))
	if err != nil {
		panic(err)
	}
	return raw
}

func (m *maker) register() {
	m.file.MemberKeys = map[string]vectorSecret{}
	kinds := map[string]string{"alice": "ssh-ed25519", "bob": "x25519", "carol": "x-wing"}
	for i, name := range everybody {
		r := registered{Name: name, UID: uid(name), Role: "member", Custody: "Brokered", AcceptedAt: m.now.Add(time.Duration(i) * time.Hour)}
		if kind, own := kinds[name]; own {
			key := newSecret(kind, random(32))
			m.file.MemberKeys[name] = vectorSecret{kind, hexed(key.seed)}
			r.Custody = "Self"
			r.KeyHash = ptr(b64(key.public.fingerprint()))
			mustUnmarshal(`{"user":{"name":"`+name+`@example.com"}}`, &r.Subject)
		} else {
			mustUnmarshal(`{"serviceAccount":{"namespace":"team-a","name":"`+name+`"}}`, &r.Subject)
			r.SubjectUID = ptr(uid("account of " + name))
		}
		if name == "ci" {
			r.FormerUIDs = []string{uid("ci of old"), uid("ci of late")}
		}
		m.file.Keyring.Members = append(m.file.Keyring.Members, r)
	}
}

func mustUnmarshal(text string, into any) {
	if err := unmarshal([]byte(text), into); err != nil {
		panic(err)
	}
}

// uid looks like an object's uid and is the same for the same name.
func uid(name string) string {
	sum := sha256.Sum256([]byte(name))
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func (m *maker) intake(root []byte) {
	seed := derive(root, "intake", func(l *lp) { l.bytes(vaultID(m.vault)).number(1) })
	key := newSecret("x-wing", seed)
	m.file.IntakeKey = intakeKey{Kid: "intake/1/1", PublicKey: key.public.bytes}
	m.file.IntakeKey.Signature = ed25519.Sign(m.signing, m.file.IntakeKey.message(m.vault))
	input := vaultInput{Namespace: "team-a", Connection: "listed", Owner: "alice", Item: "token", Plaintext: b64("sealed in Go")}
	input.Sealed = sealBytes("intake/1/1", key.public.bytes, input.context(m.vault), input.Plaintext)
	m.file.SealedData = []vaultInput{input}
}

func (m *maker) keyring() {
	k := &m.file.Keyring
	k.VaultID, k.VaultUID, k.Revision = m.vault, uid("vault"), 4
	k.RootGeneration, k.BrokeredGeneration = 1, 1
	k.IntakeGenerations = []intakeGeneration{{1, 1}}
	signing := context{"signing-key", func(l *lp) { l.bytes(vaultID(m.vault)) }}
	k.SigningKey = encodeAPIWrap(wrapTo(m.custodian, signing, m.signing.Seed()))
	k.Current, k.RestoredEpoch = 2, 2
	for _, e := range []uint64{1, 2} {
		w := wrapTo(m.custodian, epochContext(m.vault, e, m.public), m.vaultKeys[e])
		k.Epochs = append(k.Epochs, epoch{e, m.now.AddDate(0, 0, int(e)), encodeAPIWrap(w), nil})
	}
	k.Epochs[1].Causes = []epochCause{{"MemberSuspended", &member{"intern", uid("intern")}}, {"Requested", nil}}
	k.Signature = ed25519.Sign(m.signing, k.message())
}

func (m *maker) wrapVaultKeys() {
	m.file.WrappedKeys = map[string][]wrappedVaultKey{}
	for _, name := range everybody {
		if slices.Contains(restricted, name) {
			continue
		}
		epochs := []uint64{1, 2}
		if name == "intern" {
			epochs = []uint64{1} // as if the second epoch had left it out
		}
		for _, e := range epochs {
			with, r := m.member(name)
			w := wrapTo(with, vaultKeyContext(m.vault, e, m.public, r.Name, r.UID), m.vaultKeys[e])
			key := wrappedVaultKey{Epoch: e, Wrap: encodeAPIWrap(w)}
			key.Signature = ed25519.Sign(m.signing, vaultKeyMessage(m.vault, e, r.Name, r.UID, w))
			m.file.WrappedKeys[name] = append(m.file.WrappedKeys[name], key)
		}
	}
}

func (m *maker) member(name string) (opener, registered) {
	m.file.Keyring.VaultID, m.file.Keyring.BrokeredGeneration = m.vault, 1
	with, r, err := m.file.member(name, m.branch)
	if err != nil {
		panic(err)
	}
	return with, r
}

// envelope seals two items; listed nil means everybody, slots names the members with a slot of their own.
func (m *maker) envelope(name string, epoch uint64, listed, slots []string) vaultEnvelope {
	var e envelope
	e.V, e.Suite, e.VaultID, e.Version, e.Revision, e.Epoch = 1, suiteSymmetric, m.vault, 3, 5, epoch
	e.Connection.Namespace, e.Connection.Name, e.Connection.UID = "team-a", name, uid("connection "+name)
	e.Owner = member{"alice", uid("alice")}
	if listed == nil {
		e.Members.All = &struct{}{}
	}
	for _, name := range listed {
		e.Members.Listed = append(e.Members.Listed, member{name, uid(name)})
	}
	dataKey := random(32)
	e.MembersDigest, e.Commitment = e.Members.digest(), commitment(dataKey)
	values := map[string]b64{"token": b64("value of " + name), "empty": {}}
	e.Items = map[string]item{}
	for key, value := range values {
		sealed := sha256.Sum256([]byte("sealed bytes of " + key))
		e.Items[key] = item{sealItem(dataKey, e.itemContext(key), value), sealed[:]}
	}
	add := func(to string, who *registered, with opener) {
		s := slot{To: to}
		if who != nil {
			s.Name, s.UID = &who.Name, &who.UID
		}
		s.Wrap = encodeAPIWrap(wrapTo(with, e.slotContext(m.public, s), dataKey))
		e.Slots = append(e.Slots, s)
	}
	add("custodian", nil, m.custodian)
	if listed == nil {
		add("vault", nil, opener{kid: kidOf("epoch/%d", epoch), key: m.vaultKeys[epoch]})
	}
	for _, name := range slots {
		with, r := m.member(name)
		add("member", &r, with)
	}
	e.CreatedAt, e.CreatedBy = m.now, "alice@example.com"
	e.Writer = author{"alice@example.com", ptr(""), []string{"developers", "system:authenticated"}}
	e.History = []historyEntry{{2, m.now, "bob@example.com"}, {3, m.now.AddDate(0, 0, 1), "alice@example.com"}}
	e.Advised = []advised{{"dave", "MemberCouldRead", m.now.AddDate(0, 0, 2)}}
	e.Signature = ed25519.Sign(m.signing, e.message())

	made := vaultEnvelope{Spec: e, Items: values}
	for _, name := range everybody {
		opens := slices.Contains(slots, name)
		if listed == nil && !slices.Contains(restricted, name) && (name != "intern" || epoch == 1) {
			opens = true
		}
		if opens {
			made.Opens = append(made.Opens, name)
		} else {
			made.Refuses = append(made.Refuses, name)
		}
	}
	return made
}
