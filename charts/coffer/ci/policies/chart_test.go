// Package policies tries the chart without a cluster: its policies with the API
// server's own evaluator, its pods with the Pod Security admission's, its
// objects with the API's own types, and its RBAC rules against a committed list.
//
// It needs helm: HELM, or the one in PATH.
package policies

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write rbac.txt instead of comparing with it")

// rendered is what helm template prints, document by document.
func rendered(t *testing.T, arguments ...string) []string {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		helm = "helm"
	}
	command := exec.Command(helm, append([]string{"template", "coffer", "../..", "--namespace", "coffer-system"}, arguments...)...)
	var errors bytes.Buffer
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		t.Fatalf("helm template %v: %v\n%s", arguments, err, errors.String())
	}
	return strings.Split(string(output), "\n---\n")
}

// render decodes everything but custom resources and their definitions strictly: an unknown or repeated field is an error.
func render(t *testing.T, arguments ...string) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	objects := []runtime.Object{}
	for _, document := range rendered(t, arguments...) {
		var kind struct{ Kind, APIVersion string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if kind.Kind == "" || kind.Kind == "CustomResourceDefinition" || strings.HasPrefix(kind.APIVersion, "coffer.dev/") || strings.HasPrefix(kind.APIVersion, "cert-manager.io/") {
			continue
		}
		decoded, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		objects = append(objects, decoded)
	}
	return objects
}

func all[T runtime.Object](objects []runtime.Object) []T {
	found := []T{}
	for _, o := range objects {
		if typed, is := o.(T); is {
			found = append(found, typed)
		}
	}
	return found
}

func policyNamed(t *testing.T, objects []runtime.Object, name string) *admissionregistration.ValidatingAdmissionPolicy {
	t.Helper()
	for _, p := range all[*admissionregistration.ValidatingAdmissionPolicy](objects) {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("the chart has no policy %s", name)
	return nil
}

func TestEveryPolicyIsBoundAndDenies(t *testing.T) {
	objects := render(t)
	bound := map[string]bool{}
	for _, b := range all[*admissionregistration.ValidatingAdmissionPolicyBinding](objects) {
		if len(b.Spec.ValidationActions) != 1 || b.Spec.ValidationActions[0] != admissionregistration.Deny || b.Spec.MatchResources != nil {
			t.Errorf("%s denies less than it could", b.Name)
		}
		bound[b.Spec.PolicyName] = true
	}
	for _, p := range all[*admissionregistration.ValidatingAdmissionPolicy](objects) {
		if !bound[p.Name] {
			t.Errorf("%s is not bound", p.Name)
		}
		if p.Spec.FailurePolicy == nil || *p.Spec.FailurePolicy != admissionregistration.Fail {
			t.Errorf("%s lets errors pass", p.Name)
		}
	}
}

// The operator stops applying changes when a guard is not as listed, so the list must be whole.
func TestTheListOfGuardsHoldsEveryPolicyBindingAndWebhookThatVouches(t *testing.T) {
	objects := render(t)
	listed := map[string]string{}
	for _, m := range all[*core.ConfigMap](objects) {
		if m.Name != "coffer-guards" {
			continue
		}
		var guards []struct {
			Kind, Name string
			Spec       map[string]any
		}
		if err := json.Unmarshal([]byte(m.Data["guards.json"]), &guards); err != nil {
			t.Fatal(err)
		}
		for _, g := range guards {
			spec, err := json.Marshal(g.Spec)
			if err != nil {
				t.Fatal(err)
			}
			listed[g.Kind+"/"+g.Name] = string(spec)
		}
	}
	expected := 0
	expect := func(kind, name, word string) {
		expected++
		if !strings.Contains(listed[kind+"/"+name], word) {
			t.Errorf("%s %s is listed as %q", kind, name, listed[kind+"/"+name])
		}
	}
	for _, p := range all[*admissionregistration.ValidatingAdmissionPolicy](objects) {
		expect("ValidatingAdmissionPolicy", p.Name, "validations")
	}
	for _, b := range all[*admissionregistration.ValidatingAdmissionPolicyBinding](objects) {
		expect("ValidatingAdmissionPolicyBinding", b.Name, "Deny")
	}
	expect("MutatingWebhookConfiguration", "coffer", "connections.coffer.dev")
	expect("ValidatingWebhookConfiguration", "coffer", "delete.connections.coffer.dev")
	if len(listed) != expected {
		t.Errorf("%d guards are listed, %d exist", len(listed), expected)
	}
}

func TestWebhookMatchConditionsCompileAndFailClosed(t *testing.T) {
	objects := render(t)
	compiler, err := cel.NewCompositedCompiler(environmentTemplate())
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, conditions_ []admissionregistration.MatchCondition, policy *admissionregistration.FailurePolicyType, bundle []byte) {
		for _, accessor := range conditions(conditions_) {
			if r := compiler.CompileCELExpression(accessor, cel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.NewExpressions); r.Error != nil {
				t.Errorf("%s: %v", name, r.Error)
			}
		}
		if *policy != admissionregistration.Fail {
			t.Errorf("%s fails open", name)
		}
		if bundle != nil {
			t.Errorf("%s: caBundle belongs to the operator", name)
		}
	}
	for _, c := range all[*admissionregistration.MutatingWebhookConfiguration](objects) {
		for _, w := range c.Webhooks {
			check(w.Name, w.MatchConditions, w.FailurePolicy, w.ClientConfig.CABundle)
		}
	}
	for _, c := range all[*admissionregistration.ValidatingWebhookConfiguration](objects) {
		for _, w := range c.Webhooks {
			check(w.Name, w.MatchConditions, w.FailurePolicy, w.ClientConfig.CABundle)
		}
	}
}

// podTemplates are the chart's pods by component.
func podTemplates(objects []runtime.Object) map[string]core.PodTemplateSpec {
	templates := map[string]core.PodTemplateSpec{}
	for _, d := range all[*apps.Deployment](objects) {
		templates[d.Name] = d.Spec.Template
	}
	for _, s := range all[*apps.StatefulSet](objects) {
		templates[s.Name] = s.Spec.Template
	}
	for _, d := range all[*apps.DaemonSet](objects) {
		templates[d.Name] = d.Spec.Template
	}
	for _, j := range all[*batch.Job](objects) {
		templates[j.Name] = j.Spec.Template
	}
	return templates
}

// everyPod is podTemplates and the pod of `helm test`.
func everyPod(t *testing.T, objects []runtime.Object) map[string]core.PodTemplateSpec {
	t.Helper()
	templates := podTemplates(objects)
	for _, pod := range all[*core.Pod](objects) {
		templates[pod.Name] = core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	}
	if len(templates) != 6 {
		t.Fatalf("four components, a test and the question before uninstalling were expected, not %d", len(templates))
	}
	return templates
}

// T23: the restricted Pod Security profile, also where the platform assigns the UID.
func TestAllPodsButTheNodeDriverAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	for _, arguments := range [][]string{
		nil,
		{"--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null"},
	} {
		templates := everyPod(t, render(t, arguments...))
		for name, template := range templates {
			result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec))
			if name != "coffer-node" && !result.Allowed {
				t.Errorf("%s: %s", name, result.ForbiddenDetail())
			}
			for _, c := range template.Spec.Containers {
				if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%s: %s can write to its image", name, c.Name)
				}
			}
		}
	}
}

// rules are all RBAC rules of the chart, one sorted line for each role, group, resource, and name.
func rules(objects []runtime.Object) string {
	lines := []string{}
	add := func(role string, rules []rbac.PolicyRule) {
		for _, r := range rules {
			names := r.ResourceNames
			if len(names) == 0 {
				names = []string{"*"}
			}
			verbs := append([]string{}, r.Verbs...)
			sort.Strings(verbs)
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						if group == "" {
							group = "core"
						}
						lines = append(lines, fmt.Sprintf("%s %s/%s %s %s\n", role, group, resource, name, strings.Join(verbs, ",")))
					}
				}
			}
		}
	}
	for _, r := range all[*rbac.ClusterRole](objects) {
		add("ClusterRole/"+r.Name, r.Rules)
	}
	for _, r := range all[*rbac.Role](objects) {
		add("Role/"+r.Name, r.Rules)
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// everything is what the chart grants to nobody unless it is asked for.
var everything = []string{"--set", "restoreUsers={velero}"}

func TestRBACRulesAreTheCommittedOnes(t *testing.T) {
	actual := rules(render(t, everything...))
	if *update {
		if err := os.WriteFile("../rbac.txt", []byte(actual), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("../rbac.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(committed) != actual {
		t.Errorf("rbac.txt and the chart differ; if the change is meant, run go test -update\n--- committed\n%s--- rendered\n%s", committed, actual)
	}
}

func TestNobodyListsSecretsOrReadsUnnamedOnes(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(rules(render(t, everything...))), "\n") {
		field := strings.Fields(line)
		role, resource, name, verbs := field[0], field[1], field[2], strings.Split(field[3], ",")
		if resource == "*/*" || name != "*" && resource != "core/secrets" {
			continue
		}
		if resource == "core/secrets" && (name == "*" || role != "Role/coffer-operator") {
			t.Errorf("unnamed Secrets: %s", line)
		}
		for _, verb := range verbs {
			if verb == "*" || verb == "escalate" || verb == "impersonate" || (resource == "core/secrets" && (verb == "list" || verb == "watch" || verb == "delete")) {
				t.Errorf("too much: %s", line)
			}
		}
	}
}

func TestTheREADMENamesEveryValue(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for top, value := range values {
		names := []string{top}
		if nested, is := value.(map[string]any); is {
			for name := range nested {
				names = append(names, name)
			}
		}
		for _, name := range names {
			if !strings.Contains(string(readme), name) {
				t.Errorf("README.md does not name %s of %s", name, top)
			}
		}
	}
}

func TestReleasesAreBoundedInTheNamespacesThatAreListed(t *testing.T) {
	quotas := func(arguments ...string) map[string]string {
		found := map[string]string{}
		for _, q := range all[*core.ResourceQuota](render(t, arguments...)) {
			if q.Name == "coffer-releases" {
				count := q.Spec.Hard["count/releases.coffer.dev"]
				found[q.Namespace] = count.String()
			}
		}
		return found
	}
	if found := quotas(); len(found) != 0 {
		t.Errorf("bounded without being asked: %v", found)
	}
	found := quotas("--set", "releaseQuota.namespaces={team-a,team-b}", "--set", "releaseQuota.count=50")
	if len(found) != 2 || found["team-a"] != "50" || found["team-b"] != "50" {
		t.Errorf("bounded otherwise: %v", found)
	}
}
