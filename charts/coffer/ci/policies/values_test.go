package policies

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/yaml"
)

// helm runs it over the chart; what it said on both outputs.
func helm(arguments ...string) (string, error) {
	program := os.Getenv("HELM")
	if program == "" {
		program = "helm"
	}
	output, err := exec.Command(program, arguments...).CombinedOutput()
	return string(output), err
}

// with renders the chart with these values on top of its own.
func with(t *testing.T, values map[string]any) (string, error) {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return helm("template", "coffer", "../..", "--namespace", "coffer-system", "--values", file)
}

// free are values whose keys are the user's own.
var free = map[string]bool{"commonLabels": true, "podLabels": true, "podAnnotations": true, "nodeSelector": true, "requests": true, "limits": true}

// misspelt gives, for every field below these values, the values with that field's name misspelt.
func misspelt(values map[string]any, path string, found map[string]map[string]any) {
	for name, value := range values {
		wrong := map[string]any{name + "x": value}
		found[path+"."+name] = wrong
		if nested, is := value.(map[string]any); is && !free[name] {
			below := map[string]map[string]any{}
			misspelt(nested, path+"."+name, below)
			for at, inner := range below {
				found[at] = map[string]any{name: inner}
			}
		}
	}
}

func TestEveryMisspeltFieldIsRefusedByName(t *testing.T) {
	text, err := os.ReadFile("../../values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	cases := map[string]map[string]any{}
	misspelt(values, "", cases)
	if len(cases) < 70 {
		t.Fatalf("only %d fields were found", len(cases))
	}
	for path, wrong := range cases {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			said, err := with(t, wrong)
			name := path[strings.LastIndex(path, ".")+1:] + "x"
			if err == nil || !strings.Contains(said, "'"+name+"' not allowed") {
				t.Errorf("not refused by name: %s", said)
			}
		})
	}
}

func TestValuesOutOfRangeAreRefusedWithTheirPath(t *testing.T) {
	for _, c := range []struct{ set, path string }{
		{"broker.replicas=0", "/broker/replicas"},
		{"webhook.timeoutSeconds=60", "/webhook/timeoutSeconds"},
		{"image.pullPolicy=Sometimes", "/image/pullPolicy"},
		{"image.pullSecrets[0]=registry", "/image/pullSecrets/0"},
		{"podSecurityContext.runAsUser=0", "/podSecurityContext/runAsUser"},
		{"broker.audit.size=plenty", "/broker/audit/size"},
		{"operator.resources.limits.memory=lots", "/operator/resources/limits/memory"},
		{"operator.tolerations[0].effect=NoRun", "/operator/tolerations/0/effect"},
		{"node.updateStrategy.type=Now", "/node/updateStrategy/type"},
		{"networkPolicy.metricsFrom[0].namespace=monitoring", "/networkPolicy/metricsFrom/0"},
		{"restoreUsers[0]=*", "/restoreUsers/0"},
		{"breakGlass.groups[0]=*", "/breakGlass/groups/0"},
		{"breakGlass.groups[0]=system:masters", "/breakGlass/groups/0"},
		{"rootOfTrust=none", "/rootOfTrust"},
		{"custodian.rootGeneration=0", "/custodian/rootGeneration"},
		{"custodian.rootGeneration=next", "/custodian/rootGeneration"},
		{"defaultVault.owners[0]=alice", "/defaultVault/owners/0"},
		{"defaultVault.access=Everybody", "/defaultVault/access"},
		{"defaultVault.namespace=Vaults", "/defaultVault/namespace"},
	} {
		t.Run(c.set, func(t *testing.T) {
			t.Parallel()
			said, err := helm("template", "coffer", "../..", "--set", c.set)
			if err == nil || !strings.Contains(said, "'"+c.path+"'") {
				t.Errorf("not refused at %s: %s", c.path, said)
			}
		})
	}
}

// The labels that Kubernetes recommends, on every object and every pod.
func TestEveryObjectHasTheConventionalLabelsAndThoseOfTheValues(t *testing.T) {
	objects := render(t, "--set", "commonLabels.team=platform,podLabels.mesh=off,broker.podLabels.mesh=on")
	for _, o := range objects {
		accessor, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		labels := accessor.GetLabels()
		for _, key := range []string{"name", "instance", "version", "managed-by", "part-of"} {
			if labels["app.kubernetes.io/"+key] == "" {
				t.Errorf("%T %s has no label app.kubernetes.io/%s", o, accessor.GetName(), key)
			}
		}
		if labels["helm.sh/chart"] == "" || labels["team"] != "platform" {
			t.Errorf("%T %s: %v", o, accessor.GetName(), labels)
		}
	}
	for name, template := range podTemplates(objects) {
		wanted := "off"
		if name == "coffer-broker" {
			wanted = "on"
		}
		if template.Labels["mesh"] != wanted || template.Labels["app.kubernetes.io/component"] == "" || template.Labels["team"] != "platform" {
			t.Errorf("%s: %v", name, template.Labels)
		}
	}
}

// What a platform team sets reaches every pod of the product, the one of `helm test` too.
func TestEveryPodTakesThePullSecretsTolerationsAndRegistry(t *testing.T) {
	arguments := []string{"--set", "image.registry=registry.example/coffer,image.pullSecrets[0].name=registry"}
	for _, component := range []string{"operator", "webhook", "broker", "node"} {
		arguments = append(arguments, "--set", fmt.Sprintf("%s.tolerations[0].key=infra,%s.tolerations[0].operator=Exists,%s.priorityClassName=ours", component, component, component))
	}
	templates := everyPod(t, render(t, arguments...))
	for name, template := range templates {
		spec := template.Spec
		if len(spec.ImagePullSecrets) != 1 || len(spec.Tolerations) != 1 || !strings.HasPrefix(spec.Containers[0].Image, "registry.example/coffer/") {
			t.Errorf("%s: %v %v %s", name, spec.ImagePullSecrets, spec.Tolerations, spec.Containers[0].Image)
		}
		if spec.Containers[0].Resources.Requests.Memory().IsZero() || spec.Containers[0].Resources.Requests.Cpu().IsZero() || spec.Containers[0].Resources.Limits.Memory().IsZero() {
			t.Errorf("%s asks for nothing", name)
		}
		if name == "coffer-test" || name == "coffer-uninstall" {
			continue
		}
		if spec.PriorityClassName != "ours" {
			t.Errorf("%s: priority class %s", name, spec.PriorityClassName)
		}
		if c := spec.Containers[0]; c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Errorf("%s is not probed", name)
		}
	}
}

// Replicas are spread where that can be, and wait for nothing where it cannot.
func TestReplicasAreSpreadAndNeverHeldBack(t *testing.T) {
	for name, template := range podTemplates(render(t)) {
		constraints := template.Spec.TopologySpreadConstraints
		if name == "coffer-node" || name == "coffer-uninstall" {
			continue
		}
		if len(constraints) != 2 {
			t.Errorf("%s: %d constraints", name, len(constraints))
		}
		for _, c := range constraints {
			if c.WhenUnsatisfiable != core.ScheduleAnyway {
				t.Errorf("%s would wait for %s", name, c.TopologyKey)
			}
			for key, value := range c.LabelSelector.MatchLabels {
				if template.Labels[key] != value {
					t.Errorf("%s spreads what it is not: %s", name, key)
				}
			}
		}
	}
}

// Selectors and claim templates can never change: an upgrade that tried would fail.
func TestNothingImmutableHasTheChartsVersion(t *testing.T) {
	for _, d := range all[*apps.Deployment](render(t)) {
		if len(d.Spec.Selector.MatchLabels) != 3 {
			t.Errorf("%s selects by %v", d.Name, d.Spec.Selector.MatchLabels)
		}
	}
	for _, s := range all[*apps.StatefulSet](render(t, "--set", "commonLabels.team=platform")) {
		for _, labels := range []map[string]string{s.Spec.Selector.MatchLabels, s.Spec.VolumeClaimTemplates[0].Labels} {
			if len(labels) != 3 {
				t.Errorf("%s: %v", s.Name, labels)
			}
		}
	}
}

func TestTheNotesTellTheNextStep(t *testing.T) {
	notes, err := helm("install", "coffer", "../..", "--namespace", "vaults", "--dry-run=client", "--set", "image.tag=0.0.9")
	if err != nil {
		t.Fatal(notes)
	}
	for _, wanted := range []string{"rollout status", "-n vaults get secret coffer-root", "helm test coffer -n vaults", "kind: Vault", "image.tag is 0.0.9"} {
		if !strings.Contains(notes, wanted) {
			t.Errorf("the notes do not say %q", wanted)
		}
	}
}
