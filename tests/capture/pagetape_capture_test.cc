// SPDX-License-Identifier: Apache-2.0
#include "capture/pagetape_capture.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace pagetape {
namespace {

class Capture : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open(bool timestamps = false) {
    path_ = testing::TempDir() + "/recorder_test.jsonl";
    ptape_options options{};
    options.timestamps = timestamps;
    options.size = sizeof(options);
    options.path = path_.c_str();
    options.rank = -1;
    options.block = 1;
    recorder_ = ptape_open(&options);
    ASSERT_NE(recorder_, nullptr) << ptape_last_error(nullptr);
  }
  ptape_name name(const char* text) { return ptape_intern(recorder_, text); }

  // What the calls wrote, without the last line, which is `end`.
  std::vector<std::string> written(int expected = PTAPE_OK) {
    EXPECT_EQ(ptape_close(recorder_), expected) << ptape_last_error(nullptr);
    std::vector<std::string> lines;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    std::remove(path_.c_str());
    EXPECT_EQ(lines.back(), R"({"ev": "end"})");
    lines.pop_back();
    return lines;
  }

  std::string path_;
  ptape_recorder* recorder_ = nullptr;
};

TEST_F(Capture, EveryTypedFunctionEqualsItsLine) {
  const std::int32_t pages[] = {1, 2};
  const std::int64_t values[] = {5, 6, 7, 8};
  const ptape_name pool = name("F"), req = name("A"), buffer = name("b");
  std::vector<std::string> lines;
  const auto both = [&](int error, const std::string& line) {
    EXPECT_EQ(error, PTAPE_OK);
    EXPECT_EQ(ptape_json(recorder_, line.data(), line.size()), PTAPE_OK);
    lines.push_back(line);
  };
  both(ptape_alloc(recorder_, nullptr, pool, req, pages, 2, 3),
       R"({"ev": "alloc", "pool": "F", "req": "A", "pages": [1, 2], "first": 3})");
  both(ptape_share(recorder_, nullptr, pool, req, pages, 2, PTAPE_ABSENT),
       R"({"ev": "share", "pool": "F", "req": "A", "pages": [1, 2]})");
  both(ptape_free(recorder_, nullptr, pool, req, pages, 1),
       R"({"ev": "free", "pool": "F", "req": "A", "pages": [1]})");
  both(ptape_evict(recorder_, nullptr, pool, req, 4, 2),
       R"({"ev": "evict", "pool": "F", "req": "A", "logical": 4, "page": 2})");
  both(ptape_map_set(recorder_, nullptr, name("m"), values, 2),
       R"({"ev": "map_set", "map": "m", "pairs": [[5, 6], [7, 8]]})");
  both(ptape_map_clear(recorder_, nullptr, name("m"), values, 2),
       R"({"ev": "map_clear", "map": "m", "from": [5, 6]})");
  both(ptape_table(recorder_, nullptr, buffer, 1, 2, pages, 2, req, pool, name("page")),
       R"({"ev": "table", "buffer": "b", "row": 1, "col": 2, "pages": [1, 2], "req": "A", )"
       R"("space": "F", "unit": "page"})");
  const std::size_t one = 1;
  both(ptape_table_rows(recorder_, nullptr, buffer, pages, 2, &one, &req, 1, pool, 0),
       R"({"ev": "table", "buffer": "b", "row": 0, "col": 0, "pages": [1], "req": "A", )"
       R"("space": "F"})");
  both(ptape_lens(recorder_, nullptr, buffer, 1, values, 2),
       R"({"ev": "lens", "buffer": "b", "values": [5, 6], "row": 1})");
  both(ptape_slots(recorder_, nullptr, buffer, PTAPE_ABSENT, values, 2),
       R"({"ev": "slots", "buffer": "b", "values": [5, 6]})");
  both(ptape_refresh(recorder_, nullptr, buffer), R"({"ev": "refresh", "buffer": "b"})");
  both(ptape_step(recorder_, nullptr, 7, name("decode"), 2),
       R"({"ev": "step", "step": 7, "mode": "decode", "batch": 2})");
  both(ptape_request(recorder_, nullptr, req, name("run")),
       R"({"ev": "request", "req": "A", "state": "run"})");
  both(ptape_accept(recorder_, nullptr, req, 3, 1),
       R"({"ev": "accept", "req": "A", "drafted": 3, "accepted": 1})");
  both(ptape_rewind(recorder_, nullptr, pool, req, 9),
       R"({"ev": "rewind", "pool": "F", "req": "A", "len": 9})");
  both(ptape_pool_swap(recorder_, nullptr, name("t"), pages, 2, pool, name("W")),
       R"({"ev": "pool_swap", "backend": "t", "layers": [1, 2], "pool": "F", "set": "W"})");
  both(ptape_pool_swap(recorder_, nullptr, name("t"), nullptr, 0, pool, 0),
       R"({"ev": "pool_swap", "backend": "t", "layers": "*", "pool": "F"})");
  both(ptape_swa_state(recorder_, nullptr, name("t"), 0, 0, pool),
       R"({"ev": "swa_state", "backend": "t", "uses_swa": false, "swa_pool": null, )"
       R"("derived_from": "F"})");
  const std::uint32_t grid[] = {4, 2, 1}, block[] = {128, 1, 1};
  both(ptape_kernel(recorder_, nullptr, name("k"), grid, block, 9),
       R"({"ev": "kernel", "name": "k", "grid": [4, 2, 1], "block": [128, 1, 1], )"
       R"("correlation": 9})");
  both(ptape_stream_wait(recorder_, nullptr, 3), R"({"ev": "stream_wait", "on": 3})");
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 2 * lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(got[2 * i], lines[i]);
    EXPECT_EQ(got[2 * i + 1], lines[i]);
  }
}

TEST_F(Capture, LaunchesEqualTheirLines) {
  const std::int32_t layers[] = {0, 1};
  const std::int32_t pages[] = {4};
  const std::int64_t slots[] = {256, 257};
  ptape_row row;
  ptape_row_init(&row);
  row.req = name("A");
  row.len = 9;
  row.q_len = 2;
  row.pages = pages;
  row.n_pages = 1;
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.backend = name("t");
  launch.layers = layers;
  launch.n_layers = 2;
  launch.rows = &row;
  launch.n_rows = 1;
  launch.mode = name("verify");
  launch.window = 8;
  launch.bound_pool = name("S");
  launch.bound_pages = 9;
  ASSERT_EQ(ptape_attention(recorder_, nullptr, &launch), PTAPE_OK);
  ptape_row_init(&row);
  row.req = name("A");
  row.slots = slots;
  row.n_slots = 2;
  launch.n_layers = 1;
  ASSERT_EQ(ptape_store(recorder_, nullptr, &launch), PTAPE_OK);
  ptape_row_init(&row);
  row.row = 3;
  ASSERT_EQ(ptape_graph_launch(recorder_, nullptr, name("g"), &row, 1), PTAPE_OK);
  ASSERT_EQ(ptape_graph_launch(recorder_, nullptr, name("g"), nullptr, 0), PTAPE_OK);
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0],
            R"({"ev": "attention", "backend": "t", "layers": [0, 1], "rows": [{"req": "A", )"
            R"("len": 9, "pages": [4], "q_len": 2}], "mode": "verify", "window": 8, )"
            R"("bound": {"pool": "S", "pages": 9}})");
  EXPECT_EQ(got[1], R"({"ev": "store", "backend": "t", "layer": 0, "rows": [{"req": "A", )"
                    R"("slots": [256, 257]}], "bound": {"pool": "S", "pages": 9}})");
  EXPECT_EQ(got[2], R"({"ev": "graph_launch", "graph": "g", "rows": [{"req": null, "row": 3}]})");
  EXPECT_EQ(got[3], R"({"ev": "graph_launch", "graph": "g"})");
}

TEST_F(Capture, ALayersLaunchesEqualThoseRecordedOneByOne) {
  const std::int32_t other = 9;
  ptape_row row;
  ptape_row_init(&row);
  row.req = name("A");
  row.len = 5;
  row.row = 2;
  row.n = 1;
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.backend = name("t");
  launch.layers = &other;
  launch.n_layers = 1;
  launch.rows = &row;
  launch.n_rows = 1;
  launch.table = name("r");
  launch.slots = name("w");
  launch.bound_pages = 8;
  const ptape_layer_launch both[] = {{&launch, 1, 0}, {&launch, 0, 0}};
  const ptape_at at{7, 3, -1, 0};
  ASSERT_EQ(ptape_layer(recorder_, &at, 4, 4096, both, 2), PTAPE_OK);
  EXPECT_EQ(ptape_launch_done(recorder_, &at, ptape_last_launch(recorder_)), PTAPE_OK);
  const ptape_layer_launch none[] = {{nullptr, 0, 0}};
  EXPECT_EQ(ptape_layer(recorder_, &at, 4, 4096, none, 1), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_layer(recorder_, &at, 4, 4096, nullptr, 1), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_layer(recorder_, &at, 4, 4096, nullptr, 0), PTAPE_OK);
  const std::string begin =
      R"(, "backend": "t", "layer": 4, "rows": [{"req": "A", "len": 5, "row": 2, "n": 1}], )";
  const std::string end = R"("bound": {"pages": 8, "ptr": 4096}, "t": 7, "stream": 3})";
  EXPECT_EQ(written(), (std::vector<std::string>{
                           R"({"ev": "store")" + begin + R"("slots": "w", )" + end,
                           R"({"ev": "attention")" + begin + R"("table": "r", )" + end,
                           R"({"ev": "launch_done", "event": 1, "t": 7, "stream": 3})"}));
}

TEST_F(Capture, LaunchesOfManyLayersEqualThoseOfEach) {
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.backend = name("t");
  launch.bound_pages = 8;
  const ptape_layer_launch some[] = {{&launch, 1, 0}, {nullptr, 0, 0}, {&launch, 0, 0}};
  const ptape_layer_part parts[] = {{PTAPE_ABSENT, 4, 0, 0, 0},
                                    {4096, 4, 0, 2, 0},
                                    {0, 5, 0, 1, 0},  // It is not there: it is left out.
                                    {8192, 0, name("draft.0"), 2, 0},
                                    {PTAPE_ABSENT, 6, 0, 2, 0}};
  const ptape_at at{7, 3, -1, 0};
  EXPECT_EQ(ptape_layers(recorder_, &at, some, 3, parts, 5), PTAPE_OK);
  EXPECT_EQ(ptape_layers(recorder_, &at, some, 2, parts, 2), PTAPE_E_ARGUMENT);  // The first is.
  EXPECT_EQ(ptape_layers(recorder_, &at, nullptr, 3, parts, 1), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_layers(recorder_, &at, some, 3, nullptr, 1), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_layers(recorder_, &at, nullptr, 0, nullptr, 0), PTAPE_OK);
  const auto line = [](const char* event, const char* layer, const char* end) {
    return std::string(R"({"ev": ")") + event + R"(", "backend": "t", "layer": )" + layer +
           R"(, "rows": [], "bound": {"pages": 8)" + end + R"(}, "t": 7, "stream": 3})";
  };
  EXPECT_EQ(written(), (std::vector<std::string>{
                           line("store", "4", ""), line("attention", "4", R"(, "ptr": 4096)"),
                           line("attention", R"("draft.0")", R"(, "ptr": 8192)"),
                           line("attention", "6", ""), line("store", "4", "")}));
}

TEST_F(Capture, EveryEventHasATimeWhereItIsAskedFor) {
  EXPECT_EQ(written().size(), 0u);
  open(true);
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.backend = name("t");
  const ptape_layer_launch layer[] = {{&launch, 1, 0}, {&launch, 0, 0}};
  const ptape_layer_part parts[] = {{0, 1, 0, 0, 0}, {0, 1, 0, 1, 0}, {0, 2, 0, 1, 0}};
  const std::int32_t page = 7;
  const ptape_at at{7, 3, -1, 0};
  const std::string own = R"({"ev": "note", "text": "its own", "t": 9})",
                    none = R"({"ev": "note", "text": "none"})";
  ASSERT_EQ(ptape_layers(recorder_, nullptr, layer, 2, parts, 3), PTAPE_OK);
  ASSERT_EQ(ptape_layer(recorder_, nullptr, 3, 0, layer, 2), PTAPE_OK);
  ASSERT_EQ(ptape_alloc(recorder_, nullptr, name("F"), name("A"), &page, 1, 0), PTAPE_OK);
  ASSERT_EQ(ptape_alloc(recorder_, &at, name("F"), name("A"), &page, 1, 0), PTAPE_OK);
  ASSERT_EQ(ptape_json(recorder_, own.data(), own.size()), PTAPE_OK);
  ASSERT_EQ(ptape_json(recorder_, none.data(), none.size()), PTAPE_OK);
  std::vector<std::int64_t> times;
  EXPECT_EQ(ptape_close(recorder_), PTAPE_OK);
  std::ifstream in(path_);
  for (std::string line; std::getline(in, line);) {
    const std::size_t at_t = line.find("\"t\": ");
    times.push_back(at_t == std::string::npos ? -1 : std::stoll(line.substr(at_t + 5)));
  }
  std::remove(path_.c_str());
  ASSERT_EQ(times.size(), 10u);  // The last one is `end`.
  // The launches of one call have one time.
  EXPECT_EQ(times, (std::vector<std::int64_t>{times[0], times[0], times[0], times[3], times[3],
                                              times[5], 7, 9, times[8], times[9]}));
  EXPECT_GT(times[0], 9);
  EXPECT_LE(times[0], times[3]);
  EXPECT_LE(times[3], times[5]);
  EXPECT_LE(times[5], times[8]);
}

TEST_F(Capture, ALaunchsLanesByColumnEqualThoseByRow) {
  const ptape_name req[] = {name("A"), 0};
  const std::int64_t len[] = {5, 6}, row[] = {0, 1}, n[] = {1, PTAPE_ABSENT};
  ptape_lanes lanes{};
  lanes.size = sizeof(lanes);
  lanes.n_lanes = 2;
  lanes.req = req;
  lanes.len = len;
  lanes.row = row;
  lanes.n = n;
  ptape_launch launch{};
  ptape_launch_init(&launch);
  EXPECT_LT(launch.size, sizeof(launch));  // A caller of an older ABI has no more.
  launch.backend = name("t");
  launch.table = name("r");
  const std::int32_t layer = 3;
  launch.layers = &layer;
  launch.n_layers = 1;
  launch.lanes = &lanes;
  ASSERT_EQ(ptape_attention(recorder_, nullptr, &launch), PTAPE_OK);  // `lanes` is not there yet.
  launch.size = sizeof(launch);
  ASSERT_EQ(ptape_attention(recorder_, nullptr, &launch), PTAPE_OK);
  const ptape_layer_launch both[] = {{&launch, 0, 0}};
  ASSERT_EQ(ptape_layer(recorder_, nullptr, 4, PTAPE_ABSENT, both, 1), PTAPE_OK);
  lanes.size = 4;
  EXPECT_EQ(ptape_attention(recorder_, nullptr, &launch), PTAPE_E_ARGUMENT);
  const auto line = [](const char* layer, const char* rows) {
    return std::string(R"({"ev": "attention", "backend": "t", "layer": )") + layer +
           R"(, "rows": [)" + rows + R"(], "table": "r"})";
  };
  const char* rows =
      R"({"req": "A", "len": 5, "row": 0, "n": 1}, {"req": null, "len": 6, "row": 1})";
  EXPECT_EQ(written(), (std::vector<std::string>{line("3", ""), line("3", rows), line("4", rows)}));
}

TEST_F(Capture, ALayerWithANameAndTheTensorBoundEqualTheirLine) {
  const std::int64_t shape[] = {8, 64}, stride[] = {64, 1};
  ptape_tensor tensor{sizeof(ptape_tensor), 2, shape, stride};
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.size = sizeof(launch);
  launch.backend = name("t");
  launch.bound = &tensor;
  const ptape_layer_launch one[] = {{&launch, 0, 0}};
  ASSERT_EQ(ptape_layer_named(recorder_, nullptr, name("draft.0"), 4096, one, 1), PTAPE_OK);
  launch.bound_pool = name("S");
  ASSERT_EQ(ptape_layer(recorder_, nullptr, 3, PTAPE_ABSENT, one, 1), PTAPE_OK);
  EXPECT_EQ(ptape_layer_named(recorder_, nullptr, 0, 4096, one, 1), PTAPE_E_ARGUMENT);
  tensor.stride = nullptr;
  EXPECT_EQ(ptape_layer(recorder_, nullptr, 3, 0, one, 1), PTAPE_E_ARGUMENT);
  const auto line = [](const char* layer, const char* begin, const char* end) {
    return std::string(R"({"ev": "attention", "backend": "t", "layer": )") + layer +
           R"(, "rows": [], "bound": {)" + begin + R"("shape": [8, 64], "stride": [64, 1]})" + end;
  };
  EXPECT_EQ(written(), (std::vector<std::string>{line(R"("draft.0")", R"("ptr": 4096, )", "}"),
                                                 line("3", R"("pool": "S", )", "}")}));
}

TEST_F(Capture, ATablesRowsStandOneAfterTheOther) {
  const std::int32_t pages[] = {1, 2, 3, 4, 5, 6};
  const std::size_t counts[] = {3, 0, 1};
  const ptape_name reqs[] = {name("A"), 0, name("B")};
  const ptape_name buffer = name("b");
  EXPECT_EQ(ptape_table_rows(recorder_, nullptr, buffer, pages, 2, counts, reqs, 3, 0, 0), 0);
  EXPECT_EQ(ptape_table_rows(recorder_, nullptr, buffer, nullptr, 2, counts, reqs, 3, 0, 0),
            PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_table_rows(recorder_, nullptr, buffer, nullptr, 2, nullptr, nullptr, 0, 0, 0), 0);
  const std::string begin = R"({"ev": "table", "buffer": "b", "row": )";
  EXPECT_EQ(written(),
            (std::vector<std::string>{begin + R"(0, "col": 0, "pages": [1, 2, 3], "req": "A"})",
                                      begin + R"(1, "col": 0, "pages": []})",
                                      begin + R"(2, "col": 0, "pages": [5], "req": "B"})"}));
}

TEST_F(Capture, ANameThatWasForgottenGetsAnotherIdWhereItComesAgain) {
  const ptape_name first = name("A");
  EXPECT_EQ(name("A"), first);
  ASSERT_EQ(ptape_request(recorder_, nullptr, first, name("finish")), PTAPE_OK);
  EXPECT_EQ(ptape_forget(recorder_, first), PTAPE_OK);
  EXPECT_EQ(ptape_forget(recorder_, first), PTAPE_OK);
  EXPECT_EQ(ptape_forget(recorder_, 12345), PTAPE_OK);
  const ptape_name second = name("A");
  EXPECT_NE(second, first);
  ASSERT_EQ(ptape_request(recorder_, nullptr, second, name("arrive")), PTAPE_OK);
  EXPECT_EQ(written(),
            (std::vector<std::string>{R"({"ev": "request", "req": "A", "state": "finish"})",
                                      R"({"ev": "request", "req": "A", "state": "arrive"})"}));
}

TEST_F(Capture, LanesByColumnEqualTheirLine) {
  const ptape_name req[] = {name("A"), 0, name("B")};
  const std::int64_t len[] = {9, PTAPE_ABSENT, 17}, row[] = {0, 1, 5}, n[] = {1, 2, 3};
  ptape_lanes lanes{};
  lanes.size = sizeof(lanes);
  lanes.n_lanes = 3;
  ASSERT_EQ(ptape_graph_launch_lanes(recorder_, nullptr, name("g"), &lanes), PTAPE_OK);
  lanes.req = req;
  lanes.len = len;
  lanes.row = row;
  ASSERT_EQ(ptape_graph_launch_lanes(recorder_, nullptr, name("g"), &lanes), PTAPE_OK);
  lanes.len = lanes.row = nullptr;
  lanes.q_len = lanes.q_pos = lanes.first = row;
  lanes.n = n;
  lanes.n_lanes = 1;
  ASSERT_EQ(ptape_graph_launch_lanes(recorder_, nullptr, name("g"), &lanes), PTAPE_OK);
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0], R"({"ev": "graph_launch", "graph": "g", "rows": [{"req": null}, )"
                    R"({"req": null}, {"req": null}]})");
  EXPECT_EQ(got[1], R"({"ev": "graph_launch", "graph": "g", "rows": [{"req": "A", "len": 9, )"
                    R"("row": 0}, {"req": null, "row": 1}, {"req": "B", "len": 17, "row": 5}]})");
  EXPECT_EQ(got[2], R"({"ev": "graph_launch", "graph": "g", "rows": [{"req": "A", "q_len": 0, )"
                    R"("q_pos": 0, "first": 0, "n": 1}]})");
}

// In each form that a column has in the ring: counting, of 32 and of 64 bits, and at their edges.
TEST_F(Capture, LanesByColumnEqualThoseByRowWhateverTheyHold) {
  std::mt19937_64 random(1);
  constexpr std::int64_t kEdge = std::int64_t{1} << 31;
  const std::vector<std::function<std::int64_t(std::size_t)>> columns = {
      [](std::size_t i) { return static_cast<std::int64_t>(i); },
      [](std::size_t i) { return kEdge - 3 + static_cast<std::int64_t>(i); },
      [](std::size_t i) { return static_cast<std::int64_t>(i == 4 ? 5 : i); },
      [](std::size_t) { return kEdge - 1; },
      [](std::size_t i) { return i % 2 == 0 ? kEdge : 0; },
      [&](std::size_t) { return static_cast<std::int64_t>(random() >> 33); },
      [&](std::size_t) { return static_cast<std::int64_t>(random() >> 18); },
      [](std::size_t i) { return i % 3 == 1 ? PTAPE_ABSENT : 7; },
      [](std::size_t) { return PTAPE_ABSENT; },
  };
  std::size_t n_launches = 0;
  for (const std::size_t n : {0, 1, 2, 5, 64, 65}) {
    for (std::size_t form = 0; form <= columns.size(); ++form, ++n_launches) {
      std::vector<ptape_row> rows(n + 1);  // None of them is still a list.
      std::vector<std::int64_t> len(n), first(n), size(n);
      for (std::size_t i = 0; i < n; ++i) {
        ptape_row_init(&rows[i]);
        if (form == columns.size()) continue;  // Nothing is said of any.
        // `len` may be wide and absent, `n` and `first` no more than 31 bits.
        rows[i].len = len[i] = columns[form](i);
        rows[i].first = first[i] = columns[(form + n) % columns.size()](i) & (kEdge - 1);
        rows[i].n = size[i] = first[i] / 2;
      }
      ptape_lanes lanes{};
      lanes.size = sizeof(lanes);
      lanes.n_lanes = n;
      if (form < columns.size()) {
        lanes.len = len.data();
        lanes.first = first.data();
        lanes.n = size.data();
      }
      if (form == 0) lanes.n = lanes.len;  // One array for both.
      for (std::size_t i = 0; i < n && form == 0; ++i) rows[i].n = rows[i].len;
      ASSERT_EQ(ptape_graph_launch(recorder_, nullptr, name("g"), rows.data(), n), PTAPE_OK);
      ASSERT_EQ(ptape_graph_launch_lanes(recorder_, nullptr, name("g"), &lanes), PTAPE_OK);
    }
  }
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 2 * n_launches);
  for (std::size_t i = 0; i < got.size(); i += 2) EXPECT_EQ(got[i], got[i + 1]) << i;
}

// Whether their lanes were recorded before or not: those by row stand in each record.
TEST_F(Capture, LaunchesWithLanesOfOnesBeforeThemEqualThoseByRow) {
  std::mt19937 random(3);
  struct Batch {
    std::vector<ptape_name> req;
    std::vector<std::int64_t> row, len, first;
    ptape_lanes lanes{};
    std::vector<ptape_row> rows;
  };
  std::vector<Batch> batches(7);
  for (Batch& batch : batches) {
    const std::size_t n = 15 + random() % 60;
    batch.lanes.size = sizeof(batch.lanes);
    batch.lanes.n_lanes = n;
    for (std::size_t i = 0; i < n; ++i) {
      batch.req.push_back(name(("r" + std::to_string(random() % 99)).c_str()));
      // Of some batches wider than 32 bits.
      batch.len.push_back(static_cast<std::int64_t>(random() % 5000) << (n % 4 == 0 ? 24 : 0));
      batch.row.push_back(static_cast<std::int64_t>(i));
      batch.first.push_back(static_cast<std::int64_t>(random() % 3));
    }
  }
  std::size_t n_launches = 0;
  for (int round = 0; round < 400; ++round, ++n_launches) {
    Batch& batch = batches[random() % batches.size()];
    const std::size_t n = batch.req.size();
    if (random() % 8 == 0) batch.len[random() % n] += 1;
    if (random() % 16 == 0) batch.req[random() % n] = name("new");
    const bool store = random() % 2 == 0;
    batch.lanes.row = batch.row.data();
    batch.lanes.req = random() % 8 != 0 ? batch.req.data() : nullptr;
    batch.lanes.len = random() % 8 != 0 ? batch.len.data() : nullptr;
    batch.lanes.first = random() % 8 != 0 ? batch.first.data() : nullptr;
    // One array for both, another one, or none.
    const bool wide = n % 4 == 0;
    const std::vector<std::int64_t> copy = wide ? batch.row : batch.len;
    const std::int64_t* sizes[] = {wide ? nullptr : batch.lanes.len, copy.data(), nullptr};
    batch.lanes.n = sizes[store ? 1 : random() % 3];
    batch.rows.assign(n, {});
    for (std::size_t i = 0; i < n; ++i) {
      ptape_row_init(&batch.rows[i]);
      batch.rows[i].row = batch.row[i];
      if (batch.lanes.req != nullptr) batch.rows[i].req = batch.lanes.req[i];
      if (batch.lanes.len != nullptr) batch.rows[i].len = batch.lanes.len[i];
      if (batch.lanes.first != nullptr) batch.rows[i].first = batch.lanes.first[i];
      if (batch.lanes.n != nullptr) batch.rows[i].n = batch.lanes.n[i];
    }
    const auto layer = static_cast<std::int32_t>(random() % 42);
    ptape_launch launch{};
    ptape_launch_init(&launch);
    launch.size = sizeof(launch);
    launch.backend = launch.table = launch.lens = launch.slots = name("b");
    launch.layers = &layer;
    launch.n_layers = 1;
    const auto record = store ? ptape_store : ptape_attention;
    launch.lanes = &batch.lanes;
    const ptape_ticket before = ptape_last_launch(recorder_);
    ASSERT_EQ(record(recorder_, nullptr, &launch), PTAPE_OK);
    EXPECT_GT(ptape_last_launch(recorder_), before);
    launch.lanes = nullptr;
    launch.rows = batch.rows.data();
    launch.n_rows = n;
    ASSERT_EQ(record(recorder_, nullptr, &launch), PTAPE_OK);
  }
  const std::vector<std::string> got = written();
  ASSERT_EQ(got.size(), 2 * n_launches);
  for (std::size_t i = 0; i < got.size(); i += 2) EXPECT_EQ(got[i], got[i + 1]) << i;
}

// What one recorder was told another one was not, on the same thread.
TEST_F(Capture, EachRecorderHasLanesOfItsOwn) {
  ptape_recorder* const first = recorder_;
  const std::string path = path_;
  path_ = testing::TempDir() + "/recorder_test_2.jsonl";
  ptape_options options{};
  options.size = sizeof(options);
  options.path = path_.c_str();
  options.rank = -1;
  options.block = 1;
  ptape_recorder* const second = ptape_open(&options);
  ASSERT_NE(second, nullptr);
  const std::vector<std::int64_t> row(20, 3), len(20, 9);
  const std::int32_t layer = 1;
  ptape_lanes lanes{};
  lanes.size = sizeof(lanes);
  lanes.n_lanes = row.size();
  lanes.row = row.data();
  lanes.len = len.data();
  ptape_launch launch{};
  ptape_launch_init(&launch);
  launch.size = sizeof(launch);
  launch.layers = &layer;
  launch.n_layers = 1;
  launch.lanes = &lanes;
  for (int i = 0; i < 6; ++i) {
    for (ptape_recorder* to : i < 3 ? std::vector{first} : std::vector{first, second}) {
      launch.backend = launch.table = ptape_intern(to, "b");
      ASSERT_EQ(ptape_attention(to, nullptr, &launch), PTAPE_OK);
    }
  }
  recorder_ = second;
  const std::vector<std::string> of_second = written();
  recorder_ = first;
  path_ = path;
  const std::vector<std::string> of_first = written();
  EXPECT_EQ(of_first.size(), 6u);
  ASSERT_EQ(of_second.size(), 3u);
  for (const std::string& line : of_second) EXPECT_EQ(line, of_first[0]);
}

TEST_F(Capture, AMalformedEventIsCountedNamedAndLeftOut) {
  const std::string line = R"({"ev": "step"})";
  EXPECT_EQ(ptape_json(recorder_, line.data(), line.size()), PTAPE_OK);
  EXPECT_EQ(ptape_refresh(recorder_, nullptr, 77), PTAPE_OK);  // A name never given out.
  EXPECT_EQ(ptape_flush(recorder_), PTAPE_OK);
  EXPECT_EQ(ptape_stats(recorder_).malformed, 2u);
  EXPECT_NE(std::string(ptape_last_error(recorder_)).find("step"), std::string::npos);
  EXPECT_TRUE(written(PTAPE_E_EVENT).empty());
}

TEST_F(Capture, MistakesOfTheCallerAreRefusedAtOnce) {
  EXPECT_EQ(ptape_alloc(recorder_, nullptr, 1, 1, nullptr, 3, 0), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_attention(recorder_, nullptr, nullptr), PTAPE_E_ARGUMENT);
  ptape_launch launch{};  // Its size is not set.
  EXPECT_EQ(ptape_store(recorder_, nullptr, &launch), PTAPE_E_ARGUMENT);
  ptape_row row;
  ptape_row_init(&row);
  row.n_pages = 1;
  EXPECT_EQ(ptape_graph_launch(recorder_, nullptr, 1, &row, 1), PTAPE_E_ARGUMENT);
  const ptape_lanes lanes{};
  EXPECT_EQ(ptape_graph_launch_lanes(recorder_, nullptr, 1, &lanes), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_refresh(nullptr, nullptr, 1), PTAPE_E_ARGUMENT);
  EXPECT_EQ(ptape_intern(recorder_, nullptr), 0u);
  EXPECT_TRUE(written().empty());
}

TEST(CaptureOpen, AFileThatCannotBeCreatedSaysWhy) {
  ptape_options options{};
  options.size = sizeof(options);
  options.path = "/no/such/folder/x.jsonl";
  EXPECT_EQ(ptape_open(&options), nullptr);
  EXPECT_NE(std::string(ptape_last_error(nullptr)).find("/no/such/folder"), std::string::npos);
  EXPECT_EQ(ptape_open(nullptr), nullptr);
}

TEST(CaptureOpen, AFullDiskIsSaidAtTheLatestAtClose) {
  std::FILE* full = std::fopen("/dev/full", "w");
  if (full == nullptr) GTEST_SKIP() << "no /dev/full";
  std::fclose(full);
  const std::string link = testing::TempDir() + "/recorder_test.full.jsonl";
  std::remove(link.c_str());
  ASSERT_EQ(symlink("/dev/full", link.c_str()), 0);
  ptape_options options{};
  options.size = sizeof(options);
  options.path = link.c_str();
  options.rank = -1;
  ptape_recorder* recorder = ptape_open(&options);
  ASSERT_NE(recorder, nullptr);
  ptape_refresh(recorder, nullptr, ptape_intern(recorder, "b"));
  EXPECT_EQ(ptape_close(recorder), PTAPE_E_WRITE);
  EXPECT_NE(std::string(ptape_last_error(nullptr)).find("cannot be written"), std::string::npos);
  std::remove(link.c_str());
}

}  // namespace
}  // namespace pagetape
