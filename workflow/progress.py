"""What a build says beside Snakemake's bar: a line for each step in a log, what failed and why, how long all took."""

import collections
import logging
import sys
import time
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent


class Steps(logging.Handler):
    """Listens to Snakemake, and keeps the name, the log and the seconds of each step."""

    def __init__(self):
        super().__init__()
        self.begun, self.total, self.done = time.monotonic(), 0, 0
        self.running, self.failed, self.seconds = {}, [], collections.defaultdict(list)

    def emit(self, record: logging.LogRecord):
        event, now = getattr(record, "event", None), time.monotonic()
        if event == LogEvent.RUN_INFO:
            self.total = record.stats["total"]
        elif event == LogEvent.JOB_INFO:
            self.running[record.jobid] = record.rule_name, " ".join([record.rule_name, *record.wildcards.values()]), now
        elif event == LogEvent.JOB_ERROR:
            self.failed.append((self.running[record.jobid][1], *record.log[:1]))
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.running:
            rule, name, since = self.running.pop(record.job_id)
            self.seconds[rule].append(now - since)
            self.done += 1
            if not sys.stderr.isatty():
                line = f"{self.done} of {self.total} steps, {now - self.begun:.0f} s: {name} took {now - since:.0f} s"
                print(line, file=sys.stderr, flush=True)

    def end(self):
        """Prints the summary where anything was done, after all that Snakemake itself has to say."""
        if self.seconds or self.failed:
            print(self.summary(), file=sys.stderr)

    def summary(self) -> str:
        """How long each stage took; of each step that failed, the last line of its log and where that is."""
        stages = [f"{rule} {sum(took):.0f} s ({len(took)})" for rule, took in self.seconds.items() if sum(took) > 0.5]
        lines = [f"{time.monotonic() - self.begun:.0f} s; by stage, steps side by side: {', '.join(stages)}"]
        for name, *logs in self.failed:
            said = "".join(Path(log).read_text("utf-8", "replace") for log in logs if Path(log).is_file()).split("\n")
            why = next((line for line in reversed(said) if line.strip()), "without a word")
            lines.append(f"FAILED {name}: {why}" + "".join(f"\n       see {log}" for log in logs))
        return "\n".join(lines)
