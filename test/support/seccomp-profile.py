"""seccomp-profile.py PROFILE OUT: a container engine's seccomp profile (JSON, as Docker and CRI-O have it) for a container with the
capabilities of the manifests, written as the BPF program that the kernel takes. Needs Debian's python3-seccomp."""

import errno
import json
import os
import sys

import seccomp

CAPABILITIES = {"CAP_NET_ADMIN", "CAP_NET_RAW"}
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
OPERATORS = {
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}
# What engines refuse by now, and the profile of Debian's release still lets pass.
REFUSED = {"io_uring_setup", "io_uring_enter", "io_uring_register"}


def applies(rule):
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not CAPABILITIES.issuperset(includes.get("caps", [])) or CAPABILITIES.intersection(excludes.get("caps", [])):
        return False
    return ARCH in includes.get("arches", [ARCH]) and ARCH not in excludes.get("arches", [])


def action(rule):
    if rule["action"] == "SCMP_ACT_ALLOW":
        return seccomp.ALLOW
    return seccomp.ERRNO(rule.get("errnoRet", errno.EPERM))


def argument(match):
    operands = [match["value"], match.get("valueTwo", 0)] if match["op"] == "SCMP_CMP_MASKED_EQ" else [match["value"]]
    return seccomp.Arg(match["index"], OPERATORS[match["op"]], *operands)


profile = json.load(open(sys.argv[1], encoding="utf8"))
default = seccomp.ERRNO(profile.get("defaultErrnoRet", errno.EPERM))
program = seccomp.SyscallFilter(default)
for rule in filter(applies, profile["syscalls"]):
    for name in set(rule["names"]) - REFUSED:
        try:
            seccomp.resolve_syscall(seccomp.Arch(), name)
        except (RuntimeError, ValueError):
            continue
        # A rule that does as the default does is an error of its own.
        if rule["action"] == "SCMP_ACT_ALLOW" or rule.get("errnoRet", errno.EPERM) != profile.get("defaultErrnoRet", errno.EPERM):
            program.add_rule(action(rule), name, *map(argument, rule.get("args") or []))
with open(sys.argv[2], "wb") as out:
    program.export_bpf(out)
