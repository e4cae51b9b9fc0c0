# SPDX-License-Identifier: GPL-2.0-only
"""Initramfs images for the lab kernel and for its guests.

An image is a cpio archive in the "newc" format: a static busybox, the kernel
modules that the job needs, and our own scripts. Images are cached under the
name of a hash over everything that goes in.
"""

import hashlib
import os
import subprocess

# Mount points, and where things go.
TOP_DIRS = ("bin", "dev", "proc", "sys", "lib", "root", "tmp", "run", "share",
            "mnt")


def modules(root, release, names):
    """The files to insmod for the named modules, in order, without repeats."""
    if not os.path.isdir(os.path.join(root, "lib/modules", release)):
        return []       # a kernel with everything built in
    files = []
    for name in names:
        out = subprocess.run(
            ["modprobe", "-d", root, "-S", release, "--show-depends", name],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in out.splitlines():
            verb, _, path = line.strip().partition(" ")
            if verb == "insmod" and path not in files:
                files.append(path.strip())
    return files


def read(path):
    with open(path, "rb") as file:
        return file.read()


def parents(name):
    """The folders that a file is in, outermost first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:i + 1]) for i in range(len(parts))]


def newc(entries):
    """A cpio archive of (name, mode, data) entries."""
    out = bytearray()
    trailer = ("TRAILER!!!", 0, b"")
    for inode, (name, mode, data) in enumerate([*entries, trailer], 1):
        name = os.fsencode(name) + b"\0"
        links = 2 if mode & 0o040000 else 1
        # ino mode uid gid nlink mtime size, device and rdev, name size, check
        fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0,
                  len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += name + bytes(-(len(out) + len(name)) % 4)
        out += data + bytes(-len(data) % 4)
    return bytes(out)


def build(cache, busybox, module_files, scripts):
    """Writes the image, unless it is there, and returns its path.

    `scripts` maps names inside the image to files; "init" is the one that the
    kernel starts. The modules' load order is left in /lib/modules.list.
    """
    entries = [(name, 0o040755, b"") for name in TOP_DIRS]
    entries.append(("bin/busybox", 0o100755, read(busybox)))
    entries.append(("bin/sh", 0o120777, b"busybox"))
    listed = ""
    for path in module_files:
        name = "lib/" + os.path.basename(path)
        entries.append((name, 0o100644, read(path)))
        listed += "/%s\n" % name
    entries.append(("lib/modules.list", 0o100644, listed.encode()))
    folders = set(TOP_DIRS)
    for name, path in scripts.items():
        for folder in parents(name):
            if folder not in folders:
                folders.add(folder)
                entries.append((folder, 0o040755, b""))
        entries.append((name, 0o100755, read(path)))

    image = newc(entries)
    path = os.path.join(
        cache, "initramfs-%s" % hashlib.sha256(image).hexdigest()[:16])
    if not os.path.exists(path):
        os.makedirs(cache, exist_ok=True)
        part = "%s.%d" % (path, os.getpid())
        with open(part, "wb") as file:
            file.write(image)
        os.rename(part, path)
    return path
