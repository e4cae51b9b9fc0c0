# SPDX-License-Identifier: GPL-2.0-only
#
# make lab       builds into $(O)/bin what lab_bench runs in the lab

LAB_BIN	:= $(O)/bin
LAB_OBJ	:= $(O)/obj/bench-lab

LAB_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -I../../include/uapi -MMD -MP \
	-pthread

# Sessions are opened and asked as the selftests do it.
LAB_SHARED := options series addresses session file ktap

LAB_PROGRAMS := $(LAB_BIN)/bench-vmm $(LAB_BIN)/bench-outside

lab: $(LAB_PROGRAMS)

# What a program has besides.
$(LAB_BIN)/bench-vmm: $(LAB_OBJ)/guest.o
$(LAB_BIN)/bench-vmm: LAB_LIBS := -lelf
$(LAB_BIN)/bench-outside: $(LAB_OBJ)/monitor.o

$(LAB_PROGRAMS): $(LAB_BIN)/bench-%: $(LAB_OBJ)/%.o $(LAB_SHARED:%=$(LAB_OBJ)/%.o)
	@mkdir -p $(LAB_BIN)
	$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ $(LAB_LIBS)

$(LAB_OBJ)/%.o: lab/%.c lab.mk
	@mkdir -p $(LAB_OBJ)
	$(CC) $(CFLAGS) $(LAB_CFLAGS) -c -o $@ $<

$(LAB_OBJ)/%.o: ../selftest/%.c lab.mk
	@mkdir -p $(LAB_OBJ)
	$(CC) $(CFLAGS) $(LAB_CFLAGS) -c -o $@ $<

-include $(wildcard $(LAB_OBJ)/*.d)

.PHONY: lab
.SECONDARY:
