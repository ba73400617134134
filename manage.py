#!/usr/bin/env python
"""The command line of a checkout; `cloudtrain` is the same where it is installed."""

from __future__ import annotations

from cloudtrain_site.command_line import main

if __name__ == "__main__":
    main()
