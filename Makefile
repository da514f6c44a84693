# Each target may be run again, in any state. The work is done by the harness
# in e2e/: `cargo run -p e2e --bin coffer-e2e -- help`.

# `make demo CLUSTER=existing` tells the story on the cluster of your KUBECONFIG.
CLUSTER ?= own

HARNESS := cargo run --locked --package e2e --bin coffer-e2e --
# What `make bench` is told, such as BENCH="--only release"; see docs/performance.md.
BENCH ?=
# Whose doors `make mutants` tries: a word of e2e/mutants/doors.txt. All, if empty.
MUTANTS ?=
# For targets whose output is used by other commands.
QUIET_HARNESS := cargo run --locked --quiet --package e2e --bin coffer-e2e --

.DEFAULT_GOAL := help
.PHONY: help demo test check mutants fuzz cluster install cluster-down kubeconfig bin bench generate prerequisites

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(if $(filter own,$(CLUSTER)),prerequisites) ## Tell Coffer's story on a real cluster (CLUSTER=existing: on yours)
	@$(HARNESS) demo --cluster $(CLUSTER)

test: prerequisites check ## Run everything: format, lints, unit and end-to-end tests
	@e2e/test.sh

check: ## Run what needs no cluster: format, lints, generated files, unit tests
	@e2e/check.sh

mutants: ## Take each decision out of each door, and want a unit test to fail (MUTANTS=webhook: only there)
	@cargo run --locked --quiet --package coffer-mutants -- $(MUTANTS)

fuzz: prerequisites ## Let libFuzzer look for bytes that make a parser panic (FUZZ_SECONDS=20 for each)
	@e2e/fuzz.sh

cluster: prerequisites ## Bring up a real one-node Kubernetes, nothing else
	@$(HARNESS) up

install: prerequisites ## Install Coffer on it, from the images built here
	@$(HARNESS) install

cluster-down: ## Take the cluster down and remove every trace of it
	@$(HARNESS) down

kubeconfig: ## Print the path of the cluster's kubeconfig
	@$(QUIET_HARNESS) kubeconfig

bin: prerequisites ## Print the folder with kubectl, helm and the kubectl plugin
	@$(QUIET_HARNESS) bin

bench: prerequisites ## Measure on the cluster, side by side with the goals
	@$(HARNESS) bench $(BENCH)

generate: ## Write the generated files anew (CRDs, references)
	@cargo run --package coffer-crds --bin crdgen -- .
	@cargo run --package coffer-reference --bin referencegen -- .

prerequisites:
	@e2e/prerequisites.sh
