# What the function that converts series into volumes needs besides.
include $(dir $(lastword $(MAKEFILE_LIST)))../packages.mk

build-VolumesLayer: python313
	@$(INSTALL)
	@$(FINISH)
