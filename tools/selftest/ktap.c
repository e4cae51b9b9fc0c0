// SPDX-License-Identifier: GPL-2.0-only
/*
 * ktap.c - what all files of a test program know of the running case
 */
#include "ktap.h"

char ktap_reason[256];
bool ktap_skipped;
char ktap_text[sizeof(ktap_reason)];
