package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

const madeBy = "interop (Go)"

func generate(folder string) error {
	if err := writeJSON(filepath.Join(folder, "go.json"), vectorFile{MadeBy: madeBy, Cases: newStory().cases()}); err != nil {
		return err
	}
	vault := struct {
		MadeBy string     `json:"madeBy"`
		Vault  *vaultFile `json:"vault"`
	}{madeBy, newVault()}
	return writeJSON(filepath.Join(folder, "go-vault.json"), vault)
}

// story is what the primitive vectors are about: one vault, one Connection, one member.
type story struct {
	vault   string
	signing ed25519.PrivateKey
	dataKey []byte
	digest  []byte
}

const (
	memberUID = "1d0f2a34-5b6c-4d7e-8f90-a1b2c3d4e501"
	ownerUID  = "1d0f2a34-5b6c-4d7e-8f90-a1b2c3d4e502"
)

func newStory() story {
	return story{
		vault:   hex.EncodeToString(random(16)),
		signing: ed25519.NewKeyFromSeed(random(32)),
		dataKey: random(32),
		digest:  membersDigest([][2]string{{"bob", ownerUID}, {"worker", memberUID}}),
	}
}

func ptr[T any](value T) *T { return &value }

func hexed(b []byte) string { return hex.EncodeToString(b) }

func (s story) cases() []vectorCase {
	cases := s.derivations()
	cases = append(cases, s.symmetricWraps()...)
	cases = append(cases, s.publicWraps()...)
	cases = append(cases, s.data()...)
	cases = append(cases, s.signatures()...)
	cases = append(cases, s.sealed()...)
	cases = append(cases, publicKeys()...)
	return append(cases, s.acceptances()...)
}

func (s story) derivations() []vectorCase {
	key := hexed(random(32))
	cases := []vectorCase{
		{Case: "derive", Label: "custodian", Key: key, VaultID: s.vault},
		{Case: "derive", Label: "intake", Key: key, VaultID: s.vault, Generation: ptr(uint64(1))},
		{Case: "derive", Label: "intake", Key: key, VaultID: s.vault, Generation: ptr(uint64(9))},
	}
	for _, subject := range [][]string{
		{"serviceAccount", "team-b", "worker"}, {"user", "bob"}, {"group", "ops"}, {"external"},
	} {
		m := &vectorMember{Name: "worker", UID: memberUID, Subject: subject}
		if subject[0] == "serviceAccount" {
			m.SubjectUID = ownerUID
		}
		cases = append(cases, vectorCase{Case: "derive", Label: "member", Key: key, VaultID: s.vault, Member: m})
	}
	for i := range cases {
		cases[i].Derived = hexed(cases[i].derive())
	}
	return cases
}

func (s story) context(purpose string) vectorContext {
	return vectorContext{Purpose: "coffer/v1/" + purpose, VaultID: s.vault}
}

func (s story) epochContext(purpose string) vectorContext {
	c := s.context(purpose)
	c.Epoch = ptr(uint64(1767225600))
	c.SigningKey = hexed(s.signing.Public().(ed25519.PublicKey))
	return c
}

func (s story) memberContext() vectorContext {
	c := s.epochContext("vault-key")
	c.Name, c.UID = "worker", memberUID
	return c
}

func (s story) valuesContext(c vectorContext) vectorContext {
	c.Namespace, c.Connection, c.Owner, c.OwnerUID, c.Version = "team-b", "deploy-key", "bob", ownerUID, ptr(uint64(12))
	return c
}

func (s story) slotContext(to string) vectorContext {
	c := s.valuesContext(s.epochContext("slot"))
	c.MembersDigest, c.Commitment, c.To = hexed(s.digest), hexed(commitment(s.dataKey)), to
	if to == "member" {
		c.Name, c.UID = "worker", memberUID
	}
	return c
}

func wrapCase(with opener, c vectorContext, payload []byte) vectorCase {
	v := vectorCase{Case: "wrap", Context: &c, Plaintext: ptr(hexed(payload))}
	v.Wrap = encodeWrap(wrapTo(with, c.context(), payload))
	if with.secret != nil {
		v.Secret = &vectorSecret{with.secret.kind, hexed(with.secret.seed)}
	} else {
		v.Key = hexed(with.key)
	}
	return v
}

func (s story) symmetricWraps() []vectorCase {
	custodian := opener{kid: "custodian/2", key: random(32)}
	member := opener{kid: "member/4", key: random(32)}
	vaultKey := random(32)
	epoch := opener{kid: "epoch/1767225600", key: vaultKey}
	var cases []vectorCase
	for _, name := range []string{"custodian", "brokered"} {
		c := vectorContext{Purpose: "coffer/v1/root", Name: name, Generation: ptr(uint64(1))}
		cases = append(cases, wrapCase(opener{kid: "root/" + name, key: random(32)}, c, random(32)))
	}
	return append(cases,
		wrapCase(custodian, s.context("signing-key"), random(32)),
		wrapCase(custodian, s.epochContext("epoch"), vaultKey),
		wrapCase(member, s.memberContext(), vaultKey),
		wrapCase(custodian, s.slotContext("custodian"), s.dataKey),
		wrapCase(epoch, s.slotContext("vault"), s.dataKey),
		wrapCase(member, s.slotContext("member"), s.dataKey),
	)
}

func (s story) publicWraps() []vectorCase {
	var cases []vectorCase
	for _, kind := range []string{"ssh-ed25519", "x25519", "x-wing"} {
		key := newSecret(kind, random(32)).opener()
		cases = append(cases,
			wrapCase(key, s.memberContext(), random(32)),
			wrapCase(key, s.slotContext("member"), s.dataKey))
	}
	return cases
}

func (s story) data() []vectorCase {
	cases := []vectorCase{{Case: "commitment", DataKey: hexed(s.dataKey), Commitment: hexed(commitment(s.dataKey))}}
	for name, value := range map[string][]byte{"password": []byte("hunter2"), "empty": {}, "big": random(1000)} {
		c := s.valuesContext(s.context("item"))
		c.Item = name
		ct := sealItem(s.dataKey, c.context(), value)
		cases = append(cases, vectorCase{
			Case: "item", DataKey: hexed(s.dataKey), Context: &c, CT: hexed(ct), Plaintext: ptr(hexed(value)),
		})
	}
	lists := [][][2]string{{{"bob", ownerUID}}, {{"bob", ownerUID}, {"worker", ""}}, {{"bob", ownerUID}, {"worker", memberUID}}}
	for _, list := range lists {
		cases = append(cases, vectorCase{Case: "digest", Members: &list, Digest: hexed(membersDigest(list))})
	}
	return append(cases, vectorCase{Case: "digest", Digest: hexed(membersDigest(nil))})
}

func (s story) signatures() []vectorCase {
	c := s.memberContext()
	w := encodeWrap(wrapTo(newSecret("x-wing", random(32)).opener(), c.context(), random(32)))
	vault := vectorValue{Bytes: &s.vault}
	kinds := map[string][]vectorValue{
		"vault-key": {vault, {Number: ptr(uint64(1))}, {Text: ptr("worker")}, {Text: ptr(memberUID)}, {Wrap: w}},
		"intake-key": {
			vault, {Text: ptr("intake/1/1")}, {Bytes: ptr(hexed(newSecret("x-wing", random(32)).public.bytes))},
		},
		"keyring":  {vault, {Time: ptr(int64(1767225600))}, {Optional: &optionalString{}}},
		"envelope": {vault, {Optional: &optionalString{ptr("6162")}}, {Text: ptr("ü")}, {Number: ptr(uint64(0))}},
	}
	var cases []vectorCase
	for kind, values := range kinds {
		v := vectorCase{Case: "signature", Kind: &kind, Values: values, Seed: hexed(s.signing.Seed())}
		message := v.message()
		v.PublicKey = hexed(s.signing.Public().(ed25519.PublicKey))
		v.Message, v.Signature = hexed(message), hexed(ed25519.Sign(s.signing, message))
		cases = append(cases, v)
	}
	return cases
}

func (s story) sealed() []vectorCase {
	intake := newSecret("x-wing", random(32))
	c := s.context("input")
	c.Generation = ptr(uint64(5))
	c.Namespace, c.Connection, c.Owner, c.Item = "team-b", "deploy-key", "bob", "ssh-privatekey"
	sealed := sealBytes("intake/1/5", intake.public.bytes, c.context(), []byte("from Go"))
	input := vectorCase{
		Case: "input", Seed: hexed(intake.seed), PublicKey: hexed(intake.public.bytes), Context: &c,
		Sealed: hexed(sealed), Plaintext: ptr(hexed([]byte("from Go"))),
	}
	key := newSecret("x-wing", random(32))
	a := vectorContext{
		Purpose: "coffer/v1/answer", Door: "request", RequestID: memberUID, Username: "bob", UID: ownerUID,
		RequestSHA256: hexed(random(32)),
	}
	answer := vectorCase{
		Case: "answer", Seed: hexed(key.seed), PublicKey: base64.StdEncoding.EncodeToString(key.public.bytes), Context: &a,
		Sealed:    hexed(sealBytes(key.public.kid(), key.public.bytes, a.context(), []byte("answer"))),
		Plaintext: ptr(hexed([]byte("answer"))),
	}
	return []vectorCase{input, answer}
}

func publicKeys() []vectorCase {
	ed, x := newSecret("ssh-ed25519", random(32)).public, newSecret("x25519", random(32)).public
	blob := &lp{}
	blob.text("ssh-ed25519").bytes(ed.bytes)
	accepted := []struct {
		text string
		key  publicKey
	}{
		{base64.StdEncoding.EncodeToString(ed.bytes), ed},
		{"ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob.b) + " bob", ed},
		{"x25519:" + base64.StdEncoding.EncodeToString(x.bytes), x},
	}
	var cases []vectorCase
	for _, a := range accepted {
		cases = append(cases, vectorCase{
			Case: "public-key", Text: a.text, Kind: &a.key.kind, Bytes: ptr(hexed(a.key.bytes)),
			Fingerprint: ptr(a.key.printed()),
		})
	}
	return append(cases, vectorCase{Case: "public-key", Text: base64.StdEncoding.EncodeToString(make([]byte, 31))})
}

func (s story) acceptances() []vectorCase {
	var cases []vectorCase
	for _, kind := range []string{"ssh-ed25519", "x25519", "x-wing"} {
		key := newSecret(kind, random(32))
		v := vectorCase{
			Case: "acceptance", VaultID: s.vault, Namespace: "team-b",
			Member: &vectorMember{Name: "bob", UID: memberUID, Subject: []string{"user", "bob"}},
			Secret: &vectorSecret{kind, hexed(key.seed)},
		}
		fields := v.acceptance(v.Namespace, key.public)
		if kind == "ssh-ed25519" {
			l := &lp{}
			l.text("coffer/v1/accept")
			fields(l)
			v.Message = hexed(l.b)
			v.Proof = base64.StdEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(key.seed), l.b))
		} else {
			custodian := random(32)
			nonce := derive(custodian, "challenge", fields)
			w := wrapTo(key.opener(), context{"challenge", fields}, nonce)
			l := &lp{}
			l.number(w.v).text(w.suite).text(w.kid).bytes(w.enc).bytes(w.ct)
			v.CustodianKey = hexed(custodian)
			v.Challenge = base64.StdEncoding.EncodeToString(l.b)
			v.Proof = base64.StdEncoding.EncodeToString(nonce)
		}
		cases = append(cases, v)
	}
	return cases
}

func kidOf(format string, generation uint64) string { return fmt.Sprintf(format, generation) }
