// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "traces/text.h"

namespace pagetape {
namespace {

// Each kind of event with all its fields, as it is printed.
constexpr const char* kLines[] = {
    R"({"ev": "header", "format": 1, "engine": "sglang", "engine_version": "0.5", "model": "m", )"
    R"("gpu": "H100", "ranks": {"tp": 8, "pp": 1, "dp": 2}, "records": ["alloc", "table"], )"
    R"("clock": "monotonic"})",
    R"({"ev": "pool", "pool": "F", "pages": 9, "page_size": 4, "kind": "full", "space": "E", )"
    R"("allocator": "a", "reserved": [{"page": 0, "role": "pad"}, {"page": -1, "role": "null"}], )"
    R"("page_bytes": 4096, "offset_bits": 32, "layers": 12, "layout": "NHD", "kv_heads": 8, )"
    R"("head_dim": 128, "v_head_dim": 64, "dtype": "fp8_e4m3"})",
    R"({"ev": "pool_layer", "pool": "F", "layer": 3, "k_ptr": 140737488355328, )"
    R"("v_ptr": 0, "shape": [9, 4, 8, 128], "stride": [4096, 1024, 128, 1]})",
    R"({"ev": "arena", "arena": "a", "bytes": 1048576})",
    R"({"ev": "extent", "arena": "a", "owner": "F", "begin": 0, "end": 4096})",
    R"({"ev": "view", "object": "o", "allocator": 64, "kernel": -128})",
    R"({"ev": "buffer", "buffer": "pt", "rows": 4, "cols": 8, "capacity": 32, "ptr": 4096})",
    R"({"ev": "map", "map": "F>S", "from": "F", "to": "S", "unit": "slot"})",
    R"({"ev": "pool_set", "set": "W", "pools": ["F", "S"]})",
    R"({"ev": "backend", "backend": "d", "role": "draft", "class": "FlashAttention"})",
    R"({"ev": "pool_swap", "backend": "d", "layers": "*", "pool": "F", "set": "W"})",
    R"({"ev": "pool_swap", "backend": "d", "layers": [22, "a0"], "pool": "F"})",
    R"({"ev": "swa_state", "backend": "d", "uses_swa": false, "swa_pool": null, )"
    R"("derived_from": "D"})",
    R"({"ev": "cached", "backend": "d", "attr": "kv_base", "derived_from": "F"})",
    R"({"ev": "layer_remap", "backend": "d", "layer": "a0", "to": 1})",
    R"({"ev": "version", "object": "F>S"})",
    R"({"ev": "alloc", "pool": "F", "req": "A", "pages": [1, -1], "first": 0})",
    R"({"ev": "share", "pool": "F", "req": "#tree", "pages": [1], "first": 2})",
    R"({"ev": "free", "pool": "F", "req": "A", "pages": []})",
    R"({"ev": "evict", "pool": "S", "req": "A", "logical": 0, "page": 4})",
    R"({"ev": "fill", "pool": "F", "req": "A", "pages": [1, 2], "slots": [4, 2], "layers": [0], )"
    R"("digest": ["k1", "k2"]})",
    R"({"ev": "fill", "pool": "F", "req": "A", "pages": [1, 2], "digest": "h"})",
    R"({"ev": "prefix_key", "pool": "F", "page": 1, "key": "k", "when": "scheduled"})",
    R"({"ev": "prefix_hit", "pool": "F", "req": "A", "page": 1, "key": "k", "first": 0})",
    R"({"ev": "prefix_drop", "pool": "F", "page": 1, "key": "k"})",
    R"({"ev": "map_set", "map": "F>S", "pairs": [[1, 2], [3, 4]]})",
    R"({"ev": "map_clear", "map": "F>S", "from": [1]})",
    R"({"ev": "map_free", "map": "F>S", "req": "A", "from": [1], "skip_unmapped": true})",
    R"({"ev": "free_count", "pool": "S", "free": -1})",
    R"({"ev": "access", "object": "pt", "used": 5, "capacity": 4})",
    R"({"ev": "request", "req": "", "state": "arrive"})",
    R"({"ev": "accept", "req": "A", "drafted": 4, "accepted": 2})",
    R"({"ev": "rewind", "pool": "F", "req": "A", "len": 15})",
    R"({"ev": "table", "buffer": "pt", "row": 0, "col": 2, "pages": [1, -1], "req": "A", )"
    R"("space": "F", "unit": "kernel_block"})",
    R"({"ev": "lens", "buffer": "sl", "values": [15, 1], "row": 2})",
    R"({"ev": "slots", "buffer": "sm", "values": [4, -1], "row": 0})",
    R"({"ev": "attention", "backend": "t", "layer": 0, "rows": [{"req": "A", "len": 8, )"
    R"("pages": [1, 2], "q_len": 2, "q_pos": 6, "spaces": ["F", "S"], "logical": [0, 3]}, )"
    R"({"req": null, "row": 1, "first": 4}], "mode": "verify", "table": "pt", "lens": "sl", )"
    R"("space": "F", "unit": "page", "page_size": 4, "window": 8, "table_rows": 4, )"
    R"("table_cols": 8, "bound": {"pool": "F", "pages": 33, "ptr": 4096, "shape": [9], )"
    R"("stride": [1]}, "kernel": "fwd", "q_heads": 32, "scale": 0.08838834764831845, )"
    R"("soft_cap": 30, "sinks": true, "q_dtype": "bf16", "k_scale": 1, "v_scale": 1e-30})",
    R"({"ev": "store", "backend": "t", "layers": [0, "a1"], "rows": [{"req": "A", )"
    R"("slots": [4, -5]}, {"req": "B", "row": 1, "n": 1}], "slots": "sm", "space": "F", )"
    R"("unit": "slot", "negative": "wrap", "bound": {"pool": "F"}})",
    R"({"ev": "copy", "from_pool": "F", "to_pool": "H", "req": "A", "from": [1, 2], )"
    R"("to": [3, 4], "slots": [2], "layers": [0, 1]})",
    R"({"ev": "launch_done", "event": 7})",
    R"({"ev": "async_begin", "op": "x", "kind": "write", "pool": "F", "pages": [1], "by": "A", )"
    R"("layers": [0], "stream": 9})",
    R"({"ev": "async_end", "op": "x"})",
    R"({"ev": "stream_wait", "on": 9, "ops": ["x"], "stream": 3})",
    R"({"ev": "graph_capture", "graph": "G", "buffers": ["pt"], "scalars": {"a": "8", "b": 8, )"
    R"("c": 1.5, "d": true}, "inputs": ["pt"], "launches": [{"ev": "store", "backend": "t", )"
    R"("layer": 0, "rows": [{"req": null, "row": 0}], "slots": "sm"}, {"ev": "attention", )"
    R"("backend": "t", "layer": 0, "rows": [{"req": null}]}, {"ev": "copy", "from_pool": "F", )"
    R"("to_pool": "F", "req": "A", "from": [1], "to": [2]}], "stepped": true})",
    R"({"ev": "scalar", "name": "num_splits", "value": "8"})",
    R"({"ev": "refresh", "buffer": "pt"})",
    R"({"ev": "graph_launch", "graph": "G", "rows": [{"req": "A", "len": 3, "row": 0, "n": 1}]})",
    R"({"ev": "graph_step", "graph": "G", "index": 1})",
    R"({"ev": "step", "step": 4, "mode": "decode", "batch": 3})",
    R"({"ev": "kernel", "name": "k", "grid": [1, 2, 3], "block": [128], "correlation": 77})",
    R"({"ev": "cuda_error", "code": 700, "name": "n", "message": "m", "after": 4, )"
    R"("sticky": true})",
    R"({"ev": "note", "text": "a \"quoted\" \\ line\nand é"})",
    R"({"ev": "dropped", "events": 3, "from_t": -1, "to_t": 9})",
    R"({"ev": "gap", "why": "attached", "pools": ["F"]})",
    R"({"ev": "end", "t": 123456789, "stream": 2, "src": "a.py:7", "rank": 1})",
};

std::string printed(std::string_view line) {
  Names names;
  Event event;
  const Status status = parse_event(line, names, event);
  EXPECT_TRUE(status.ok()) << status.message() << "\n" << line;
  return print_event(event, names);
}

TEST(TextPrint, EveryKindOfEventPrintsAsItWasRead) {
  std::set<std::string> kinds;
  for (const std::string line : kLines) {
    EXPECT_EQ(printed(line), line);
    kinds.insert(nlohmann::json::parse(line)["ev"]);
  }
  for (std::string_view kind : kKindNames) EXPECT_EQ(kinds.count(std::string(kind)), 1u) << kind;
}

// As text.h says, a line may differ in what says the same.
nlohmann::json without_usual_stream(nlohmann::json line) {
  const int usual = line["ev"] == "async_begin" ? 1 : 0;
  if (line.value("stream", usual) == usual) line.erase("stream");
  return line;
}

TEST(TextPrint, EveryLineOfTheGoldenTracesSurvives) {
  std::size_t lines = 0;
  for (const char* folder : {"traces/golden/corpus", "traces/golden/flows"}) {
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      if (file.path().extension() != ".jsonl") continue;
      std::ifstream in(file.path());
      for (std::string line; std::getline(in, line); ++lines) {
        EXPECT_EQ(without_usual_stream(nlohmann::json::parse(line)),
                  nlohmann::json::parse(printed(line)))
            << file.path();
      }
    }
  }
  EXPECT_GT(lines, 1000u);
}

TEST(TextPrint, ParsingAgainGivesTheSameEvent) {
  Names names;
  for (const char* line : kLines) {
    Event event, again;
    ASSERT_TRUE(parse_event(line, names, event).ok());
    ASSERT_TRUE(parse_event(print_event(event, names), names, again).ok());
    EXPECT_EQ(event, again) << line;
  }
}

TEST(TextPrint, UnknownFieldsComeBackWhereTheyStood) {
  for (const char* line : {
           R"({"ev":"end","new":{"a":[1,{"b":null}]},"older":"x"})",
           R"({"ev":"note","text":"x","t":5,"rank":1,"text2":1.5})",
           R"({"ev":"pool","pool":"F","pages":1,"page_size":1,
               "reserved":[{"page":0,"role":"pad"},{"page":1,"role":"pad","why":"x"}]})",
           R"({"ev":"header","format":1,"ranks":{"tp":1,"ep":4},"clock":"realtime","tai":1})",
           R"({"ev":"attention","backend":"t","layer":0,"bound":{"pool":"F","device":0},
               "rows":[{"req":"A","len":0,"pages":[]},{"req":"B","len":0,"pages":[],"x":{}}]})",
           R"({"ev":"graph_capture","graph":"G","launches":[{"ev":"store","backend":"t",
               "layer":0,"tag":7,"rows":[{"req":null,"lane":2}],"bound":{"why":[]}}]})",
           R"({"ev":"graph_launch","graph":"G","rows":[{"req":null,"lane":2}]})",
       }) {
    EXPECT_EQ(nlohmann::json::parse(printed(line)), nlohmann::json::parse(line));
  }
}

TEST(TextPrint, AnOverlayCannotReplaceAKnownField) {
  Names names;
  Event event;
  event.body = ev::Note{names.intern("x")};
  event.extra = R"({"ev": "end", "text": "y", "t": 3, "rank": {}, "new": 1})";
  EXPECT_EQ(print_event(event, names), R"({"ev": "note", "text": "x", "new": 1})");
  event.extra = "{broken";
  EXPECT_EQ(print_event(event, names), R"({"ev": "note", "text": "x"})");
}

TEST(TextPrint, NumbersKeepTheirValueAndNotTheirSpelling) {
  const std::string front =
      R"({"ev": "attention", "backend": "t", "layer": 0, "rows": [], "scale": )";
  const auto scale = [&](const std::string& number) {
    return printed(front + number + "}").substr(front.size());
  };
  EXPECT_EQ(scale("1"), "1}");
  EXPECT_EQ(scale("1.0"), "1}");
  EXPECT_EQ(scale("0.1"), "0.1}");
  EXPECT_EQ(scale("1e300"), "1e+300}");
  EXPECT_EQ(scale("-0.0"), "-0.0}");
  EXPECT_EQ(scale("5e-324"), "5e-324}");
}

TEST(TextPrint, TheUsualStreamIsLeftOut) {
  EXPECT_EQ(printed(R"({"ev": "end", "stream": 0})"), R"({"ev": "end"})");
  const std::string begin = R"({"ev": "async_begin", "op": "o", "kind": "read", "pool": "F", )"
                            R"("pages": [], "by": "A")";
  EXPECT_EQ(printed(begin + R"(, "stream": 1})"), begin + "}");
  EXPECT_EQ(printed(begin + R"(, "stream": 0})"), begin + R"(, "stream": 0})");
}

}  // namespace
}  // namespace pagetape
