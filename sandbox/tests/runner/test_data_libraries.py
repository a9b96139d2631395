"""What people who work with data use, with the cells' interpreter, in each kind of session."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_runner import client
from sandbox_runner.client import RunnerSession
from sandbox_runner.launch import RunnerProcess

CELLS = Path(__file__).resolve().parents[3] / ".cells" / "bin" / "python"
RUN_SECONDS = 60.0


@pytest.fixture(scope="module", params=["namespaces", "plain", "subprocesses"])
def data_runner(request: pytest.FixtureRequest) -> Iterator[RunnerProcess]:
    if not CELLS.exists():
        pytest.skip("make setup-dev makes the cells' interpreter")
    settings = {
        "namespaces": {},
        "plain": {"namespaces": "0"},
        "subprocesses": {"subprocesses": "1"},
    }[request.param]
    with (
        tempfile.TemporaryDirectory(prefix="runner-") as folder,
        RunnerProcess(
            Path(folder), python=os.fspath(CELLS), settings={"pool": "1", **settings}
        ) as runner,
    ):
        said = client.hello(runner.socket, 120)
        states = {item.name: item.state for item in said.protections}
        if not said.is_safe or (request.param == "namespaces" and states["namespaces"] != "active"):
            pytest.skip("this kernel cannot confine a session, or not in that way")
        yield runner


@pytest.fixture
def data(data_runner: RunnerProcess) -> Iterator[RunnerSession]:
    with RunnerSession(data_runner.socket) as session:
        yield session


@pytest.mark.parametrize(
    ("code", "result"),
    [
        (
            (
                "from sklearn.datasets import load_iris\n"
                "from sklearn.linear_model import LogisticRegression\n"
                "from sklearn.model_selection import cross_val_score\n"
                "x, y = load_iris(return_X_y=True)\n"
                "float(cross_val_score(LogisticRegression(max_iter=500), x, y).mean().round(2))"
            ),
            "0.97",
        ),
        (
            (
                "from sklearn.cluster import KMeans\nfrom sklearn.datasets import load_iris\n"
                "round(KMeans(3, n_init=3, random_state=0).fit(load_iris().data).inertia_)"
            ),
            "79",
        ),
        (
            (
                "from sklearn.datasets import load_iris\n"
                "from sklearn.ensemble import RandomForestClassifier\n"
                "from sklearn.model_selection import GridSearchCV\n"
                "x, y = load_iris(return_X_y=True)\n"
                "forest = RandomForestClassifier(random_state=0, n_jobs=-1)\n"
                "search = GridSearchCV(forest, {'n_estimators': [5, 10]}, n_jobs=2).fit(x, y)\n"
                "bool(search.best_score_ > 0.9)"
            ),
            "True",
        ),
        (
            (
                "import joblib\nfrom sklearn.svm import SVC\n"
                "joblib.dump(SVC().fit([[0], [1]], [0, 1]), 'model')\n"
                "joblib.load('model').predict([[2]]).tolist()"
            ),
            "[1]",
        ),
        (
            (
                "import scipy.optimize\n"
                "scipy.optimize.minimize(lambda v: (v[0] - 3) ** 2, [0.0]).x.round(3).tolist()"
            ),
            "[3.0]",
        ),
        (
            "import requests\nrequests.Request('GET', 'http://a/b', params={'q': 1}).prepare().url",
            "'http://a/b?q=1'",
        ),
        (
            (
                "import pandas as pd\npd.DataFrame({'a': [1, 2]}).to_csv('t.csv', index=False)\n"
                "int(pd.read_csv('t.csv')['a'].sum())"
            ),
            "3",
        ),
        (
            (
                "import sqlite3\nwith sqlite3.connect('d.db') as db:\n"
                "    db.execute('create table t (n)')\n    db.execute('insert into t values (7)')\n"
                "sqlite3.connect('d.db').execute('select n from t').fetchall()"
            ),
            "[(7,)]",
        ),
        (
            (
                "import zipfile\nwith zipfile.ZipFile('z.zip', 'w') as z: z.writestr('a', 'b')\n"
                "zipfile.ZipFile('z.zip').read('a')"
            ),
            "b'b'",
        ),
        (
            (
                "import asyncio\nasync def two(): await asyncio.sleep(0.01); return 2\n"
                "asyncio.run(two())"
            ),
            "2",
        ),
        (
            (
                "from concurrent.futures import ThreadPoolExecutor\n"
                "with ThreadPoolExecutor(4) as pool: n = sum(pool.map(abs, range(-3, 3)))\nn"
            ),
            "9",
        ),
    ],
)
def test_library_works_as_on_any_machine(data: RunnerSession, code: str, result: str) -> None:
    run = data.run(code, RUN_SECONDS)
    assert run.done.error is None, run.done.error
    assert run.done.result == result
    assert run.stderr == b""


def test_no_two_sessions_draw_the_same_from_what_is_preloaded() -> None:
    if not CELLS.exists():
        pytest.skip("make setup-dev makes the cells' interpreter")
    code = (
        "import random, secrets, uuid\nimport numpy as np\n"
        "(random.random(), np.random.rand(), np.random.default_rng().random(), uuid.uuid4().hex, "
        "secrets.token_hex(), random.SystemRandom().random())"
    )
    drawn = []
    with (
        tempfile.TemporaryDirectory(prefix="runner-") as folder,
        RunnerProcess(
            Path(folder), python=os.fspath(CELLS), settings={"pool": "2", "preload": "numpy.random"}
        ) as runner,
    ):
        said = client.hello(runner.socket, 120)
        if not said.is_safe or said.preloaded != ("numpy.random",):
            pytest.skip("no numpy for cells, or a kernel that cannot confine them")
        for _ in range(3):
            with RunnerSession(runner.socket) as session:
                drawn.append(session.run(code, RUN_SECONDS).done.result)
    lots = [str(each).split(", ") for each in drawn]
    assert all(len(set(same)) == 3 for same in zip(*lots, strict=True)), lots


def test_request_to_the_network_fails_as_without_one(data: RunnerSession) -> None:
    run = data.run("import requests\nrequests.get('http://example.com', timeout=2)", RUN_SECONDS)
    assert run.done.error is not None
    assert run.done.error.type == "ConnectionError"


def test_program_runs_where_programs_may(
    data: RunnerSession, data_runner: RunnerProcess, request: pytest.FixtureRequest
) -> None:
    code = (
        "import subprocess\nsubprocess.run(['echo', 'hi'], capture_output=True, text=True).stdout"
    )
    run = data.run(code, RUN_SECONDS)
    if "subprocesses" in request.node.name:
        assert run.done.result == "'hi\\n'"
    else:
        assert run.done.error is not None
        assert run.done.error.type == "PermissionError"


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_connections_to_one_database_take_turns(data: RunnerSession, mode: str) -> None:
    code = f"""
import sqlite3, threading
def connect(patience=30):
    return sqlite3.connect("many.db", timeout=patience, isolation_level=None)
with connect() as first:
    first.execute("pragma journal_mode={mode}")
    first.execute("create table counts(n)")
    first.execute("insert into counts values (0)")
def count():
    mine = connect()
    for _ in range(25):
        mine.execute("begin immediate")
        n, = mine.execute("select n from counts").fetchone()
        mine.execute("update counts set n = ?", (n + 1,))
        mine.execute("commit")
threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
holder, other = connect(), connect(0)
holder.execute("begin immediate")
try: other.execute("begin immediate")
except sqlite3.OperationalError as error: refusal = str(error)
holder.execute("rollback")
kinds = connect().execute("pragma journal_mode").fetchone()[0]
(connect().execute("select n from counts").fetchone(), refusal, kinds,
 connect().execute("pragma integrity_check").fetchone()[0])
"""
    kept = mode if mode == "wal" else "delete"  # the others are a connection's own
    done = data.run(code, RUN_SECONDS).done
    assert done.result == f"((100,), 'database is locked', '{kept}', 'ok')", done
