package policies

import (
	"context"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// credential names what a request was authenticated by; one sent with --as has none.
var credential = map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=00"}}

// Identities as the API server names them. A certificate's user has no uid.
var (
	alice    = &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}, Extra: credential}
	mallory  = &user.DefaultInfo{Name: "mallory", UID: "m-1", Groups: []string{"system:masters", "system:authenticated"}, Extra: credential}
	velero   = &user.DefaultInfo{Name: "system:serviceaccount:velero:velero", UID: "v-1", Groups: []string{"system:serviceaccounts"}}
	operator = &user.DefaultInfo{Name: "system:serviceaccount:coffer-system:coffer-operator", UID: "o-1", Groups: []string{"system:serviceaccounts"}}
	broker   = &user.DefaultInfo{Name: "system:serviceaccount:coffer-system:coffer-broker", UID: "b-1", Groups: []string{"system:serviceaccounts"}}
	// A ServiceAccount of the operator's name in another namespace is a stranger.
	impostor  = &user.DefaultInfo{Name: "system:serviceaccount:evil:coffer-operator", UID: "e-1"}
	collector = &user.DefaultInfo{Name: "system:serviceaccount:kube-system:generic-garbage-collector", UID: "g-1"}
)

func author(of user.Info) map[string]any {
	a := map[string]any{"username": of.GetName()}
	if of.GetUID() != "" {
		a["uid"] = of.GetUID()
	}
	if len(of.GetGroups()) > 0 {
		groups := []any{}
		for _, g := range of.GetGroups() {
			groups = append(groups, g)
		}
		a["groups"] = groups
	}
	return a
}

func made(spec map[string]any) object {
	return object{"apiVersion": "coffer.dev/v1alpha1", "kind": "Any", "metadata": map[string]any{"name": "x", "namespace": "team"}, "spec": spec}
}

func (o object) with(field string, value map[string]any) object {
	copied := object{field: value}
	for k, v := range o {
		if k != field {
			copied[k] = v
		}
	}
	return copied
}

type expectation struct {
	name    string
	policy  string
	request request
	refused bool
}

func expect(t *testing.T, cases []expectation, arguments ...string) {
	t.Helper()
	objects := render(t, arguments...)
	for _, c := range cases {
		t.Run(c.policy+"/"+c.name, func(t *testing.T) {
			messages := refusals(t, policyNamed(t, objects, c.policy), c.request)
			if (len(messages) > 0) != c.refused {
				t.Errorf("refused: %v, expected %v: %v", len(messages) > 0, c.refused, messages)
			}
		})
	}
}

// T20: an actor named by the client is worth nothing.
func TestAuthorsAreWhoeverSendsTheRequest(t *testing.T) {
	spec := func(by user.Info, value string) object {
		return made(map[string]any{"alias": value, "lastWriter": author(by)})
	}
	short := author(mallory)
	delete(short, "uid")
	fewerGroups := author(alice)
	fewerGroups["groups"] = []any{"devs"}
	expect(t, []expectation{
		{"a creator names itself", "coffer-authors", request{by: alice, operation: admission.Create, resource: "connections", object: spec(alice, "a")}, false},
		{"a creator names another", "coffer-authors", request{by: mallory, operation: admission.Create, resource: "connections", object: spec(alice, "a")}, true},
		{"a creator names nobody", "coffer-authors", request{by: mallory, operation: admission.Create, resource: "connections", object: made(map[string]any{})}, true},
		{"a creator hides its uid", "coffer-authors", request{by: mallory, operation: admission.Create, resource: "connections", object: made(map[string]any{"lastWriter": short})}, true},
		{"a creator drops a group", "coffer-authors", request{by: alice, operation: admission.Create, resource: "connections", object: made(map[string]any{"lastWriter": fewerGroups})}, true},
		{"a change under the old writer's name", "coffer-authors", request{by: mallory, operation: admission.Update, resource: "connections", object: spec(alice, "b"), old: spec(alice, "a")}, true},
		{"a change under one's own name", "coffer-authors", request{by: mallory, operation: admission.Update, resource: "connections", object: spec(mallory, "b"), old: spec(alice, "a")}, false},
		{"a change of the writer alone, to another", "coffer-authors", request{by: mallory, operation: admission.Update, resource: "connections", object: spec(alice, "a"), old: spec(mallory, "a")}, true},
		{"no change, by the garbage collector", "coffer-authors", request{by: collector, operation: admission.Update, resource: "connections", object: spec(alice, "a"), old: spec(alice, "a")}, false},
		{"the operator's own member", "coffer-authors", request{by: operator, operation: admission.Create, resource: "vaultmembers", object: spec(operator, "a")}, false},
	})
}

func TestInvitationsAndAcceptancesNameTheirAuthor(t *testing.T) {
	invited := func(by user.Info, acceptance map[string]any) object {
		spec := map[string]any{"vault": "team", "role": "member", "invitedBy": author(by)}
		if acceptance != nil {
			spec["acceptance"] = acceptance
		}
		return made(spec)
	}
	accepted := func(by user.Info) map[string]any { return map[string]any{"by": author(by), "publicKey": "k"} }
	on := func(by user.Info, operation admission.Operation, object, old object) request {
		return request{by: by, operation: operation, resource: "vaultmembers", object: object, old: old}
	}
	granted := func(by user.Info, field string, value any) object {
		o := invited(by, nil)
		o["spec"].(map[string]any)[field] = value
		return o
	}
	const policy = "coffer-member-authors"
	expect(t, []expectation{
		{"an invitation in one's own name", policy, on(alice, admission.Create, invited(alice, nil), nil), false},
		{"an invitation in another's name", policy, on(mallory, admission.Create, invited(alice, nil), nil), true},
		{"a role raised in one's own name", policy, on(mallory, admission.Update, granted(mallory, "role", "admin"), invited(alice, nil)), false},
		{"a role raised in the inviter's name", policy, on(mallory, admission.Update, granted(alice, "role", "admin"), invited(alice, nil)), true},
		{"a member resumed in the inviter's name", policy, on(mallory, admission.Update, granted(alice, "suspended", false), granted(alice, "suspended", true)), true},
		{"a null for an absent field", policy, on(mallory, admission.Update, granted(alice, "ttl", nil), invited(alice, nil)), false},
		{"declined by the subject", policy, on(mallory, admission.Update, granted(alice, "declined", true), invited(alice, nil)), false},
		{"declined, and the inviter renamed", policy, on(mallory, admission.Update, granted(mallory, "declined", true), invited(alice, nil)), true},
		{"an invitation changes its author", policy, on(mallory, admission.Update, invited(mallory, nil), invited(alice, nil)), true},
		{"acceptance by the caller", policy, on(mallory, admission.Update, invited(alice, accepted(mallory)), invited(alice, nil)), false},
		{"acceptance for another", policy, on(mallory, admission.Update, invited(alice, accepted(alice)), invited(alice, nil)), true},
		{"acceptance without an author", policy, on(mallory, admission.Update, invited(alice, map[string]any{"publicKey": "k"}), invited(alice, nil)), true},
		{"somebody else's acceptance untouched", policy, on(alice, admission.Update, invited(alice, accepted(mallory)), invited(alice, accepted(mallory))), false},
		{"the key swapped under the acceptor's name", policy, on(alice, admission.Update, invited(alice, map[string]any{"by": author(mallory), "publicKey": "other"}), invited(alice, accepted(mallory))), true},
	})
}

func TestATokenNamesWhoeverIssuesIt(t *testing.T) {
	token := func(by user.Info, prefix string) object {
		return made(map[string]any{"member": "ci", "prefix": prefix, "issuedBy": author(by)})
	}
	on := func(by user.Info, operation admission.Operation, object, old object) request {
		return request{by: by, operation: operation, resource: "accesstokens", object: object, old: old}
	}
	const policy = "coffer-token-authors"
	expect(t, []expectation{
		{"issued in one's own name", policy, on(alice, admission.Create, token(alice, "a"), nil), false},
		{"issued in another's name", policy, on(mallory, admission.Create, token(alice, "a"), nil), true},
		{"issued in nobody's name", policy, on(mallory, admission.Create, made(map[string]any{"member": "ci"}), nil), true},
		{"no change, by the garbage collector", policy, on(collector, admission.Update, token(alice, "a"), token(alice, "a")), false},
		{"a change in the issuer's name", policy, on(mallory, admission.Update, token(alice, "b"), token(alice, "a")), true},
	})
}

func TestKeysAreWrittenByTheOperatorAlone(t *testing.T) {
	keyring := func(current int64) object { return made(map[string]any{"current": current}) }
	labelled := keyring(1).with("metadata", map[string]any{"name": "x", "labels": map[string]any{"a": "b"}})
	for _, resource := range []string{"keyrings", "envelopes"} {
		on := func(by user.Info, operation admission.Operation, object, old object) request {
			return request{by: by, operation: operation, resource: resource, object: object, old: old}
		}
		const policy = "coffer-keys"
		expect(t, []expectation{
			{"the operator creates", policy, on(operator, admission.Create, keyring(1), nil), false},
			{"the operator changes", policy, on(operator, admission.Update, keyring(2), keyring(1)), false},
			{"an administrator creates", policy, on(mallory, admission.Create, keyring(1), nil), true},
			{"an administrator changes", policy, on(mallory, admission.Update, keyring(2), keyring(1)), true},
			{"an operator of another namespace", policy, on(impostor, admission.Update, keyring(2), keyring(1)), true},
			{"the broker", policy, on(broker, admission.Update, keyring(2), keyring(1)), true},
			{"a label by anybody", policy, on(mallory, admission.Update, labelled, keyring(1)), false},
			{"a backup tool that is not named", policy, on(velero, admission.Create, keyring(1), nil), true},
		})
		expect(t, []expectation{
			{"a named restore user creates", policy, on(velero, admission.Create, keyring(1), nil), false},
			{"a named restore user does not change", policy, on(velero, admission.Update, keyring(2), keyring(1)), true},
		}, "--set", "restoreUsers={"+velero.Name+"}")
	}
}

// C25: a mistake in the operator does not lose what is sealed under a root that is there.
func TestTheOperatorOnlyAddsToTheCustodianRoot(t *testing.T) {
	secret := func(data map[string]any) object {
		o := object{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "coffer-custodian", "namespace": "coffer-system"}}
		if data != nil {
			o["data"] = data
		}
		return o
	}
	const policy = "coffer-custodian-root"
	on := func(by user.Info, to, from object) request {
		return request{by: by, operation: admission.Update, resource: "secrets", object: to, old: from}
	}
	one := secret(map[string]any{"generation-1": "Zmlyc3Q="})
	two := secret(map[string]any{"generation-1": "Zmlyc3Q=", "generation-2": "c2Vjb25k"})
	expect(t, []expectation{
		{"adds one", policy, on(operator, two, one), false},
		{"changes nothing", policy, on(operator, one, one), false},
		{"takes one out", policy, on(operator, one, two), true},
		{"empties it", policy, on(operator, secret(nil), one), true},
		{"puts another in its place", policy, on(operator, secret(map[string]any{"generation-1": "b3RoZXI="}), one), true},
		{"an administrator takes one out", policy, on(mallory, one, two), false},
	})
}

func TestOnlyRestoreUsersLetAVaultInherit(t *testing.T) {
	plain := made(map[string]any{})
	restored := plain.with("metadata", map[string]any{"name": "x", "annotations": map[string]any{"coffer.dev/restore": "old-uid"}})
	other := plain.with("metadata", map[string]any{"name": "x", "annotations": map[string]any{"a": "b"}})
	on := func(by user.Info, operation admission.Operation, object, old object) request {
		return request{by: by, operation: operation, resource: "vaults", object: object, old: old}
	}
	cases := func(refused bool) []expectation {
		return []expectation{
			{"create with", "coffer-restore", on(velero, admission.Create, restored, nil), refused},
			{"annotate", "coffer-restore", on(velero, admission.Update, restored, other), refused},
			{"keep", "coffer-restore", on(alice, admission.Update, restored, restored), false},
			{"take away", "coffer-restore", on(alice, admission.Update, plain, restored), false},
			{"create without", "coffer-restore", on(alice, admission.Create, plain, nil), false},
		}
	}
	expect(t, cases(true))
	expect(t, cases(false), "--set", "restoreUsers={"+velero.Name+"}")
}

func TestStatusesAreWrittenByTheirProcess(t *testing.T) {
	status := func(fields map[string]any) object { return made(map[string]any{}).with("status", fields) }
	none := made(map[string]any{})
	key := status(map[string]any{"intakeKey": map[string]any{"publicKey": "ours"}})
	swapped := status(map[string]any{"intakeKey": map[string]any{"publicKey": "mine"}})
	used := status(map[string]any{"phase": "Active", "lastUsedAt": "2026-01-02T00:00:00Z"})
	unused := status(map[string]any{"phase": "Active"})
	usedEarlier := status(map[string]any{"phase": "Active", "lastUsedAt": "2026-01-01T00:00:00Z"})
	suspended := status(map[string]any{"phase": "Suspended", "lastUsedAt": "2026-01-02T00:00:00Z"})
	lost := status(map[string]any{"lastUsedAt": "2026-01-02T00:00:00Z"})
	answered := status(map[string]any{"phase": "Answered", "answers": []any{map[string]any{"answeredBy": "coffer-broker-0", "result": "sealed"}}})
	on := func(by user.Info, resource string, object, old object) request {
		return request{by: by, operation: admission.Update, resource: resource, subresource: "status", object: object, old: old}
	}
	const policy = "coffer-status"
	expect(t, []expectation{
		{"the operator sets a vault's key", policy, on(operator, "vaults", key, none), false},
		{"an administrator swaps the intake key", policy, on(mallory, "vaults", swapped, key), true},
		{"the broker swaps the intake key", policy, on(broker, "vaults", swapped, key), true},
		{"an administrator changes nothing", policy, on(mallory, "vaults", key, key), false},
		{"the broker notes the first use", policy, on(broker, "vaultmembers", used, unused), false},
		{"the broker notes a later use", policy, on(broker, "connections", used, usedEarlier), false},
		{"the broker notes a use without a status", policy, on(broker, "connections", lost, none), false},
		{"the broker suspends", policy, on(broker, "vaultmembers", suspended, used), true},
		{"the broker drops a phase", policy, on(broker, "vaultmembers", lost, unused), true},
		{"the broker marks a vault", policy, on(broker, "vaults", used, unused), true},
		{"the broker answers a Release", policy, on(broker, "releases", status(map[string]any{"phase": "Answered", "result": "sealed"}), none), false},
		{"an administrator answers a Release", policy, on(mallory, "releases", status(map[string]any{"phase": "Answered", "result": "sealed"}), none), true},
		{"the broker answers an AuditQuery", policy, on(broker, "auditqueries", answered, none), false},
		{"an administrator answers an AuditQuery", policy, on(mallory, "auditqueries", answered, none), true},
		{"the operator fails a Release", policy, on(operator, "releases", status(map[string]any{"phase": "Failed"}), none), false},
	})
}

func TestRequestsBelongToTheirRequester(t *testing.T) {
	asked := func(by user.Info, reason string) object {
		return made(map[string]any{"vault": "team", "reason": reason, "requester": author(by)})
	}
	terminating := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "team", DeletionTimestamp: &meta.Time{Time: time.Unix(1, 0)}}}
	twin := &user.DefaultInfo{Name: mallory.Name, UID: "m-2"}
	on := func(by user.Info, operation admission.Operation, object, old object) request {
		return request{by: by, operation: operation, resource: "releases", object: object, old: old}
	}
	during := func(r request) request { r.namespace = terminating; return r }
	posed := &user.DefaultInfo{Name: "alice", Groups: []string{"devs", "system:authenticated"}}
	marked := func(possible bool) object {
		o := asked(alice, "")
		o["spec"].(map[string]any)["impersonationPossible"] = possible
		return o
	}
	question := func(by user.Info) request {
		return request{by: by, operation: admission.Create, resource: "auditqueries", object: asked(alice, "")}
	}
	expect(t, []expectation{
		{"for oneself", "coffer-requests", on(alice, admission.Create, asked(alice, ""), nil), false},
		{"for another", "coffer-requests", on(mallory, admission.Create, asked(alice, ""), nil), true},
		{"for nobody", "coffer-requests", on(mallory, admission.Create, made(map[string]any{}), nil), true},
		{"marked as its credential is not named", "coffer-requests", on(posed, admission.Create, marked(true), nil), false},
		{"not marked though its credential is not named", "coffer-requests", on(posed, admission.Create, asked(alice, ""), nil), true},
		{"marked wrongly as not possible", "coffer-requests", on(posed, admission.Create, marked(false), nil), true},
		{"marked though its credential is named", "coffer-requests", on(alice, admission.Create, marked(true), nil), true},
		{"a question, which has no such field", "coffer-requests", question(posed), false},
		{"changed", "coffer-requests", on(alice, admission.Update, asked(alice, "b"), asked(alice, "a")), true},
		{"untouched", "coffer-requests", on(collector, admission.Update, asked(alice, "a"), asked(alice, "a")), false},
		{"deleted by the requester", "coffer-requests-delete", on(mallory, admission.Delete, nil, asked(mallory, "")), false},
		{"deleted by a later namesake", "coffer-requests-delete", on(twin, admission.Delete, nil, asked(mallory, "")), true},
		{"deleted by an administrator", "coffer-requests-delete", on(mallory, admission.Delete, nil, asked(alice, "")), true},
		{"deleted by the operator", "coffer-requests-delete", on(operator, admission.Delete, nil, asked(alice, "")), false},
		{"deleted by the garbage collector", "coffer-requests-delete", on(collector, admission.Delete, nil, asked(alice, "")), false},
		{"deleted with its namespace", "coffer-requests-delete", during(on(mallory, admission.Delete, nil, asked(alice, ""))), false},
		{"deleted without a requester", "coffer-requests-delete", on(mallory, admission.Delete, nil, made(map[string]any{})), true},
	})
}

// The garbage collector deletes what belongs to something that is gone, and asks no webhook.
func TestReferencesToOwnersAreAddedByTheOperatorAlone(t *testing.T) {
	owned := func(references ...any) object {
		return made(map[string]any{}).with("metadata", map[string]any{"name": "x", "namespace": "team", "ownerReferences": references})
	}
	reference := func(uid, name string) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}
	}
	leads := func(value any) map[string]any {
		led := reference("1", "a")
		led["controller"] = value
		return led
	}
	unblocked := reference("1", "a")
	unblocked["blockOwnerDeletion"] = false
	const policy = "coffer-owner-references"
	on := func(by user.Info, resource string, to, from object) request {
		return request{by: by, operation: admission.Update, resource: resource, object: to, old: from}
	}
	bare, one := made(map[string]any{}), owned(reference("1", "a"))
	cases := []expectation{
		{"the operator adds one", policy, on(operator, "vaultmembers", one, bare), false},
		{"an impostor adds one", policy, on(impostor, "vaultmembers", one, bare), true},
		{"one goes", policy, on(alice, "connections", bare, one), false},
		{"one stays", policy, on(alice, "connections", one, one), false},
		{"of two one goes", policy, on(alice, "connections", owned(reference("2", "b")), owned(reference("1", "a"), reference("2", "b"))), false},
		{"one comes beside another", policy, on(alice, "connections", owned(reference("1", "a"), reference("2", "b")), one), true},
		{"one comes to point to nothing", policy, on(alice, "connections", owned(reference("1", "gone")), one), true},
		{"one comes to be the controller", policy, on(alice, "connections", owned(leads(true)), one), true},
		{"one is said not to be the controller", policy, on(alice, "connections", owned(leads(false)), one), false},
		{"the collector unblocks", policy, on(collector, "connections", owned(unblocked), one), false},
	}
	for _, resource := range []string{"vaults", "vaultmembers", "connections", "accesstokens", "keyrings", "envelopes"} {
		cases = append(cases, expectation{resource + " gain none", policy, on(mallory, resource, one, bare), true})
	}
	expect(t, cases)
}

func TestTheOperatorBindsItsOwnRolesOnly(t *testing.T) {
	binding := func(kind, role string) object {
		return object{"metadata": map[string]any{"name": "x"}, "roleRef": map[string]any{"kind": kind, "name": role}}
	}
	on := func(by user.Info, operation admission.Operation, object, old object) request {
		return request{by: by, operation: operation, resource: "rolebindings", object: object, old: old}
	}
	ours, theirs, namesake := binding("ClusterRole", "coffer-vault-member"), binding("ClusterRole", "admin"), binding("Role", "coffer-vault-member")
	expect(t, []expectation{
		{"binds a member", "coffer-bindings", on(operator, admission.Create, ours, nil), false},
		{"takes it back", "coffer-bindings", on(operator, admission.Delete, nil, ours), false},
		{"binds another role", "coffer-bindings", on(operator, admission.Create, theirs, nil), true},
		{"deletes another's binding", "coffer-bindings", on(operator, admission.Delete, nil, theirs), true},
		{"binds a namesake Role", "coffer-bindings", on(operator, admission.Create, namesake, nil), true},
		{"others do as before", "coffer-bindings", on(alice, admission.Delete, nil, theirs), false},
	})
}

// C2: whose vault is the default of namespaces that are not its owners' gets credentials that were not meant for it.
func TestOnlyWhoMayMakeVaultsEverywhereMakesADefaultOfOtherNamespaces(t *testing.T) {
	vault := func(mark string, access any, more string) object {
		spec := map[string]any{"memberTTL": more}
		if access != nil {
			spec["access"] = map[string]any{"namespaces": access}
		}
		o := made(spec)
		if mark != "" {
			o["metadata"].(map[string]any)["annotations"] = map[string]any{"coffer.dev/is-default-vault": mark}
		}
		return o
	}
	selector := map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"team": "a"}}}
	wider := map[string]any{"selector": map[string]any{}}
	// May create Vaults in namespace team, and everywhere if so.
	rights := func(everywhere bool) authorizer.Authorizer {
		return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			asked := a.GetAPIGroup() == "coffer.dev" && a.GetResource() == "vaults" && a.GetVerb() == "create"
			if asked && (a.GetNamespace() == "team" || everywhere && a.GetNamespace() == "") {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		})
	}
	const policy = "coffer-defaults"
	on := func(object, old object, everywhere bool) request {
		operation := admission.Create
		if old != nil {
			operation = admission.Update
		}
		return request{by: alice, operation: operation, resource: "vaults", object: object, old: old, authorizer: rights(everywhere)}
	}
	expect(t, []expectation{
		{"no default, open to all", policy, on(vault("", "All", ""), nil, false), false},
		{"marked as none, open to all", policy, on(vault("false", "All", ""), nil, false), false},
		{"a namespace's own", policy, on(vault("true", "Same", ""), nil, false), false},
		{"a namespace's own, without access", policy, on(vault("true", nil, ""), nil, false), false},
		{"the cluster's, by whoever has one namespace", policy, on(vault("true", "All", ""), nil, false), true},
		{"the cluster's, by whoever has all", policy, on(vault("true", "All", ""), nil, true), false},
		{"that of some, by whoever has one namespace", policy, on(vault("true", selector, ""), nil, false), true},
		{"a mark on an open one", policy, on(vault("true", "All", ""), vault("", "All", ""), false), true},
		{"an opened default", policy, on(vault("true", "All", ""), vault("true", "Same", ""), false), true},
		{"more namespaces", policy, on(vault("true", wider, ""), vault("true", selector, ""), false), true},
		{"another change, by an owner", policy, on(vault("true", "All", "90d"), vault("true", "All", ""), false), false},
		{"no change", policy, on(vault("true", selector, ""), vault("true", selector, ""), false), false},
		{"no default any more", policy, on(vault("", "All", ""), vault("true", "All", ""), false), false},
		{"closed", policy, on(vault("true", "Same", ""), vault("true", "All", ""), false), false},
	})
}
