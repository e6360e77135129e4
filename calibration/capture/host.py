"""What machine is this? The facts a calibration's numbers hold for, and a name made of the few that matter most."""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import mmap
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path("/")
_MEMORY = "sys/kernel/mm/transparent_hugepage"
#: Kernel options that change what fork, exec or a fault costs.
_CONFIG = re.compile(
    r"^CONFIG_(PREEMPT\w*|HZ|NO_HZ\w*|MITIGATION\w*|PAGE_TABLE_ISOLATION|MEMCG\w*|TRANSPARENT_HUGEPAGE\w*|PER_VMA_LOCK"
    r"|PAGE_MAPCOUNT|NO_PAGE_MAPCOUNT|DEBUG_VM\w*|KASAN|KFENCE|KMSAN|PROVE_LOCKING|INIT_ON_\w+|HARDENED_USERCOPY|VMAP_STACK"
    r"|SHADOW_CALL_STACK|SECURITY_SELINUX|SECURITY_APPARMOR|AUDITSYSCALL|PAGE_REPORTING|X86_USER_SHADOW_STACK|NR_CPUS"
    r"|SCHED_CORE|SCHED_AUTOGROUP|LRU_GEN\w*|PARAVIRT|BROADCAST_TLB_FLUSH|SLUB_\w+)=(.*)$",
    re.MULTILINE,
)
_VENDORS = {"GenuineIntel": "intel", "AuthenticAMD": "amd", "HygonGenuine": "hygon", "0x41": "arm", "0xc0": "ampere"}
_HYPERVISORS = {
    "KVMKVMKVM": "kvm", "Linux KVM Hv": "kvm", "Microsoft Hv": "hyperv", "VMwareVMware": "vmware",
    "XenVMMXenVMM": "xen", "TCGTCGTCGTCG": "qemu", "VBoxVBoxVBox": "virtualbox", "bhyve bhyve ": "bhyve",
    "ACRNACRNACRN": "acrn",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine and its state. What cannot be read is "" or 0. No field holds a host or user name."""

    cpu_vendor: str
    cpu_family: int
    cpu_model: int
    cpu_name: str
    hypervisor: str  # "bare" without one
    machine: str
    kernel_release: str
    kernel_version: str
    kernel_config: dict[str, str]
    thp_enabled: str
    thp_defrag: str
    thp_sizes: dict[str, str]
    mitigations: dict[str, str]
    cpus_online: int
    memory_bytes: int
    available_bytes: int
    l2_bytes: int
    l3_bytes: int
    glibc: str
    clocksource: str
    governor: str
    idle_governor: str
    overcommit: int
    load_average: float
    date: str
    base_slice_ns: int = 0
    invlpgb: bool = False

    @property
    def scheduler(self) -> dict[str, float]:
        """The machine's facts `tick_ns` and `base_slice_ns`, as far as the kernel told them."""
        hz = _number(self.kernel_config.get("HZ", ""))
        found = {"tick_ns": 1e9 / hz if hz else 0.0, "base_slice_ns": float(self.base_slice_ns)}
        return {name: ns for name, ns in found.items() if ns}

    @property
    def features(self) -> dict[str, float]:
        """Facts of the machine that the CPU tells: `invlpgb`, where it has that instruction."""
        return {"invlpgb": 1.0} if self.invlpgb else {}

    @property
    def identity(self) -> dict[str, Any]:
        """What lasts and moves prices, by its name in the head of a machine file."""
        return {
            "kernel": self.kernel_release,
            "kernel_version": self.kernel_version,
            "kernel_config": dict(self.kernel_config),
            "mitigations": dict(self.mitigations),
            "thp_enabled": self.thp_enabled,
            "thp_defrag": self.thp_defrag,
            "glibc": self.glibc,
        }


def host_facts(*, date: str = "", root: Path = _ROOT) -> HostFacts:
    """The facts of this machine. Raises nothing: what cannot be read is left empty.

    Args:
        date: when, as the caller wants it recorded.
        root: where proc, sys and boot are (for tests).
    """
    cpu = _cpu_fields(_text(root / "proc/cpuinfo"))
    memory = dict(re.findall(r"^(\w+):\s+(\d+)", _text(root / "proc/meminfo"), re.MULTILINE))
    cpus = root / "sys/devices/system/cpu"
    release = _text(root / "proc/sys/kernel/osrelease")
    return HostFacts(
        cpu_vendor=cpu.get("vendor_id", cpu.get("CPU implementer", "")),
        cpu_family=_number(cpu.get("cpu family", cpu.get("CPU architecture", ""))),
        cpu_model=_number(cpu.get("model", cpu.get("CPU part", ""))),
        cpu_name=cpu.get("model name", ""),
        hypervisor=_hypervisor(root, cpu.get("flags", "").split()),
        machine=platform.machine(),
        kernel_release=release,
        kernel_version=_text(root / "proc/sys/kernel/version"),
        kernel_config=_kernel_config(root, release),
        thp_enabled=_chosen(root / _MEMORY / "enabled"),
        thp_defrag=_chosen(root / _MEMORY / "defrag"),
        thp_sizes=_by_folder(root / _MEMORY, "hugepages-*kB/enabled"),
        mitigations={path.name: _text(path) for path in sorted((cpus / "vulnerabilities").glob("*"))},
        cpus_online=os.cpu_count() or 1,
        memory_bytes=_number(memory.get("MemTotal", "")) * 1024,
        available_bytes=_number(memory.get("MemAvailable", "")) * 1024,
        l2_bytes=_cache_bytes(cpus / "cpu0/cache", "2"),
        l3_bytes=_cache_bytes(cpus / "cpu0/cache", "3"),
        glibc=_glibc(),
        clocksource=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        governor=_text(cpus / "cpu0/cpufreq/scaling_governor"),
        idle_governor=_text(cpus / "cpuidle/current_governor"),
        overcommit=_number(_text(root / "proc/sys/vm/overcommit_memory")),
        load_average=float((_text(root / "proc/loadavg").split() or ["0"])[0]),
        date=date,
        base_slice_ns=_base_slice_ns(root),
        invlpgb=root == _ROOT and _has_invlpgb(cpu.get("vendor_id", "")),
    )


def _base_slice_ns(root: Path) -> int:
    """EEVDF's slice from debugfs, which root may read where it is mounted; 0 where not."""
    return _number(_text(root / "sys/kernel/debug/sched/base_slice_ns"))


def fingerprint(facts: HostFacts) -> str:
    """A name for this kind of machine: cpu, hypervisor, kernel, such as intel-6-167-kvm-6.18.44; never a host name."""
    vendor = _VENDORS.get(facts.cpu_vendor, facts.cpu_vendor or facts.machine).lower()
    kernel = re.match(r"\d+(\.\d+)*", facts.kernel_release)
    parts = (vendor, facts.cpu_family, facts.cpu_model, facts.hypervisor, kernel.group() if kernel else "unknown")
    return "-".join(re.sub(r"[^a-z0-9.]+", "_", str(part)) for part in parts)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _cpu_fields(text: str) -> dict[str, str]:
    """The fields of the first cpu of /proc/cpuinfo."""
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _chosen(path: Path) -> str:
    """The word in brackets of a setting such as: always [madvise] never."""
    found = re.search(r"\[(\w+(?:\+\w+)?)\]", _text(path))
    return found.group(1) if found else ""


def _by_folder(folder: Path, pattern: str) -> dict[str, str]:
    return {path.parent.name: _chosen(path) for path in sorted(folder.glob(pattern))}


def _cache_bytes(folder: Path, level: str) -> int:
    """The size of the data cache of a level. The index files say 2048K."""
    for index in sorted(folder.glob("index*")):
        size = re.fullmatch(r"(\d+)([KMG]?)", _text(index / "size"))
        if size and _text(index / "level") == level and _text(index / "type") != "Instruction":
            return int(size.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[size.group(2)]
    return 0


def _kernel_config(root: Path, release: str) -> dict[str, str]:
    text = ""
    with contextlib.suppress(OSError, EOFError, UnicodeDecodeError):
        text = gzip.decompress((root / "proc/config.gz").read_bytes()).decode()
    text = text or _text(root / f"boot/config-{release}")
    return {name: value.strip('"') for name, value in _CONFIG.findall(text)}


def _glibc() -> str:
    try:
        version = ctypes.CDLL(None).gnu_get_libc_version
    except (OSError, AttributeError):  # another libc
        return ""
    version.restype = ctypes.c_char_p
    return bytes(version()).decode()


def _hypervisor(root: Path, flags: list[str]) -> str:
    """The hypervisor, "bare" if the cpu says there is none, "unknown" if it does not say which."""
    if _text(root / "sys/hypervisor/type"):
        return _text(root / "sys/hypervisor/type")
    if "hypervisor" not in flags and platform.machine() == "x86_64":
        return "bare"
    signature = _cpuid_signature() if "hypervisor" in flags else ""
    if signature in _HYPERVISORS:
        return _HYPERVISORS[signature]
    clocks = _text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource")
    if "kvm-clock" in clocks:
        return "kvm"
    maker = " ".join(_text(root / f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")).lower()
    known = {"kvm": "kvm", "qemu": "qemu", "amazon": "kvm", "google": "kvm", "vmware": "vmware", "microsoft": "hyperv"}
    found = [name for word, name in known.items() if word in maker]
    return found[0] if found else "unknown" if "hypervisor" in flags else "bare"


def _cpuid_signature() -> str:
    """The twelve letters of CPUID leaf 0x40000000; "" where that is not allowed."""
    return _cpuid(0x40000000).decode("ascii", "replace").rstrip("\0")


def _has_invlpgb(vendor: str) -> bool:
    """Whether CPUID leaf 0x80000008 shows INVLPGB, bit 3 of EBX: `arch/x86/include/asm/cpufeatures.h` word 13."""
    found = _cpuid(0x80000008) if vendor in ("AuthenticAMD", "HygonGenuine") else b""
    return bool(found) and bool(found[0] >> 3 & 1)


def _cpuid(leaf: int) -> bytes:
    """EBX, ECX and EDX of a leaf, by a few bytes of machine code; nothing where that is not allowed."""
    # push rbx; mov eax,edi; xor ecx,ecx; cpuid; mov [rsi],ebx; mov [rsi+4],ecx; mov [rsi+8],edx; pop rbx; ret
    code = bytes.fromhex("53 89f8 31c9 0fa2 891e 894e04 895608 5b c3")
    if platform.machine() != "x86_64":
        return b""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a policy forbids memory that can be written and executed
        return b""
    page.write(code)
    entry = ctypes.c_char.from_buffer(page)
    letters = ctypes.create_string_buffer(12)
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(ctypes.addressof(entry))
    call(leaf, ctypes.addressof(letters))
    del entry  # the page cannot be closed while somebody points into it
    page.close()
    return letters.raw
