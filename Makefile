# The short names of the work; meson and ninja do it. Nothing is installed here: ./setup does that.
#
#   make            builds build/limn
#   make demo       draws two pictures with the model that limn brings
#   make test       runs the tests (make test ONLY=graph: those whose names hold the word)
#   make check      the same under address and undefined-behaviour sanitizers, and every allocation failing in turn
#   make test-web   other people's programs against limn serve: npm clients, ComfyUI's front end, schemathesis (it fetches them)
#   make web        builds the page of `limn serve` (it needs npm), make serve starts it, too
#   make bench      measures; a JSON line per subject and type, at Stable Diffusion 1.5's shapes
#   make docs       the man page, completions and a page of all commands into build/docs
#   make model-report   measures the model that limn brings and writes docs/model-report.md
#   make vocabulary fetches CLIP's vocabulary for models in single files (./setup vocabulary)
#   make install    to PREFIX (/usr/local), below DESTDIR
#   make clean      forgets what was built

BUILD = build
CHECK = build-check
PREFIX = /usr/local
SHAPE = sd15
ONLY =
JOBS = $(shell nproc)
NINJA = ninja -C $(BUILD) -j $(JOBS)

PAGE = $(BUILD)/web/index.html

.PHONY: all demo test test-web web serve check bench docs model-report vocabulary install clean

all: $(BUILD)/build.ninja
	@tools/reconfigure $(BUILD)
	@$(NINJA) limn

$(BUILD)/build.ninja:
	meson setup $(BUILD) --prefix=$(PREFIX)

demo: all
	@tools/demo $(BUILD)/limn

test: $(BUILD)/build.ninja
	@tools/reconfigure $(BUILD)
	@JOBS=$(JOBS) tests/run.sh $(BUILD) $(ONLY)

web: $(PAGE)

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-audit --no-fund

$(PAGE): web/node_modules/.package-lock.json $(shell find web/src web/public web/*.ts web/*.json web/index.html -type f)
	cd web && npx tsc --noEmit && npx vite build --outDir ../$(BUILD)/web --emptyOutDir
	@touch $@

serve: all web
	@$(BUILD)/limn serve

test-web: all web
	@tests/http/run.sh $(BUILD) $(ONLY)

$(CHECK)/build.ninja:
	meson setup $(CHECK) -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1

check: $(CHECK)/build.ninja
	@tools/reconfigure $(CHECK)
	@JOBS=$(JOBS) CHECK=1 tests/run.sh $(CHECK) $(ONLY)

bench: all
	@$(BUILD)/limn bench --shape $(SHAPE)

docs: all
	@tools/make_docs $(BUILD)

model-report: all
	@tools/model_report $(BUILD)

vocabulary:
	@tools/fetch_vocabulary

install: all
	$(NINJA)
	meson install -C $(BUILD) --no-rebuild
	@if [ -f $(PAGE) ]; then mkdir -p $(DESTDIR)$(PREFIX)/share/limn && cp -R $(BUILD)/web $(DESTDIR)$(PREFIX)/share/limn/; fi

clean:
	rm -rf $(BUILD) $(CHECK)
