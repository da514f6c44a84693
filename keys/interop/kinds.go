package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// b64 is bytes in standard base64.
type b64 []byte

func (b b64) MarshalJSON() ([]byte, error) { return marshal(base64.StdEncoding.EncodeToString(b)) }

func (b *b64) UnmarshalJSON(in []byte) error {
	var text string
	if err := unmarshal(in, &text); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	*b = raw
	return err
}

// The kinds as the API writes them; fields that signatures cover only.

type apiWrap struct {
	V     uint64 `json:"v"`
	Suite string `json:"suite"`
	Kid   string `json:"kid"`
	Salt  *b64   `json:"salt,omitempty"`
	Enc   *b64   `json:"enc,omitempty"`
	CT    b64    `json:"ct"`
}

func (w apiWrap) decode() wrapped {
	d := wrapped{v: w.V, suite: w.Suite, kid: w.Kid, ct: w.CT}
	if w.Salt != nil {
		d.salt = *w.Salt
	}
	if w.Enc != nil {
		d.enc = *w.Enc
	}
	return d
}

func encodeAPIWrap(w wrapped) apiWrap {
	e := apiWrap{V: w.v, Suite: w.suite, Kid: w.kid, CT: w.ct}
	if w.salt != nil {
		e.Salt = (*b64)(&w.salt)
	}
	if w.enc != nil {
		e.Enc = (*b64)(&w.enc)
	}
	return e
}

type keyring struct {
	VaultID            string             `json:"vaultID"`
	VaultUID           string             `json:"vaultUID"`
	Revision           uint64             `json:"revision"`
	RootGeneration     uint64             `json:"rootGeneration"`
	BrokeredGeneration uint64             `json:"brokeredGeneration"`
	IntakeGenerations  []intakeGeneration `json:"intakeGenerations"`
	SigningKey         apiWrap            `json:"signingKey"`
	Current            uint64             `json:"current"`
	RestoredEpoch      uint64             `json:"restoredEpoch,omitempty"`
	Epochs             []epoch            `json:"epochs"`
	Members            []registered       `json:"members"`
	Signature          b64                `json:"signature"`
}

type intakeGeneration struct {
	Root       uint64 `json:"root"`
	Generation uint64 `json:"generation"`
}

type epoch struct {
	Epoch     uint64       `json:"epoch"`
	CreatedAt time.Time    `json:"createdAt"`
	Wrapped   apiWrap      `json:"wrapped"`
	Causes    []epochCause `json:"causes,omitempty"`
}

type epochCause struct {
	Reason string  `json:"reason"`
	Member *member `json:"member,omitempty"`
}

type subject struct {
	ServiceAccount *struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"serviceAccount,omitempty"`
	User *struct {
		Name string `json:"name"`
	} `json:"user,omitempty"`
	Group *struct {
		Name string `json:"name"`
	} `json:"group,omitempty"`
	External *struct{} `json:"external,omitempty"`
}

func (s subject) write(l *lp) {
	switch {
	case s.ServiceAccount != nil:
		l.text("serviceAccount").text(s.ServiceAccount.Namespace).text(s.ServiceAccount.Name)
	case s.User != nil:
		l.text("user").text(s.User.Name)
	case s.Group != nil:
		l.text("group").text(s.Group.Name)
	default:
		l.text("external")
	}
}

type registered struct {
	Name       string    `json:"name"`
	UID        string    `json:"uid"`
	Subject    subject   `json:"subject"`
	SubjectUID *string   `json:"subjectUID,omitempty"`
	Role       string    `json:"role"`
	Custody    string    `json:"custody"`
	KeyHash    *b64      `json:"keyHash,omitempty"`
	AcceptedAt time.Time `json:"acceptedAt"`
	FormerUIDs []string  `json:"formerUIDs,omitempty"`
}

// memberKey is the key of a Brokered member.
func (r registered) memberKey(branch []byte, vault string) []byte {
	return derive(branch, "member", func(l *lp) {
		l.bytes(vaultID(vault)).text(r.Name).text(r.UID)
		r.Subject.write(l)
		l.text(text(r.SubjectUID))
	})
}

func text(optional *string) string {
	if optional == nil {
		return ""
	}
	return *optional
}

func optionalText(l *lp, v *string) {
	if v == nil {
		l.optional(nil)
		return
	}
	l.number(1).text(*v)
}

// message is everything that a Keyring's signature covers.
func (k keyring) message() []byte {
	l := &lp{}
	l.text("coffer/v1/sig/keyring")
	l.bytes(vaultID(k.VaultID)).text(k.VaultUID).number(k.Revision).number(k.RootGeneration).number(k.BrokeredGeneration)
	l.number(uint64(len(k.IntakeGenerations)))
	for _, g := range k.IntakeGenerations {
		l.number(g.Root).number(g.Generation)
	}
	k.SigningKey.decode().write(l)
	l.number(k.Current).number(k.RestoredEpoch).number(uint64(len(k.Epochs)))
	for _, e := range k.Epochs {
		l.number(e.Epoch).time(e.CreatedAt.Unix())
		e.Wrapped.decode().write(l)
		l.number(uint64(len(e.Causes)))
		for _, c := range e.Causes {
			l.text(c.Reason)
			if c.Member == nil {
				l.optional(nil).optional(nil)
			} else {
				l.optional([]byte(c.Member.Name)).optional([]byte(c.Member.UID))
			}
		}
	}
	l.number(uint64(len(k.Members)))
	for _, m := range k.Members {
		l.text(m.Name).text(m.UID)
		m.Subject.write(l)
		optionalText(l, m.SubjectUID)
		l.text(m.Role).text(m.Custody)
		if m.KeyHash == nil {
			l.optional(nil)
		} else {
			l.optional(*m.KeyHash)
		}
		l.time(m.AcceptedAt.Unix()).number(uint64(len(m.FormerUIDs)))
		for _, uid := range m.FormerUIDs {
			l.text(uid)
		}
	}
	return l.b
}

type author struct {
	Username string   `json:"username"`
	UID      *string  `json:"uid,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

type member struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

type envelope struct {
	V          uint64 `json:"v"`
	Suite      string `json:"suite"`
	VaultID    string `json:"vaultID"`
	Connection struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
	} `json:"connection"`
	Owner         member          `json:"owner"`
	Version       uint64          `json:"version"`
	Revision      uint64          `json:"revision"`
	Epoch         uint64          `json:"epoch"`
	Members       scope           `json:"members"`
	MembersDigest b64             `json:"membersDigest"`
	Commitment    b64             `json:"commitment"`
	Items         map[string]item `json:"items"`
	Slots         []slot          `json:"slots"`
	CreatedAt     time.Time       `json:"createdAt"`
	CreatedBy     string          `json:"createdBy"`
	Writer        author          `json:"writer"`
	History       []historyEntry  `json:"history,omitempty"`
	Advised       []advised       `json:"advised,omitempty"`
	Signature     b64             `json:"signature"`
}

type scope struct {
	All    *struct{} `json:"all,omitempty"`
	Listed []member  `json:"listed,omitempty"`
}

func (s scope) digest() []byte {
	if s.All != nil {
		return membersDigest(nil)
	}
	list := [][2]string{}
	for _, m := range s.Listed {
		list = append(list, [2]string{m.Name, m.UID})
	}
	return membersDigest(list)
}

type item struct {
	CT           b64 `json:"ct"`
	SealedSHA256 b64 `json:"sealedSHA256"`
}

type slot struct {
	To   string  `json:"to"`
	Name *string `json:"name,omitempty"`
	UID  *string `json:"uid,omitempty"`
	Wrap apiWrap `json:"wrap"`
}

type historyEntry struct {
	Version uint64    `json:"version"`
	At      time.Time `json:"at"`
	Writer  string    `json:"writer"`
}

type advised struct {
	Member string    `json:"member"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// message is everything that an Envelope's signature covers.
func (e envelope) message() []byte {
	l := &lp{}
	l.text("coffer/v1/sig/envelope")
	l.number(e.V).text(e.Suite).bytes(vaultID(e.VaultID))
	l.text(e.Connection.Namespace).text(e.Connection.Name).text(e.Connection.UID)
	l.text(e.Owner.Name).text(e.Owner.UID).number(e.Version).number(e.Revision).number(e.Epoch)
	if e.Members.All != nil {
		l.text("*")
	} else {
		l.text("listed").number(uint64(len(e.Members.Listed)))
		for _, m := range e.Members.Listed {
			l.text(m.Name).text(m.UID)
		}
	}
	l.bytes(e.MembersDigest).bytes(e.Commitment).number(uint64(len(e.Items)))
	for _, name := range e.itemNames() {
		l.text(name).bytes(e.Items[name].CT).bytes(e.Items[name].SealedSHA256)
	}
	l.number(uint64(len(e.Slots)))
	for _, s := range e.Slots {
		l.text(s.To)
		optionalText(l, s.Name)
		optionalText(l, s.UID)
		s.Wrap.decode().write(l)
	}
	l.time(e.CreatedAt.Unix()).text(e.CreatedBy)
	l.text(e.Writer.Username)
	optionalText(l, e.Writer.UID)
	l.number(uint64(len(e.Writer.Groups)))
	for _, group := range e.Writer.Groups {
		l.text(group)
	}
	l.number(uint64(len(e.History)))
	for _, h := range e.History {
		l.number(h.Version).time(h.At.Unix()).text(h.Writer)
	}
	l.number(uint64(len(e.Advised)))
	for _, a := range e.Advised {
		l.text(a.Member).text(a.Reason).time(a.At.Unix())
	}
	return l.b
}

func (e envelope) itemNames() []string {
	var names []string
	for name := range e.Items {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

func (e envelope) values(l *lp) *lp {
	return l.bytes(vaultID(e.VaultID)).text(e.Connection.Namespace).text(e.Connection.Name).
		text(e.Owner.Name).text(e.Owner.UID).number(e.Version)
}

func (e envelope) itemContext(name string) context {
	return context{"item", func(l *lp) { e.values(l).text(name) }}
}

func (e envelope) slotContext(signingKey []byte, s slot) context {
	return context{"slot", func(l *lp) {
		e.values(l).number(e.Epoch).bytes(e.MembersDigest).bytes(e.Commitment).bytes(signingKey).text(s.To)
		if s.To == "member" {
			l.text(text(s.Name)).text(text(s.UID))
		}
	}}
}

// check is what any reader checks before it uses a data key: form, digest, signature.
func (e envelope) check(signingKey []byte) error {
	if e.V != 1 || e.Suite != suiteSymmetric {
		return fmt.Errorf("v %d or suite %q is unknown", e.V, e.Suite)
	}
	if string(e.Members.digest()) != string(e.MembersDigest) {
		return errors.New("the digest is not that of the members")
	}
	if !ed25519.Verify(signingKey, e.message(), e.Signature) {
		return errors.New("the Envelope's signature does not hold")
	}
	return nil
}

// openSlot gives the data key of a slot, its commitment checked.
func (e envelope) openSlot(with opener, signingKey []byte, s slot) ([]byte, error) {
	dataKey, err := s.Wrap.decode().open(with, e.slotContext(signingKey, s))
	if err != nil {
		return nil, err
	}
	if string(commitment(dataKey)) != string(e.Commitment) {
		return nil, errOpen
	}
	return dataKey, nil
}

// open gives the items.
func (e envelope) open(dataKey []byte) (map[string][]byte, error) {
	items := map[string][]byte{}
	for _, name := range e.itemNames() {
		value, err := openItem(dataKey, e.itemContext(name), e.Items[name].CT)
		if err != nil {
			return nil, fmt.Errorf("item %s: %w", name, err)
		}
		items[name] = value
	}
	return items, nil
}

type wrappedVaultKey struct {
	Epoch     uint64  `json:"epoch"`
	Wrap      apiWrap `json:"wrap"`
	Signature b64     `json:"signature"`
}

func vaultKeyMessage(vault string, epoch uint64, name, uid string, w wrapped) []byte {
	l := &lp{}
	l.text("coffer/v1/sig/vault-key").bytes(vaultID(vault)).number(epoch).text(name).text(uid)
	w.write(l)
	return l.b
}

func vaultKeyContext(vault string, epoch uint64, signingKey []byte, name, uid string) context {
	return context{"vault-key", func(l *lp) {
		l.bytes(vaultID(vault)).number(epoch).bytes(signingKey).text(name).text(uid)
	}}
}

func epochContext(vault string, epoch uint64, signingKey []byte) context {
	return context{"epoch", func(l *lp) { l.bytes(vaultID(vault)).number(epoch).bytes(signingKey) }}
}

type intakeKey struct {
	Kid       string `json:"kid"`
	PublicKey b64    `json:"publicKey"`
	Signature b64    `json:"signature"`
}

func (k intakeKey) message(vault string) []byte {
	l := &lp{}
	l.text("coffer/v1/sig/intake-key").bytes(vaultID(vault)).text(k.Kid).bytes(k.PublicKey)
	return l.b
}
