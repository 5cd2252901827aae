"""Starts the execution gate by path, without importing the agent: each parent package is only a folder here.

``python -I -S gate_boot.py ...`` saves 5 MiB against ``python -m``, twice, because the gate is a pair of processes.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_PLATFORM = os.path.dirname(_HERE)

if __name__ == "__main__":
    for _name, _folder in (
        ("agent", os.path.dirname(_PLATFORM)),
        ("agent.platform", _PLATFORM),
        ("agent.platform.linux", _HERE),
    ):
        _package = type(sys)(_name)
        _package.__path__ = [_folder]
        sys.modules[_name] = _package
    from agent.platform.linux.gate import main

    main(sys.argv[1:])
