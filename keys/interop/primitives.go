package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	suiteSymmetric = "hkdf-sha256-aes256gcm"
	suiteX25519    = "x25519-hkdf-sha256-aes256gcm"
	suiteXWing     = "xwing-hkdf-sha256-aes256gcm"
)

var errOpen = errors.New("does not open")

func hkdf32(key, salt, info []byte) []byte {
	derived, err := hkdf.Key(sha256.New, key, salt, string(info), 32)
	if err != nil {
		panic(err)
	}
	return derived
}

// derive is the hierarchy's derivation: no salt, info = LP("coffer/v1/<label>") and the fields.
func derive(key []byte, label string, fields func(*lp)) []byte {
	info := &lp{}
	info.text("coffer/v1/" + label)
	fields(info)
	return hkdf32(key, nil, info.b)
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

var zeroNonce = make([]byte, 12)

func sealOnce(key, context, plaintext []byte) []byte {
	return gcm(key).Seal(nil, zeroNonce, plaintext, context)
}

func openOnce(key, context, ct []byte) ([]byte, error) {
	plaintext, err := gcm(key).Open(nil, zeroNonce, ct, context)
	if err != nil {
		return nil, errOpen
	}
	if plaintext == nil {
		plaintext = []byte{}
	}
	return plaintext, nil
}

func kemOf(suite string) (hpke.KEM, error) {
	switch suite {
	case suiteX25519:
		return hpke.DHKEM(ecdh.X25519()), nil
	case suiteXWing:
		return hpke.MLKEM768X25519(), nil
	}
	return nil, fmt.Errorf("suite %q has no public keys", suite)
}

func hpkeSeal(suite string, public, context, plaintext []byte) (enc, ct []byte, err error) {
	kem, err := kemOf(suite)
	if err != nil {
		return nil, nil, err
	}
	key, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, nil, err
	}
	enc, sender, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), context)
	if err != nil {
		return nil, nil, err
	}
	ct, err = sender.Seal(context, plaintext)
	return enc, ct, err
}

func hpkeOpen(suite string, private, enc, context, ct []byte) ([]byte, error) {
	kem, err := kemOf(suite)
	if err != nil {
		return nil, err
	}
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), context)
	if err != nil {
		return nil, errOpen
	}
	plaintext, err := recipient.Open(context, ct)
	if err != nil {
		return nil, errOpen
	}
	return plaintext, nil
}

func hpkePublic(suite string, private []byte) ([]byte, error) {
	kem, err := kemOf(suite)
	if err != nil {
		return nil, err
	}
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return key.PublicKey().Bytes(), nil
}

// wrapped is a wrap with decoded bytes.
type wrapped struct {
	v          uint64
	suite, kid string
	salt, enc  []byte
	ct         []byte
}

// context is everything after v, suite and kid.
type context struct {
	purpose string
	fields  func(*lp)
}

func (c context) encode(suite, kid string) []byte {
	l := &lp{}
	l.number(1).text(suite).text(kid).text("coffer/v1/" + c.purpose)
	if c.fields != nil {
		c.fields(l)
	}
	return l.b
}

func (w wrapped) check() error {
	if w.v != 1 {
		return fmt.Errorf("format version %d is unknown", w.v)
	}
	switch w.suite {
	case suiteSymmetric:
		if len(w.salt) != 32 || w.enc != nil {
			return errors.New("symmetric wraps have a salt of 32 bytes and no enc")
		}
	case suiteX25519, suiteXWing:
		if w.salt != nil || w.enc == nil {
			return errors.New("wraps to a public key have enc and no salt")
		}
	default:
		return fmt.Errorf("suite %q is unknown", w.suite)
	}
	if len(w.ct) != 48 {
		return errors.New("a wrapped key has 48 bytes")
	}
	return nil
}

// opener is a key that opens wraps, and the id that they must name.
type opener struct {
	kid    string
	key    []byte  // a symmetric key
	secret *secret // a member's own key
}

func (w wrapped) open(with opener, c context) ([]byte, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	if w.kid != with.kid {
		return nil, errOpen
	}
	ctx := c.encode(w.suite, w.kid)
	if w.suite == suiteSymmetric {
		if with.key == nil {
			return nil, errOpen
		}
		return openOnce(hkdf32(with.key, w.salt, ctx), ctx, w.ct)
	}
	if with.secret == nil {
		return nil, errOpen
	}
	suite, private := with.secret.recipient()
	if suite != w.suite {
		return nil, errOpen
	}
	return hpkeOpen(suite, private, w.enc, ctx, w.ct)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func wrapTo(with opener, c context, payload []byte) wrapped {
	if with.secret == nil {
		w := wrapped{v: 1, suite: suiteSymmetric, kid: with.kid, salt: random(32)}
		ctx := c.encode(w.suite, w.kid)
		w.ct = sealOnce(hkdf32(with.key, w.salt, ctx), ctx, payload)
		return w
	}
	suite, _ := with.secret.recipient()
	w := wrapped{v: 1, suite: suite, kid: with.kid}
	enc, ct, err := hpkeSeal(suite, with.secret.public.recipient(), c.encode(suite, w.kid), payload)
	if err != nil {
		panic(err)
	}
	w.enc, w.ct = enc, ct
	return w
}

// Sealed input and answers: LP(v) LP(suite) LP(kid) LP(enc) LP(ct).

func sealBytes(kid string, public []byte, c context, plaintext []byte) []byte {
	enc, ct, err := hpkeSeal(suiteXWing, public, c.encode(suiteXWing, kid), plaintext)
	if err != nil {
		panic(err)
	}
	l := &lp{}
	l.number(1).text(suiteXWing).text(kid).bytes(enc).bytes(ct)
	return l.b
}

func openBytes(kid string, seed []byte, c context, sealed []byte) ([]byte, error) {
	parts, err := readLP(sealed, 5)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(parts[0], []byte{0, 0, 0, 0, 0, 0, 0, 1}) || string(parts[1]) != suiteXWing {
		return nil, errors.New("version or suite is unknown")
	}
	if string(parts[2]) != kid {
		return nil, errOpen
	}
	return hpkeOpen(suiteXWing, seed, parts[3], c.encode(suiteXWing, kid), parts[4])
}

func commitment(dataKey []byte) []byte {
	return hkdf32(dataKey, nil, context{purpose: "commitment"}.encode(suiteSymmetric, "data"))
}

func sealItem(dataKey []byte, c context, plaintext []byte) []byte {
	ctx := c.encode(suiteSymmetric, "data")
	return sealOnce(hkdf32(dataKey, nil, ctx), ctx, plaintext)
}

func openItem(dataKey []byte, c context, ct []byte) ([]byte, error) {
	ctx := c.encode(suiteSymmetric, "data")
	return openOnce(hkdf32(dataKey, nil, ctx), ctx, ct)
}

// membersDigest is the digest of a scope; nil is everybody.
func membersDigest(members [][2]string) []byte {
	l := &lp{}
	l.text("coffer/v1/members")
	if members == nil {
		l.text("*")
	}
	for _, m := range members {
		l.text(m[0]).text(m[1])
	}
	sum := sha256.Sum256(l.b)
	return sum[:]
}
