"""Tests of what stays on one line."""

from __future__ import annotations

import pytest

from jobs.templatetags.wrapping import whole

A100 = '<span class="whole">gpu-a100-large</span>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("studio\xa0· Replicate gpu-a100-large", f"studio\xa0· Replicate {A100}"),
        ("no price for gpu-a100-large.", f"no price for {A100}."),
        ("ran 2 h 36 min", 'ran <span class="whole">2 h 36 min</span>'),
        ("1,024 kB, 80 %", '<span class="whole">1,024 kB</span>, <span class="whole">80 %</span>'),
        ("of 1 job in 2 minutes", "of 1 job in 2 minutes"),
        ("flux-lora-kitchen <b>x-1", "flux-lora-kitchen &lt;b&gt;" + '<span class="whole">x-1</span>'),
        ("a" + "-b1" * 30, "a" + "-b1" * 30),
    ],
)
def test_quantities_and_hardware_stay_on_one_line_and_all_else_is_escaped(text: str, html: str) -> None:
    assert whole(text) == html
