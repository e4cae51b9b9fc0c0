# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that `tools/setup.sh` fetched, and what is built for them."""

import os
import struct

import initramfs

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, "build")
CACHE = os.path.join(BUILD, "lab/cache")

# The guests, and what Debian calls their kernels; debug is built by kunit/run.
FLAVOURS = {"amd64": "amd64", "i686": "686", "amd64-la57": "amd64",
            "i686-pae": "686-pae", "amd64-pti": "amd64",
            "i686-pae-pti": "686-pae", "amd64-debug": "debug"}


class Missing(Exception):
    """Something is not there yet; the message says how to get it."""


def need(path, how):
    if not os.path.exists(path):
        raise Missing("no %s: run `%s`" % (os.path.relpath(path, TOP), how))
    return path


def versions():
    """The kernels that vmem is tested on, the lab's own first."""
    with open(os.path.join(TOP, "tools/kernels"), encoding="utf-8") as file:
        return [line.strip() for line in file if not line.startswith("#")]


def release_of(bzimage):
    """The release that a bzImage's header names (boot protocol: the version
    string is at the 16-bit offset held at 0x20e, counted from 0x200)."""
    with open(bzimage, "rb") as file:
        head = file.read(0x10000)
    if head[0x202:0x206] != b"HdrS":
        raise Missing("%s is not a bzImage: give one, or a version that "
                      "tools/setup.sh fetches" % bzimage)
    start = struct.unpack_from("<H", head, 0x20e)[0] + 0x200
    return head[start:start + 128].split(b"\0")[0].split(b" ")[0].decode()


class Kernel:
    """A bzImage, and the tree that its modules are in."""

    def __init__(self, image):
        self.image = os.path.realpath(image)
        self.release = release_of(self.image)
        self.root = os.path.dirname(os.path.dirname(self.image))
        modules = os.path.join(self.root, "lib/modules")
        self.modules = modules if os.path.isdir(
            os.path.join(modules, self.release)) else ""

    @classmethod
    def debian(cls, guest, version=None):
        flavour = FLAVOURS[guest]
        root = os.path.join(BUILD, "kernels", "%s-%s" % (
            version or versions()[0], flavour))
        how = ("kunit/run --build" if flavour == "debug"
               else "tools/setup.sh " + (version or "lab"))
        with open(need(os.path.join(root, "release"), how),
                  encoding="utf-8") as file:
            release = file.read().strip()
        return cls(os.path.join(root, "boot/vmlinuz-" + release))

    @classmethod
    def named(cls, name):
        """A file, or a version of Debian's."""
        return cls(name) if os.path.exists(name) else cls.debian("amd64", name)

    def module(self, how="make module"):
        """vmem.ko for it."""
        return need(os.path.join(BUILD, "module", self.release, "vmem.ko"), how)

    def initramfs(self, arch, names, scripts):
        busybox = need(os.path.join(BUILD, "busybox", arch, "bin/busybox"),
                       "tools/setup.sh lab")
        return initramfs.build(
            CACHE, busybox,
            initramfs.modules(self.root, self.release, names),
            {name: os.path.join(HERE, path)
             for name, path in scripts.items()})

    def guest_initramfs(self, guest):
        return self.initramfs(guest.partition("-")[0], ("virtio_pci", "9pnet_virtio", "9p"), {
            "init": "guest/init", "bin/worker": "guest/worker",
            "bin/truth": "guest/truth"})
