package policies

import (
	"strings"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
)

func TestWithCertManagerTheOperatorHasNoRuleOnCertificatesAndTheInjectorIsAsked(t *testing.T) {
	objects := render(t, "--set", "certManager.enabled=true")
	for _, line := range strings.Split(rules(objects), "\n") {
		if strings.Contains(line, "-tls ") || strings.Contains(line, " coffer-ca ") {
			t.Errorf("not needed: %s", line)
		}
	}
	asked := 0
	for _, c := range all[*admissionregistration.MutatingWebhookConfiguration](objects) {
		if c.Annotations["cert-manager.io/inject-ca-from"] == "coffer-system/coffer-webhook-tls" {
			asked++
		}
	}
	for _, c := range all[*admissionregistration.ValidatingWebhookConfiguration](objects) {
		if c.Annotations["cert-manager.io/inject-ca-from"] == "coffer-system/coffer-webhook-tls" {
			asked++
		}
	}
	if asked != 3 {
		t.Errorf("%d of 3 webhook configurations ask for their CA", asked)
	}
	for _, d := range all[*apps.Deployment](objects) {
		if d.Name == "coffer-operator" && !strings.Contains(strings.Join(d.Spec.Template.Spec.Containers[0].Args, " "), "--certificates external") {
			t.Error("the operator would make certificates too")
		}
	}
	for _, d := range all[*apps.DaemonSet](objects) {
		for _, volume := range d.Spec.Template.Spec.Volumes {
			if volume.Secret != nil && (len(volume.Secret.Items) != 1 || volume.Secret.Items[0].Key != "ca.crt") {
				t.Errorf("the driver would get a key: %v", volume.Secret)
			}
		}
	}
}
