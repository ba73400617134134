"""The log: the documented object, from every source, whatever is logged, wherever it is written."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.correlation_ids import process_correlation_id
from cloudtrain_site.http_client import set_correlation_id
from cloudtrain_site.structured_logging import (
    LogContext,
    configure_structured_logging,
    get_logger,
    init_from_env,
)
from cloudtrain_site.structured_logging.configure import prints_answer
from cloudtrain_site.structured_logging.formatters import JsonFormatter
from tests.cloudtrain_site.conftest import ROOT, Lines, run_python, this_line

logger = get_logger("simpletuner.cloud.jobs")
plain_logger = logging.getLogger("simpletuner.cloud.plain")
EVERY_LOGGER = pytest.mark.parametrize("log", [logger, plain_logger], ids=["structlog", "logging"])


class TestObject:
    """What one line looks like."""

    def test_it_is_the_documents(self, log_lines: Lines) -> None:
        set_correlation_id("abc123def456")
        with LogContext(job_id="xyz789", provider="replicate"):
            logger.info("Job submitted successfully", cost_estimate=2.50)
            line = this_line() - 1
        (entry,) = log_lines()
        assert entry | {"timestamp": ""} == {
            "timestamp": "",
            "level": "INFO",
            "logger": "simpletuner.cloud.jobs",
            "message": "Job submitted successfully",
            "correlation_id": "abc123def456",
            "source": {"file": "test_configure.py", "line": line, "function": "test_it_is_the_documents"},
            "extra": {"job_id": "xyz789", "provider": "replicate", "cost_estimate": 2.5},
        }

    def test_its_keys_are_in_order(self, log_lines: Lines) -> None:
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("Failed", job_id="j1")
        expected = ["timestamp", "level", "logger", "message", "correlation_id", "source", "extra", "exception"]
        assert list(log_lines()[0]) == expected
        assert list(log_lines()[0]["source"]) == ["file", "line", "function"]

    def test_a_space_follows_each_colon_and_comma(self, log_file: Path) -> None:
        set_correlation_id("abc123")
        logger.info("Hello")
        assert '"correlation_id": "abc123", "source": {"file": "' in log_file.read_text()

    def test_the_time_has_milliseconds_and_is_utc(self, log_lines: Lines) -> None:
        logger.info("Hello")
        stamp = log_lines()[0]["timestamp"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
        assert abs((datetime.fromisoformat(stamp) - datetime.now(UTC)).total_seconds()) < 60

    def test_no_extra_no_key(self, log_lines: Lines) -> None:
        logger.info("Hello")
        assert list(log_lines()[0]) == ["timestamp", "level", "logger", "message", "correlation_id", "source"]

    @EVERY_LOGGER
    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
    def test_the_level_has_its_documented_name(self, log_lines: Lines, log: Any, level: str) -> None:
        getattr(log, level)("Hello")
        assert log_lines()[0]["level"] == level.upper()

    @EVERY_LOGGER
    def test_a_level_of_a_librarys_own_counts_as_the_one_below_it(self, log_lines: Lines, log: Any) -> None:
        for number in (logging.WARNING + 5, logging.CRITICAL + 1):
            log.log(number, "Hello")
        assert [line["level"] for line in log_lines()] == ["WARNING", "CRITICAL"]

    @EVERY_LOGGER
    def test_the_source_is_the_caller(self, log_lines: Lines, log: Any) -> None:
        log.info("Hello"), log.log(logging.INFO, "Hello"), log.warning("Hello")
        assert {line["source"]["function"] for line in log_lines()} == {"test_the_source_is_the_caller"}
        assert {line["source"]["line"] for line in log_lines()} == {this_line() - 2}

    @EVERY_LOGGER
    def test_a_helper_can_name_its_caller(self, log_lines: Lines, log: Any) -> None:
        def helper() -> None:
            log.info("Hello", stacklevel=2)

        helper()
        assert log_lines()[0]["source"]["function"] == "test_a_helper_can_name_its_caller"

    @EVERY_LOGGER
    def test_extra_holds_what_the_caller_gave_and_nothing_of_loggings(self, log_lines: Lines, log: Any) -> None:
        log.info("Hello %s", "bob", extra={"job_id": "j1", "nested": {"a": [1, None]}})
        assert log_lines()[0]["message"] == "Hello bob"
        assert log_lines()[0]["extra"] == {"job_id": "j1", "nested": {"a": [1, None]}}

    @EVERY_LOGGER
    def test_a_field_may_have_the_name_of_loggings_own(self, log_lines: Lines, log: Any) -> None:
        log.info("Hello", extra={"name": "n", "message": "m", "args": 1, "level": "l", "timestamp": "t"})
        assert log_lines()[0]["message"] == "Hello"
        assert log_lines()[0]["extra"] == {"name": "n", "message": "m", "args": 1, "level": "l", "timestamp": "t"}

    def test_keywords_and_bound_values_are_extra(self, log_lines: Lines) -> None:
        logger.bind(provider="replicate").info("Hello", event="e", job_id="j1")
        assert log_lines()[0]["extra"] == {"provider": "replicate", "event": "e", "job_id": "j1"}

    def test_request_bound_fields_of_structlog_are_extra_on_every_logger(self, log_lines: Lines) -> None:
        with structlog.contextvars.bound_contextvars(user_id=7):
            plain_logger.info("Hello")
        assert log_lines()[0]["extra"] == {"user_id": 7}

    def test_outside_of_any_work_it_carries_the_id_of_the_process(self, log_lines: Lines) -> None:
        logger.info("Hello")
        logger.info("Hello again")
        assert {line["correlation_id"] for line in log_lines()} == {process_correlation_id()}

    @EVERY_LOGGER
    def test_the_calls_that_led_to_it_can_be_asked_for(self, log_lines: Lines, log: Any) -> None:
        log.info("Hello", stack_info=True)
        assert "test_the_calls_that_led_to_it_can_be_asked_for" in log_lines()[0]["stack"].splitlines()[-2]

    def test_include_stack_info_adds_the_calls_to_errors_alone(self, tmp_path: Path, log_lines: Lines) -> None:
        configure_structured_logging(log_file=tmp_path / "cloud.log", include_stack_info=True)
        logger.info("Hello")
        plain_logger.error("Failed")
        assert "stack" not in log_lines()[0]
        assert log_lines()[1]["stack"].splitlines()[-1].strip() == 'plain_logger.error("Failed")'

    def test_a_filtered_level_is_not_written(self, tmp_path: Path, log_lines: Lines) -> None:
        configure_structured_logging(level="WARNING", log_file=tmp_path / "cloud.log")
        logger.info("Hello")
        logging.getLogger("django.db.backends").info("Hello")
        assert log_lines() == []

    def test_the_statements_of_the_database_are_never_logged(self, log_lines: Lines) -> None:
        logging.getLogger("django.db.backends").debug("SELECT 'parameters'")
        assert log_lines() == []

    def test_structlogs_own_capture_works(self) -> None:
        with structlog.testing.capture_logs() as captured:
            logger.info("Hello", job_id="j1")
        assert captured == [{"event": "Hello", "job_id": "j1", "log_level": "info"}]


class Stubborn:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Unreadable(dict[str, int]):
    """A mapping that fails when it is read, as one does whose database is away."""

    def items(self) -> Any:
        raise RuntimeError("no items")


class TestWhateverIsLogged:
    """A record can neither fail the program nor forge a line."""

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (Decimal("2.50"), "Decimal('2.50')"),
            (datetime(2024, 1, 15, tzinfo=UTC), "datetime.datetime(2024, 1, 15, 0, 0, tzinfo=datetime.timezone.utc)"),
            ({1}, "{1}"),
            (b"ab", "b'ab'"),
            (float("nan"), "nan"),
            ([1.5, float("inf")], [1.5, "inf"]),
            ({(1, 2): "x", 3: "y"}, {"(1, 2)": "x", "3": "y"}),
            ((1, "two"), [1, "two"]),
            (10**40, 10**40),
            (Stubborn(), "<Stubborn without a repr>"),
            ("\ud800", "\ud800"),
        ],
    )
    def test_what_json_cannot_hold_is_written_as_its_repr(
        self, log_lines: Lines, value: object, written: object
    ) -> None:
        logger.info("Hello", value=value)
        assert log_lines()[0]["extra"]["value"] == written

    def test_a_value_that_defies_everything_costs_no_other(self, log_lines: Lines) -> None:
        logger.info("Hello", number=10**5000, rows=[Unreadable(a=1)], job_id="j1")
        assert log_lines()[0]["message"] == "Hello"
        assert log_lines()[0]["extra"] == {"number": "<int without a repr>", "rows": ["{'a': 1}"], "job_id": "j1"}

    def test_a_cycle_is_cut(self, log_lines: Lines) -> None:
        cycle: dict[str, object] = {}
        cycle["self"] = cycle
        logger.info("Hello", cycle=cycle, job_id="j1")
        assert log_lines()[0]["extra"]["job_id"] == "j1"

    def test_any_depth_is_written(self, log_lines: Lines) -> None:
        deep: list[object] = []
        for _ in range(3000):
            deep = [deep]
        logger.info("Hello", deep=deep)
        assert log_lines()[0]["message"] == "Hello"

    def test_arguments_that_do_not_fit_are_shown_beside_the_text(self) -> None:
        record = logging.makeLogRecord({"msg": "%d jobs of %s", "args": ("many",)})
        assert json.loads(JsonFormatter().format(record))["message"] == "%d jobs of %s ('many',)"

    def test_the_handlers_share_a_line_and_none_shows_that(self) -> None:
        record = logging.makeLogRecord({"msg": "Hello", "levelname": "ERROR", "levelno": logging.ERROR, "job_id": "j1"})
        first = JsonFormatter().format(record)
        record.msg = "Changed by a handler"
        assert JsonFormatter().format(record) is first
        other = json.loads(JsonFormatter(include_stack_info=True).format(record))
        assert other["stack"] and other["extra"] == {"job_id": "j1"}

    def test_a_record_that_defies_everything_is_told_of(self) -> None:
        class Refusing:
            def __str__(self) -> str:
                raise RuntimeError("no text")

        record = logging.makeLogRecord({"msg": Refusing(), "levelname": "INFO"})
        assert (
            json.loads(JsonFormatter().format(record))["message"] == "A log record could not be written: RuntimeError"
        )

    @EVERY_LOGGER
    def test_a_message_may_be_anything(self, log_lines: Lines, log: Any) -> None:
        log.info({"a": 1}), log.info(None), log.info("100% done")
        assert [line["message"] for line in log_lines()] == ["{'a': 1}", "None", "100% done"]

    @pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\u2029"])
    def test_a_line_end_begins_no_second_line(self, log_file: Path, end: str) -> None:
        forged = f'{end}{{"level": "INFO", "message": "forged"}}'
        with LogContext(**{f"key{end}": forged}):
            logger.info("Hello" + forged, user=forged)
        lines = log_file.read_text().splitlines()
        assert len(lines) == 1
        assert json.loads(lines[0])["message"] == "Hello" + forged

    def test_a_megabyte_is_one_line(self, log_lines: Lines) -> None:
        logger.info("x" * 1_000_000)
        assert len(log_lines()[0]["message"]) == 1_000_000

    def test_secrets_are_masked_everywhere(self, log_file: Path, log_lines: Lines) -> None:
        try:
            raise ValueError("refused: Authorization: Bearer MARK")
        except ValueError as error:
            logger.exception(
                "GET /x?token=MARK", hf_token="MARK", config={"inputs": [{"api_key": "MARK"}]}, error=error
            )
        assert "MARK" not in log_file.read_text()
        assert log_lines()[0]["extra"]["config"] == {"inputs": [{"api_key": "***"}]}


class TestOtherLoggers:
    """Everybody else's lines come out in the same shape."""

    def test_a_logger_with_handlers_of_its_own_loses_them(self, tmp_path: Path, log_lines: Lines) -> None:
        for name in ("uvicorn", "uvicorn.access", "django-q", "django"):
            logging.getLogger(name).addHandler(logging.StreamHandler())
            logging.getLogger(name).propagate = False
        configure_structured_logging(log_file=tmp_path / "cloud.log")
        for name in ("uvicorn.error", "uvicorn.access", "django-q", "django.request", "httpx"):
            logging.getLogger(name).info("Hello")
        found = [line["logger"] for line in log_lines()]
        assert found == ["uvicorn.error", "uvicorn.access", "django-q", "django.request", "httpx"]

    def test_configuring_twice_writes_each_line_once(self, tmp_path: Path, log_lines: Lines) -> None:
        configure_structured_logging(log_file=tmp_path / "cloud.log")
        configure_structured_logging(log_file=tmp_path / "cloud.log")
        logger.info("Hello")
        assert len(log_lines()) == 1

    def test_a_structlog_logger_of_others_has_the_same_shape(self, log_lines: Lines) -> None:
        structlog.get_logger("some_library").warning("some_library.retry_scheduled", attempt=1)
        (line,) = log_lines()
        assert (line["logger"], line["level"], line["extra"]) == ("some_library", "WARNING", {"attempt": 1})
        assert line["source"]["file"] == "test_configure.py"

    @pytest.mark.slow
    def test_uncaught_exceptions_and_warnings_are_lines(self, tmp_path: Path) -> None:
        program = """
            import asyncio, multiprocessing, sys, threading, warnings
            from cloudtrain_site.structured_logging import init_from_env
            init_from_env()
            async def broken(): raise ValueError("in a task")
            async def main():
                task = asyncio.create_task(broken())
                await asyncio.wait([task])
            asyncio.run(main())
            warnings.warn("Careful")
            thread = threading.Thread(target=lambda: 1 / 0, name="worker")
            thread.start(); thread.join()
            def fail(): raise KeyError("in a child")
            child = multiprocessing.get_context("fork").Process(target=fail, name="monitor")
            child.start(); child.join()
            assert child.exitcode == 1
            class Leaking:
                def __del__(self): raise OSError("at the end")
            Leaking()
            raise RuntimeError("token=MARK")
        """
        done = run_python(inspect.cleandoc(program))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        found = [(line["logger"], line["level"], re.split("\n|: | <", line["message"])[0]) for line in lines]
        assert found == [
            ("asyncio", "ERROR", "Task exception was never retrieved"),
            ("py.warnings", "WARNING", "UserWarning"),
            ("py.exceptions", "CRITICAL", "Uncaught exception in thread worker"),
            ("py.exceptions", "CRITICAL", "Uncaught exception in process monitor"),
            ("py.exceptions", "ERROR", "Exception ignored in"),
            ("py.exceptions", "CRITICAL", "Uncaught exception"),
        ]
        assert [line["exception"].splitlines()[-1] for line in lines if line["logger"] == "py.exceptions"] == [
            "ZeroDivisionError: division by zero",
            "KeyError: 'in a child'",
            "OSError: at the end",
            "RuntimeError: token=***",
        ]
        assert (done.returncode, done.stderr) == (1, "")


class TestEnvironment:
    """SIMPLETUNER_LOG_LEVEL, _FORMAT and _FILE."""

    def test_the_default_is_json_at_info_on_the_standard_output(
        self, log_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with monkeypatch.context() as patch:
            for name in ("LEVEL", "FORMAT", "FILE"):
                patch.delenv(f"SIMPLETUNER_LOG_{name}", raising=False)
            init_from_env()
        logger.debug("Not this")
        logger.info("Hello")
        assert json.loads(capsys.readouterr().out)["message"] == "Hello"

    @pytest.mark.parametrize(
        ("name", "value", "allowed"),
        [
            ("SIMPLETUNER_LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
            ("SIMPLETUNER_LOG_FORMAT", "xml", "one of json, text"),
            ("SIMPLETUNER_LOG_FILE", "/nowhere/at/all/cloud.log", "can't be written to (No such file or directory)"),
            ("SIMPLETUNER_LOG_FILE", "/", "can't be written to (Is a directory)"),
            ("SIMPLETUNER_LOG_FILE", "/proc/version/cloud.log", "can't be written to (Not a directory)"),
            ("SIMPLETUNER_LOG_FILE", "/proc/cloud.log", "can't be written to"),
            ("SIMPLETUNER_LOG_FILE", "~no-such-name/cloud.log", "can't be written to (No such file or directory)"),
        ],
    )
    def test_a_bad_value_is_a_sentence_that_says_what_is_allowed(
        self, log_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
    ) -> None:
        with monkeypatch.context() as patch, pytest.raises(ConfigurationError, match=re.escape(allowed)):
            patch.setenv(name, value)
            init_from_env()

    def test_a_bad_value_leaves_the_log_as_it_was(self, log_lines: Lines) -> None:
        with pytest.raises(ConfigurationError):
            configure_structured_logging(log_file="/nowhere/at/all/cloud.log")
        logger.info("Hello")
        assert len(log_lines()) == 1

    @pytest.mark.slow
    def test_a_bad_value_stops_the_start_with_the_sentence_alone(self) -> None:
        environment = {**os.environ, "SIMPLETUNER_LOG_LEVEL": "LOUD"}
        command = [sys.executable, "manage.py", "check"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        sentence = "SIMPLETUNER_LOG_LEVEL is 'LOUD', but it must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL.\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)

    @pytest.mark.parametrize(
        ("arguments", "is_answer"),
        [
            (["manage.py", "create_api_key", "bob"], True),
            (["./manage.py"], True),
            (["manage.py", "background"], False),
            (["/srv/manage.py", "up"], False),
            (["/srv/.venv/bin/cloudtrain", "create_api_key", "bob"], True),
            (["/srv/.venv/bin/cloudtrain", "up"], False),
            (["/usr/bin/uvicorn", "cloudtrain_site.asgi:application"], False),
            ([], False),
        ],
    )
    def test_a_command_that_prints_an_answer_logs_to_stderr(self, arguments: list[str], is_answer: bool) -> None:
        assert prints_answer(arguments) is is_answer
