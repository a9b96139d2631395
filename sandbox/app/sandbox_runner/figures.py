"""Catches matplotlib's figures, inside a worker: no code of the cell's has to do anything for it.

A figure is shown when the cell shows it (``plt.show()``, ``fig.show()``), and else at the cell's
end; then it is closed, as in a notebook. matplotlib is not imported here: if a cell, or the
zygote, imports it, its figure manager learns to show.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
import types
from collections.abc import Sequence
from typing import Any, Final

from sandbox_runner.showcase import Showcase

_MODULE: Final = "matplotlib.backend_bases"
_PYPLOT: Final = "matplotlib.pyplot"
_HELPERS: Final = "matplotlib._pylab_helpers"
_FIGURE: Final = "matplotlib.figure"


class FigureCatcher:
    """Puts the figures of a worker into its showcase."""

    def __init__(self, showcase: Showcase) -> None:
        self._showcase = showcase

    def install(self) -> None:
        """Teach matplotlib, now or when it is imported."""
        module = sys.modules.get(_MODULE)
        if module is None:
            sys.meta_path.insert(0, _Watch(self))
        else:
            self.teach(module)

    def teach(self, module: types.ModuleType) -> None:
        """Give the manager of figures without a window something to do when it is to show."""
        catcher = self

        def show(manager: Any) -> None:
            catcher.catch(manager.canvas.figure)
            sys.modules[_HELPERS].Gcf.destroy(manager)

        module.FigureManagerBase.show = show

    def catch(self, figure: Any) -> None:
        """Show a figure; it is drawn if there is room for it."""
        self._showcase.add("figure", lambda: {"image/png": _draw(figure)})

    def catch_open(self) -> None:
        """Show and close, at a cell's end, what it left open.

        Notes
        -----
        A figure that cannot be drawn says so on standard error and does not end the cell.
        """
        helpers = sys.modules.get(_HELPERS)
        if helpers is None or _PYPLOT not in sys.modules:
            return
        for manager in helpers.Gcf.get_all_fig_managers():
            try:
                self.catch(manager.canvas.figure)
            # Anything at all, an exit too: the cell is over, and its result stands.
            except BaseException as error:  # noqa: BLE001  # a cell's own artists may raise it
                sys.stderr.write(f"A figure could not be drawn: {error!r}\n")
            finally:
                helpers.Gcf.destroy(manager)

    def catch_value(self, value: Any) -> bool:
        """Show a value that is a figure, and close it; say whether it is one."""
        module = sys.modules.get(_FIGURE)
        # Of its type: what a cell's object says of its class may be anything, or an exception.
        if module is None or not issubclass(type(value), module.Figure):
            return False
        self.catch(value)
        manager = getattr(value.canvas, "manager", None)
        if manager is not None:
            sys.modules[_HELPERS].Gcf.destroy(manager)
        return True


def _draw(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


class _Watch(importlib.abc.MetaPathFinder):
    """Waits for the import of one module, finds it as ever, and teaches it."""

    def __init__(self, catcher: FigureCatcher) -> None:
        self._catcher = catcher

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  # the protocol's
        target: types.ModuleType | None = None,  # noqa: ARG002  # the protocol's
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that teaches."""
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _TeachingLoader(spec.loader, self._catcher)
        return spec


class _TeachingLoader(importlib.abc.Loader):
    """Loads as the loader that it wraps, then teaches."""

    def __init__(self, loader: Any, catcher: FigureCatcher) -> None:
        self._loader = loader
        self._catcher = catcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """Return what the wrapped loader makes."""
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the module, and teach it."""
        self._loader.exec_module(module)
        self._catcher.teach(module)
