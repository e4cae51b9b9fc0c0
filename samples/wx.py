#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""wx.py PID: all that is writable and executable in all spaces of a guest"""
import sys

import vmem

with vmem.open(pid=int(sys.argv[1])) as guest:
    for space in guest.spaces():
        for row in space.maps():
            if row.writable and row.executable:
                print(hex(space.root), row)
