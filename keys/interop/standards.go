package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/sha3"
	"errors"
)

// rfc9180 is one base-mode vector of RFC 9180.
type rfc9180 struct {
	Info string `json:"info"`
	SkRm string `json:"skRm"`
	PkRm string `json:"pkRm"`
	Enc  string `json:"enc"`
	AAD  string `json:"aad"`
	PT   string `json:"pt"`
	CT   string `json:"ct"`
}

func (v rfc9180) verify() error {
	key, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(unhex(v.SkRm))
	if err != nil {
		return err
	}
	if err := expect("public key", key.PublicKey().Bytes(), v.PkRm); err != nil {
		return err
	}
	recipient, err := hpke.NewRecipient(unhex(v.Enc), key, hpke.HKDFSHA256(), hpke.AES256GCM(), unhex(v.Info))
	if err != nil {
		return err
	}
	plaintext, err := recipient.Open(unhex(v.AAD), unhex(v.CT))
	if err != nil {
		return err
	}
	return expect("plaintext", plaintext, v.PT)
}

// xwing is one vector of draft-connolly-cfrg-xwing-kem.
type xwing struct {
	SK string `json:"sk"`
	PK string `json:"pk"`
	CT string `json:"ct"`
	SS string `json:"ss"`
}

// verify decapsulates by the draft's sections 5.2 to 5.5 with nothing but its parts: ML-KEM-768, X25519, SHA-3.
func (v xwing) verify() error {
	expanded := sha3.SumSHAKE256(unhex(v.SK), 96)
	m, err := mlkem.NewDecapsulationKey768(expanded[:64])
	if err != nil {
		return err
	}
	x, err := ecdh.X25519().NewPrivateKey(expanded[64:])
	if err != nil {
		return err
	}
	public := append(m.EncapsulationKey().Bytes(), x.PublicKey().Bytes()...)
	if err := expect("public key", public, v.PK); err != nil {
		return err
	}
	byHPKE, err := hpkePublic(suiteXWing, unhex(v.SK))
	if err != nil {
		return err
	}
	if !bytes.Equal(byHPKE, public) {
		return errors.New("HPKE's X-Wing derives another public key")
	}
	ct := unhex(v.CT)
	ctM, ctX := ct[:mlkem.CiphertextSize768], ct[mlkem.CiphertextSize768:]
	ssM, err := m.Decapsulate(ctM)
	if err != nil {
		return err
	}
	peer, err := ecdh.X25519().NewPublicKey(ctX)
	if err != nil {
		return err
	}
	ssX, err := x.ECDH(peer)
	if err != nil {
		return err
	}
	h := sha3.New256()
	for _, part := range [][]byte{ssM, ssX, ctX, x.PublicKey().Bytes(), []byte(`\.//^\`)} {
		h.Write(part)
	}
	return expect("shared secret", h.Sum(nil), v.SS)
}
