// Command interop is an independent implementation of docs/format.md, with nothing but Go's standard library.
//
//	go run . verify ../vectors/*.json    opens vectors of either side; exit status 1 when any does not open
//	go run . generate ../vectors         makes go.json and go-vault.json, which the Rust tests open
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "generate" {
		if err := generate(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "interop:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) < 3 || os.Args[1] != "verify" {
		fmt.Fprintln(os.Stderr, "usage: interop verify FILE.json… | interop generate FOLDER")
		os.Exit(2)
	}
	failed := 0
	for _, path := range os.Args[2:] {
		checked, failures, err := verifyFile(path)
		if err != nil {
			failures = append(failures, err)
		}
		for _, failure := range failures {
			fmt.Printf("FAIL %s: %v\n", filepath.Base(path), failure)
		}
		if len(failures) == 0 {
			fmt.Printf("ok   %s: %d checks\n", filepath.Base(path), checked)
		}
		failed += len(failures)
	}
	if failed > 0 {
		fmt.Printf("%d failures\n", failed)
		os.Exit(1)
	}
}

// anyFile is any of the files in vectors/; which it is shows by its fields.
type anyFile struct {
	vectorFile
	Vault   *vaultFile `json:"vault"`
	Vectors []xwing    `json:"vectors"`
	rfc9180
}

func verifyFile(path string) (checked int, failures []error, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	var file anyFile
	if err := unmarshal(content, &file); err != nil {
		return 0, nil, err
	}
	check := func(what string, verify func() error) {
		checked++
		if err := guard(verify); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", what, err))
		}
	}
	for i, c := range file.Cases {
		check(fmt.Sprintf("case %d (%s)", i, c.Case), c.verify)
	}
	for i, v := range file.Vectors {
		check(fmt.Sprintf("X-Wing vector %d", i+1), v.verify)
	}
	if file.SkRm != "" {
		check("RFC 9180 vector", file.rfc9180.verify)
	}
	if file.Vault != nil {
		file.Vault.verify(check)
	}
	if checked == 0 {
		return 0, nil, fmt.Errorf("holds no vectors")
	}
	return checked, failures, nil
}

// guard turns a malformed vector into a failure of that vector alone.
func guard(verify func() error) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("%v", broken)
		}
	}()
	return verify()
}

func unmarshal(b []byte, into any) error { return json.Unmarshal(b, into) }

func marshal(value any) ([]byte, error) { return json.Marshal(value) }

func writeJSON(path string, value any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
