"""Where the scene code gets its logics from."""

from types import SimpleNamespace

import slicer
from mrml import a_context, hierarchy_of
from ProtoSegBrainScene.context import TERMINOLOGY, contextForCore, contextForModules


def test_outside_the_application_a_scene_gets_what_it_needs():
    context = a_context()
    assert context.segmentations.GetMRMLScene() is context.scene
    assert context.volumeRendering.GetMRMLScene() is context.scene
    assert hierarchy_of(context.scene) is not None
    assert context.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is not None
    assert context.terminologies.IsTerminologyContextLoaded(TERMINOLOGY)
    contextForCore(context.scene)  # once more
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLCrosshairNode") == 1
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode") == 1


def test_in_the_application_its_own_logics_are_used():
    core = a_context()
    terminologies = slicer.vtkSlicerTerminologiesModuleLogic()
    logics = {
        "colors": core.colors,
        "volumerendering": core.volumeRendering,
        "segmentations": core.segmentations,
        "terminologies": terminologies,
    }
    modules = SimpleNamespace(**{name: SimpleNamespace(logic=lambda one=one: one) for name, one in logics.items()})
    context = contextForModules(core.scene, modules, core.application)
    assert context.scene is core.scene
    assert context.application is core.application
    assert (context.colors, context.volumeRendering) == (core.colors, core.volumeRendering)
    assert context.terminologies is terminologies
    assert terminologies.IsTerminologyContextLoaded(TERMINOLOGY)
