/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The version of all of vmem: module, library, tool and packages read it here.
 */
#ifndef VMEM_VERSION_H
#define VMEM_VERSION_H

#define VMEM_VERSION "0.1.0"

#endif /* VMEM_VERSION_H */
