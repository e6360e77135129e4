"""The list behind `calibration.plan`: one line a row, `name: bench --options | flags`.

Flags: `quick` (also in a quick calibration), `count` (a fact, not a time), `held-out`, `spread`, `unpinned`, `state`,
`beside` (every other CPU busy: tells placements alone), `runtime` (a live parent, after the benches), `other` (only
what a child on another CPU than its caller's did), `modes` (fitted, and tells placements as a spread row does),
`processes=N`, `reps=N`, `milestones=a,b`. Held-out rows are never fitted.
"""

from __future__ import annotations

VALUES = """
loader-cpuids: loader_cpuids --target dynamic | count quick processes=1 reps=1
static-cpuids: loader_cpuids --target static_glibc | count quick processes=1 reps=1
syscall: null_syscall | quick processes=6
clock: clock | quick processes=6
cpuid: cpuid | quick processes=6
locked-rmw: locked_rmw | quick processes=6
pipe: pipe_rw | quick processes=6
open: open_close | quick processes=6
enoent: open_enoent | quick processes=6
mmap: mmap_munmap | quick processes=6
mprotect: mprotect | processes=6
clear: page_clear --mib 256 | processes=5
copy: page_copy --mib 256 | processes=5
clear-beside: page_clear --mib 256 --beside 1 | processes=5
copy-beside: page_copy --mib 256 --beside 1 | processes=5
touch-64: touch --pages 64 | quick
touch-256: touch --pages 256
touch-1k: touch --pages 1024 | quick
touch-2k: touch --pages 2048 | processes=6
touch-sparse: touch --pages 256 --sparse | quick
touch-thp: touch --pages 16 --thp | quick processes=6
touch-zero: touch --pages 1024 --read | processes=6
touch-zero-thp: touch --pages 64 --thp --read | processes=6
touch-zero-write: touch --pages 512 --after-read | processes=6
touch-folio-16k: touch --pages 2048 --kib 16 | processes=4
touch-folio-512k: touch --pages 2048 --kib 512 | processes=4
munmap-16: munmap --pages 16 | quick
munmap-128: munmap --pages 128 | quick
munmap-1k: munmap --pages 1024 | quick
munmap-4k: munmap --pages 4096 | processes=6
munmap-sparse: munmap --pages 256 --sparse | quick
munmap-thp: munmap --pages 16 --thp | quick processes=6
munmap-folio-16k: munmap --pages 8192 --kib 16 | processes=4
munmap-folio-512k: munmap --pages 8192 --kib 512 | processes=4
munmap-folio-2m: munmap --pages 8192 --split | processes=4
munmap-folio-16k-far: munmap --pages 65536 --kib 16 | processes=3 reps=3
munmap-folio-512k-far: munmap --pages 65536 --kib 512 | processes=3 reps=3
munmap-64k: munmap --pages 65536 | processes=3 reps=3
cow-64: cow --pages 64 | quick
cow-1k: cow --pages 1024 | quick processes=6
cow-4k: cow --pages 4096 | processes=6
cow-16k: cow --pages 16384 | processes=6
cow-asleep-1: cow --pages 16384 --writes 100 --burst 1 --gap-us 1000 | processes=4
cow-asleep-10: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 | processes=4
cow-gone-asleep-1: cow --pages 16384 --writes 100 --burst 1 --gap-us 1000 --gone | processes=4
cow-gone-asleep-10: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 --gone | processes=4
cow-strewn: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 --random | processes=4
cow-gone-strewn: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 --gone --random | processes=4
write-strewn: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 --alone --random | processes=4
write-strewn-thp: cow --pages 32 --thp --each --writes 1000 --burst 10 --gap-us 1000 --alone --random | processes=4
cow-gone: cow --pages 1024 --gone | quick processes=6
cow-thp: cow --pages 8 --thp | processes=6
cow-thp-gone: cow --pages 8 --thp --gone | processes=6
file-read: file_fault --pages 1024 | quick
file-write: file_write --pages 512 | quick
cold-read-4: cold_read --kib 4
cold-read-512: cold_read --kib 512
cold-read-installed: cold_read --kib 512 --n 8 --installed
noexec: exec_noexec | quick
exec-enoent: exec_enoent | quick
tlb-refill-64: tlb_refill --pages 64 --extra | quick processes=6
tlb-refill-256: tlb_refill --pages 256 --extra | processes=6
tlb-refill-1k: tlb_refill --pages 1024 --extra | processes=6
flush-alone: shootdown --n 300 | quick processes=6
flush-round: shootdown --running 1 --n 300 | quick processes=6
flush-victim: shootdown --running 1 --victim --n 300 | quick processes=6
wake-same: wake --same | quick
wake-hot: wake --other --gap-us 5 | quick unpinned processes=6
wake-200us: wake --other --gap-us 100 | quick unpinned processes=6
wake-2ms: wake --other --gap-us 1500 | quick unpinned processes=6
wake-20ms: wake --other --gap-us 20000 | unpinned processes=4
"""

FORKS = """
clone-vm: clone_vm_exit | quick processes=24
vfork: vfork_exit | quick processes=24
fork-0: fork_touched --pages 0 | quick processes=24
fork-256: fork_touched --pages 256 | quick
fork-4k: fork_touched --pages 4096 | quick
fork-8k: fork_touched --pages 8192 | processes=8
fork-12k: fork_touched --pages 12288 | processes=8
fork-16k: fork_touched --pages 16384 | quick processes=8
fork-rewrite-4k: fork_touched --pages 4096 --rewrite | quick
fork-rewrite-16k: fork_touched --pages 16384 --rewrite | processes=8
fork-tables-64: fork_sparse --tables 64 | quick
fork-tables-32: fork_sparse --tables 32
fork-tables-128: fork_sparse --tables 128
fork-tables-512: fork_sparse --tables 512 | quick
fork-tables-1024: fork_sparse --tables 1024 | processes=8
fork-gib: fork_sparse --gib 24 | quick
fork-thp-16: fork_thp --huge 16
fork-thp-64: fork_thp --huge 64 | quick
fork-thp-256: fork_thp --huge 256 | processes=6
fork-thp-600: fork_thp --huge 600 | processes=4 reps=5
fork-folio-16k: fork_folios --kib 16 --pages 8192 | processes=8
fork-folio-64k: fork_folios --kib 64 --pages 8192 | processes=8
fork-folio-512k: fork_folios --kib 512 --pages 8192 | processes=8
fork-folio-2m: fork_folios --split --pages 8192 | processes=8
fork-folio-16k-far: fork_folios --kib 16 --pages 262144 | processes=3 reps=3
fork-folio-512k-far: fork_folios --kib 512 --pages 262144 | processes=3 reps=3
fork-anon-empty: fork_vmas --kind anon_empty --vmas 400 | quick
fork-anon-page: fork_vmas --kind anon_page --vmas 400 | quick
fork-file-clean: fork_vmas --kind file_clean --vmas 400 | quick
fork-file-dirty: fork_vmas --kind file_dirty --vmas 400
fork-guard: fork_vmas --kind guard --vmas 400
fork-anon-empty-3k: fork_vmas --kind anon_empty --vmas 3000 | processes=6
fork-anon-page-3k: fork_vmas --kind anon_page --vmas 3000 | processes=6
fork-dontfork: fork_vmas --kind dontfork --vmas 400
fork-shared: fork_vmas --kind shared_anon --vmas 400
fork-chain: fork_chain --depth 6 --vmas 200
fork-file-ptes: fork_file_ptes --pages 8192 | quick processes=8
fork-fds-high: fork_fds --high 8000 | quick
fork-fds-open: fork_fds --open 1000 | quick
fork-threads: fork_threads --threads 100 | quick
fork-threads-raw: fork_threads --threads 100 --mech fork_raw
fork-other: fork_touched --pages 0 | unpinned other milestones=call reps=20
away-0: fork_touched --pages 0 --elsewhere | unpinned processes=16
away-16k: fork_touched --pages 16384 --elsewhere | unpinned processes=8
away-empty: fork_vmas --kind anon_empty --vmas 400 --elsewhere | unpinned
away-page: fork_vmas --kind anon_page --vmas 400 --elsewhere | unpinned
away-tables: fork_sparse --tables 256 --elsewhere | unpinned
away-thp: fork_thp --huge 300 --elsewhere | unpinned processes=8
fork-running: fork_threads --running 1 | unpinned milestones=call processes=16
"""

EXECS = """
exec-tiny: exec_target --target tiny_static | quick processes=20 milestones=call,main,reaped
exec-tiny-args: exec_target --target tiny_static --env-bytes 65536 | quick
exec-tiny-fds: exec_target --target tiny_static --cloexec 200
exec-static: exec_target --target static_glibc | milestones=call,main,reaped
exec-static-pie: exec_target --target static_pie | held-out
exec-dynamic: exec_target --target dynamic | quick processes=20 milestones=call,main,reaped
exec-dynamic-main: exec_target --target dynamic_main | quick processes=16
exec-libs-8: exec_target --target libs --libs 8
exec-libs-24: exec_target --target libs --libs 24 | quick
exec-libs-relative: exec_target --target libs --libs 4 --relative 20000 | quick
exec-libs-dirty: exec_target --target libs --libs 4 --relative 800 --rel-spread 200
exec-libs-lookups-near: exec_target --target libs --libs 2 --exports 500 --lookups 2000 | quick
exec-libs-names: exec_target --target libs --libs 24 --exports 200 --lookups 200 --distinct 1 --name-bytes 40
exec-libs-lookups-cold: exec_target --target libs --libs 24 --exports 2000 --lookups 200 --distinct 1
exec-libs-bss: exec_target --target libs --libs 24 --bss-pages 4
exec-libs-cached: exec_target --target libs --libs 2 --exports 500 --lookups 2000 --repeats 9
exec-libs-versions: exec_target --target libs --libs 2 --exports 500 --lookups 2000 --versioned 1
exec-libs-segments: exec_target --target libs --libs 24 --exports 1 --rodata 1
exec-libs-c: exec_target --target libs --libs 24 --exports 200 --relative 300 --rel-spread 2 --lookups 60 --distinct 1 \
  --name-bytes 16 --rodata 1 --bss-pages 1 --versioned 1
exec-libs-cxx: exec_target --target libs --libs 32 --exports 1000 --relative 1500 --rel-spread 12 --lookups 250 \
  --distinct 1 --name-bytes 40 --rodata 1 --bss-pages 1 --versioned 1
exec-libs-probes: exec_target --target libs --libs 32 --exports 1 --lookups 250 --distinct 1
exec-libs-mixed: exec_target --target libs --libs 24 --exports 200 --lookups 200 --distinct 1 --name-bytes 48 --mixed 1
exec-libs-96: exec_target --target libs --libs 96
exec-libs-by-name: exec_target --target libs --libs 24 --by-name 1 | held-out
exec-setid: exec_setid --target tiny_static | processes=30 milestones=call,main,reaped
exec-threads-2: exec_threads --target tiny_static --threads 2
exec-threads-20: exec_threads --target tiny_static --threads 20
exec-threads-200: exec_threads --target tiny_static --threads 200 | processes=8
exec-libs-lookups-far: exec_target --target libs --libs 24 --exports 200 --lookups 200
"""

STATES = """
cold-clone-vm: clone_vm_exit --cold-ms 20 | state quick processes=16 reps=3
cold-fork: fork_touched --pages 0 --cold-ms 20 | state quick processes=20 reps=3
cold-vmas: fork_vmas --kind anon_page --vmas 400 --cold-ms 20 | state quick processes=12 reps=3
cold-tables: fork_sparse --tables 256 --cold-ms 20 | state quick processes=12 reps=3
cold-ptes: fork_touched --pages 49152 --order random --cold-ms 20 | state processes=6 reps=3
cold-ptes-16k: fork_touched --pages 16384 --cold-ms 20 | state processes=8 reps=3
cold-exec: exec_target --target tiny_static --cold-ms 20 | state quick processes=16 reps=3 milestones=call,main,reaped
cold-ldso: exec_target --target dynamic --cold-ms 20 | state quick processes=16 reps=3 milestones=call,main,reaped
order-64k: fork_touched --pages 65536 --hog-mib 1024 | state processes=4
order-128k: fork_touched --pages 131072 --hog-mib 1024 | state processes=4 reps=5
order-256k: fork_touched --pages 262144 --hog-mib 1024 | state processes=4 reps=4
order-512k: fork_touched --pages 524288 --hog-mib 1024 | state processes=3 reps=3
random-16k: fork_touched --pages 16384 --order random | state processes=4
random-64k: fork_touched --pages 65536 --order random | state processes=4
random-256k: fork_touched --pages 262144 --order random | state processes=3 reps=4
random-512k: fork_touched --pages 524288 --order random | state processes=4 reps=3
random-1m: fork_touched --pages 1048576 --order random | state processes=3 reps=3
first-64k: fork_touched --pages 65536 --first | state processes=6 reps=1
"""

RUNTIMES = """
jdk-spawn: live/jvm --mech jdk-posix_spawn --heap-mib 128 | runtime modes quick unpinned processes=3
jdk-spawn-cold: live/jvm --mech jdk-posix_spawn --heap-mib 128 --cold-ms 20 | runtime modes unpinned processes=3
jdk-vfork: live/jvm --mech jdk-vfork --heap-mib 128 | runtime quick processes=2 milestones=reaped
jdk-vfork-call: live/jvm --mech jdk-vfork --heap-mib 128 | runtime modes quick unpinned processes=6 reps=100 milestones=call
jdk-vfork-cold: live/jvm --mech jdk-vfork --cold-ms 20 | runtime modes unpinned processes=4 milestones=call
jdk-vfork-beside: live/jvm --mech jdk-vfork --heap-mib 128 | runtime beside unpinned processes=6 reps=100
jdk-vfork-beside-cold: live/jvm --mech jdk-vfork --heap-mib 128 --cold-ms 20 | runtime beside unpinned processes=3
jdk-spawn-beside: live/jvm --mech jdk-posix_spawn --heap-mib 128 | runtime beside unpinned processes=3
jdk-spawn-beside-cold: live/jvm --mech jdk-posix_spawn --heap-mib 128 --cold-ms 20 | runtime beside unpinned processes=2
jdk-fork: live/jvm --mech jdk-fork --heap-mib 128 | runtime held-out processes=2 milestones=reaped
cpython-popen: live/cpython --mech cpython-subprocess --heap-mib 16 | runtime quick processes=4
cpython-popen-cold: live/cpython --mech cpython-subprocess --heap-mib 16 --cold-ms 20 | runtime unpinned processes=3
cpython-os-fork: live/cpython --mech cpython-os-fork --heap-mib 16 | runtime quick processes=3
cpython-fork: live/cpython --mech cpython-fork --heap-mib 16 | runtime held-out processes=2 milestones=reaped
"""  # noqa: E501

SPREADS = """
spread-fork: fork_touched --pages 0 | spread unpinned quick processes=12 reps=20
spread-fork-16k: fork_touched --pages 16384 | spread unpinned processes=8 reps=12
spread-fork-256k: fork_touched --pages 262144 --order random | spread unpinned processes=5 reps=4
spread-fork-order-256k: fork_touched --pages 262144 --hog-mib 1024 | spread unpinned processes=5 reps=4
spread-fork-cold: fork_touched --pages 1024 --cold-ms 20 | spread unpinned processes=12 reps=12
spread-fork-16k-cold: fork_touched --pages 16384 --cold-ms 20 | spread unpinned processes=12 reps=6
spread-fork-96k-cold: fork_touched --pages 98304 --cold-ms 20 | spread unpinned processes=5 reps=6
spread-vfork: vfork_exit | spread unpinned quick processes=12 reps=20
spread-vfork-cold: vfork_exit --cold-ms 20 | spread unpinned processes=12 reps=12
spread-vfork-fds: vfork_exit --high 512 | spread unpinned processes=6 reps=12
spread-exec: exec_target --target dynamic | spread unpinned quick processes=12 reps=20
spread-exec-cold: exec_target --target dynamic --cold-ms 20 | spread unpinned processes=12 reps=12
spread-spawn: exec_target --mech posix_spawn --target dynamic | spread unpinned processes=12 reps=20
beside-fork: fork_touched --pages 0 | beside unpinned processes=6 reps=20
beside-fork-cold: fork_touched --pages 1024 --cold-ms 20 | beside unpinned processes=4 reps=12
beside-vfork: vfork_exit | beside unpinned processes=6 reps=20
beside-vfork-cold: vfork_exit --cold-ms 20 | beside unpinned processes=4 reps=12
beside-exec: exec_target --target dynamic | beside unpinned processes=6 reps=20
beside-exec-cold: exec_target --target dynamic --cold-ms 20 | beside unpinned processes=4 reps=12
beside-spawn: exec_target --mech posix_spawn --target dynamic | beside unpinned processes=6 reps=20
"""

HELD_OUT = """
held-ro-1k: fork_touched --pages 1024 | held-out
held-ro-10k: fork_touched --pages 10000 | held-out
held-ro-32k: fork_touched --pages 32768 | held-out processes=6
held-ro-96k: fork_touched --pages 98304 --hog-mib 1024 | held-out state processes=4
held-random-96k: fork_touched --pages 98304 --order random | held-out state processes=4
held-random-768k: fork_touched --pages 786432 --order random | held-out state processes=3 reps=3
held-cow-asleep: cow --pages 16384 --writes 400 --burst 4 --gap-us 1000 | held-out processes=4
held-cow-strewn: cow --pages 16384 --writes 400 --burst 4 --gap-us 1000 --random | held-out processes=4
held-gone-asleep: cow --pages 16384 --writes 400 --burst 4 --gap-us 1000 --gone | held-out processes=4
held-rw-10k: fork_touched --pages 10000 --rewrite | held-out
held-rw-256k: fork_touched --pages 262144 --rewrite --hog-mib 1024 | held-out state processes=3 reps=3
held-sparse-200: fork_sparse --tables 200 | held-out
held-sparse-1200: fork_sparse --tables 1200 | held-out processes=6
held-thp-32: fork_thp --huge 32 | held-out
held-thp-200: fork_thp --huge 200 | held-out processes=6
held-thp-900: fork_thp --huge 900 | held-out processes=4 reps=5
held-empty-1k: fork_vmas --kind anon_empty --vmas 1000 | held-out
held-page-150: fork_vmas --kind anon_page --vmas 150 | held-out
held-page-1k: fork_vmas --kind anon_page --vmas 1000 | held-out
held-file-200: fork_vmas --kind file_clean --vmas 200 | held-out
held-dirty-200: fork_vmas --kind file_dirty --vmas 200 | held-out
held-dontfork: fork_vmas --kind dontfork --vmas 200 | held-out
held-wipeonfork: fork_vmas --kind wipeonfork --vmas 400 | held-out
held-shared: fork_vmas --kind shared_anon --vmas 200 | held-out
held-touch-folio: touch --pages 4096 --kib 64 | held-out processes=4
held-touch-zero-thp: touch --pages 16 --thp --after-read | held-out processes=4
held-folio-64k: fork_folios --kib 64 --pages 262144 | held-out state processes=3 reps=3
held-folio-32k: fork_folios --kib 32 --pages 16384 | held-out processes=4
held-folio-256k: fork_folios --kib 256 --pages 131072 | held-out state processes=3 reps=3
held-folio-2m: fork_folios --split --pages 262144 | held-out state processes=3 reps=3
held-munmap-folio: munmap --pages 4096 --kib 64 | held-out processes=4
held-munmap-folio-far: munmap --pages 65536 --kib 64 | held-out processes=3 reps=3
held-fds: fork_fds --high 500 --open 300 | held-out
held-threads: fork_threads --threads 40 | held-out
held-mix-a: fork_mix --pages 3000 --tables 40 --anon-page 60 --file-clean 80 --open 50 --threads 10 | held-out
held-mix-b: fork_mix --pages 20000 --huge 24 --anon-empty 100 --file-dirty 50 --high 256 | held-out
held-mix-c: fork_mix --pages 500 --tables 300 --anon-page 300 --file-clean 150 --threads 30 | held-out
held-away: fork_mix --pages 20000 --huge 100 --tables 50 --anon-page 150 --anon-empty 80 --elsewhere | held-out unpinned
held-jvm: fork_mix --pages 60000 --anon-empty 60 --anon-page 50 --file-clean 55 --file-dirty 15 --threads 20 | held-out
held-vfork-fds: vfork_exit --high 1000 | held-out
held-raw: fork_touched --pages 2048 --mech fork_raw | held-out
held-fork-exec: exec_target --mech fork --target dynamic_main | held-out
held-spawn: exec_target --mech posix_spawn --target dynamic | held-out
held-exec-threads: exec_threads --target tiny_static --threads 60 | held-out
held-cold-read: cold_read --kib 64 | held-out
held-exec-own: exec_threads --target tiny_static --threads 8 --pages 8192 | held-out
held-exec-setid: exec_setid --target dynamic | held-out milestones=call,main,reaped
held-exec-alone: exec_threads --target tiny_static --threads 0 | held-out
held-libs-real: exec_target --target libs --libs 32 --exports 300 --relative 1000 --lookups 250 --distinct 1 | held-out
held-libs-mixed: exec_target --target libs --libs 12 --exports 400 --relative 500 --lookups 400 --distinct 1 \
  --name-bytes 40 --mixed 1 | held-out
held-libs-16: exec_target --target libs --libs 16 --exports 100 --relative 500 --lookups 100 | held-out
"""


def _lines(*blocks: str) -> tuple[str, ...]:
    return tuple(line for block in blocks for line in block.strip().splitlines())


PLAN: tuple[str, ...] = _lines(VALUES, FORKS, EXECS, STATES, RUNTIMES, SPREADS, HELD_OUT)
