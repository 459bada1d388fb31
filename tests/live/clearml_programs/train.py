"""A training run as users of ClearML's SDK write it; what it sent goes into the file that is named."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from clearml import OutputModel, Task

ROWS = 150


def scalars() -> dict[str, dict[str, list[float]]]:
    """Values by title, series and iteration."""
    return {
        "loss": {
            "train": [1 / (step + 1) for step in range(ROWS)],
            "test": [1 / (step + 1) + 0.125 for step in range(ROWS)],
        },
        "lr - a/b": {"c - d": [0.5**step for step in range(10)]},
    }


def image(step: int) -> Any:
    picture = np.zeros((6, 9, 3), dtype=np.uint8)
    picture[:, :, step % 3] = 200
    return picture


def report(task: Task, folder: Path) -> dict[str, Any]:
    """Everything that an experiment reports, once."""
    logger = task.get_logger()
    for title, series in scalars().items():
        for name, values in series.items():
            for step, value in enumerate(values):
                logger.report_scalar(title, name, value=value, iteration=step)
    logger.report_single_value("accuracy", 0.9375)
    logger.report_histogram("weights", "layer 1", iteration=4, values=np.array([1.0, 2.0, 3.0]))
    logger.report_vector("gradient", "layer 1", iteration=4, values=[0.25, 0.5])
    logger.report_confusion_matrix("confusion", "val", iteration=4, matrix=np.array([[5, 1], [2, 7]]))
    logger.report_scatter2d("scatter", "pairs", iteration=5, scatter=[(0.0, 1.0), (1.0, 4.0)])
    for step in range(3):
        logger.report_image("samples", "cat", iteration=step, image=image(step))
    logger.report_text("a line of the logger's")
    print("a printed line")
    logging.getLogger("training").warning("a warning of logging's")
    path = folder / "table.csv"
    path.write_text("a,b\n1,2\n")
    task.upload_artifact("numbers", {"best": 0.9375, "at": [1, 2]}, wait_on_upload=True)
    task.upload_artifact("table", str(path), wait_on_upload=True)
    model = OutputModel(task=task, name="the net", framework="PyTorch")
    model.report_scalar("validation", "f1", value=0.75, iteration=1)
    return {"task": task.id, "model": model.id, "scalars": scalars()}


def main(out: Path) -> None:
    task = Task.init("live tests", "train", reuse_last_task_id=False)
    task.connect({"epochs": 3, "api_token": "hunter2hunter2"})
    told = report(task, out.parent)
    task.flush(wait_for_uploads=True)
    out.write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
