# The test cluster: Kubernetes on this machine. tests/cluster/README.md says what it does to it.
CLUSTER := PYTHONPATH=tests python -m cluster
.PHONY: cluster-tools cluster-up cluster-down cluster-status

cluster-tools: ## Build the test cluster's programs, once, into the cache
	@tests/cluster/build.sh
cluster-up: setup ## Have a Kubernetes of two nodes on this machine
	@$(CLUSTER) up
cluster-down: setup ## Remove every trace of it
	@$(CLUSTER) down
cluster-status: setup ## Show how it is
	@$(CLUSTER) status
