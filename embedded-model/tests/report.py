"""Print exact match by kind for each split: `python embedded-model/tests/report.py [SPLIT ...]`.

Single failures are shown for the training split and for splits that are named; the held-out part
stays unseen.
"""

import sys

from embedded_model_corpus import figures, load_cases, verdict


def main() -> None:
    verdicts = [verdict(case) for case in load_cases()]
    for split in sorted({item.case.split for item in verdicts}):
        part = [item for item in verdicts if item.case.split == split]
        print(f"{split}\n{figures(part)}\n")  # noqa: T201  # a report prints
    shown = {"training", *sys.argv[1:]} - {"held-out"}
    for item in verdicts:
        if item.reason is not None and item.case.split in shown:
            print(f"{item.case.id}: {item.reason}")  # noqa: T201  # a report prints


if __name__ == "__main__":
    main()
