"""The lists of trainers' options that the operator adds, as the configuration file has them."""

from __future__ import annotations

import re

from cloudtrain_site.conf.yaml_kinds import absolute_path
from cloudtrain_site.conf.yaml_schema import Named

SECTION = "option_lists"
SCHEMA = Named(
    "names of trainers or providers, at most 40 lower-case letters, digits and dashes, beginning with a letter",
    re.compile(r"[a-z][a-z0-9-]{0,39}"),
    absolute_path("a JSON file with the options"),
)
