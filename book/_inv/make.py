"""Write python.inv, numpy.inv and torch.inv: where the names that the API pages link to are documented.

Sphinx would fetch the whole inventories from the network at every build. These hold only the names in use;
add one here and run ``python book/_inv/make.py``.
"""

import zlib
from pathlib import Path

FUNCTIONS, TYPES, ERRORS = (
    "library/functions.html#{}",
    "library/stdtypes.html#{}",
    "library/exceptions.html#{}",
)
TYPING, ABC = "library/typing.html#{}", "library/collections.abc.html#{}"

PYTHON = {
    **dict.fromkeys(
        ["py:class bool", "py:class float", "py:class int", "py:class object", "py:class type"], FUNCTIONS
    ),
    **dict.fromkeys(
        [
            "py:class dict",
            "py:class list",
            "py:class set",
            "py:class str",
            "py:class tuple",
            "py:class frozenset",
        ],
        TYPES,
    ),
    **dict.fromkeys(
        [
            f"py:exception {name}"
            for name in ("FileNotFoundError", "ImportError", "KeyError", "TypeError", "ValueError")
        ],
        ERRORS,
    ),
    **dict.fromkeys(
        [
            f"py:class collections.abc.{name}"
            for name in ("Callable", "Collection", "Iterable", "Iterator", "Mapping", "Sequence")
        ],
        ABC,
    ),
    **dict.fromkeys(["py:data typing.Any", "py:data typing.Literal", "py:class typing.NamedTuple"], TYPING),
    "py:class os.PathLike": "library/os.html#{}",
    "py:class pathlib.Path": "library/pathlib.html#{}",
    "py:class pathlib._local.Path": "library/pathlib.html#pathlib.Path",
    "py:data None": "library/constants.html#{}",
    "py:class types.ModuleType": "library/types.html#{}",
    "py:class datetime.date": "library/datetime.html#{}",
}

TORCH = {
    "py:class torch.Tensor": "tensors.html#{}",
    "py:class nn.Module": "generated/torch.nn.Module.html#torch.nn.Module",
    "py:class torch.optim.optimizer.Optimizer": "optim.html#torch.optim.Optimizer",
    "py:class torch.optim.swa_utils.AveragedModel": "optim.html#{}",
    "py:class Tensor": "tensors.html#torch.Tensor",  # as autodoc leaves it inside Callable[...]
    "py:class torch.Generator": "generated/torch.Generator.html#{}",
    "py:class torch._C.Generator": "generated/torch.Generator.html#torch.Generator",
    "py:class torch.device": "tensor_attributes.html#{}",
    "py:class torch.optim.Adam": "generated/torch.optim.Adam.html#{}",
    "py:class torch.optim.adam.Adam": "generated/torch.optim.Adam.html#torch.optim.Adam",
    "py:function torch.func.functional_call": "generated/torch.func.functional_call.html#{}",
    "py:class torch.dtype": "tensor_attributes.html#{}",
    "py:class torch.nn.Module": "generated/torch.nn.Module.html#{}",
    "py:class torch.nn.modules.module.Module": "generated/torch.nn.Module.html#torch.nn.Module",
    "py:function torch.cdist": "generated/torch.cdist.html#{}",
}

NUMPY = {"py:class numpy.ndarray": "reference/generated/numpy.ndarray.html#{}"}


def inventory(project: str, version: str, names: dict[str, str]) -> bytes:
    """Return the bytes of a Sphinx inventory (version 2) of ``"role name": address`` entries."""
    lines = []
    for key, address in sorted(names.items()):
        role, name = key.split(" ")
        lines.append(f"{name} {role} 1 {address.format(name)} -\n")
    header = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: {version}\n"
    header += "# The remainder of this file is compressed using zlib.\n"
    return header.encode() + zlib.compress("".join(lines).encode(), 9)


if __name__ == "__main__":
    folder = Path(__file__).parent
    (folder / "python.inv").write_bytes(inventory("Python", "3.11", PYTHON))
    (folder / "numpy.inv").write_bytes(inventory("NumPy", "2", NUMPY))
    (folder / "torch.inv").write_bytes(inventory("PyTorch", "2.13", TORCH))
