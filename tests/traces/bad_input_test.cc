// SPDX-License-Identifier: Apache-2.0
// Every must of trace.capnp broken, and files damaged at every place: never a crash, never an
// event that was not written. Flipped bits: flipped_bits_test.
#include <gtest/gtest.h>

#include <random>

#include "tests/traces/trace_fixture.h"
#include "traces/columns.h"

namespace pagetape {
namespace {

using SegmentEdit = std::function<void(schema::Segment::Builder, schema::Columns::Builder)>;

// What a decoder says of a segment of these events that was changed so.
std::string error_of(const std::vector<const char*>& lines, const SegmentEdit& edit) {
  Names names;
  std::vector<Event> events;
  events.reserve(lines.size());
  for (const char* line : lines) events.push_back(parsed(line, names));
  const Words payload = edited_segment(events, names, edit);
  SegmentDecoder decoder(names);
  if (!decoder.open(payload)) return decoder.error();
  Event event;
  while (decoder.next(event) == SegmentDecoder::Next::kEvent) {
  }
  return decoder.error();
}

constexpr const char* kPool = R"({"ev":"pool","pool":"F","pages":8,"page_size":4})";
constexpr const char* kOther = R"({"ev":"pool","pool":"S","pages":9,"page_size":4})";
constexpr const char* kAlloc = R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2]})";
constexpr const char* kTable = R"({"ev":"table","buffer":"t","row":0,"col":0,"pages":[1,2,3]})";
constexpr const char* kLaunch =
    R"({"ev":"attention","backend":"b","layer":1,"table":"t",
        "rows":[{"req":"A","len":1,"row":0}]})";

void expect_must(const char* must, const std::vector<const char*>& lines, const SegmentEdit& edit) {
  const std::string error = error_of(lines, edit);
  EXPECT_NE(error.find(must), std::string::npos) << must << ": " << error;
}

void set_bytes(schema::Column::Builder column, std::initializer_list<int> values) {
  auto list = column.initInt8(static_cast<unsigned>(values.size()));
  unsigned i = 0;
  for (const int value : values) list.set(i++, static_cast<std::int8_t>(value));
}

void set_longs(schema::Column::Builder column, std::initializer_list<std::int64_t> values) {
  auto list = column.initInt64(static_cast<unsigned>(values.size()));
  unsigned i = 0;
  for (const std::int64_t value : values) list.set(i++, value);
}

TEST(BadInput, AnUnchangedSegmentIsGood) {
  EXPECT_EQ(error_of({kPool, kOther, kAlloc, kTable, kTable, kLaunch}, [](auto, auto) {}), "");
}

TEST(BadInput, M6TheSizeOfTheBodyIsNotBelieved) {
  for (const std::uint64_t raw : {std::uint64_t{8}, std::uint64_t{64} << 20, std::uint64_t{1} << 40,
                                  std::uint64_t{0}, UINT64_MAX}) {
    expect_must("(M6)", {kPool}, [&](auto segment, auto) { segment.setRawBytes(raw); });
    expect_must("(M6)", {kPool}, [&](auto segment, auto) {
      segment.setRawBytes(raw);
      segment.setCompression(schema::Compression::ZSTD);
    });
  }
}

TEST(BadInput, M7CountsOfEventsMustAgree) {
  expect_must("(M7)", {kPool}, [](auto segment, auto) { segment.setEventCount(0); });
  expect_must("(M7)", {kPool}, [](auto segment, auto) { segment.setEventCount(UINT32_MAX); });
  expect_must("(M7)", {kPool, kAlloc}, [](auto, auto columns) { columns.getKinds()[0] = 15; });
  expect_must("(M7)", {kPool}, [](auto segment, auto) { segment.getSummary().initCounts(300); });
}

TEST(BadInput, M8KindsMustBeKnown) {
  expect_must("(M8)", {kPool, kAlloc}, [](auto segment, auto columns) {
    columns.getKinds()[0] = 200;
    segment.getSummary().getCounts().set(kind_number(kKindOf<ev::Pool>), 0);
  });
}

TEST(BadInput, M9ColumnsMustHaveACellForEachValue) {
  expect_must("(M9)", {kPool, kOther},
              [](auto, auto c) { set_bytes(c.getPool().initPages(), {1}); });
  expect_must("(M9)", {kPool, kOther}, [](auto, auto c) {
    set_bytes(c.getPool().initPages(), {1, 2, 3});
  });
  expect_must("(M9)", {kPool, kOther}, [](auto, auto c) { set_bytes(c.initT(), {1}); });
}

TEST(BadInput, M9ColumnsMustBeOfTheirOwnWidth) {
  // A list of another width behind the pointer of int8: a message that grew, or a hostile one.
  expect_must("(M9)", {kPool, kOther}, [](auto, auto c) {
    auto column = c.getPool().initPages();
    column.initInt8(2);
    capnp::toAny(column).getPointerSection()[0].template initAs<capnp::List<std::int64_t>>(2);
  });
}

TEST(BadInput, M10CountsMustAddUp) {
  expect_must("(M10)", {kAlloc},
              [](auto, auto c) { set_bytes(c.getAlloc().getPages().initCounts(), {3}); });
  expect_must("(M10)", {kAlloc},
              [](auto, auto c) { set_bytes(c.getAlloc().getPages().initCounts(), {-1}); });
  expect_must("(M10)", {kAlloc, kAlloc}, [](auto, auto c) {
    set_longs(c.getAlloc().getPages().initCounts(), {INT64_MAX, INT64_MAX});
  });
  expect_must("(M10)", {kAlloc}, [](auto, auto c) {
    set_longs(c.getAlloc().getPages().initCounts(), {std::int64_t{1} << 32});
    c.getAlloc().getPages().initValues();
  });
}

void set_constant(schema::Column::Builder column, std::int64_t value) {
  column.setElided();
  column.setDelta(true);
  column.setBase(value);
}

TEST(BadInput, M9ValuesOfListsAreNeverOneForAll) {
  expect_must("(M10)", {kAlloc},
              [](auto, auto c) { set_constant(c.getAlloc().getPages().initValues(), 1); });
  expect_must("(M10)", {kAlloc}, [](auto, auto c) {
    set_constant(c.getAlloc().getPages().initCounts(), std::int64_t{1} << 32);
    set_constant(c.getAlloc().getPages().initValues(), 1);
  });
}

TEST(BadInput, M10CountsThatCostNothingInTheFileAddUp) {
  const auto count = [](std::int64_t n) {
    return [n](auto, auto c) { set_constant(c.getAlloc().getPages().initCounts(), n); };
  };
  EXPECT_EQ(error_of({kAlloc, kAlloc}, count(2)), "");
  for (const std::int64_t n :
       {INT64_MIN, INT64_MAX, std::int64_t{-1}, std::int64_t{1}, std::int64_t{3}}) {
    expect_must("(M10)", {kAlloc, kAlloc}, count(n));
  }
  // 2^32 runs of 2^32 cells: a sum of 64 bits would be 0, the number of the values.
  expect_must("(M10)", {kTable}, [](auto, auto c) {
    auto cells = c.getTable().getPages();
    for (auto column : {cells.initRuns(), cells.initLengths()}) {
      set_constant(column, std::int64_t{1} << 32);
    }
    cells.disownValues();
  });
}

TEST(BadInput, M11NamesMustBeStringsOfTheSegment) {
  expect_must("(M11)", {kPool}, [](auto, auto c) { set_bytes(c.getPool().initPool(), {2}); });
  expect_must("(M11)", {kPool}, [](auto, auto c) { set_bytes(c.getPool().initPool(), {-1}); });
  expect_must("(M11)", {kPool}, [](auto, auto c) { set_bytes(c.getPool().initPool(), {-128}); });
  expect_must("(M11)", {kPool}, [](auto, auto c) { set_bytes(c.initExtra(), {1}); });
  expect_must("(M11)", {kPool}, [](auto, auto c) { set_bytes(c.initExtra(), {-1}); });
}

TEST(BadInput, M12NumbersMustFitTheirTypes) {
  expect_must("(M12)", {kAlloc}, [](auto, auto c) {
    set_longs(c.getAlloc().getPages().initValues(), {std::int64_t{1} << 31, 0});
  });
  expect_must("(M12)", {kAlloc}, [](auto, auto c) {
    set_bytes(c.getAlloc().getPages().initValues(), {-128, 0});
  });
  expect_must("(M12)", {kLaunch}, [](auto, auto c) {
    set_longs(c.getAttention().initLayer(), {std::int64_t{1} << 40});
  });
  expect_must("(M12)", {R"({"ev":"map_free","map":"m","req":"A","from":[2],"skip_unmapped":true})"},
              [](auto, auto c) { set_bytes(c.getMapFree().initSkipUnmapped(), {2}); });
  expect_must("(M12)", {kPool}, [](auto, auto c) { set_longs(c.initStream(), {1L << 40}); });
  const char* graph = R"({"ev":"graph_capture","graph":"g","launches":[
      {"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[1],"to":[0]}]})";
  expect_must("(M12)", {graph},
              [](auto, auto c) { set_bytes(c.getGraphCapture().getLaunches().initKinds(), {3}); });
}

TEST(BadInput, M13RowsThatCostNothingInTheFileAreLimited) {
  expect_must("(M13)", {kLaunch}, [](auto, auto c) {
    auto rows = c.getAttention().initRows();
    set_longs(rows.initCounts(), {(1 << 18) + 1});
  });
  expect_must("(M13)", {kLaunch, kLaunch}, [](auto, auto c) {
    auto rows = c.getAttention().initRows();
    set_longs(rows.initCounts(), {1 << 26, 1 << 26});
  });
}

TEST(BadInput, M14RunsOfTableCellsMustFit) {
  const auto cells = [](auto c) { return c.getTable().getPages(); };
  expect_must("(M14)", {kTable}, [&](auto, auto c) { set_bytes(cells(c).initSkips(), {1}); });
  expect_must("(M14)", {kTable}, [&](auto, auto c) { set_bytes(cells(c).initCells(), {2}); });
  // The fourth cell is neither in the run nor known.
  expect_must("(M14)", {kTable}, [&](auto, auto c) { set_bytes(cells(c).initCells(), {4}); });
  // What stood before does not reach to the column.
  expect_must("(M14)", {kTable, kTable}, [&](auto, auto c) {
    set_bytes(c.getTable().initCol(), {0, 100});
  });
}

TEST(BadInput, M14TheFirstTableOfARowMustBeWhole) {
  expect_must("(M14)", {kTable, kTable}, [&](auto, auto c) {
    set_bytes(c.getTable().initRow(), {0, 1});
  });
}

TEST(BadInput, M15TableCellsOfASegmentAreLimited) {
  expect_must("(M15)", {kTable, kTable}, [](auto, auto c) {
    set_longs(c.getTable().getPages().initCells(), {3, std::int64_t{1} << 31});
  });
}

TEST(BadInput, RunsOfTableCellsThatCostNothingInTheFileAreLimited) {
  expect_must("(M10)", {kTable}, [](auto, auto c) {
    auto pages = c.getTable().getPages();
    auto runs = pages.initRuns();
    runs.setDelta(true);  // The same for all, without a byte in the file.
    runs.setBase(std::int64_t{1} << 32);
    pages.disownSkips();
    pages.disownLengths();
    pages.disownValues();
  });
}

constexpr const char* kSlots = R"({"ev":"slots","buffer":"s","values":[5,6,7,9,10,30]})";
constexpr const char* kStore = R"({"ev":"store","backend":"b","layer":1,
    "rows":[{"req":"A","slots":[4,5,6]},{"req":"B","slots":[]},{"req":"C","slots":[8,9,64,65]}]})";

schema::SlotLists::Builder slot_lists(schema::Columns::Builder c) {
  return c.hasStore() ? c.getStore().getRows().getSlots() : c.getSlots().getValues();
}

TEST(BadInput, M19RunsOfSlotsMustHaveTheirValues) {
  for (const char* line : {kSlots, kStore}) {
    EXPECT_EQ(error_of({line}, [](auto, auto c) { EXPECT_TRUE(slot_lists(c).getRuns()); }), "");
    expect_must("(M19)", {line}, [](auto, auto c) { set_bytes(slot_lists(c).initValues(), {1}); });
    expect_must("(M19)", {line}, [](auto, auto c) { slot_lists(c).disownValues(); });
    expect_must("(M19)", {line}, [](auto, auto c) { slot_lists(c).disownSplits(); });
    expect_must("(M19)", {line}, [](auto, auto c) { slot_lists(c).disownLows(); });
    for (const char low : {-1, 64}) {
      expect_must("(M19)", {line}, [low](auto, auto c) {
        auto lows = slot_lists(c).getLows();
        ASSERT_TRUE(lows.isInt8());
        lows.getInt8().set(0, static_cast<std::int8_t>(low));
      });
    }
    expect_must("(M10)", {line}, [](auto, auto c) { slot_lists(c).setRuns(false); });
  }
}

TEST(BadInput, M19SplitsMustLieWithinAList) {
  const auto expect_bad = [](std::initializer_list<std::int64_t> splits) {
    expect_must("(M19)", {kSlots},
                [&](auto, auto c) { set_longs(slot_lists(c).initSplits(), splits); });
  };
  expect_bad({5, 3});
  expect_bad({3, 3});
  expect_bad({-1, 3});
  expect_bad({0, 3});
  expect_bad({3, 6});
  expect_bad({3, INT64_MAX});
  expect_bad({3, INT64_MIN});
  // A list begins with the fourth slot; the eighth is none.
  for (const std::int64_t split : {0, 3, 7}) {
    expect_must("(M19)", {kStore},
                [&](auto, auto c) { set_longs(slot_lists(c).initSplits(), {split}); });
  }
  EXPECT_EQ(error_of({kStore}, [](auto, auto c) { set_longs(slot_lists(c).initSplits(), {6}); }),
            "");
}

TEST(BadInput, M20SlotsThatCostNothingInTheFileAreLimited) {
  const auto lists = [](std::int64_t slots) {
    return [slots](auto, auto c) {
      slot_lists(c).disownSplits();
      set_longs(slot_lists(c).initCounts(), {slots});
      set_bytes(slot_lists(c).initValues(), {1});
      set_bytes(slot_lists(c).initLows(), {1});
    };
  };
  expect_must("(M20)", {kSlots}, lists((1 << 23) + 1));
  expect_must("(M20)", {kSlots}, lists(std::int64_t{1} << 32));
  EXPECT_EQ(error_of({kSlots}, lists(1 << 23)), "");
  // Those of all columns together.
  expect_must("(M20)", {kSlots, kStore}, [](auto, auto c) {
    auto slots = c.getSlots().getValues();
    slots.disownSplits();
    set_longs(slots.initCounts(), {1 << 23});
    set_bytes(slots.initValues(), {1});
    set_bytes(slots.initLows(), {1});
  });
}

TEST(BadInput, M21LanesToldAgainMustHaveBeenTold) {
  const auto counts = [](std::initializer_list<std::int64_t> values) {
    return [values](auto, auto c) {
      auto rows = c.getAttention().getRows();
      set_longs(rows.initCounts(), values);
    };
  };
  const std::vector<const char*> two = {kLaunch, kLaunch};
  EXPECT_EQ(error_of(two, counts({1, -1})), "");
  EXPECT_EQ(error_of({kLaunch, kLaunch, kLaunch}, counts({1, 0, -1})), "");
  for (const std::int64_t back :
       {std::int64_t{-2}, std::int64_t{-4}, std::int64_t{-5}, INT64_MIN + 1, INT64_MIN}) {
    expect_must("(M21)", two, counts({1, back}));
  }
  expect_must("(M21)", two, counts({-1, 1}));
  expect_must("(M21)", {kLaunch, kLaunch, kLaunch}, counts({0, -1, 1}));
  const char* other = R"({"ev":"attention","backend":"b","layer":1,"table":"t",
        "rows":[{"req":"A","len":2,"row":0}]})";
  EXPECT_EQ(error_of({kLaunch, other, kLaunch}, counts({1, 1, -2})), "");
  expect_must("(M21)", {kLaunch, other, kLaunch}, counts({1, 1, -3}));
  // Of launches that may say nothing of lanes.
  const char* graph = R"({"ev":"graph_launch","graph":"g","rows":[{"req":"A","row":0}]})";
  const char* bare = R"({"ev":"graph_launch","graph":"g"})";
  EXPECT_EQ(error_of({graph, bare, graph}, [](auto, auto) {}), "");
  expect_must("(M21)", {bare, graph}, [](auto, auto c) {
    set_bytes(c.getGraphLaunch().getRows().initCounts(), {0, -1});
  });
}

TEST(BadInput, RunsThatLeaveTheRangeOfSlotsAreFound) {
  const auto error_with = [](const char* line, std::int64_t high, std::int64_t low) {
    return error_of({line}, [&](auto, auto c) {
      const bool store = c.hasStore();
      slot_lists(c).disownSplits();
      if (store) {
        set_longs(slot_lists(c).initValues(), {1, high});
        set_longs(slot_lists(c).initLows(), {1, low});
      } else {
        set_longs(slot_lists(c).initValues(), {high});
        set_longs(slot_lists(c).initLows(), {low});
      }
    });
  };
  for (const char* line : {kSlots, kStore}) {
    EXPECT_EQ(error_with(line, 4, 62), "");
    for (const std::int64_t high : {(std::int64_t{1} << 41) - 1, INT64_MAX >> 6, INT64_MIN >> 6}) {
      const std::string error = error_with(line, high, 62);
      EXPECT_NE(error.find("(M16)"), std::string::npos) << high << ": " << error;
    }
    for (const std::int64_t high : {(INT64_MAX >> 6) + 1, INT64_MAX, INT64_MIN}) {
      const std::string error = error_with(line, high, 62);
      EXPECT_NE(error.find("(M19)"), std::string::npos) << high << ": " << error;
    }
    for (const std::int64_t low : {std::int64_t{64}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
      const std::string error = error_with(line, 1, low);
      EXPECT_NE(error.find("(M19)"), std::string::npos) << low << ": " << error;
    }
  }
}

TEST(BadInput, M16EventsMustPassTheChecks) {
  expect_must("(M16)", {kPool}, [](auto, auto c) { set_bytes(c.getPool().initPageSize(), {0}); });
  expect_must("(M16)", {kPool}, [](auto, auto c) { set_bytes(c.getPool().initPool(), {0}); });
}

// A segment of `line` 200 times, in which a cell of a column is replaced: the events before the one
// with it are given, and none after, for this reason.
void expect_stop(const char* line, std::size_t event, const std::string& error,
                 const std::function<schema::Column::Builder(schema::Columns::Builder)>& column,
                 std::vector<std::int64_t> cells, std::size_t cell, std::int64_t bad) {
  Names names;
  const Event written = parsed(line, names);
  cells[cell] = bad;
  const Words payload =
      edited_segment(std::vector<Event>(200, written), names, [&](auto, auto columns) {
        auto list = column(columns).initInt64(static_cast<unsigned>(cells.size()));
        for (unsigned i = 0; i < list.size(); ++i) list.set(i, cells[i]);
      });
  SegmentDecoder decoder(names);
  ASSERT_TRUE(decoder.open(payload)) << decoder.error();
  Event event_read;
  std::size_t events = 0;
  while (decoder.next(event_read) == SegmentDecoder::Next::kEvent) {
    ++events;
    EXPECT_TRUE(event_read == written) << events;
  }
  EXPECT_EQ(events, event);
  EXPECT_EQ(decoder.error(), error);
}

TEST(BadInput, EventsBeforeAValueOutsideItsLimitsAreGiven) {
  const char* rewind = R"({"ev":"rewind","pool":"F","req":"A","len":7})";
  for (const std::size_t at : {0, 1, 63, 64, 150, 199}) {
    expect_stop(
        rewind, at, "field \"len\": expected an integer >= 0, found -1 (M16)",
        [](auto c) { return c.getRewind().initLen(); }, std::vector<std::int64_t>(200, 7), at, -1);
    expect_stop(
        rewind, at, "missing field \"req\" (a string) (M16)",
        [](auto c) { return c.getRewind().initReq(); }, std::vector<std::int64_t>(200, 2), at, 0);
    expect_stop(
        rewind, at, "a name is not a string of the segment (M11)",
        [](auto c) { return c.getRewind().initReq(); }, std::vector<std::int64_t>(200, 2), at, 3);
    expect_stop(
        rewind, at, "field \"stream\": expected an integer >= 0, found -2 (M16)",
        [](auto c) { return c.initStream(); }, std::vector<std::int64_t>(200), at, -2);
    expect_stop(
        rewind, at, "a name is not a string of the segment (M11)",
        [](auto c) { return c.initSrc(); }, std::vector<std::int64_t>(200), at, 3);
  }
  const char* launch = R"({"ev":"attention","backend":"b","layer":1,"table":"t",
      "rows":[{"req":"A","len":1,"row":0},{"req":"A","len":1,"row":1}]})";
  expect_stop(
      launch, 60, "field \"rows[1].len\": expected an integer >= 0, found -5 (M16)",
      [](auto c) {
        // Each launch tells its lanes: two of them, whose rows are 0 and 1.
        auto rows = c.getAttention().getRows();
        auto counts = rows.initCounts();
        counts.setDelta(true);
        counts.setBase(2);
        auto row = rows.initRow().initInt8(400);
        for (unsigned i = 0; i < 400; ++i) row.set(i, i % 2);
        return rows.initLen();
      },
      std::vector<std::int64_t>(400, 1), 121, -5);
  expect_stop(R"({"ev":"map_clear","map":"m","from":[4]})", 100,
              "field \"from[0]\": expected an integer >= 0, found -4 (M16)",
              [](auto c) { return c.getMapClear().getFrom().initValues(); },
              std::vector<std::int64_t>(200, 4), 100, -4);
}

TEST(BadInput, M4PointersThatShareTheirTargetsAreNotFree) {
  // Many names of one long string: a small file that says much.
  Names names;
  Event event;
  event.body = ev::Note{names.intern(std::string(1 << 20, 'x'))};
  SegmentEncoder encoder(names, 0);
  encoder.add(event);
  Summary summary;
  const Words words = encoder.finish(0, summary);
  capnp::FlatArrayMessageReader reader(as_capnp(words));
  const auto body = reader.getRoot<schema::Segment>().getBody();
  Words columns(body.size() / 8 + 1 + 10000);
  std::memcpy(columns.data(), body.begin(), body.size());
  SegmentDecoder decoder(names);
  // The list of strings is made one of 10000, whose pointers all lead to the first.
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<schema::Columns>();
  auto strings = root.initStrings(1000);
  for (unsigned i = 0; i < 1000; ++i)
    strings.set(i, i == 0 ? std::string(1 << 20, 'x').c_str() : "y");
  Words flat = flatten(message);
  // A text pointer's offset counts from the word behind it.
  const auto is_text = [](std::uint64_t word) {
    return (word & 3) == 1 && (word >> 32 & 7) == 2 && word >> 35 == (1u << 20) + 1;
  };
  const auto first = std::find_if(flat.begin(), flat.end(), is_text);
  ASSERT_NE(first, flat.end());
  for (std::uint64_t i = 1; i < 1000; ++i) first[static_cast<long>(i)] = *first - (i << 2);
  capnp::MallocMessageBuilder outer;
  outer.setRoot(reader.getRoot<schema::Segment>());
  auto segment = outer.getRoot<schema::Segment>();
  segment.setRawBytes(flat.size() * 8);
  segment.setBody({reinterpret_cast<const unsigned char*>(flat.data()), flat.size() * 8});
  EXPECT_FALSE(decoder.open(flatten(outer)));
}

class BadFile : public ::testing::Test {
 protected:
  void SetUp() override {
    events = small_trace(names);
    write_trace(path, events, names, segments_of(20));
    good = load(path);
  }
  // Reads a changed file; what it gives must be a beginning of what was written.
  ReadBack read(const FileBytes& file) {
    save(path, file);
    ReadBack back = read_back(path, names);
    EXPECT_TRUE(is_prefix(back.events, events));
    return back;
  }
  std::string message_of(const FileBytes& file) { return read(file).status.message(); }
  FileBytes resealed(std::size_t frame, const Words& payload) const {
    const std::vector<Frame> frames = frames_of(good);
    FileBytes file(good.begin(), good.begin() + static_cast<long>(frames[frame].offset));
    const Bytes bytes(reinterpret_cast<const unsigned char*>(payload.data()), payload.size() * 8);
    const auto header = frame_header(frames[frame].kind, bytes);
    file.insert(file.end(), header.begin(), header.end());
    file.insert(file.end(), bytes.begin(), bytes.end());
    file.insert(file.end(), good.begin() + static_cast<long>(frames[frame].end()), good.end());
    return file;
  }

  ScratchFolder folder;
  std::string path = folder.file("x");
  Names names;
  std::vector<Event> events;
  FileBytes good;
};

TEST_F(BadFile, CutAtAnyByteMerelyEnds) {
  for (std::size_t size = good.size() - 1; size > 0; --size) {
    std::filesystem::resize_file(path, size);
    const ReadBack back = read_back(path, names);
    ASSERT_TRUE(is_prefix(back.events, events)) << size;
    ASSERT_TRUE(back.status.ok()) << size << ": " << back.status.message();
    ASSERT_TRUE(back.cut) << size;
    std::size_t whole = 0;
    for (const Frame& frame : frames_of(good)) {
      if (frame.kind == FrameKind::kSegment && frame.end() <= size) whole += 20;
    }
    ASSERT_EQ(back.events.size(), std::min(whole, events.size())) << size;
  }
}

TEST_F(BadFile, RandomBytesInASealedSegmentAreNoCrash) {
  write_trace(path, events, names, segments_of(1000, 0));
  const FileBytes plain = load(path);
  const Frame frame = frames_of(plain)[0];
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) {
    FileBytes file = plain;
    for (std::uint32_t k = random() % 3 + 1; k > 0; --k) {
      const std::size_t at = kFrameHeaderBytes + random() % frame.payload_bytes;
      file[frame.offset + at] = static_cast<unsigned char>(random() % 2 == 0 ? random() : 0xFF);
    }
    reseal(file, frame);
    save(path, file);
    Names others;
    const ReadBack back = read_back(path, others);
    for (const Event& event : back.events) ASSERT_TRUE(check_event(event, others).ok());
  }
}

TEST_F(BadFile, M1AnUnknownVersionIsSaid) {
  FileBytes file = good;
  file[8] = kFileVersion + 1;
  EXPECT_NE(message_of(file).find("(M1)"), std::string::npos);
}

TEST_F(BadFile, M2AHeaderMustBeGood) {
  FileBytes file = good;
  file[kFileHeaderBytes + 9] ^= 1;
  EXPECT_NE(message_of(file).find("(M2)"), std::string::npos);
}

TEST_F(BadFile, M3APayloadMustHaveItsChecksum) {
  FileBytes file = good;
  file[kFileHeaderBytes + kFrameHeaderBytes + 1] ^= 1;
  EXPECT_NE(message_of(file).find("(M3)"), std::string::npos);
}

TEST_F(BadFile, M4APayloadMustBeAMessage) {
  EXPECT_NE(message_of(resealed(1, Words(5, UINT64_MAX))).find("(M4)"), std::string::npos);
  EXPECT_NE(message_of(resealed(1, Words())).find("(M4)"), std::string::npos);
}

TEST_F(BadFile, M5ASegmentThatIsMissingIsNoticed) {
  const std::vector<Frame> frames = frames_of(good);
  FileBytes file = good;
  file.erase(file.begin() + static_cast<long>(frames[1].offset),
             file.begin() + static_cast<long>(frames[1].end()));
  const ReadBack back = read(file);
  EXPECT_NE(back.status.message().find("(M5)"), std::string::npos);
  EXPECT_EQ(back.events.size(), 20u);
}

TEST_F(BadFile, M17AKeyframeOfAnotherEventIsNoticed) {
  const Words payload = encode_keyframe({0, 21, 0}, "state", 3);
  FileBytes file = resealed(1, payload);
  const std::uint64_t at = frames_of(good)[1].offset;
  const std::uint32_t keyframe = 2;
  std::memcpy(file.data() + at + 4, &keyframe, sizeof keyframe);
  const Bytes bytes(reinterpret_cast<const unsigned char*>(payload.data()), payload.size() * 8);
  const auto header = frame_header(FrameKind::kKeyframe, bytes);
  std::copy(header.begin(), header.end(), file.begin() + static_cast<long>(at));
  EXPECT_NE(message_of(file).find("(M17)"), std::string::npos);
}

TEST_F(BadFile, M18AnIndexThatLiesIsNotBelieved) {
  Status status;
  const IndexInfo truth = Reader::open(path, names, status)->index();
  const std::size_t last = frames_of(good).size() - 1;
  IndexInfo lie = truth;
  lie.events += 1;
  EXPECT_NE(message_of(resealed(last, encode_index(lie))).find("(M18)"), std::string::npos);
  lie = truth;
  lie.segments[1].offset += 8;  // In order, but no frame is there.
  save(path, resealed(last, encode_index(lie)));
  auto reader = Reader::open(path, names, status);
  EXPECT_EQ(reader->seek(25).code(), Code::kDamaged);
  EXPECT_TRUE(reader->seek(45).ok());
  std::swap(lie.segments[1], lie.segments[2]);  // Out of order: found anew.
  save(path, resealed(last, encode_index(lie)));
  reader = Reader::open(path, names, status);
  EXPECT_TRUE(reader->index() == truth);
  EXPECT_TRUE(reader->index_rebuilt());
}

}  // namespace
}  // namespace pagetape
