# Shared by the layers' Makefiles: Python 3.13, whose .pyc files the Lambda runtime python3.13 reads.
SHELL := /bin/sh
.DELETE_ON_ERROR:

IS_PYTHON := import sys; sys.exit(sys.version_info[:2] != (3, 13))
PYTHON313 ?= $(shell for p in python3.13 python3 "$$HOME"/.pyenv/versions/3.13*/bin/python3.13; do \
	"$$p" -c '$(IS_PYTHON)' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: python313
python313:
	@test -n "$(PYTHON313)" && "$(PYTHON313)" -c '$(IS_PYTHON)' || { echo "Python 3.13 is needed to build the layers" \
		"(it compiles them for the runtime); put python3.13 on PATH or name it: PYTHON313=/path/to/python3.13" >&2; exit 1; }

# /opt is read-only at run time: modules not compiled here are compiled at every cold start. Unchecked, because file
# times do not survive; one value for all of these keeps the zip of an unchanged layer the same, so it is not uploaded.
COMPILE = "$(PYTHON313)" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$(1)" -p /opt/python "$(1)" \
	&& find "$(1)" -exec touch -h -d 1980-01-02T00:00:00Z {} +
