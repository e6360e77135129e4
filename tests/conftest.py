"""What holds for every test: properties are tried with the same examples on every machine, however slow it is.

A suite that judges a change is not the place to meet an example that nobody has tried; another seed is
`pytest --hypothesis-profile=default`, or `--hypothesis-seed=N` with it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
