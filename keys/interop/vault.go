package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// vaultFile is a whole installation with one vault, as the API holds it, and what each member must be able to open.
type vaultFile struct {
	Root           map[string]b64                        `json:"root"`
	CustodySecrets map[string]map[string]json.RawMessage `json:"custodySecrets"`
	CustodianKey   b64                                   `json:"custodianKey"`
	IntakeKey      intakeKey                             `json:"intakeKey"`
	Keyring        keyring                               `json:"keyring"`
	Former         []registered                          `json:"former,omitempty"` // who was in the register once
	MemberKeys     map[string]vectorSecret               `json:"memberKeys"`
	WrappedKeys    map[string][]wrappedVaultKey          `json:"wrappedKeys"`
	Envelopes      []vaultEnvelope                       `json:"envelopes"`
	SealedData     []vaultInput                          `json:"sealedData"`
}

type vaultEnvelope struct {
	Spec    envelope       `json:"spec"`
	Items   map[string]b64 `json:"items"`
	Opens   []string       `json:"opens"`
	Refuses []string       `json:"refuses"`
}

type vaultInput struct {
	Namespace  string `json:"namespace"`
	Connection string `json:"connection"`
	Owner      string `json:"owner"`
	Item       string `json:"item"`
	Sealed     b64    `json:"sealed"`
	Plaintext  b64    `json:"plaintext"`
}

func (i vaultInput) context(vault string) context {
	return context{"input", func(l *lp) {
		l.bytes(vaultID(vault)).text(i.Namespace).text(i.Connection).text(i.Owner).text(i.Item)
	}}
}

// branch unwraps one generation of one of the installation's two branches.
func (f *vaultFile) branch(secret, name string, generation uint64) ([]byte, error) {
	var w apiWrap
	if err := json.Unmarshal(f.CustodySecrets[secret][fmt.Sprintf("generation-%d", generation)], &w); err != nil {
		return nil, err
	}
	with := opener{kid: "root/" + name, key: f.Root[name]}
	return w.decode().open(with, context{"root", func(l *lp) { l.text(name).number(generation) }})
}

// member finds the key and the register entry of a member: from nothing but its own secret, or the branch.
func (f *vaultFile) member(name string, branch []byte) (opener, registered, error) {
	for _, r := range slices.Concat(f.Keyring.Members, f.Former) {
		if r.Name != name {
			continue
		}
		if r.Custody == "Brokered" {
			kid := fmt.Sprintf("member/%d", f.Keyring.BrokeredGeneration)
			return opener{kid: kid, key: r.memberKey(branch, f.Keyring.VaultID)}, r, nil
		}
		key := f.MemberKeys[name]
		secret := newSecret(key.Kind, unhex(key.Seed))
		if string(secret.public.fingerprint()) != string(*r.KeyHash) {
			return opener{}, r, errors.New("the register names another key")
		}
		return secret.opener(), r, nil
	}
	return opener{}, registered{}, fmt.Errorf("nobody is called %s", name)
}

// openAs opens an Envelope with what was wrapped for one member. The signing key is believed because the member's
// wrap opens only with the right one in its context.
func (f *vaultFile) openAs(with opener, r registered, e envelope) (map[string][]byte, error) {
	for _, s := range e.Slots {
		if s.To == "member" && text(s.Name) == r.Name && text(s.UID) == r.UID {
			return f.take(with, s, e)
		}
	}
	for _, w := range f.WrappedKeys[r.Name] {
		if w.Epoch != e.Epoch {
			continue
		}
		key, err := f.openVaultKey(with, r, w)
		if err != nil {
			return nil, err
		}
		for _, s := range e.Slots {
			if s.To == "vault" {
				return f.take(opener{kid: fmt.Sprintf("epoch/%d", e.Epoch), key: key}, s, e)
			}
		}
	}
	return nil, errors.New("nothing is wrapped for the member")
}

func (f *vaultFile) openVaultKey(with opener, r registered, w wrappedVaultKey) ([]byte, error) {
	decoded := w.Wrap.decode()
	if !ed25519.Verify([]byte(f.CustodianKey), vaultKeyMessage(f.Keyring.VaultID, w.Epoch, r.Name, r.UID, decoded), w.Signature) {
		return nil, errors.New("the vault key's signature does not hold")
	}
	return decoded.open(with, vaultKeyContext(f.Keyring.VaultID, w.Epoch, f.CustodianKey, r.Name, r.UID))
}

func (f *vaultFile) take(with opener, s slot, e envelope) (map[string][]byte, error) {
	dataKey, err := e.openSlot(with, f.CustodianKey, s)
	if err != nil {
		return nil, err
	}
	if err := e.check(f.CustodianKey); err != nil {
		return nil, err
	}
	return e.open(dataKey)
}

// force tries everything that a member holds against every slot, whatever the slot says; nothing may open.
func (f *vaultFile) force(with opener, r registered, e envelope) error {
	keys := []opener{with}
	for _, w := range f.WrappedKeys[r.Name] {
		key, err := f.openVaultKey(with, r, w)
		if err != nil {
			return err
		}
		keys = append(keys, opener{kid: fmt.Sprintf("epoch/%d", w.Epoch), key: key})
	}
	for _, s := range e.Slots {
		for _, key := range keys {
			for _, kid := range []string{key.kid, s.Wrap.Kid} {
				key.kid = kid
				if _, err := e.openSlot(key, f.CustodianKey, s); err == nil {
					return fmt.Errorf("the slot to %s %s opens", s.To, text(s.Name))
				}
			}
		}
	}
	return nil
}

func same(got map[string][]byte, want map[string]b64) error {
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		return errors.New("other items")
	}
	for name, value := range want {
		if string(got[name]) != string(value) {
			return fmt.Errorf("item %s has another value", name)
		}
	}
	return nil
}

func (f *vaultFile) verify(check func(string, func() error)) {
	k := f.Keyring
	var root, branch, custodian []byte
	check("custody Secrets", func() (err error) {
		if root, err = f.branch("coffer-custodian", "custodian", k.RootGeneration); err != nil {
			return err
		}
		branch, err = f.branch("coffer-brokered", "brokered", k.BrokeredGeneration)
		custodian = derive(root, "custodian", func(l *lp) { l.bytes(vaultID(k.VaultID)) })
		return err
	})
	asCustodian := opener{kid: fmt.Sprintf("custodian/%d", k.RootGeneration), key: custodian}
	vaultKeys := map[uint64][]byte{}
	check("Keyring", func() error {
		seed, err := k.SigningKey.decode().open(asCustodian, context{"signing-key", func(l *lp) { l.bytes(vaultID(k.VaultID)) }})
		if err != nil {
			return err
		}
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		if string(public) != string(f.CustodianKey) {
			return errors.New("the signing key is another")
		}
		if !ed25519.Verify(public, k.message(), k.Signature) {
			return errors.New("the Keyring's signature does not hold")
		}
		for _, e := range k.Epochs {
			key, err := e.Wrapped.decode().open(asCustodian, epochContext(k.VaultID, e.Epoch, public))
			if err != nil {
				return err
			}
			vaultKeys[e.Epoch] = key
		}
		return nil
	})
	check("intake key", func() error {
		if !ed25519.Verify([]byte(f.CustodianKey), f.IntakeKey.message(k.VaultID), f.IntakeKey.Signature) {
			return errors.New("the intake key's signature does not hold")
		}
		return nil
	})
	for i, input := range f.SealedData {
		check(fmt.Sprintf("sealed input %d", i), func() error {
			newest := k.IntakeGenerations[len(k.IntakeGenerations)-1]
			seed := derive(root, "intake", func(l *lp) { l.bytes(vaultID(k.VaultID)).number(newest.Generation) })
			kid := fmt.Sprintf("intake/%d/%d", newest.Root, newest.Generation)
			value, err := openBytes(kid, seed, input.context(k.VaultID), input.Sealed)
			if err == nil && string(value) != string(input.Plaintext) {
				err = errors.New("another value")
			}
			return err
		})
	}
	for _, e := range f.Envelopes {
		f.verifyEnvelope(check, e, asCustodian, branch)
	}
	for name, keys := range f.WrappedKeys {
		for _, w := range keys {
			check(fmt.Sprintf("%s's vault key of epoch %d", name, w.Epoch), func() error {
				with, r, err := f.member(name, branch)
				if err != nil {
					return err
				}
				key, err := f.openVaultKey(with, r, w)
				held, current := vaultKeys[w.Epoch]
				if err == nil && current && string(key) != string(held) {
					err = errors.New("another vault key")
				}
				return err
			})
		}
	}
}

func (f *vaultFile) verifyEnvelope(check func(string, func() error), e vaultEnvelope, custodian opener, branch []byte) {
	at := fmt.Sprintf("%s of epoch %d", e.Spec.Connection.Name, e.Spec.Epoch)
	check(at+" as custodian", func() error {
		for _, s := range e.Spec.Slots {
			if s.To == "custodian" {
				items, err := f.take(custodian, s, e.Spec)
				if err != nil {
					return err
				}
				return same(items, e.Items)
			}
		}
		return errors.New("no slot")
	})
	for _, name := range e.Opens {
		check(at+" as "+name, func() error {
			with, r, err := f.member(name, branch)
			if err != nil {
				return err
			}
			items, err := f.openAs(with, r, e.Spec)
			if err != nil {
				return err
			}
			return same(items, e.Items)
		})
	}
	for _, name := range e.Refuses {
		check(at+" refuses "+name, func() error {
			with, r, err := f.member(name, branch)
			if err != nil {
				return err
			}
			if _, err := f.openAs(with, r, e.Spec); err == nil {
				return errors.New("opens")
			}
			return f.force(with, r, e.Spec)
		})
	}
}
