// SPDX-License-Identifier: Apache-2.0
// Launches, order, graphs, and the recording itself.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "traces/fields.h"

namespace pagetape::ev {

struct Table {
  static constexpr std::string_view kName = "table";
  Name buffer = kNone;
  std::int64_t row = 0, col = 0;
  Pages pages;
  Name req = kNone, space = kNone, unit = kNone;
  static constexpr auto fields(auto...) {
    return std::tuple(required("buffer", &Table::buffer), required("row", &Table::row),
                      required("col", &Table::col), required("pages", &Table::pages),
                      optional("req", &Table::req), optional("space", &Table::space),
                      optional("unit", &Table::unit));
  }
  bool operator==(const Table&) const = default;
};

struct Lens {
  static constexpr std::string_view kName = "lens";
  Name buffer = kNone;
  Ints values;
  OptInt row;
  static constexpr auto fields(auto...) {
    return std::tuple(required("buffer", &Lens::buffer), required("values", &Lens::values),
                      optional("row", &Lens::row));
  }
  bool operator==(const Lens&) const = default;
};

struct SlotList {
  static constexpr std::string_view kName = "slots";
  Name buffer = kNone;
  Slots values;
  OptInt row;
  static constexpr auto fields(auto...) {
    return std::tuple(required("buffer", &SlotList::buffer), required("values", &SlotList::values),
                      optional("row", &SlotList::row));
  }
  bool operator==(const SlotList&) const = default;
};

// What the tensor given to the kernel really was.
struct Bound {
  Name pool = kNone;
  OptInt pages, ptr;
  std::optional<Ints> shape, stride;
  static constexpr auto fields(auto...) {
    return std::tuple(optional("pool", &Bound::pool), optional("pages", &Bound::pages),
                      optional("ptr", &Bound::ptr), optional("shape", &Bound::shape),
                      optional("stride", &Bound::stride));
  }
  bool operator==(const Bound&) const = default;
};

// A lane of an attention (len, pages or row, …), of a store (slots, or row and n), or of a graph
// launch (either). A lane without a request is padding.
struct Row {
  Name req = kNone;
  OptInt len, row, q_len, q_pos, first, n;
  std::optional<Pages> pages;
  std::optional<NameList> spaces;
  std::optional<Ints> logical;
  std::optional<Slots> slots;
  static constexpr auto fields(auto...) {
    return std::tuple(
        nullable("req", &Row::req), optional("len", &Row::len), optional("pages", &Row::pages),
        optional("row", &Row::row), optional("q_len", &Row::q_len), optional("q_pos", &Row::q_pos),
        optional("spaces", &Row::spaces), optional("first", &Row::first),
        optional("logical", &Row::logical), optional("slots", &Row::slots), optional("n", &Row::n));
  }
  bool operator==(const Row&) const = default;
};

// Lanes that are each a request and its slots, and nothing else: those of most stores. Slots that
// follow one another are told as one run.
struct SlotRun {
  SlotId first;
  std::uint32_t count;  // At least 1.
};
// Writes the run's slots one after another; returns what is behind them.
inline SlotId* list_run(const SlotRun& run, SlotId* to) {
  auto slot = static_cast<std::uint64_t>(raw(run.first));  // Whatever a file says, it wraps.
  for (std::uint32_t k = 0; k < run.count; ++k, ++slot) {
    *to++ = SlotId{static_cast<std::int64_t>(slot)};
  }
  return to;
}
struct SlotLanes {
  std::vector<Name> reqs;           // One a lane.
  std::vector<std::uint32_t> ends;  // Of each lane's runs, which begin where those before end.
  std::vector<SlotRun> runs;

  std::span<const SlotRun> runs_of(std::size_t lane) const {
    const std::uint32_t begin = lane == 0 ? 0 : ends.data()[lane - 1];
    return {runs.data() + begin, ends.data()[lane] - begin};
  }
  // The lane's slots, added to a list of them.
  void list(std::size_t lane, Slots& to) const {
    for (const SlotRun& run : runs_of(lane)) {
      to.resize(to.size() + run.count);
      list_run(run, to.data() + (to.size() - run.count));
    }
  }
};

// The lanes of a launch. Launches follow on one another with the same ones, so lists are shared:
// a reader hands out one again and again, and is() tells it without a look at the lanes. Copies
// may be used by several threads; one of them as any value.
class Rows {
 public:
  using value_type = Row;

  Rows() = default;
  Rows(std::vector<Row> list) : shared_(std::make_shared<Shared>()) {
    shared_->list = std::move(list);
  }
  Rows(std::initializer_list<Row> list) : Rows(std::vector<Row>(list)) {}

  const std::vector<Row>& list() const {
    if (shared_ == nullptr) return kEmpty;
    if (!shared_->listed.load(std::memory_order_acquire)) make_list(*shared_);
    return shared_->list;
  }
  // The same without the making of a list; null where lanes say more.
  const SlotLanes* slot_lanes() const {
    return shared_ != nullptr && shared_->by_slots ? &shared_->lanes : nullptr;
  }
  // Is each lane a row of a table, and nothing is said of its pages or length? Most attentions'.
  bool by_row() const {
    if (shared_ == nullptr) return false;
    const ByRow known = shared_->by_row.load(std::memory_order_relaxed);
    return (known == ByRow::kNotAsked ? ask_by_row() : known) == ByRow::kYes;
  }
  std::size_t size() const {
    const SlotLanes* lanes = slot_lanes();
    return lanes != nullptr ? lanes->reqs.size() : list().size();
  }
  bool empty() const { return size() == 0; }
  auto begin() const { return list().begin(); }
  auto end() const { return list().end(); }
  const Row* data() const { return list().data(); }
  const Row& operator[](std::size_t i) const { return list()[i]; }

  // One's own, to be changed: a list that others hold, too, is copied.
  std::vector<Row>& edit() {
    if (shared_ != nullptr && !shared()) {
      (void)list();
    } else {
      *this = Rows(list());
    }
    shared_->by_slots = false;
    shared_->by_row.store(ByRow::kNotAsked, std::memory_order_relaxed);
    return shared_->list;
  }
  // One's own, to be written anew: what is in it is of no matter.
  std::vector<Row>& renew() {
    own(false);
    return shared_->list;
  }
  SlotLanes& renew_slot_lanes() {
    own(true);
    return shared_->lanes;
  }
  bool shared() const { return shared_.use_count() > 1; }
  // The same list? False says nothing.
  bool is(const Rows& other) const { return shared_ == other.shared_; }
  bool operator==(const Rows& other) const { return is(other) || list() == other.list(); }

 private:
  enum class ByRow : std::uint8_t { kNotAsked, kNo, kYes };
  struct Shared {
    std::vector<Row> list;
    std::atomic<ByRow> by_row{ByRow::kNotAsked};
    SlotLanes lanes;
    bool by_slots = false;           // `lanes` are the list's.
    std::atomic<bool> listed{true};  // Otherwise `list` is yet to be made of them.
  };
  static void make_list(Shared& shared);
  ByRow ask_by_row() const;
  void own(bool by_slots) {
    if (shared_ == nullptr || shared()) shared_ = std::make_shared<Shared>();
    shared_->by_slots = by_slots;
    shared_->by_row.store(ByRow::kNotAsked, std::memory_order_relaxed);
    shared_->listed.store(!by_slots, std::memory_order_relaxed);
  }

  static const std::vector<Row> kEmpty;
  std::shared_ptr<Shared> shared_;  // Null: none.
};
inline const std::vector<Row> Rows::kEmpty{};

struct Attention {
  static constexpr std::string_view kName = "attention";
  Name backend = kNone;
  std::optional<Layer> layer;  // This or `layers`.
  std::optional<Layers> layers;
  Rows rows;
  Name mode = kNone, table = kNone, lens = kNone, space = kNone, unit = kNone;
  OptInt page_size, window, table_rows, table_cols;
  std::optional<Bound> bound;
  Name kernel = kNone;
  OptInt q_heads;
  OptNumber scale, soft_cap;
  OptBool sinks;
  Name q_dtype = kNone;
  OptNumber k_scale, v_scale;
  static constexpr auto fields(auto...) {
    return std::tuple(
        required("backend", &Attention::backend), optional("layer", &Attention::layer),
        optional("layers", &Attention::layers), required("rows", &Attention::rows),
        optional("mode", &Attention::mode), optional("table", &Attention::table),
        optional("lens", &Attention::lens), optional("space", &Attention::space),
        optional("unit", &Attention::unit), optional("page_size", &Attention::page_size),
        optional("window", &Attention::window), optional("table_rows", &Attention::table_rows),
        optional("table_cols", &Attention::table_cols), optional("bound", &Attention::bound),
        optional("kernel", &Attention::kernel), optional("q_heads", &Attention::q_heads),
        optional("scale", &Attention::scale), optional("soft_cap", &Attention::soft_cap),
        optional("sinks", &Attention::sinks), optional("q_dtype", &Attention::q_dtype),
        optional("k_scale", &Attention::k_scale), optional("v_scale", &Attention::v_scale));
  }
  bool operator==(const Attention&) const = default;
};

struct Store {
  static constexpr std::string_view kName = "store";
  Name backend = kNone;
  std::optional<Layer> layer;  // This or `layers`.
  std::optional<Layers> layers;
  Rows rows;
  Name slots = kNone, space = kNone, unit = kNone, negative = kNone;
  std::optional<Bound> bound;
  static constexpr auto fields(auto...) {
    return std::tuple(required("backend", &Store::backend), optional("layer", &Store::layer),
                      optional("layers", &Store::layers), required("rows", &Store::rows),
                      optional("slots", &Store::slots), optional("space", &Store::space),
                      optional("unit", &Store::unit), optional("negative", &Store::negative),
                      optional("bound", &Store::bound));
  }
  bool operator==(const Store&) const = default;
};

struct Copy {
  static constexpr std::string_view kName = "copy";
  Name from_pool = kNone, to_pool = kNone, req = kNone;
  Pages from, to;
  std::optional<Ints> slots;
  std::optional<Layers> layers;
  static constexpr auto fields(auto...) {
    return std::tuple(required("from_pool", &Copy::from_pool), required("to_pool", &Copy::to_pool),
                      required("req", &Copy::req), required("from", &Copy::from),
                      required("to", &Copy::to), optional("slots", &Copy::slots),
                      optional("layers", &Copy::layers));
  }
  bool operator==(const Copy&) const = default;
};

struct LaunchDone {
  static constexpr std::string_view kName = "launch_done";
  std::int64_t event = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("event", &LaunchDone::event));
  }
  bool operator==(const LaunchDone&) const = default;
};

struct AsyncBegin {
  static constexpr std::string_view kName = "async_begin";
  Name op = kNone, kind = kNone, pool = kNone;
  Pages pages;
  Name by = kNone;
  std::optional<Layers> layers;
  static constexpr auto fields(auto...) {
    return std::tuple(required("op", &AsyncBegin::op), required("kind", &AsyncBegin::kind),
                      required("pool", &AsyncBegin::pool), required("pages", &AsyncBegin::pages),
                      required("by", &AsyncBegin::by), optional("layers", &AsyncBegin::layers));
  }
  bool operator==(const AsyncBegin&) const = default;
};

struct AsyncEnd {
  static constexpr std::string_view kName = "async_end";
  Name op = kNone;
  static constexpr auto fields(auto...) { return std::tuple(required("op", &AsyncEnd::op)); }
  bool operator==(const AsyncEnd&) const = default;
};

struct StreamWait {
  static constexpr std::string_view kName = "stream_wait";
  std::int64_t on = 0;
  std::optional<NameList> ops;
  static constexpr auto fields(auto...) {
    return std::tuple(required("on", &StreamWait::on), optional("ops", &StreamWait::ops));
  }
  bool operator==(const StreamWait&) const = default;
};

using Launch = std::variant<Attention, Store, Copy>;

struct GraphCapture {
  static constexpr std::string_view kName = "graph_capture";
  Name graph = kNone;
  std::optional<NameList> buffers;
  std::optional<Scalars> scalars;
  std::optional<NameList> inputs;
  std::optional<std::vector<Launch>> launches;
  OptBool stepped;
  static constexpr auto fields(auto...) {
    return std::tuple(
        required("graph", &GraphCapture::graph), optional("buffers", &GraphCapture::buffers),
        optional("scalars", &GraphCapture::scalars), optional("inputs", &GraphCapture::inputs),
        optional("launches", &GraphCapture::launches), optional("stepped", &GraphCapture::stepped));
  }
  bool operator==(const GraphCapture&) const = default;
};

struct Scalar {
  static constexpr std::string_view kName = "scalar";
  Name name = kNone;
  ScalarValue value;
  static constexpr auto fields(auto...) {
    return std::tuple(required("name", &Scalar::name), required("value", &Scalar::value));
  }
  bool operator==(const Scalar&) const = default;
};

struct Refresh {
  static constexpr std::string_view kName = "refresh";
  Name buffer = kNone;
  static constexpr auto fields(auto...) { return std::tuple(required("buffer", &Refresh::buffer)); }
  bool operator==(const Refresh&) const = default;
};

struct GraphLaunch {
  static constexpr std::string_view kName = "graph_launch";
  Name graph = kNone;
  std::optional<Rows> rows;
  static constexpr auto fields(auto...) {
    return std::tuple(required("graph", &GraphLaunch::graph), optional("rows", &GraphLaunch::rows));
  }
  bool operator==(const GraphLaunch&) const = default;
};

struct GraphStep {
  static constexpr std::string_view kName = "graph_step";
  Name graph = kNone;
  std::int64_t index = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("graph", &GraphStep::graph), required("index", &GraphStep::index));
  }
  bool operator==(const GraphStep&) const = default;
};

struct Step {
  static constexpr std::string_view kName = "step";
  std::int64_t step = 0;
  Name mode = kNone;
  OptInt batch;
  static constexpr auto fields(auto...) {
    return std::tuple(required("step", &Step::step), optional("mode", &Step::mode),
                      optional("batch", &Step::batch));
  }
  bool operator==(const Step&) const = default;
};

struct Kernel {
  static constexpr std::string_view kName = "kernel";
  Name name = kNone;
  Ints grid, block;
  std::int64_t correlation = 0;
  static constexpr auto fields(auto...) {
    return std::tuple(required("name", &Kernel::name), required("grid", &Kernel::grid),
                      required("block", &Kernel::block),
                      required("correlation", &Kernel::correlation));
  }
  bool operator==(const Kernel&) const = default;
};

struct CudaError {
  static constexpr std::string_view kName = "cuda_error";
  std::int64_t code = 0;
  Name name = kNone, message = kNone;
  OptInt after;
  OptBool sticky;
  static constexpr auto fields(auto...) {
    return std::tuple(required("code", &CudaError::code), required("name", &CudaError::name),
                      required("message", &CudaError::message),
                      optional("after", &CudaError::after), optional("sticky", &CudaError::sticky));
  }
  bool operator==(const CudaError&) const = default;
};

struct Note {
  static constexpr std::string_view kName = "note";
  Name text = kNone;
  static constexpr auto fields(auto...) { return std::tuple(required("text", &Note::text)); }
  bool operator==(const Note&) const = default;
};

struct Dropped {
  static constexpr std::string_view kName = "dropped";
  std::int64_t events = 0;
  OptInt from_t, to_t;
  static constexpr auto fields(auto...) {
    return std::tuple(required("events", &Dropped::events), optional("from_t", &Dropped::from_t),
                      optional("to_t", &Dropped::to_t));
  }
  bool operator==(const Dropped&) const = default;
};

struct Gap {
  static constexpr std::string_view kName = "gap";
  Name why = kNone;
  std::optional<NameList> pools;
  static constexpr auto fields(auto...) {
    return std::tuple(required("why", &Gap::why), optional("pools", &Gap::pools));
  }
  bool operator==(const Gap&) const = default;
};

struct End {
  static constexpr std::string_view kName = "end";
  static constexpr auto fields(auto...) { return std::tuple(); }
  bool operator==(const End&) const = default;
};

}  // namespace pagetape::ev
