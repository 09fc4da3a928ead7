// SPDX-License-Identifier: Apache-2.0
#include "verify/inspect.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace pagetape {
namespace {

std::string since(EventIndex by) {
  return by == kNever ? "" : " since event " + std::to_string(by);
}

// Values in a row that one event set alike are one line: "columns 0-3: pages 1, 2, 3, 4".
class Runs {
 public:
  Runs(std::string& out, const char* what, const char* values)
      : out_(out), what_(what), values_(values) {}
  ~Runs() { end(); }

  // `note` is what is said behind the values.
  void add(std::int64_t index, const std::string& value, const std::string& note) {
    if (count_ > 0 && index == first_ + count_ && note == note_) {
      list_ += ", " + value;
    } else {
      end();
      first_ = index;
      list_ = value;
      note_ = note;
    }
    ++count_;
  }

 private:
  void end() {
    if (count_ == 0) return;
    const bool many = count_ > 1;
    out_ += "  " + std::string(what_) + (many ? "s " : " ") + std::to_string(first_) +
            (many ? '-' + std::to_string(first_ + count_ - 1) : "") + ": " + values_ +
            (many && *values_ != '\0' ? "s "
             : *values_ != '\0'       ? " "
                                      : "") +
            list_ + note_ + '\n';
    count_ = 0;
  }

  std::string& out_;
  const char* what_;
  const char* values_;
  std::int64_t first_ = 0, count_ = 0;
  std::string list_, note_;
};

class Inspector {
 public:
  Inspector(const World& world, const Names& names, std::string& out)
      : world_(world), names_(names), out_(out) {}

  Status backend(const std::string& name) const;
  Status table(const std::string& name, std::int64_t row) const;
  Status page(const std::string& name, std::int64_t number) const;
  Status map(const std::string& name, std::int64_t from) const;
  Status request(const std::string& name) const;
  Status graph(const std::string& name) const;

 private:
  std::string s(Name name) const { return std::string(names_.text(name)); }
  std::string pool_name(std::uint32_t pool) const {
    return pool == kNoPool ? "no known pool" : "pool " + s(world_.pool(pool).name);
  }
  std::string bound(const Binding& binding) const {
    return pool_name(binding.pool) + (binding.set == kNone ? "" : " through set " + s(binding.set));
  }
  // What a cell was said to hold.
  std::string said(std::uint32_t tag) const {
    const Tag& t = world_.tags[tag];
    return (t.space == kNone ? "" : " of space " + s(t.space)) +
           (t.unit == kNone ? "" : " in units of " + s(t.unit));
  }
  std::string fact(const Fact& fact) const;
  void page_maps(std::uint32_t pool, PageId page) const;
  void page_operations(std::uint32_t pool, PageId page) const;

  const World& world_;
  const Names& names_;
  std::string& out_;
};

Status no_such(std::string_view what, const std::string& name) {
  return usage("there is no " + std::string(what) + " \"" + name + "\" here");
}

std::string Inspector::fact(const Fact& fact) const {
  std::string out = fact.attr == kNone ? "sliding-window state" : s(fact.attr);
  out += " derived from " + s(fact.object) + " version " + std::to_string(fact.version);
  if (fact.attr == kNone) {
    out += fact.uses_swa ? ": uses " + s(fact.swa_pool) : ": uses no sliding-window pool";
  }
  return out + since(fact.by);
}

Status Inspector::backend(const std::string& name) const {
  const BackendState* backend = world_.backends.find(names_.find(name));
  if (backend == nullptr) return no_such("backend", name);
  out_ += "backend " + name + (backend->role == kNone ? "" : " (" + s(backend->role) + ')') +
          (backend->klass == kNone ? "" : ", class " + s(backend->klass)) + since(backend->by) +
          '\n';
  if (backend->all.by != kNever) {
    out_ += "  all layers: " + bound(backend->all) + since(backend->all.by) + '\n';
  }
  for (const auto& [layer, binding] : backend->layers) {
    out_ += "  layer " + names_.layer(layer) + ": " + bound(binding) + since(binding.by) + '\n';
  }
  for (const auto& [layer, remap] : backend->remap) {
    out_ += "  logical layer " + names_.layer(layer) + ": layer " + names_.layer(remap.to) +
            since(remap.by) + '\n';
  }
  for (const Fact& f : backend->facts) out_ += "  " + fact(f) + '\n';
  return {};
}

Status Inspector::table(const std::string& name, std::int64_t row) const {
  const BufferState* buffer = world_.buffers.find(names_.find(name));
  if (buffer == nullptr) return no_such("table", name);
  const auto size = [](std::int64_t n) { return n < 0 ? "?" : std::to_string(n); };
  out_ += "table " + name + ", " + size(buffer->rows) + " rows of " + size(buffer->cols) +
          " columns, version " + std::to_string(buffer->version) + since(buffer->by) + '\n';
  const TableRow* cells = row < 0 ? nullptr : buffer->table.find(static_cast<std::uint64_t>(row));
  bool any = false;
  std::optional<Runs> runs(std::in_place, out_, "column", "page");
  const auto add = [&](std::int64_t column, const Cell& cell) {
    if (cell.page == kUnknownPage) return;
    runs->add(column, std::to_string(raw(cell.page)), said(cell.tag) + since(cell.by));
    any = true;
  };
  if (cells != nullptr) {
    for (std::size_t c = 0; c < cells->cells.size(); ++c) {
      add(static_cast<std::int64_t>(c), cells->cells[c]);
    }
    for (const auto& [column, cell] : cells->far) add(column, cell);
  }
  runs.reset();  // Its last line.
  const Value* len = row < 0 ? nullptr : buffer->lens.find(static_cast<std::uint64_t>(row));
  if (len != nullptr && len->known()) {
    out_ += "  length " + std::to_string(len->value) + since(len->by) + '\n';
  } else if (!any) {
    out_ += "  row " + std::to_string(row) + " was never written\n";
  }
  return {};
}

void Inspector::page_maps(std::uint32_t pool, PageId page) const {
  const auto p = static_cast<std::uint64_t>(raw(page));
  for (std::uint32_t m = 0; m < world_.maps.size(); ++m) {
    const MapState& map = world_.maps[m];
    const std::string name = "  map " + s(world_.maps.key(m));
    const std::uint64_t unit =
        map.by_slot && map.from < world_.pools.size() ? world_.pool(map.from).page_size : 1;
    const MapEntry* entry = map.from == pool ? map.entries.find(p * unit) : nullptr;
    if (entry != nullptr && entry->by != kNever) {
      out_ += name + ": leads to " + (map.by_slot ? "slot " : "page ") + std::to_string(entry->to) +
              " of " + pool_name(map.to) + since(entry->by) + '\n';
    }
    const std::int64_t* back = map.to == pool ? map.back.find(p) : nullptr;
    if (back != nullptr && *back != 0) {
      out_ += name + ": led here from page " + std::to_string(*back - 1) + " of " +
              pool_name(map.from) + '\n';
    }
  }
}

void Inspector::page_operations(std::uint32_t pool, PageId page) const {
  for (const Op& op : world_.ops) {
    if (op.pool != pool || !std::ranges::binary_search(op.pages, page)) continue;
    out_ += "  pending: " + s(op.name) + " of " + s(op.by) + (op.writes ? " writes" : " reads") +
            " it on stream " + std::to_string(op.stream) + since(op.event) + '\n';
  }
}

Status Inspector::page(const std::string& name, std::int64_t number) const {
  const std::uint32_t index = world_.pools.index(names_.find(name));
  if (index == kNoPool) return no_such("pool", name);
  const Pool& pool = world_.pool(index);
  const auto page = static_cast<PageId>(number);
  out_ += "page " + std::to_string(number) + " of pool " + name + ", " +
          std::to_string(pool.pages) + " pages of " + std::to_string(pool.page_size) + " tokens" +
          since(pool.by) + '\n';
  if (!pool.in_bounds(page)) out_ += "  outside the pool\n";
  if (const ReservedPage* reserved = pool.reserved_page(page)) {
    out_ += reserved->is_null ? "  reserved: null\n" : "  reserved: pad\n";
  }
  const Space& space = world_.space_of(pool);
  const PageInfo info = space.info(page);
  if (info.unknown) {
    out_ += "  owners unknown since a gap\n";
  } else if (info.owner == kNone) {
    out_ += "  no owner" + since(info.by) + '\n';
  } else {
    out_ += "  owned by";
    for (Name owner : space.owners(page)) out_ += ' ' + s(owner);
    if (info.column >= 0) out_ += ", logical page " + std::to_string(info.column);
    out_ += since(info.by) + '\n';
  }
  if (!pool.in_bounds(page)) return {};
  LayerSets sets = world_.layers;
  const auto p = static_cast<std::uint32_t>(page);
  std::uint32_t written = 0;  // Offsets before it are written in every layer that is.
  while (written < pool.page_size &&
         pool.extents.covered(sets, p, written, written + 1) != kNoLayers) {
    ++written;
  }
  const EventIndex by = pool.extents.written_by(p);
  out_ += by == kNever ? "  nothing written\n"
                       : "  " + std::to_string(written) + " of " + std::to_string(pool.page_size) +
                             " tokens written" + since(by) + '\n';
  const Name* digest = pool.digests.find(p);
  if (digest != nullptr && *digest != kNone) out_ += "  digest " + s(*digest) + '\n';
  if (const auto keys = pool.keys.find(raw(page)); keys != pool.keys.end()) {
    for (const PrefixKeyState& key : keys->second) {
      out_ += "  prefix key " + s(key.key) + (key.scheduled ? " (scheduled)" : "") + since(key.by) +
              '\n';
    }
  }
  page_maps(index, page);
  page_operations(index, page);
  return {};
}

Status Inspector::map(const std::string& name, std::int64_t from) const {
  const MapState* map = world_.maps.find(names_.find(name));
  if (map == nullptr) return no_such("map", name);
  const std::string unit = map->by_slot ? "slot " : "page ";
  out_ += "map " + name + " from " + pool_name(map->from) + " to " + pool_name(map->to) +
          ", version " + std::to_string(map->version) + since(map->by) + '\n';
  const MapEntry* entry = from < 0 ? nullptr : map->entries.find(static_cast<std::uint64_t>(from));
  out_ += "  " + unit + std::to_string(from) + ": ";
  if (entry == nullptr || entry->by == kNever) {
    out_ += map->unknown ? "unknown since a gap\n" : "never set\n";
  } else {
    out_ +=
        (entry->to == 0 ? "unmapped" : unit + std::to_string(entry->to)) + since(entry->by) + '\n';
  }
  return {};
}

Status Inspector::request(const std::string& name) const {
  const Name req = names_.find(name);
  if (req == kNone || !world_.is_party(req)) return no_such("request", name);
  out_ += "request " + name + '\n';
  for (std::uint32_t i = 0; i < world_.spaces.size(); ++i) {
    const Space& space = world_.spaces[i];
    const Holder* holder = space.holder(req);
    if (holder == nullptr) continue;
    out_ += "  space " + s(space.name) + ": owns " + std::to_string(holder->pages) + " pages" +
            (holder->ended ? ", the request is over" : "") + '\n';
    Runs runs(out_, "  logical page", "page");
    holder->columns.for_each([&](std::uint64_t logical, const Column& column) {
      if (column.by == kNever) return;
      runs.add(static_cast<std::int64_t>(logical), std::to_string(raw(column.page)),
               (column.evicted ? " left the window" : "") + since(column.by));
    });
  }
  return {};
}

Status Inspector::graph(const std::string& name) const {
  const GraphState* graph = world_.graphs.find(names_.find(name));
  if (graph == nullptr) return no_such("graph", name);
  out_ += "graph " + name + since(graph->by) + (graph->stepped ? ", stepped\n" : "\n");
  out_ += graph->launched == kNever
              ? "  never launched\n"
              : "  launched last by event " + std::to_string(graph->launched) + '\n';
  for (const FrozenPointer& pointer : graph->buffers) {
    const BufferState* today = world_.buffers.find(pointer.buffer);
    out_ += "  buffer " + s(pointer.buffer) + " version " + std::to_string(pointer.version);
    if (today != nullptr && today->version != pointer.version) {
      out_ += ", today " + std::to_string(today->version) + since(today->by);
    }
    out_ += '\n';
  }
  for (const auto& [scalar, json] : graph->scalars) {
    const ScalarState* today = world_.scalars.find(scalar);
    out_ += "  scalar " + s(scalar) + " = " + s(json);
    if (today != nullptr && today->json != json) {
      out_ += ", today " + s(today->json) + since(today->by);
    }
    out_ += '\n';
  }
  for (Name input : graph->inputs) {
    const BufferState* buffer = world_.buffers.find(input);
    out_ += "  input " + s(input) +
            (buffer == nullptr || buffer->rewritten == kNever
                 ? ": never rewritten"
                 : ": rewritten" + since(buffer->rewritten)) +
            '\n';
  }
  for (std::size_t i = 0; i < graph->launches.size(); ++i) {
    const CapturedLaunch& launch = graph->launches[i];
    constexpr const char* kBodies[] = {"attention", "store", "copy"};
    out_ += "  launch " + std::to_string(i) + ": " + kBodies[launch.body.index()];
    for (const Target& target : launch.targets.list) {
      out_ += ", layer " + names_.layer(target.physical) + " of " + bound(target.binding) +
              since(target.binding.by);
    }
    out_ += '\n';
    for (const Fact& f : launch.facts) out_ += "    frozen: " + fact(f) + '\n';
  }
  return {};
}

bool parse_number(const std::string& word, std::int64_t& out) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
  return error == std::errc() && end == word.data() + word.size() && -INT32_MAX <= out;
}

template <class T>
void add_names(const NameTable<T>& table, const Names& names, std::vector<std::string>& out) {
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    if (table.key(i) != kNone) out.emplace_back(names.text(table.key(i)));
  }
}

}  // namespace

std::vector<std::string> names_to_show(const World& world, const Names& names,
                                       std::string_view what) {
  std::vector<std::string> out;
  if (what == "backend") add_names(world.backends, names, out);
  if (what == "table") add_names(world.buffers, names, out);
  if (what == "page") add_names(world.pools, names, out);
  if (what == "map") add_names(world.maps, names, out);
  if (what == "graph") add_names(world.graphs, names, out);
  if (what == "request") {
    for (std::uint32_t id = 1; id < world.parties.size(); ++id) {
      const auto owns = [&](const Space& space) {
        const Holder* holder = space.holder(Name{id});
        return holder != nullptr && holder->pages > 0;
      };
      bool any = false;
      for (std::uint32_t i = 0; i < world.spaces.size(); ++i) any = any || owns(world.spaces[i]);
      if (any) out.emplace_back(names.text(Name{id}));
    }
  }
  std::ranges::sort(out);
  return out;
}

Status inspect(const World& world, const Names& names, const std::vector<std::string>& words,
               std::string& out) {
  out.clear();
  if (words.empty()) {
    for (const Shown& shown : kShown) {
      const std::vector<std::string> list = names_to_show(world, names, shown.what);
      out += "  " + std::string(shown.what) + ':';
      for (std::size_t i = 0; i < std::min<std::size_t>(list.size(), 16); ++i) out += ' ' + list[i];
      if (list.size() > 16) out += " … (" + std::to_string(list.size()) + " in all)";
      out += list.empty() ? " none\n" : "\n";
    }
    return {};
  }
  const auto shown = std::ranges::find(kShown, std::string_view(words[0]), &Shown::what);
  if (shown == kShown.end()) return usage("there is no \"" + words[0] + "\" to show");
  const bool numbered = shown->arguments.find(' ') != std::string_view::npos;
  std::int64_t number = 0;
  if (words.size() != (numbered ? 3u : 2u) || (numbered && !parse_number(words[2], number)) ||
      number > INT64_MAX / 2) {
    return usage("it is: show " + std::string(shown->what) + ' ' + std::string(shown->arguments));
  }
  const Inspector inspector(world, names, out);
  switch (shown - kShown.begin()) {
    case 0:
      return inspector.backend(words[1]);
    case 1:
      return inspector.table(words[1], number);
    case 2:
      if (number > INT32_MAX) return usage("a page has a number of 31 bits");
      return inspector.page(words[1], number);
    case 3:
      return inspector.map(words[1], number);
    case 4:
      return inspector.request(words[1]);
    default:
      return inspector.graph(words[1]);
  }
}

}  // namespace pagetape
