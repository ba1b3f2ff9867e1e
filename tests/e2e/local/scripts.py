"""Jobs that run a few lines of Python: quick to start, and told what to do by files beside them."""

from __future__ import annotations

from pathlib import Path

from local_job import LocalJob, load, until

WAITS = "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
"""Until the test makes the file `go` in the folder `work`."""


def scripted(folder: Path, text: str) -> LocalJob:
    """A job of one worker that runs these lines of Python after printing "begun"."""
    (folder / "work").mkdir()
    (folder / "work" / "mine.py").write_text("import pathlib, time\nprint('begun', flush=True)\n" + text)
    manifest = load("script/script.yaml")
    manifest["spec"]["training"]["script"]["command"] = ["python", "mine.py"]
    manifest["spec"]["workers"] = {"replicas": 1}
    return LocalJob(folder / "job", manifest)


def begun(job: LocalJob) -> None:
    until("the script runs", lambda: any("begun" in path.read_text() for path in job.own.glob("pods/*.log")))
