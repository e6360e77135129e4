"""What a spawn costs: a pure performance model of process creation on Linux x86-64.

Table of contents: `simulate` and `bill` run a `Scenario` on a `Machine` with a `CostTable`.
"""

from model.address_space import AddressSpace, Vma, VmaKind
from model.costs import COSTS, CostTable
from model.elf_image import NO_IMAGE, ElfImage, ElfObject
from model.ledger import Bill
from model.machine import Machine
from model.prediction import Prediction
from model.process import Caller, Process
from model.rules import Rules, rules_for
from model.scenario import Scenario, Spawn, Wait, spawn_and_wait
from model.simulation import bill, simulate

__all__ = [
    "COSTS",
    "NO_IMAGE",
    "AddressSpace",
    "Bill",
    "Caller",
    "CostTable",
    "ElfImage",
    "ElfObject",
    "Machine",
    "Prediction",
    "Process",
    "Rules",
    "Scenario",
    "Spawn",
    "Vma",
    "VmaKind",
    "Wait",
    "bill",
    "rules_for",
    "simulate",
    "spawn_and_wait",
]
