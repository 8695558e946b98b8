"""What the panel needs of 3D Slicer and ``slicer-core`` has not: Qt as PythonQt shows it, widgets, the application.

MRML, the logics and ``slicer.util`` are the real ones of ``slicer-core``; Qt is the real Qt of PySide6, with properties
as attributes (``button.text = "x"``), as in PythonQt. Only what stands here is a stand-in.
"""

# ruff: noqa: E402, N801, N802, N803, N815 - the names are Slicer's; Qt is looked for before it is imported

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import tempfile
import types
import typing
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NEEDED = "libgl1 libegl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0"
REASON = f"needs PySide6 and what it links to (pip install PySide6; apt-get install {NEEDED})"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # no window on any screen
pytest.importorskip("PySide6.QtWidgets", reason=REASON, exc_type=ImportError)
pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)", exc_type=ImportError)

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

MODULE = Path(__file__).resolve().parents[1] / "ProtoSegBrain"
PRODUCT = ("ProtoSegBrain", "ProtoSegBrainPanel")
KEPT = ("ProtoSegBrainLib", "ProtoSegBrainScene")
TRUE_PROPERTY = 2
"""PySide6's number for ``from __feature__ import true_property``."""


if sys.version_info < (3, 12):
    # PySide6 6.12 gives one reference to None too few back from each call; since Python 3.12 they are not counted.
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


# -- widgets of CTK and Slicer ---------------------------------------------------------------------------------------


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    """A titled part of a panel that can be folded."""

    contentsCollapsed = QtCore.Signal(bool)

    def _get_collapsed(self) -> bool:
        return bool(self.property("folded"))

    def _set_collapsed(self, folded: bool) -> None:
        self.setProperty("folded", folded)
        self.setMaximumHeight(24 if folded else 16777215)
        self.contentsCollapsed.emit(folded)

    def _get_text(self) -> str:
        return self.title()

    def _set_text(self, text: str) -> None:
        self.setTitle(text)

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)
    text = QtCore.Property(str, _get_text, _set_text)


class ctkCollapsibleGroupBox(ctkCollapsibleButton):
    """The same with the title that a group box has."""


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box, in real numbers."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        self._slider.setRange(0, 1000)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._box)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def _slid(self, step: int) -> None:
        if abs(step / 1000 - self._box.value()) >= self._box.singleStep() / 2:
            self._box.setValue(step / 1000)

    def _typed(self, value: float) -> None:
        self._slider.setValue(round(1000 * value))
        self.valueChanged.emit(value)

    def _get(self) -> float:
        return self._box.value()

    def _set(self, value: float) -> None:
        self._box.setValue(value)

    value = QtCore.Property(float, _get, _set)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), lambda self, low: self._box.setMinimum(low))
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, high: self._box.setMaximum(high))
    singleStep = QtCore.Property(
        float, lambda self: self._box.singleStep(), lambda self, step: self._box.setSingleStep(step)
    )


class qMRMLSortFilterProxyModel:
    """Which nodes a selector offers, as Slicer's own: of a type, not hidden, with an attribute, not of these IDs.

    As there, a node is looked at when it is added; later changes of it are noticed only where an attribute is asked
    for, or when another filter is set.
    """

    def __init__(self, combo_box: qMRMLNodeComboBox) -> None:
        self._combo_box = combo_box
        self._attributes: dict[str, tuple[str, str | None]] = {}
        self._hidden: list[str] = []

    @property
    def hiddenNodeIDs(self) -> list[str]:
        return list(self._hidden)

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids: list[str]) -> None:
        if list(ids) != self._hidden:
            self._hidden = list(ids)
            self._combo_box.invalidate()

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes[node_type] = (name, value)
        self._combo_box.invalidate()

    @property
    def notices_changes(self) -> bool:
        return bool(self._attributes)

    def accepts(self, node: Any) -> bool:
        kind = node.GetClassName()
        if kind not in (self._combo_box.property("nodeTypes") or []):
            return False
        if node.GetID() in self._hidden or node.GetHideFromEditors():
            return False
        name, value = self._attributes.get(kind, (None, None))
        has = None if name is None else node.GetAttribute(name)
        return name is None or (has is not None and value in (None, has))


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Chooses a node of the scene. When the chosen one goes, it chooses the one above it, as a combo box does."""

    currentNodeChanged = QtCore.Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._tags: list[tuple[Any, int]] = []
        self._watched: list[tuple[Any, int]] = []
        self._chosen = ""
        self._filter = qMRMLSortFilterProxyModel(self)
        self.currentIndexChanged.connect(self._picked)

    def setMRMLScene(self, scene: Any) -> None:
        for watched, tag in self._tags:
            watched.RemoveObserver(tag)
        self._scene = scene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_scene: Any, _event: str, node: Any) -> None:
            self._insert(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def going(_scene: Any, _event: str, node: Any) -> None:
            self._remove(node)

        events = {scene.NodeAddedEvent: added, scene.NodeAboutToBeRemovedEvent: going}
        events[scene.EndCloseEvent] = lambda *_: self.invalidate()
        self._tags = [(scene, scene.AddObserver(event, action)) for event, action in events.items()]
        self.invalidate()

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._filter

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._filter.addAttribute(node_type, name, value)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._chosen) if self._chosen else None

    def setCurrentNode(self, node: Any) -> None:
        found = self.findData(node.GetID()) if node else 0
        self._show(max(0, found))

    def nodeCount(self) -> int:
        return self.count() - 1

    def offered(self) -> list[str]:
        """Names of the nodes that can be chosen."""
        return [self.itemText(row) for row in range(1, self.count())]

    def invalidate(self) -> None:
        """Look at all nodes of the scene again."""
        if self._scene is None:
            return
        for watched, tag in self._watched:
            watched.RemoveObserver(tag)
        self._watched = []
        self.blockSignals(True)
        self.clear()
        self.addItem("None", "")
        self.blockSignals(False)
        for name in self.property("nodeTypes") or []:
            for node in slicer.util.getNodesByClass(name, self._scene):
                self._insert(node)
        self._show(max(0, self.findData(self._chosen)))

    def _insert(self, node: Any) -> None:
        if node.GetClassName() in (self.property("nodeTypes") or []) and self._filter.notices_changes:
            self._watched.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._notice)))
        if self._filter.accepts(node) and self.findData(node.GetID()) < 0:
            self.addItem(node.GetName(), node.GetID())

    def _notice(self, node: Any, _event: str) -> None:
        row = self.findData(node.GetID())
        if row >= 0:
            self.setItemText(row, node.GetName())
        if self._filter.accepts(node) != (row >= 0):
            self.invalidate()

    def _remove(self, node: Any) -> None:
        row = self.findData(node.GetID())
        if row < 0:
            return
        is_current = row == self.currentIndex()
        self.blockSignals(True)
        self.removeItem(row)
        self.blockSignals(False)
        if is_current:
            self._show(row - 1)

    def _show(self, row: int) -> None:
        self.blockSignals(True)
        self.setCurrentIndex(row)
        self.blockSignals(False)
        self._picked(row)

    def _picked(self, row: int) -> None:
        chosen = self.itemData(row) or ""
        if chosen != self._chosen:
            self._chosen = chosen
            self.currentNodeChanged.emit()


class qMRMLWidget(QtWidgets.QWidget):
    """Hands its scene to the widgets in it, as the connections of the .ui file do."""

    mrmlSceneChanged = QtCore.Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        for selector in self.findChildren(qMRMLNodeComboBox):
            selector.setMRMLScene(scene)


CUSTOM_WIDGETS = (ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget, qMRMLNodeComboBox, qMRMLWidget)


class UiLoader(QtUiTools.QUiLoader):
    """Knows the stand-ins by the names that a .ui file uses."""

    def __init__(self) -> None:
        super().__init__()
        for widget in CUSTOM_WIDGETS:
            self.registerCustomWidget(widget)


class FileDialog:
    """Answers with the paths that a test puts into ``answers``; a text, as in PythonQt."""

    answers: typing.ClassVar[list[str]] = []

    @classmethod
    def _answer(cls, *_arguments: Any) -> str:
        return cls.answers.pop(0) if cls.answers else ""

    getExistingDirectory = getSaveFileName = getOpenFileName = _answer


# -- what Slicer's Python has ----------------------------------------------------------------------------------------


class ParameterWrapper:
    """Typed members kept in a ``vtkMRMLScriptedModuleNode``; the part of Slicer's wrapper that the panel uses."""

    members: typing.ClassVar[dict[str, Any]] = {}
    defaults: typing.ClassVar[dict[str, Any]] = {}

    def __init__(self, parameterNode: Any) -> None:
        self.__dict__.update(parameterNode=parameterNode, _guis={}, _updating=False)

    def __getattr__(self, name: str) -> Any:
        if name not in self.members:
            raise AttributeError(name)
        if is_node(self.members[name]):
            return self.parameterNode.GetNodeReference(name)
        stored = self.parameterNode.GetParameter(name)
        return json.loads(stored) if stored else self.defaults[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.members:
            raise AttributeError(f"no parameter {name}")
        if is_node(self.members[name]):
            self.parameterNode.SetNodeReferenceID(name, value.GetID() if value else None)
        else:
            kind = unannotated(self.members[name])
            if kind in (bool, int, float, str) and type(value) is not kind:
                raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")
            self.parameterNode.SetParameter(name, json.dumps(value))

    def connectGui(self, ui: Any) -> int:
        widgets = {name: widget for widget in vars(ui).values() if (name := widget.property("SlicerParameterName"))}
        for name, widget in widgets.items():
            connect_widget(widget, self.members[name], lambda name=name, widget=widget: self._read(name, widget))
        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._write(widgets))
        self._guis[tag] = widgets
        self._write(widgets)
        return tag

    def disconnectGui(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)
        for widget in self._guis.pop(tag).values():
            signal_of(widget).disconnect()

    def _read(self, name: str, widget: Any) -> None:
        if not self._updating:
            setattr(self, name, widget_value(widget))

    def _write(self, widgets: dict[str, Any]) -> None:
        if self._updating:
            return
        self.__dict__["_updating"] = True
        for name, widget in widgets.items():
            set_widget_value(widget, getattr(self, name))
        self.__dict__["_updating"] = False


def unannotated(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def parameterNodeWrapper(cls: type) -> type:
    hints = typing.get_type_hints(cls, include_extras=True)
    empty = {list[int]: [], bool: False, int: 0, float: 0.0, str: ""}
    defaults = {name: getattr(cls, name, empty.get(unannotated(kind))) for name, kind in hints.items()}
    return type(cls.__name__, (ParameterWrapper,), {"members": hints, "defaults": defaults})


class WithinRange(typing.NamedTuple):
    minimum: float
    maximum: float


class Choice(typing.NamedTuple):
    choices: list[str]


def connect_widget(widget: Any, kind: Any, changed: Callable[[], None]) -> None:
    choices = [extra for extra in getattr(kind, "__metadata__", ()) if isinstance(extra, Choice)]
    if choices:
        widget.clear()
        widget.addItems(choices[0].choices)
    signal_of(widget).connect(lambda *_: changed())


def signal_of(widget: Any) -> Any:
    names = ("currentNodeChanged", "stateChanged", "currentIndexChanged", "valueChanged", "textChanged")
    return next(getattr(widget, name) for name in names if hasattr(widget, name))


def widget_value(widget: Any) -> Any:
    if isinstance(widget, qMRMLNodeComboBox):
        return widget.currentNode()
    if isinstance(widget, QtWidgets.QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QtWidgets.QComboBox):
        return widget.currentText()
    return widget.property("value") if isinstance(widget, ctkSliderWidget) else widget.text()


def set_widget_value(widget: Any, value: Any) -> None:
    if isinstance(widget, qMRMLNodeComboBox):
        widget.setCurrentNode(value)
    elif isinstance(widget, QtWidgets.QCheckBox):
        widget.setChecked(value)
    elif isinstance(widget, QtWidgets.QComboBox):
        widget.setCurrentIndex(widget.findText(value))
    elif isinstance(widget, ctkSliderWidget):
        widget.setProperty("value", value)
    else:
        widget.setText(value)


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent

    def getDefaultModuleDocumentationLink(self) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, name: str) -> str:
        return str(MODULE / "Resources" / name)

    def setup(self) -> None: ...

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, _parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def resourcePath(self, name: str) -> str:
        return str(MODULE / "Resources" / name)

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message: str) -> None:
        """No time for reading."""


class Application:
    """The application without its windows: views have nodes and logics. What it was told is kept."""

    applicationName = "Slicer"

    def __init__(self, context: Any) -> None:
        self._logic = context.application
        self._scene = context.scene
        self._slices: list[Any] = []
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLScene(context.scene)
        self._layout.GetLayoutNode().AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._make_slice_logics())
        self._layout.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.status: list[str] = []

    def _make_slice_logics(self) -> None:
        served = {logic.GetSliceNode() for logic in self._slices}
        kind = "vtkMRMLSliceNode"
        for node in [self._scene.GetNthNodeByClass(n, kind) for n in range(self._scene.GetNumberOfNodesByClass(kind))]:
            if node not in served:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._logic)
                logic.SetMRMLScene(self._scene)
                logic.SetSliceNode(node)
                self._logic.GetSliceLogics().AddItem(logic)
                self._slices.append(logic)

    def quit(self) -> None:
        """Let go of the scene before it goes."""
        self._layout.SetMRMLScene(None)
        self._logic.GetSliceLogics().RemoveAllItems()
        for logic in self._slices:
            logic.SetMRMLScene(None)

    def connect(self, signal: str, action: Any) -> None:
        """The application has started up already."""

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> None:
        return None

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def testingEnabled(self) -> bool:
        return False

    def setOverrideCursor(self, cursor: Any) -> None:
        """No mouse."""

    def restoreOverrideCursor(self) -> None:
        """No mouse."""


def child_widget_variables(widget: Any) -> Any:
    """``slicer.util.childWidgetVariables`` for PySide6, where the name of an object is a method."""
    named = {child.objectName(): child for child in widget.findChildren(QtWidgets.QWidget) if child.objectName()}
    return types.SimpleNamespace(**{name: child for name, child in named.items() if not name.startswith("qt_")})


# -- putting it in place ---------------------------------------------------------------------------------------------


class QtModule(types.ModuleType):
    """All of Qt under one name."""

    QUiLoader, QFileDialog = UiLoader, FileDialog

    def __getattr__(self, name: str) -> Any:
        for part in (QtCore, QtGui, QtWidgets, QtUiTools):
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(f"Qt has no {name}")


def module_of(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def product_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] in PRODUCT]


def use_true_properties() -> None:
    """In the modules of the product, as if each began with ``from __feature__ import true_property``; not in tests."""
    import __feature__

    panel = MODULE / "ProtoSegBrainPanel"
    ours = ["ProtoSegBrain", "ProtoSegBrainPanel", *(f"ProtoSegBrainPanel.{file.stem}" for file in panel.glob("*.py"))]
    tests = [name for name in sys.modules if name.startswith(("Testing.panel", "open_panel", "slicer_stand_ins"))]
    with _without_torch():
        for name in tests:
            __feature__.set_selection(0, name)
        for name in ours:
            __feature__.set_selection(TRUE_PROPERTY, name)


@contextmanager
def _without_torch() -> Iterator[None]:
    """PySide looks into the source of every module that was imported; some of torch's have none and raise."""
    hidden = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "torch"}
    try:
        yield
    finally:
        sys.modules.update(hidden)


def _set_cache(scene: Any, folder: str) -> None:
    """Where a .mrb file is unpacked."""
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(folder)
    cache.SetMRMLScene(scene)
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


@contextmanager
def running_slicer(patch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module ``ProtoSegBrain``, freshly imported into an application with an empty scene.

    ``slicer.dialogs`` lists the messages that would have been shown.
    """
    with tempfile.TemporaryDirectory() as cache_folder:
        yield from _running_slicer(patch, cache_folder)


def _running_slicer(patch: pytest.MonkeyPatch, cache_folder: str) -> Iterator[types.ModuleType]:
    QtWidgets.QApplication.instance() or QtWidgets.QApplication(["test"])
    scene_module = importlib.import_module("ProtoSegBrainScene.context")
    scene = slicer.vtkMRMLScene()
    context = scene_module.contextForCore(scene)
    _set_cache(scene, cache_folder)
    dialogs: list[str] = []
    scripted = {cls.__name__: cls for cls in (ScriptedLoadableModule, ScriptedLoadableModuleWidget)}
    scripted |= {cls.__name__: cls for cls in (ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest)}
    fakes = {
        "qt": QtModule("qt"),
        "ctk": module_of("ctk", **{widget.__name__: widget for widget in CUSTOM_WIDGETS[:3]}),
        "slicer.ScriptedLoadableModule": module_of("ScriptedLoadableModule", __all__=[*scripted], **scripted),
        "slicer.parameterNodeWrapper": module_of(
            "parameterNodeWrapper", parameterNodeWrapper=parameterNodeWrapper, WithinRange=WithinRange, Choice=Choice
        ),
        "slicer.i18n": module_of("i18n", tr=str, translate=lambda _context, text: text),
    }
    for name, module in fakes.items():
        patch.setitem(sys.modules, name, module)
    logics = {
        "colors": context.colors,
        "volumerendering": context.volumeRendering,
        "segmentations": context.segmentations,
        "terminologies": context.terminologies,
    }
    modules = {name: types.SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
    new = {
        "mrmlScene": scene,
        "app": Application(context),
        "modules": types.SimpleNamespace(**modules),
        "dialogs": dialogs,
        "qMRMLNodeComboBox": qMRMLNodeComboBox,
        "qMRMLWidget": qMRMLWidget,
    }
    for name, value in new.items():
        patch.setattr(slicer, name, value, raising=False)
    patch.setattr(slicer.util, "childWidgetVariables", child_widget_variables)
    patch.setattr(slicer.util, "mainWindow", lambda: None)
    patch.setattr(slicer.util, "showStatusMessage", lambda message, *_: slicer.app.status.append(message))
    for name in ("infoDisplay", "warningDisplay", "errorDisplay"):
        patch.setattr(slicer.util, name, lambda text, **_: dialogs.append(text))
    patch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: bool(dialogs.append(text)))
    for name in product_modules():
        patch.delitem(sys.modules, name)
    use_true_properties()
    FileDialog.answers.clear()
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in KEPT}
    yield importlib.import_module("ProtoSegBrain")
    for name in [name for name in sys.modules if name.split(".")[0] in (*PRODUCT, *KEPT)]:
        del sys.modules[name]
    sys.modules.update(kept)  # a reload makes others, but the other tests hold on to these
    new["app"].quit()
    scene.Clear(True)
