// Command release asks for a credential with kubectl alone, with nothing but Go's standard library. It makes the
// request and opens the answer; kubectl carries both. See docs/guides/releases.md.
//
//	go run . new NAMESPACE VAULT CONNECTION > release.json    the request; its key goes to release.json.key
//	kubectl get release NAME -o json | go run . open           prints item=value lines
package main

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

const keyFile = "release.json.key"

// release is what this program needs of the kind Release.
type release struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid,omitempty"`
	} `json:"metadata"`
	Spec struct {
		Vault       string       `json:"vault"`
		Connections []connection `json:"connections"`
		PublicKey   string       `json:"publicKey"`
		Reason      string       `json:"reason,omitempty"`
		Requester   *struct {
			Username string `json:"username"`
			UID      string `json:"uid"`
		} `json:"requester,omitempty"`
	} `json:"spec"`
	Status *struct {
		Phase   string `json:"phase"`
		Message string `json:"message"`
		Result  []byte `json:"result"`
	} `json:"status,omitempty"`
}

type connection struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace,omitempty"`
	Items     []string `json:"items,omitempty"`
}

// answer is what a result opens to (docs/format.md, "Answers").
type answer struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	Connections []struct {
		Alias string            `json:"alias"`
		Items map[string][]byte `json:"items"`
	} `json:"connections"`
}

func main() {
	err := errors.New("usage: release new NAMESPACE VAULT CONNECTION > release.json | release open < answered.json")
	switch {
	case len(os.Args) == 5 && os.Args[1] == "new":
		err = request(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 2 && os.Args[1] == "open":
		err = open()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// request prints a Release under a name that nobody guesses, with a fresh key in it.
func request(namespace, vault, name string) error {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return err
	}
	private, err := key.Bytes()
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, private, 0o600); err != nil {
		return err
	}
	unguessable := make([]byte, 16)
	rand.Read(unguessable)
	r := release{APIVersion: "coffer.dev/v1alpha1", Kind: "Release"}
	r.Metadata.Name, r.Metadata.Namespace = hex.EncodeToString(unguessable), namespace
	r.Spec.Vault, r.Spec.Connections = vault, []connection{{Name: name}}
	r.Spec.PublicKey = base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
	return json.NewEncoder(os.Stdout).Encode(r)
}

// open reads an answered Release and prints what it grants.
func open() error {
	var r release
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return err
	}
	if r.Status == nil || r.Status.Phase != "Answered" || r.Spec.Requester == nil {
		return errors.New("not answered yet")
	}
	private, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	opened, err := unseal(private, &r)
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(opened, &a); err != nil {
		return errors.New("the answer is of a form that this program does not know")
	}
	if a.Code != 200 {
		return errors.New(a.Message)
	}
	for _, c := range a.Connections {
		if c.Items == nil {
			return fmt.Errorf("%s is wrapped for your own key: kubectl coffer get opens it", c.Alias)
		}
		for item, value := range c.Items {
			fmt.Printf("%s=%s\n", item, value)
		}
	}
	return os.Remove(keyFile)
}

func unseal(private []byte, r *release) ([]byte, error) {
	const suite = "xwing-hkdf-sha256-aes256gcm"
	kem := hpke.MLKEM768X25519()
	key, err := kem.NewPrivateKey(private)
	if err != nil {
		return nil, err
	}
	parts, err := split(r.Status.Result, 5)
	if err != nil {
		return nil, err
	}
	version := binary.BigEndian.AppendUint64(nil, 1)
	fingerprint := sha256.Sum256(slices.Concat(lp("x-wing"), lp(string(key.PublicKey().Bytes()))))
	kid := "pub/SHA256:" + base64.RawStdEncoding.EncodeToString(fingerprint[:])
	if string(parts[0]) != string(version) || string(parts[1]) != suite || string(parts[2]) != kid {
		return nil, errors.New("not sealed to this request's key")
	}
	asked := sha256.Sum256(canonical(r))
	context := slices.Concat(
		lp(string(version)), lp(suite), lp(kid), lp("coffer/v1/answer"),
		lp("request"), lp(r.Metadata.UID), lp(r.Spec.Requester.Username), lp(r.Spec.Requester.UID), lp(string(asked[:])))
	recipient, err := hpke.NewRecipient(parts[3], key, hpke.HKDFSHA256(), hpke.AES256GCM(), context)
	if err != nil {
		return nil, errors.New("the answer does not open")
	}
	opened, err := recipient.Open(context, parts[4])
	if err != nil {
		return nil, errors.New("the answer does not open: it is not to this request")
	}
	return opened, nil
}

// canonical is docs/format.md's "Canonical request of door request".
func canonical(r *release) []byte {
	b := slices.Concat(lp("coffer/v1/release"), lp(r.Metadata.Namespace), lp(r.Spec.Vault), lp(strconv.Itoa(len(r.Spec.Connections))))
	for _, c := range r.Spec.Connections {
		b = slices.Concat(b, lp(c.Name), lp(c.Namespace), lp(strconv.Itoa(len(c.Items))))
		for _, item := range c.Items {
			b = append(b, lp(item)...)
		}
	}
	return slices.Concat(b, lp(r.Spec.PublicKey), lp(r.Spec.Reason))
}

// lp is a value with its length before it.
func lp(value string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(value))), value...)
}

// split takes n length-prefixed values apart.
func split(b []byte, n int) ([][]byte, error) {
	parts := make([][]byte, n)
	for i := range parts {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, errors.New("the result is cut off")
		}
		end := 4 + binary.BigEndian.Uint32(b)
		parts[i], b = b[4:end], b[end:]
	}
	return parts, nil
}
