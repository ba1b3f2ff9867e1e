# The images of the working tree: $(TRAININGJOB_CACHE)/images has operator.tar and trainer.tar, and operator.ref and trainer.ref with
# their full names. Included by the Makefile.
.PHONY: images
images: ## Build the images, and load them into the local cluster if it is up
	@$(PYTHON) tests/cluster/images/build.py --cache "$(TRAININGJOB_CACHE)" $(if $(WHEELS),--wheels $(abspath $(WHEELS)))
	@test ! -e "$${TRAININGJOB_CLUSTER_DIR:-/var/lib/trainingjob-cluster}/stamp" || PYTHONPATH=tests $(PYTHON) -m cluster load "$(TRAININGJOB_CACHE)"/images/*.tar
