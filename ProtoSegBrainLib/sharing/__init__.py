"""A network for programs that do not know this library.

In: a network and its card.
Out: an ONNX file, or a folder that MONAI's programs load; each compared with torch before it is handed out.

export    the network as ONNX and as TorchScript
bundle    the folder: MONAI's bundle, and what its metadata say
workflow  the steps before and after the network, in MONAI's words
words     the bundle's README and licence
"""
