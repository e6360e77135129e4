"""A machine file with invented but plausible prices of every measured cost: no test depends on a calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.machine_file import MachineFile, host_name, write_machine_file
from model.costs import COSTS, CostTable
from model.machine import Footprint, Machine, Placement, Spread
from model.rules import rules_for

OTHER_HOST = "invented-0-0-kvm-6.18.44"
"""A name that no host's fingerprint is."""

PRICES_NS = {
    "syscall": 120,
    "clock_gettime": 40,
    "cpuid": 25_000,
    "locked_rmw": 6,
    "pipe_io": 700,
    "open_file": 2_500,
    "failed_open": 900,
    "mmap_pair": 2_000,
    "mprotect_split": 3_000,
    "context_switch": 1_500,
    "wake_idle_hot": 9_000,
    "wake_idle_200us": 25_000,
    "wake_idle_2ms": 45_000,
    "wake_idle_20ms": 65_000,
    "ipi_round": 30_000,
    "copy_process_fixed": 14_000,
    "dup_mm_fixed": 9_000,
    "dup_fd_slot": 3.2,
    "dup_fd_file": 12,
    "vm_area_dup": 290,
    "vm_area_dup_beyond_cache": 200,
    "anon_vma_fork": 480,
    "anon_vma_chain_link": 120,
    "vma_link_file": 100,
    "copy_present_pte": 42,
    "wrprotect_pte": 8,
    "copy_scattered_pte": 35,
    "copy_file_pte": 20,
    "copy_folio": 40,
    "copy_folio_pte": 10,
    "copy_pte_table": 1_800,
    "cold_pte": 8,
    "cold_zap_pte": 8,
    "copy_upper_table": 1_700,
    "copy_huge_pmd": 900,
    "reclaim_stack": 400,
    "fault_anon": 900,
    "fault_pte_table": 900,
    "fault_huge": 200_000,
    "fault_cow_copy": 2_200,
    "fault_cow_reuse": 750,
    "split_huge_pmd": 6_000,
    "huge_pmd_reuse": 900,
    "page_clear": 250,
    "page_copy": 600,
    "fault_file_read": 1_100,
    "fault_file_write": 1_500,
    "do_exit_fixed": 18_000,
    "exit_mm_fixed": 9_000,
    "remove_vma": 240,
    "unlink_anon_vma": 350,
    "unlink_file_vma": 110,
    "zap_pte": 45,
    "zap_scattered_pte": 40,
    "free_anon_page": 120,
    "zap_file_pte": 15,
    "zap_folio": 30,
    "zap_folio_pte": 5,
    "free_pte_table": 500,
    "free_upper_table": 500,
    "zap_huge_pmd": 650,
    "free_huge_page": 2_000,
    "filp_close": 45,
    "execve_prepare": 40_000,
    "execve_enoent": 2_500,
    "execve_fixed": 90_000,
    "exec_arg_page": 900,
    "ldso_fixed": 90_000,
    "libc_static_start": 30_000,
    "ldso_object": 45_000,
    "ldso_relative": 3.5,
    "ldso_lookup": 260,
    "ldso_probe": 18,
    "cold_copy_process": 40_000,
    "cold_dup_mm": 30_000,
    "cold_vma": 250,
    "cold_pte_table": 200,
    "cold_exit": 30_000,
    "cold_exit_mm": 20_000,
    "cold_remove_vma": 150,
    "cold_zap_table": 100,
    "cold_exec": 60_000,
    "cold_ldso": 60_000,
    "jdk_start_fixed": 60_000,
    "jdk_reap_fixed": 15_000,
    "cpython_popen_fixed": 180_000,
    "cpython_wait_fixed": 10_000,
}


def plausible_costs(seed: int = 7) -> CostTable:
    """Every measured cost priced, standard errors of 3 % with correlations."""
    names = tuple(name for name, spec in COSTS.items() if spec.bench)
    ns = {name: float(PRICES_NS.get(name, 1_000.0)) for name in names}
    draws = np.random.default_rng(seed).normal(size=(4 * len(names), len(names)))
    correlation = np.corrcoef(draws, rowvar=False)
    stderr = np.array([0.03 * ns[name] for name in names])
    return CostTable(ns=ns, names=names, covariance=correlation * np.outer(stderr, stderr))


def plausible_machine(name: str = "intel-6-167-kvm-6.18.44") -> Machine:
    """A machine with two placements a mechanism, a spread and footprints."""
    levels = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    ratios = (0.97, 0.99, 1.02, 1.06, 1.14, 1.4, 2.5)
    return Machine(
        name=name,
        cpu="Invented CPU 3000",
        hypervisor="kvm",
        kernel="6.18.44",
        glibc="2.36",
        cpus=2,
        rules=rules_for(kernel="6.18.44", glibc="2.36"),
        placements={
            "fork": (Placement(child="same", waker="preempt", weight=0.7), Placement(child="other", weight=0.3)),
            "vfork": (Placement(child="same", waker="queue", weight=0.6), Placement(waker="other", weight=0.4)),
            "*": (Placement(child="same", waker="preempt", weight=0.75), Placement(child="other", weight=0.25)),
        },
        spread={
            "plain": Spread(levels=levels, ratios=ratios),
            "wakes": Spread(levels=levels, ratios=(0.9, 0.95, 1.05, 1.2, 1.5, 2.2, 6.0)),
        },
        footprints={
            "c": Footprint(child_copies=8.0, child_file_faults=4.0, caller_copies=2.0, caller_reuses=4.0),
            "jvm": Footprint(child_copies=60.0, child_file_faults=2.0, caller_copies=25.0, caller_reuses=80.0),
            "cpython": Footprint(child_copies=220.0, child_file_faults=4.0, caller_copies=20.0, caller_reuses=15.0),
        },
        facts={"loader_cpuids": 27.0, "static_cpuids": 20.0, "scatter_cache_ptes": 38_400.0, "vma_cache_vmas": 1_000.0},
        measured={"anon_ptes": 262_144.0, "vmas": 4_000.0, "fds": 16_000.0, "threads": 400.0, "huge_pmds": 512.0},
        noise_floor=0.031,
        model_error={"plain": 0.04, "wakes": 0.12},
    )


def plausible_file(name: str = "intel-6-167-kvm-6.18.44") -> MachineFile:
    """The two together with some provenance."""
    return MachineFile(
        machine=plausible_machine(name),
        costs=plausible_costs(),
        provenance={"date": "2026-01-01", "samples": ["a-run", "b-run"], "mitigations": {"meltdown": "Not affected"}},
    )


def write_plausible(path: Path, *, this_host: bool = True) -> Path:
    """Write it, under this host's name or another's, and return the path."""
    write_machine_file(plausible_file(host_name() if this_host else OTHER_HOST), path)
    return path
