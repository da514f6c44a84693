package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
)

// publicKey is a member's public key.
type publicKey struct {
	kind  string // ssh-ed25519, x25519 or x-wing
	bytes []byte
}

func (k publicKey) fingerprint() []byte {
	l := &lp{}
	l.text(k.kind).bytes(k.bytes)
	sum := sha256.Sum256(l.b)
	return sum[:]
}

func (k publicKey) printed() string {
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(k.fingerprint())
}

func (k publicKey) kid() string { return "pub/" + k.printed() }

// recipient is the serialized key that HPKE encapsulates to.
func (k publicKey) recipient() []byte {
	if k.kind == "ssh-ed25519" {
		return edwardsToMontgomery(k.bytes)
	}
	return k.bytes
}

// edwardsToMontgomery maps y to u = (1+y)/(1-y) mod 2^255-19 (RFC 7748, section 4.1).
func edwardsToMontgomery(edwards []byte) []byte {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	le := slices.Clone(edwards)
	le[31] &= 0x7f
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	one := big.NewInt(1)
	denominator := new(big.Int).Mod(new(big.Int).Sub(one, y), p)
	u := new(big.Int).Mul(new(big.Int).Add(one, y), new(big.Int).ModInverse(denominator, p))
	out := u.Mod(u, p).FillBytes(make([]byte, 32))
	slices.Reverse(out)
	return out
}

// secret is a member's private key.
type secret struct {
	kind   string
	seed   []byte
	public publicKey
}

func newSecret(kind string, seed []byte) *secret {
	s := &secret{kind: kind, seed: seed, public: publicKey{kind: kind}}
	switch kind {
	case "ssh-ed25519":
		s.public.bytes = []byte(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	case "x25519", "x-wing":
		suite, private := s.recipient()
		public, err := hpkePublic(suite, private)
		if err != nil {
			panic(err)
		}
		s.public.bytes = public
	default:
		panic("no key is of kind " + kind)
	}
	return s
}

// recipient is the HPKE suite and private key.
func (s *secret) recipient() (string, []byte) {
	switch s.kind {
	case "ssh-ed25519":
		hash := sha512.Sum512(s.seed)
		half := hash[:32]
		half[0] &= 248
		half[31] &= 127
		half[31] |= 64
		return suiteX25519, half
	case "x25519":
		return suiteX25519, s.seed
	default:
		return suiteXWing, s.seed
	}
}

func (s *secret) opener() opener { return opener{kid: s.public.kid(), secret: s} }

// parsePublicKey reads the forms that vectors use: raw, OpenSSH, PEM, x25519:.
func parsePublicKey(text string) (publicKey, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "x25519:"); ok {
		raw, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil {
			return publicKey{}, err
		}
		return checkedX25519(raw)
	}
	if strings.HasPrefix(text, "-----BEGIN ") {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" {
			return publicKey{}, errors.New("no PEM public key")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return publicKey{}, err
		}
		switch key := key.(type) {
		case ed25519.PublicKey:
			return checkedEd25519(key)
		case *ecdh.PublicKey:
			return checkedX25519(key.Bytes())
		}
		return publicKey{}, errors.New("another algorithm")
	}
	if algorithm, rest, ok := strings.Cut(text, " "); ok {
		if algorithm != "ssh-ed25519" {
			return publicKey{}, errors.New("another SSH key")
		}
		field, _, _ := strings.Cut(rest, " ")
		blob, err := base64.StdEncoding.Strict().DecodeString(field)
		if err != nil {
			return publicKey{}, err
		}
		parts, err := readLP(blob, 2)
		if err != nil || string(parts[0]) != "ssh-ed25519" {
			return publicKey{}, errors.New("another SSH key inside")
		}
		return checkedEd25519(parts[1])
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return publicKey{}, err
	}
	return checkedEd25519(raw)
}

// checkedEd25519 refuses what maps to no usable X25519 key.
func checkedEd25519(raw []byte) (publicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return publicKey{}, errors.New("wrong length")
	}
	if bytes.Equal(raw, append([]byte{1}, make([]byte, 31)...)) {
		return publicKey{}, errors.New("the identity")
	}
	if _, err := checkedX25519(edwardsToMontgomery(raw)); err != nil {
		return publicKey{}, err
	}
	return publicKey{"ssh-ed25519", raw}, nil
}

func checkedX25519(raw []byte) (publicKey, error) {
	key, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return publicKey{}, err
	}
	probe, err := ecdh.X25519().NewPrivateKey(make([]byte, 32))
	if err != nil {
		return publicKey{}, err
	}
	if _, err := probe.ECDH(key); err != nil {
		return publicKey{}, err
	}
	return publicKey{"x25519", raw}, nil
}
