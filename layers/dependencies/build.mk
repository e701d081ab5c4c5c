# What every function needs.
include $(dir $(lastword $(MAKEFILE_LIST)))../packages.mk

build-DependenciesLayer: python313
	@$(INSTALL)
	@echo 'MACHINE = "$(MACHINE)"' > "$(ARTIFACTS_DIR)/python/dicom_series_preview_built_for.py"
	@$(FINISH)
