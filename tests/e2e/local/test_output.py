"""What a script prints is seen while it runs: above the view of `run`, and by `logs --follow`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from e2e.local.scripts import WAITS, begun, scripted
from local_job import COMMAND, until


def test_the_output_of_a_script_is_seen_while_it_runs(tmp_path: Path) -> None:
    job = scripted(tmp_path, WAITS + "print('ended', flush=True)\n")
    seen = tmp_path / "seen"
    run = [*COMMAND, "run", str(job.file), "--plain"]
    with (tmp_path / "run.log").open("w") as out:
        process = subprocess.Popen(run, env=job.environment(), cwd=tmp_path / "work", stdout=out, stderr=subprocess.STDOUT)
    try:
        begun(job)
        with seen.open("w") as out:
            follow = subprocess.Popen([*COMMAND, "logs", job.name, "--follow"], env=job.environment(), stdout=out, stderr=subprocess.STDOUT)
        until("what was printed is shown", lambda: "begun" in seen.read_text())
        until("run shows it too", lambda: "[0/0] begun\n" in (tmp_path / "run.log").read_text())
        assert "ended" not in seen.read_text()
        (tmp_path / "work" / "go").touch()
        assert follow.wait(60) == 0
        assert process.wait(60) == 0
    finally:
        process.kill()
        follow.kill()
    assert seen.read_text().startswith("==> worker 0.0/0.0 <==\nbegun\n[0/0.0] ended\n")
    assert "rendezvous" not in seen.read_text()
    assert "[0/0] ended\n" in (tmp_path / "run.log").read_text()
    assert job.command("logs", job.name, "--tail", "1", "--rank", "0").stdout.count("\n") == 2
    assert "rendezvous" in job.command("logs", job.name, "--system").stdout
    wrong = job.command("logs", job.name, "--worker", "9")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--worker 9: there is no such worker; workers are 0 to 0" in wrong.stderr
