"""What a document must warn of: where the machine file, the parent or the question leave solid ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from calibration.capture.host import HostFacts, fingerprint
from calibration.machine_file import LITERATURE, MachineFile
from experiments.scenarios import Notice, Question
from model.costs import COSTS
from model.elf_image import ElfImage
from model.machine import Machine
from model.mechanisms import placements_seen
from model.prediction import Prediction
from model.process import Process
from model.rules import differing, parse_version

STRICT = frozenset({"extrapolates", "literature", "other_host", "other_kernel", "rule_not_measured"})
"""Codes with which `--strict` refuses to answer."""
_SLACK = 1.05
"""A parent so little beyond what was measured is no extrapolation."""
TWO_MODES = 2.0
"""p90 over p10 from which a mixture of placements is worth a warning."""
_RARE = 0.1
_SHOWN = 0.005
"""Share of a time from which it is told whose prices it is made of: less would be shown as 0 %."""
_ASSUMED = {
    "contiguous": "how far its page frames are neighbours cannot be read: {value:g} is assumed (--contiguous)",
    "writable": "how much of it was written since its last fork cannot be read: {value:g} is assumed (--writable)",
    "threads": "its threads were not seen: {value} is assumed",
    "running_threads": "which of its threads run was not seen: {value} others are assumed",
    "open_fds": "its descriptors were not seen: {value} are assumed",
    "highest_fd": "its highest descriptor was not seen: {value} is assumed",
    "cloexec_fds": "which descriptors exec closes was not seen: {value} are assumed",
    "runtime": "which runtime it is was not seen: {value} is assumed",
    "resident": "what is resident was spread over the mappings by their size (maps has no counts)",
    "vmas": "nothing tells whether its list of mappings is whole",
    "folio_pages": "the sizes of its folios cannot be read: 4 KiB is assumed",
    "pte_spans": "where in its mappings pages lie cannot be read: they are taken as dense",
}

Reading = Callable[[Process, ElfImage], float]
_SPACE: Mapping[str, Reading] = {
    "anon_ptes": lambda parent, target: parent.space.total("anon_ptes"),
    "file_ptes": lambda parent, target: parent.space.total("file_ptes"),
    "swap_ptes": lambda parent, target: parent.space.total("swap_ptes"),
    "huge_pmds": lambda parent, target: parent.space.total("huge_pmds"),
    "hugetlb_pages": lambda parent, target: parent.space.total("hugetlb_pages"),
    "pte_tables": lambda parent, target: parent.space.tables.pte,
    "vmas": lambda parent, target: len(parent.space.vmas),
    "anon_vma_chain": lambda parent, target: max((vma.anon_vma_chain for vma in parent.space.vmas), default=1),
    "threads": lambda parent, target: parent.threads,
    "running_threads": lambda parent, target: parent.running_threads,
}
"""Attributes that only matter where the mm is copied."""
_ALWAYS: Mapping[str, Reading] = {
    "fds": lambda parent, target: parent.open_fds,
    "open_fds": lambda parent, target: parent.open_fds,
    "fd_slots": lambda parent, target: parent.fd_slots,
    "highest_fd": lambda parent, target: parent.highest_fd,
    "libraries": lambda parent, target: len(target.libraries),
    "relative_relocations": lambda parent, target: target.relative_relocations,
    "symbol_lookups": lambda parent, target: target.symbol_lookups,
}


def extrapolation(machine: Machine, question: Question, prediction: Prediction) -> dict[str, tuple[float, float]]:
    """Attributes beyond what the machine's benches reached, as far as they act here: value and largest measured."""
    acting = {**_ALWAYS, **(_SPACE if "dup_mm_fixed" in prediction.bill.counts else {})}
    values = {name: acting[name](question.parent, question.target) for name in machine.measured if name in acting}
    return {
        name: (value, machine.measured[name])
        for name, value in values.items()
        if value > machine.measured[name] * _SLACK
    }  # fmt: skip


def extrapolations(machine: Machine, question: Question, prediction: Prediction) -> Iterator[Notice]:
    """The same as warnings."""
    for name, (value, reached) in extrapolation(machine, question, prediction).items():
        beyond = f"{value / reached:.1f} times the {reached:,.0f}" if reached else "none was"
        yield Notice("extrapolates", f"{value:,.0f} {name} are {beyond} measured on {machine.name}")


def not_own(file: MachineFile, prediction: Prediction) -> Iterator[Notice]:
    """Prices on the path that another machine's file supplied, or that no source gives."""
    counts, costs = prediction.bill.counts, file.costs
    told = {
        "inherited": (costs.inherited, "comes from prices of another machine"),
        "assumed_price": (file.assumed, f"comes from prices that no source gives of {file.machine.name}"),
    }
    for code, (which, text) in told.items():
        names = [name for name in counts if name in which]
        if names and prediction.bill.elapsed_ns:
            share = sum(counts[name] * costs.price(name) for name in names) / prediction.bill.elapsed_ns
            if share < _SHOWN:
                continue
            first = max(names, key=lambda name: counts[name] * costs.price(name))
            yield Notice(code, f"{share:.0%} {text}, most of it {first}")


def stood_in(file: MachineFile, prediction: Prediction) -> Iterator[Notice]:
    """Prices on the path that the machine file lacks, because it is older than their bench."""
    counts, costs = prediction.bill.counts, file.costs
    names = [
        name for name in counts if name not in costs.ns and COSTS[name].otherwise is not None and costs.price(name)
    ]
    if names and prediction.bill.elapsed_ns:
        share = sum(counts[name] * costs.price(name) for name in names) / prediction.bill.elapsed_ns
        text = f"{share:.0%} comes from prices that {file.machine.name} has not measured and others stand in for"
        if share >= _SHOWN:
            yield Notice("assumed_price", f"{text}: {', '.join(sorted(names))}; calibrate again")


def placements(machine: Machine, question: Question, prediction: Prediction) -> Iterator[Notice]:
    """Milestones with two modes because the scheduler places the tasks in several ways."""
    found = placements_seen(question.scenario(prediction.mechanism), machine)
    if sum(each.weight >= _RARE for each in found) < 2:
        return
    wide = [name for name, each in prediction.milestones.items() if each.p90_ns > TWO_MODES * each.p10_ns]
    if wide:
        likeliest = found[0]
        text = f"{', '.join(wide)} can have two modes: the likeliest placement (child on {_cpu(likeliest.child)} CPU, "
        yield Notice("placement", f"{text}caller's wake-up: {likeliest.waker}) was seen in {likeliest.weight:.0%}")


def _cpu(child: str) -> str:
    return "the caller's" if child == "same" else "another"


def of_prediction(file: MachineFile, question: Question, prediction: Prediction) -> tuple[Notice, ...]:
    """Warnings that hold for one mechanism."""
    return (
        *extrapolations(file.machine, question, prediction),
        *not_own(file, prediction),
        *stood_in(file, prediction),
        *placements(file.machine, question, prediction),
    )


def of_question(file: MachineFile, question: Question, host: str, facts: HostFacts | None = None) -> tuple[Notice, ...]:
    """Warnings that hold whatever the mechanism.

    Args:
        host: the name that a machine file of this host would bear; empty: it does not matter.
        facts: this host now; None: what changed on it since the calibration does not matter.
    """
    changed = _changes(file, facts) if facts is not None else ()
    about = (*_of_parent(question.parent), *_of_load(question, file.machine))
    return (*_of_machine(file, question, host), *changed, *about, *question.notices)


def _of_machine(file: MachineFile, question: Question, host: str) -> Iterator[Notice]:
    machine = file.machine
    if file.kind == LITERATURE:
        told = f"{len(file.published)} of {len(file.costs.ns)} prices have a source"
        assumed = file.provenance.get("assumed", "nothing else")
        yield Notice("literature", f"nobody measured {machine.name} here: {told}, the others are assumed; {assumed}")
    if host and machine.name != host:
        yield Notice("other_host", f"the prices are those of {machine.name}, this host is {host}")
        kind, _, kernel = host.rpartition("-")
        if not question.kernel and machine.name.rpartition("-")[0] == kind:
            yield Notice("other_kernel", f"the prices are older than this host's kernel, {kernel}: calibrate again")
    if question.kernel and parse_version(question.kernel) != parse_version(machine.kernel or "0"):
        kernel = machine.kernel or "an unknown kernel"
        yield Notice("other_kernel", f"prices measured on {kernel} under the rules of {question.kernel}")
    names = differing(question.rules, machine.rules)
    if names:
        told = ", ".join(f"{name}{_idle_rule(name, question.parent)}" for name in names)
        yield Notice("rule_not_measured", f"not the rules of the measured kernel and libc: {told}")


def _idle_rule(name: str, parent: Process) -> str:
    """Why a rule changes nothing here, in brackets; empty if it can."""
    if name != "overcommit_guess" or parent.limits.commit_mode is not None:
        return ""
    return f" (no effect: a {parent.origin} parent is taken to fit; it acts on --pid, --procfs and snapshots)"


def _changes(file: MachineFile, facts: HostFacts) -> Iterator[Notice]:
    """What the name of a machine does not tell: a kernel of the same version built anew, another THP mode."""
    if file.machine.name != fingerprint(facts):
        return
    then = file.provenance
    changed = [
        words
        for name, value in facts.identity.items()
        if value and name in then
        for words in _change(name, then[name], value)
    ]
    if changed:
        date = str(then.get("date", ""))[:10] or "its calibration"
        yield Notice("host_changed", f"this host changed since {date}: {'; '.join(changed)}: calibrate again")


def _change(name: str, then: object, now: object) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        differing_keys = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        if differing_keys:
            yield f"{name} {', '.join(differing_keys[:3])}{' ...' if len(differing_keys) > 3 else ''}"
    elif str(then) != str(now):
        yield f"{name} {then} -> {now}"


def _of_load(question: Question, machine: Machine) -> Iterator[Notice]:
    """Where copies take frames that a hypervisor may have to give first."""
    load = question.load
    if load.mutators and not load.unbacked and machine.hypervisor not in ("", "bare"):
        text = "copies are taken to find frames that the hypervisor backs already"
        yield Notice("assumed_backed", f"{text}; `unbacked = 0.5` in the load: half of them it has yet to give")


def _of_parent(parent: Process) -> Iterator[Notice]:
    for name in parent.assumed:
        text = _ASSUMED.get(name, f"{name} was not seen and is assumed").format(value=getattr(parent, name, ""))
        code = "assumed_contiguity" if name == "contiguous" else f"assumed_{name}"
        yield Notice(code, text)
