from __future__ import annotations

#: The one place that has it: the wheel, the API's schema and `cloudtrain --version` read it here.
__version__ = "0.3.0.dev0"
