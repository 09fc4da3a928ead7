# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for kernel libraries that cannot run on a CPU, or are not there.

Nothing of the engine is replaced: only the libraries its backends call for attention. A stand-in
computes nothing; the recorder reads the arguments before it is called.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types

import torch
from torch.overrides import TorchFunctionMode


class _Name:
    """Has every name, can be a class's base, and cannot be called."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(f"{self.__name__}.{name}")

    def __mro_entries__(self, bases):
        return ()

    def __call__(self, *args, **kwargs):
        raise NotImplementedError(f"{self.__name__}: a stand-in")


class _Absent(types.ModuleType):
    """A module in which every name can be imported and none can be called."""

    __getattr__ = _Name.__getattr__


def _unified_attention(*args, **kwargs):
    kwargs["out"].zero_()


def _mha_batch_prefill(q, k, v, *args, **kwargs):
    return torch.zeros_like(q)


def _paged_attention_ragged(out, *args, **kwargs):
    out.zero_()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a package and every module of it, as an _Absent with the attributes given for it."""

    def __init__(self, package: str, provided: dict) -> None:
        self._package = package
        self._provided = provided

    def find_spec(self, fullname, path=None, target=None):
        if not f"{fullname}.".startswith(f"{self._package}."):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Absent(spec.name)

    def exec_module(self, module):
        for name, value in self._provided.get(module.__name__, {}).items():
            setattr(module, name, value)


def install_aiter() -> None:
    """AMD's aiter has no build for a machine without its GPUs."""
    sys.meta_path.append(_Finder("aiter", {
        "aiter": {"mha_batch_prefill_func": _mha_batch_prefill,
                  "paged_attention_ragged": _paged_attention_ragged},
        "aiter.ops.triton.attention.unified_attention": {
            "unified_attention": _unified_attention},
        # Called while SGLang's own kernel module is imported; names a kernel in profiles.
        "aiter.ops.triton.utils._triton.kernel_repr": {
            "make_kernel_repr": lambda *args, **kwargs: None},
        "aiter.ops.triton.utils.types": {"e4m3_dtype": torch.float8_e4m3fn},
    }))


def _flash_attn(q, *args, **kwargs):
    if kwargs.get("return_softmax_lse"):
        return torch.zeros_like(q), q.new_zeros(q.shape[1], q.shape[0], dtype=torch.float32)
    return torch.zeros_like(q)


def install_flash_attention() -> None:
    """sgl_kernel, of which FlashAttentionBackend takes FlashAttention 3, needs CUDA, for which
    SGLang looks."""
    sys.meta_path.append(_Finder("sgl_kernel", {
        "sgl_kernel": {"merge_state_v2": _merge_state},
        "sgl_kernel.flash_attn": {"flash_attn_with_kvcache": _flash_attn,
                                  "flash_attn_varlen_func": _flash_attn,
                                  "get_scheduler_metadata": lambda *args, **kwargs: None},
        "sgl_kernel.utils": {"is_arch_support_pdl": lambda: False}}))
    from sglang.kernels.ops.attention import flash_attention_v3

    flash_attention_v3._is_fa3_supported = lambda *args: True


def install_absent(*packages: str) -> None:
    """On a GPU SGLang imports libraries of which the paths driven here call next to nothing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            sys.meta_path.append(_Finder(package, {
                "sgl_kernel.utils": {"is_arch_support_pdl": lambda: False}}))


def install_vllm_kernels() -> None:
    """What vLLM built for CPUs lacks of a GPU's kernels, of which none is called: layers run as
    torch has them (custom_ops none), attention in Triton. An operator is looked up where a layer is
    made, others are asked while modules are imported what there is."""
    if importlib.util.find_spec("vllm._C_stable_libtorch") is not None:
        return
    for package in ("vllm._C_stable_libtorch", "vllm.vllm_flash_attn"):
        sys.meta_path.insert(0, _Finder(package, {}))
    torch.library.define("_C::gelu_tanh_and_mul", "(Tensor(a!) out, Tensor input) -> ()")
    keep_graphs_outputs()
    for kind in ("fp8", "block_fp8"):
        asked = "_C::cutlass_scaled_mm_supports_" + kind
        torch.library.define(asked, "(int capability) -> bool")
        torch.library.impl(asked, "CompositeExplicitAutograd")(lambda capability: False)


def keep_graphs_outputs() -> None:
    """What a CUDA graph returns, V1 refers to without holding it, by an operator for that."""
    torch.library.define("_C::weak_ref_tensor", "(Tensor(a) input) -> Tensor(a)")
    torch.library.impl("_C::weak_ref_tensor", "CompositeExplicitAutograd")(torch.Tensor.detach)


def quicken_triton() -> None:
    """Spares Triton's interpreter half of its time: with each call of one function by another it
    makes the language its own, which it is while a kernel runs, and it looks for overflows, as no
    kernel does that was compiled for use. For kernels that one thread calls."""
    from triton.runtime import interpreter

    patch, execute = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched = set()  # Modules of functions, while a kernel runs.

    def patch_once(function):
        module = id(function.__globals__)
        if module in patched:
            return interpreter._LangPatchScope()
        patched.add(module)
        return patch(function)

    def run_kernel(*args, **kwargs):
        try:
            execute(*args, **kwargs)
        finally:
            patched.clear()

    interpreter._patch_lang = patch_once
    interpreter.GridExecutor.__call__ = run_kernel
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(
        sanitize_overflow=False)


def interpret_triton() -> None:
    """Kernels that are made from here on run on a CPU, as Triton's interpreter has it. vLLM's build
    for CPUs asks for a Triton that compiles for them, of which it uses nothing else."""
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.backends import backends

    driver = types.SimpleNamespace(is_active=lambda: False)
    backends.setdefault("cpu", types.SimpleNamespace(driver=driver))
    quicken_triton()


class _Wrapper:
    """Keeps the lists that it is planned with, as FlashInfer's do: those of a CUDA graph in the
    buffers that they were given."""

    _named = ("qo_indptr_buf", "paged_kv_indptr_buf", "paged_kv_indices_buf",
              "paged_kv_last_page_len_buf")

    def __init__(self, *args, use_cuda_graph: bool = False, **kwargs) -> None:
        self.is_cuda_graph_enabled = use_cuda_graph
        for name in self._named:
            buffer = kwargs.get(name, kwargs.get(name + "fer"))
            setattr(self, "_" + name, buffer if use_cuda_graph else None)

    def _keep(self, **lists) -> None:
        for name, given in lists.items():
            if not self.is_cuda_graph_enabled:
                setattr(self, name, given)
            elif getattr(self, name).data_ptr() != given.data_ptr():
                getattr(self, name)[:given.numel()].copy_(given)

    def forward(self, q, *args, **kwargs):
        return torch.zeros_like(q)

    def forward_return_lse(self, q, *args, **kwargs):
        return torch.zeros_like(q), q.new_zeros(q.shape[:2], dtype=torch.float32)


class _Decode(_Wrapper):
    # FlashInfer's classes have these each its own.
    forward, forward_return_lse = _Wrapper.forward, _Wrapper.forward_return_lse

    def begin_forward(self, indptr, indices, *args, **kwargs):
        self._keep(_paged_kv_indptr_buf=indptr, _paged_kv_indices_buf=indices)


class _Prefill(_Wrapper):
    # What SGLang's fast_prefill_plan takes of them, in the place of their own plan.
    device, _backend, _max_total_num_rows = torch.device("cpu"), "fa2", None
    _float_workspace_buffer = _int_workspace_buffer = _pin_memory_int_workspace_buffer = None
    _cached_module = types.SimpleNamespace(plan=lambda *args: None)
    forward, forward_return_lse = _Wrapper.forward, _Wrapper.forward_return_lse

    def begin_forward(self, qo_indptr, indptr, indices, *args, **kwargs):
        self._keep(_qo_indptr_buf=qo_indptr, _paged_kv_indptr_buf=indptr,
                   _paged_kv_indices_buf=indices)


class _Ragged(_Wrapper):
    def begin_forward(self, *args, **kwargs):
        pass


def _merge_state(v_a, s_a, v_b, s_b):
    return v_a, s_a


class _OnCpu(TorchFunctionMode):
    """FlashInferAttnBackend names CUDA where it makes a list."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return function(*args, **kwargs)


def keep_on_cpu() -> None:
    """What torch is asked to make on CUDA by that word."""
    _OnCpu().__enter__()


def _trtllm_batch(query, *args, **kwargs):
    return torch.zeros_like(query)


def _trtllm_fmha_v2(given, *args, **kwargs):
    return torch.zeros_like(given[0])


def install_flashinfer() -> None:
    """FlashInfer needs CUDA, for which SGLang looks: modules imported from here on find both."""
    import sglang.srt.utils as utils

    utils.is_flashinfer_available = lambda: True
    sys.meta_path.append(_Finder("flashinfer", {
        "flashinfer": {"BatchDecodeWithPagedKVCacheWrapper": _Decode,
                       "BatchPrefillWithPagedKVCacheWrapper": _Prefill,
                       "BatchPrefillWithRaggedKVCacheWrapper": _Ragged,
                       "fast_decode_plan": _Decode.begin_forward},
        "flashinfer.cascade": {"merge_state": _merge_state},
        "flashinfer.decode": {"trtllm_batch_decode_with_kv_cache": _trtllm_batch,
                              "_grouped_size_compiled_for_decode_kernels": lambda *args: True},
        "flashinfer.prefill": {"trtllm_batch_context_with_kv_cache": _trtllm_batch,
                               "trtllm_fmha_v2_prefill": _trtllm_fmha_v2},
        "flashinfer.utils": {
            "get_device_sm_count": lambda device: 1,
            "get_trtllm_gen_multi_ctas_kv_counter_bytes": lambda *args: 4},
    }))
    for name in ("flashinfer.decode", "flashinfer.prefill", "flashinfer.utils"):
        importlib.import_module(name)  # by which they become attributes of their package
