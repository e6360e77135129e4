"""The machine's facts, from a real and from made-up /proc and /sys."""

from __future__ import annotations

import dataclasses
import gzip
import platform
import re
from pathlib import Path

import pytest

from calibration.capture.host import fingerprint, host_facts

CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu {flags}

processor\t: 1
vendor_id\t: Other
"""


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(
        tmp_path,
        {
            "proc/cpuinfo": CPUINFO.format(flags=""),
            "proc/meminfo": "MemTotal:       1000 kB\nMemAvailable:    600 kB\n",
            "proc/loadavg": "0.25 0.5 0.75 1/99 1234\n",
            "proc/sys/kernel/osrelease": "5.14.0-503.el9.x86_64\n",
            "proc/sys/vm/overcommit_memory": "2\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
            "sys/kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never\n",
            "sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled": "always inherit madvise [never]\n",
            "sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected\n",
            "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
            "sys/devices/system/cpu/cpu0/cache/index0/size": "32K\n",
            "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
            "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
            "sys/devices/system/cpu/cpu0/cache/index2/size": "1024K\n",
            "sys/devices/system/cpu/cpu0/cache/index3/level": "3\n",
            "sys/devices/system/cpu/cpu0/cache/index3/size": "32M\n",
            "boot/config-5.14.0-503.el9.x86_64": "CONFIG_HZ=1000\nCONFIG_UNRELATED=y\n# CONFIG_KASAN is not set\n",
        },
    )
    return tmp_path


def test_facts_are_read_from_their_files(root: Path) -> None:
    facts = host_facts(date="2026-01-01", root=root)
    assert (facts.cpu_vendor, facts.cpu_family, facts.cpu_model) == ("AuthenticAMD", 25, 17)
    assert (facts.memory_bytes, facts.available_bytes) == (1000 * 1024, 600 * 1024)
    assert (facts.l2_bytes, facts.l3_bytes) == (1 << 20, 32 << 20)
    assert (facts.thp_enabled, facts.thp_defrag) == ("always", "madvise")
    assert facts.thp_sizes == {"hugepages-64kB": "never"}
    assert facts.mitigations == {"meltdown": "Not affected"}
    assert facts.kernel_config == {"HZ": "1000"}
    assert (facts.overcommit, facts.load_average, facts.date) == (2, 0.25, "2026-01-01")


def test_a_compressed_configuration_is_read_too(root: Path) -> None:
    (root / "proc/config.gz").write_bytes(gzip.compress(b'CONFIG_HZ=250\nCONFIG_PREEMPT="n"\n'))
    assert host_facts(root=root).kernel_config == {"HZ": "250", "PREEMPT": "n"}
    (root / "proc/config.gz").write_bytes(b"broken")
    assert host_facts(root=root).kernel_config == {"HZ": "1000"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flag is one of x86")
def test_the_name_tells_cpu_hypervisor_and_kernel(root: Path) -> None:
    assert fingerprint(host_facts(root=root)) == "amd-25-17-bare-5.14.0"
    put(root, {"sys/hypervisor/type": "xen\n"})
    assert fingerprint(host_facts(root=root)) == "amd-25-17-xen-5.14.0"


def test_nothing_readable_is_no_error(tmp_path: Path) -> None:
    facts = host_facts(root=tmp_path)
    assert facts.cpu_vendor == ""
    assert facts.memory_bytes == 0
    assert re.fullmatch(r"[a-z0-9_.-]+", fingerprint(facts))


def test_this_machine_has_a_name_without_its_host_name() -> None:
    facts = host_facts()
    assert facts.memory_bytes > 0
    assert facts.cpus_online >= 1
    assert facts.kernel_release == platform.release()
    assert fingerprint(facts) == fingerprint(dataclasses.replace(facts, load_average=99.0, date="later"))
    assert re.fullmatch(r"[a-z0-9_.-]+", fingerprint(facts))
    host = platform.node().lower()
    assert len(host) < 4 or host not in str(dataclasses.asdict(facts)).lower()


def test_what_matters_changes_the_name(root: Path) -> None:
    facts = host_facts(root=root)
    others = (
        dataclasses.replace(facts, kernel_release="7.1.2-x"),
        dataclasses.replace(facts, hypervisor="hyperv"),
        dataclasses.replace(facts, cpu_model=3),
    )
    assert len({fingerprint(each) for each in (facts, *others)}) == 4
