#!/usr/bin/env python
"""The command line of a checkout; `cloudtrain` is the same where it is installed."""

from __future__ import annotations

from cloudtrain_site.serving.inspection import forbid_inspection

if __name__ == "__main__":
    # Before our libraries are loaded, which takes half a second.
    forbid_inspection()
    from cloudtrain_site.__main__ import main

    main()
