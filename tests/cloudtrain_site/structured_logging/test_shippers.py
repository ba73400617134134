"""What docs/log-shipping.md tells the vendors' agents, which no test runs, and Elasticsearch, held against lines."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudtrain_site.structured_logging import LogContext, get_logger
from tests.cloudtrain_site.conftest import ROOT
from tests.cloudtrain_site.doc_recipes import LOG

TEXT = (ROOT / "docs" / "log-shipping.md").read_text()
#: Go writes a layout as the moment 2006-01-02 15:04:05; `.000` are the milliseconds.
GO = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S", "000": "%f"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")

Line = dict[str, Any]


def blocks(language: str, after: str) -> Iterator[str]:
    """The blocks of code in the part of the document that begins with `after` in bold."""
    part = re.split(r"\n(?=\*\*|#)", TEXT.partition(f"**{after}")[2])[0]
    yield from re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)


def value_at(line: Line, path: str) -> Any:
    """What stands at a dotted path."""
    found: Any = line
    for name in path.split("."):
        found = found[name]
    return found


def flat(line: Line, separator: str, prefix: str = "") -> Line:
    """The line as the query languages name its fields."""
    fields: Line = {}
    for name, value in line.items():
        key = prefix + name
        fields |= flat(value, separator, key + separator) if isinstance(value, dict) else {key: value}
    return fields


def moment(line: Line) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def read_as(layout: str, stamp: str) -> datetime:
    return datetime.strptime(stamp, layout).replace(tzinfo=UTC)


@pytest.fixture
def lines(log_file: Path) -> list[str]:
    """Lines with and without fields, and with an exception."""
    logger = get_logger("simpletuner.cloud.jobs")
    with LogContext(job_id="xyz789"):
        logger.info("Job submitted successfully", cost_estimate=2.5)
    logger.warning("Nothing beside")
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        logger.exception("Failed")
    return log_file.read_text().splitlines()


def test_promtail_finds_time_and_labels_in_each_line(lines: list[str]) -> None:
    ((config,),) = [yaml.safe_load(text)["scrape_configs"] for text in blocks("yaml", "Promtail")]
    assert config["static_configs"][0]["labels"]["__path__"] == LOG
    stages = {name: stage for entry in config["pipeline_stages"] for name, stage in entry.items()}
    assert list(stages) == ["json", "timestamp", "labels"]
    assert stages["timestamp"]["format"] == "RFC3339Nano"
    for line in map(json.loads, lines):
        extracted = {name: value_at(line, path) for name, path in stages["json"]["expressions"].items()}
        assert RFC3339.fullmatch(extracted[stages["timestamp"]["source"]])
        assert set(stages["labels"]) <= set(extracted)


def test_filebeat_finds_what_it_needs_in_each_line(lines: list[str]) -> None:
    (config,) = [yaml.safe_load(text) for text in blocks("yaml", "Filebeat")]
    (source,), (processor, identity) = config["filebeat.inputs"], config["processors"]
    ((parser,),) = [entry.values() for entry in source["parsers"]]
    timestamp = processor["timestamp"]
    layout = re.sub(r"\d+", lambda match: GO[match[0]], timestamp["layouts"][0])
    assert source["paths"] == [LOG, f"{LOG}.1"]
    assert parser["target"] == "", "at the top, as the template has them"
    for line in map(json.loads, lines):
        assert read_as(layout, line[timestamp["field"]]) == moment(line)
        assert set(identity["fingerprint"]["fields"]) - {"host.name", "log.offset"} <= set(line)
    assert all(read_as(layout, sample) for sample in timestamp["test"])


def test_splunk_finds_the_time_of_each_line(lines: list[str]) -> None:
    inputs, props = configparser.RawConfigParser(), configparser.RawConfigParser()
    for parser, text in zip((inputs, props), blocks("ini", "Forwarder"), strict=True):
        parser.read_string(text)
    (section,) = props.sections()
    assert dict(inputs[f"monitor://{LOG}"]) == {"sourcetype": section}
    layout = props[section]["TIME_FORMAT"].replace("%3N", "%f")
    for line in map(json.loads, lines):
        stamp = line[props[section]["TIMESTAMP_FIELDS"]]
        assert read_as(layout, stamp) == moment(line)


def test_datadog_reads_the_file(lines: list[str]) -> None:
    ((config,),) = [yaml.safe_load(text)["logs"] for text in blocks("yaml", "Agent")]
    assert (config["type"], config["path"]) == ("file", LOG)
    assert all({"timestamp", "level", "message"} <= json.loads(line).keys() for line in lines)


HOLDS: dict[str, Callable[[Any], bool]] = {
    "date": lambda value: bool(RFC3339.fullmatch(value)),
    "keyword": lambda value: isinstance(value, str) and len(value) <= 8191,
    "text": lambda value: isinstance(value, str),
    "flattened": lambda value: isinstance(value, dict),
}


def test_the_template_has_a_field_of_the_right_type_for_each_key(lines: list[str]) -> None:
    (template,) = [json.loads(text) for text in blocks("json", "Elasticsearch")]
    mapping = template["template"]["mappings"]
    (filebeat,) = [yaml.safe_load(text) for text in blocks("yaml", "Filebeat")]
    assert filebeat["output.elasticsearch"]["index"] == "logs-simpletuner-default"
    assert fnmatch("logs-simpletuner-default", *template["index_patterns"])
    assert (template["data_stream"], mapping["dynamic"]) == ({}, False)
    fields = {name: field["type"] for name, field in mapping["properties"].items()}
    for line in map(json.loads, lines):
        assert [key for key, value in line.items() if not HOLDS[fields[key]](value)] == []


@pytest.mark.parametrize(
    ("separator", "name"),
    [("_", "extra_job_id"), (".", "extra.job_id"), ("_", "correlation_id"), (".", "correlation_id")],
)
def test_the_queries_name_fields_that_there_are(lines: list[str], separator: str, name: str) -> None:
    assert name in TEXT.partition("## Sending it elsewhere")[2]
    assert name in flat(json.loads(lines[0]), separator)
