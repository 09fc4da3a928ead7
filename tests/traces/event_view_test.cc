// SPDX-License-Identifier: Apache-2.0
#include "traces/event_view.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/traces/trace_fixture.h"
#include "traces/text.h"

namespace pagetape {
namespace {

constexpr std::size_t kViewKinds[] = {
    kKindOf<ev::SwaState>,    kKindOf<ev::Alloc>,     kKindOf<ev::Share>,
    kKindOf<ev::Free>,        kKindOf<ev::Evict>,     kKindOf<ev::MapSet>,
    kKindOf<ev::MapClear>,    kKindOf<ev::Request>,   kKindOf<ev::Accept>,
    kKindOf<ev::Rewind>,      kKindOf<ev::Table>,     kKindOf<ev::Lens>,
    kKindOf<ev::SlotList>,    kKindOf<ev::Attention>, kKindOf<ev::Store>,
    kKindOf<ev::LaunchDone>,  kKindOf<ev::Refresh>,   kKindOf<ev::StreamWait>,
    kKindOf<ev::GraphLaunch>, kKindOf<ev::Step>,      kKindOf<ev::Kernel>,
    kKindOf<ev::Dropped>};

// Views of drawn values, mostly good ones, and the memory that they are of.
class Drawn {
 public:
  explicit Drawn(Names& names) : names_(names) {
    for (const char* text : {"run", "decode", "page", "slot", "F", "S", "A"}) names_.intern(text);
    for (int i = 0; i < 40; ++i) names_.intern("r" + std::to_string(i));
  }

  const EventView& next() {
    view_ = EventView();
    view_.kind = kViewKinds[below(std::size(kViewKinds))];
    if (below(2) == 0) view_.t = static_cast<std::int64_t>(below(1u << 30));
    if (below(3) == 0) view_.rank = static_cast<std::int64_t>(below(3)) - (below(60) == 0);
    view_.stream = static_cast<std::int32_t>(below(3)) - (below(60) == 0);
    view_.src = name();
    for (Name& one : view_.names) one = name();
    if (view_.kind == kKindOf<ev::Request>) view_.names[1] = names_.find("run");
    for (std::int64_t& one : ints_) one = number();
    view_.ints = ints_;
    view_.flag = below(2) == 0;
    list();
    if (view_.kind == kKindOf<ev::GraphLaunch> && below(2) == 0) lanes();
    if (view_.kind == kKindOf<ev::Attention> || view_.kind == kKindOf<ev::Store>) launch();
    return view_;
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }
  Name name() {
    if (below(60) == 0) return Name{static_cast<std::uint32_t>(names_.size() + below(3))};
    return below(40) == 0 ? kNone : Name{static_cast<std::uint32_t>(1 + below(names_.size() - 1))};
  }
  std::int64_t number() {
    switch (below(60)) {
      case 0:
        return -1;
      case 1:
        return INT64_MIN;
      case 2:
        return std::int64_t{1} << below(62);
      default:
        return static_cast<std::int64_t>(below(100));
    }
  }
  void list() {
    const std::size_t n = view_.kind == kKindOf<ev::Kernel> ? 2 + below(6) : below(9);
    numbers_.assign(2 * n, 0);
    for (std::int64_t& one : numbers_) one = number();
    pages_.assign(n, PageId{});
    for (PageId& page : pages_) {
      page = below(90) == 0 ? kUnknownPage : PageId{static_cast<std::int32_t>(below(50)) - 2};
    }
    const std::size_t kind = view_.kind;
    const bool is_pages = kind == kKindOf<ev::Alloc> || kind == kKindOf<ev::Share> ||
                          kind == kKindOf<ev::Free> || kind == kKindOf<ev::Table>;
    view_.list = is_pages ? static_cast<const void*>(pages_.data()) : numbers_.data();
    if (kind == kKindOf<ev::MapSet>) {
      pairs_.clear();
      for (std::size_t i = 0; i < n; ++i) pairs_.emplace_back(numbers_[2 * i], numbers_[2 * i + 1]);
      view_.list = pairs_.data();
    }
    view_.n = n;
  }
  void lanes() {
    LanesView& to = view_.lanes.emplace();
    to.n = below(5);
    reqs_.assign(to.n, kNone);
    for (Name& one : reqs_) one = name();
    for (std::vector<std::int64_t>& column : columns_) {
      column.assign(to.n, 0);
      for (std::int64_t& one : column) one = number();
    }
    if (below(4) != 0) to.req = reqs_.data();
    if (below(4) != 0) to.len = columns_[0].data();
    if (below(4) != 0) to.row = columns_[1].data();
    if (below(2) != 0) to.q_len = columns_[2].data();
    if (below(2) != 0) to.q_pos = columns_[3].data();
    if (below(2) != 0) to.first = columns_[4].data();
    if (below(4) != 0) to.size = columns_[5].data();
  }
  void launch() {
    lanes();
    LaunchFields& to = view_.launch;
    to.backend = name();
    to.table = name();
    to.slots = name();
    if (below(4) != 0) to.lens = name();
    if (below(3) != 0) to.space = name();
    if (below(3) == 0) to.mode = names_.find("decode");
    if (below(3) == 0) to.kernel = name();
    layers_ = {Layer::number(0), Layer::number(3), Layer::named(name())};
    if (below(3) != 0) to.layer = layers_[below(3)];
    if (!to.layer || below(60) == 0) to.layers = std::span<const Layer>(layers_).first(below(3));
    if (below(3) == 0) to.window = number();
    if (below(3) == 0) to.table_rows = number();
    if (below(3) == 0) {
      to.bound = BoundView{name(), number(), number(), {}, {}};
      if (below(2) == 0) to.bound->shape = std::span<const std::int64_t>(numbers_);
      if (below(2) == 0) to.bound->stride = std::span<const std::int64_t>(numbers_);
    }
  }

  Names& names_;
  std::mt19937 random_{7};
  EventView view_;
  std::int64_t ints_[3];
  std::vector<std::int64_t> numbers_, columns_[6];
  std::vector<PageId> pages_;
  Pairs pairs_;
  std::vector<Name> reqs_;
  std::vector<Layer> layers_;
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(EventView, IsGoodWhereItsEventIs) {
  Names names;
  Drawn drawn(names);
  Event event;
  std::vector<int> good(kKinds), bad(kKinds);
  for (int i = 0; i < 40'000; ++i) {
    const EventView& view = drawn.next();
    ASSERT_TRUE(make_event(view, event));
    const Status status = check_event(event, names);
    ASSERT_EQ(is_good(view, names), status.ok())
        << kKindNames[view.kind] << ": " << status.message();
    ++(status.ok() ? good : bad)[view.kind];
  }
  for (const std::size_t kind : kViewKinds) {
    EXPECT_GT(good[kind], 30) << kKindNames[kind];
    EXPECT_GT(bad[kind], 10) << kKindNames[kind];
  }
}

TEST(EventView, IsWrittenAsItsEventIs) {
  for (const int level : {0, 3}) {
    ScratchFolder folder;
    Names names;
    Drawn drawn(names);
    WriterOptions options;
    options.zstd_level = level;
    options.segment_events = 500;
    Status status;
    const auto views = create_trace(folder.file("v"), names, options, status);
    const auto events = create_trace(folder.file("e"), names, options, status);
    std::vector<Event> expected;
    for (int i = 0; i < 20'000; ++i) {
      const EventView& view = drawn.next();
      if (!is_good(view, names)) continue;
      ASSERT_TRUE(make_event(view, expected.emplace_back()));
      ASSERT_TRUE(views->add_view(view).ok());
      ASSERT_TRUE(events->add(expected.back()).ok());
    }
    ASSERT_TRUE(views->close().ok() && events->close().ok());
    EXPECT_GT(expected.size(), 5'000u);
    EXPECT_TRUE(bytes_of(folder.file("v")) == bytes_of(folder.file("e"))) << level;
    EXPECT_TRUE(read_back(folder.file("v"), names).events == expected) << level;
  }
}

TEST(EventView, NothingOfTheEventBeforeStaysInOne) {
  Names names;
  Drawn drawn(names);
  Event kept;
  for (int i = 0; i < 5'000; ++i) {
    const EventView& view = drawn.next();
    Event fresh;
    ASSERT_TRUE(make_event(view, fresh) && make_event(view, kept));
    ASSERT_TRUE(kept == fresh) << kKindNames[view.kind];
  }
}

TEST(EventView, ThereIsNoneOfARareKind) {
  EventView view;
  const std::int64_t ints[3] = {};
  view.kind = kKindOf<ev::Pool>;
  view.ints = ints;
  Event event;
  EXPECT_FALSE(make_event(view, event));
  EXPECT_FALSE(is_good(view, Names()));
}

}  // namespace
}  // namespace pagetape
