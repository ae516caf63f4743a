"""tests/data/expected/events.bin: the records that TensorBoard's own writer makes of the numbers of test_events.c.
With a folder as its argument: reads that run's event file with TensorBoard and compares it with metrics.jsonl.
pip install --no-deps tensorboard==2.21.0 protobuf absl-py grpcio"""

import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from common import EXPECTED


def make(path):
    with open(path, "wb") as f:
        w = RecordWriter(f)
        w.write(Event(wall_time=1700000000.5, file_version="brain.Event:2").SerializeToString())
        for step, numbers in [(1, {"loss": 0.25, "rate": 1e-4}), (300, {"loss": -1.5e10, "held_out": 0.1, "psnr": 20})]:
            values = [Summary.Value(tag=k, simple_value=v) for k, v in numbers.items()]
            w.write(Event(wall_time=1700000000.5 + step, step=step, summary=Summary(value=values)).SerializeToString())


def compare(folder):
    lines = [json.loads(x) for x in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    events = [e for e in EventFileLoader(str(Path(folder) / "events.out.tfevents.limn")).Load() if e.step]
    assert len(events) == len(lines) > 0, (len(events), len(lines))
    for line, event in zip(lines, events):
        # the loader turns simple values into tensors
        came = {v.tag: v.tensor.float_val[0] if v.HasField("tensor") else v.simple_value for v in event.summary.value}
        wanted = {k: v for k, v in line.items() if k != "step" and isinstance(v, (int, float))}
        assert event.step == line["step"] and came.keys() == wanted.keys(), (came, wanted)
        for k, v in wanted.items():
            assert abs(came[k] - v) <= 1e-6 * abs(v), (k, came[k], v)
    print(f"{len(lines)} steps, {sum(len(e.summary.value) for e in events)} numbers agree")


if __name__ == "__main__":
    compare(sys.argv[1]) if len(sys.argv) > 1 else make(EXPECTED / "events.bin")
