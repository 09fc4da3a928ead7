# SPDX-License-Identifier: Apache-2.0
"""A drive of capture/python/drives as recorded_engines.py has it served:

    recorded_drive.py transformers_cb|vllm_v1 FOLDER [TOKENS [CALL]]

With TOKENS, a number, its prompts are of other tokens, drawn from that seed: as long as before, the
same where they were the same. The attention call of that number never returns. In FOLDER it says
what the recording is to be compared with:

    tokens.json   lists of tokens, of prompts and of answers
    call.json     once that call is made: the process's id
    planted.json  the list with an index outside the pool, before a kernel is given it
"""
import importlib
import json
import os
import random
import sys
import time

DRIVE, FOLDER, TOKENS, CALL = (*sys.argv[1:], "0", "0")[:4]
TOKENS, CALL = int(TOKENS), int(CALL)
VOCABULARY = range(1, 253)
# So many that there is a keyframe; vLLM's engine is slower.
PROMPTS = {"transformers_cb": 40}


def say(name, what):
    path = os.path.join(FOLDER, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(what, file)
    os.rename(path + ".new", path)


def other_tokens(drive, said):
    prompts = drive.prompts
    other = list(VOCABULARY)
    if TOKENS:
        random.Random(TOKENS).shuffle(other)

    def changed():
        said.extend([other[token - 1] for token in prompt] for prompt in prompts())
        return said[:]

    drive.prompts = changed


def stall(owner, name):
    original, calls = getattr(owner, name), [0]

    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == CALL:
            say("call.json", os.getpid())
            time.sleep(600)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def transformers(drive, said):
    import torch

    if CALL:
        stall(torch.nn.functional, "scaled_dot_product_attention")
    model, plant = drive.model, drive.plant_index

    def answering():
        built = model()
        generate = built.generate_batch

        def generated(**arguments):
            answers = generate(**arguments)
            said.extend(list(one.generated_tokens) for one in answers.values())
            return answers

        built.generate_batch = generated
        return built

    def planted(storage):
        plant(storage)
        prepare = drive.ContinuousBatchingIOs.prepare_batch_tensors

        def prepared(inputs, *args, **kwargs):
            result = prepare(inputs, *args, **kwargs)
            for one, length in zip(inputs.read_index_storage.tolist(), inputs.true_read_sizes):
                if drive.OUTSIDE in one[:length]:
                    say("planted.json", one[:length])
            return result

        drive.ContinuousBatchingIOs.prepare_batch_tensors = prepared

    drive.model, drive.plant_index = answering, planted


def vllm(drive, said):
    from vllm import _custom_ops

    if CALL:
        stall(_custom_ops, "cpu_attention_with_kv_cache")
    engine = drive.engine

    def answering(plant):
        core, answers = engine(plant), {}
        step = core.step_fn

        def stepped():
            outputs, executed = step()
            for each in (outputs or {}).values():
                for one in each.outputs:
                    if one.request_id not in answers:
                        said.append(answers.setdefault(one.request_id, []))
                    answers[one.request_id] += one.new_token_ids
            return outputs, executed

        core.step_fn = stepped
        return core

    drive.engine = answering


def main():
    drive, said = importlib.import_module(DRIVE), []
    drive.PROMPTS = PROMPTS.get(DRIVE, drive.PROMPTS)
    other_tokens(drive, said)
    {"transformers_cb": transformers, "vllm_v1": vllm}[DRIVE](drive, said)
    try:
        drive.main()
    finally:
        say("tokens.json", said)


if __name__ == "__main__":
    main()
