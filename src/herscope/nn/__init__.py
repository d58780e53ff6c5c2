"""Networks: the model folder and its card, inference without torch, training and export with it.

Two halves. :mod:`~herscope.nn.model_file`, :mod:`~herscope.nn.onnx_bytes`,
:mod:`~herscope.nn.runtime` and :mod:`~herscope.nn.windows` never import torch: scoring uses them.
The rest needs the extra ``learn`` and is used by recipes only.
"""
