import signal

import pytest

from sweepd.errors import Reason
from sweepd_agent.outcome import first_error_line, judge

TRACEBACK = """\
epoch 1
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    f()
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "train.py", line 5, in <module>
    raise RuntimeError("bad\\nworse")
RuntimeError: bad
worse
\x1b[34mwandb\x1b[0m: View run at http://host
wandb: Find logs at ./wandb
"""


def judged(status, *, error=None, tail="", asked=None, oom_kills=0):
    return judge(status, error=error, tail=tail, asked=asked, oom_kills=oom_kills)


def test_first_line_of_the_last_exception_is_the_error():
    assert first_error_line(TRACEBACK) == "RuntimeError: bad"


def test_last_line_is_the_error_where_there_is_no_traceback_and_it_reads_like_one():
    assert first_error_line("a\nfatal: no\n\nwandb: bye\n") == "fatal: no"
    assert first_error_line("epoch 9: all good\n") is None
    assert first_error_line("") is None


def test_what_the_client_prints_at_the_end_is_no_error():
    assert first_error_line("\x1b[34mwandb\x1b[0m: \nwandb:\nwandb: View run\n") is None


def test_fatal_error_is_named_and_not_the_modules_that_python_lists_after_it():
    dump = (
        "Fatal Python error: Bus error\n\nThread 0x1:\n  File x\n\nExtension modules: numpy, a.b\n"
    )
    assert first_error_line(dump) == "Fatal Python error: Bus error"


def test_long_line_is_cut():
    assert len(first_error_line("error: " + "x" * 10_000)) == 500


@pytest.mark.parametrize(
    "tail",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory",
        "Traceback (most recent call last):\nMemoryError",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying",
        "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Failed to allocate request for 2.0GiB",
        "ResourceExhaustedError: {{function_node ...}} OOM when allocating tensor with shape",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_want_of_memory_is_told_from_other_errors(tail):
    assert judged(1, tail=tail).reason == Reason.OUT_OF_MEMORY


def test_other_resources_than_memory_are_no_want_of_it():
    tail = "grpc.RpcError: RESOURCE_EXHAUSTED: Received message larger than max"

    assert judged(1, tail=tail).reason == Reason.ERROR


def test_words_about_memory_mean_nothing_when_the_trial_finished():
    assert judged(0, tail="CUDA out of memory, so the batch was halved").reason == Reason.FINISHED


def test_kill_is_want_of_memory_where_the_kernel_says_so():
    assert judged(-9, oom_kills=1).reason == Reason.OUT_OF_MEMORY
    assert judged(-9).reason == Reason.CRASHED


@pytest.mark.parametrize(
    ("status", "tail"),
    [
        (1, "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. "),
        (1, "concurrent.futures.process.BrokenProcessPool: A process in the process pool was ..."),
        (1, "CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>."),
        (137, ""),
    ],
    ids=["loader", "pool", "command", "shell"],
)
def test_kill_of_a_process_that_the_trial_started_is_want_of_memory_too(status, tail):
    outcome = judged(status, tail=tail, oom_kills=1)

    assert outcome.reason == Reason.OUT_OF_MEMORY
    assert "the memory limit was reached" in outcome.message
    assert judged(status, tail=tail).reason == Reason.ERROR


CORE_LOST = """\
Traceback (most recent call last):
  File "train.py", line 8, in <module>
    run.log({"loss": 1.0})
  File "/lib/python3.11/site-packages/wandb/sdk/lib/service/service_client.py", line 92, in _drain
    await self._writer.drain()
ConnectionResetError: [Errno 104] Connection reset by peer
"""


def test_death_of_the_clients_own_process_is_no_error_of_the_program():
    outcome = judged(1, tail=CORE_LOST)

    assert outcome.reason == Reason.CRASHED
    assert outcome.message.startswith("wandb's own process has died: ConnectionResetError")
    assert judged(1, tail=CORE_LOST, oom_kills=1).reason == Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("mailbox/mailbox.py", "mailbox.mailbox.MailboxClosedError"),
        ("mailbox/response_handle.py", "mailbox.mailbox_handle.HandleAbandonedError"),
        (
            "lib/service/service_token.py",
            "lib.service.service_token.WandbServiceConnectionError: Failed to connect to service",
        ),
    ],
)
def test_death_of_the_clients_own_process_while_a_run_begins_is_no_error_either(file, error):
    tail = CORE_LOST.replace("lib/service/service_client.py", file)
    last = "ConnectionResetError: [Errno 104] Connection reset by peer"

    outcome = judged(1, tail=tail.replace(last, f"wandb.sdk.{error}"))

    assert outcome.reason == Reason.CRASHED
    assert outcome.message.startswith("wandb's own process has died: wandb.sdk.")


CLIENTS_THREAD = """\
Exception in thread wandb-ServiceFinalizer:
Traceback (most recent call last):
  File "/lib/python3.11/threading.py", line 1045, in _bootstrap_inner
    self.run()
"""


def test_thread_of_the_client_that_fails_beside_it_and_is_cut_off_hides_no_cause():
    outcome = judged(1, tail=CORE_LOST + CLIENTS_THREAD)

    assert outcome.reason == Reason.CRASHED
    assert outcome.message.startswith("wandb's own process has died: ConnectionResetError")
    assert first_error_line(TRACEBACK + CLIENTS_THREAD) == first_error_line(TRACEBACK)
    assert first_error_line(CLIENTS_THREAD + "OSError: gone\n") == "OSError: gone"


def test_connection_that_the_program_itself_has_lost_is_its_error():
    own = CORE_LOST.replace("/wandb/sdk/lib/service/service_client.py", "/requests/api.py")

    assert judged(1, tail=own).reason == Reason.ERROR
    assert judged(1, tail=CORE_LOST + TRACEBACK).reason == Reason.ERROR


def test_error_of_a_program_while_another_is_killed_for_memory_stays_an_error():
    assert judged(1, tail="ValueError: bad", oom_kills=1).reason == Reason.ERROR


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_signals_that_a_program_causes_are_its_errors(number):
    outcome = judged(-number, tail="Fatal Python error: Segmentation fault")

    assert (outcome.reason, outcome.signal, outcome.exit_code) == (Reason.ERROR, number, None)
    assert outcome.message.startswith(f"killed by {number.name}: Fatal Python error")


def test_unknown_signal_is_told_by_its_number():
    assert "signal 42" in judged(-42).message


def test_end_that_was_asked_for_is_no_error():
    assert judged(143, asked=Reason.KILLED).reason == Reason.KILLED
    assert judged(-9, asked=Reason.PREEMPTED).reason == Reason.PREEMPTED
    assert judged(None, asked=Reason.PREEMPTED).reason == Reason.PREEMPTED
    assert judged(0, asked=Reason.PREEMPTED).reason == Reason.FINISHED


def test_end_that_nobody_saw_is_a_crash():
    outcome = judged(None, error="the process that watched over the trial has died")

    assert outcome.reason == Reason.CRASHED
    assert outcome.message == "the process that watched over the trial has died"


def test_exit_code_without_words_is_told_as_such():
    assert judged(3).message == "exit code 3"
    assert judged(3, tail="epoch 9\nwandb: bye\n").message == "exit code 3, printed last: epoch 9"


# What torchrun of torch 2.15 prints of two ranks, less most frames of its own traceback.
TORCHRUN = """\
W1129 21:58:45.909000 352 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process \
867 closing signal SIGTERM
E1129 21:58:46.191000 352 torch/distributed/elastic/multiprocessing/api.py:1002] failed \
(exitcode: {status}) local_rank: 1 (pid: 868) of binary: /venv/bin/python
Traceback (most recent call last):
  File "/venv/bin/torchrun", line 10, in <module>
    sys.exit(main())
             ^^^^^^
  File "/venv/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 386, in launch
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:{blank}
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-29_21:58:46
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 867)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 867
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-29_21:58:45
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : {status} (pid: 868) {name}
  error_file: <N/A>
  traceback : {trace}
============================================================
"""
OWN_ERROR = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "train.py", line 8, in <module>
[rank1]:     raise ValueError("x is too large: 3")
[rank1]: ValueError: x is too large: 3
"""
PEERS_ERROR = """\
[rank0]: Traceback (most recent call last):
[rank0]:   File "train.py", line 11, in <module>
[rank0]:     dist.all_reduce(t)
[rank0]: RuntimeError: [third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer \
[127.0.0.1]:7086. This is typically caused by a remote worker crashing. Check the logs.
"""


def torchrun(*, status=1):
    if status >= 0:
        trace = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"
        return TORCHRUN.format(status=status, name="", trace=trace, blank=" ")
    name = signal.Signals(-status).name
    trace = f"Signal {-status} ({name}) received by PID 868"
    return TORCHRUN.format(status=status, name=f" ({name})", trace=trace, blank=" ")


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param(OWN_ERROR, id="alone"),
        pytest.param(OWN_ERROR.replace("[rank1]: ", ""), id="before the group is made"),
        pytest.param(OWN_ERROR.replace("[rank1]: ", "[default1]:"), id="torchrun --tee 3"),
        pytest.param(OWN_ERROR + PEERS_ERROR, id="then its peer's"),
        pytest.param(PEERS_ERROR + OWN_ERROR, id="after its peer's"),
    ],
)
def test_error_of_the_rank_that_failed_is_told_and_not_torchruns(printed):
    outcome = judged(1, tail=f"epoch 1\n{printed}{torchrun()}")

    assert (outcome.reason, outcome.exit_code) == (Reason.ERROR, 1)
    assert outcome.message == "ValueError: x is too large: 3"
    assert first_error_line(printed + torchrun()) == "ValueError: x is too large: 3"


def peer_first(*, status):
    """Return torchrun's report where the rank that waits is seen to fail first."""
    others, root, first = torchrun().partition("Root Cause")
    others = others.replace("rank      : 0", "rank      : 1")
    others = others.replace("exitcode  : -15", f"exitcode  : {status}")
    return others + root + first.replace("rank      : 1", "rank      : 0")


def test_rank_that_waits_for_one_that_is_gone_is_not_the_cause_though_it_is_seen_first():
    failed = judged(1, tail=OWN_ERROR + PEERS_ERROR + peer_first(status=1))
    killed = judged(1, tail=PEERS_ERROR + peer_first(status=-9))

    assert failed.message == "ValueError: x is too large: 3"
    assert killed.reason == Reason.CRASHED
    assert killed.message.startswith("rank 1: killed by SIGKILL from outside")


def test_rank_that_torchrun_itself_has_killed_is_not_the_cause():
    kills = (
        "W1129 21:58:45.909000 352 torch/distributed/elastic/multiprocessing/api.py:1046] Unable \
to shutdown process 868 via SIGTERM, forcefully exiting via SIGKILL\n"
    )

    outcome = judged(1, tail=PEERS_ERROR + kills + peer_first(status=-9))

    assert outcome.reason == Reason.ERROR
    assert "Connection closed by peer" in outcome.message


def test_kill_of_a_rank_is_no_error_of_the_program():
    outcome = judged(1, tail=PEERS_ERROR + torchrun(status=-9))

    assert (outcome.reason, outcome.exit_code, outcome.signal) == (Reason.CRASHED, 1, None)
    assert outcome.message == ("rank 1: killed by SIGKILL from outside, perhaps for want of memory")
    assert judged(1, tail=torchrun(status=-9), oom_kills=1).reason == Reason.OUT_OF_MEMORY


def test_want_of_memory_of_a_rank_is_told_from_other_errors():
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB"
    own = OWN_ERROR.replace("ValueError: x is too large: 3", line)

    outcome = judged(1, tail=own + PEERS_ERROR + torchrun())

    assert (outcome.reason, outcome.message) == (Reason.OUT_OF_MEMORY, line)


def test_signal_that_a_rank_causes_is_its_error():
    outcome = judged(1, tail="hello 1\n" + torchrun(status=-11))

    assert (outcome.reason, outcome.message) == (Reason.ERROR, "rank 1: killed by SIGSEGV")


def test_rank_that_exits_without_words_is_told_by_its_number():
    assert judged(1, tail="hello 1\n" + torchrun(status=3)).message == (
        "rank 1: exit code 3, printed last: hello 1"
    )
    assert judged(1, tail="usage: train.py\n" + torchrun(status=2)).message == "usage: train.py"


def test_ranks_that_were_asked_to_end_have_not_failed():
    assert judged(1, tail=torchrun(), asked=Reason.PREEMPTED).reason == Reason.PREEMPTED
