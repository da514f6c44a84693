package policies

import (
	"context"
	"strings"
	"sync"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

// oldest is the Kubernetes minor that Chart.yaml asks for: expressions must compile there.
var oldest = version.MajorMinor(1, 35)

// request is what an API server would put before a policy.
type request struct {
	by          user.Info
	operation   admission.Operation
	resource    string
	subresource string
	object, old object
	namespace   *core.Namespace
	// authorizer answers for by; nil where the policy does not ask.
	authorizer authorizer.Authorizer
}

// object is a Kubernetes object as decoded JSON.
type object map[string]any

func (o object) runtime() runtime.Object {
	if o == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: runtime.DeepCopyJSON(o)}
}

func environmentTemplate() *environment.EnvSet {
	return sync.OnceValue(func() *environment.EnvSet {
		set, err := environment.MustBaseEnvSet(oldest).Extend(environment.StrictCostOpt)
		if err != nil {
			panic(err)
		}
		return set
	})()
}

// refusals evaluates a policy as the API server does and returns the messages
// of what it refuses; evaluation errors fail the test.
func refusals(t *testing.T, policy *admissionregistration.ValidatingAdmissionPolicy, r request) []string {
	t.Helper()
	compiler, err := cel.NewCompositedCompiler(environmentTemplate())
	if err != nil {
		t.Fatal(err)
	}
	options := cel.OptionalVariableDeclarations{HasAuthorizer: true}
	variables := []cel.NamedExpressionAccessor{}
	for i := range policy.Spec.Variables {
		variables = append(variables, &validating.Variable{Name: policy.Spec.Variables[i].Name, Expression: policy.Spec.Variables[i].Expression})
	}
	compiler.CompileAndStoreVariables(variables, options, environment.NewExpressions)
	validations := []cel.ExpressionAccessor{}
	for _, v := range policy.Spec.Validations {
		accessor := &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		if result := compiler.CompileCELExpression(accessor, options, environment.NewExpressions); result.Error != nil {
			t.Fatalf("%s: %v\n%s", policy.Name, result.Error, v.Expression)
		}
		validations = append(validations, accessor)
	}
	fail := admissionregistration.Fail
	var matcher matchconditions.Matcher
	if len(policy.Spec.MatchConditions) > 0 {
		matcher = matchconditions.NewMatcher(compiler.CompileCondition(conditions(policy.Spec.MatchConditions), options, environment.NewExpressions), &fail, "policy", "validate", policy.Name)
	}
	validator := validating.NewValidator(
		compiler.CompileCondition(validations, options, environment.NewExpressions), matcher,
		compiler.CompileCondition(nil, options, environment.NewExpressions),
		compiler.CompileCondition(make([]cel.ExpressionAccessor, len(validations)), options, environment.NewExpressions), &fail, nil)

	gvk := schema.GroupVersionKind{Group: "coffer.dev", Version: "v1alpha1", Kind: "Any"}
	gvr := schema.GroupVersionResource{Group: "coffer.dev", Version: "v1alpha1", Resource: r.resource}
	namespace := r.namespace
	if namespace == nil {
		namespace = &core.Namespace{}
		namespace.Name = "team"
	}
	attributes := admission.NewAttributesRecord(r.object.runtime(), r.old.runtime(), gvk, namespace.Name, "x", gvr, r.subresource, r.operation, nil, false, r.by)
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: gvk, VersionedObject: admission.NewLazyObject(r.object.runtime()), VersionedOldObject: admission.NewLazyObject(r.old.runtime())}
	result := validator.Validate(context.Background(), gvr, versioned, nil, namespace, apiservercel.RuntimeCELCostBudget, r.authorizer)
	messages := []string{}
	for _, decision := range result.Decisions {
		if decision.Evaluation == validating.EvalError {
			t.Fatalf("%s: %s", policy.Name, decision.Message)
		}
		if decision.Action == validating.ActionDeny {
			messages = append(messages, strings.TrimSpace(decision.Message))
		}
	}
	return messages
}

func conditions(of []admissionregistration.MatchCondition) []cel.ExpressionAccessor {
	accessors := []cel.ExpressionAccessor{}
	for i := range of {
		accessors = append(accessors, (*matchconditions.MatchCondition)(&of[i]))
	}
	return accessors
}
