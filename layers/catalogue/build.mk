# What the functions that write the catalogue's table need besides. Its library is so large that it is packed.
include $(dir $(lastword $(MAKEFILE_LIST)))../packages.mk

build-CatalogueLayer: python313
	@$(INSTALL)
	@"$(PYTHON313)" $(LAYERS)pack.py "$(ARTIFACTS_DIR)/python/deltalake/_internal.abi3.so"
	@$(FINISH)
