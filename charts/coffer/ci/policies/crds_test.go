package policies

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	apiservercel "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// definitions are the chart's CRDs by kind, checked as the API server checks them on arrival: schemas structural,
// rules that compile and whose estimated cost is allowed.
func definitions(t *testing.T) map[string]*apiextensions.CustomResourceDefinition {
	t.Helper()
	found := map[string]*apiextensions.CustomResourceDefinition{}
	for _, document := range rendered(t) {
		if !strings.Contains(document, "\nkind: CustomResourceDefinition\n") {
			continue
		}
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict([]byte(document), &v1); err != nil {
			t.Fatal(err)
		}
		if v1.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would not survive helm uninstall", v1.Name)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
		internal := &apiextensions.CustomResourceDefinition{}
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, internal, nil); err != nil {
			t.Fatal(err)
		}
		// What the API server itself sets before it validates.
		internal.Status.StoredVersions = []string{"v1alpha1"}
		for _, problem := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), internal) {
			t.Errorf("%s: %s", v1.Name, problem)
		}
		found[v1.Spec.Names.Kind] = internal
	}
	if len(found) != 8 {
		t.Fatalf("eight kinds were expected, not %d", len(found))
	}
	return found
}

func TestTheAPIServerTakesEveryKind(t *testing.T) {
	definitions(t)
}

// The quickstart, as the API server sees it after the webhook has sealed it.
func TestTheQuickstartFitsTheSchemas(t *testing.T) {
	kinds := definitions(t)
	files, err := filepath.Glob("../../../../docs/examples/quickstart/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no quickstart: %v", err)
	}
	seen := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range strings.Split(string(text), "\n---\n") {
			var o map[string]any
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			kind := o["kind"].(string)
			definition := kinds[kind]
			if definition == nil {
				continue
			}
			seen[kind]++
			if kind == "Connection" {
				if problems := problemsOf(t, definition, runtime.DeepCopyJSON(o)); len(problems) == 0 {
					t.Errorf("%s: a Connection with stringData is stored", file)
				}
				spec := o["spec"].(map[string]any)
				sealed := map[string]any{}
				for item := range spec["stringData"].(map[string]any) {
					sealed[item] = "c2VhbGVk"
				}
				delete(spec, "stringData")
				spec["sealedData"], spec["owner"] = sealed, "alice"
			}
			for _, problem := range problemsOf(t, definition, o) {
				t.Errorf("%s: %s: %s", file, kind, problem)
			}
		}
	}
	if seen["Vault"] != 1 || seen["VaultMember"] != 2 || seen["Connection"] != 1 {
		t.Errorf("the story needs a vault, two members and a connection: %v", seen)
	}
}

// problemsOf prunes, defaults and validates an object as the API server does.
func problemsOf(t *testing.T, definition *apiextensions.CustomResourceDefinition, o map[string]any) []string {
	t.Helper()
	version := definition.Spec.Validation
	if version == nil {
		version = definition.Spec.Versions[0].Schema
	}
	structural, err := structuralschema.NewStructural(version.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	problems := []string{}
	for _, field := range pruning.PruneWithOptions(o, structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		problems = append(problems, "unknown field "+field)
	}
	defaulting.Default(o, structural)
	validator, _, err := validation.NewSchemaValidator(version.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range validation.ValidateCustomResource(nil, o, validator) {
		problems = append(problems, problem.Error())
	}
	if rules := cel.NewValidator(structural, true, apiservercel.PerCallLimit); rules != nil {
		failed, _ := rules.Validate(context.Background(), nil, structural, o, nil, apiservercel.RuntimeCELCostBudget)
		for _, problem := range failed {
			problems = append(problems, problem.Error())
		}
	}
	return problems
}
