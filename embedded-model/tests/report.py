"""Print exact match by kind for both splits: `python embedded-model/tests/report.py`.

Single failures are shown for the training split only; the held-out part stays unseen.
"""

from embedded_model_corpus import figures, load_cases, verdict


def main() -> None:
    verdicts = [verdict(case) for case in load_cases()]
    for is_held_out, title in ((False, "training split"), (True, "held-out split")):
        part = [item for item in verdicts if item.case.is_held_out is is_held_out]
        print(f"{title}\n{figures(part)}\n")  # noqa: T201  # a report prints
    for item in verdicts:
        if item.reason is not None and not item.case.is_held_out:
            print(f"{item.case.id}: {item.reason}")  # noqa: T201  # a report prints


if __name__ == "__main__":
    main()
