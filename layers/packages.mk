# Third-party packages for the processor that a Makefile names, x86_64 or aarch64. SAM runs these Makefiles in a copy of
# the layer's folder and sets ARTIFACTS_DIR.
LAYERS := $(dir $(lastword $(MAKEFILE_LIST)))
include $(LAYERS)common.mk

# Amazon Linux 2023 has glibc 2.34. Every tag is listed: pip implies none, and an older obstore has wheels for older
# ones.
PLATFORMS := $(foreach v,2_34 2_31 2_28 2_27 2_26 2_24 2_17,--platform manylinux_$(v)_$(MACHINE)) \
	--platform manylinux2014_$(MACHINE)

# A virtual environment of Python 3.13 has at least pip 24.2; older versions resolve for the Python that runs them.
INSTALL = rm -rf "$(ARTIFACTS_DIR)/python" .pip \
	&& "$(PYTHON313)" -m venv .pip \
	&& .pip/bin/python -m pip install --quiet --disable-pip-version-check --target "$(ARTIFACTS_DIR)/python" \
		--implementation cp --python-version 3.13 $(PLATFORMS) --only-binary :all: --require-hashes --no-deps \
		--no-compile -r requirements.txt \
	&& rm -rf .pip \
	&& "$(PYTHON313)" $(LAYERS)trim.py "$(ARTIFACTS_DIR)/python" \
	&& "$(PYTHON313)" $(LAYERS)notices.py "$(ARTIFACTS_DIR)/python"

FINISH = $(call COMPILE,$(ARTIFACTS_DIR)/python) \
	&& "$(PYTHON313)" $(LAYERS)check.py licences "$(ARTIFACTS_DIR)/python" >/dev/null
