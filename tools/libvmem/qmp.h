/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What else the library asks QEMU for
 */
#ifndef LIBVMEM_QMP_H
#define LIBVMEM_QMP_H

#include "core_file.h"
#include "error.h"

/* All registers that QEMU tells of a vCPU. */
int qmp_cpu(struct libvmem_qmp *qmp, unsigned int vcpu, struct core_cpu *cpu,
	    struct libvmem_error *error);

#endif
