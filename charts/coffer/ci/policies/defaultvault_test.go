package policies

import (
	"encoding/json"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

var withDefaultVault = []string{"--set-json", `defaultVault={"enabled":true,"owners":[{"user":{"name":"alice"}}],"access":{"selector":{"matchLabels":{"tier":"apps"}}}}`}

// C2: made once by a Job. As a manifest or a hook, Helm would undo what its owners changed, or delete it.
func TestTheDefaultVaultIsNoObjectOfTheRelease(t *testing.T) {
	for _, document := range rendered(t, withDefaultVault...) {
		if strings.Contains(document, "\nkind: Vault\n") && !strings.Contains(document, "helm.sh/hook: test") {
			t.Errorf("Helm would own a vault:\n%s", document)
		}
	}
	jobs := 0
	for _, o := range render(t, withDefaultVault...) {
		accessor, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		if accessor.GetName() != "coffer-default-vault" {
			continue
		}
		hook := accessor.GetAnnotations()
		if hook["helm.sh/hook"] != "post-install,post-upgrade" || hook["helm.sh/hook-delete-policy"] != "before-hook-creation,hook-succeeded" {
			t.Errorf("%T stays after it was needed: %v", o, hook)
		}
		if _, is := o.(*batch.Job); is {
			jobs++
		}
	}
	if jobs != 1 {
		t.Errorf("%d jobs make the vault", jobs)
	}
}

func job(t *testing.T, arguments ...string) *batch.Job {
	t.Helper()
	for _, j := range all[*batch.Job](render(t, arguments...)) {
		if j.Name == "coffer-default-vault" {
			return j
		}
	}
	return nil
}

func TestTheDefaultVaultIsWhatTheValuesSayAndEachConnectionItsOwners(t *testing.T) {
	if job(t) != nil {
		t.Error("a vault is made without being asked for")
	}
	arguments := job(t, withDefaultVault...).Spec.Template.Spec.Containers[0].Args
	if len(arguments) != 2 || arguments[0] != "make-vault" {
		t.Fatalf("%v", arguments)
	}
	var vault map[string]any
	if err := json.Unmarshal([]byte(arguments[1]), &vault); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(vault["spec"])
	if err != nil {
		t.Fatal(err)
	}
	const wanted = `{"access":{"namespaces":{"selector":{"matchLabels":{"tier":"apps"}}}},"owners":[{"user":{"name":"alice"}}],"sharing":"Owner"}`
	if string(spec) != wanted {
		t.Errorf("made otherwise: %s", spec)
	}
	metadata := vault["metadata"].(map[string]any)
	if metadata["name"] != "default" || metadata["namespace"] != "coffer-vaults" || metadata["annotations"].(map[string]any)["coffer.dev/is-default-vault"] != "true" {
		t.Errorf("made elsewhere, or without its mark: %v", metadata)
	}
}

// T23, and no more rights than the two things that it makes.
func TestTheJobThatMakesTheDefaultVaultIsRestrictedAndMayLittle(t *testing.T) {
	template := job(t, withDefaultVault...).Spec.Template
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
	if result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)); !result.Allowed {
		t.Error(result.ForbiddenDetail())
	}
	if template.Spec.RestartPolicy != core.RestartPolicyNever || template.Spec.ServiceAccountName != "coffer-default-vault" {
		t.Errorf("%v", template.Spec)
	}
	var own []string
	for _, line := range strings.Split(strings.TrimSpace(rules(render(t, withDefaultVault...))), "\n") {
		if strings.HasPrefix(line, "ClusterRole/coffer-default-vault ") {
			own = append(own, strings.TrimPrefix(line, "ClusterRole/coffer-default-vault "))
		}
	}
	if strings.Join(own, "; ") != "coffer.dev/vaults * create,get; core/namespaces * create,get" {
		t.Errorf("%v", own)
	}
	for _, b := range all[*rbac.ClusterRoleBinding](render(t, withDefaultVault...)) {
		if b.RoleRef.Name == "coffer-default-vault" && (len(b.Subjects) != 1 || b.Subjects[0].Name != "coffer-default-vault" || b.Subjects[0].Namespace != "coffer-system") {
			t.Errorf("%v", b.Subjects)
		}
	}
}

func TestADefaultVaultWithoutOwnersIsRefusedAndSaysWhatToGive(t *testing.T) {
	said, err := helm("template", "coffer", "../..", "--set", "defaultVault.enabled=true")
	if err == nil || !strings.Contains(said, "defaultVault.owners: name at least one, such as [{user: {name: alice}}]") {
		t.Errorf("%s", said)
	}
}
