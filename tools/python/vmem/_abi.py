# SPDX-License-Identifier: GPL-2.0-only
"""libvmem's functions and structs, as <libvmem.h> and <linux/vmem.h> have them."""

import ctypes
import os
import re
from ctypes import (CFUNCTYPE, POINTER, Structure, Union, c_bool, c_char, c_char_p,
                    c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p)

from ._error import Code, Error as Failure

# The library that this is for: its name and that of its symbols, which change where its
# functions or structs do, and the first version that has all of FUNCTIONS
SONAME = "libvmem.so.0"
SYMBOLS = "LIBVMEM_0.1"
VERSION = "0.1.0"

MAX_ROOTS = 4096
MAX_LEVELS = 5
KIND_COW = 2

# Levels of enum vmem_table
TABLE_LEVELS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 1, 7: 2}


class Regs(Structure):
    _fields_ = [("cr0", c_uint64), ("cr3", c_uint64), ("cr4", c_uint64),
                ("efer", c_uint64), ("maxphyaddr", c_uint32), ("rules", c_uint32),
                ("cow_mask", c_uint64), ("cow_value", c_uint64)]


class RegsHave(Structure):
    """struct libvmem_regs"""
    _fields_ = [("regs", Regs), ("have", c_uint)]


class Error(Structure):
    _fields_ = [("code", c_int), ("err", c_int), ("where", c_char_p),
                ("address", c_uint64), ("message", c_char * 512),
                ("advice", c_char * 256)]


class Region(Structure):
    """struct libvmem_region"""
    _fields_ = [("gpa", c_uint64), ("len", c_uint64), ("offset", c_uint64),
                ("path", c_char_p)]


class SnapshotSpace(Structure):
    """struct libvmem_space"""
    _fields_ = [("space", c_uint64), ("root", c_uint64)]


class Image(Structure):
    """struct libvmem_image"""
    _fields_ = [("path", c_char_p), ("format", c_char_p), ("size", c_uint64),
                ("spaces", POINTER(SnapshotSpace)), ("nr_spaces", c_uint), ("regs", Regs)]


class Memslot(Structure):
    _fields_ = [("gpa", c_uint64), ("len", c_uint64), ("hva", c_uint64),
                ("id", c_uint32), ("flags", c_uint32)]


class InfoArgs(Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32),
                ("out_api_version", c_uint32), ("out_source", c_uint32),
                ("out_max_regions", c_uint32), ("out_nr_vcpus", c_uint32),
                ("out_max_entries", c_uint64), ("out_protection", c_uint32),
                ("__reserved", c_uint32)]


class VcpuArgs(Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32), ("index", c_uint32),
                ("out_id", c_uint32), ("out_regs", Regs), ("out_pat", c_uint64),
                ("out_rip", c_uint64), ("timeout_us", c_uint32),
                ("out_known", c_uint32), ("out_state", c_uint32),
                ("__reserved", c_uint32)]


class Source(Structure):
    _fields_ = [("given", RegsHave), ("cr3s", POINTER(c_uint64)),
                ("nr_cr3s", c_uint), ("qmp", c_void_p),
                ("arch", POINTER(RegsHave)), ("vcpu", c_uint)]


class Roots(Structure):
    _fields_ = [("regs", Regs), ("nr", c_uint), ("nr_left_out", c_uint),
                ("cr3s", c_uint64 * MAX_ROOTS), ("left_out", c_uint * MAX_ROOTS)]


class RootFound(Structure):
    _fields_ = [("root", c_uint64), ("kind", c_int), ("of", c_uint64),
                ("shared", c_uint), ("kernel", c_uint), ("user", c_uint64),
                ("pointers", c_uint64), ("vcpu_seen", c_bool),
                ("in_user_memory", c_bool)]


Step = CFUNCTYPE(c_int, c_uint64, c_uint64, c_void_p)


class Search(Structure):
    _fields_ = [("source", POINTER(Source)), ("fetch", c_bool), ("step", Step),
                ("priv", c_void_p), ("roots", POINTER(RootFound)), ("nr", c_size_t), ("regs", Regs),
                ("guessed", c_bool), ("read", c_uint64), ("untouched", c_uint64)]


class Trace(Structure):
    _fields_ = [("entry_gpa", c_uint64), ("raw", c_uint64)]


class Translation(Structure):
    _fields_ = [("out_gpa", c_uint64), ("out_page_size", c_uint64),
                ("out_status", c_uint32), ("out_perms", c_uint32),
                ("out_level", c_uint32), ("out_nr_trace", c_uint32),
                ("out_trace", Trace * MAX_LEVELS),
                ("out_owner_space", c_uint64), ("out_owner_va", c_uint64),
                ("out_referenced", c_uint32), ("out_owner_root", c_uint32)]


class Entry(Structure):
    """struct libvmem_entry"""
    _fields_ = [("kind", c_int), ("perms", c_uint32), ("attributes", c_uint32),
                ("addr", c_uint64), ("reserved", c_uint64)]


class Access(Structure):
    """struct libvmem_access"""
    _fields_ = [("kind", c_int), ("user", c_bool), ("rflags", c_uint64),
                ("pkru", c_uint32), ("pkrs", c_uint32)]


class Verdict(Structure):
    """struct libvmem_verdict"""
    _fields_ = [("reason", c_int), ("vector", c_uint32), ("error_code", c_uint32),
                ("decides", c_int), ("rests_on", c_uint)]


class Mapping(Structure):
    _fields_ = [("va", c_uint64), ("last_va", c_uint64), ("gpa", c_uint64),
                ("page_size", c_uint64), ("kind", c_uint32), ("perms", c_uint32),
                ("attributes", c_uint32), ("__reserved", c_uint32)]


class Found(Structure):
    _fields_ = [("mappings", c_uint64), ("bytes", c_uint64),
                ("anomalies", c_uint64), ("torn", c_uint64)]


class Read(Structure):
    _fields_ = [("len", c_uint64), ("status", c_uint32), ("level", c_uint32)]


class Span(Structure):
    _fields_ = [("va", c_uint64), ("last_va", c_uint64)]


class Scope(Structure):
    _fields_ = [("va", c_uint64), ("last_va", c_uint64),
                ("excluded", POINTER(Span)), ("nr_excluded", c_uint)]


class Space(Structure):
    _fields_ = [("space", c_uint64), ("alias_of", c_uint32),
                ("__reserved", c_uint32)]


class Reference(Structure):
    _fields_ = [("table", c_uint32), ("perms", c_uint32),
                ("table_gpa", c_uint64), ("space", c_uint64),
                ("our_va", c_uint64), ("their_va", c_uint64), ("len", c_uint64),
                ("owner_root", c_uint32), ("owner_perms", c_uint32)]


class Anomaly(Structure):
    _fields_ = [("status", c_uint32), ("level", c_uint32), ("va", c_uint64),
                ("last_va", c_uint64), ("table_gpa", c_uint64),
                ("raw", c_uint64)]


class RecordUnion(Union):
    _fields_ = [("space", Space), ("mapping", Mapping),
                ("reference", Reference), ("anomaly", Anomaly)]


class Record(Structure):
    _anonymous_ = ["what"]
    _fields_ = [("type", c_uint32), ("root", c_uint32), ("what", RecordUnion)]


class Stats(Structure):
    _fields_ = [(name, c_uint64) for name in (
        "spaces", "root_aliases", "mappings", "leaves", "references",
        "anomalies", "known", "tables", "entries")]


# Which struct of C's each of these is, for the test that compares them
STRUCTS = {
    "vmem_regs": Regs, "libvmem_regs": RegsHave, "libvmem_error": Error,
    "libvmem_region": Region, "vmem_memslot": Memslot,
    "vmem_info_args": InfoArgs, "vmem_vcpu_args": VcpuArgs,
    "libvmem_source": Source, "libvmem_roots": Roots,
    "libvmem_root_found": RootFound, "libvmem_search": Search,
    "libvmem_space": SnapshotSpace, "libvmem_image": Image, "libvmem_entry": Entry,
    "libvmem_access": Access, "libvmem_verdict": Verdict,
    "vmem_trace": Trace, "vmem_translation": Translation,
    "vmem_mapping": Mapping, "libvmem_found": Found, "libvmem_read": Read,
    "vmem_span": Span, "libvmem_scope": Scope, "vmem_space": Space,
    "vmem_reference": Reference, "vmem_anomaly": Anomaly,
    "vmem_record": Record, "vmem_spaces_stats": Stats,
}

MemslotRow = CFUNCTYPE(c_int, POINTER(Memslot), c_void_p)
TranslationRow = CFUNCTYPE(c_int, c_uint64, POINTER(Translation), c_void_p)
MappingRow = CFUNCTYPE(c_int, POINTER(Mapping), c_void_p)
RecordRow = CFUNCTYPE(c_int, POINTER(Record), c_void_p)

GUEST = c_void_p
ERROR = POINTER(Error)
REGS = POINTER(Regs)

# Result and arguments of each function
FUNCTIONS = {
    "libvmem_version": (c_char_p, []),
    "libvmem_open_pid": (c_int, [POINTER(GUEST), c_int, c_int, ERROR]),
    "libvmem_open_regions": (c_int, [POINTER(GUEST), c_char_p, POINTER(Region),
                                     c_uint, ERROR]),
    "libvmem_close": (None, [GUEST]),
    "libvmem_image": (POINTER(Image), [GUEST]),
    "libvmem_image_file": (c_char_p, [GUEST, c_uint32]),
    "libvmem_info": (c_int, [GUEST, POINTER(InfoArgs), ERROR]),
    "libvmem_memslots": (c_int, [GUEST, MemslotRow, c_void_p, ERROR]),
    "libvmem_vcpu": (c_int, [GUEST, c_uint, c_uint, POINTER(VcpuArgs), ERROR]),
    "libvmem_has_own_root": (c_bool, [POINTER(VcpuArgs)]),
    "libvmem_mode": (c_int, [REGS]),
    "libvmem_mode_name": (c_char_p, [c_int]),
    "libvmem_top_level": (c_int, [REGS]),
    "libvmem_root": (c_uint64, [REGS]),
    "libvmem_data_address": (c_uint64, [REGS, c_uint64]),
    "libvmem_entry": (c_int, [REGS, c_int, c_uint64, POINTER(Entry), ERROR]),
    "libvmem_arch_regs": (POINTER(RegsHave), [c_char_p]),
    "libvmem_find_regs": (c_int, [GUEST, POINTER(Source), REGS, ERROR]),
    "libvmem_find_pat": (c_bool, [GUEST, POINTER(Source), POINTER(c_uint64)]),
    "libvmem_search_roots": (c_int, [GUEST, POINTER(Search), ERROR]),
    "libvmem_translate": (c_int, [GUEST, REGS, POINTER(c_uint64), c_size_t,
                                  TranslationRow, c_void_p, ERROR]),
    "libvmem_access": (c_int, [REGS, POINTER(Access), POINTER(Translation),
                               POINTER(Verdict), ERROR]),
    "libvmem_ranges_with": (c_int, [GUEST, REGS, c_uint, c_uint64, c_uint64,
                                    MappingRow, c_void_p, POINTER(Found),
                                    ERROR]),
    "libvmem_read": (c_int, [GUEST, REGS, c_uint64, c_void_p, c_size_t,
                             POINTER(Read), ERROR]),
    "libvmem_read_phys": (c_int, [GUEST, c_uint64, c_void_p, c_size_t,
                                  POINTER(Read), ERROR]),
    "libvmem_walk_spaces": (c_int, [GUEST, POINTER(Roots), POINTER(Scope),
                                    RecordRow, c_void_p, POINTER(Stats),
                                    ERROR]),
    "libvmem_memory_type": (c_char_p, [c_uint64, c_uint32]),
}


def _numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def _fault(library):
    """What is wrong with a library, if something is"""
    if not hasattr(library, "libvmem_version"):
        return "another library"
    library.libvmem_version.restype = c_char_p
    version = library.libvmem_version().decode(errors="replace")
    if not libc.dlvsym(library._handle, b"libvmem_version", SYMBOLS.encode()):
        return "libvmem %s, which has another interface" % version
    if _numbers(version) < _numbers(VERSION):
        return "libvmem " + version
    missing = [name for name in FUNCTIONS if not hasattr(library, name)]
    return missing and "libvmem %s, which has no %s()" % (version, missing[0])


def load():
    """The library's functions, by $VMEM_LIBRARY or as the system finds it"""
    path = os.environ.get("VMEM_LIBRARY", SONAME)
    needed = "%s, version %s or later, is needed" % (SONAME, VERSION)
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise Failure(Code.SYSTEM, "cannot load the library: %s" % error, needed) from None
    if fault := _fault(library):
        raise Failure(Code.OTHER_VERSION, "%s is %s" % (path, fault), needed)
    functions = {}
    for name, (result, arguments) in FUNCTIONS.items():
        function = functions[name] = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return functions


class _Library:
    """The library's functions. They are loaded when the first one is asked for, where a
    caller of vmem's expects errors."""

    def __getattr__(self, name):
        if name not in FUNCTIONS:
            raise AttributeError(name)
        vars(self).update(load())
        return vars(self)[name]


libc = ctypes.CDLL(None)
libc.free.argtypes = [c_void_p]
libc.dlvsym.argtypes = [c_void_p, c_char_p, c_char_p]
libc.dlvsym.restype = c_void_p
lib = _Library()
