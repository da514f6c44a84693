// Package certmanager holds what the chart renders for cert-manager against that one's own types and definitions: no
// cert-manager runs here. It is a module of its own so that the policies' evaluator stays the one of the API server.
//
// It needs helm: HELM, or the one in PATH.
package certmanager

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// schema is that of the definition which cert-manager installs for a kind.
func schema(t *testing.T, plural string) *apiextensions.JSONSchemaProps {
	t.Helper()
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "deploy", "crds", "cert-manager.io_"+plural+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &v1); err != nil {
		t.Fatal(err)
	}
	internal := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1.Spec.Versions[0].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		t.Fatal(err)
	}
	return internal
}

// problemsOf are unknown fields and broken rules, as the API server finds them.
func problemsOf(t *testing.T, schema *apiextensions.JSONSchemaProps, o map[string]any) []string {
	t.Helper()
	structural, err := structuralschema.NewStructural(schema)
	if err != nil {
		t.Fatal(err)
	}
	problems := []string{}
	for _, field := range pruning.PruneWithOptions(o, structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		problems = append(problems, "unknown field "+field)
	}
	validator, _, err := validation.NewSchemaValidator(schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range validation.ValidateCustomResource(nil, o, validator) {
		problems = append(problems, problem.Error())
	}
	return problems
}

// rendered are the chart's certificates by name and the number of its issuers, all without a problem.
func rendered(t *testing.T, arguments ...string) (map[string]certmanager.Certificate, int) {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		helm = "helm"
	}
	output, err := exec.Command(helm, append([]string{"template", "coffer", "../..", "--namespace", "coffer-system"}, arguments...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*apiextensions.JSONSchemaProps{"Certificate": schema(t, "certificates"), "Issuer": schema(t, "issuers")}
	found, issuers := map[string]certmanager.Certificate{}, 0
	for _, document := range strings.Split(string(output), "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		if o["apiVersion"] != "cert-manager.io/v1" {
			continue
		}
		for _, problem := range problemsOf(t, schemas[o["kind"].(string)], o) {
			t.Errorf("%s\n%s", problem, document)
		}
		if o["kind"] == "Issuer" {
			issuers++
			continue
		}
		var certificate certmanager.Certificate
		if err := yaml.UnmarshalStrict([]byte(document), &certificate); err != nil {
			t.Fatal(err)
		}
		found[certificate.Name] = certificate
	}
	return found, issuers
}

func TestWithoutTheOptionNothingIsAskedOfCertManager(t *testing.T) {
	if made, issuers := rendered(t); len(made) != 0 || issuers != 0 {
		t.Errorf("%v, %d issuers", made, issuers)
	}
}

func TestCertManagerMakesWhatTheOperatorWouldMake(t *testing.T) {
	made, issuers := rendered(t, "--set", "certManager.enabled=true")
	if len(made) != 3 || issuers != 2 || !made["coffer-ca"].Spec.IsCA {
		t.Fatalf("a CA, two issuers and two certificates were expected: %v, %d issuers", made, issuers)
	}
	for name, service := range map[string]string{"coffer-webhook-tls": "coffer-webhook", "coffer-broker-tls": "coffer-broker"} {
		spec := made[name].Spec
		if spec.SecretName != name || spec.IssuerRef.Name != "coffer-ca" {
			t.Errorf("%s: %v", name, spec)
		}
		if !strings.Contains(strings.Join(spec.DNSNames, " "), service+".coffer-system.svc ") {
			t.Errorf("%s is for %v", name, spec.DNSNames)
		}
	}
}

func TestAnIssuerThatIsThereIsUsedInstead(t *testing.T) {
	made, issuers := rendered(t, "--set", "certManager.enabled=true,certManager.issuerRef.name=corporate,certManager.issuerRef.kind=ClusterIssuer")
	spec := made["coffer-broker-tls"].Spec
	if len(made) != 2 || issuers != 0 || spec.IssuerRef.Kind != "ClusterIssuer" || spec.IssuerRef.Name != "corporate" {
		t.Errorf("%v, %d issuers", made, issuers)
	}
}
