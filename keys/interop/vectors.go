package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// vectorFile is a file of vectors of either side.
type vectorFile struct {
	MadeBy string       `json:"madeBy"`
	Cases  []vectorCase `json:"cases"`
}

type vectorCase struct {
	Case         string         `json:"case"`
	Label        string         `json:"label,omitempty"`
	Key          string         `json:"key,omitempty"`
	VaultID      string         `json:"vaultId,omitempty"`
	Generation   *uint64        `json:"generation,omitempty"`
	Member       *vectorMember  `json:"member,omitempty"`
	Derived      string         `json:"derived,omitempty"`
	Secret       *vectorSecret  `json:"secret,omitempty"`
	Context      *vectorContext `json:"context,omitempty"`
	Wrap         *vectorWrap    `json:"wrap,omitempty"`
	Plaintext    *string        `json:"plaintext,omitempty"`
	DataKey      string         `json:"dataKey,omitempty"`
	Commitment   string         `json:"commitment,omitempty"`
	CT           string         `json:"ct,omitempty"`
	Members      *[][2]string   `json:"members,omitempty"`
	Digest       string         `json:"digest,omitempty"`
	Kind         *string        `json:"kind,omitempty"`
	Seed         string         `json:"seed,omitempty"`
	PublicKey    string         `json:"publicKey,omitempty"`
	Values       []vectorValue  `json:"values,omitempty"`
	Message      string         `json:"message,omitempty"`
	Signature    string         `json:"signature,omitempty"`
	Sealed       string         `json:"sealed,omitempty"`
	Text         string         `json:"text,omitempty"`
	Bytes        *string        `json:"bytes,omitempty"`
	Fingerprint  *string        `json:"fingerprint,omitempty"`
	Namespace    string         `json:"namespace,omitempty"`
	CustodianKey string         `json:"custodianKey,omitempty"`
	Challenge    string         `json:"challenge,omitempty"`
	Proof        string         `json:"proof,omitempty"`
}

type vectorMember struct {
	Name       string   `json:"name"`
	UID        string   `json:"uid"`
	Subject    []string `json:"subject"`
	SubjectUID string   `json:"subjectUid"`
}

type vectorSecret struct {
	Kind string `json:"kind"`
	Seed string `json:"seed"`
}

type vectorWrap struct {
	V     uint64  `json:"v"`
	Suite string  `json:"suite"`
	Kid   string  `json:"kid"`
	Salt  *string `json:"salt,omitempty"`
	Enc   *string `json:"enc,omitempty"`
	CT    string  `json:"ct"`
}

type vectorContext struct {
	Purpose       string  `json:"purpose"`
	VaultID       string  `json:"vaultId,omitempty"`
	Generation    *uint64 `json:"generation,omitempty"`
	Namespace     string  `json:"namespace,omitempty"`
	Connection    string  `json:"connection,omitempty"`
	Owner         string  `json:"owner,omitempty"`
	OwnerUID      string  `json:"ownerUid,omitempty"`
	Version       *uint64 `json:"version,omitempty"`
	Item          string  `json:"item,omitempty"`
	Epoch         *uint64 `json:"epoch,omitempty"`
	MembersDigest string  `json:"membersDigest,omitempty"`
	Commitment    string  `json:"commitment,omitempty"`
	SigningKey    string  `json:"signingKey,omitempty"`
	To            string  `json:"to,omitempty"`
	Name          string  `json:"name,omitempty"`
	UID           string  `json:"uid,omitempty"`
	Door          string  `json:"door,omitempty"`
	RequestID     string  `json:"requestId,omitempty"`
	Username      string  `json:"username,omitempty"`
	RequestSHA256 string  `json:"requestSha256,omitempty"`
}

// vectorValue is one value of a signed message: exactly one field is there.
type vectorValue struct {
	Bytes    *string         `json:"bytes,omitempty"`
	Text     *string         `json:"text,omitempty"`
	Number   *uint64         `json:"number,omitempty"`
	Time     *int64          `json:"time,omitempty"`
	Optional *optionalString `json:"optional,omitempty"`
	Wrap     *vectorWrap     `json:"wrap,omitempty"`
}

// UnmarshalJSON keeps {"optional": null} apart from no such field.
func (v *vectorValue) UnmarshalJSON(b []byte) error {
	type plain vectorValue
	if err := unmarshal(b, (*plain)(v)); err != nil {
		return err
	}
	if v.Bytes == nil && v.Text == nil && v.Number == nil && v.Time == nil && v.Wrap == nil && v.Optional == nil {
		v.Optional = &optionalString{}
	}
	return nil
}

// optionalString is hexadecimal bytes or null.
type optionalString struct{ hex *string }

func (o *optionalString) UnmarshalJSON(b []byte) error { return unmarshal(b, &o.hex) }

func (o optionalString) MarshalJSON() ([]byte, error) { return marshal(o.hex) }

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(fmt.Sprintf("%q is not hexadecimal", text))
	}
	return b
}

func vaultID(text string) []byte {
	b := unhex(text)
	if len(b) != 16 {
		panic(fmt.Sprintf("vault id %q has not 16 bytes", text))
	}
	return b
}

func (w vectorWrap) decode() wrapped {
	d := wrapped{v: w.V, suite: w.Suite, kid: w.Kid, ct: unhex(w.CT)}
	if w.Salt != nil {
		d.salt = unhex(*w.Salt)
	}
	if w.Enc != nil {
		d.enc = unhex(*w.Enc)
	}
	return d
}

func encodeWrap(w wrapped) *vectorWrap {
	e := &vectorWrap{V: w.v, Suite: w.suite, Kid: w.kid, CT: hex.EncodeToString(w.ct)}
	if w.salt != nil {
		salt := hex.EncodeToString(w.salt)
		e.Salt = &salt
	}
	if w.enc != nil {
		enc := hex.EncodeToString(w.enc)
		e.Enc = &enc
	}
	return e
}

// context gives the fields in the order of docs/format.md, "Contexts".
func (c vectorContext) context() context {
	purpose := c.Purpose[len("coffer/v1/"):]
	values := func(l *lp) *lp {
		return l.bytes(vaultID(c.VaultID)).text(c.Namespace).text(c.Connection).text(c.Owner).text(c.OwnerUID).number(*c.Version)
	}
	fields := map[string]func(*lp){
		"root":        func(l *lp) { l.text(c.Name).number(*c.Generation) },
		"signing-key": func(l *lp) { l.bytes(vaultID(c.VaultID)) },
		"epoch":       func(l *lp) { l.bytes(vaultID(c.VaultID)).number(*c.Epoch).bytes(unhex(c.SigningKey)) },
		"vault-key": func(l *lp) {
			l.bytes(vaultID(c.VaultID)).number(*c.Epoch).bytes(unhex(c.SigningKey)).text(c.Name).text(c.UID)
		},
		"item": func(l *lp) { values(l).text(c.Item) },
		"slot": func(l *lp) {
			values(l).number(*c.Epoch).bytes(unhex(c.MembersDigest)).bytes(unhex(c.Commitment)).bytes(unhex(c.SigningKey)).text(c.To)
			if c.To == "member" {
				l.text(c.Name).text(c.UID)
			}
		},
		"input": func(l *lp) {
			l.bytes(vaultID(c.VaultID)).text(c.Namespace).text(c.Connection).text(c.Owner).text(c.Item)
		},
		"answer": func(l *lp) {
			l.text(c.Door).text(c.RequestID).text(c.Username).text(c.UID).bytes(unhex(c.RequestSHA256))
		},
	}[purpose]
	if fields == nil {
		panic("nothing is sealed for " + c.Purpose)
	}
	return context{purpose, fields}
}

// moved changes each text field in turn.
func (c vectorContext) moved() []vectorContext {
	var all []vectorContext
	for _, field := range []func(*vectorContext) *string{
		func(c *vectorContext) *string { return &c.Namespace },
		func(c *vectorContext) *string { return &c.Connection },
		func(c *vectorContext) *string { return &c.Owner },
		func(c *vectorContext) *string { return &c.OwnerUID },
		func(c *vectorContext) *string { return &c.Item },
		func(c *vectorContext) *string { return &c.Name },
		func(c *vectorContext) *string { return &c.UID },
		func(c *vectorContext) *string { return &c.Door },
		func(c *vectorContext) *string { return &c.RequestID },
		func(c *vectorContext) *string { return &c.Username },
		func(c *vectorContext) *string { return &c.VaultID },
	} {
		other := c
		text := field(&other)
		if *text == "" {
			continue
		}
		first := "a"
		if (*text)[0] == 'a' {
			first = "b"
		}
		*text = first + (*text)[1:]
		all = append(all, other)
	}
	return all
}

func (v *vectorMember) write(l *lp) {
	l.text(v.Name).text(v.UID)
	for _, field := range v.Subject {
		l.text(field)
	}
	l.text(v.SubjectUID)
}

func (c vectorCase) derive() []byte {
	return derive(unhex(c.Key), c.Label, func(l *lp) {
		l.bytes(vaultID(c.VaultID))
		if c.Generation != nil {
			l.number(*c.Generation)
		}
		if c.Member != nil {
			c.Member.write(l)
		}
	})
}

func (c vectorCase) message() []byte {
	l := &lp{}
	l.text("coffer/v1/sig/" + *c.Kind)
	for _, v := range c.Values {
		switch {
		case v.Bytes != nil:
			l.bytes(unhex(*v.Bytes))
		case v.Text != nil:
			l.text(*v.Text)
		case v.Number != nil:
			l.number(*v.Number)
		case v.Time != nil:
			l.time(*v.Time)
		case v.Wrap != nil:
			v.Wrap.decode().write(l)
		case v.Optional != nil && v.Optional.hex != nil:
			l.optional(unhex(*v.Optional.hex))
		default:
			l.optional(nil)
		}
	}
	return l.b
}

// write adds a wrap to a signed message.
func (w wrapped) write(l *lp) {
	l.number(w.v).text(w.suite).text(w.kid).optional(w.salt).optional(w.enc).bytes(w.ct)
}

// acceptance is what a proof is about: the fields after the label.
func (c vectorCase) acceptance(namespace string, key publicKey) func(*lp) {
	return func(l *lp) {
		l.bytes(vaultID(c.VaultID)).text(namespace).text(c.Member.Name).text(c.Member.UID)
		for _, field := range c.Member.Subject {
			l.text(field)
		}
		l.text(key.kind).bytes(key.bytes)
	}
}

func expect(what string, got []byte, want string) error {
	if hex.EncodeToString(got) != want {
		return fmt.Errorf("%s is %x, want %s", what, got, want)
	}
	return nil
}

// opens checks that something opens here, and nowhere else, and with no bit flipped.
func (c vectorCase) opens(sealed []byte, open func(context, []byte) ([]byte, error)) error {
	plaintext, err := open(c.Context.context(), sealed)
	if err != nil {
		return err
	}
	if err := expect("plaintext", plaintext, *c.Plaintext); err != nil {
		return err
	}
	for _, other := range c.Context.moved() {
		if _, err := open(other.context(), sealed); err == nil {
			return errors.New("opens at another place")
		}
	}
	for _, at := range []int{0, len(sealed) / 2, len(sealed) - 1} {
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1
		if _, err := open(c.Context.context(), flipped); err == nil {
			return fmt.Errorf("opens with byte %d flipped", at)
		}
	}
	return nil
}

func (c vectorCase) verify() error {
	switch c.Case {
	case "derive":
		return expect("derived key", c.derive(), c.Derived)
	case "wrap":
		w := c.Wrap.decode()
		with := opener{kid: w.kid}
		if c.Secret != nil {
			with = newSecret(c.Secret.Kind, unhex(c.Secret.Seed)).opener()
		} else {
			with.key = unhex(c.Key)
		}
		if c.Context.Purpose == "coffer/v1/slot" {
			if err := expect("commitment", commitment(unhex(*c.Plaintext)), c.Context.Commitment); err != nil {
				return err
			}
		}
		return c.opens(w.ct, func(ctx context, ct []byte) ([]byte, error) {
			other := w
			other.ct = ct
			return other.open(with, ctx)
		})
	case "commitment":
		return expect("commitment", commitment(unhex(c.DataKey)), c.Commitment)
	case "item":
		return c.opens(unhex(c.CT), func(ctx context, ct []byte) ([]byte, error) {
			return openItem(unhex(c.DataKey), ctx, ct)
		})
	case "digest":
		var members [][2]string
		if c.Members != nil {
			members = *c.Members
		}
		return expect("digest", membersDigest(members), c.Digest)
	case "signature":
		return c.verifySignature()
	case "input":
		kid := fmt.Sprintf("intake/1/%d", *c.Context.Generation)
		public, err := hpkePublic(suiteXWing, unhex(c.Seed))
		if err != nil {
			return err
		}
		if err := expect("public key", public, c.PublicKey); err != nil {
			return err
		}
		return c.opens(unhex(c.Sealed), func(ctx context, sealed []byte) ([]byte, error) {
			return openBytes(kid, unhex(c.Seed), ctx, sealed)
		})
	case "answer":
		key := newSecret("x-wing", unhex(c.Seed))
		if base64.StdEncoding.EncodeToString(key.public.bytes) != c.PublicKey {
			return errors.New("the public key is another")
		}
		return c.opens(unhex(c.Sealed), func(ctx context, sealed []byte) ([]byte, error) {
			return openBytes(key.public.kid(), unhex(c.Seed), ctx, sealed)
		})
	case "public-key":
		return c.verifyPublicKey()
	case "acceptance":
		return c.verifyAcceptance()
	}
	return fmt.Errorf("no vector is called %q", c.Case)
}

func (c vectorCase) verifySignature() error {
	message := c.message()
	if err := expect("message", message, c.Message); err != nil {
		return err
	}
	key := ed25519.NewKeyFromSeed(unhex(c.Seed))
	if err := expect("public key", key.Public().(ed25519.PublicKey), c.PublicKey); err != nil {
		return err
	}
	if err := expect("signature", ed25519.Sign(key, message), c.Signature); err != nil {
		return err
	}
	if !ed25519.Verify(unhex(c.PublicKey), message, unhex(c.Signature)) {
		return errors.New("the signature does not hold")
	}
	return nil
}

func (c vectorCase) verifyPublicKey() error {
	key, err := parsePublicKey(c.Text)
	if c.Kind == nil {
		if err == nil {
			return errors.New("is accepted and should not be")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if key.kind != *c.Kind || key.printed() != *c.Fingerprint {
		return fmt.Errorf("is %s %s", key.kind, key.printed())
	}
	return expect("key", key.bytes, *c.Bytes)
}

func (c vectorCase) verifyAcceptance() error {
	key := newSecret(c.Secret.Kind, unhex(c.Secret.Seed))
	proof, err := base64.StdEncoding.DecodeString(c.Proof)
	if err != nil {
		return err
	}
	if c.Challenge == "" {
		l := &lp{}
		l.text("coffer/v1/accept")
		c.acceptance(c.Namespace, key.public)(l)
		if err := expect("message", l.b, c.Message); err != nil {
			return err
		}
		if !ed25519.Verify(key.public.bytes, l.b, proof) {
			return errors.New("the proof does not hold")
		}
		return nil
	}
	nonce := derive(unhex(c.CustodianKey), "challenge", c.acceptance(c.Namespace, key.public))
	if !bytes.Equal(nonce, proof) {
		return errors.New("the nonce is another")
	}
	challenge, err := base64.StdEncoding.DecodeString(c.Challenge)
	if err != nil {
		return err
	}
	parts, err := readLP(challenge, 5)
	if err != nil {
		return err
	}
	w := wrapped{v: 1, suite: string(parts[1]), kid: string(parts[2]), enc: parts[3], ct: parts[4]}
	opened, err := w.open(key.opener(), context{"challenge", c.acceptance(c.Namespace, key.public)})
	if err != nil {
		return err
	}
	if !bytes.Equal(opened, nonce) {
		return errors.New("the challenge holds something else")
	}
	if _, err := w.open(key.opener(), context{"challenge", c.acceptance("elsewhere", key.public)}); err == nil {
		return errors.New("the challenge opens for another acceptance")
	}
	return nil
}
