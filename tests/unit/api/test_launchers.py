"""Launchers in a script's command: which are found, which make one job of all workers, and what is said of the others."""

from __future__ import annotations

import pytest

from trainingjob_api.launchers import find, problem


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["torchrun", "train.py"], "torchrun"),
        (["/opt/venv/bin/torchrun", "--nproc-per-node", "4", "train.py"], "torchrun"),
        (["python", "-m", "torch.distributed.run", "train.py"], "torchrun"),
        (["/usr/bin/python3.11", "-u", "-X", "dev", "-m", "torch.distributed.launch", "train.py"], "torchrun"),
        (["env", "OMP_NUM_THREADS=4", "torchrun", "train.py"], "torchrun"),
        (["bash", "-c", "cd /work && exec torchrun train.py"], "torchrun"),
        (["/bin/sh", "-ec", "pip list\nNCCL_DEBUG=INFO torchrun train.py"], "torchrun"),
        (["accelerate", "launch", "train.py"], "accelerate launch"),
        (["python", "-m", "accelerate.commands.launch", "train.py"], "accelerate launch"),
        (["deepspeed", "--num_gpus", "2", "train.py"], "deepspeed"),
        (["python", "-m", "deepspeed", "train.py"], "deepspeed"),
        (["python", "train.py", "--engine", "deepspeed"], None),
        (["python", "train.py", "-m", "torch.distributed.run"], None),
        (["./train.sh", "torchrun"], None),
        (["python", "-m", "my.package"], None),
        (["bash", "-c", "python train.py --launcher torchrun"], None),
        (["accelerate", "config"], None),
        (["python", "-m"], None),
        (["bash"], None),
    ],
    ids=str,
)
def test_a_launcher_is_found_where_it_is_the_program(command: list[str], name: str | None) -> None:
    found = find(command)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("command", "workers", "processes"),
    [
        (["torchrun", "train.py"], 2, 1),
        (["torchrun", "--nproc-per-node=8", "train.py", "--standalone"], 2, 1),
        (["torchrun", "--nnodes=2", "train.py"], 2, 1),
        (["torchrun", "--node-rank", "$(GROUP_RANK)", "--nnodes=$(GROUP_WORLD_SIZE)", "train.py"], 2, 1),
        (["bash", "-c", "torchrun --nnodes=2 --node_rank=$GROUP_RANK --master_addr=$MASTER_ADDR train.py"], 2, 1),
        (
            [
                "bash",
                "-c",
                "torchrun --nnodes $WORLD_SIZE --node-rank $RANK --master-addr $MASTER_ADDR --master-port 29500 train.py",
            ],
            2,
            1,
        ),
        (["torchrun", "--master_port=29500", "train.py"], 2, 1),
        (["torchrun", "--nnodes", "2:2", "train.py"], 2, 1),
        (["torchrun", "--nnodes=1:2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "$(MASTER_ADDR):29400", "train.py"], 2, 1),
        (["bash", "-c", 'torchrun --nnodes "2" train.py'], 2, 1),
        (["torchrun", "-m", "pkg.train", "--master-port", "29500"], 2, 1),
        (["torchrun", "--module", "pkg.train", "--node-rank", "0"], 2, 1),
        (["torchrun", "--nproc-per-node", "8", "--no-python", "./train", "--master-addr", "here"], 2, 1),
        (["bash", "-c", "torchrun --nnodes $WORLD_SIZE --node_rank $RANK --master_addr $MASTER_ADDR train.py"], 2, 2),
        (
            ["accelerate", "launch", "--num_machines", "2", "--machine_rank", "$(RANK)", "--main_process_ip", "$(MASTER_ADDR)", "train.py"],
            2,
            1,
        ),
        (["bash", "-c", "accelerate launch \\\n  --num_machines 2 \\\n  --machine-rank=$RANK \\\n  train.py"], 2, 1),
        (["accelerate", "launch", "--config_file", "machines.yaml", "train.py"], 2, 1),
        (["bash", "-c", "accelerate launch $WHERE train.py"], 2, 1),
        (["bash", "-c", "deepspeed --no_ssh --node_rank=$RANK --master_addr=$MASTER_ADDR --hostfile hosts train.py"], 2, 1),
        (["torchrun", "--standalone", "train.py"], 1, 1),
        (["accelerate", "launch", "train.py"], 1, 1),
        (["deepspeed", "train.py"], 1, 1),
        (["python", "train.py"], 4, 8),
    ],
    ids=str,
)
def test_what_makes_one_job_is_taken(command: list[str], workers: int, processes: int) -> None:
    assert problem(command, workers, processes) is None


@pytest.mark.parametrize(
    ("command", "workers", "processes", "field", "said"),
    [
        (
            ["accelerate", "launch", "--cpu", "train.py", "--lr", "0.1"],
            2,
            1,
            "command",
            "write [python, train.py, --lr, 0.1]",
        ),
        (["accelerate", "launch", "train.py", "a", "b", "c", "d"], 2, 1, "command", "write [python, train.py, a, b, c, …]"),
        (
            ["deepspeed", "-m", "my.package"],
            2,
            1,
            "command",
            "deepspeed would train in each of the 2 processes by itself",
        ),
        (["accelerate", "launch", "train.py"], 1, 4, "command", "each of the 4 processes"),
        (["torchrun", "train.py"], 2, 4, "processesPerWorker", "set it to 1, and write torchrun --nproc-per-node 4"),
        (["accelerate", "launch", "train.py", "--out", "$(HOME)", "--node_rank", "0"], 2, 1, "command", "write [python, train.py, --out,"),
        (["bash", "-c", "accelerate launch $CODE/train.py"], 2, 1, "command", "write [python, $CODE/train.py]"),
        (["torchrun", "--nnodes=2:4", "train.py"], 2, 1, "command", "--nnodes"),
        (["torchrun", "--standalone", "-m", "pkg.train"], 2, 1, "command", "--standalone"),
        (["torchrun", "--standalone", "train.py"], 2, 1, "command", "--standalone keeps the 2 workers from being one job; leave it out"),
        (["torchrun", "--nnodes=4", "train.py"], 2, 1, "command", "--nnodes"),
        (["torchrun", "--nnodes", "1", "train.py"], 2, 1, "command", "--nnodes"),
        (["torchrun", "--node-rank=0", "train.py"], 2, 1, "command", "--node-rank"),
        (["bash", "-c", "torchrun --master_addr=localhost train.py"], 2, 1, "command", "--master_addr"),
    ],
    ids=str,
)
def test_what_does_not_is_refused_with_the_line_to_write(command: list[str], workers: int, processes: int, field: str, said: str) -> None:
    found = problem(command, workers, processes)
    assert found is not None
    assert (found[0].endswith(field), said in found[1]) == (True, True)
