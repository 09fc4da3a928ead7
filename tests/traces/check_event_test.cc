// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "traces/text.h"

namespace pagetape {
namespace {

std::string error_of(const std::string& line) {
  Names names;
  Event event;
  return parse_event(line, names, event).message();
}

std::string checked(const Event& event, const Names& names) {
  return check_event(event, names).message();
}

std::string pool(const std::string& fields) {
  return error_of(R"({"ev": "pool", "pool": "F", )" + fields + "}");
}

std::string attention(const std::string& fields) {
  return error_of(R"({"ev": "attention", "backend": "t", )" + fields + "}");
}

std::string lane(const std::string& fields) {
  return attention(R"("layer": 0, "rows": [{"req": "A", )" + fields + "}]");
}

std::string store(const std::string& fields) {
  return error_of(R"({"ev": "store", "backend": "t", "layer": 0, )" + fields + "}");
}

std::string fill(const std::string& fields) {
  return error_of(R"({"ev": "fill", "pool": "F", "req": "A", "pages": [1, 2], )" + fields + "}");
}

TEST(CheckEvent, PoolsHaveSizesThatPagesAndSlotsCanCount) {
  EXPECT_EQ(pool(R"("pages": 0, "page_size": 1)"), "");
  EXPECT_EQ(pool(R"("pages": 2147483647, "page_size": 65536)"), "");
  EXPECT_EQ(pool(R"("pages": -1, "page_size": 1)"),
            "field \"pages\": expected an integer >= 0, found -1");
  EXPECT_EQ(pool(R"("pages": 2147483648, "page_size": 1)"),
            "field \"pages\": expected an integer <= 2147483647, found 2147483648");
  EXPECT_EQ(pool(R"("pages": 1, "page_size": 0)"),
            "field \"page_size\": expected an integer >= 1, found 0");
  EXPECT_EQ(pool(R"("pages": 1, "page_size": 65537)"),
            "field \"page_size\": expected an integer <= 65536, found 65537");
  EXPECT_EQ(pool(R"("pages": 1, "page_size": 1, "offset_bits": 65)"),
            "field \"offset_bits\": expected an integer <= 64, found 65");
}

TEST(CheckEvent, AReservedPageIsNamedOnceAndHasARole) {
  const std::string size = R"("pages": 1, "page_size": 1, "reserved": [)";
  EXPECT_EQ(pool(size + R"({"page": 0, "role": "pad"}, {"page": -1, "role": "null"}])"), "");
  EXPECT_EQ(pool(size + R"({"page": 0, "role": "spare"}])"),
            "field \"reserved[0].role\": expected one of pad, null; found \"spare\"");
  EXPECT_EQ(pool(size + R"({"page": 3, "role": "pad"}, {"page": 3, "role": "null"}])"),
            "field \"reserved[1].page\": expected each reserved page once, found 3 again");
}

TEST(CheckEvent, WordsAreThoseOfTheModel) {
  EXPECT_EQ(error_of(R"({"ev": "map", "map": "m", "from": "F", "to": "S", "unit": "block"})"),
            "field \"unit\": expected one of page, slot; found \"block\"");
  EXPECT_EQ(error_of(R"({"ev": "request", "req": "A", "state": "done"})"),
            "field \"state\": expected one of arrive, run, preempt, resume, finish, abort; "
            "found \"done\"");
  EXPECT_EQ(error_of(R"({"ev": "prefix_key", "pool": "F", "page": 1, "key": "k", "when": ""})"),
            "field \"when\": expected one of written, scheduled; found \"\"");
  EXPECT_EQ(error_of(R"({"ev": "async_begin", "op": "o", "kind": "copy", "pool": "F",
                         "pages": [], "by": "A"})"),
            "field \"kind\": expected one of read, write; found \"copy\"");
  EXPECT_EQ(store(R"("rows": [], "negative": "clamp")"),
            "field \"negative\": expected one of skip, wrap; found \"clamp\"");
  EXPECT_EQ(attention(R"("layer": 0, "rows": [], "mode": "prefill")"),
            "field \"mode\": expected one of decode, extend, verify, draft; found \"prefill\"");
}

TEST(CheckEvent, AnEngineMayCallAUnitAndAStepWhatItLikes) {
  EXPECT_EQ(attention(R"("layer": 0, "rows": [], "unit": "kernel_block")"), "");
  EXPECT_EQ(error_of(R"({"ev": "step", "step": 1, "mode": "mixed"})"), "");
}

TEST(CheckEvent, ALaunchHasLayerOrLayers) {
  EXPECT_EQ(attention(R"("layers": [0], "rows": [])"), "");
  EXPECT_EQ(attention(R"("rows": [])"), "missing field \"layer\" (a layer, or layers)");
  EXPECT_EQ(attention(R"("layer": 0, "layers": [0], "rows": [])"),
            "field \"layers\": expected nothing where layer is given");
  EXPECT_EQ(attention(R"("layer": -1, "rows": [])"),
            "field \"layer\": expected a layer (an integer >= 0 or a string) within 32 bits, "
            "found -1");
}

TEST(CheckEvent, ALaneOfAttentionHasItsPagesOrARowToReadThem) {
  EXPECT_EQ(lane(R"("len": 1, "pages": [1])"), "");
  EXPECT_EQ(lane(R"("len": 1)"), "missing field \"rows[0].pages\" (a list of page ids, or a row)");
  EXPECT_EQ(lane(R"("len": 1, "row": 0)"), "missing field \"table\" (the buffer that row is of)");
  EXPECT_EQ(lane(R"("pages": [1])"),
            "missing field \"rows[0].len\" (an integer, or lens beside rows)");
  EXPECT_EQ(attention(R"("layer": 0, "table": "pt", "lens": "sl",
                         "rows": [{"req": null, "row": 0}])"),
            "");
}

TEST(CheckEvent, NumbersOfALaneAreNotNegative) {
  for (const std::string field : {"q_len", "q_pos", "first", "row"}) {
    EXPECT_EQ(lane(R"("len": 1, "pages": [], ")" + field + R"(": -2)"),
              "field \"rows[0]." + field + "\": expected an integer >= 0, found -2");
  }
  EXPECT_EQ(lane(R"("len": 140737488355328, "pages": [])"),
            "field \"rows[0].len\": expected an integer <= 140737488355327, "
            "found 140737488355328");
  EXPECT_EQ(attention(R"("layer": 0, "rows": [], "window": 0)"),
            "field \"window\": expected an integer >= 1, found 0");
}

TEST(CheckEvent, ListsOfALaneStandBesideItsPages) {
  const std::string lists = R"("len": 1, "pages": [4, 5], )";
  EXPECT_EQ(lane(lists + R"("spaces": ["F", "S"], "logical": [0, 3])"), "");
  EXPECT_EQ(lane(lists + R"("spaces": ["F"])"),
            "field \"rows[0].spaces\": expected as many as pages (2), found 1");
  EXPECT_EQ(lane(lists + R"("logical": [0])"),
            "field \"rows[0].logical\": expected as many as pages (2), found 1");
  EXPECT_EQ(lane(lists + R"("logical": [3, 3])"),
            "field \"rows[0].logical[1]\": expected more than 3, found 3");
  EXPECT_EQ(lane(lists + R"("logical": [0, 1], "first": 0)"),
            "field \"rows[0].first\": expected nothing where logical is given");
}

TEST(CheckEvent, ALaneOfAStoreHasItsSlotsOrARowAndACount) {
  EXPECT_EQ(store(R"("rows": [{"req": "A", "slots": [-1, 4]}])"), "");
  EXPECT_EQ(store(R"("slots": "sm", "rows": [{"req": "A", "row": 0, "n": 1}])"), "");
  EXPECT_EQ(store(R"("rows": [{"req": "A"}])"),
            "missing field \"rows[0].slots\" (a list of slots, or row and n)");
  EXPECT_EQ(store(R"("slots": "sm", "rows": [{"req": "A", "row": 0}])"),
            "missing field \"rows[0].n\" (an integer)");
  EXPECT_EQ(store(R"("rows": [{"req": "A", "row": 0, "n": 1}])"),
            "missing field \"slots\" (the buffer that row is of)");
  EXPECT_EQ(store(R"("rows": [{"req": "A", "slots": [140737488355328]}])"),
            "field \"rows[0].slots[0]\": expected a slot within 48 bits, found 140737488355328");
}

TEST(CheckEvent, LanesOfAGraphMayLeaveOutWhatTheOthersGive) {
  const std::string graph = R"({"ev": "graph_capture", "graph": "G", "launches": [)";
  EXPECT_EQ(error_of(graph + R"({"ev": "store", "backend": "t", "layer": 0,
                                 "rows": [{"req": null, "row": 0}]}]})"),
            "");
  EXPECT_EQ(error_of(R"({"ev": "graph_launch", "graph": "G", "rows": [{"req": "A"}]})"), "");
  EXPECT_EQ(error_of(graph + R"({"ev": "store", "backend": "t", "rows": []}]})"),
            "missing field \"launches[0].layer\" (a layer, or layers)");
  EXPECT_EQ(error_of(graph + R"({"ev": "copy", "from_pool": "F", "to_pool": "F", "req": "A",
                                 "from": [1], "to": []}]})"),
            "field \"launches[0].to\": expected as many as from (1), found 0");
}

TEST(CheckEvent, FillsSayOneThingOfAllPagesOrOneOfEach) {
  EXPECT_EQ(fill(R"("slots": [3])"), "");
  EXPECT_EQ(fill(R"("slots": [3, 4], "digest": ["a", "b"])"), "");
  EXPECT_EQ(fill(R"("slots": [1, 2, 3])"),
            "field \"slots\": expected as many as pages (2), found 3");
  EXPECT_EQ(fill(R"("slots": [-1])"), "field \"slots[0]\": expected an integer >= 0, found -1");
  EXPECT_EQ(fill(R"("digest": ["a"])"), "field \"digest\": expected as many as pages (2), found 1");
}

TEST(CheckEvent, PairsOfAMapAreNotNegative) {
  EXPECT_EQ(error_of(R"({"ev": "map_set", "map": "m", "pairs": [[1, 2], [3, -4]]})"),
            "field \"pairs[1][1]\": expected an integer >= 0, found -4");
  EXPECT_EQ(error_of(R"({"ev": "map_clear", "map": "m", "from": [-1]})"),
            "field \"from[0]\": expected an integer >= 0, found -1");
}

TEST(CheckEvent, PageIdsAreForTheRulesToJudge) {
  EXPECT_EQ(error_of(R"({"ev": "alloc", "pool": "F", "req": "A", "pages": [-5]})"), "");
  EXPECT_EQ(error_of(R"({"ev": "table", "buffer": "b", "row": 0, "col": 0,
                         "pages": [-1, 2147483647, -2147483647]})"),
            "");
}

TEST(CheckEvent, AnExtentDoesNotEndBeforeItBegins) {
  EXPECT_EQ(error_of(R"({"ev": "extent", "arena": "a", "owner": "F", "begin": 8, "end": 4})"),
            "field \"end\": expected an end that is not before begin (8), found 4");
}

TEST(CheckEvent, RanksAndStreamsAreNotNegative) {
  EXPECT_EQ(error_of(R"({"ev": "end", "rank": -1})"),
            "field \"rank\": expected an integer >= 0, found -1");
  EXPECT_EQ(error_of(R"({"ev": "end", "stream": -1})"),
            "field \"stream\": expected an integer >= 0, found -1");
  EXPECT_EQ(error_of(R"({"ev": "kernel", "name": "k", "grid": [], "block": [1],
                         "correlation": 0})"),
            "field \"grid\": expected one to three integers, found 0");
}

// What only the binary form can say.

TEST(CheckEvent, ARequiredNameIsThere) {
  Names names;
  Event event;
  event.body = ev::Free{names.intern("F"), kNone, {}};
  EXPECT_EQ(checked(event, names), "missing field \"req\" (a string)");
  event.body = ev::GraphCapture{names.intern("G"), NameList{kNone}, {}, {}, {}, {}};
  EXPECT_EQ(checked(event, names), "missing field \"buffers[0]\" (a string)");
}

TEST(CheckEvent, NamesAndNamedLayersAreOfTheTable) {
  Names names;
  const Name known = names.intern("x");
  Event event;
  event.body = ev::Note{Name{7}};
  EXPECT_EQ(checked(event, names), "field \"text\": expected a name of this trace");
  event.body = ev::LayerRemap{known, Layer::number(0), Layer::named(Name{7})};
  EXPECT_EQ(checked(event, names), "field \"to\": expected a name of this trace");
  event.body = ev::LayerRemap{known, Layer::number(0), Layer::named(kNone)};
  EXPECT_EQ(checked(event, names), "missing field \"to\" (a layer)");
  event.body = ev::End();
  event.src = Name{7};
  EXPECT_EQ(checked(event, names), "field \"src\": expected a name of this trace");
}

TEST(CheckEvent, UnknownCellsNumbersThatAreNoneAndBrokenOverlaysAreRefused) {
  Names names;
  const Name known = names.intern("x");
  Event event;
  event.body = ev::Free{known, known, {kUnknownPage}};
  EXPECT_EQ(checked(event, names), "field \"pages[0]\": expected a page id, found -2147483648");
  ev::Attention attention;
  attention.backend = known;
  attention.layer = Layer::number(0);
  attention.scale = std::nan("");
  event.body = attention;
  EXPECT_EQ(checked(event, names), "field \"scale\": expected a finite number");
  event.body = ev::End();
  event.extra = "[1]";
  EXPECT_EQ(checked(event, names), "the unknown fields are not a JSON object");
}

TEST(CheckEvent, AScalarIsOneJsonScalar) {
  Names names;
  const Name name = names.intern("n");
  Event event;
  for (const char* text : {"", "[1]", "null", "1 ",
                           "\xef\xbb\xbf"
                           "1",
                           "1\n", "x"}) {
    event.body = ev::Scalar{name, {names.intern(text)}};
    EXPECT_EQ(checked(event, names), "field \"value\": expected a string, a number, true or false");
  }
  event.body = ev::Scalar{name, {names.intern("\"8\"")}};
  EXPECT_EQ(checked(event, names), "");
}

}  // namespace
}  // namespace pagetape
