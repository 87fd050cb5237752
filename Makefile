# The short door to the build, which is meson's (meson.build). README.md shows what these print.
#
#   make          the same as make build
#   make build    build/ring3
#   make run      boots Debian's kernel to a shell on this terminal; ARGS='--cpus 2' adds options
#   make test     every test; ends with one line of counts
#   make bench    speed, beside other emulators where they are installed; ARGS='--class memory' has a part of the suite only
#   make fuzz     a longer run of the fuzzers; FUZZ_SECONDS for each
#   make lint     layout, static checks, include rules
#   make man      shows the manual page
#   make clean    removes what was built; what was downloaded stays in build/guest
#
# Each installs the Debian packages that it needs and that are missing (tools/packages).

BUILD := build
GUEST := $(BUILD)/guest
FUZZ_SECONDS := 60
CMDLINE := console=ttyS0
ARGS :=

# The steps of a target run in order.
.NOTPARALLEL:
.PHONY: build run test bench fuzz lint man clean setup-build setup-run setup-test guest

build: setup-build
	@ninja -C $(BUILD) ring3

run: setup-run build guest
	@$(BUILD)/ring3 run --kernel $(GUEST)/vmlinuz --initramfs $(GUEST)/initramfs.gz --cmdline "$(CMDLINE)" $(ARGS)

test: setup-test guest
	@tools/run_tests $(BUILD)

bench: setup-test build guest
	@ninja -C $(BUILD) bench-programs
	@[ -n "$(ARGS)" ] || bench/bench.py $(BUILD)
	@[ -n "$(ARGS)" ] || bench/network.py $(BUILD)
	@[ -n "$(ARGS)" ] || bench/debian.py $(BUILD)
	@bench/suite.py $(BUILD) $(ARGS)

fuzz: setup-test
	@tools/run_fuzz $(BUILD)-fuzz $(FUZZ_SECONDS)

lint: setup-test
	@tools/lint $(BUILD)

man:
	@man ./docs/ring3.1 2>/dev/null || mandoc docs/ring3.1

clean:
	@if [ -e $(BUILD)/build.ninja ]; then ninja -C $(BUILD) --quiet clean; fi
	@rm -rf $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz

guest:
	@tools/guest-kernel $(GUEST)

setup-build:
	@tools/setup build
	@[ -e $(BUILD)/build.ninja ] || log=$$(meson setup $(BUILD) 2>&1) || { echo "$$log"; exit 1; }

setup-run:
	@tools/setup run

setup-test:
	@tools/setup test
	@$(MAKE) --no-print-directory setup-build
